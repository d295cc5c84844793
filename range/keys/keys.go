package keys

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Key is a key of the ordered key space, without any MVCC version.
type Key []byte

// Span is the half-open interval [Start, End). An empty End means the single key Start.
type Span struct {
	Start, End Key
}

const (
	localPrefix  = 0x01
	metaPrefix   = 0x02
	systemPrefix = 0x03
	tablePrefix  = 0x04
	maxPrefix    = 0xff

	localStore        = 's'
	localUnreplicated = 'u'
	localReplicated   = 'i'
	localTxnRecord    = 'k'
	localOutcome      = 'o'
	localLock         = 'z'
)

// Boundaries of the addressable key space. They are shared: do not append to them.
var (
	Min       = Key{metaPrefix}
	MetaMin   = Key{metaPrefix}
	MetaMax   = Key{metaPrefix + 1}
	SystemMin = Key{systemPrefix}
	SystemMax = Key{systemPrefix + 1}
	TableMin  = Key{tablePrefix}
	TableMax  = Key{tablePrefix + 1}
	Max       = Key{maxPrefix}
)

// FirstUserTable is the smallest table id of a user's table; smaller ones are the catalog's own.
const FirstUserTable = 100

// Equal reports whether k and o are the same key.
func (k Key) Equal(o Key) bool { return bytes.Equal(k, o) }

// Compare compares by bytes.
func (k Key) Compare(o Key) int { return bytes.Compare(k, o) }

// Less reports whether k sorts before o.
func (k Key) Less(o Key) bool { return bytes.Compare(k, o) < 0 }

// Clone returns a copy that shares nothing with k.
func (k Key) Clone() Key { return append(Key(nil), k...) }

// Next returns the smallest key after k, in fresh memory.
func (k Key) Next() Key {
	n := make(Key, len(k)+1)
	copy(n, k)
	return n
}

// PrefixEnd returns the smallest key after every key that has prefix k, in
// fresh memory; Max if there is none.
func (k Key) PrefixEnd() Key {
	for i := len(k) - 1; i >= 0; i-- {
		if k[i] < 0xff {
			e := append(Key(nil), k[:i+1]...)
			e[i]++
			return e
		}
	}
	return Max.Clone()
}

// IsLocal reports whether k is a local key, which clients cannot address.
func (k Key) IsLocal() bool { return len(k) > 0 && k[0] == localPrefix }

// IsPoint reports whether s is a single key.
func (s Span) IsPoint() bool { return len(s.End) == 0 }

// EndKey returns the exclusive end: End, or Start.Next() for a single key.
func (s Span) EndKey() Key {
	if s.IsPoint() {
		return s.Start.Next()
	}
	return s.End
}

// Contains reports whether k lies in s.
func (s Span) Contains(k Key) bool {
	if s.IsPoint() {
		return bytes.Equal(s.Start, k)
	}
	return bytes.Compare(s.Start, k) <= 0 && bytes.Compare(k, s.End) < 0
}

// Overlaps reports whether s and o share a key.
func (s Span) Overlaps(o Span) bool {
	switch {
	case s.IsPoint():
		return o.Contains(s.Start)
	case o.IsPoint():
		return s.Contains(o.Start)
	}
	return bytes.Compare(s.Start, o.End) < 0 && bytes.Compare(o.Start, s.End) < 0
}

// Within returns what of s lies in [start, end); ok is false if nothing does.
func (s Span) Within(start, end Key) (part Span, ok bool) {
	part = Span{Start: s.Start, End: s.EndKey()}
	if part.Start.Less(start) {
		part.Start = start
	}
	if end.Less(part.End) {
		part.End = end
	}
	return part, part.Start.Less(part.End)
}

// Valid reports whether s is a point, or a non-empty interval.
func (s Span) Valid() bool {
	return len(s.Start) > 0 && (s.IsPoint() || bytes.Compare(s.Start, s.End) < 0)
}

// String prints the span for people.
func (s Span) String() string {
	if s.IsPoint() {
		return Pretty(s.Start)
	}
	return fmt.Sprintf("[%s, %s)", Pretty(s.Start), Pretty(s.End))
}

// Store returns the store-local key of that name.
func Store(name string) Key { return append(Key{localPrefix, localStore}, name...) }

func rangeLocal(kind byte, rangeID int64, name string) Key {
	k := make(Key, 0, 10+len(name)+16)
	k = append(k, localPrefix, kind)
	k = binary.BigEndian.AppendUint64(k, uint64(rangeID))
	return append(k, name...)
}

// RangeUnreplicated returns the key of a replica's own (Raft) state.
func RangeUnreplicated(rangeID int64, name string) Key {
	return rangeLocal(localUnreplicated, rangeID, name)
}

// RangeReplicated returns the key of state that every replica of the range shares.
func RangeReplicated(rangeID int64, name string) Key {
	return rangeLocal(localReplicated, rangeID, name)
}

// RangeUnreplicatedSpan covers every RangeUnreplicated key of the range.
func RangeUnreplicatedSpan(rangeID int64) Span {
	k := rangeLocal(localUnreplicated, rangeID, "")
	return Span{Start: k, End: k.PrefixEnd()}
}

// RangeReplicatedSpan covers every RangeReplicated key of the range.
func RangeReplicatedSpan(rangeID int64) Span {
	k := rangeLocal(localReplicated, rangeID, "")
	return Span{Start: k, End: k.PrefixEnd()}
}

