package eval

import (
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Open locks: a transaction that cannot keep its writes in memory sends them ahead (kv.Prepare.Seqs).
//
// They are like other prepared locks to everybody who writes. Readers need not wait until the transaction commits: its gateway
// promises on request to commit later than they read (kv.HolderState.After). The transaction itself reads its own.
//
// Whatever arrives late or twice is recognised by its number: a lock keeps the highest number that was written or
// taken back, and is never removed before the transaction's end.

// prepareOpen lays or rewrites open locks.
func (e *evaluation) prepareOpen(r *kv.Prepare) (kv.Response, error) {
	if len(r.Seqs) != len(r.Writes) {
		return nil, kv.Errorf(kv.CodeBadRequest, "%d writes with %d numbers", len(r.Writes), len(r.Seqs))
	}
	for _, s := range r.Seqs {
		if s <= 0 {
			return nil, kv.Errorf(kv.CodeBadRequest, "write with number %d", s)
		}
	}
	var inline [8]plannedWrite
	plan, ts, err := e.plan(inline[:0], r.Writes, r.Refreshes, r.StageTS, onOpen)
	if err != nil {
		return nil, err
	}
	for i := range plan { // a lock never moves down
		if own := plan[i].own; own != nil {
			ts = ts.Forward(own.TS)
		}
	}
	if err := e.checkRefreshes(r.Refreshes, r.Writes, ts); err != nil {
		return nil, err
	}
	w := e.batch()
	laid := make([]keys.Key, 0, len(r.Writes))
	for i := range r.Writes {
		wr, own := &r.Writes[i], plan[i].own
		l := kv.LockRecord{Txn: *e.req.Txn, TS: ts}
		if own != nil {
			l.Seq, l.Deleted, l.Value, l.Older, l.Undone = own.Seq, own.Deleted, own.Value, own.Older, own.Undone
		}
		v := kv.LockVersion{Seq: r.Seqs[i], Deleted: wr.Deleted}
		if !wr.Deleted {
			v.Value = wr.Value
		}
		exists := l.Seq > 0 && !l.Deleted
		if !l.Write(v, r.Keep) {
			continue
		}
		if wr.MustNotExist && exists {
			return nil, &kv.Error{Code: kv.CodeConditionFailed, Key: wr.Key.Clone(), Value: cloneValue(own.Value)}
		}
		e.willLock(wr.Key)
		if err := w.PutLock(wr.Key, &l, own != nil); err != nil {
			return nil, err
		}
		laid = append(laid, wr.Key)
	}
	if len(laid) > 0 {
		e.wrote(ts)
		e.eff.Opened = append(e.eff.Opened, OpenedLocks{Txn: *e.req.Txn, Keys: laid, TS: ts})
	}
	return &kv.PrepareResponse{TS: ts}, nil
}

func (e *evaluation) resolveSpan(r *kv.ResolveSpan) (kv.Response, error) {
	return &kv.ResolveSpanResponse{Resume: r.Resume()}, e.resolve(r.Keys(), r.Commit, r.CommitTS)
}

func (e *evaluation) undoSpan(r *kv.UndoSpan) (kv.Response, error) {
	e.writes++ // no key comes twice
	for _, k := range r.Keys() {
		l, err := e.r.Lock(k)
		if err != nil {
			return nil, err
		}
		if l == nil || l.Txn.ID != e.id || !l.Open() || !l.Undo(r.From, r.To) {
			continue
		}
		e.willLock(k)
		if err := e.batch().PutLock(k, l, true); err != nil {
			return nil, err
		}
	}
	return &kv.UndoSpanResponse{Resume: r.Resume()}, nil
}

// Bounds of one ResolveSpan or UndoSpan: locks, bytes of them, and locks of others that are passed over.
const (
	spanKeys  = 1000
	spanBytes = 1 << 20
	spanSteps = 50_000
)

// FindLocks prepares a batch that is about a span of locks: it looks, without latches, which keys the transaction has
// locked there, so that the batch latches and works off these. Nothing is missed: a transaction whose locks are
// resolved lays no new ones that matter, and one that undoes waits for its own answers. Other batches
// are returned as they are.
func FindLocks(db pebble.Reader, req *kv.BatchRequest) (_ *kv.BatchRequest, err error) {
	var span keys.Span
	var found interface {
		kv.Request
		SetKeys(ks []keys.Key, resume keys.Span)
	}
	switch q := req.Requests[0].(type) {
	case *kv.ResolveSpan:
		c := *q
		span, found = q.Span, &c
	case *kv.UndoSpan:
		c := *q
		span, found = q.Span, &c
	default:
		return req, nil
	}
	if len(req.Requests) != 1 || req.Txn == nil {
		return nil, kv.Errorf(kv.CodeBadRequest, "%T comes alone, and for a transaction", found)
	}
	r := mvcc.NewReader(db)
	defer func() { err = errors.Join(err, r.Close()) }()
	cur, err := r.LockCursor(span, false)
	if err != nil {
		return nil, err
	}
	defer cur.Close()
	var ks []keys.Key
	var resume keys.Span
	bytes := 0
	for steps := 0; cur.Next(); steps++ {
		if len(ks) == spanKeys || bytes >= spanBytes || steps == spanSteps {
			resume = keys.Span{Start: cur.Key().Clone(), End: span.EndKey()}
			break
		}
		if cur.Txn() != req.Txn.ID {
			continue
		}
		n, err := cur.Len()
		if err != nil {
			return nil, err
		}
		bytes += n
		ks = append(ks, cur.Key().Clone())
	}
	if err := cur.Err(); err != nil {
		return nil, err
	}
	found.SetKeys(ks, resume)
	c := *req
	c.Requests = []kv.Request{found}
	return &c, nil
}

// resolveLatches are those of locks that become versions at the commit timestamp, or nothing at all: who reads below
// need not wait.
func resolveLatches(dst []Latch, ks []keys.Key, commit bool, commitTS hlc.Timestamp) []Latch {
	at := hlc.Max
	if commit {
		at = commitTS
	}
	n := len(dst)
	dst = keyLatches(dst, ks, Write)
	for i := n; i < len(dst); i++ {
		dst[i].TS = at
	}
	return dst
}
