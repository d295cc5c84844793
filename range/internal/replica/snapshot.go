package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/cockroachkvs"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/internal/raftlog"
	"github.com/pamirdb/pamir/range/kv"
)

// A snapshot stream is a run of frames; the first byte says of which kind.
//
//	'H' header: length, RaftMessage (MsgSnap) | length, descriptor | flags: 01 if nobody waits for it, 02 if only its receiver is asked | index before the sender's log
//	'D' data:   (length, key | length, value)...   encoded keys, ascending over the whole stream
//	'E' end:    number of pairs
const (
	frameHeader = 'H'
	frameData   = 'D'
	frameEnd    = 'E'

	headerGentle = 1 << 0
	headerAsks   = 1 << 1

	snapshotFrameBytes = 256 << 10
)

// SnapshotHeader is the first frame.
type SnapshotHeader struct {
	Message *raftlog.Message
	Desc    *kv.RangeDescriptor
	// Gentle: nobody waits for it. Who does not know of it ignores what follows the descriptor.
	Gentle bool
	// Asks: nothing follows. Who sends it wants to know whether the snapshot would be taken now.
	Asks bool
	// Truncated: who has applied as much needs no snapshot, since the sender has all that follows in its log. 0 if the sender does not say.
	Truncated uint64
}

// ParseSnapshotHeader reads the first frame.
func ParseSnapshotHeader(f []byte) (*SnapshotHeader, error) {
	if len(f) == 0 || f[0] != frameHeader {
		return nil, errors.New("replica: snapshot stream does not begin with a header")
	}
	m, rest, err := takeBytes(f[1:])
	if err != nil {
		return nil, err
	}
	d, rest, err := takeBytes(rest)
	if err != nil {
		return nil, err
	}
	h := &SnapshotHeader{}
	if len(rest) > 0 {
		h.Gentle, h.Asks = rest[0]&headerGentle != 0, rest[0]&headerAsks != 0
		h.Truncated, _ = binary.Uvarint(rest[1:])
	}
	if h.Message, err = raftlog.DecodeMessage(append([]byte(nil), m...)); err != nil {
		return nil, err
	}
	if h.Desc, err = kv.DecodeDescriptor(d); err != nil {
		return nil, err
	}
	if h.Message.Raft == nil || h.Message.Raft.GetType() != pb.MsgSnap || h.Message.Raft.Snapshot == nil ||
		h.Message.RangeID != h.Desc.RangeID || !h.Desc.StartKey.Less(h.Desc.EndKey) {
		return nil, errors.New("replica: malformed snapshot header")
	}
	return h, nil
}

func takeBytes(b []byte) (v, rest []byte, err error) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return nil, nil, errors.New("replica: truncated snapshot frame")
	}
	return b[w : w+int(n)], b[w+int(n):], nil
}

// snapshotting is the leader's state as of a moment.
type snapshotting struct {
	*pebble.Snapshot
	term, truncated uint64
}

func (r *Replica) beginSnapshot() (*snapshotting, error) {
	r.raftMu.Lock() // so that the term and the state fit together
	s := &snapshotting{r.deps.Engine.DB().NewSnapshot(), r.term, r.raftLog.Truncated().Index}
	leads := r.role == raft.StateLeader
	r.raftMu.Unlock()
	var err error
	switch {
	case !leads:
		err = r.notLeader()
	case r.Frozen() != nil:
		err = r.frozenErr() // every replica has what it needs, and the left side may have written here already
	default:
		return s, nil
	}
	return nil, errors.Join(err, s.Close())
}

// writeHeader sends the first frame, and returns the range as the snapshot has it.
func (r *Replica) writeHeader(snap *snapshotting, to kv.Replica, flags byte, send func([]byte) error) (*kv.RangeDescriptor, error) {
	as, ok, err := mvcc.LoadAppliedState(snap, r.id)
	if err != nil || !ok {
		return nil, errors.Join(err, errors.New("replica: no applied state"))
	}
	desc, err := mvcc.LoadDescriptor(snap, r.id)
	if err != nil || desc == nil {
		return nil, errors.Join(err, errors.New("replica: no descriptor"))
	}
	if _, ok := desc.ReplicaByID(to.ReplicaID); !ok {
		return nil, fmt.Errorf("replica: %d is not a replica of %s", to.ReplicaID, desc)
	}
	msg := &raftlog.Message{
		RangeID: r.id, To: to, Now: r.deps.Clock.Now(),
		From: kv.Replica{NodeID: r.deps.Node, StoreID: r.deps.Store, ReplicaID: r.rid},
		Raft: &pb.Message{
			Type: pb.MsgSnap.Enum(), From: new(uint64(r.rid)), To: new(uint64(to.ReplicaID)), Term: new(snap.term),
			Snapshot: &pb.Snapshot{Metadata: &pb.SnapshotMetadata{
				ConfState: confState(desc), Index: new(as.AppliedIndex), Term: new(as.AppliedTerm),
			}},
		},
	}
	wire, err := msg.Append(nil)
	if err != nil {
		return nil, err
	}
	d := desc.AppendWire(nil)
	f := binary.AppendUvarint([]byte{frameHeader}, uint64(len(wire)))
	f = append(binary.AppendUvarint(append(f, wire...), uint64(len(d))), d...)
	return desc, send(binary.AppendUvarint(append(f, flags), snap.truncated))
}