// AllRangeReplicated covers the RangeReplicated keys of every range.
func AllRangeReplicated() Span {
	return Span{Start: Key{localPrefix, localReplicated}, End: Key{localPrefix, localReplicated + 1}}
}

// AllRangeUnreplicated covers the RangeUnreplicated keys of every range.
func AllRangeUnreplicated() Span {
	return Span{Start: Key{localPrefix, localUnreplicated}, End: Key{localPrefix, localUnreplicated + 1}}
}

// DecodeRangeLocal takes a RangeUnreplicated or RangeReplicated key apart.
func DecodeRangeLocal(k Key) (rangeID int64, replicated bool, name string, err error) {
	if len(k) < 10 || k[0] != localPrefix || (k[1] != localUnreplicated && k[1] != localReplicated) {
		return 0, false, "", fmt.Errorf("keys: %x is not a range-local key", []byte(k))
	}
	return int64(binary.BigEndian.Uint64(k[2:])), k[1] == localReplicated, string(k[10:]), nil
}

// TxnRecord returns the key of the record of transaction id, anchored at anchor.
func TxnRecord(anchor Key, id [16]byte) Key {
	k := make(Key, 0, 2+len(anchor)+4+16)
	k = append(k, localPrefix, localTxnRecord)
	k = AppendBytes(k, anchor)
	return append(k, id[:]...)
}

// TxnRecordSpan covers the transaction records anchored in [start, end).
func TxnRecordSpan(start, end Key) Span {
	return Span{
		Start: AppendBytes(Key{localPrefix, localTxnRecord}, start),
		End:   AppendBytes(Key{localPrefix, localTxnRecord}, end),
	}
}

// DecodeTxnRecord takes a TxnRecord key apart.
func DecodeTxnRecord(k Key) (anchor Key, id [16]byte, err error) {
	bad := func() (Key, [16]byte, error) {
		return nil, id, fmt.Errorf("keys: %x is not a transaction record key", []byte(k))
	}
	if len(k) < 2 || k[0] != localPrefix || k[1] != localTxnRecord {
		return bad()
	}
	a, rest, err := DecodeBytes(k[2:])
	if err != nil || len(rest) != 16 {
		return bad()
	}
	copy(id[:], rest)
	return a, id, nil
}

// Outcome returns the key, in one of several shelves, of what became of the commit of transaction id, whose first write is of anchor.
func Outcome(shelf byte, anchor Key, id [16]byte) Key {
	k := make(Key, 0, 3+len(anchor)+16+16) // with room for the escapes of most keys
	k = append(k, localPrefix, localOutcome, shelf)
	k = AppendBytes(k, anchor)
	return append(k, id[:]...)
}

// OutcomeSpan covers the Outcome keys of a shelf that are anchored in [start, end).
func OutcomeSpan(shelf byte, start, end Key) Span {
	return Span{
		Start: AppendBytes(Key{localPrefix, localOutcome, shelf}, start),
		End:   AppendBytes(Key{localPrefix, localOutcome, shelf}, end),
	}
}

// AllOutcomes covers every Outcome key.
func AllOutcomes() Span {
	return Span{Start: Key{localPrefix, localOutcome}, End: Key{localPrefix, localOutcome + 1}}
}

// DecodeOutcome takes an Outcome key apart.
func DecodeOutcome(k Key) (shelf byte, anchor Key, id [16]byte, err error) {
	if len(k) >= 3 && k[0] == localPrefix && k[1] == localOutcome {
		if a, rest, err := DecodeBytes(k[3:]); err == nil && len(rest) == len(id) {
			copy(id[:], rest)
			return k[2], a, id, nil
		}
	}
	return 0, nil, id, fmt.Errorf("keys: %x is not the key of an outcome", []byte(k))
}

// Lock returns the lock-table key of k.
func Lock(k Key) Key {
	l := make(Key, 0, 2+len(k))
	return append(append(l, localPrefix, localLock), k...)
}

// LockSpan covers the lock-table keys of [start, end).
func LockSpan(start, end Key) Span { return Span{Start: Lock(start), End: Lock(end)} }

// DecodeLock returns the key that a lock-table key locks. It aliases k.
func DecodeLock(k Key) (Key, error) {
	if len(k) < 3 || k[0] != localPrefix || k[1] != localLock {
		return nil, fmt.Errorf("keys: %x is not a lock-table key", []byte(k))
	}
	return k[2:], nil
}

// Meta returns the addressing key of the range that ends at end.
func Meta(end Key) Key {
	m := make(Key, 0, 1+len(end))
	return append(append(m, metaPrefix), end...)
}

// System returns the system key of that name.
func System(name string) Key { return append(Key{systemPrefix}, name...) }

// Table returns the prefix of a table's keys.
func Table(table uint64) Key { return AppendUvarint(Key{tablePrefix}, table) }

// Index returns the prefix of an index's keys, with room to append columns.
func Index(table, index uint64) Key {
	k := make(Key, 0, 32)
	k = append(k, tablePrefix)
	return AppendUvarint(AppendUvarint(k, table), index)
}

// DecodeIndex returns the table and index of a table-data key, and the encoded columns.
func DecodeIndex(k Key) (table, index uint64, columns []byte, err error) {
	if len(k) == 0 || k[0] != tablePrefix {
		return 0, 0, nil, fmt.Errorf("keys: %x is not a table key", []byte(k))
	}
	table, rest, err := DecodeUvarint(k[1:])
	if err != nil {
		return 0, 0, nil, err
	}
	index, rest, err = DecodeUvarint(rest)
	return table, index, rest, err
}
