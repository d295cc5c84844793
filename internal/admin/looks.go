package admin

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/verb"
)

// Look is the answer to a verb that changes nothing.
type Look struct {
	// Answer has the type of what F returns, for the documentation.
	Answer reflect.Type
	F      func(ctx context.Context, a verb.Args) (any, error)
}

// LookAt makes a Look of a function.
func LookAt[T any](f func(ctx context.Context, a verb.Args) (T, error)) Look {
	return Look{reflect.TypeFor[T](), func(ctx context.Context, a verb.Args) (any, error) { return f(ctx, a) }}
}

// look finds the answer to a verb.
func (s *Server) look(name string) (Look, bool) {
	if l, ok := s.cfg.Here[name]; ok {
		return l, true
	}
	switch name {
	case "cluster":
		return LookAt(s.cluster), true
	case "status":
		return LookAt(func(context.Context, verb.Args) (StatusView, error) { return s.cfg.Cluster.Status(), nil }), true
	case "nodes":
		return LookAt(s.nodes), true
	case "node":
		return LookAt(s.node), true
	case "stores":
		return LookAt(func(ctx context.Context, _ verb.Args) (*StoreList, error) {
			v, err := s.cfg.Cluster.Stores(ctx)
			return &StoreList{v}, err
		}), true
	case "ranges":
		return LookAt(s.ranges), true
	case "range":
		return LookAt(s.rangeDetail), true
	case "hot_ranges":
		return LookAt(func(ctx context.Context, a verb.Args) (*HotList, error) {
			v, err := s.cfg.Cluster.HotRanges(ctx, int(a.Int("limit")))
			return &HotList{v}, err
		}), true
	case "placement":
		return LookAt(func(ctx context.Context, _ verb.Args) (*PlacementView, error) { return s.cfg.Cluster.Placement(ctx) }), true
	case "operators":
		return LookAt(s.operators), true
	case "plan":
		return LookAt(s.plan), true
	case "rules":
		return LookAt(func(ctx context.Context, _ verb.Args) (*RuleList, error) {
			v, err := s.cfg.Cluster.Rules(ctx)
			return &RuleList{v}, err
		}), true
	case "operations":
		return LookAt(s.operations), true
	case "openapi":
		return LookAt(func(context.Context, verb.Args) (json.RawMessage, error) { return s.http.document, nil }), true
	case "operation":
		return LookAt(s.operation), true
	}
	return Look{}, false
}

// Lists, as objects: what is added later does not change their shape.
type (
	// StoreList is the answer of stores.
	StoreList struct {
		Stores []StoreView `json:"stores"`
	}
	// HotList is the answer of hot_ranges.
	HotList struct {
		Ranges []RangeView `json:"ranges"`
	}
	// RuleList is the answer of rules.
	RuleList struct {
		Rules []RuleView `json:"rules"`
	}
	// NodeList is the answer of nodes. Problem is why figures are left out, if they are.
	NodeList struct {
		Nodes   []NodeView `json:"nodes"`
		Problem string     `json:"problem,omitempty"`
	}
	// OperationList is the answer of operations.
	OperationList struct {
		Operations []Operation `json:"operations"`
	}
	// RangeList is a page of ranges; Next, if it is there, begins the next page.
	RangeList struct {
		Ranges []RangeView `json:"ranges"`
		Next   string      `json:"next,omitempty"`
	}
	// OperatorList is the answer of operators and plan.
	OperatorList struct {
		Operators []OperatorRow `json:"operators"`
		// Paused is whether balancing is.
		Paused bool `json:"paused,omitempty"`
	}
)

