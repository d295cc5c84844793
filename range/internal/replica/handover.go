package replica

import (
	"bytes"
	"context"
	"encoding/binary"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/concurrency"
	"github.com/pamirdb/pamir/range/internal/eval"
	"github.com/pamirdb/pamir/range/internal/tscache"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// A planned transfer of leadership hands over what a leader has in memory: the locks that statements have taken, and which
// keys were read when. It is the last entry that the old leader proposes at its term, so whoever applies its
// own first entry right after it knows all that its predecessor knew, and nobody has led in between. A leader that dies leaves
// nothing: commits validate what they had locked, and the timestamp cache starts at the clock.
//
// The entry is bounded. Locks beyond maxHandOverLocks (of the youngest transactions) are lost as with a dead leader;
// the oldest reads beyond the limits go into the floor, and make writers that began before them refresh.
const (
	maxHandOverLocks = 1 << 20 // bytes
	// handOverReads is how far back reads are handed over one by one: hardly a transaction that wants to
	// write is older, and those that are refresh.
	handOverReads = 2 * time.Second
	// handOverPatience is how long a transfer waits for the requests that are being executed, while no other begins. If they
	// take longer, reads are not handed over.
	handOverPatience = 200 * time.Millisecond
)

var handOverLimits = tscache.Limits{Points: 8 << 10, Segments: 1 << 10, SpanBytes: 128 << 10}

// handOver is the content of the entry.
type handOver struct {
	locks []concurrency.HeldLock
	// exact: reads holds everything that was ever read under this leader and those before it.
	exact bool
	reads tscache.Summary
}

// handed is a hand-over that was applied at a log position.
type handed struct {
	index uint64
	data  []byte
}

const handOverVersion = 1

// append appends the stored form:
//
//	01 | count, transactions | count, (transaction uvarint, strength 1, key length, key)...
//	   | exact 1 [floor 12 | count, (hash 8, ts 12, txn 16)... | count, (start length, start, end length, end, ts 12, txn 16)...]
func (h *handOver) append(b []byte) []byte {
	b = append(b, handOverVersion)
	var txns []*kv.TxnMeta // the locks of one come together
	for i := range h.locks {
		if n := len(txns); n == 0 || txns[n-1] != h.locks[i].Txn {
			txns = append(txns, h.locks[i].Txn)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(txns)))
	for _, t := range txns {
		b = kv.AppendTxnMeta(b, t)
	}
	b = binary.AppendUvarint(b, uint64(len(h.locks)))
	n := 0
	for i := range h.locks {
		l := &h.locks[i]
		for txns[n] != l.Txn {
			n++
		}
		b = append(binary.AppendUvarint(b, uint64(n)), byte(l.Strength))
		b = appendKey(b, l.Key)
	}
	if !h.exact {
		return append(b, 0)
	}
	b = h.reads.Floor.Append(append(b, 1))
	b = binary.AppendUvarint(b, uint64(len(h.reads.Points)))
	for i := range h.reads.Points {
		p := &h.reads.Points[i]
		b = append(p.TS.Append(binary.BigEndian.AppendUint64(b, p.Hash)), p.Txn[:]...)
	}
	b = binary.AppendUvarint(b, uint64(len(h.reads.Spans)))
	for i := range h.reads.Spans {
		s := &h.reads.Spans[i]
		b = append(s.TS.Append(appendKey(appendKey(b, s.Span.Start), s.Span.End)), s.Txn[:]...)
	}
	return b
}

func appendKey(b []byte, k keys.Key) []byte {
	return append(binary.AppendUvarint(b, uint64(len(k))), k...)
}

// decode reads what append wrote, into memory of its own.
func (h *handOver) decode(b []byte) error {
	*h = handOver{}
	bad := len(b) == 0 || b[0] != handOverVersion
	take := func(n int) []byte {
		if bad || n > len(b) {
			bad = true
			return make([]byte, min(n, 64))
		}
		v := b[:n]
		b = b[n:]
		return v
	}
	num := func(unit int) int { // of things that take at least unit bytes each
		v, n := binary.Uvarint(b)
		if bad || n <= 0 || v > uint64(len(b)/unit) {
			bad = true
			return 0
		}
		b = b[n:]
		return int(v)
	}
	key := func() keys.Key { return bytes.Clone(take(num(1))) }
	ts := func() hlc.Timestamp {
		t, _, err := hlc.Decode(take(hlc.EncodedLen))
		bad = bad || err != nil
		return t
	}
	txn := func() kv.TxnID { return kv.TxnID(take(len(kv.TxnID{}))) }

	take(1)
	txns := make([]*kv.TxnMeta, num(16))
	for i := range txns {
		m, rest, err := kv.DecodeTxnMeta(b)
		if bad || err != nil {
			return errCommand
		}
		txns[i], b = &m, rest
	}
	for range num(3) {
		n, w := binary.Uvarint(b)
		if bad || w <= 0 || n >= uint64(len(txns)) {
			return errCommand
		}
		b = b[w:]
		s := kv.LockStrength(take(1)[0])
		if s == kv.LockNone || s > kv.LockUpdate {
			return errCommand
		}
		h.locks = append(h.locks, concurrency.HeldLock{Txn: txns[n], Strength: s, Key: key()})
	}
	switch take(1)[0] {
	case 0:
	case 1:
		h.exact = true
		h.reads.Floor = ts()
		for range num(8 + hlc.EncodedLen + 16) {
			h.reads.Points = append(h.reads.Points, tscache.Point{Hash: binary.BigEndian.Uint64(take(8)), TS: ts(), Txn: txn()})
		}
		for range num(2 + hlc.EncodedLen + 16) {
			h.reads.Spans = append(h.reads.Spans, tscache.SpanRead{Span: keys.Span{Start: key(), End: key()}, TS: ts(), Txn: txn()})
		}
	default:
		bad = true
	}
	if bad || len(b) != 0 {
		return errCommand
	}
	return nil
}

// wholeRange is a latch that nobody shares: local keys, too.
var wholeRange = []eval.Latch{{Span: keys.Span{Start: keys.Key{0x01}, End: keys.Max}, Access: eval.Write}}

// beginTransfer stops serving for good in the term, hands over, and asks the replica to take the lead. adminMu is held.
func (r *Replica) beginTransfer(ctx context.Context, s *state, to kv.Replica) error {
	if err := r.Call(func() error { return r.mayTransfer(s.term, to) }); err != nil {
		return err
	}
	// Let what is being executed come to its end: then no read is answered that the summary does not know, and no lock
	// goes or comes.
	pctx, cancel := context.WithTimeout(ctx, handOverPatience)
	g, err := r.locks.Sequence(pctx, &kv.BatchRequest{RangeID: r.id}, wholeRange)
	cancel()
	if err == nil {
		defer g.Finish()
	} else if !kv.HasCode(err, kv.CodeCanceled) || ctx.Err() != nil {
		return err
	}
	h := handOver{exact: err == nil}
	if h.exact {
		// Followers answer reads at and below what was closed, and the successor does not know how far that was told.
		floor := r.closedTarget(s).Forward(r.deps.Clock.Now().Add(-handOverReads))
		h.reads = r.tscache.Summarize(floor, handOverLimits)
	}
	return r.Call(func() error {
		if err := r.mayTransfer(s.term, to); err != nil {
			return err
		}
		r.wake() // nobody says any more what is closed here
		// From here on this leader serves nothing in this term (rule R8 of package liveness), whether the target wins or not. Said before the table is
		// closed: who evaluates, and has not seen it, sees that the table is another's (Replica.evaluate).
		r.setTransferring(true)
		h.reads.Floor = h.reads.Floor.Forward(r.closed.told())
		var left int
		h.locks, left = r.locks.HandOver(r.notLeader(), maxHandOverLocks)
		cmd := command{id: nextProposalID(), handOver: true, batch: h.append(nil)}
		if err := r.raft.Propose(cmd.append(nil)); err != nil {
			r.locks.Open()
			r.locks.Install(h.locks)
			r.setTransferring(false) // nothing was said to anybody
			return kv.Errorf(kv.CodeUnavailable, "range %d has too much in flight: %v", r.id, err)
		}
		r.wake() // Raft takes no proposals any more, so the entry is the term's last
		r.deps.Metrics.HandOvers.Add(1)
		r.deps.Metrics.LocksHandedOver.Add(int64(len(h.locks)))
		r.deps.Metrics.LocksLeftBehind.Add(int64(left))
		r.raft.TransferLeader(uint64(to.ReplicaID))
		return nil
	})
}

func (r *Replica) setTransferring(v bool) {
	r.mu.Lock()
	r.state.transferring = v
	r.mu.Unlock()
}

// mayTransfer checks that the replica leads at term, and that the other one can take over at once. raftMu is held.
func (r *Replica) mayTransfer(term uint64, to kv.Replica) error {
	if r.role != raft.StateLeader || r.term != term {
		return r.notLeader()
	}
	last := r.raftLog.Last().Index
	ready := false
	r.raft.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		// It catches up while nobody serves: a large distance is refused.
		if id == uint64(to.ReplicaID) {
			ready = pr.State == tracker.StateReplicate && pr.Match+1000 >= last
		}
	})
	if !ready {
		return kv.Errorf(kv.CodeUnavailable, "the replica on store %d is not up to date", to.StoreID)
	}
	return nil
}

// takeOver gives a leader whose own first entry has just been applied, at index, what its predecessor handed over.
// It returns false if nobody did, or not all: then anything may have been read until now. raftMu is held.
func (r *Replica) takeOver(index uint64) (exact bool) {
	last := r.handed
	r.handed = nil
	if last == nil || last.index+1 != index {
		// The right side of a split has the lock table and the timestamp cache of the left side's leader, if that is here and
		// nobody has led the new group before.
		return r.inherited && index == initialPosition.Index+1
	}
	var h handOver
	if err := h.decode(last.data); err != nil {
		r.logger().Error("what the last leader handed over cannot be read", "err", err)
		return false
	}
	r.locks.Install(h.locks)
	if h.exact {
		r.tscache.Learn(&h.reads)
	}
	return h.exact
}
