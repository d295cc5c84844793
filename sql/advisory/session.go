package advisory

import (
	"context"
	"sync/atomic"
	"time"
)

// counts are how often a session has taken a lock: for itself, and for its transaction; by mode (0 shared, 1 exclusive).
type counts struct{ session, txn [2]int }

func (h *counts) modes() (m byte) {
	if h.session[0]+h.txn[0] > 0 {
		m |= holdsShared
	}
	if h.session[1]+h.txn[1] > 0 {
		m |= holdsExclusive
	}
	return m
}

func modeIndex(shared bool) int {
	if shared {
		return 0
	}
	return 1
}

// taken is one acquisition.
type taken struct {
	tag    Tag
	shared bool
}

// Session is a session's side: which locks it holds, and how often. It belongs to the session's goroutine, but for Holds.
type Session struct {
	l    *Locks
	pid  int32
	held map[Tag]*counts
	any  atomic.Bool
	// txn are the transaction's locks, in the order of taking; attempt the session's that were taken in
	// this attempt of the transaction: they are given back before another attempt takes them again.
	txn, attempt []taken
}

// Init makes the session one of a node's.
func (s *Session) Init(l *Locks, pid int32) { s.l, s.pid = l, pid }

// Holds reports whether it holds anything. From any goroutine.
func (s *Session) Holds() bool { return s.any.Load() }

// OfTxn is how many locks were taken for the transaction, and OfAttempt for the session in this attempt of it.
func (s *Session) OfTxn() int     { return len(s.txn) }
func (s *Session) OfAttempt() int { return len(s.attempt) }

// Take takes a lock for the session or its transaction; ok is false if try and others hold it, or wait for it and come first. Errors
// are ErrLockTimeout, a *DeadlockError, or the store's.
func (s *Session) Take(ctx context.Context, tag Tag, shared, forTxn, try bool, how Wait) (ok bool, err error) {
	h := s.held[tag]
	if h == nil {
		h = &counts{}
	}
	held, mode := h.modes(), byte(holdsExclusive)
	if shared {
		mode = holdsShared
	}
	if held&mode == 0 {
		if ok, err := s.acquire(ctx, tag, held, mode, try, how); err != nil || !ok {
			return false, err
		}
	}
	if s.held == nil {
		s.held = map[Tag]*counts{}
	}
	s.held[tag] = h
	s.any.Store(true)
	if forTxn {
		h.txn[modeIndex(shared)]++
		s.txn = append(s.txn, taken{tag, shared})
	} else {
		h.session[modeIndex(shared)]++
		s.attempt = append(s.attempt, taken{tag, shared})
	}
	return true, nil
}

func (s *Session) acquire(ctx context.Context, tag Tag, held, mode byte, try bool, how Wait) (bool, error) {
	s.l.forgive(tag, s.pid)
	if held == 0 {
		s.l.present.Add(1)
	}
	ok, err := s.l.wait(ctx, tag, s.pid, held, mode, try, how)
	switch {
	case err != nil:
		// It may stand in the row, or have been given the lock just now: the statement's time is over, but others wait.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		s.l.release(ctx, tag, s.pid, held)
		cancel()
	case !ok && held == 0:
		s.l.present.Add(-1)
	}
	return ok, err
}

// gaveBack makes the row of a lock say what the session holds of it now, after before.
func (s *Session) gaveBack(ctx context.Context, tag Tag, h *counts, before byte) {
	now := h.modes()
	if now == 0 {
		delete(s.held, tag)
		s.any.Store(len(s.held) > 0)
	}
	if now != before {
		s.l.release(ctx, tag, s.pid, now)
	}
}

// Owns reports whether the session, as opposed to its transaction, has taken the lock in a mode.
func (s *Session) Owns(tag Tag, shared bool) bool {
	h := s.held[tag]
	return h != nil && h.session[modeIndex(shared)] > 0
}

// Unlock gives back one acquisition that the session owns.
func (s *Session) Unlock(ctx context.Context, tag Tag, shared bool) {
	h := s.held[tag]
	before := h.modes()
	h.session[modeIndex(shared)]--
	s.gaveBack(ctx, tag, h, before)
}

// UnlockAll gives back everything that the session holds for itself.
func (s *Session) UnlockAll(ctx context.Context) {
	for tag, h := range s.held {
		before := h.modes()
		h.session = [2]int{}
		s.gaveBack(ctx, tag, h, before)
	}
	s.attempt = s.attempt[:0]
}

// EndTxn gives back locks of the transaction that were taken after the first keep of them: all at its end, and
// some at a return to a savepoint.
func (s *Session) EndTxn(keep int) {
	if len(s.txn) <= keep {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, t := range s.txn[keep:] {
		h := s.held[t.tag]
		before := h.modes()
		h.txn[modeIndex(t.shared)]--
		s.gaveBack(ctx, t.tag, h, before)
	}
	s.txn = s.txn[:keep]
}

// EndAttempt says that no other attempt of the transaction will come.
func (s *Session) EndAttempt() { s.attempt = s.attempt[:0] }

// Retake gives back the session's locks that were taken in the attempt of the transaction that is being given up,
// but for the first keep: the next attempt takes them again.
func (s *Session) Retake(ctx context.Context, keep int) {
	for len(s.attempt) > keep {
		t := s.attempt[len(s.attempt)-1]
		s.attempt = s.attempt[:len(s.attempt)-1]
		h := s.held[t.tag]
		if h == nil {
			continue
		}
		before := h.modes()
		if i := modeIndex(t.shared); h.session[i] > 0 {
			h.session[i]--
		}
		s.gaveBack(ctx, t.tag, h, before)
	}
}

// Close gives everything back at the end of the session.
func (s *Session) Close(ctx context.Context) {
	for tag := range s.held {
		s.l.release(ctx, tag, s.pid, 0)
	}
	s.held, s.txn, s.attempt = nil, nil, nil
	s.any.Store(false)
}
