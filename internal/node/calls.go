package node

import (
	"cmp"
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// calls are the cold questions that nodes ask each other, as JSON.
var calls map[string]func(n *Node, ctx context.Context, from kv.NodeID, body []byte) ([]byte, error)

func init() { // some of them ask others
	calls = map[string]func(n *Node, ctx context.Context, from kv.NodeID, body []byte) ([]byte, error){
		"join":         call((*Node).serveJoin, true),
		"query-holder": call((*Node).serveQueryHolder, false),
		"report-wait":  call((*Node).serveReportWait, false),
		"report":       call((*Node).serveReport, false),
		"changes":      call((*Node).serveChanges, false),
		"placement":    call((*Node).servePlacement, false),
		"drain":        call((*Node).serveDrain, false),
		"activity":     call((*Node).serveActivity, false),
		"signal":       call((*Node).serveSignal, false),
		"cancel":       call((*Node).serveCancel, false),
		"granted":      call((*Node).serveGranted, false),
		"catalog":      call((*Node).serveCatalog, false),
		"locks":        call((*Node).serveLocks, false),
		"replicas":     call((*Node).serveReplicas, false),
	}
}

// call wraps a typed handler. Only members may make calls, unless outsiders is set.
func call[Req, Resp any](f func(n *Node, ctx context.Context, from kv.NodeID, req *Req) (*Resp, error), outsiders bool) func(*Node, context.Context, kv.NodeID, []byte) ([]byte, error) {
	return func(n *Node, ctx context.Context, from kv.NodeID, body []byte) ([]byte, error) {
		if from == 0 && !outsiders {
			return nil, kv.Errorf(kv.CodeBadRequest, "the caller is not a member of this cluster")
		}
		var req Req
		if err := json.Unmarshal(body, &req); err != nil {
			return nil, kv.Errorf(kv.CodeBadRequest, "malformed call: %v", err)
		}
		resp, err := f(n, ctx, from, &req)
		if err != nil {
			return nil, err
		}
		return json.Marshal(resp)
	}
}

// ask makes a call to another node, or to this one.
func ask[Req, Resp any](ctx context.Context, n *Node, to kv.NodeID, method string, req *Req) (*Resp, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, kv.AsError(err)
	}
	var out []byte
	if to == n.id.NodeID {
		out, err = inbound{n}.HandleCall(ctx, to, method, body)
	} else {
		out, err = n.transport.CallNode(ctx, to, method, body)
	}
	if err != nil {
		return nil, err
	}
	resp := new(Resp)
	if err := json.Unmarshal(out, resp); err != nil {
		return nil, kv.Errorf(kv.CodeInternal, "%s: malformed answer of node %d: %v", method, to, err)
	}
	return resp, nil
}

// Join.

type joinRequest struct {
	RPCAddr   string
	Build     string
	MaxOffset time.Duration
	// Member is the cluster that the caller belongs to already: it wants to know whether this is that cluster, and nothing else.
	Member uuid.UUID
}

type joinResponse struct {
	ClusterID uuid.UUID
	NodeID    kv.NodeID
	StoreID   kv.StoreID
	Book      []byte
}

// serveJoin gives a new node an id. A reply that gets lost wastes a number and nothing else.
func (n *Node) serveJoin(ctx context.Context, _ kv.NodeID, req *joinRequest) (*joinResponse, error) {
	if req.Member != uuid.Nil {
		return &joinResponse{ClusterID: n.id.ClusterID}, nil
	}
	if req.MaxOffset != n.cfg.MaxOffset {
		return nil, kv.Errorf(kv.CodeBadRequest, "this cluster runs with --max-offset %s, the new node with %s: they must be the same", n.cfg.MaxOffset, req.MaxOffset)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	resp, err := n.sender.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{
		&kv.Increment{Key: keys.NodeIDCounter, By: 1}, &kv.Increment{Key: keys.StoreIDCounter, By: 1},
	}})
	if err != nil {
		return nil, err
	}
	id := resp.Responses[0].(*kv.IncrementResponse).Value
	storeID := resp.Responses[1].(*kv.IncrementResponse).Value
	if max(id, storeID) > 1<<30 {
		return nil, kv.Errorf(kv.CodeInternal, "node ids are used up")
	}
	book, err := n.book.Encode()
	if err != nil {
		return nil, err
	}
	n.log.Info("a node joins", "joining", id, "rpc", req.RPCAddr, "build", req.Build)
	return &joinResponse{ClusterID: n.id.ClusterID, NodeID: kv.NodeID(id), StoreID: kv.StoreID(storeID), Book: book}, nil
}

