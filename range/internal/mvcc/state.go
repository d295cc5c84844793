package mvcc

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Names of a range's replicated local state, for keys.RangeReplicated.
const (
	// NameAppliedState holds AppliedState. It changes with every applied entry.
	NameAppliedState = "a"
	// NameDescriptor holds the kv.RangeDescriptor.
	NameDescriptor = "d"
	// NameCommitID, followed by the 16 bytes of a transaction id, holds a CommitOutcome.
	NameCommitID = "c"
	// NameFrozen, if there, holds the Freeze of a range that is being merged into its left neighbour.
	NameFrozen = "f"
)

// AppliedStateKey returns the encoded key of the range's applied state.
func AppliedStateKey(id kv.RangeID) []byte {
	return engine.EncodeKey(keys.RangeReplicated(int64(id), NameAppliedState))
}

// DescriptorKey returns the encoded key of the range's descriptor.
func DescriptorKey(id kv.RangeID) []byte {
	return engine.EncodeKey(keys.RangeReplicated(int64(id), NameDescriptor))
}

// CommitIDKey returns the key (not encoded) of a transaction's outcome in the range.
func CommitIDKey(id kv.RangeID, txn kv.TxnID) keys.Key {
	k := keys.RangeReplicated(int64(id), NameCommitID)
	return append(k, txn[:]...)
}

// CommitIDSpan covers the outcomes of all transactions in the range.
func CommitIDSpan(id kv.RangeID) keys.Span {
	k := keys.RangeReplicated(int64(id), NameCommitID)
	return keys.Span{Start: k, End: k.PrefixEnd()}
}

// AppliedState is how far a replica has applied its log, and what follows from it. It is
// written in the same batch as the effects of the entry.
type AppliedState struct {
	AppliedIndex uint64
	AppliedTerm  uint64 // of the entry at AppliedIndex
	Stats        kv.Stats
	// ClosedTS: the leader promised to write nothing at or below it any more.
	ClosedTS hlc.Timestamp
	// GCThreshold: reads below it fail.
	GCThreshold hlc.Timestamp
}

const appliedStateVersion = 1

// appliedStateLen is the length of version 1: fixed width, so that encoding is a few stores.
const appliedStateLen = 1 + 2*8 + 5*8 + 2*hlc.EncodedLen

// AppendAppliedState appends the stored form of s.
func AppendAppliedState(dst []byte, s *AppliedState) []byte {
	dst = append(dst, appliedStateVersion)
	for _, v := range [...]uint64{
		s.AppliedIndex, s.AppliedTerm,
		uint64(s.Stats.LiveRows), uint64(s.Stats.LiveBytes), uint64(s.Stats.Versions), uint64(s.Stats.Bytes), uint64(s.Stats.Locks),
	} {
		dst = binary.BigEndian.AppendUint64(dst, v)
	}
	return s.GCThreshold.Append(s.ClosedTS.Append(dst))
}

// DecodeAppliedState reads what AppendAppliedState wrote.
func DecodeAppliedState(b []byte) (s AppliedState, err error) {
	if len(b) != appliedStateLen || b[0] != appliedStateVersion {
		return s, corrupt("applied state", b)
	}
	b = b[1:]
	s.AppliedIndex, s.AppliedTerm = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	num := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[16+8*i:])) }
	s.Stats = kv.Stats{LiveRows: num(0), LiveBytes: num(1), Versions: num(2), Bytes: num(3), Locks: num(4)}
	if s.ClosedTS, b, err = hlc.Decode(b[56:]); err == nil {
		s.GCThreshold, _, err = hlc.Decode(b)
	}
	return s, err
}

// LoadAppliedState reads a range's applied state; ok is false if it has none.
func LoadAppliedState(r pebble.Reader, id kv.RangeID) (s AppliedState, ok bool, err error) {
	b, ok, err := load(r, AppliedStateKey(id))
	if err != nil || !ok {
		return s, false, err
	}
	s, err = DecodeAppliedState(b)
	return s, err == nil, err
}

// LoadDescriptor reads a range's descriptor; nil if it has none.
func LoadDescriptor(r pebble.Reader, id kv.RangeID) (*kv.RangeDescriptor, error) {
	b, ok, err := load(r, DescriptorKey(id))
	if err != nil || !ok {
		return nil, err
	}
	d, err := kv.DecodeDescriptor(b)
	if err != nil {
		return nil, &kv.Error{Code: kv.CodeCorruption, Message: err.Error()}
	}
	return d, nil
}

// CommitOutcome is what a range remembers of a transaction that tried to commit in it alone.
type CommitOutcome struct {
	// Committed is false for an id that was fenced: it can no longer commit here.
	Committed bool
	CommitTS  hlc.Timestamp // or when it was fenced
}

const (
	outcomeCommitted = 1
	outcomeFenced    = 2
)

// AppendCommitOutcome appends the stored form of o.
func AppendCommitOutcome(dst []byte, o CommitOutcome) []byte {
	kind := byte(outcomeFenced)
	if o.Committed {
		kind = outcomeCommitted
	}
	return o.CommitTS.Append(append(dst, kind))
}

// DecodeCommitOutcome reads what AppendCommitOutcome wrote.
func DecodeCommitOutcome(b []byte) (o CommitOutcome, err error) {
	if len(b) != 1+hlc.EncodedLen || (b[0] != outcomeCommitted && b[0] != outcomeFenced) {
		return o, corrupt("commit outcome", b)
	}
	o.Committed = b[0] == outcomeCommitted
	o.CommitTS, _, err = hlc.Decode(b[1:])
	return o, err
}

// LoadCommitOutcome reads what the range remembers of the transaction; ok is false if nothing.
func LoadCommitOutcome(r pebble.Reader, id kv.RangeID, txn kv.TxnID) (o CommitOutcome, ok bool, err error) {
	b, ok, err := load(r, engine.EncodeKey(CommitIDKey(id, txn)))
	if err != nil || !ok {
		return o, false, err
	}
	o, err = DecodeCommitOutcome(b)
	return o, err == nil, err
}

// CopyCommitOutcomes writes all of one range's outcomes for another range into b: a split gives
// them to the right side, and a merge unites them.
func CopyCommitOutcomes(r pebble.Reader, b *pebble.Batch, from, to kv.RangeID) (err error) {
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
		if err := b.Set(engine.EncodeKey(CommitIDKey(to, kv.TxnID(k[len(span.Start):]))), v, nil); err != nil {
			return engine.Classify(err)
		}
	}
	return engine.Classify(it.Error())
}

// load gets an unversioned value, in fresh memory.
func load(r pebble.Reader, enc []byte) (v []byte, ok bool, err error) {
	b, closer, err := r.Get(enc)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	} else if err != nil {
		return nil, false, engine.Classify(err)
	}
	v = append([]byte(nil), b...)
	if err := closer.Close(); err != nil {
		return nil, false, engine.Classify(err)
	}
	return v, true, nil
}

func corrupt(what string, b []byte) error {
	return kv.Errorf(kv.CodeCorruption, "%s is %s", what, fmt.Sprintf("%.200x", b))
}
