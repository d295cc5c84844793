package eval

import (
	"encoding/binary"
	"slices"
	"sort"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// plannedWrite is a write whose key has been looked at.
type plannedWrite struct {
	prev mvcc.Newest
	// own is the lock that the transaction has on the key already (a repeated Prepare).
	own *kv.LockRecord
}

// ownLocks says what plan makes of a lock that the transaction has itself.
type ownLocks uint8

const (
	onCommit ownLocks = iota // it is in the way of nothing
	onRepeat                 // a Prepare that is repeated leaves it where it is
	onOpen                   // the write goes on top of it
)

// floor returns the lowest timestamp, ts or later, at which this range may still write anything.
func (e *evaluation) floor(ts hlc.Timestamp) hlc.Timestamp {
	// Followers may be serving reads up to the closed timestamp.
	if ts.LessEq(e.env.ClosedTS) {
		ts = e.env.ClosedTS.Next()
	}
	// At or below the GC threshold a collected tombstone could have hidden the write.
	if ts.LessEq(e.env.GCThreshold) {
		ts = e.env.GCThreshold.Next()
	}
	return ts
}

// above raises ts above every read of key by others and above every version of it.
func (e *evaluation) above(key keys.Key, ts hlc.Timestamp, prev mvcc.Newest) hlc.Timestamp {
	if read := e.env.TSCache.Get(keys.Span{Start: key}, e.id); !read.Less(ts) {
		ts = read.Next()
	}
	if prev.Exists && !prev.TS.Less(ts) {
		ts = prev.TS.Next()
	}
	return ts
}

// plan looks at every key that the transaction wants to write, fails on what forbids the
// writes, and returns the lowest timestamp, ts or later, at which all of them can be made.
//
// Unreplicated locks of others are not looked at: the batch has waited for them before it was let in, and
// its latches have kept new ones away since.
func (e *evaluation) plan(dst []plannedWrite, writes []kv.Write, refreshes []kv.ReadSpan, ts hlc.Timestamp, own ownLocks) ([]plannedWrite, hlc.Timestamp, error) {
	sorted := inOrder(writes)
	switch {
	case len(writes) == 0:
	case sorted && len(e.req.Requests) == 1:
		e.writes++ // no key comes twice
	default:
		if err := e.claim(len(writes), func(i int) keys.Key { return writes[i].Key }); err != nil {
			return dst, ts, err
		}
	}
	from := ts
	ts = e.floor(ts)
	var ce *ConflictError
	c := conflicts{refreshes: refreshes}
	unread, absent, unlocked := false, 0, 0 // the first so many have no version, or no lock
	large := sorted && len(writes) >= manyWrites
	if large {
		dst = slices.Grow(dst, len(writes))
		unread = e.env.TSCache.Get(spanOf(writes), e.id).Less(ts)
	}
	for i := range writes {
		w := &writes[i]
		if len(w.Key) == 0 || w.Key.IsLocal() {
			return dst, ts, kv.Errorf(kv.CodeBadRequest, "write to %s", keys.Pretty(w.Key))
		}
		var p plannedWrite
		if large && e.env.Stats.Locks > 0 && i >= unlocked && i%manyWrites == 0 {
			n, err := e.unlocked(writes[i:])
			if err != nil {
				return dst, ts, err
			}
			unlocked = i + n
		}
		if e.env.Stats.Locks > 0 && i >= unlocked {
			l, err := e.lockForWrite(w.Key)
			if err != nil {
				return dst, ts, err
			}
			if l != nil && l.Txn.ID != e.id {
				if ce == nil {
					ce = &ConflictError{}
				}
				if len(ce.Conflicts) < maxConflicts {
					ce.Conflicts = append(ce.Conflicts, conflict(w.Key, l, ts, StrengthOf(w)))
				}
				continue
			}
			p.own = l
		}
		if large && i >= absent && i%manyWrites == 0 {
			n, err := e.absent(writes[i:])
			if err != nil {
				return dst, ts, err
			}
			absent = i + n
		}
		var v mvcc.Version
		var ok bool
		if i >= absent {
			var err error
			if v, ok, err = e.r.Newest(w.Key); err != nil {
				return dst, ts, err
			}
		}
		p.prev = mvcc.Describe(v, ok)
		if p.own != nil && own == onOpen && !p.own.Void() {
			dst = append(dst, p) // nobody has written the key since, so only the lock says whether it exists
			continue
		}
		if p.own != nil && own == onRepeat && from.LessEq(p.own.TS) {
			dst = append(dst, p) // laid already, at a timestamp that serves: it stays as it is
			continue
		}
		if ok {
			if err := c.check(w, v); err != nil && !(e.env.Planted.StaleLocks && kv.HasCode(err, kv.CodeWriteTooOld)) {
				return dst, ts, err
			}
		}
		if unread && !ok {
			dst = append(dst, p)
			continue
		}
		ts = e.above(w.Key, ts, p.prev)
		dst = append(dst, p)
	}
	if ce != nil {
		return dst, ts, ce
	}
	return dst, ts, nil
}

// manyWrites is from how many writes on it is worth looking for what all of them have in common, and in pieces of how many.
const manyWrites = 256

// inOrder reports whether the keys ascend.
func inOrder(writes []kv.Write) bool {
	for i := 1; i < len(writes); i++ {
		if !writes[i-1].Key.Less(writes[i].Key) {
			return false
		}
	}
	return true
}

// absent returns how many of writes, which are in order, are known to have no version, from the first on. A load into an
// empty part of a table takes one look for all of it.
func (e *evaluation) absent(writes []kv.Write) (int, error) {
	key, _, some, err := e.r.Changed(spanOf(writes), hlc.Timestamp{}, hlc.Max)
	if err != nil || !some {
		return len(writes), err
	}
	return before(writes, key), nil
}

// unlocked does for locks what absent does for versions.
func (e *evaluation) unlocked(writes []kv.Write) (int, error) {
	n := len(writes)
	err := e.r.Locks(spanOf(writes), func(key keys.Key, _ *kv.LockRecord) bool {
		n = before(writes, key)
		return false
	})
	return n, err
}

// spanOf returns the span from the first to the last of writes, which are in order.
func spanOf(writes []kv.Write) keys.Span {
	return keys.Span{Start: writes[0].Key, End: writes[len(writes)-1].Key.Next()}
}

// before returns how many of writes, which are in order, come before key.
func before(writes []kv.Write, key keys.Key) int {
	return sort.Search(len(writes), func(i int) bool { return !writes[i].Key.Less(key) })
}

// conflicts finds the refreshes that a write of a key must pass.
type conflicts struct {
	refreshes []kv.ReadSpan
	points    map[string]hlc.Timestamp // of many refreshes: single keys, and since when
	spans     []kv.ReadSpan            // the others
}

// check fails if the newest version v of the key forbids the write.
func (c *conflicts) check(w *kv.Write, v mvcc.Version) error {
	if w.MustNotExist && !v.Deleted {
		return &kv.Error{Code: kv.CodeConditionFailed, Key: w.Key.Clone(), Value: cloneValue(v.Value)}
	}
	// A key that the transaction has read or locked comes with a refresh: what it writes rests on what it
	// read. A blind write just goes above.
	look := c.refreshes
	if len(look) > 8 {
		if c.points == nil {
			c.index()
		}
		if at, ok := c.points[string(w.Key)]; ok && at.Less(v.TS) {
			return &kv.Error{Code: kv.CodeWriteTooOld, Key: w.Key.Clone(), TS: v.TS}
		}
		look = c.spans
	}
	for i := range look {
		if r := &look[i]; r.At.Less(v.TS) && r.Span.Contains(w.Key) {
			return &kv.Error{Code: kv.CodeWriteTooOld, Key: w.Key.Clone(), TS: v.TS}
		}
	}
	return nil
}

func (c *conflicts) index() {
	c.points = make(map[string]hlc.Timestamp, len(c.refreshes))
	for i := range c.refreshes {
		r := &c.refreshes[i]
		if !r.Span.IsPoint() {
			c.spans = append(c.spans, *r)
			continue
		}
		if at, ok := c.points[string(r.Span.Start)]; !ok || r.At.Less(at) {
			c.points[string(r.Span.Start)] = r.At
		}
	}
}

// checkRefreshes validates reads up to ts. Single keys that are also written have been checked by plan,
// down to their newest version.
func (e *evaluation) checkRefreshes(refreshes []kv.ReadSpan, writes []kv.Write, ts hlc.Timestamp) error {
	var written map[string]struct{}
	isWritten := func(k keys.Key) bool {
		if len(writes) <= 8 {
			for i := range writes {
				if writes[i].Key.Equal(k) {
					return true
				}
			}
			return false
		}
		if written == nil {
			written = make(map[string]struct{}, len(writes))
			for i := range writes {
				written[string(writes[i].Key)] = struct{}{}
			}
		}
		_, ok := written[string(k)]
		return ok
	}
	for i := range refreshes {
		r := &refreshes[i]
		if e.env.Planted.LostRefresh {
			continue
		}
		if r.Span.IsPoint() && r.At.Less(ts) && !r.At.Less(e.env.GCThreshold) && isWritten(r.Span.Start) {
			continue
		}
		if err := e.unchanged(r.Span, r.At, ts, r.Existence); err != nil {
			return err
		}
	}
	return nil
}

func (e *evaluation) commitSingleRange(r *kv.CommitSingleRange) (kv.Response, error) {
	if len(r.Writes) == 0 {
		return nil, kv.Errorf(kv.CodeBadRequest, "commit without writes")
	}
	anchor := r.Writes[0].Key
	sent, err := e.firstSent(r.Sent)
	if err != nil {
		return nil, err
	}
	if o, ok, err := e.commitOutcome(anchor, e.id, sent); err != nil {
		return nil, err
	} else if ok {
		if !o.Committed {
			return nil, kv.Errorf(kv.CodeTxnAborted, "transaction %s was fenced", e.id)
		}
		// A retry after a lost reply: the first outcome. Its locks may still be in the table, if
		// the reply was lost together with the leader.
		e.eff.Resolved = append(e.eff.Resolved, ResolvedLock{Txn: e.id, Commit: true, CommitTS: o.CommitTS})
		return &kv.CommitSingleRangeResponse{CommitTS: o.CommitTS}, nil
	}
	if sent.Less(e.env.Outcomes.Forgotten) {
		return nil, e.forgotten()
	}
	if e.readTS.IsEmpty() {
		return nil, kv.Errorf(kv.CodeBadRequest, "commit without a read timestamp")
	}
	var inline [8]plannedWrite
	plan, ts, err := e.plan(inline[:0], r.Writes, r.Refreshes, e.readTS, onCommit)
	if err != nil {
		return nil, err
	}
	if !r.MaxTS.IsEmpty() && r.MaxTS.Less(ts) {
		return nil, &kv.Error{Code: kv.CodeWriteTooOld, TS: ts, Message: "reads elsewhere hold up to an earlier timestamp only"}
	}
	if err := e.checkRefreshes(r.Refreshes, r.Writes, ts); err != nil {
		return nil, err
	}
	w := e.batch()
	for i := range r.Writes {
		wr := &r.Writes[i]
		if plan[i].own != nil {
			// The transaction has prepared this key before and decided to commit here alone after all.
			if err := w.ClearLock(wr.Key, e.id); err != nil {
				return nil, err
			}
		}
		if err := w.Put(wr.Key, ts, wr.Deleted, wr.Value, plan[i].prev); err != nil {
			return nil, err
		}
	}
	if err := w.PutCommitOutcome(e.env.Outcomes.Half, anchor, e.id, mvcc.CommitOutcome{Committed: true, CommitTS: ts}); err != nil {
		return nil, err
	}
	e.wrote(ts)
	// All its writes are here, so all its locks here are done with.
	e.eff.Resolved = append(e.eff.Resolved, ResolvedLock{Txn: e.id, Commit: true, CommitTS: ts})
	return &kv.CommitSingleRangeResponse{CommitTS: ts}, nil
}

// firstSent returns when a commit was first sent, at the latest. The clock is past it from now on: what is found out about it is true of all copies.
func (e *evaluation) firstSent(sent hlc.Timestamp) (hlc.Timestamp, error) {
	if t := e.req.Txn; sent.IsEmpty() && t != nil {
		sent = t.ReadTS
	}
	if now := e.env.Clock.Peek(); now.Less(sent) {
		if ahead := sent.WallTime - now.WallTime; ahead > int64(e.env.Clock.MaxOffset()) {
			return sent, kv.Errorf(kv.CodeBadRequest, "a commit that will be sent at %s, and it is %s", sent, now)
		}
		e.env.Clock.Update(sent)
	}
	return sent, nil
}

// commitOutcome returns what the range remembers of a commit that was first sent then.
func (e *evaluation) commitOutcome(anchor keys.Key, id kv.TxnID, sent hlc.Timestamp) (o mvcc.CommitOutcome, ok bool, err error) {
	at := e.env.Outcomes
	o, ok, err = e.r.CommitOutcome(at.Half, anchor, id)
	if err == nil && !ok && sent.Less(at.Since) {
		o, ok, err = e.r.CommitOutcome(at.Older(), anchor, id)
	}
	if e.env.Planted.ForgottenCommits && ok && o.CommitTS.Less(e.env.LeaderSince) {
		return mvcc.CommitOutcome{}, false, err
	}
	return o, ok, err
}

// forgotten: a commit of which there is no trace may have happened all the same.
func (e *evaluation) forgotten() error {
	return &kv.Error{Code: kv.CodeReadBelowGC, TS: e.env.Outcomes.Forgotten, Message: "what became of a commit as old as that is forgotten"}
}

// queryCommit tells what became of a CommitSingleRange. Where nothing is known it writes a
// fence, so that the answer "not committed" stays true when the commit arrives late.
func (e *evaluation) queryCommit(r *kv.QueryCommit) (kv.Response, error) {
	sent, err := e.firstSent(r.Sent)
	if err != nil {
		return nil, err
	}
	o, ok, err := e.commitOutcome(r.Key, r.ID, sent)
	if err != nil {
		return nil, err
	}
	if !ok {
		if sent.Less(e.env.Outcomes.Forgotten) {
			return nil, e.forgotten()
		}
		o = mvcc.CommitOutcome{CommitTS: e.env.Clock.Now()}
		if err := e.batch().PutCommitOutcome(e.env.Outcomes.Half, r.Key, r.ID, o); err != nil {
			return nil, err
		}
	}
	if !o.Committed {
		return &kv.QueryCommitResponse{}, nil
	}
	return &kv.QueryCommitResponse{Committed: true, CommitTS: o.CommitTS}, nil
}

// writeNow writes one key without a transaction, at the leader's clock or later.
func (e *evaluation) writeNow(key keys.Key, deleted bool, value []byte) (ts hlc.Timestamp, existed bool, err error) {
	v, ok, err := e.newestForWrite(key, StrengthOf(&kv.Write{Deleted: deleted}))
	if err != nil {
		return ts, false, err
	}
	prev := mvcc.Describe(v, ok)
	if deleted && (!ok || prev.Deleted) {
		return ts, false, nil // nothing to delete, and nothing to write
	}
	ts = e.above(key, e.floor(e.env.Clock.Now()), prev)
	if err := e.batch().Put(key, ts, deleted, value, prev); err != nil {
		return ts, false, err
	}
	e.wrote(ts)
	return ts, ok && !prev.Deleted, nil
}

// newestForWrite reads the newest version of a key that is about to be written without a transaction.
func (e *evaluation) newestForWrite(key keys.Key, want kv.LockStrength) (v mvcc.Version, ok bool, err error) {
	if len(key) == 0 || key.IsLocal() {
		return v, false, kv.Errorf(kv.CodeBadRequest, "write to %s", keys.Pretty(key))
	}
	if e.req.Txn != nil {
		return v, false, kv.Errorf(kv.CodeBadRequest, "a transaction buffers its writes until it commits")
	}
	if err := e.claim(1, func(int) keys.Key { return key }); err != nil {
		return v, false, err
	}
	if e.env.Stats.Locks > 0 {
		l, err := e.lockOn(key)
		if err != nil {
			return v, false, err
		}
		if l != nil {
			return v, false, e.conflictOn(key, l, want)
		}
	}
	return e.r.Newest(key)
}

func (e *evaluation) increment(r *kv.Increment) (kv.Response, error) {
	v, ok, err := e.newestForWrite(r.Key, kv.LockNoKeyUpdate)
	if err != nil {
		return nil, err
	}
	var n int64
	if ok && !v.Deleted {
		if len(v.Value) != 8 {
			return nil, &kv.Error{Code: kv.CodeBadRequest, Key: r.Key, Message: "not a counter"}
		}
		n = int64(binary.BigEndian.Uint64(v.Value))
	}
	sum := n + r.By
	if (sum > n) != (r.By > 0) && r.By != 0 {
		return nil, &kv.Error{Code: kv.CodeBadRequest, Key: r.Key, Message: "counter out of range"}
	}
	prev := mvcc.Describe(v, ok)
	ts := e.above(r.Key, e.floor(e.env.Clock.Now()), prev)
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(sum))
	if err := e.batch().Put(r.Key, ts, false, b[:], prev); err != nil {
		return nil, err
	}
	e.wrote(ts)
	return &kv.IncrementResponse{Value: sum}, nil
}

