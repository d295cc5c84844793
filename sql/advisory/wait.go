package advisory

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Waiting. A session that has to wait stands in the lock's row and sleeps. It is woken when it has been given the lock, by the session that released
// it. The row is looked at now and then as well, since the word of a grant can be lost and holders die with their nodes: by the first waiter of each node,
// for all of them.

// looks and longest are the times between looks at a row: the first, and the most that it doubles to.
const (
	looks   = time.Second
	longest = 4 * time.Second
)

// waiter is a session that waits. What others tell it is under Locks.mu.
type waiter struct {
	pid  int32
	woke chan struct{} // holds one
	// The session is to end a deadlock: by giving up, or (jumps) by going ahead of its queue.
	deadlock *DeadlockError
	jumps    bool
}

// wake has the waiter look; Locks.mu is held.
func (w *waiter) wake() {
	select {
	case w.woke <- struct{}{}:
	default:
	}
}

// DeadlockError says who waits for whom.
type DeadlockError struct{ Detail string }

func (*DeadlockError) Error() string { return "deadlock detected" }

// ErrLockTimeout says that Wait.LockTimeout has passed.
var ErrLockTimeout = errors.New("lock timeout")

// Wait is how a session waits.
type Wait struct {
	// LockTimeout bounds it; 0: it does not.
	LockTimeout time.Duration
	// DeadlockTimeout is when deadlocks are looked for.
	DeadlockTimeout time.Duration
	// Others is who waits for whom, but for advisory locks, in the whole cluster.
	Others func() map[int32][]int32
	// Show is called when the session begins to wait.
	Show func()
}

func (l *Locks) enter(tag Tag, pid int32) *waiter {
	w := &waiter{pid: pid, woke: make(chan struct{}, 1)}
	l.mu.Lock()
	l.waiting[tag] = append(l.waiting[tag], w)
	l.mu.Unlock()
	return w
}

func (l *Locks) leave(tag Tag, w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ws := l.waiting[tag]
	if ws = slices.DeleteFunc(ws, func(o *waiter) bool { return o == w }); len(ws) == 0 {
		delete(l.waiting, tag)
	} else {
		l.waiting[tag] = ws
	}
}

// leads reports whether the waiter is the one that looks at the row.
func (l *Locks) leads(tag Tag, w *waiter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting[tag][0] == w
}

// wait waits for a lock. On an error the row may have the session in any way.
func (l *Locks) wait(ctx context.Context, tag Tag, pid int32, held, mode byte, try bool, how Wait) (bool, error) {
	w := l.enter(tag, pid) // before the row says so: else a grant could be missed
	defer l.leave(tag, w)
	if err := l.ensureLease(ctx); err != nil {
		return false, err
	}
	granted, err := l.ask(ctx, tag, pid, held, mode, try)
	if granted || err != nil || try {
		return granted, err
	}
	how.Show()
	start := time.Now()
	var timeout <-chan time.Time
	if how.LockTimeout > 0 {
		t := time.NewTimer(how.LockTimeout)
		defer t.Stop()
		timeout = t.C
	}
	look := backoff{every: looks, most: longest}
	search := backoff{every: max(how.DeadlockTimeout, time.Millisecond), most: max(longest, how.DeadlockTimeout)}
	look.arm(start)
	search.arm(start)
	searched := false
	for {
		next := look.next
		if search.next.Before(next) {
			next = search.next
		}
		t := time.NewTimer(time.Until(next))
		select {
		case <-w.woke:
			granted, err = l.awake(ctx, tag, w, held, mode)
		case now := <-t.C:
			leads := l.leads(tag, w)
			if !now.Before(look.next) {
				look.arm(now)
				if leads {
					err = l.look(ctx, tag)
				}
			}
			if err == nil && !now.Before(search.next) {
				search.arm(now)
				if leads || !searched {
					searched = true
					err = l.search(ctx, tag, how.Others)
				}
			}
		case <-timeout:
			err = ErrLockTimeout
		case <-ctx.Done():
			err = ctx.Err()
		}
		t.Stop()
		if granted || err != nil {
			return granted, err
		}
	}
}

type backoff struct {
	every, most time.Duration
	next        time.Time
}

func (b *backoff) arm(now time.Time) {
	b.next = now.Add(b.every)
	b.every = min(2*b.every, b.most)
}

// awake sees what a waiter was woken for.
func (l *Locks) awake(ctx context.Context, tag Tag, w *waiter, held, mode byte) (granted bool, err error) {
	l.mu.Lock()
	deadlock, jumps := w.deadlock, w.jumps
	w.jumps = false
	l.mu.Unlock()
	me := l.owner(w.pid)
	switch {
	case jumps:
		err := l.change(ctx, tag, func(q queue) (queue, error) {
			granted = q.jump(me)
			return q, nil
		})
		if granted || err != nil {
			return granted, err
		}
	case deadlock != nil:
		return false, deadlock
	}
	// The lease comes first: what the row says under a good lease stays true.
	if err := l.ensureLease(ctx); err != nil {
		return false, err
	}
	q, _, err := l.read(ctx, tag)
	if err != nil {
		return false, err
	}
	i := q.find(me)
	if i < 0 || q[i].modes&mode == 0 && q[i].wants() != mode {
		return l.ask(ctx, tag, w.pid, held, mode, false) // it was taken for dead
	}
	return q[i].modes&mode != 0, nil
}

// look looks at a row for all waiters of this node: it wakes those about whom it has news, and gives the lock on if holders have died.
func (l *Locks) look(ctx context.Context, tag Tag) error {
	q, changed, err := l.read(ctx, tag)
	if err != nil {
		return err
	}
	if changed || len(slices.Clone(q).promote()) > 0 {
		if err := l.change(ctx, tag, func(q queue) (queue, error) { return q, nil }); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.waiting[tag] {
		if i := q.find(l.owner(w.pid)); i < 0 || q[i].wants() == 0 {
			w.wake()
		}
	}
	return nil
}

// search looks for deadlocks that this session, or another that waits for the lock on this node, is to end. All who wait for a lock
// wait for its holders, so any cycle that goes through one of them is seen from each. It looks twice, since
// the graph is put together from answers of different moments.
func (l *Locks) search(ctx context.Context, tag Tag, others func() map[int32][]int32) error {
	first, err := l.sentences(ctx, tag, others)
	if len(first) == 0 || err != nil {
		return err
	}
	second, err := l.sentences(ctx, tag, others)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.waiting[tag] {
		if s, ok := second[w.pid]; ok && first[w.pid].jumps == s.jumps && first[w.pid].why != nil {
			if s.jumps {
				w.jumps = true
			} else {
				w.deadlock = s.why
			}
			w.wake()
		}
	}
	return nil
}

// sentence is what a session is to do about a deadlock.
type sentence struct {
	jumps bool
	why   *DeadlockError
}

func (l *Locks) sentences(ctx context.Context, tag Tag, others func() map[int32][]int32) (map[int32]sentence, error) {
	graph := others()
	t, err := l.Table(ctx)
	if err != nil {
		return nil, err
	}
	t.AddWaits(graph)
	ws := t.waits()
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[int32]sentence{}
	for _, w := range l.waiting[tag] {
		if cycle := cycleThrough(graph, w.pid); cycle != nil {
			if who, jumps := verdict(cycle, ws); who == w.pid {
				out[who] = sentence{jumps, &DeadlockError{describe(cycle, ws)}}
			}
		}
	}
	return out, nil
}
