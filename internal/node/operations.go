package node

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pamirdb/pamir/internal/admin"
	"github.com/pamirdb/pamir/placement"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/range/transport"
)

// Operations is what an operator can ask of the cluster, whichever way the question comes: see package admin.
type Operations = admin.Cluster

// What it answers with.
type (
	OperatorView     = admin.OperatorView
	RunningOperator  = admin.RunningOperator
	DoneOperator     = admin.DoneOperator
	FindingView      = admin.FindingView
	PlacementView    = admin.PlacementView
	PlanView         = admin.PlanView
	RuleView         = admin.RuleView
	StoreView        = admin.StoreView
	RangeView        = admin.RangeView
	RangeRates       = admin.RangeRates
	GatewayRate      = admin.GatewayRate
	ReplicaView      = admin.ReplicaView
	DecommissionView = admin.DecommissionView
	DrainView        = admin.DrainView
	StatusView       = admin.StatusView
	NodeView         = admin.NodeView
)

// Operations returns the operations, as carried out from this node.
func (n *Node) Operations() Operations { return operations{n} }

type operations struct{ n *Node }

var _ Operations = operations{}

// operatorView puts an operator into the terms of operators, the people: nodes, and not stores.
func (n *Node) operatorView(op placement.Operator) OperatorView {
	v := OperatorView{RangeID: kv.RangeID(op.Range), Text: op.Text(n.nodeOf), Why: op.Why}
	for _, r := range op.Rejected {
		x := admin.Rejection{Why: r.Why}
		for _, s := range r.Stores {
			x.Nodes = append(x.Nodes, kv.NodeID(n.nodeOf(s)))
		}
		v.Rejected = append(v.Rejected, x)
	}
	return v
}

// nodeOf returns the node that has a store.
func (n *Node) nodeOf(s placement.StoreID) placement.NodeID {
	for _, e := range n.book.Entries() {
		if placement.StoreID(e.StoreID) == s {
			return placement.NodeID(e.NodeID)
		}
	}
	return placement.NodeID(s) // one that is not known any more: the two numbers are given out together
}

func ruleViews(r *placement.Rules) []RuleView {
	view := func(r *placement.Rule) RuleView {
		v := RuleView{Of: r.Name, Options: map[string]string{}}
		for _, o := range placement.Options {
			v.Options[o] = r.Get(o)
		}
		return v
	}
	out := []RuleView{view(&r.Default)}
	for i := range r.Special {
		out = append(out, view(&r.Special[i]))
	}
	return out
}

// driver finds out which node leads the meta range.
func (o operations) driver(ctx context.Context) (kv.NodeID, error) {
	resp, err := o.n.sender.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.Get{Key: keys.NodeIDCounter}}})
	if err != nil {
		return 0, err
	}
	return resp.ServedBy, nil
}

type placementRequest struct{ DryRun bool }

type placementAnswer struct {
	View *PlacementView `json:",omitempty"`
	Plan *PlanView      `json:",omitempty"`
}

// servePlacement answers for the driver.
func (n *Node) servePlacement(ctx context.Context, _ kv.NodeID, q *placementRequest) (*placementAnswer, error) {
	if q.DryRun {
		v, err := n.dryRun(ctx)
		return &placementAnswer{Plan: v}, err
	}
	p := &n.placement
	p.mu.Lock()
	defer p.mu.Unlock()
	v := &PlacementView{Paused: p.paused, LastPlan: p.at, Took: p.took, Problem: p.problem, Recent: append([]DoneOperator{}, p.recent...),
		Pending: []OperatorView{}, Running: []RunningOperator{}, Findings: findingViews(p.findings),
		Unmerged: findingViews(p.unmerged)}
	if p.driving {
		v.Driver = n.id.NodeID
	} else if v.Problem == "" {
		v.Problem = fmt.Sprintf("node %d leads the meta range since a moment ago, and has made no plan yet", n.id.NodeID)
	}
	for _, op := range p.planned {
		v.Pending = append(v.Pending, n.operatorView(op))
	}
	for id, r := range p.running {
		if id != kv.RangeID(r.op.Range) {
			continue // a merge is known by both its ranges
		}
		v.Running = append(v.Running, RunningOperator{Operator: n.operatorView(r.op), Started: r.started})
	}
	slices.SortFunc(v.Running, func(a, b RunningOperator) int { return a.Started.Compare(b.Started) })
	return &placementAnswer{View: v}, nil
}

