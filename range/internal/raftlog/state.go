package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

const (
	nameEntry     = "e"
	nameHard      = "h"
	nameReplica   = "r"
	nameTruncated = "t"
	nameTombstone = "x"

	stateVersion = 1
)

// Position is an index and its term.
type Position struct{ Index, Term uint64 }

func stateKey(id kv.RangeID, name string) []byte {
	return engine.EncodeKey(keys.RangeUnreplicated(int64(id), name))
}

func readState(r pebble.Reader, id kv.RangeID, name string, n int) (vals [3]uint64, ok bool, err error) {
	v, closer, err := r.Get(stateKey(id, name))
	if errors.Is(err, pebble.ErrNotFound) {
		return vals, false, nil
	} else if err != nil {
		return vals, false, engine.Classify(err)
	}
	defer closer.Close()
	vals, err = decodeState(v, n)
	if err != nil {
		return vals, false, fmt.Errorf("range %d, %q: %w", id, name, err)
	}
	return vals, true, nil
}

func decodeState(v []byte, n int) (vals [3]uint64, err error) {
	if len(v) == 0 {
		return vals, ErrCorrupt
	}
	if v[0] != stateVersion {
		return vals, fmt.Errorf("raftlog: state version %d is not supported", v[0])
	}
	d := decoder{b: v[1:]}
	for i := range n {
		vals[i] = d.uvarint()
	}
	if d.bad || len(d.b) != 0 {
		return vals, ErrCorrupt
	}
	return vals, nil
}

func writeState(w pebble.Writer, id kv.RangeID, name string, vals ...uint64) error {
	return w.Set(stateKey(id, name), encodeState(vals...), nil)
}

func encodeState(vals ...uint64) []byte {
	v := append(make([]byte, 0, 32), stateVersion)
	for _, x := range vals {
		v = binary.AppendUvarint(v, x)
	}
	return v
}

// TableWriter is what WriteTable needs of an sstable.Writer.
type TableWriter interface {
	Set(key, value []byte) error
	DeleteRange(start, end []byte) error
}

// WriteTable is WriteInitial into a table to be ingested, which also deletes whatever there was.
func WriteTable(w TableWriter, id kv.RangeID, rid kv.ReplicaID, p Position, h *pb.HardState) error {
	s := keys.RangeUnreplicatedSpan(int64(id))
	return errors.Join( // in the order of the names
		w.DeleteRange(engine.EncodeKey(s.Start), engine.EncodeKey(s.End)),
		w.Set(stateKey(id, nameHard), encodeState(h.GetTerm(), h.GetVote(), h.GetCommit())),
		w.Set(stateKey(id, nameReplica), encodeState(uint64(rid))),
		w.Set(stateKey(id, nameTruncated), encodeState(p.Index, p.Term)),
		w.Set(stateKey(id, nameTombstone), encodeState(uint64(rid))),
	)
}

// ReadHardState returns the hard state of the range's replica; zeros if there is none.
func ReadHardState(r pebble.Reader, id kv.RangeID) (*pb.HardState, error) {
	v, _, err := readState(r, id, nameHard, 3)
	if err != nil {
		return nil, err
	}
	return &pb.HardState{Term: &v[0], Vote: &v[1], Commit: &v[2]}, nil
}

// WriteHardState writes the hard state.
func WriteHardState(w pebble.Writer, id kv.RangeID, h *pb.HardState) error {
	return writeState(w, id, nameHard, h.GetTerm(), h.GetVote(), h.GetCommit())
}

// ReadTruncated returns the position of the last entry that was removed from the front of the log.
func ReadTruncated(r pebble.Reader, id kv.RangeID) (Position, error) {
	v, _, err := readState(r, id, nameTruncated, 2)
	return Position{Index: v[0], Term: v[1]}, err
}

// WriteTruncated writes the truncated state.
func WriteTruncated(w pebble.Writer, id kv.RangeID, p Position) error {
	return writeState(w, id, nameTruncated, p.Index, p.Term)
}

// ReadReplicaID returns the id of the replica that lives here, 0 if none.
func ReadReplicaID(r pebble.Reader, id kv.RangeID) (kv.ReplicaID, error) {
	v, _, err := readState(r, id, nameReplica, 1)
	return kv.ReplicaID(v[0]), err
}

// ReadTombstone returns the smallest replica id that may live here.
func ReadTombstone(r pebble.Reader, id kv.RangeID) (kv.ReplicaID, error) {
	v, _, err := readState(r, id, nameTombstone, 1)
	return kv.ReplicaID(v[0]), err
}

// WriteReplica writes that replica rid lives here, and that no older one ever will.
func WriteReplica(w pebble.Writer, id kv.RangeID, rid kv.ReplicaID) error {
	if err := writeState(w, id, nameReplica, uint64(rid)); err != nil {
		return err
	}
	return writeState(w, id, nameTombstone, uint64(rid))
}

// Remove deletes everything but the tombstone, which it raises to smallest.
func Remove(w pebble.Writer, id kv.RangeID, smallest kv.ReplicaID) error {
	s := keys.RangeUnreplicatedSpan(int64(id))
	if err := w.DeleteRange(engine.EncodeKey(s.Start), engine.EncodeKey(s.End), nil); err != nil {
		return err
	}
	return writeState(w, id, nameTombstone, uint64(smallest))
}

// WriteInitial writes the state of a replica whose log begins after p and
// that has the hard state h; there must be no older state, or it must be deleted in the same batch before.
func WriteInitial(w pebble.Writer, id kv.RangeID, rid kv.ReplicaID, p Position, h *pb.HardState) error {
	return errors.Join(WriteReplica(w, id, rid), WriteTruncated(w, id, p), WriteHardState(w, id, h))
}
