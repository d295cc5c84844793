package mvcc

import (
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Freeze says for which merge a range stands still (range/internal/replica/merge.go). The zero Freeze is none.
type Freeze struct {
	// ID names the merge. The left side that has absorbed the range knows it as a commit.
	ID kv.TxnID
	// Left is the left neighbour, Base the only generation of it that can absorb the range, Start where it begins.
	Left  kv.RangeID
	Base  int64
	Start keys.Key
}

// Append appends the stored form: id 16 | left z | base z | start key.
func (f *Freeze) Append(dst []byte) []byte {
	dst = append(dst, f.ID[:]...)
	dst = binary.AppendVarint(dst, int64(f.Left))
	dst = binary.AppendVarint(dst, f.Base)
	return append(dst, f.Start...)
}

// DecodeFreeze reads what Append wrote. It keeps no part of b.
func DecodeFreeze(b []byte) (*Freeze, error) {
	var f Freeze
	whole := b
	if len(b) < len(f.ID) {
		return nil, corrupt("freeze", whole)
	}
	b = b[copy(f.ID[:], b):]
	left, n := binary.Varint(b)
	if n <= 0 {
		return nil, corrupt("freeze", whole)
	}
	b = b[n:]
	base, n := binary.Varint(b)
	if n <= 0 || f.ID.IsZero() {
		return nil, corrupt("freeze", whole)
	}
	f.Left, f.Base, f.Start = kv.RangeID(left), base, keys.Key(b[n:]).Clone()
	return &f, nil
}

// FrozenKey returns the encoded key of NameFrozen.
func FrozenKey(id kv.RangeID) []byte {
	return engine.EncodeKey(keys.RangeReplicated(int64(id), NameFrozen))
}

// LoadFreeze reads what is at FrozenKey; nil if nothing.
func LoadFreeze(r pebble.Reader, id kv.RangeID) (*Freeze, error) {
	b, ok, err := load(r, FrozenKey(id))
	if err != nil || !ok {
		return nil, err
	}
	return DecodeFreeze(b)
}