// ClusterView is the cluster in a few figures.
type ClusterView struct {
	ClusterID string    `json:"cluster_id"`
	NodeID    kv.NodeID `json:"answered_by"`
	Build     string    `json:"build"`
	Security  string    `json:"security"`
	Nodes     int       `json:"nodes"`
	Alive     int       `json:"nodes_alive"`
	Draining  int       `json:"nodes_draining"`
	Leaving   int       `json:"nodes_leaving"`
	Ranges    int       `json:"ranges"`
	// By state: see RangeView.
	Changing   int   `json:"ranges_changing"`
	Degraded   int   `json:"ranges_degraded"`
	Leaderless int   `json:"ranges_leaderless"`
	Bytes      int64 `json:"bytes"` // of one replica of each range
	// Driver is the node that places replicas; Paused whether balancing is; Blocked how many ranges are not as their rule wants it, with nothing being done about it.
	Driver  kv.NodeID `json:"driver"`
	Paused  bool      `json:"rebalancing_paused"`
	Running int       `json:"operators_running"`
	Pending int       `json:"operators_pending"`
	Blocked int       `json:"ranges_blocked"`
	// Problems are those of nodes, and why placement makes no plan.
	Problems []string `json:"problems,omitempty"`
}

func (s *Server) cluster(ctx context.Context, _ verb.Args) (*ClusterView, error) {
	c := s.cfg.Cluster
	st := c.Status()
	v := &ClusterView{ClusterID: st.ClusterID, NodeID: st.NodeID, Build: st.Build, Security: st.Security}
	stores, err := c.Stores(ctx)
	if err != nil {
		return nil, err
	}
	for _, x := range stores {
		if x.State == "left" {
			continue
		}
		v.Nodes++
		if x.Alive {
			v.Alive++
		}
		for _, p := range x.Problems {
			v.Problems = append(v.Problems, fmt.Sprintf("node %d: %s", x.NodeID, p))
		}
		switch x.State {
		case "draining":
			v.Draining++
		case "leaving":
			v.Leaving++
		}
	}
	ranges, err := c.Ranges(ctx)
	if err != nil {
		return nil, err
	}
	v.Problems = slices.Concat(stuck(ranges, stores), silentPlaces(stores), v.Problems)
	v.Ranges = len(ranges)
	for i := range ranges {
		v.Bytes += ranges[i].Bytes
		switch ranges[i].State {
		case "changing":
			v.Changing++
		case "degraded":
			v.Degraded++
		case "leaderless", "lost":
			v.Leaderless++
		}
	}
	p, err := c.Placement(ctx)
	if err != nil {
		return nil, err
	}
	v.Driver, v.Paused, v.Running, v.Pending, v.Blocked = p.Driver, p.Paused, len(p.Running), len(p.Pending), len(p.Findings)
	if p.Problem != "" {
		v.Problems = append(v.Problems, "placement: "+p.Problem)
	}
	return v, nil
}

// silentPlaces says where all nodes are silent, of several in one place of the widest tier: that is more than so many nodes.
func silentPlaces(stores []StoreView) (out []string) {
	var places []string
	there, alive := map[string]int{}, map[string]int{}
	for _, x := range stores {
		if x.State == "left" || len(x.Locality) < 2 { // with one tier, each may be a place of its own
			continue
		}
		place := x.Locality[0]
		if there[place]++; there[place] == 1 {
			places = append(places, place)
		}
		if x.Alive || x.Unknown {
			alive[place]++
		}
	}
	for _, place := range places {
		if there[place] > 1 && alive[place] == 0 {
			out = append(out, fmt.Sprintf("none of the %d nodes of %s answers", there[place], place))
		}
	}
	return out
}

// nodes is answered even if the cluster is not: an operator looks here first.
func (s *Server) nodes(ctx context.Context, _ verb.Args) (*NodeList, error) {
	out := &NodeList{Nodes: s.cfg.Cluster.Nodes()}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	stores, err := s.cfg.Cluster.Stores(ctx)
	if err != nil {
		out.Problem = AsProblem(err).Detail
		return out, nil
	}
	for i := range out.Nodes {
		n := &out.Nodes[i]
		for _, st := range stores {
			if st.NodeID == n.NodeID {
				n.State, n.Replicas, n.Leaders, n.Bytes = st.State, new(st.Replicas), new(st.Leaders), new(st.Bytes)
				n.Capacity, n.Free, n.Problems = st.Capacity, st.Free, st.Problems
			}
		}
	}
	return out, nil
}

