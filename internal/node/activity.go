package node

import (
	"context"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql"
	"github.com/pamirdb/pamir/sql/advisory"
)

// What sessions, transactions and locks there are, asked of every node (sql.Observer).

type activityRequest struct{}

// activityTimeout bounds one question to all nodes.
const activityTimeout = 2 * time.Second

// serveActivity tells of this node's sessions, the transactions it coordinates and the locks of the ranges it leads.
func (n *Node) serveActivity(context.Context, kv.NodeID, *activityRequest) (*sql.NodeActivity, error) {
	a := &sql.NodeActivity{Node: n.id.NodeID}
	if f := n.serving.Load(); f != nil {
		f.sql.LocalActivity(a)
	}
	ids := func(ms []kv.TxnMeta) []kv.TxnID {
		out := make([]kv.TxnID, len(ms))
		for i := range ms {
			out[i] = ms[i].ID
		}
		return out
	}
	for _, t := range n.txns.Active() {
		x := sql.TxnActivity{ID: t.Meta.ID, Since: t.Since, Status: t.Status, Anchor: t.Meta.Anchor}
		for _, w := range t.Waits {
			x.Waits = append(x.Waits, sql.TxnWait{Key: w.Key, Holders: ids(w.Holders), Since: w.Since})
		}
		a.Txns = append(a.Txns, x)
	}
	for _, r := range n.store.Ranges() {
		if !r.Leader {
			continue
		}
		for _, l := range n.store.Locks(r.RangeID, maxLocksShown) {
			a.Locks = append(a.Locks, sql.LockActivity{RangeID: r.RangeID, Key: l.Key, Txn: l.Txn.ID, Gateway: l.Txn.Gateway,
				Strength: l.Strength, Granted: l.Granted, Prepared: l.Replicated})
		}
	}
	for _, e := range n.txns.Contention() {
		a.Contention = append(a.Contention, sql.ContentionEvent{Waiter: e.Waiter, Key: e.Key, Holders: ids(e.Holders), Began: e.Began, Waited: e.Waited})
	}
	return a, nil
}

// Activity implements sql.Observer.
func (o operate) Activity(ctx context.Context) (all []sql.NodeActivity, silent []kv.NodeID) {
	answers, silent := askAll[activityRequest, sql.NodeActivity](ctx, o.n, "activity", &activityRequest{})
	for _, a := range answers {
		all = append(all, *a)
	}
	return all, silent
}

type signalRequest struct {
	PID       int32
	Signal    string
	User      string
	Superuser bool
}

type signalResponse struct{ Answer string }

func (n *Node) serveSignal(_ context.Context, _ kv.NodeID, q *signalRequest) (*signalResponse, error) {
	f := n.serving.Load()
	if f == nil {
		return &signalResponse{sql.SignalUnknown}, nil
	}
	return &signalResponse{f.sql.Signal(q.PID, q.Signal, q.User, q.Superuser)}, nil
}

// Signal implements sql.Observer: the process id names the node.
func (o operate) Signal(ctx context.Context, pid int32, signal, user string, superuser bool) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, activityTimeout)
	defer cancel()
	answer := sql.SignalUnknown
	for _, e := range o.n.book.Entries() {
		if !sql.PIDOn(pid, e.NodeID) {
			continue
		}
		r, err := ask[signalRequest, signalResponse](ctx, o.n, e.NodeID, "signal", &signalRequest{pid, signal, user, superuser})
		if err != nil {
			return "", err
		}
		if r.Answer != sql.SignalUnknown {
			answer = r.Answer
		}
	}
	return answer, nil
}

type grantedResponse struct{}

func (n *Node) serveGranted(_ context.Context, _ kv.NodeID, g *advisory.Grant) (*grantedResponse, error) {
	if f := n.serving.Load(); f != nil {
		f.sql.Advisory().Granted(*g)
	}
	return &grantedResponse{}, nil
}

// AdvisoryGranted implements sql.Observer.
func (o operate) AdvisoryGranted(ctx context.Context, node kv.NodeID, g advisory.Grant) error {
	_, err := ask[advisory.Grant, grantedResponse](ctx, o.n, node, "granted", &g)
	return err
}

type catalogNews struct{}

// serveCatalog is told that the catalog is about to change.
func (n *Node) serveCatalog(context.Context, kv.NodeID, *catalogNews) (*catalogNews, error) {
	if c := n.catalog.Load(); c != nil {
		c.Look()
	}
	return &catalogNews{}, nil
}

// tellCatalog is a catalog.Tell.
func (n *Node) tellCatalog(ctx context.Context, node int32) error {
	_, err := ask[catalogNews, catalogNews](ctx, n, kv.NodeID(node), "catalog", &catalogNews{})
	return err
}

// gatewayLostAfter is how long a node must have been silent for schema changes not to wait for it: as long as it takes others to lead in its place. It
// may be wrong about the node.
const gatewayLostAfter = 1500 * time.Millisecond

// gatewayLost is a catalog.Lost.
func (n *Node) gatewayLost(node int32) bool {
	d, ok := n.transport.Silence(kv.NodeID(node))
	return ok && d > gatewayLostAfter
}

// closedHere is the timestamp up to which every replica of this node's store serves reads of the past, or leads. Where not every range
// has one here, it is a little lower, for those on the nodes nearby: they hear at other moments what is closed.
func (n *Node) closedHere() hlc.Timestamp {
	low := n.clock.Now()
	here := n.store.Ranges()
	for _, r := range here {
		if !r.Serving && r.Closed.Less(low) {
			low = r.Closed
		}
	}
	if n.sender.CachedRanges() > len(here) {
		low = low.Add(-closedNearby)
	}
	return low
}

const closedNearby = time.Second
