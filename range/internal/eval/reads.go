package eval

import (
	"bytes"

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
	return e.conflictOn(key, l, kv.LockNone)
}

func (e *evaluation) get(r *kv.Get) (kv.Response, error) {
	if r.Lock != kv.LockNone {
		return e.lockingGet(r)
	}
	if e.env.Stats.Locks > 0 {
		l, err := e.lockOn(r.Key)
		if err != nil {
			return nil, err
		}
		if l != nil {
			st, v, err := e.stands(r.Key, l)
			if err != nil {
				return nil, err
			}
			switch st {
			case lockBlocks:
				return nil, e.blockedRead(r.Key, l)
			case lockShows:
				e.remember(keys.Span{Start: r.Key})
				resp := gotLocked(v)
				if l.Txn.ID != e.id && resp.Exists {
					_, resp.TS = e.outcome(l.Txn.ID)
				}
				return resp, nil
			}
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

// gotLocked answers a Get with the write of a lock.
func gotLocked(v kv.LockVersion) *kv.GetResponse {
	if v.Deleted {
		return &kv.GetResponse{}
	}
	return &kv.GetResponse{Exists: true, Value: cloneValue(v.Value)}
}

// lockingGet locks first and then reads the newest version: with the lock held nobody changes it any more. With IfAbsent what is
// there is read as a plain read reads it, but for that it is the newest version; the latch keeps it so until there is a lock on what is not there.
func (e *evaluation) lockingGet(r *kv.Get) (kv.Response, error) {
	resp := &kv.GetResponse{}
	own, left := false, mvcc.Version{}
	if e.env.Stats.Locks > 0 {
		l, err := e.lockOn(r.Key)
		if err != nil {
			return nil, err
		}
		if l != nil && l.Txn.ID != e.id {
			var ok bool
			if left, ok = e.left(l); !ok {
				return resp, e.lockedOnDisk(r.Key, l, r.Lock)
			}
			l = nil
		}
		if l != nil && e.req.OwnSeq > 0 && !l.Void() { // as good as any lock that it could take
			if v, ok := l.Before(e.req.OwnSeq); ok {
				e.remember(keys.Span{Start: r.Key})
				return gotLocked(v), nil
			}
			own = true
		}
	}
	newest := func() (mvcc.Version, bool, error) {
		if !left.TS.IsEmpty() {
			return left, true, nil
		}
		return e.r.Newest(r.Key)
	}
	if r.IfAbsent && !own {
		switch v, ok, err := newest(); {
		case err != nil:
			return nil, err
		case ok && e.readTS.Less(v.TS):
			return nil, &kv.Error{Code: kv.CodeWriteTooOld, Key: r.Key.Clone(), TS: v.TS}
		case ok && !v.Deleted:
			resp.Exists, resp.Value, resp.TS = true, cloneValue(v.Value), v.TS
			e.remember(keys.Span{Start: r.Key})
			return resp, nil
		}
	}
	// Not before the look at the disk: who waits for a prepared write holds nothing on its key.
	if !own {
		if ok, err := e.lock(r.Key, r.Lock); err != nil {
			return nil, err
		} else if !ok {
			return resp, nil // WaitSkip: as if it did not exist
		}
	}
	v, ok, err := newest()
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

// left returns the version that a lock of somebody else is as good as, if whoever writes the key takes its resolution along.
func (e *evaluation) left(l *kv.LockRecord) (v mvcc.Version, ok bool) {
	if e.env.Locks == nil || l.Open() {
		return v, false
	}
	ts, ok := e.env.Locks.Left(l.Txn.ID)
	if !ok || ts.Less(l.TS) { // a late copy of a Prepare: see stands
		return v, false
	}
	return mvcc.Version{TS: ts, Deleted: l.Deleted, Value: l.Value, Local: l.TS}, true
}

// lockedOnDisk is what a locking read does at a row that another transaction has a prepared write on; nil: leave it out.
func (e *evaluation) lockedOnDisk(key keys.Key, l *kv.LockRecord, want kv.LockStrength) error {
	if e.undecided(l) {
		return e.refused(key)
	}
	return e.conflictOn(key, l, want)
}

// undecided reports whether the request does not wait for a prepared lock: it has asked, and its transaction had not committed.
func (e *evaluation) undecided(l *kv.LockRecord) bool {
	if e.req.Wait == kv.WaitBlock {
		return false
	}
	_, ok := e.env.Undecided[l.Txn.ID]
	return ok
}

// refused is what NOWAIT and SKIP LOCKED make of a row that is locked; nil: leave it out.
func (e *evaluation) refused(key keys.Key) error {
	if e.req.Wait == kv.WaitError {
		return notAvailable(key)
	}
	return nil
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
	walk  *lockWalk // over the locks of the current span; nil where there are none
	n     int
	used  int64 // bytes of the result that count against bytesLeft
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
	locking := s.sc.Lock != kv.LockNone
	walk := span
	if !s.sc.Reverse {
		if walk = s.pastGaps(span, s.readTS); !walk.IsPoint() && !walk.Valid() {
			s.remember(span)
			return rest, false, nil
		}
	}
	var w *lockWalk
	if s.env.Stats.Locks > 0 {
		if s.walk == nil {
			s.walk = &lockWalk{}
		}
		w = s.walk
		if err := w.start(s.evaluation, walk, s.sc.Reverse, locking); err != nil {
			return rest, false, err
		}
		defer w.close()
		if !w.ok {
			w = nil
		}
	}
	it := s.r.Scan(walk, s.sc.Reverse, s.readTS, s.window)
	defer it.Close()
	if (locking || s.sc.Loose) && s.env.Gaps != nil && !s.sc.Reverse && !walk.IsPoint() {
		it.WatchHead()
		defer s.noteGap(walk, it)
	}
	var last keys.Key // where a bound stopped it
	more := it.Next()
	for {
		if err := it.Err(); err != nil {
			return rest, false, err
		}
		lock, row := w != nil && w.ok, more // what comes next: a lock, a row, or both on one key
		if lock && row {
			c := w.compare(it.Key())
			lock, row = c <= 0, c >= 0
		}
		if !lock && !row {
			break
		}
		if s.n++; s.n%rowsBetweenChecks == 0 {
			if err := s.ctx.Err(); err != nil {
				return rest, false, &kv.Error{Code: kv.CodeCanceled, Message: err.Error()}
			}
		}
		kept := false
		switch {
		case !lock:
			kept, err = s.row(it.Key(), it.Value(), it.Newest(), nil)
		case w.st == lockShows:
			if !w.v.Deleted {
				kept, err = s.row(w.cur.Key(), w.v.Value, hlc.Timestamp{}, w.l)
			}
		case locking && row:
			err = s.theirs(it.Key(), it.Value(), true)
		case locking:
			err = s.theirs(w.cur.Key(), nil, false)
		default:
			err = s.blocked()
		}
		if err != nil {
			return rest, false, err
		}
		if done = s.proc != nil && s.proc.Done(); done || (kept && (s.rowsLeft <= 0 || s.bytesLeft <= 0)) {
			if row {
				last = it.Key().Clone()
			} else {
				last = w.cur.Key().Clone()
			}
			break
		}
		if lock {
			if err := w.next(); err != nil {
				return rest, false, err
			}
		}
		if row {
			more = it.Next()
		}
	}
	read := span
	if last != nil {
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
	}
	if read.Valid() {
		s.remember(read)
	}
	return rest, done, nil
}

// blocked is what a scan that locks nothing does at a lock whose outcome must be known first.
func (s *scanState) blocked() error {
	if s.env.Follower {
		return s.blockedRead(s.walk.cur.Key(), s.walk.l)
	}
	return s.walk.conflicts(s.sc.Lock, s.unbounded())
}

func (s *scanState) unbounded() bool { return s.req.MaxRows == 0 && s.req.TargetBytes == 0 }

// row offers a visible row to the processor or to the result, and locks it if the scan locks. own is the transaction's
// own lock on it, if there is one.
func (s *scanState) row(key keys.Key, value []byte, newest hlc.Timestamp, own *kv.LockRecord) (kept bool, err error) {
	if s.sc.Lock == kv.LockNone {
		if s.proc != nil {
			if kept, err = s.proc.Row(key, value); err != nil {
				return false, pushdownError(err)
			}
		} else {
			s.resp.Rows.Append(key, value)
			kept = true
		}
	} else if kept, err = s.lockedRow(key, value, newest, own); err != nil {
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
func (s *scanState) lockedRow(key keys.Key, value []byte, newest hlc.Timestamp, own *kv.LockRecord) (kept bool, err error) {
	if kept, err = s.passes(key, value); err != nil || !kept {
		return false, err
	}
	if own == nil { // else its own open lock is as good as any that it could take
		k := key.Clone()
		if ok, err := s.lock(k, s.sc.Lock); err != nil || !ok {
			return false, err
		}
		if s.readTS.Less(newest) && !s.env.Planted.StaleLocks {
			return false, &kv.Error{Code: kv.CodeWriteTooOld, Key: k, TS: newest}
		}
		s.resp.Locked = append(s.resp.Locked, k)
	}
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

// passes asks the program whether a row is to be locked.
func (s *scanState) passes(key keys.Key, value []byte) (kept bool, err error) {
	proc := s.proc
	if s.probe != nil {
		proc = s.probe
	}
	if proc == nil {
		return true, nil
	}
	if kept, err = proc.Row(key, value); err != nil {
		return false, pushdownError(err)
	}
	if s.probe != nil && (s.probe.Done() || s.probe.Bytes() > 1<<20) { // its result is for nobody
		s.probe.Close()
		s.probe = s.sc.Pushdown.NewProcessor()
	}
	return kept, nil
}

// theirs is what a locking scan does at the lock of somebody else that it stands on; there is said whether there is a row at its timestamp, below the lock, and what it is. The scan filters
// what it reads before it waits: a row that its program drops is nobody's business. That is the prepared write, if it is known to have become the version that is read, and the row below if
// that is known too. Else it waits, in the queue of those who want the lock only if the program keeps the row below: its error says nothing, since the row may not be there any more.
//
// nil: the scan goes on behind the row.
func (s *scanState) theirs(key keys.Key, below []byte, there bool) error {
	l, one := s.walk.l, there
	st, v, err := s.stands(key, l)
	switch {
	case err != nil:
		return err
	case st == lockShows:
		there, below = !v.Deleted, v.Value
	case st == lockBlocks && there:
		if kept, err := s.passes(key, below); err != nil || !kept {
			return s.unread(key, l)
		}
		return s.taken(key, l, one)
	case st == lockBlocks && l.Open() && s.req.Wait != kv.WaitSkip:
		return s.unread(key, l) // whoever writes for long lets readers pass
	case st == lockBlocks:
		return s.taken(key, l, one)
	}
	if !there {
		return nil
	}
	if kept, err := s.passes(key, below); err != nil || !kept {
		return err
	}
	return s.taken(key, l, one)
}

// unread waits for an outcome as a plain read does: as far as is known nothing is to be locked there.
func (s *scanState) unread(key keys.Key, l *kv.LockRecord) error {
	return s.conflictOn(key, l, kv.LockNone)
}

// taken is what a locking scan does at a row that it would lock and cannot. nil: it leaves it out.
func (s *scanState) taken(key keys.Key, l *kv.LockRecord, one bool) error {
	switch {
	case s.undecided(l):
		return s.refused(key)
	case s.req.Wait != kv.WaitBlock:
		return s.walk.conflicts(s.sc.Lock, true) // those behind it are asked after together with it
	case one:
		return s.conflictOn(key, l, s.sc.Lock)
	}
	return s.walk.conflicts(s.sc.Lock, s.unbounded())
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
		if err := e.unchanged(span, r.From, r.To, r.Existence); err != nil {
			return nil, err
		}
	}
	return &kv.RefreshResponse{}, nil
}

// unchanged fails unless span has no version of anybody in (from, to], nor a prepared write of another
// transaction that may become one, and makes sure that there never will be one.
// With existence the value of a single key that was there may have changed, if only it is there.
func (e *evaluation) unchanged(span keys.Span, from, to hlc.Timestamp, existence bool) error {
	if !span.Valid() {
		return kv.Errorf(kv.CodeBadRequest, "empty span")
	}
	if existence && !span.IsPoint() {
		return kv.Errorf(kv.CodeBadRequest, "only a single key is said to exist")
	}
	if to.LessEq(from) {
		return nil // the read itself left its mark in the timestamp cache
	}
	if from.Less(e.env.GCThreshold) {
		// What happened since may have been collected, a deletion with its tombstone even.
		return &kv.Error{Code: kv.CodeRefreshFailed, Key: span.Start, TS: e.env.GCThreshold, Message: "read is older than the GC threshold"}
	}
	look := e.pastGaps(span, from)
	if !look.IsPoint() && !look.Valid() {
		e.env.TSCache.Add(span, to, e.id)
		return nil
	}
	key, ts, found, err := e.r.Changed(look, from, to)
	if err != nil {
		return err
	}
	if found && existence { // is what it was changed to a row?
		_, there, err := e.r.Get(span.Start, to, mvcc.Window{})
		if err != nil {
			return err
		}
		found = !there
	}
	if found {
		return &kv.Error{Code: kv.CodeRefreshFailed, Key: key.Clone(), TS: ts}
	}
	if e.env.Stats.Locks > 0 {
		if err := e.unlockedTo(look, from, to, existence); err != nil {
			return err
		}
	}
	e.env.TSCache.Add(span, to, e.id)
	return nil
}

// unlockedTo fails if a prepared write of another transaction in span may become, or has become, a version in (from, to].
// With existence one that leaves a row there is let pass, whatever becomes of it.
func (e *evaluation) unlockedTo(span keys.Span, from, to hlc.Timestamp, existence bool) error {
	cur, err := e.r.LockCursor(span, false)
	if err != nil {
		return err
	}
	defer cur.Close()
	var ce ConflictError
	opened := map[kv.TxnID]bool{}
	for len(ce.Conflicts) < maxConflicts && cur.Next() {
		id := cur.Txn()
		if id == e.id || opened[id] {
			continue
		}
		status, ts := e.outcome(id)
		if status == kv.TxnAborted || (status == kv.TxnUnknown && to.LessEq(ts)) {
			continue
		}
		l, err := cur.Record()
		if err != nil {
			return err
		}
		switch {
		case to.Less(l.TS) || l.Void():
		case existence && !l.Open() && !l.Deleted:
		case status == kv.TxnCommitted && (to.Less(ts) || ts.LessEq(from) || ts.Less(l.TS)): // what was committed up to from has been read
		case status == kv.TxnCommitted:
			return &kv.Error{Code: kv.CodeRefreshFailed, Key: cur.Key().Clone(), TS: ts}
		default:
			opened[id] = l.Open()
			ce.Conflicts = append(ce.Conflicts, conflict(cur.Key(), l, to, kv.LockNone))
		}
	}
	if err := cur.Err(); err != nil {
		return err
	}
	if len(ce.Conflicts) > 0 {
		return &ce
	}
	return nil
}
