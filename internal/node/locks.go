package node

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pamirdb/pamir/internal/admin"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/range/store"
	"github.com/pamirdb/pamir/sql/verb"
)

// LockView is a lock, or somebody who waits for one.
type LockView struct {
	// NodeID leads the range.
	NodeID  kv.NodeID  `json:"node_id"`
	RangeID kv.RangeID `json:"range_id"`
	Table   string     `json:"table,omitempty"`
	Index   string     `json:"index,omitempty"`
	Key     string     `json:"key"`
	Txn     string     `json:"txn"`
	// Gateway is the node that the transaction's client is connected to.
	Gateway  kv.NodeID `json:"gateway"`
	Strength string    `json:"strength"`
	Granted  bool      `json:"granted"`
	Prepared bool      `json:"prepared"`
	Age      string    `json:"txn_age"`

	key keys.Key
}

// TxnView is a transaction that holds locks or commits.
type TxnView struct {
	NodeID kv.NodeID `json:"node_id"` // its gateway
	ID     string    `json:"id"`
	Anchor string    `json:"anchor"`
	Age    string    `json:"age"`
	Status string    `json:"status"`
	Waits  int       `json:"waits"`
}

// LocksView is the answer of locks. Problem says whose are missing, if any are.
type LocksView struct {
	Locks        []LockView `json:"locks"`
	Transactions []TxnView  `json:"transactions"`
	Problem      string     `json:"problem,omitempty"`
}

// maxLocksShown is per range.
const maxLocksShown = 1000

var strengthNames = [...]string{"read", "key share", "share", "no key update", "update"}

var statusNames = [...]string{"running", "staging", "committed", "aborted"}

// Locks describes who holds and who waits for what, in the ranges that this node leads, and the transactions that it coordinates.
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
				NodeID: n.id.NodeID, RangeID: r.RangeID, Key: keys.Pretty(l.Key), Txn: l.Txn.ID.String(), Gateway: l.Txn.Gateway,
				Strength: strengthNames[int(l.Strength)%len(strengthNames)], Granted: l.Granted, Prepared: l.Replicated, Age: age(l.Txn.ID.Start()),
				key: l.Key,
			})
		}
	}
	for _, t := range n.txns.Active() {
		v.Transactions = append(v.Transactions, TxnView{
			NodeID: n.id.NodeID, ID: hex.EncodeToString(t.Meta.ID[:]), Anchor: keys.Pretty(t.Meta.Anchor), Age: age(t.Since),
			Status: statusNames[int(t.Status)%len(statusNames)], Waits: len(t.Waits),
		})
	}
	return v
}

// locksHere is Locks, and the keys of its locks.
type locksHere struct {
	LocksView
	Keys []keys.Key
}

type locksRequest struct{}

func (n *Node) serveLocks(context.Context, kv.NodeID, *locksRequest) (*locksHere, error) {
	h := &locksHere{LocksView: n.Locks()}
	for i := range h.Locks {
		h.Keys = append(h.Keys, h.Locks[i].key)
	}
	return h, nil
}

// locks is the verb.
func (n *Node) locks(ctx context.Context, a verb.Args) (*LocksView, error) {
	o := operations{n}
	span := keys.Span{Start: keys.Min, End: keys.Max}
	if table := a.Text("table"); table != "" {
		var err error
		if span, err = o.TableSpan(ctx, table); err != nil {
			return nil, err
		}
	}
	if id := kv.RangeID(a.Int("range_id")); id != 0 {
		if err := o.named(ctx, id); err != nil {
			return nil, err // "none" would say that it has none
		}
	}
	answers, problem, err := askThem[locksRequest, locksHere](ctx, n, kv.NodeID(a.Int("node")), "locks", &locksRequest{})
	if err != nil {
		return nil, err
	}
	named, cancel := context.WithTimeout(ctx, activityTimeout)
	defer cancel()
	names, nameless := o.names(named)
	out := &LocksView{Locks: []LockView{}, Transactions: []TxnView{}, Problem: problem}
	for _, h := range answers {
		out.Transactions = append(out.Transactions, h.Transactions...)
		for i, l := range h.Locks {
			l.key = h.Keys[i]
			if id := a.Int("range_id"); id != 0 && kv.RangeID(id) != l.RangeID || !span.Contains(l.key) || a.Bool("waiting") && l.Granted {
				continue
			}
			if nameless == nil { // else by its bytes
				_, l.Table, l.Index = names.Owner(l.key)
				l.Key = names.Pretty(l.key)
			}
			out.Locks = append(out.Locks, l)
		}
	}
	slices.SortStableFunc(out.Locks, func(a, b LockView) int { // who holds one, and who waits for it in their order
		return cmp.Or(a.key.Compare(b.key), cmp.Compare(ungranted(a), ungranted(b)))
	})
	out.Locks = out.Locks[:min(int(a.Int("limit")), len(out.Locks))]
	return out, nil
}

func ungranted(l LockView) int {
	if l.Granted {
		return 0
	}
	return 1
}

// named refuses the id of a range that there is not.
func (o operations) named(ctx context.Context, id kv.RangeID) error {
	_, _, err := o.rangeByID(ctx, id)
	if kv.HasCode(err, kv.CodeBadRequest) {
		return admin.NoRange(id)
	}
	return err
}