// Lock holders: ranges ask gateways about transactions.

type holderQuery struct {
	Gateway     kv.NodeID
	Incarnation int64
	Txn         kv.TxnID
	Hurry       bool
}

type waitReport struct {
	Waiter  kv.TxnMeta
	Key     keys.Key
	Holders []kv.TxnMeta
}

func (n *Node) serveQueryHolder(ctx context.Context, _ kv.NodeID, q *holderQuery) (*kv.HolderState, error) {
	st, err := n.txns.QueryHolder(ctx, q.Gateway, q.Incarnation, q.Txn, q.Hurry)
	return &st, err
}

func (n *Node) serveReportWait(ctx context.Context, _ kv.NodeID, r *waitReport) (*kv.HolderState, error) {
	st, err := n.txns.ReportWait(ctx, &r.Waiter, r.Key, r.Holders)
	return &st, err
}

// holders answers the lock tables of this node's ranges: from the coordinator here, or from another node's.
type holders struct{ n *Node }

const (
	// holderTimeout bounds one question; whoever waits asks again.
	holderTimeout = time.Second
	// holderLeast is how long a gateway that is about to be called dead has to answer.
	holderLeast = 100 * time.Millisecond
)

// gatewayDeadAfter is how long a gateway must have been silent for its transactions to count as gone when it does
// not answer. If it is only cut off, they find their locks lost when they commit, and recovery decides about what they had prepared.
// It is what the lock tables go by that find no answer themselves.
func (n *Node) gatewayDeadAfter() time.Duration {
	return cmp.Or(n.cfg.StoreKnob.GatewayDeadAfter, time.Second)
}

func (h holders) QueryHolder(ctx context.Context, gateway kv.NodeID, incarnation int64, id kv.TxnID, hurry bool) (kv.HolderState, error) {
	st, err := h.ask(ctx, gateway, incarnation, id, hurry)
	if err != nil {
		// Whoever comes late to a dead gateway's lock need not wait as long as those who came first.
		if d, ok := h.n.transport.Silence(gateway); ok && d > h.n.gatewayDeadAfter() {
			return kv.HolderState{}, nil
		}
	}
	return st, err
}

// ask asks the gateway; an error says that it has not answered.
func (h holders) ask(ctx context.Context, gateway kv.NodeID, incarnation int64, id kv.TxnID, hurry bool) (kv.HolderState, error) {
	if gateway == h.n.id.NodeID {
		return h.n.txns.QueryHolder(ctx, gateway, incarnation, id, hurry)
	}
	if e, ok := h.n.book.Get(gateway); ok && e.Incarnation > incarnation {
		return kv.HolderState{}, nil // that process is gone
	}
	// Its transactions can do nothing until its clock is right, however long that takes: what it says of them is no reason to wait for their locks.
	if h.n.transport.ClockOff(gateway) {
		return kv.HolderState{}, kv.Errorf(kv.CodeUnavailable, "the clock of node %d is off by more than --max-offset", gateway)
	}
	// A gateway that has been silent for a while is waited for no longer than it takes to call it dead: a process that is stopped answers nothing,
	// and those behind its locks would wait out the whole of the question.
	wait := holderTimeout
	if d, ok := h.n.transport.Silence(gateway); ok {
		wait = min(wait, max(h.n.gatewayDeadAfter()-d, holderLeast))
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	st, err := ask[holderQuery, kv.HolderState](ctx, h.n, gateway, "query-holder", &holderQuery{gateway, incarnation, id, hurry})
	if err != nil {
		return kv.HolderState{}, err
	}
	return *st, nil
}

func (h holders) ReportWait(ctx context.Context, waiter *kv.TxnMeta, key keys.Key, hs []kv.TxnMeta) (kv.HolderState, error) {
	if waiter.Gateway == h.n.id.NodeID {
		return h.n.txns.ReportWait(ctx, waiter, key, hs)
	}
	ctx, cancel := context.WithTimeout(ctx, holderTimeout)
	defer cancel()
	st, err := ask[waitReport, kv.HolderState](ctx, h.n, waiter.Gateway, "report-wait", &waitReport{*waiter, key, hs})
	if err != nil {
		return kv.HolderState{}, err
	}
	return *st, nil
}
