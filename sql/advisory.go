package sql

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// Advisory locks are rows of the system key space: one for each lock that is held, with the sessions that hold it. They are changed
// by small transactions of their own, so they are replicated, survive the death of any range's leader, and are the
// same seen from every node.
//
// A row says that a session holds the lock as long as the session's node lives, and a node lives as long as its lease, a row that it
// renews while any of its sessions holds a lock. Who wants a lock whose holder's lease has run out (by the clock
// and the maximum offset) takes it. A node that could not renew its lease ends the sessions that hold locks before that, and one that stood
// still for so long lets such a session begin no further statement. (A statement that was under way then may run on until it notices.)
//
// Waiting is polling: a release on the same node wakes its waiters, those of other nodes look again after 50 ms at most. The order of
// waiters is not kept. Cycles, those with row locks in them too, are looked for by every waiter
// after deadlock_timeout, over the graph that pg_blocking_pids shows; of the waiters for advisory locks
// in a cycle the one with the highest process id gives up.

// advisoryTag names a lock as pg_locks does: sub is 1 for a lock with one bigint key and 2 for one with two integers.
type advisoryTag struct {
	key int64
	sub byte
}

func tagOf(args []types.Datum) advisoryTag {
	if len(args) == 2 {
		return advisoryTag{args[0].I<<32 | int64(uint32(args[1].I)), 2}
	}
	return advisoryTag{args[0].I, 1}
}

// AdvisoryWait is an advisory lock that a session waits for.
type AdvisoryWait struct {
	Key      int64
	Sub      byte
	Shared   bool
	Since    time.Time
	Blockers []int32
}

// advisoryHeld is how often a session has taken a lock: for itself, and for its transaction; by mode (0 shared, 1 exclusive).
type advisoryHeld struct{ session, txn [2]int }

func (h *advisoryHeld) modes() (m byte) {
	if h.session[0]+h.txn[0] > 0 {
		m |= advisoryShared
	}
	if h.session[1]+h.txn[1] > 0 {
		m |= advisoryExclusive
	}
	return m
}

// advisoryTaken is one acquisition.
type advisoryTaken struct {
	tag    advisoryTag
	shared bool
}

func modeIndex(shared bool) int {
	if shared {
		return 0
	}
	return 1
}

// advisoryState is a session's side.
type advisoryState struct {
	held map[advisoryTag]*advisoryHeld
	// txn are the transaction's locks, in the order of taking; attempt the session's that were taken in
	// this attempt of the transaction: they are given back before another attempt takes them again.
	txn, attempt []advisoryTaken
}

// advisoryPoll bounds the time between two looks at a lock that is waited for.
const advisoryPoll = 50 * time.Millisecond

// takeAdvisory takes a lock for the session or its transaction; ok is false if try and others hold it.
func (s *Session) takeAdvisory(tag advisoryTag, shared, forTxn, try bool) (ok bool, err error) {
	h := s.adv.held[tag]
	if h == nil {
		h = &advisoryHeld{}
	}
	want := h.modes()
	if shared {
		want |= advisoryShared
	} else {
		want |= advisoryExclusive
	}
	if want != h.modes() {
		if ok, err = s.waitAdvisory(tag, want, shared, try); err != nil || !ok {
			return false, err
		}
		if h.modes() == 0 {
			s.srv.advisory.holding.Add(1)
			s.holdsAdvisory.Store(true)
		}
	}
	if s.adv.held == nil {
		s.adv.held = map[advisoryTag]*advisoryHeld{}
	}
	s.adv.held[tag] = h
	if forTxn {
		h.txn[modeIndex(shared)]++
		s.adv.txn = append(s.adv.txn, advisoryTaken{tag, shared})
	} else {
		h.session[modeIndex(shared)]++
		s.adv.attempt = append(s.adv.attempt, advisoryTaken{tag, shared})
	}
	return true, nil
}

