package eval

import (
	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// standing is what a lock on disk means to a read of the batch.
type standing uint8

const (
	lockPasses standing = iota // it is as if it were not there
	lockShows                  // its write is a version that the read sees: the newest of its key
	lockBlocks                 // its outcome must be known first
)

// stands judges a lock.
//
//	whose               what is known                             the read at R
//	own, open           a write below OwnSeq                      sees that write
//	own                 else                                      passes
//	somebody else's     prepared after R and what is uncertain    passes
//	                    aborted; nothing left of it               passes
//	                    committed at C <= R                       sees it
//	                    committed at C > R                        passes; CodeUncertain if C is in the window
//	                    commits after P if at all, R <= P         passes
//	                    nothing                                   blocks
//
// In the last but one, C may lie in the uncertainty window. It is not from before the read's transaction, which ran already
// when the promise was made.
//
// A lock above the timestamp at which its transaction is known to have committed was left by a late copy of
// a Prepare, and its key has been resolved (see prepare): it passes.
func (e *evaluation) stands(key keys.Key, l *kv.LockRecord) (standing, kv.LockVersion, error) {
	if l.Txn.ID == e.id {
		if e.req.OwnSeq > 0 {
			if v, ok := l.Before(e.req.OwnSeq); ok {
				return lockShows, v, nil
			}
		}
		return lockPasses, kv.LockVersion{}, nil
	}
	if !e.concernsRead(l) || l.Void() {
		return lockPasses, kv.LockVersion{}, nil
	}
	status, ts := e.outcome(l.Txn.ID)
	switch status {
	case kv.TxnAborted:
		return lockPasses, kv.LockVersion{}, nil
	case kv.TxnCommitted:
		switch {
		case ts.Less(l.TS):
			return lockPasses, kv.LockVersion{}, nil
		case ts.LessEq(e.readTS):
			return lockShows, kv.LockVersion{Deleted: l.Deleted, Value: l.Value}, nil
		case ts.LessEq(e.window.Global) && l.TS.LessEq(e.window.Local):
			return lockBlocks, kv.LockVersion{}, &kv.Error{Code: kv.CodeUncertain, Key: key.Clone(), TS: ts}
		}
		return lockPasses, kv.LockVersion{}, nil
	}
	if e.readTS.LessEq(ts) {
		return lockPasses, kv.LockVersion{}, nil
	}
	return lockBlocks, kv.LockVersion{}, nil
}

// outcome asks the lock table what is known of a transaction, once for locks in a row.
func (e *evaluation) outcome(id kv.TxnID) (kv.TxnStatus, hlc.Timestamp) {
	if e.env.Locks == nil {
		return kv.TxnUnknown, hlc.Timestamp{}
	}
	if e.asked != id {
		e.asked = id
		e.askedStatus, e.askedTS = e.env.Locks.Outcome(id)
	}
	return e.askedStatus, e.askedTS
}

// lockWalk goes over the locks of a scanned span, in step with its rows. It stands on a lock that does not pass, or
// at the end.
type lockWalk struct {
	e       *evaluation
	cur     mvcc.LockCursor
	reverse bool
	// all: a locking scan wants to know of every lock of others.
	all bool

	first keys.Key // that has any lock, the transaction's own too; nil if it has not met one

	ok bool // it stands on a lock
	l  *kv.LockRecord
	st standing
	v  kv.LockVersion // where st is lockShows
}

func (w *lockWalk) start(e *evaluation, span keys.Span, reverse, all bool) error {
	w.e, w.reverse, w.all, w.ok, w.first = e, reverse, all, false, nil
	var err error
	if w.cur, err = e.r.LockCursor(span, reverse); err != nil {
		return err
	}
	return w.next()
}

// next moves to the next lock that does not pass.
func (w *lockWalk) next() error {
	w.ok = false
	for n := 1; w.cur.Next(); n++ {
		if w.first == nil {
			w.first = w.cur.Key().Clone()
		}
		if n%rowsBetweenChecks == 0 {
			if err := w.e.ctx.Err(); err != nil {
				return &kv.Error{Code: kv.CodeCanceled, Message: err.Error()}
			}
		}
		if id := w.cur.Txn(); id == w.e.id && w.e.req.OwnSeq == 0 {
			continue
		} else if !w.all && id != w.e.id {
			if status, _ := w.e.outcome(id); status == kv.TxnAborted {
				continue
			}
		}
		var err error
		if w.l, err = w.cur.Record(); err != nil {
			return err
		}
		if w.all && w.l.Txn.ID != w.e.id {
			w.ok, w.st = true, lockBlocks
			return nil
		}
		if w.st, w.v, err = w.e.stands(w.cur.Key(), w.l); err != nil {
			return err
		}
		if w.st != lockPasses {
			w.ok = true
			return nil
		}
	}
	return w.cur.Err()
}

func (w *lockWalk) close() { w.cur.Close() }

// compare tells which of the lock and the key the scan meets first.
func (w *lockWalk) compare(key keys.Key) int {
	c := w.cur.Key().Compare(key)
	if w.reverse {
		return -c
	}
	return c
}

// conflicts lists the lock that it stands on, which blocks the scan (a locking one also if it is above what is read), and what blocks it after that, so that it waits once for many.
// Of an open transaction one lock is enough: the wait is for the transaction. A bounded scan may never get to the rest.
func (w *lockWalk) conflicts(want kv.LockStrength, more bool) error {
	ce := &ConflictError{}
	opened := map[kv.TxnID]bool{}
	for n := 0; w.ok && n < maxLookAhead && len(ce.Conflicts) < maxConflicts; n++ {
		if l := w.l; w.st == lockBlocks && (n == 0 || w.e.concernsRead(l)) && !opened[l.Txn.ID] {
			opened[l.Txn.ID] = l.Open()
			ce.Conflicts = append(ce.Conflicts, conflict(w.cur.Key(), l, w.e.readTS, want))
		}
		if !more {
			break
		}
		if w.next() != nil {
			break // whoever comes again meets it again
		}
	}
	return ce
}

// maxLookAhead bounds how many locks are read ahead to be waited for together.
const maxLookAhead = 4 * maxConflicts

// conflict describes a lock found on disk; at is when the read reads that met it.
func conflict(key keys.Key, l *kv.LockRecord, at hlc.Timestamp, want kv.LockStrength) Conflict {
	return Conflict{Key: key.Clone(), Want: want, Holder: l.Txn, Replicated: true, Open: l.Open(), TS: l.TS, At: at}
}
