package replica

import (
	"slices"

	"go.etcd.io/raft/v3"

	"github.com/pamirdb/pamir/range/internal/raftlog"
	"github.com/pamirdb/pamir/range/kv"
)

// candidacy is when a replica stands for leadership.
//
// Elections are not left to Raft's timeouts: everybody learns at about the same time that a leader is lost (its
// promises run out, or it resigns), and takes a turn. The first stands at once, the next ones later by what an election takes. A
// candidate may be refused by a store whose own promise lasts a little longer, so it tries again while its
// votes are only asked for (PreVote: no term is spent); once it is a candidate in earnest it waits for two that split
// the votes to come apart, each by its turn.
type candidacy struct {
	wait   int16 // ticks until it stands; 0: not at all
	turn   int16 // 0: the first
	tries  int8  // how often it may stand again
	waited bool  // for votes that were asked for in earnest
	// before is a store that stands first if it is there, after a restart; patience is how often it is still waited for.
	patience int8
	before   kv.StoreID
}

// maxTries is after how many attempts the matter is left to Raft's election timeout.
const maxTries = 15

const (
	// quickTries are those without a longer and longer pause in between, maxRetryTicks bounds it.
	quickTries    = 3
	maxRetryTicks = 8
	// maxPatience and patienceTicks: four seconds for who led last, if its store is up.
	maxPatience   = 8
	patienceTicks = 5
)

// turn returns this replica's place among the voters, without the one on store lost. The order begins at another store in
// every range, so that the ranges of a lost store get different leaders. raftMu is held.
func (r *Replica) turn(lost kv.StoreID) int16 {
	desc := r.snapshotState().desc
	if desc == nil {
		return 0
	}
	var stores []kv.StoreID
	for _, p := range desc.Replicas {
		if p.VotesNew() && p.StoreID != lost {
			stores = append(stores, p.StoreID)
		}
	}
	slices.Sort(stores)
	i := slices.Index(stores, r.deps.Store)
	if i < 0 {
		return int16(len(stores))
	}
	n := len(stores)
	return int16((i - int(int64(r.id)%int64(n)) + n) % n)
}

// run begins a candidacy after the leader on store lost is gone. raftMu is held.
func (r *Replica) run(lost kv.StoreID) {
	r.candidacy = candidacy{turn: r.turn(lost), tries: maxTries}
	if r.candidacy.turn > 0 {
		r.candidacy.wait = 2 * r.candidacy.turn
		return
	}
	r.stand()
	r.candidacy.wait = 1
}

// tickElection advances the candidacy. raftMu is held.
func (r *Replica) tickElection() {
	c := &r.candidacy
	if r.fresh && r.deps.Support.MayVote() {
		// After a restart nobody knows a leader. Whoever led last is the best choice, and need not wait for an
		// election timeout; the others come in if it does not.
		r.fresh = false
		if r.lead == 0 && c.wait == 0 && r.raftLog.Last().Index > 0 {
			turn := r.turn(0)
			*c = candidacy{turn: turn, wait: 3 + 2*turn, tries: maxTries}
			switch vote := r.raftLog.HardState().GetVote(); {
			case vote == uint64(r.rid):
				c.wait = 1
			case vote != 0:
				last, _ := r.peers.get(kv.ReplicaID(vote))
				c.before, c.patience = last.StoreID, maxPatience
			}
		}
	}
	if c.wait == 0 {
		return
	}
	if c.wait--; c.wait > 0 {
		return
	}
	if r.lead != 0 && r.following.epoch != 0 && r.deps.Support.Supports(r.following.store, r.following.epoch) {
		*c = candidacy{}
		return
	}
	if c.patience > 0 && r.lead == 0 && r.deps.Support.SupportEpoch(c.before) != 0 {
		// It is up again. With thousands of ranges to stand for it may take a while, and would take longer if others stood, too.
		c.patience--
		c.wait = patienceTicks
		if last, ok := r.peers.get(kv.ReplicaID(r.raftLog.HardState().GetVote())); ok {
			r.ask(last.ReplicaID) // it may be waiting for its turn (AwaitTurn)
		}
		return
	}
	if r.role == raft.StateCandidate && !c.waited {
		c.waited, c.wait = true, 3*(1+c.turn)
		return
	}
	c.waited = false
	r.stand()
	if c.tries > 0 {
		c.tries--
		c.wait = 1 + c.turn
		if n := maxTries - c.tries - quickTries; n > 0 {
			c.wait += min(int16(1)<<n, maxRetryTicks) // it is not refused so much as not heard: many stand
		}
	}
}

