package mvcc

import (
	"encoding/binary"
	"errors"

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

// UniteCommitOutcomes writes what one range knows of transactions for another into b: for a merge. A commit is a
// fact; a fence only keeps one from happening.
func UniteCommitOutcomes(r pebble.Reader, b *pebble.Batch, from, to kv.RangeID) (err error) {
	span := CommitIDSpan(from)
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: engine.EncodeKey(span.Start), UpperBound: engine.EncodeKey(span.End)})
	if err != nil {
		return engine.Classify(err)
	}
	defer func() { err = errors.Join(err, engine.Classify(it.Close())) }()
	for it.First(); it.Valid(); it.Next() {
		k, _, ok := engine.SplitKey(it.Key())
		if !ok || len(k) != len(span.Start)+16 {
			return kv.Errorf(kv.CodeCorruption, "commit outcome at %x", it.Key())
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return engine.Classify(err)
		}
		o, err := DecodeCommitOutcome(v)
		if err != nil {
			return err
		}
		id := kv.TxnID(k[len(span.Start):])
		if _, known, err := LoadCommitOutcome(r, to, id); err != nil {
			return err
		} else if known && !o.Committed {
			continue
		}
		if err := b.Set(engine.EncodeKey(CommitIDKey(to, id)), v, nil); err != nil {
			return engine.Classify(err)
		}
	}
	return engine.Classify(it.Error())
}