// NodeDetail is a node with how far its drain or decommission is.
type NodeDetail struct {
	NodeView
	Drain        *DrainView        `json:"drain,omitempty"`
	Decommission *DecommissionView `json:"decommission,omitempty"`
}

func (s *Server) node(ctx context.Context, a verb.Args) (*NodeDetail, error) {
	id := kv.NodeID(a.Int("node_id"))
	if _, err := theNode(s.cfg.Cluster, id); err != nil {
		return nil, err
	}
	list, err := s.nodes(ctx, nil)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list.Nodes, func(n NodeView) bool { return n.NodeID == id })
	out := &NodeDetail{NodeView: list.Nodes[i]}
	if out.Alive {
		ask, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		if d, err := s.cfg.Cluster.Draining(ask, id); err == nil { // it may not answer any more
			out.Drain = d
		}
	}
	if list.Problem != "" {
		return out, nil
	}
	leaving, err := s.cfg.Cluster.Decommissions(ctx)
	if err != nil {
		return nil, err
	}
	for i := range leaving {
		if leaving[i].NodeID == id {
			out.Decommission = &leaving[i]
		}
	}
	return out, nil
}

func (s *Server) ranges(ctx context.Context, a verb.Args) (*RangeList, error) {
	all, err := s.cfg.Cluster.Ranges(ctx)
	if err != nil {
		return nil, err
	}
	span := keys.Span{Start: keys.Min, End: keys.Max}
	var point keys.Key
	table := a.Text("table")
	if table != "" {
		if span, err = s.cfg.Cluster.TableSpan(ctx, table); err != nil {
			return nil, err
		}
	}
	if vs := a.Texts("key"); len(vs) > 0 {
		if table == "" {
			return nil, NewProblem(CodeInvalid, "key: needs a table").WithHint("A key is given by values for the first columns of a table's primary key.")
		}
		if point, err = s.cfg.Cluster.KeyOf(ctx, table, vs); err != nil {
			return nil, err
		}
	}
	after, err := hex.DecodeString(a.Text("after"))
	if err != nil {
		return nil, NewProblem(CodeInvalid, "after: is not what a page has named as next")
	}
	node, leader, state := kv.NodeID(a.Int("node")), kv.NodeID(a.Int("leader")), a.Text("state")
	for _, id := range []kv.NodeID{node, leader} {
		if id == 0 {
			continue
		}
		if _, err := theNode(s.cfg.Cluster, id); err != nil {
			return nil, err // "none" would say that the node has nothing
		}
	}
	limit := int(a.Int("limit"))
	out := &RangeList{Ranges: []RangeView{}}
	for i := range all {
		r := &all[i]
		switch {
		case len(after) > 0 && bytes.Compare(r.Span.Start, after) < 0,
			!r.Span.Overlaps(span),
			point != nil && !r.Span.Contains(point),
			node != 0 && r.on(node) == nil,
			leader != 0 && r.LeaderNode != leader,
			state != "" && r.State != state:
			continue
		}
		if limit > 0 && len(out.Ranges) == limit {
			out.Next = hex.EncodeToString(r.Span.Start)
			break
		}
		out.Ranges = append(out.Ranges, *r)
	}
	return out, nil
}

// RangeDetail is a range with what placement does to it, or why it does nothing.
type RangeDetail struct {
	RangeView
	Operators []OperatorRow `json:"operators"`
}

func (s *Server) rangeDetail(ctx context.Context, a verb.Args) (*RangeDetail, error) {
	r, err := theRange(ctx, s.cfg.Cluster, kv.RangeID(a.Int("range_id")))
	if err != nil {
		return nil, err
	}
	ops, err := s.operators(ctx, verb.Args{"range_id": int64(r.ID)})
	if err != nil {
		return nil, err
	}
	return &RangeDetail{*r, ops.Operators}, nil
}