// waitAdvisory gets the row of the lock changed, waiting for others if need be.
func (s *Session) waitAdvisory(tag advisoryTag, want byte, shared, try bool) (bool, error) {
	ctx := s.ctx
	start := time.Now()
	var timeout <-chan time.Time
	if d := s.effects.lockTimeout; d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timeout = t.C
	}
	ms, _ := strconv.Atoi(s.settings.Get("deadlock_timeout")) // canonical: parses
	look := time.Duration(ms) * time.Millisecond
	next := start.Add(look)
	defer s.setAdvisoryWait(nil)
	pause := time.Millisecond
	for {
		freed := s.srv.advisory.released()
		if err := s.srv.ensureLease(ctx); err != nil {
			return false, s.translate(err)
		}
		blockers, err := s.srv.changeAdvisory(ctx, tag, s.pid, want)
		if err != nil {
			return false, s.translate(err)
		}
		if len(blockers) == 0 {
			return true, nil
		}
		if try {
			return false, nil
		}
		s.setAdvisoryWait(&AdvisoryWait{Key: tag.key, Sub: tag.sub, Shared: shared, Since: start, Blockers: blockers})
		if time.Now().After(next) {
			if err := s.advisoryDeadlock(); err != nil {
				return false, err
			}
			next = time.Now().Add(look)
		}
		t := time.NewTimer(pause)
		pause = min(2*pause, advisoryPoll)
		select {
		case <-freed:
		case <-t.C:
		case <-timeout:
			t.Stop()
			return false, pgerr.New(pgerr.LockNotAvailable, "canceling statement due to lock timeout")
		case <-ctx.Done():
			t.Stop()
			return false, s.translate(ctx.Err())
		}
		t.Stop()
	}
}

func (s *Session) setAdvisoryWait(w *AdvisoryWait) {
	s.mu.Lock()
	s.info.Advisory = w
	s.mu.Unlock()
}

// advisoryDeadlock looks for a cycle through this session, twice, since the graph is put together from answers of different moments.
func (s *Session) advisoryDeadlock() error {
	var cycle []int32
	var all []NodeActivity
	for range 2 {
		all = s.activity()
		if cycle = cycleThrough(blockers(all), s.pid); cycle == nil {
			return nil
		}
	}
	waits := map[int32]*AdvisoryWait{}
	for i := range all {
		for j := range all[i].Sessions {
			if w := all[i].Sessions[j].Advisory; w != nil {
				waits[all[i].Sessions[j].PID] = w
			}
		}
	}
	for _, pid := range cycle {
		if waits[pid] != nil && pid > s.pid {
			return nil // that one gives up
		}
	}
	var b strings.Builder
	for i, pid := range cycle {
		if i > 0 {
			b.WriteByte('\n')
		}
		what := "a row lock"
		if w := waits[pid]; w != nil {
			mode := "ExclusiveLock"
			if w.Shared {
				mode = "ShareLock"
			}
			what = mode + " on " + advisoryTag{w.Key, w.Sub}.String()
		}
		fmt.Fprintf(&b, "Process %d waits for %s; blocked by process %d.", pid, what, cycle[(i+1)%len(cycle)])
	}
	s.whyNot = "advisory locks of the session stay, so running it again would meet the same deadlock"
	return &pgerr.Error{Code: pgerr.DeadlockDetected, Message: "deadlock detected", Detail: b.String()}
}

// cycleThrough finds a cycle of the graph through a node, which comes first; nil if there is none.
func cycleThrough(graph map[int32][]int32, from int32) []int32 {
	seen := map[int32]bool{}
	var path []int32
	var walk func(int32) bool
	walk = func(n int32) bool {
		path = append(path, n)
		for _, m := range graph[n] {
			if m == from {
				return true
			}
			if !seen[m] {
				seen[m] = true
				if walk(m) {
					return true
				}
			}
		}
		path = path[:len(path)-1]
		return false
	}
	if walk(from) {
		return path
	}
	return nil
}

// setAdvisory makes the row of a lock say what the session holds of it now, after before.
func (s *Session) setAdvisory(ctx context.Context, tag advisoryTag, h *advisoryHeld, before byte) error {
	now := h.modes()
	if now == 0 {
		delete(s.adv.held, tag)
		s.holdsAdvisory.Store(len(s.adv.held) > 0)
		if before != 0 {
			s.srv.releaseOrKeep(ctx, orphan{tag, s.pid})
		}
		return nil
	}
	if now == before {
		return nil
	}
	_, err := s.srv.changeAdvisory(ctx, tag, s.pid, now)
	s.srv.advisory.wake()
	return err
}