// maxFindings are shown: of a thousand ranges that wait for the same, some tell the story.
const maxFindings = 1000

// shown returns those of the findings that are kept until the next plan: no more than anybody will see.
func shown(fs []placement.Finding) []placement.Finding {
	if len(fs) > maxFindings {
		return slices.Clone(fs[:maxFindings])
	}
	return fs
}

func findingViews(fs []placement.Finding) []FindingView {
	out := make([]FindingView, 0, min(len(fs), maxFindings))
	for _, f := range fs[:min(len(fs), maxFindings)] {
		out = append(out, FindingView{RangeID: kv.RangeID(f.Range), Why: f.Why})
	}
	return out
}

// dryRun makes a plan from what the nodes say now. It asks for everything, under a session of its own.
func (n *Node) dryRun(ctx context.Context) (*PlanView, error) {
	d, began := newDriver(n), time.Now()
	d.dry = true
	// Not by the driver's question: the nodes remember what they have told the driver, and nobody else.
	led, loads := n.reports(ctx)
	for _, e := range n.book.Entries() {
		d.known.nodes[e.NodeID] = &reporter{store: e.StoreID, load: loads[e.NodeID]}
	}
	for id, l := range led {
		d.known.changed[id] = true
		d.known.ranges[id] = &knownRange{desc: l.desc, leader: l.leader, store: l.leaderStore, bytes: l.Stats.Bytes, rates: l.Rates,
			since: time.Now().Add(-time.Hour), cut: time.Now().Add(-time.Hour)}
	}
	descs, err := n.sender.AllRanges(ctx)
	if err != nil {
		return nil, err
	}
	d.known.list(descs)
	if err := d.rules.refresh(ctx, n, false); err != nil {
		return nil, err
	}
	if d.left, err = n.readMembership(ctx); err != nil {
		return nil, err
	}
	now := d.moment(time.Now())
	d.tell(&now, time.Now(), began)
	res := d.ranges.Plan(now, d.rules.rules)
	v := &PlanView{Operators: []OperatorView{}, Findings: findingViews(res.Findings), Unmerged: findingViews(res.Unmerged)}
	for _, op := range res.Operators {
		v.Operators = append(v.Operators, n.operatorView(op))
	}
	return v, nil
}

func (o operations) ask(ctx context.Context, q *placementRequest) (*placementAnswer, error) {
	node, err := o.driver(ctx)
	if err != nil {
		return nil, err
	}
	return ask[placementRequest, placementAnswer](ctx, o.n, node, "placement", q)
}

func (o operations) Placement(ctx context.Context) (*PlacementView, error) {
	driver, err := o.driver(ctx)
	if err != nil {
		return nil, err
	}
	all, _ := askAll[placementRequest, placementAnswer](ctx, o.n, "placement", &placementRequest{})
	a := all[driver]
	if a == nil {
		if a, err = ask[placementRequest, placementAnswer](ctx, o.n, driver, "placement", &placementRequest{}); err != nil {
			return nil, err
		}
	}
	// Who drove before knows what came of that: the driver changes with the leader of the meta range, which balance moves as it does others.
	for id, x := range all {
		if id != driver {
			a.View.Running = append(a.View.Running, x.View.Running...)
			a.View.Recent = append(a.View.Recent, x.View.Recent...)
		}
	}
	slices.SortFunc(a.View.Running, func(x, y RunningOperator) int { return x.Started.Compare(y.Started) })
	slices.SortStableFunc(a.View.Recent, func(x, y DoneOperator) int { return x.At.Compare(y.At) })
	a.View.Recent = a.View.Recent[max(0, len(a.View.Recent)-maxRecentOperators):]
	// As it was told, not as of the driver's last plan: who has paused it a moment ago would read that nothing came of it.
	if paused, _, err := getSystem[bool](ctx, o.n, keys.PlacementPaused); err == nil {
		a.View.Paused = paused
	}
	return a.View, nil
}