// AskSnapshot asks the receiver of a snapshot whether it would take it now: it is WriteSnapshot that ends with the header. One that has the bounds elsewhere, or
// what it needs by now, says so before anything waits for a slot, or is paced.
func (r *Replica) AskSnapshot(to kv.Replica, send func([]byte) error) (err error) {
	snap, err := r.beginSnapshot()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, snap.Close()) }()
	_, err = r.writeHeader(snap, to, headerAsks, send)
	return err
}

// WriteSnapshot sends the replica's applied state to another replica of the range. pace is called
// with the size of every frame before it is sent. gentle is for the receiver to know.
func (r *Replica) WriteSnapshot(ctx context.Context, to kv.Replica, gentle bool, pace func(context.Context, int) error, send func([]byte) error) (err error) {
	snap, err := r.beginSnapshot()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, snap.Close()) }()
	flags := byte(0)
	if gentle {
		flags = headerGentle
	}
	desc, err := r.writeHeader(snap, to, flags, send)
	if err != nil {
		return err
	}
	var count uint64
	buf := append(make([]byte, 0, snapshotFrameBytes+4096), frameData)
	flush := func() error {
		if len(buf) == 1 {
			return nil
		}
		if err := pace(ctx, len(buf)); err != nil {
			return err
		}
		if err := send(buf); err != nil {
			return err
		}
		buf = buf[:1]
		return nil
	}
	for _, s := range dataSpans(r.id, desc.StartKey, desc.EndKey) {
		it, err := snap.NewIter(&pebble.IterOptions{LowerBound: s.Start, UpperBound: s.End})
		if err != nil {
			return engine.Classify(err)
		}
		for ok := it.First(); ok; ok = it.Next() {
			v, err := it.ValueAndErr()
			if err != nil {
				return errors.Join(engine.Classify(err), it.Close())
			}
			k := it.Key()
			buf = binary.AppendUvarint(buf, uint64(len(k)))
			buf = append(buf, k...)
			buf = binary.AppendUvarint(buf, uint64(len(v)))
			buf = append(buf, v...)
			count++
			if len(buf) >= snapshotFrameBytes {
				if err := flush(); err != nil {
					return errors.Join(err, it.Close())
				}
			}
		}
		if err := it.Close(); err != nil {
			return engine.Classify(err)
		}
	}
	if err := flush(); err != nil {
		return err
	}
	return send(binary.AppendUvarint([]byte{frameEnd}, count))
}

// StagedSnapshot is a snapshot that has been received into tables beside the database, and waits for Raft's consent.
type StagedSnapshot struct {
	SnapshotHeader
	Index  uint64
	eng    *engine.Engine
	prefix string
	paths  []string
	bytes  int64
	// Done receives the outcome: nil if the snapshot is in place (or was not needed).
	Done chan error
}

// newTable opens a table file beside the database.
func newTable(eng *engine.Engine, path string) (*sstable.Writer, error) {
	f, err := eng.FS().Create(path, "pamir-snapshot")
	if err != nil {
		return nil, err
	}
	o := &pebble.Options{
		Comparer: &cockroachkvs.Comparer, KeySchema: cockroachkvs.KeySchema.Name,
		KeySchemas:              sstable.MakeKeySchemas(&cockroachkvs.KeySchema),
		BlockPropertyCollectors: cockroachkvs.BlockPropertyCollectors,
	}
	o.EnsureDefaults()
	w := o.MakeWriterOptions(0, eng.DB().TableFormat())
	w.FilterPolicy = bloom.FilterPolicy(10)
	return sstable.NewWriter(objstorageprovider.NewFileWritable(f), w), nil
}

