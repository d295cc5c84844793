package node

import (
	"encoding/hex"
	"time"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// LockView is a lock, or somebody who waits for one.
type LockView struct {
	RangeID  kv.RangeID `json:"range_id"`
	Key      string     `json:"key"`
	Txn      string     `json:"txn"`
	Gateway  kv.NodeID  `json:"gateway"`
	Strength string     `json:"strength"`
	Granted  bool       `json:"granted"`
	Prepared bool       `json:"prepared"`
	Age      string     `json:"txn_age"`
}

// TxnView is a transaction of this gateway that holds locks or commits.
type TxnView struct {
	ID     string `json:"id"`
	Anchor string `json:"anchor"`
	Age    string `json:"age"`
	Status string `json:"status"`
	Waits  int    `json:"waits"`
}

// LocksView is /api/v1/locks: the lock tables of the ranges led here, and the transactions coordinated here.
type LocksView struct {
	Locks        []LockView `json:"locks"`
	Transactions []TxnView  `json:"transactions"`
}

const maxLocksShown = 1000 // per range

var strengthNames = [...]string{"none", "key share", "share", "no key update", "update"}

var statusNames = [...]string{"running", "staging", "committed", "aborted"}

// Locks describes who holds and who waits for what.
func (n *Node) Locks() LocksView {
	v := LocksView{Locks: []LockView{}, Transactions: []TxnView{}}
	age := func(start int64) string {
		return time.Duration(n.clock.Physical() - start).Round(time.Millisecond).String()
	}
	for _, r := range n.store.Ranges() {
		if !r.Leader {
			continue
		}
		for _, l := range n.store.Locks(r.RangeID, maxLocksShown) {
			v.Locks = append(v.Locks, LockView{
				RangeID: r.RangeID, Key: keys.Pretty(l.Key), Txn: l.Txn.ID.String(), Gateway: l.Txn.Gateway,
				Strength: strengthNames[int(l.Strength)%len(strengthNames)], Granted: l.Granted, Prepared: l.Replicated, Age: age(l.Txn.ID.Start()),
			})
		}
	}
	for _, t := range n.txns.Active() {
		v.Transactions = append(v.Transactions, TxnView{
			ID: hex.EncodeToString(t.Meta.ID[:]), Anchor: keys.Pretty(t.Meta.Anchor), Age: age(t.Since),
			Status: statusNames[int(t.Status)%len(statusNames)], Waits: len(t.Waits),
		})
	}
	return v
}

// ReplicaState is /api/v1/replicas: what this node's store thinks of one of its replicas.
type ReplicaState struct {
	RangeID   kv.RangeID   `json:"range_id"`
	ReplicaID kv.ReplicaID `json:"replica_id"`
	Leader    bool         `json:"leader"`
	Follows   kv.ReplicaID `json:"follows"`
	Serving   bool         `json:"serving"`
	Quiet     bool         `json:"quiet"`
	Stopped   string       `json:"stopped,omitempty"`
	Term      uint64       `json:"term"`
	Applied   uint64       `json:"applied"`
	First     uint64       `json:"first_index"`
	Last      uint64       `json:"last_index"`
	LeaseEnd  string       `json:"lease_end,omitempty"`
	Desc      string       `json:"descriptor"`
}

// Replicas describes the replicas of this node's store.
func (n *Node) Replicas() []ReplicaState {
	out := []ReplicaState{}
	for _, r := range n.store.Ranges() {
		s := ReplicaState{
			RangeID: r.RangeID, ReplicaID: r.Replica.ReplicaID, Leader: r.Leader, Follows: r.LeaderReplica.ReplicaID, Serving: r.Serving,
			Quiet: r.Quiet, Stopped: r.Stopped, Term: r.Term, Applied: r.Applied, First: r.FirstIndex, Last: r.LastIndex,
		}
		if r.Leader {
			s.LeaseEnd = r.LeaseEnd.String()
		}
		if r.Descriptor != nil {
			s.Desc = r.Descriptor.String()
		}
		out = append(out, s)
	}
	return out
}
