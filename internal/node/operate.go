package node

import (
	"context"
	"errors"
	"time"

	"github.com/pamirdb/pamir/internal/admin"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql"
	"github.com/pamirdb/pamir/sql/verb"
)

// operate carries out what the functions of schema pamir ask for (sql.Cluster).
type operate struct{ n *Node }

func (o operate) SplitAt(ctx context.Context, key keys.Key) (kv.RangeID, error) {
	_, right, err := o.n.splitAt(ctx, key, 0)
	return right.RangeID, err
}

func (o operate) MergeAt(ctx context.Context, key keys.Key) (kv.RangeID, error) {
	id, err := o.n.mergeAt(ctx, key)
	return id, forSQL(err)
}

func (o operate) Ranges(ctx context.Context) ([]sql.ClusterRange, error) {
	descs, led, err := o.n.allRanges(ctx)
	if err != nil {
		return nil, err
	}
	left, err := o.n.readMembership(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]sql.ClusterRange, len(descs))
	for i := range descs {
		out[i].Descriptor = descs[i]
		v := rangeView(&descs[i], led[descs[i].RangeID])
		out[i].State = o.n.rangeState(&v, left)
		if l := led[descs[i].RangeID]; l != nil {
			out[i].Leader, out[i].Stats = l.leader, l.Stats
			out[i].Requests, out[i].Writes, out[i].LogBytes, out[i].Quiet = l.Requests, l.Writes, l.LogBytes, l.Quiet
			out[i].QPS, out[i].CPU = l.Rates.Requests, l.Rates.CPU
		}
	}
	return out, nil
}

// CheckRule goes by the cluster's rule for what the options leave out, as far as it can be read now, and by the defaults.
func (o operate) CheckRule(of string, options map[string]string, set []string) ([]string, error) {
	ctx, cancel := context.WithTimeout(o.n.ctx, 2*time.Second)
	defer cancel()
	r, err := o.n.ruleOfTable(ctx, of, options)
	if err != nil || len(set) == 0 {
		return nil, err
	}
	left, err := o.n.readMembership(ctx)
	if err != nil {
		return nil, nil // findings will say what there is to be said
	}
	return lacks(&r, o.n.members(left, nil), set), nil
}

func (o operate) SetRule(ctx context.Context, option, value string) ([]string, error) {
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

// Operate and Look are verbs that SQL asks for.
func (o operate) Operate(ctx context.Context, user string, v *verb.Verb, a verb.Args) (verb.Outcome, error) {
	out, err := o.n.admin.Load().Do(ctx, admin.Request{User: user, Verb: v, Args: a})
	return out, forSQL(err)
}

func (o operate) Look(ctx context.Context, v *verb.Verb, a verb.Args) ([][]*string, error) {
	rows, err := o.n.admin.Load().Rows(ctx, v, a)
	return rows, forSQL(err)
}

// forSQL leaves to the session what it can say better: errors of ranges, and its own.
func forSQL(err error) error {
	var p *admin.Problem
	var arg *verb.Error
	if errors.As(err, &p) || errors.As(err, &arg) || kv.HasCode(err, kv.CodeBadRequest) || kv.HasCode(err, kv.CodeDescriptorChanged) {
		return admin.AsProblem(err).SQLError()
	}
	return err
}