// AwaitTurn puts a replica that has just been loaded to sleep, if others may lead its range: its store wakes it when it is its turn (Wake). It sleeps no longer
// than until somebody asks for the range, or another of its replicas is heard. It reports whether it sleeps, and whether it was the last to lead, as far as it knows: then it
// stands at once when it is woken. Nobody has been told of the replica yet.
func (r *Replica) AwaitTurn() (asleep, led bool) {
	r.raftMu.Lock()
	defer r.raftMu.Unlock()
	s := r.snapshotState()
	if s.desc == nil || s.frozen != nil || !r.needsOthers() || !r.fresh {
		return false, false
	}
	r.quiet.Store(true)
	r.putAway()
	return true, r.raftLog.HardState().GetVote() == uint64(r.rid)
}

// heardCandidate is told that another replica asks for votes: this one lets it, if it can have its own, and could lead if it had. raftMu is held.
func (r *Replica) heardCandidate(v *raftlog.Message) {
	last, m := r.raftLog.Last(), v.Raft
	if m.GetLogTerm() < last.Term || m.GetLogTerm() == last.Term && m.GetIndex() < last.Index {
		return
	}
	if r.deps.Support.SupportEpoch(v.From.StoreID) == 0 {
		return // it may not even hear what is answered
	}
	if c := &r.candidacy; c.wait > 0 && r.role == raft.StateFollower {
		c.wait = max(c.wait, 5+2*c.turn)
	}
}

// Withdrawn is told that this store has ceased to support store s: the replica forgets a leader
// there and stands for leadership itself when its turn comes.
func (r *Replica) Withdrawn(s kv.StoreID) {
	r.post(func(err error) {
		if err != nil || r.raft == nil || r.following.store != s || r.role != raft.StateFollower {
			return
		}
		if f := &r.following; f.epoch != 0 && r.deps.Support.Supports(f.store, f.epoch) {
			return // it is back under a new epoch
		}
		r.wake()
		r.forgetLeader()
		r.run(s)
	})
}

// Asked wakes a quiet replica that does not lead, for somebody who wants something of the range: if its leader's store has lost support, the replica
// need not wait to be told (Withdrawn).
func (r *Replica) Asked() {
	r.post(func(err error) {
		if err != nil || r.raft == nil {
			return
		}
		r.wake()
		if f := &r.following; f.epoch != 0 && r.role == raft.StateFollower && r.candidacy.wait == 0 && r.deps.Support.SupportEpoch(f.store) == 0 {
			r.forgetLeader()
			r.run(f.store)
		}
	})
}

// Resigned is told that a replica has stopped, and will not lead at any term up to the given one: a
// promise to it binds nobody. (It is case d of package liveness: its leadership is over, and the message
// carries a clock reading from after that.)
func (r *Replica) Resigned(m *raftlog.Message) {
	r.post(func(err error) {
		if err != nil {
			return
		}
		r.resigned = resigned{replica: m.From.ReplicaID, term: m.Resigned}
		if f := &r.following; f.replica == m.From.ReplicaID && f.term <= m.Resigned {
			*f = following{}
			r.wake()
			r.forgetLeader()
			r.run(m.From.StoreID)
		} else if r.lead == m.From.ReplicaID && r.term <= m.Resigned { // under no promise of this store
			r.wake()
			r.forgetLeader()
		}
	})
}

// Campaign makes the replica stand for leadership, if it may.
func (r *Replica) Campaign() {
	r.post(func(err error) {
		if err != nil || r.raft == nil {
			return
		}
		r.wake()
		r.stand()
	})
}

// needsOthers reports whether the range has other voters than this replica.
func (r *Replica) needsOthers() bool {
	desc := r.snapshotState().desc
	if desc == nil {
		return false
	}
	for i := range desc.Replicas {
		if p := &desc.Replicas[i]; p.ReplicaID != r.rid && (p.VotesOld() || p.VotesNew()) {
			return true
		}
	}
	return false
}

// mayCampaign reports whether the gate lets this replica campaign. raftMu is held.
func (r *Replica) mayCampaign() bool {
	if !r.deps.Support.MayVote() || len(r.peers) > 1 && r.deps.Support.Fenced() {
		return false
	}
	f := &r.following
	return f.epoch == 0 || f.replica == r.rid || !r.deps.Support.Supports(f.store, f.epoch)
}

// stand campaigns, if nothing speaks against it. raftMu is held.
func (r *Replica) stand() {
	if r.role == raft.StateLeader || !r.mayCampaign() {
		return
	}
	if len(r.peers) > 1 && r.deps.Support.MayLead() != nil {
		return // it could not serve: let others try
	}
	r.deps.Metrics.Campaigns.Add(1)
	r.forgetLeader()
	if err := r.raft.Campaign(); err != nil {
		r.logger().Debug("campaign", "err", err)
	}
}
