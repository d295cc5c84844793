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
	Outcomes    Outcomes
}

const appliedStateVersion = 2

// appliedStateLen is the length of version 2: fixed width, so that encoding is a few stores.
const appliedStateLen = 1 + 2*8 + 5*8 + 2*hlc.EncodedLen + 1 + 2*hlc.EncodedLen

// AppendAppliedState appends the stored form of s.
func AppendAppliedState(dst []byte, s *AppliedState) []byte {
	dst = append(dst, appliedStateVersion)
	for _, v := range [...]uint64{
		s.AppliedIndex, s.AppliedTerm,
		uint64(s.Stats.LiveRows), uint64(s.Stats.LiveBytes), uint64(s.Stats.Versions), uint64(s.Stats.Bytes), uint64(s.Stats.Locks),
	} {
		dst = binary.BigEndian.AppendUint64(dst, v)
	}
	dst = s.GCThreshold.Append(s.ClosedTS.Append(dst))
	return s.Outcomes.Forgotten.Append(s.Outcomes.Since.Append(append(dst, s.Outcomes.Half)))
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
	if s.ClosedTS, b, err = hlc.Decode(b[56:]); err != nil {
		return s, err
	}
	if s.GCThreshold, b, err = hlc.Decode(b); err != nil {
		return s, err
	}
	if s.Outcomes.Half, b = b[0], b[1:]; s.Outcomes.Half > 1 {
		return s, corrupt("applied state", b)
	}
	if s.Outcomes.Since, b, err = hlc.Decode(b); err == nil {
		s.Outcomes.Forgotten, _, err = hlc.Decode(b)
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
