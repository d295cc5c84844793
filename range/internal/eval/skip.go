package eval

import (
	"slices"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// lock takes an unreplicated lock for the transaction. ok is false if the row is to be left out (WaitSkip).
func (e *evaluation) lock(key keys.Key, s kv.LockStrength) (ok bool, err error) {
	if e.env.Follower || e.env.Locks == nil {
		return false, kv.Errorf(kv.CodeNotLeader, "locks are taken on the leader")
	}
	if e.req.Txn == nil {
		return false, kv.Errorf(kv.CodeBadRequest, "locking read without a transaction")
	}
	if len(e.toAsk) > 0 {
		// The answer is for nobody. It goes on only to find whom else to ask, and nothing is to stay locked of it.
		holder, ok := e.env.Locks.Blocker(e.req.Txn, key, s)
		if !ok {
			e.leftOut(holder)
		}
		return ok, nil
	}
	holder, ok := e.env.Locks.TryLock(e.req.Txn, key, s)
	if ok {
		return true, nil
	}
	if e.req.Wait == kv.WaitSkip {
		e.leftOut(holder)
		return false, nil
	}
	c := Conflict{Key: key.Clone(), Want: s}
	if holder != nil {
		c.Holder = *holder
	}
	return false, &ConflictError{Conflicts: []Conflict{c}}
}

// maxToAsk bounds whom one evaluation has asked after.
const maxToAsk = 32

// leftOut notes whom to ask before a row is left out because he has locked it.
func (e *evaluation) leftOut(holder *kv.TxnMeta) {
	if !e.env.AskFirst || holder == nil || holder.ID.IsZero() || len(e.toAsk) == maxToAsk {
		return
	}
	if _, ok := e.env.Undecided[holder.ID]; ok {
		return
	}
	if !slices.ContainsFunc(e.toAsk, func(m kv.TxnMeta) bool { return m.ID == holder.ID }) {
		e.toAsk = append(e.toAsk, *holder)
	}
}