func (o operations) DryRun(ctx context.Context) (*PlanView, error) {
	a, err := o.ask(ctx, &placementRequest{DryRun: true})
	if err != nil {
		return nil, err
	}
	return a.Plan, nil
}

func (o operations) Pause(ctx context.Context) error {
	return putSystem(ctx, o.n, keys.PlacementPaused, true)
}

func (o operations) Resume(ctx context.Context) error {
	return putSystem(ctx, o.n, keys.PlacementPaused, false)
}

func (o operations) Rules(ctx context.Context) ([]RuleView, error) {
	var b ruleBook
	if err := b.refresh(ctx, o.n, false); err != nil {
		return nil, err
	}
	return ruleViews(&b.rules), nil
}

func (o operations) CheckRule(ctx context.Context, user, of, option, value string) error {
	if of == "cluster" {
		_, err := o.n.clusterRuleWith(ctx, option, value)
		return err
	}
	_, err := o.alterRule(ctx, user, of, option, value, "BEGIN; %s; ROLLBACK")
	return err
}

func (o operations) SetRule(ctx context.Context, option, value string) ([]string, error) {
	return o.n.setClusterRule(ctx, option, value)
}

func (o operations) Stores(ctx context.Context) ([]StoreView, error) {
	descs, led, loads, err := o.n.allRangesAndLoads(ctx)
	if err != nil {
		return nil, err
	}
	left, err := o.n.readMembership(ctx)
	if err != nil {
		return nil, err
	}
	peers := map[kv.NodeID]transport.PeerStatus{}
	for _, x := range o.n.transport.Peers() {
		peers[x.NodeID] = x
	}
	var out []StoreView
	for _, e := range o.n.book.Entries() {
		v := StoreView{StoreID: e.StoreID, NodeID: e.NodeID, Locality: e.Locality, Alive: o.n.transport.Alive(e.NodeID), State: "member"}
		v.Replicas, v.Bytes, v.Leaders = onNode(e.NodeID, descs, led)
		x, peer := peers[e.NodeID]
		if l, ok := loads[e.NodeID]; ok {
			v.Capacity, v.Free = l.Capacity, l.Free
			if !peer {
				v.Problems = problems(l, nil, o.n.cfg.MaxOffset, &o.n.cfg.Rules.Limits)
			} else {
				v.Problems = problems(l, &x, o.n.cfg.MaxOffset, &o.n.cfg.Rules.Limits)
			}
			if o.n.cfg.shaken(&l) {
				v.Problems = append(v.Problems, unsupported(&l, o.n.cfg.shakenFor()))
			}
		}
		v.Unknown = peer && !v.Alive && unknown(&x, o.n.cfg.Rules.Limits.AliveWithin)
		m, leaves := left[e.NodeID]
		if peer && !v.Alive && !v.Unknown && !m.Gone() {
			v.Problems = []string{unheard(&x, v.Replicas, leaves, o.n.cfg.Rules.Limits.DeadAfter)}
		}
		switch {
		case m.Gone():
			v.State = "left"
		case leaves:
			v.State = "leaving"
		case e.Draining:
			v.State = "draining"
		}
		for _, l := range led {
			if l.leader == e.NodeID {
				v.Requests += l.Rates.Requests
				v.Writes += l.Rates.Writes
				v.CPU += l.Rates.CPU
			}
		}
		out = append(out, v)
	}
	return out, nil
}