// ReceiveSnapshot reads the frames after the header into tables named prefix0, prefix1, ...
func ReceiveSnapshot(eng *engine.Engine, h *SnapshotHeader, prefix string, recv func() ([]byte, error)) (s *StagedSnapshot, err error) {
	s = &StagedSnapshot{
		SnapshotHeader: *h, Index: h.Message.Raft.Snapshot.GetMetadata().GetIndex(), eng: eng, prefix: prefix,
		Done: make(chan error, 1),
	}
	var w *sstable.Writer
	defer func() {
		if err != nil {
			if w != nil {
				err = errors.Join(err, w.Close())
			}
			s.Discard()
		}
	}()
	spans := dataSpans(h.Desc.RangeID, h.Desc.StartKey, h.Desc.EndKey)
	span := -1
	// next ends the table of a span and begins that of the one after it. Each table first deletes what is
	// there: within one table, and one ingestion, keys survive deletions. The last span is excised instead.
	next := func() error {
		if w != nil {
			err := w.Close()
			w = nil
			if err != nil {
				return err
			}
		}
		if span++; span == len(spans) {
			return nil
		}
		path := fmt.Sprintf("%s.%d", prefix, span)
		s.paths = append(s.paths, path)
		var err error
		if w, err = newTable(eng, path); err != nil || span == len(spans)-1 {
			return err
		}
		return w.DeleteRange(spans[span].Start, spans[span].End)
	}
	if err := next(); err != nil {
		return s, err
	}
	var count uint64
	for {
		f, err := recv()
		if err == io.EOF {
			return s, errors.New("replica: snapshot stream ended early")
		} else if err != nil {
			return s, err
		}
		if len(f) == 0 {
			return s, errors.New("replica: empty snapshot frame")
		}
		kind, f := f[0], f[1:]
		if kind == frameEnd {
			if n, k := binary.Uvarint(f); k <= 0 || n != count {
				return s, fmt.Errorf("replica: snapshot of %d pairs, %d received", n, count)
			}
			for span < len(spans) {
				if err := next(); err != nil {
					return s, err
				}
			}
			return s, nil
		}
		if kind != frameData {
			return s, fmt.Errorf("replica: snapshot frame of unknown kind %q", kind)
		}
		for len(f) > 0 {
			var k, v []byte
			if k, f, err = takeBytes(f); err != nil {
				return s, err
			}
			if v, f, err = takeBytes(f); err != nil {
				return s, err
			}
			for engine.Compare(k, spans[span].End) >= 0 {
				if err := next(); err != nil {
					return s, err
				}
				if span == len(spans) {
					return s, errors.New("replica: snapshot key outside of the range")
				}
			}
			if engine.Compare(k, spans[span].Start) < 0 {
				return s, errors.New("replica: snapshot key outside of the range")
			}
			if err := w.Set(k, v); err != nil {
				return s, err
			}
			s.bytes += int64(len(k) + len(v))
			count++
		}
	}
}

// Discard removes the files.
func (s *StagedSnapshot) Discard() {
	for _, p := range s.paths {
		// A file that cannot be removed is removed at the next start, with all that is left of snapshots.
		_ = s.eng.FS().Remove(p)
	}
	s.paths = nil
}

// GoesByLog reports whether the replica needs no snapshot, since the sender's log has all that it has not applied, and tells the sender how far it has. The sender
// does not know when the replica was made by a split after it was asked for a snapshot: an answer of its own accord is the only way to tell, since a leader that sends
// a snapshot asks nothing else.
func (r *Replica) GoesByLog(h *SnapshotHeader) bool {
	done := r.sayPosition(h)
	return done != nil && <-done == nil
}

// SayPosition is GoesByLog without waiting for it: for who processes another replica.
func (r *Replica) SayPosition(h *SnapshotHeader) { r.sayPosition(h) }

// sayPosition returns nil if the replica needs the snapshot.
func (r *Replica) sayPosition(h *SnapshotHeader) <-chan error {
	s := r.snapshotState()
	if s.desc == nil || h.Truncated == 0 || s.applied.AppliedIndex < h.Truncated {
		return nil
	}
	// Raft answers a snapshot of what it has committed already with how far it is.
	meta := h.Message.Raft.Snapshot.GetMetadata()
	meta.Index, meta.Term = new(s.applied.AppliedIndex), new(s.applied.AppliedTerm)
	done := make(chan error, 1)
	r.DeliverSnapshot(&StagedSnapshot{SnapshotHeader: *h, Index: s.applied.AppliedIndex, eng: r.deps.Engine, Done: done})
	return done
}