// unlockAdvisory gives back one acquisition of the session; false, with a warning, if there is none.
func (s *Session) unlockAdvisory(tag advisoryTag, shared bool) (bool, error) {
	h := s.adv.held[tag]
	i := modeIndex(shared)
	if h == nil || h.session[i] == 0 {
		mode := "ExclusiveLock"
		if shared {
			mode = "ShareLock"
		}
		s.warn("01000", "you don't own a lock of type %s", mode)
		return false, nil
	}
	before := h.modes()
	h.session[i]--
	s.log.bar("it released an advisory lock")
	return true, s.setAdvisory(s.ctx, tag, h, before)
}

// unlockAllAdvisory gives back everything that the session holds for itself.
func (s *Session) unlockAllAdvisory(ctx context.Context) {
	for tag, h := range s.adv.held {
		before := h.modes()
		h.session = [2]int{}
		if err := s.setAdvisory(ctx, tag, h, before); err != nil {
			s.srv.cfg.Log.Warn("an advisory lock is held in a mode more than is asked for", "lock", tag.String(), "err", err)
		}
	}
	s.adv.attempt = s.adv.attempt[:0]
}

// endAdvisory gives back locks of the transaction that were taken after the first keep of them: all at its end, and
// some at a return to a savepoint.
func (s *Session) endAdvisory(keep int) {
	if len(s.adv.txn) <= keep {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, t := range s.adv.txn[keep:] {
		h := s.adv.held[t.tag]
		before := h.modes()
		h.txn[modeIndex(t.shared)]--
		if err := s.setAdvisory(ctx, t.tag, h, before); err != nil {
			s.srv.cfg.Log.Warn("an advisory lock is held in a mode more than is asked for", "lock", t.tag.String(), "err", err)
		}
	}
	s.adv.txn = s.adv.txn[:keep]
}

// retakeAdvisory gives back the session's locks that were taken in the attempt of the transaction that is being given up,
// but for the first keep: the next attempt takes them again.
func (s *Session) retakeAdvisory(ctx context.Context, keep int) error {
	for len(s.adv.attempt) > keep {
		t := s.adv.attempt[len(s.adv.attempt)-1]
		s.adv.attempt = s.adv.attempt[:len(s.adv.attempt)-1]
		h := s.adv.held[t.tag]
		if h == nil {
			continue
		}
		before := h.modes()
		if i := modeIndex(t.shared); h.session[i] > 0 {
			h.session[i]--
		}
		if err := s.setAdvisory(ctx, t.tag, h, before); err != nil {
			return err
		}
	}
	return nil
}

// closeAdvisory gives everything back at the end of the session.
func (s *Session) closeAdvisory(ctx context.Context) {
	for tag := range s.adv.held {
		s.srv.releaseOrKeep(ctx, orphan{tag, s.pid})
	}
	s.adv = advisoryState{}
	s.holdsAdvisory.Store(false)
}

func init() {
	zero := types.NewInt(0)
	for _, args := range []string{"int8", "int4"} {
		for _, shared := range []bool{false, true} {
			sh := ""
			if shared {
				sh = "_shared"
			}
			for _, forTxn := range []bool{false, true} {
				kind := ""
				if forTxn {
					kind = "xact_"
				}
				builtin.RegisterKernel("pg_advisory_"+kind+"lock"+sh+"_"+args, sessionKernel(func(s *Session, a []types.Datum) (types.Datum, error) {
					_, err := s.takeAdvisory(tagOf(a), shared, forTxn, false)
					return zero, err
				}))
				builtin.RegisterKernel("pg_try_advisory_"+kind+"lock"+sh+"_"+args, sessionKernel(func(s *Session, a []types.Datum) (types.Datum, error) {
					ok, err := s.takeAdvisory(tagOf(a), shared, forTxn, true)
					return types.NewBool(ok), err
				}))
			}
			builtin.RegisterKernel("pg_advisory_unlock"+sh+"_"+args, sessionKernel(func(s *Session, a []types.Datum) (types.Datum, error) {
				ok, err := s.unlockAdvisory(tagOf(a), shared)
				return types.NewBool(ok), err
			}))
		}
	}
	builtin.RegisterKernel("pg_advisory_unlock_all", sessionKernel(func(s *Session, _ []types.Datum) (types.Datum, error) {
		s.log.bar("it released advisory locks")
		s.unlockAllAdvisory(s.ctx)
		return zero, nil
	}))
}