func (o operations) HotRanges(ctx context.Context, limit int) ([]RangeView, error) {
	rs, err := o.Ranges(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(rs, func(a, b RangeView) int {
		return cmp.Or(cmp.Compare(b.Rates.CPU, a.Rates.CPU), cmp.Compare(b.Rates.Requests, a.Rates.Requests))
	})
	return rs[:min(limit, len(rs))], nil
}

// rangeByID returns the newest known descriptor of a range, and its leader.
func (o operations) rangeByID(ctx context.Context, id kv.RangeID) (*kv.RangeDescriptor, *ledRange, error) {
	descs, led, err := o.n.allRanges(ctx)
	if err != nil {
		return nil, nil, err
	}
	for i := range descs {
		if descs[i].RangeID == id {
			return &descs[i], led[id], nil
		}
	}
	return nil, nil, kv.Errorf(kv.CodeBadRequest, "there is no range %d", id)
}

func (o operations) MoveReplica(ctx context.Context, id kv.RangeID, from, to kv.NodeID) error {
	d, led, err := o.rangeByID(ctx, id)
	if err != nil {
		return err
	}
	op := placement.Operator{Kind: placement.ChangeReplicas, Range: placement.RangeID(id), Generation: d.Generation}
	if to != 0 {
		e, ok := o.n.book.Get(to)
		if !ok {
			return kv.Errorf(kv.CodeBadRequest, "there is no node %d", to)
		}
		op.Add = []placement.StoreID{placement.StoreID(e.StoreID)}
	}
	if from != 0 {
		at := slices.IndexFunc(d.Replicas, func(r kv.Replica) bool { return r.NodeID == from })
		if at < 0 {
			return kv.Errorf(kv.CodeBadRequest, "range %d has no replica on node %d", id, from)
		}
		op.Remove = []placement.StoreID{placement.StoreID(d.Replicas[at].StoreID)}
		op.NonVoting = d.Replicas[at].Type == kv.NonVoter
		if led != nil && led.leader == from {
			return kv.Errorf(kv.CodeBadRequest, "node %d leads range %d: transfer leadership first", from, id)
		}
	}
	return o.n.carryOut(ctx, op, d)
}

func (o operations) TransferLeader(ctx context.Context, id kv.RangeID, to kv.NodeID) error {
	e, ok := o.n.book.Get(to)
	if !ok {
		return kv.Errorf(kv.CodeBadRequest, "there is no node %d", to)
	}
	_, err := o.n.sender.Send(ctx, &kv.BatchRequest{RangeID: id, Requests: []kv.Request{&kv.AdminTransferLeader{Target: e.StoreID}}})
	return err
}

func (o operations) Split(ctx context.Context, key keys.Key) (left, right kv.RangeDescriptor, err error) {
	return o.n.splitAt(ctx, key, 0)
}

func (o operations) Merge(ctx context.Context, key keys.Key) (kv.RangeID, error) {
	return o.n.mergeAt(ctx, key)
}

func (o operations) Decommission(ctx context.Context, nodes []kv.NodeID, force bool) error {
	return o.n.decommission(ctx, nodes, force)
}

func (o operations) MayDecommission(ctx context.Context, nodes []kv.NodeID, force bool) error {
	return o.n.mayDecommission(ctx, nodes, force)
}

func (o operations) Recommission(ctx context.Context, nodes []kv.NodeID) error {
	return o.n.recommission(ctx, nodes)
}

func (o operations) Decommissions(ctx context.Context) ([]DecommissionView, error) {
	return o.n.decommissionViews(ctx)
}

func (o operations) askDrain(ctx context.Context, id kv.NodeID, do string) (*DrainView, error) {
	if _, ok := o.n.book.Get(id); !ok {
		return nil, kv.Errorf(kv.CodeBadRequest, "there is no node %d", id)
	}
	return ask[drainRequest, DrainView](ctx, o.n, id, "drain", &drainRequest{Do: do})
}

func (o operations) Drain(ctx context.Context, id kv.NodeID) (*DrainView, error) {
	return o.askDrain(ctx, id, "drain")
}

func (o operations) Undrain(ctx context.Context, id kv.NodeID) (*DrainView, error) {
	return o.askDrain(ctx, id, "undrain")
}

func (o operations) Draining(ctx context.Context, id kv.NodeID) (*DrainView, error) {
	return o.askDrain(ctx, id, "")
}
