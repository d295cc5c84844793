package node

import (
	"context"
	"strings"

	"github.com/pamirdb/pamir/placement"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql"
)

// operate carries out what the functions of schema pamir ask for (sql.Cluster).
type operate struct{ n *Node }

func (o operate) SplitAt(ctx context.Context, key keys.Key) (kv.RangeID, error) {
	resp, err := o.n.sender.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.AdminSplit{Key: key}}})
	if err != nil {
		return 0, err
	}
	r := resp.Responses[0].(*kv.AdminSplitResponse)
	o.n.sender.Learn(r.Left, r.Right)
	return r.Right.RangeID, nil
}

func (o operate) TransferLeader(ctx context.Context, id kv.RangeID, node kv.NodeID) error {
	e, ok := o.n.book.Get(node)
	if !ok {
		return kv.Errorf(kv.CodeBadRequest, "there is no node %d", node)
	}
	_, err := o.n.sender.Send(ctx, &kv.BatchRequest{RangeID: id, Requests: []kv.Request{&kv.AdminTransferLeader{Target: e.StoreID}}})
	return err
}

func (o operate) Ranges(ctx context.Context) ([]sql.ClusterRange, error) {
	descs, led, err := o.n.allRanges(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]sql.ClusterRange, len(descs))
	for i := range descs {
		out[i].Descriptor = descs[i]
		if l := led[descs[i].RangeID]; l != nil {
			out[i].Leader, out[i].Stats = l.leader, l.Stats
			out[i].Requests, out[i].Writes, out[i].LogBytes, out[i].Quiet = l.Requests, l.Writes, l.LogBytes, l.Quiet
			out[i].QPS, out[i].CPU = l.Rates.Requests, l.Rates.CPU
		}
	}
	return out, nil
}

// CheckRule goes by the defaults for what the options leave out.
func (o operate) CheckRule(options map[string]string) error {
	r := o.n.cfg.Rules.Default
	for name := range options {
		if !placement.IsOption(name) {
			return r.Set(name, "") // says what there is
		}
	}
	if errs := applyOptions(&r, options); len(errs) > 0 {
		return errs[0]
	}
	return r.Check()
}

func (o operate) SetRule(ctx context.Context, option, value string) error {
	return o.n.setClusterRule(ctx, option, value)
}

func (o operate) Rules(ctx context.Context) ([]sql.ClusterRule, error) {
	views, err := o.n.Operations().Rules(ctx)
	if err != nil {
		return nil, err
	}
	var out []sql.ClusterRule
	for _, v := range views {
		out = append(out, sql.ClusterRule{Of: v.Of, Options: v.Options})
	}
	return out, nil
}

func (o operate) Nodes() []sql.ClusterNode {
	var out []sql.ClusterNode
	for _, v := range o.n.nodeViews() {
		out = append(out, sql.ClusterNode{ID: v.NodeID, Alive: v.Alive, Draining: v.Draining, Locality: strings.Join(v.Locality, ","),
			SQLAddr: v.SQLAddr, RPCAddr: v.RPCAddr, WebAddr: v.HTTPAddr, Build: v.Build})
	}
	return out
}
