package replica

import (
	"context"
	"sync/atomic"

	"github.com/pamirdb/pamir/range/kv"
)

// adminMutex serialises splits, transfers and replica changes of a range. There is something behind it from the first of them on: few replicas ever see one.
//
// Whoever holds it has it for as long as the command takes, but for a change of replicas that waits for its learners: that may
// take minutes, and longer the larger the range is. Meanwhile it lends the mutex (waitCaughtUp, borrow) to those that cannot wait so long:
//
//	splits       a range that is written to faster than its learners are filled becomes several smaller ones, and does not go on to grow
//	transfers    a node that drains does not keep its leaders until it is stopped. The change ends with the leadership, and the next leader removes the learners
//	ends of merges (EndMerge)  the right neighbour may stand still until it is known what became of its merge
//
// Another change of replicas is refused, and a merge, too.
type adminMutex struct{ made atomic.Pointer[adminState] }

type adminState struct {
	token chan struct{}
	// A send on lent passes the mutex to who borrows it, a send on back returns it.
	lent, back chan struct{}
	// filling is the change of replicas that is under way, from its first learner on.
	filling atomic.Pointer[filling]
}

func (m *adminMutex) state() *adminState {
	if t := m.made.Load(); t != nil {
		return t
	}
	t := &adminState{token: make(chan struct{}, 1), lent: make(chan struct{}), back: make(chan struct{})}
	if !m.made.CompareAndSwap(nil, t) {
		t = m.made.Load()
	}
	return t
}

// lock waits for the mutex, or for the context to end. The caller calls release.
func (m *adminMutex) lock(ctx context.Context) (release func(), err error) {
	t := m.state()
	select {
	case t.token <- struct{}{}:
		return t.unlock, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// borrow waits for the mutex as lock does, or until whoever holds it lends it. release gives it back to where it came from.
func (m *adminMutex) borrow(ctx context.Context) (release func(), err error) {
	t := m.state()
	select {
	case t.token <- struct{}{}:
		return t.unlock, nil
	case <-t.lent:
		return func() { t.back <- struct{}{} }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (t *adminState) unlock() { <-t.token }

// held reports whether somebody has locked it.
func (m *adminMutex) held() bool {
	t := m.made.Load()
	return t != nil && len(t.token) > 0
}

// Changing reports whether the replica is at an administrative command: a split, a merge, a change of replicas or of the leader.
func (r *Replica) Changing() bool { return r.adminMu.held() || r.Inherited() }

// admin takes adminMu and checks that the replica leads. The caller calls release.
func (r *Replica) admin(ctx context.Context) (s state, release func(), err error) {
	release, err = r.adminMu.lock(ctx)
	return r.adminWith(release, err)
}

// adminBesideFilling is admin for a command that does not wait for the learners of a change of replicas: that lends it the mutex.
func (r *Replica) adminBesideFilling(ctx context.Context) (s state, release func(), err error) {
	release, err = r.adminMu.borrow(ctx)
	return r.adminWith(release, err)
}

func (r *Replica) adminWith(release func(), err error) (state, func(), error) {
	if err != nil {
		return state{}, nil, kv.Errorf(kv.CodeCanceled, "canceled while another administrative command runs: %v", err)
	}
	s := r.snapshotState()
	if e := r.mayServe(&s, s.since); e != nil {
		release()
		return s, nil, e
	}
	if s.frozen != nil {
		release()
		return s, nil, r.frozenErr()
	}
	return s, release, nil
}