// gcPerRequest bounds the versions that one GC removes, gcScanned those that it looks at.
const (
	gcPerRequest = 5_000
	gcScanned    = 50_000
)

// gc raises the threshold, or collects what is below it, or turns the outcomes of commits over. The first two are apart: the new threshold is applied, and whoever passed the
// check of the old one has ended, before anything goes.
func (e *evaluation) gc(r *kv.GC) (kv.Response, error) {
	if now := e.env.Clock.Now(); !r.Threshold.Less(now) {
		return nil, kv.Errorf(kv.CodeBadRequest, "GC threshold %s is not in the past", r.Threshold)
	}
	resp := &kv.GCResponse{}
	if r.Outcomes {
		if e.env.Outcomes.Since.LessEq(r.Threshold) {
			// What was sent before this is what has come before this: see firstSent, and no two clocks differ by more.
			e.eff.TurnOutcomes = e.env.Clock.Now().Add(2 * e.env.Clock.MaxOffset())
		}
		return resp, nil
	}
	if !r.Collect {
		if e.env.GCThreshold.Less(r.Threshold) {
			e.eff.GCThreshold = r.Threshold
		}
		return resp, nil
	}
	if e.env.GCThreshold.Less(r.Threshold) {
		return nil, kv.Errorf(kv.CodeBadRequest, "GC up to %s, beyond the threshold %s", r.Threshold, e.env.GCThreshold)
	}
	e.writes++
	w := e.batch()
	if len(r.Dropped.Start) > 0 {
		in := r.Dropped
		if in.Start.Less(r.From) {
			in.Start = r.From
		}
		var err error
		resp.Removed, resp.Next, err = mvcc.PurgeDropped(e.env.Reader, w, in, r.Threshold, gcScanned)
		return resp, err
	}
	if len(r.From) == 0 {
		n, err := mvcc.PurgeTxnRecords(e.env.Reader, w, e.env.Desc.Span(), r.Threshold, gcPerRequest)
		resp.Removed += n
		if err != nil {
			return nil, err
		}
		n, err = mvcc.PurgeMergeOutcomes(e.env.Reader, w, e.env.Desc.Span(), r.Threshold.Add(-mvcc.MergesKept), gcPerRequest)
		resp.Removed += n
		if err != nil {
			return nil, err
		}
		if resp.Removed >= gcPerRequest { // there are more of them
			resp.Next = e.env.Desc.StartKey
		}
	}
	// Statistics are exact: where every version is a live row there is nothing to look for.
	if e.env.Stats.Versions == e.env.Stats.LiveRows {
		return resp, nil
	}
	span := e.env.Desc.Span()
	if span.Start.Less(r.From) {
		span.Start = r.From
	}
	n, next, err := mvcc.PurgeShadowed(e.env.Reader, w, span, r.Threshold, gcPerRequest, gcScanned)
	resp.Removed += n
	resp.Next = next
	return resp, err
}
