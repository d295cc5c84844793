package eval

import (
	"bytes"
	"slices"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// maxConflicts is how many locks one ConflictError reports.
const maxConflicts = 64

// concernsRead reports whether a prepared write may turn out to be a version that a read at the batch's
// timestamp must see, or that is uncertain to it: it commits at its timestamp or later, and was
// written here at its timestamp.
func (e *evaluation) concernsRead(l *kv.LockRecord) bool {
	return l.Txn.ID != e.id && l.TS.LessEq(e.readTS.Forward(e.window.Local))
}

// blockedRead is what a read does at prepared locks that concern it.
func (e *evaluation) blockedRead(key keys.Key, l *kv.LockRecord) error {
	if e.env.Follower {
		// It cannot wait for the outcome, which the leader may know already.
		return &kv.Error{Code: kv.CodeNotClosed, TS: l.TS.Prev(), Message: "prepared write at " + keys.Pretty(key)}
	}
	return conflictOn(key, l)
}

func (e *evaluation) get(r *kv.Get) (kv.Response, error) {
	if r.Lock != kv.LockNone {
		return e.lockingGet(r)
	}
	if e.env.Stats.Locks > 0 {
		l, err := e.r.Lock(r.Key)
		if err != nil {
			return nil, err
		}
		if l != nil && e.concernsRead(l) {
			return nil, e.blockedRead(r.Key, l)
		}
	}
	v, ok, err := e.r.Get(r.Key, e.readTS, e.window)
	if err != nil {
		return nil, err
	}
	resp := &kv.GetResponse{}
	if ok {
		resp.Exists, resp.Value, resp.TS = true, cloneValue(v.Value), v.TS
	}
	e.remember(keys.Span{Start: r.Key})
	return resp, nil
}

// lockingGet locks first and then reads the newest version: with the lock held nobody changes it any more.
func (e *evaluation) lockingGet(r *kv.Get) (kv.Response, error) {
	resp := &kv.GetResponse{}
	if e.env.Stats.Locks > 0 {
		l, err := e.r.Lock(r.Key)
		if err != nil {
			return nil, err
		}
		if l != nil && l.Txn.ID != e.id {
			return resp, e.lockedOnDisk(r.Key, l)
		}
	}
	// Not before the look at the disk: who waits for a prepared write holds nothing on its key.
	if ok, err := e.lock(r.Key, r.Lock); err != nil {
		return nil, err
	} else if !ok {
		return resp, nil // WaitSkip: as if it did not exist
	}
	v, ok, err := e.r.Newest(r.Key)
	if err != nil {
		return nil, err
	}
	if ok && e.readTS.Less(v.TS) {
		return nil, &kv.Error{Code: kv.CodeWriteTooOld, Key: r.Key.Clone(), TS: v.TS}
	}
	if ok && !v.Deleted {
		resp.Exists, resp.Value, resp.TS = true, cloneValue(v.Value), v.TS
	}
	e.remember(keys.Span{Start: r.Key})
	return resp, nil
}

// lock takes an unreplicated lock for the transaction. ok is false if the row is to be left out (WaitSkip).
func (e *evaluation) lock(key keys.Key, s kv.LockStrength) (ok bool, err error) {
	if e.env.Follower || e.env.Locks == nil {
		return false, kv.Errorf(kv.CodeNotLeader, "locks are taken on the leader")
	}
	if e.req.Txn == nil {
		return false, kv.Errorf(kv.CodeBadRequest, "locking read without a transaction")
	}
	holder, ok := e.env.Locks.TryLock(e.req.Txn, key, s)
	if ok {
		return true, nil
	}
	switch e.req.Wait {
	case kv.WaitSkip:
		return false, nil
	case kv.WaitError:
		return false, notAvailable(key)
	}
	c := Conflict{Key: key.Clone()}
	if holder != nil {
		c.Holder = *holder
	}
	return false, &ConflictError{Conflicts: []Conflict{c}}
}

// lockedOnDisk is what a locking read does at a row that another transaction has a prepared write on; nil: leave it out.
func (e *evaluation) lockedOnDisk(key keys.Key, l *kv.LockRecord) error {
	switch e.req.Wait {
	case kv.WaitSkip:
		return nil
	case kv.WaitError:
		return notAvailable(key)
	}
	return conflictOn(key, l)
}

func notAvailable(key keys.Key) error {
	return &kv.Error{Code: kv.CodeLockNotAvailable, Key: key.Clone(), Message: "could not obtain lock on row"}
}

// remember leaves the read in the timestamp cache. A follower has none: the timestamps it
// serves are closed, so nothing can be written below them any more.
func (e *evaluation) remember(span keys.Span) {
	if !e.env.Follower {
		e.env.TSCache.Add(span, e.readTS, e.id)
	}
}

func cloneValue(v []byte) []byte {
	if len(v) == 0 {
		return []byte{}
	}
	return bytes.Clone(v)
}

// scanState is one Scan request being evaluated.
type scanState struct {
	*evaluation
	sc   *kv.Scan
	resp *kv.ScanResponse
	proc kv.Processor
	// probe answers, for SKIP LOCKED, whether the processor would keep a row, before it is known whether the row can
	// be locked: proc must not see rows that are left out.
	probe kv.Processor
	locks []foundLock // prepared by others in the current span, in the order of the scan
	n     int
	used  int64 // bytes of the result that count against bytesLeft
}

type foundLock struct {
	key keys.Key
	l   *kv.LockRecord
}

func (e *evaluation) scan(r *kv.Scan) (_ kv.Response, err error) {
	s := scanState{evaluation: e, sc: r, resp: &kv.ScanResponse{}}
	if r.Pushdown != nil {
		s.proc = r.Pushdown.NewProcessor()
		defer func() { s.proc.Close() }()
		if r.Lock != kv.LockNone && e.req.Wait == kv.WaitSkip {
			s.probe = r.Pushdown.NewProcessor()
			defer func() { s.probe.Close() }()
		}
	}
	for i, span := range r.Spans {
		if !span.Valid() {
			return nil, kv.Errorf(kv.CodeBadRequest, "empty span")
		}
		if e.returned > 0 && (e.rowsLeft <= 0 || e.bytesLeft <= 0) {
			s.resp.Resume = append(s.resp.Resume, r.Spans[i:]...)
			break
		}
		rest, done, err := s.span(span)
		if err != nil {
			return nil, err
		}
		if rest.Valid() {
			s.resp.Resume = append(append(s.resp.Resume, rest), r.Spans[i+1:]...)
			break
		}
		if done {
			break
		}
	}
	if s.proc != nil {
		if s.resp.Result, err = s.proc.Finish(); err != nil {
			return nil, pushdownError(err)
		}
	}
	return s.resp, nil
}

// span scans one span. rest is what a bound left over (not Valid if nothing), done that the processor wants no more.
func (s *scanState) span(span keys.Span) (rest keys.Span, done bool, err error) {
	if err := s.findLocks(span); err != nil {
		return rest, false, err
	}
	it := s.r.Scan(span, s.sc.Reverse, s.readTS, s.window)
	defer it.Close()
	stopped := false
	for it.Next() {
		if s.n++; s.n%rowsBetweenChecks == 0 {
			if err := s.ctx.Err(); err != nil {
				return rest, false, &kv.Error{Code: kv.CodeCanceled, Message: err.Error()}
			}
		}
		if len(s.locks) > 0 {
			if err := s.passLocks(it.Key()); err != nil {
				return rest, false, err
			}
		}
		kept, err := s.row(it)
		if err != nil {
			return rest, false, err
		}
		if s.proc != nil && s.proc.Done() {
			done, stopped = true, true
			break
		}
		if kept && (s.rowsLeft <= 0 || s.bytesLeft <= 0) {
			stopped = true
			break
		}
	}
	if err := it.Err(); err != nil {
		return rest, false, err
	}
	read := span
	if stopped {
		last := it.Key().Clone()
		if s.sc.Reverse {
			read = keys.Span{Start: last, End: span.EndKey()}
			rest = keys.Span{Start: span.Start, End: last}
		} else {
			read = keys.Span{Start: span.Start, End: last.Next()}
			rest = keys.Span{Start: read.End, End: span.EndKey()}
		}
		if done {
			rest = keys.Span{}
		} else if !rest.Start.Less(rest.End) {
			rest = keys.Span{}
		}
	} else if err := s.passLocks(nil); err != nil {
		return rest, false, err
	}
	if read.Valid() {
		s.remember(read)
	}
	return rest, done, nil
}

// findLocks collects the prepared locks in the span that may matter.
func (s *scanState) findLocks(span keys.Span) error {
	s.locks = s.locks[:0]
	if s.env.Stats.Locks == 0 {
		return nil
	}
	err := s.r.Locks(span, func(key keys.Key, l *kv.LockRecord) bool {
		if s.concernsRead(l) || (s.sc.Lock != kv.LockNone && l.Txn.ID != s.id) {
			s.locks = append(s.locks, foundLock{key, l})
		}
		return true
	})
	if s.sc.Reverse {
		slices.Reverse(s.locks)
	}
	return err
}

// passLocks handles the prepared locks that the scan passes on its way to key (nil: to the end of
// the span). A lock on key itself is left for row.
func (s *scanState) passLocks(key keys.Key) error {
	for len(s.locks) > 0 {
		f := s.locks[0]
		if key != nil {
			c := f.key.Compare(key)
			if s.sc.Reverse {
				c = -c
			}
			if c > 0 || (c == 0 && s.sc.Lock != kv.LockNone) {
				return nil
			}
		}
		s.locks = s.locks[1:]
		if !s.concernsRead(f.l) {
			continue // a locking scan at a key that it does not see
		}
		if s.sc.Lock != kv.LockNone && s.req.Wait != kv.WaitBlock {
			if s.req.Wait == kv.WaitError {
				return notAvailable(f.key)
			}
			continue // SKIP LOCKED: whatever becomes of it, the row is left out
		}
		return s.conflictsFrom(f)
	}
	return nil
}

// conflictsFrom reports f, and with it what the scan would meet next, so that it waits once for all.
func (s *scanState) conflictsFrom(f foundLock) error {
	if s.env.Follower {
		return s.blockedRead(f.key, f.l)
	}
	ce := &ConflictError{Conflicts: []Conflict{{Key: f.key, Holder: f.l.Txn, Replicated: true, TS: f.l.TS}}}
	if s.req.MaxRows == 0 && s.req.TargetBytes == 0 {
		for _, f := range s.locks {
			if len(ce.Conflicts) == maxConflicts {
				break
			}
			if s.concernsRead(f.l) {
				ce.Conflicts = append(ce.Conflicts, Conflict{Key: f.key, Holder: f.l.Txn, Replicated: true, TS: f.l.TS})
			}
		}
	}
	return ce
}

// row offers a visible row to the processor or to the result, and locks it if the scan locks.
func (s *scanState) row(it *mvcc.Scan) (kept bool, err error) {
	key, value := it.Key(), it.Value()
	if s.sc.Lock == kv.LockNone {
		if s.proc != nil {
			if kept, err = s.proc.Row(key, value); err != nil {
				return false, pushdownError(err)
			}
		} else {
			s.resp.Rows.Append(key, value)
			kept = true
		}
	} else if kept, err = s.lockedRow(key, value, it.Newest()); err != nil {
		return false, err
	}
	if kept {
		s.returned++
		s.rowsLeft--
	}
	if s.proc != nil {
		b := s.proc.Bytes()
		s.bytesLeft -= b - s.used
		s.used = b
	} else if kept {
		b := int64(len(s.resp.Rows.Data))
		s.bytesLeft -= b - s.used
		s.used = b
	}
	return kept, nil
}

// lockedRow filters, locks and takes a row, in this order, except that with SKIP LOCKED the processor that counts
// sees only what could be locked.
func (s *scanState) lockedRow(key keys.Key, value []byte, newest hlc.Timestamp) (kept bool, err error) {
	proc := s.proc
	if s.probe != nil {
		proc = s.probe
	}
	if proc != nil {
		if kept, err = proc.Row(key, value); err != nil {
			return false, pushdownError(err)
		}
		if s.probe != nil && (proc.Done() || proc.Bytes() > 1<<20) { // its result is for nobody
			s.probe.Close()
			s.probe = s.sc.Pushdown.NewProcessor()
		}
		if !kept {
			return false, nil
		}
	}
	if len(s.locks) > 0 && s.locks[0].key.Equal(key) {
		if err := s.lockedOnDisk(key, s.locks[0].l); err != nil {
			return false, err
		}
		return false, nil
	}
	k := key.Clone()
	if ok, err := s.lock(k, s.sc.Lock); err != nil || !ok {
		return false, err
	}
	if s.readTS.Less(newest) {
		return false, &kv.Error{Code: kv.CodeWriteTooOld, Key: k, TS: newest}
	}
	s.resp.Locked = append(s.resp.Locked, k)
	switch {
	case s.proc == nil:
		s.resp.Rows.Append(key, value)
		kept = true
	case s.probe != nil:
		if kept, err = s.proc.Row(key, value); err != nil {
			return false, pushdownError(err)
		}
	}
	return kept, nil
}

// pushdownError makes a processor's error a *kv.Error.
func pushdownError(err error) error {
	if ke := kv.AsError(err); ke.Code != kv.CodeInternal {
		return ke
	}
	return &kv.Error{Code: kv.CodePushdown, Message: err.Error()}
}

// refresh checks that nothing in the spans has changed in (From, To], and keeps it so.
func (e *evaluation) refresh(r *kv.Refresh) (kv.Response, error) {
	for _, span := range r.Spans {
		if err := e.unchanged(span, r.From, r.To); err != nil {
			return nil, err
		}
	}
	return &kv.RefreshResponse{}, nil
}

// unchanged fails unless span has no version of anybody in (from, to], nor a prepared write of another
// transaction that may become one, and makes sure that there never will be one.
func (e *evaluation) unchanged(span keys.Span, from, to hlc.Timestamp) error {
	if !span.Valid() {
		return kv.Errorf(kv.CodeBadRequest, "empty span")
	}
	if to.LessEq(from) {
		return nil // the read itself left its mark in the timestamp cache
	}
	if from.Less(e.env.GCThreshold) {
		// What happened since may have been collected, a deletion with its tombstone even.
		return &kv.Error{Code: kv.CodeRefreshFailed, Key: span.Start, TS: e.env.GCThreshold, Message: "read is older than the GC threshold"}
	}
	key, ts, found, err := e.r.Changed(span, from, to)
	if err != nil {
		return err
	}
	if found {
		return &kv.Error{Code: kv.CodeRefreshFailed, Key: key.Clone(), TS: ts}
	}
	if e.env.Stats.Locks > 0 {
		var ce *ConflictError
		err := e.r.Locks(span, func(key keys.Key, l *kv.LockRecord) bool {
			if l.Txn.ID == e.id || to.Less(l.TS) {
				return true
			}
			if ce == nil {
				ce = &ConflictError{}
			}
			ce.Conflicts = append(ce.Conflicts, Conflict{Key: key.Clone(), Holder: l.Txn, Replicated: true, TS: l.TS})
			return len(ce.Conflicts) < maxConflicts
		})
		if err != nil {
			return err
		}
		if ce != nil {
			return ce
		}
	}
	e.env.TSCache.Add(span, to, e.id)
	return nil
}
