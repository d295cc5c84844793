package admin

import (
	"context"
	"strings"
	"time"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/verb"
)

// call is one carrying out of a verb.
type call struct {
	Cluster
	args verb.Args
	user string
	// prepared is what check found out, and run goes by: it is stored with the operation.
	prepared string
	// report says how far it is, what is left (0: not known), and what it is at or waits for.
	report func(progress float64, left time.Duration, why string)
	// begun: mark has been called, perhaps by another node. What was begun and is not so any more was taken back, and is not to be begun again.
	begun bool
	mark  func(ctx context.Context) error
}

// action is what a verb does that changes something.
type action struct {
	// check refuses what makes no sense, before anything is recorded.
	check func(ctx context.Context, c *call) error
	// run makes it so, and returns when it is, with what came of it. It may be called again, by another node, having been interrupted anywhere.
	run func(ctx context.Context, c *call) (map[string]any, error)
	// undo takes back what run has begun; nil if there is nothing to take back.
	undo func(ctx context.Context, c *call) error
	// result says what run returns, for the documentation.
	result string
}

// actions by the names of their verbs; filled by init because some ask others.
var actions map[string]*action

func init() {
	actions = map[string]*action{
		"split_at":           {check: checkSplit, run: runSplit, result: "range_id: the range that begins there; left_range_id: the one before it"},
		"merge_at":           {check: checkMerge, run: runMerge, result: "range_id: the range that holds the row now"},
		"move_replica":       {check: checkMove, run: runMove, result: "range_id, replicas: the nodes that have it now"},
		"transfer_leader":    {check: checkTransfer, run: runTransfer, result: "range_id, leader: the node that leads it now"},
		"drain_node":         {check: checkDrain, run: runDrain, undo: undrain, result: "node_id"},
		"undrain_node":       {check: checkUndrain, run: runUndrain, result: "node_id"},
		"decommission_node":  {check: checkDecommission, run: runDecommission, undo: recommission, result: "node_id"},
		"recommission_node":  {check: checkNode, run: runRecommission, result: "node_id"},
		"set_rule":           {check: checkRule, run: runSetRule, result: "of, option, value; warnings: what of the rule cannot hold with the nodes there are"},
		"reset_rule":         {check: checkRule, run: runSetRule, result: "of, option; warnings: see set_rule"},
		"pause_rebalancing":  {check: nothing, run: runPause, result: "paused"},
		"resume_rebalancing": {check: nothing, run: runResume, result: "paused"},
	}
}

func nothing(context.Context, *call) error { return nil }

// patience is how long what may be tried again is, before an operation gives up.
const patience = 30 * time.Second

// patiently runs f until it succeeds, fails for good, or ctx ends.
func patiently(ctx context.Context, f func() error) error {
	pause := 50 * time.Millisecond
	for {
		err := f()
		if err == nil || !passing(err) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
		pause = min(2*pause, time.Second)
	}
}

// passing reports whether an error may be gone in a moment.
func passing(err error) bool {
	switch AsProblem(err).Code {
	case CodeUnavailable, CodeTooMany, CodeTimeout:
		return true
	}
	return kv.HasCode(err, kv.CodeDescriptorChanged)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// What is done to placement; ranges and nodes are in files of their own.

func checkRule(ctx context.Context, c *call) error {
	kind, name, ok := strings.Cut(c.args.Text("of"), " ")
	if kind != "cluster" && kind != "table" && kind != "index" || ok != (kind != "cluster") || ok && name == "" {
		return NewProblem(CodeInvalid, "of: %q is neither cluster nor \"table NAME\" nor \"index NAME\"", c.args.Text("of"))
	}
	return c.CheckRule(ctx, c.user, c.args.Text("of"), c.args.Text("option"), c.args.Text("value"))
}

// WarningsField of a result lists what is to be known beside it.
const WarningsField = "warnings"

func runSetRule(ctx context.Context, c *call) (map[string]any, error) {
	option, value, of := c.args.Text("option"), c.args.Text("value"), c.args.Text("of")
	out := map[string]any{"of": of, "option": option}
	if value != "" {
		out["value"] = value
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return out, patiently(ctx, func() error {
		var warnings []string
		var err error
		if of == "cluster" {
			warnings, err = c.SetRule(ctx, option, value)
		} else {
			warnings, err = c.SetRuleOf(ctx, c.user, of, option, value)
		}
		if delete(out, WarningsField); len(warnings) > 0 {
			out[WarningsField] = warnings
		}
		return err
	})
}

func runPause(ctx context.Context, c *call) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return map[string]any{"paused": true}, patiently(ctx, func() error { return c.Pause(ctx) })
}

func runResume(ctx context.Context, c *call) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return map[string]any{"paused": false}, patiently(ctx, func() error { return c.Resume(ctx) })
}