// ReplicaState is what a store thinks of one of its replicas.
type ReplicaState struct {
	NodeID    kv.NodeID    `json:"node_id"`
	RangeID   kv.RangeID   `json:"range_id"`
	ReplicaID kv.ReplicaID `json:"replica_id"`
	Leader    bool         `json:"leader"`
	Follows   kv.ReplicaID `json:"follows"`
	// LeaderNode has the replica that this one follows, or is this one; 0 if it knows none.
	LeaderNode kv.NodeID `json:"leader_node"`
	Serving    bool      `json:"serving"`
	Quiet      bool      `json:"quiet"`
	Stopped    string    `json:"stopped,omitempty"`
	Term       uint64    `json:"term"`
	Applied    uint64    `json:"applied"`
	First      uint64    `json:"first_index"`
	Last       uint64    `json:"last_index"`
	LeaseEnd   string    `json:"lease_end,omitempty"`
	Desc       string    `json:"descriptor"`
}

// Replicas describes the replicas of this node's store.
func (n *Node) Replicas() []ReplicaState { return n.replicasOf(n.store.Ranges()) }

func (n *Node) replicasOf(rs []store.RangeStatus) []ReplicaState {
	out := []ReplicaState{}
	for _, r := range rs {
		s := ReplicaState{
			NodeID: n.id.NodeID, RangeID: r.RangeID, ReplicaID: r.Replica.ReplicaID, Leader: r.Leader, Follows: r.LeaderReplica.ReplicaID,
			LeaderNode: r.LeaderReplica.NodeID, Serving: r.Serving,
			Quiet: r.Quiet, Stopped: r.Stopped, Term: r.Term, Applied: r.Applied, First: r.FirstIndex, Last: r.LastIndex,
		}
		if r.Leader {
			s.LeaderNode, s.LeaseEnd = n.id.NodeID, r.LeaseEnd.String()
		}
		if r.Descriptor != nil {
			s.Desc = r.Descriptor.String()
		}
		out = append(out, s)
	}
	return out
}

// ReplicaList is the answer of replicas. Problem says whose are missing, if any are.
type ReplicaList struct {
	Replicas []ReplicaState `json:"replicas"`
	Problem  string         `json:"problem,omitempty"`
}

// replicasRequest asks for the replica of a range, or for all of them.
type replicasRequest struct{ RangeID kv.RangeID }

func (n *Node) serveReplicas(_ context.Context, _ kv.NodeID, q *replicasRequest) (*ReplicaList, error) {
	if q.RangeID == 0 {
		return &ReplicaList{Replicas: n.Replicas()}, nil
	}
	var of []store.RangeStatus
	if r, ok := n.store.Range(q.RangeID); ok {
		of = append(of, r)
	}
	return &ReplicaList{Replicas: n.replicasOf(of)}, nil
}

// replicas is the verb.
func (n *Node) replicas(ctx context.Context, a verb.Args) (*ReplicaList, error) {
	answers, problem, err := askThem[replicasRequest, ReplicaList](ctx, n, kv.NodeID(a.Int("node")), "replicas", &replicasRequest{kv.RangeID(a.Int("range_id"))})
	if err != nil {
		return nil, err
	}
	out := &ReplicaList{Replicas: []ReplicaState{}, Problem: problem}
	for _, l := range answers {
		for _, r := range l.Replicas {
			if !a.Bool("stopped") || r.Stopped != "" {
				out.Replicas = append(out.Replicas, r)
			}
		}
	}
	if id := kv.RangeID(a.Int("range_id")); id != 0 && len(out.Replicas) == 0 {
		if err := (operations{n}).named(ctx, id); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// askThem asks a node, or all of them (0). Problem names those that do not answer, of all.
func askThem[Req, Resp any](ctx context.Context, n *Node, node kv.NodeID, method string, req *Req) (answers []*Resp, problem string, err error) {
	if node != 0 {
		if _, ok := n.book.Get(node); !ok {
			return nil, "", admin.NoNode(node)
		}
		resp, err := ask[Req, Resp](ctx, n, node, method, req)
		if err != nil {
			return nil, "", err
		}
		return []*Resp{resp}, "", nil
	}
	byNode, silent := askAll[Req, Resp](ctx, n, method, req)
	for _, e := range n.book.Entries() {
		if r := byNode[e.NodeID]; r != nil {
			answers = append(answers, r)
		}
	}
	var missing []string
	for _, id := range silent {
		missing = append(missing, fmt.Sprintf("n%d", id))
	}
	switch len(missing) {
	case 0:
	case 1:
		problem = missing[0] + " does not answer"
	default:
		problem = strings.Join(missing, ", ") + " do not answer"
	}
	return answers, problem, nil
}

// askAll asks all nodes but those that have left for good. silent are those that do not answer in time.
func askAll[Req, Resp any](ctx context.Context, n *Node, method string, req *Req) (answers map[kv.NodeID]*Resp, silent []kv.NodeID) {
	ctx, cancel := context.WithTimeout(ctx, activityTimeout)
	defer cancel()
	answers = map[kv.NodeID]*Resp{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, e := range n.book.Entries() {
		if !n.transport.Alive(e.NodeID) {
			silent = append(silent, e.NodeID)
			continue
		}
		wg.Go(func() {
			a, err := ask[Req, Resp](ctx, n, e.NodeID, method, req)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				silent = append(silent, e.NodeID)
				return
			}
			answers[e.NodeID] = a
		})
	}
	wg.Wait()
	if len(silent) > 0 { // who has left for good has nothing to say
		if left, err := n.readMembership(ctx); err == nil {
			silent = slices.DeleteFunc(silent, func(id kv.NodeID) bool { return left[id].Gone() })
		}
	}
	slices.Sort(silent)
	return answers, silent
}
