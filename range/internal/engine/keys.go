package engine

import (
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/cockroachkvs"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Lengths of the suffixes after the 0x00 that ends the key, with the length byte that ends them.
const (
	wallSuffixLen    = 9
	logicalSuffixLen = 13
	lockSuffixLen    = 18
	// MaxSuffixLen is the most that encoding adds to a key.
	MaxSuffixLen = 1 + lockSuffixLen
)

// AppendKey appends the encoding of an unversioned key. It is also the seek key
// before every version and every lock of key.
func AppendKey(dst []byte, key keys.Key) []byte {
	return append(append(dst, key...), 0)
}

// EncodeKey returns the encoding of an unversioned key in fresh memory.
func EncodeKey(key keys.Key) []byte {
	return AppendKey(make([]byte, 0, len(key)+1), key)
}

// AppendVersion appends the encoding of key's version at ts, which must not be empty.
func AppendVersion(dst []byte, key keys.Key, ts hlc.Timestamp) []byte {
	return AppendVersionSuffix(AppendKey(dst, key), ts)
}

// AppendVersionSuffix appends ts to an encoded unversioned key.
func AppendVersionSuffix(dst []byte, ts hlc.Timestamp) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(ts.WallTime))
	if ts.Logical == 0 {
		return append(dst, wallSuffixLen)
	}
	dst = binary.BigEndian.AppendUint32(dst, ts.Logical)
	return append(dst, logicalSuffixLen)
}

// VersionLen returns the length of AppendVersion's result.
func VersionLen(key keys.Key, ts hlc.Timestamp) int {
	if ts.Logical == 0 {
		return len(key) + 1 + wallSuffixLen
	}
	return len(key) + 1 + logicalSuffixLen
}

// AppendLock appends the encoding of a transaction's entry in the lock table for
// key. (The strength comes first, so that entries of one key sort strongest first.)
func AppendLock(dst []byte, key keys.Key, s kv.LockStrength, id kv.TxnID) []byte {
	dst = append(dst, lockPrefix...)
	dst = AppendKey(dst, key)
	dst = append(dst, byte(s))
	dst = append(dst, id[:]...)
	return append(dst, lockSuffixLen)
}

// AppendLockKey appends the seek key before every lock on key, which is also the prefix they share.
func AppendLockKey(dst []byte, key keys.Key) []byte {
	dst = append(dst, lockPrefix...)
	return AppendKey(dst, key)
}

// lockPrefix is what keys.Lock puts before a key.
var lockPrefix = keys.Lock(nil)

// SplitKey cuts an encoded key into the key and its suffix (empty if
// unversioned). ok is false for bytes that no encoder writes. Both alias enc.
func SplitKey(enc []byte) (key keys.Key, suffix []byte, ok bool) {
	n := len(enc)
	if n == 0 {
		return nil, nil, false
	}
	end := n - 1 - int(enc[n-1])
	if end < 0 || enc[end] != 0 || enc[n-1] == 1 {
		return nil, nil, false
	}
	return enc[:end:end], enc[end+1:], true
}

// DecodeVersion takes a version's key apart. ok is false if it is something else.
func DecodeVersion(enc []byte) (key keys.Key, ts hlc.Timestamp, ok bool) {
	key, suffix, ok := SplitKey(enc)
	if !ok {
		return nil, ts, false
	}
	ts, ok = DecodeVersionSuffix(suffix)
	return key, ts, ok
}

// DecodeVersionSuffix reads the suffix of a version's key.
func DecodeVersionSuffix(suffix []byte) (ts hlc.Timestamp, ok bool) {
	switch len(suffix) {
	case wallSuffixLen:
		return hlc.Timestamp{WallTime: int64(binary.BigEndian.Uint64(suffix))}, true
	case logicalSuffixLen:
		return hlc.Timestamp{WallTime: int64(binary.BigEndian.Uint64(suffix)), Logical: binary.BigEndian.Uint32(suffix[8:])}, true
	}
	return ts, false
}

// DecodeLock takes a lock-table entry's key apart; key is the locked key and aliases enc.
func DecodeLock(enc []byte) (key keys.Key, s kv.LockStrength, id kv.TxnID, ok bool) {
	lk, suffix, ok := SplitKey(enc)
	if !ok || len(suffix) != lockSuffixLen {
		return nil, 0, id, false
	}
	key, err := keys.DecodeLock(lk)
	if err != nil {
		return nil, 0, id, false
	}
	copy(id[:], suffix[1:])
	return key, kv.LockStrength(suffix[0]), id, true
}

// Compare orders encoded keys as Pebble does.
func Compare(a, b []byte) int { return cockroachkvs.Compare(a, b) }

// NewTimeFilter returns a filter for iterators that only care for versions with a wall time in
// [from, to]. It may let others through. It is right for versions and wrong for anything
// without a timestamp: such keys may be left out. (Deletions of versions carry the version's
// own timestamp, so a filtered iterator never sees a version whose deletion it skipped.)
func NewTimeFilter(from, to hlc.Timestamp) pebble.BlockPropertyFilter {
	return cockroachkvs.NewMVCCTimeIntervalFilter(uint64(from.WallTime), uint64(to.WallTime))
}