// OperatorRow is an operator of placement, or a range that nothing is done about.
type OperatorRow struct {
	// State is running, pending, done, failed, blocked, unmerged; or planned, in a dry run.
	State    string     `json:"state" enum:"running,pending,done,failed,blocked,unmerged,planned"`
	RangeID  kv.RangeID `json:"range_id,omitempty"`
	Text     string     `json:"text,omitempty"`
	Why      string     `json:"why,omitempty"`
	Refused  string     `json:"refused,omitempty"` // the nodes that were not chosen, and why not
	Started  time.Time  `json:"started,omitzero"`
	Finished time.Time  `json:"finished,omitzero"`
	Error    string     `json:"error,omitempty"`
}

func operatorRow(state string, o *OperatorView) OperatorRow {
	var refused []string
	for _, r := range o.Rejected {
		var nodes []string
		for _, id := range r.Nodes {
			nodes = append(nodes, fmt.Sprintf("n%d", id))
		}
		refused = append(refused, strings.Join(nodes, ", ")+": "+r.Why)
	}
	return OperatorRow{State: state, RangeID: o.RangeID, Text: strings.TrimSuffix(o.Text, ": "+o.Why), Why: o.Why, Refused: strings.Join(refused, "; ")}
}

func (s *Server) operators(ctx context.Context, a verb.Args) (*OperatorList, error) {
	p, err := s.cfg.Cluster.Placement(ctx)
	if err != nil {
		return nil, err
	}
	out := &OperatorList{Operators: []OperatorRow{}, Paused: p.Paused}
	add := func(r OperatorRow) {
		if st := a.Text("state"); (st == "" || st == r.State) && (a.Int("range_id") == 0 || a.Int("range_id") == int64(r.RangeID)) {
			out.Operators = append(out.Operators, r)
		}
	}
	for i := range p.Running {
		r := operatorRow("running", &p.Running[i].Operator)
		r.Started = p.Running[i].Started
		add(r)
	}
	for i := range p.Pending {
		add(operatorRow("pending", &p.Pending[i]))
	}
	for _, f := range p.Findings {
		add(OperatorRow{State: "blocked", RangeID: f.RangeID, Why: f.Why})
	}
	for _, f := range p.Unmerged {
		add(OperatorRow{State: "unmerged", RangeID: f.RangeID, Why: f.Why})
	}
	for i := range slices.Backward(p.Recent) {
		d := &p.Recent[i]
		r := operatorRow("done", &d.Operator)
		if r.Started, r.Finished, r.Error = d.Started, d.At, d.Error; r.Error != "" {
			r.State = "failed"
		}
		add(r)
	}
	return out, nil
}

func (s *Server) plan(ctx context.Context, _ verb.Args) (*OperatorList, error) {
	p, err := s.cfg.Cluster.DryRun(ctx)
	if err != nil {
		return nil, err
	}
	out := &OperatorList{Operators: []OperatorRow{}}
	for i := range p.Operators {
		out.Operators = append(out.Operators, operatorRow("planned", &p.Operators[i]))
	}
	for _, f := range p.Findings {
		out.Operators = append(out.Operators, OperatorRow{State: "blocked", RangeID: f.RangeID, Why: f.Why})
	}
	for _, f := range p.Unmerged {
		out.Operators = append(out.Operators, OperatorRow{State: "unmerged", RangeID: f.RangeID, Why: f.Why})
	}
	return out, nil
}

func (s *Server) operations(ctx context.Context, a verb.Args) (*OperationList, error) {
	if name := a.Text("verb"); name != "" {
		if v := verb.ByName(name); v == nil || !v.Changes() {
			return nil, NewProblem(CodeInvalid, "verb: there is no operation %q", name).WithHint("Such as split_at, move_replica, drain_node.")
		}
	}
	all, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	out := &OperationList{Operations: []Operation{}}
	for i := range all {
		o := &all[i]
		if st, v := a.Text("state"), a.Text("verb"); st != "" && st != string(o.State) || v != "" && v != o.Verb {
			continue
		}
		if limit := int(a.Int("limit")); limit > 0 && len(out.Operations) == limit {
			break
		}
		out.Operations = append(out.Operations, *o)
	}
	return out, nil
}

func (s *Server) operation(ctx context.Context, a verb.Args) (*Operation, error) {
	return s.waitFor(ctx, a.Int("operation_id"), a.Int("wait"))
}
