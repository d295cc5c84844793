package replica

import (
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// LateBy is how long a follower may wait for a commit index that nothing else carries to it.
const LateBy = 100 * time.Millisecond

// lateCommits are the appends without entries that Raft wants sent when the commit index moves. The next append tells the
// same, and under load it comes soon: these are held back for a little while, because each costs as much as an append, and so
// does its answer. A follower applies later, and more at a time. Only the latest for a follower is kept; one that is lost is made good by a heartbeat, or when
// the range has come to rest by the follower, which asks (behind). What is still held back when the time has come leaves with that of all other ranges of the store (Owner.Late): one message to
// each follower's store, and one answer.
//
// What others wait to see applied everywhere, or what they need to take part in what comes next, is not held back: see hurry.
// Guarded by raftMu, as is Replica.lateArmed: the store knows that there are some.
type lateCommits struct {
	msgs []*pb.Message // by follower, at most one each
}

// sendAppend sends an append now, or holds it back.
func (r *Replica) sendAppend(m *pb.Message) {
	i := 0
	for i < len(r.late.msgs) && r.late.msgs[i].GetTo() != m.GetTo() {
		i++
	}
	if len(m.Entries) > 0 || r.role != raft.StateLeader {
		if n := len(r.late.msgs); i < n {
			old := r.late.msgs[i]
			r.late.msgs[i], r.late.msgs[n-1] = r.late.msgs[n-1], nil
			r.late.msgs = r.late.msgs[:n-1]
			if old.GetTerm() == m.GetTerm() && old.GetCommit() > m.GetCommit() {
				r.send(old)
			}
		}
		r.send(m)
		return
	}
	if i < len(r.late.msgs) {
		r.late.msgs[i] = m
	} else {
		r.late.msgs = append(r.late.msgs, m)
	}
	if !r.lateArmed {
		r.lateArmed = true
		r.deps.Owner.Late(r)
	}
}

// PostLate has what is held back sent when the replica is processed next. The caller signals it, with others.
func (r *Replica) PostLate() {
	r.put(func(err error) {
		if err != nil {
			return
		}
		r.lateArmed = false
		if len(r.late.msgs) > 0 {
			r.hurry()
		}
	})
}

// hurry sends what is held back with what this round sends. raftMu is held.
func (r *Replica) hurry() {
	for i, m := range r.late.msgs {
		if r.role == raft.StateLeader && m.GetTerm() == r.term {
			r.send(m)
		}
		r.late.msgs[i] = nil
	}
	r.late.msgs = r.late.msgs[:0]
}