// DeliverSnapshot offers a received snapshot to Raft; s.Done tells what became of it.
func (r *Replica) DeliverSnapshot(s *StagedSnapshot) {
	r.post(func(err error) {
		if err != nil || r.raft == nil {
			s.Discard()
			s.Done <- errors.Join(err, errors.New("replica: closed"))
			return
		}
		if r.staged != nil {
			s.Discard()
			s.Done <- errors.New("replica: another snapshot is being applied")
			return
		}
		r.staged = s
		r.step(s.Message)
	})
}

// settleSnapshot lets go of a staged snapshot that Raft did not want: it has the state already. raftMu is held.
func (r *Replica) settleSnapshot() {
	if s := r.staged; s != nil {
		r.staged = nil
		s.Discard()
		s.Done <- nil
	}
}

// applySnapshot puts the staged snapshot in the place of the replica's state. raftMu is held.
func (r *Replica) applySnapshot(meta *pb.Snapshot) error {
	s := r.staged
	r.staged = nil
	index := meta.GetMetadata().GetIndex()
	if s == nil || s.Index != index {
		return fmt.Errorf("raft wants snapshot %d, which is not here", index)
	}
	hs := r.rd.HardState
	if hs == nil || hs.GetTerm() == 0 {
		hs = r.raftLog.HardState()
	}
	hs = &pb.HardState{Term: hs.Term, Vote: hs.Vote, Commit: new(max(hs.GetCommit(), index))}
	spans := dataSpans(r.id, s.Desc.StartKey, s.Desc.EndKey)
	data := len(spans) - 1
	excise := spans[data]
	err := func() error {
		err := s.addTable("raft", func(w *sstable.Writer) error {
			p := raftlog.Position{Index: index, Term: meta.GetMetadata().GetTerm()}
			return raftlog.WriteTable(w, r.id, r.rid, p, hs)
		})
		if err != nil {
			return err
		}
		if old := r.snapshotState().desc; old != nil && s.Desc.EndKey.Less(old.EndKey) {
			// There was a split that we have not seen: what was right of it goes.
			rest := dataSpans(r.id, s.Desc.EndKey, old.EndKey)
			excise.End = rest[data].End
			for i, span := range rest[1:data] {
				err := s.addTable(fmt.Sprintf("rest%d", i), func(w *sstable.Writer) error {
					return w.DeleteRange(span.Start, span.End)
				})
				if err != nil {
					return err
				}
			}
		}
		r.dataEpoch.Add(1)
		_, err = r.deps.Engine.DB().IngestAndExcise(background, s.paths, nil, nil, excise)
		return engine.Classify(err)
	}()
	if err == nil {
		err = r.reload()
	}
	s.Discard()
	s.Done <- err
	if err == nil {
		r.deps.Metrics.SnapshotsIn.Add(1)
		r.logger().Info("snapshot applied", "index", index, "bytes", s.bytes, "desc", s.Desc.String())
		r.deps.Owner.DescriptorChanged(r, r.Desc())
	}
	return err
}

func (s *StagedSnapshot) addTable(name string, fill func(*sstable.Writer) error) error {
	path := s.prefix + "." + name
	w, err := newTable(s.eng, path)
	if err != nil {
		return err
	}
	s.paths = append(s.paths, path)
	return errors.Join(fill(w), w.Close())
}

// reload publishes the state that a snapshot has put on disk. raftMu is held.
func (r *Replica) reload() error {
	if err := r.raftLog.Reload(); err != nil {
		return err
	}
	db := r.deps.Engine.DB()
	desc, err := mvcc.LoadDescriptor(db, r.id)
	if err != nil {
		return err
	}
	as, ok, err := mvcc.LoadAppliedState(db, r.id)
	if err != nil {
		return err
	}
	if desc == nil || !ok {
		return kv.Errorf(kv.CodeCorruption, "range %d: snapshot without descriptor or applied state", r.id)
	}
	frozen, err := mvcc.LoadFreeze(db, r.id)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.state.applied, r.state.frozen = as, frozen
	r.mu.Unlock()
	r.publishDesc(desc)
	// What we had proposed may be in the snapshot, or not.
	for id, p := range r.pending {
		delete(r.pending, id)
		r.deps.Metrics.Unknown.Add(1)
		r.end(p, unknown("a snapshot was applied"))
	}
	return nil
}

// ReportSnapshot tells Raft what became of a snapshot to another replica.
func (r *Replica) ReportSnapshot(to kv.ReplicaID, status raft.SnapshotStatus) {
	r.post(func(err error) {
		if err == nil {
			r.raft.ReportSnapshot(uint64(to), status)
		}
	})
}
