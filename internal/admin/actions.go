package admin

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pamirdb/pamir/range/keys"
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
		"drain_node":         {check: checkServing, run: runDrain, undo: undrain, result: "node_id"},
		"undrain_node":       {check: checkServing, run: runUndrain, result: "node_id"},
		"decommission_node":  {check: checkDecommission, run: runDecommission, undo: recommission, result: "node_id"},
		"recommission_node":  {check: checkNode, run: runRecommission, result: "node_id"},
		"set_rule":           {check: checkRule, run: runSetRule, result: "of, option, value"},
		"reset_rule":         {check: checkRule, run: runSetRule, result: "of, option"},
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

// Ranges.

func (c *call) rangeID() kv.RangeID { return kv.RangeID(c.args.Int("range_id")) }

// theRange finds a range by its number.
func theRange(ctx context.Context, c Cluster, id kv.RangeID) (*RangeView, error) {
	all, err := c.Ranges(ctx)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].ID == id {
			return &all[i], nil
		}
	}
	return nil, NewProblem(CodeNotFound, "there is no range %d", id).WithHint("pamir range list and TABLE pamir.ranges list them.")
}

// theNode finds a node by its number.
func theNode(c Cluster, id kv.NodeID) (*NodeView, error) {
	for _, n := range c.Nodes() {
		if n.NodeID == id {
			return &n, nil
		}
	}
	return nil, NewProblem(CodeNotFound, "there is no node %d", id).WithHint("pamir node list and TABLE pamir.nodes list them.")
}

func (r *RangeView) on(n kv.NodeID) *ReplicaView {
	for i := range r.Replicas {
		if r.Replicas[i].NodeID == n {
			return &r.Replicas[i]
		}
	}
	return nil
}

// voters are the nodes with replicas that could lead.
func (r *RangeView) voters() (out []kv.NodeID) {
	for _, p := range r.Replicas {
		if p.Type != kv.Learner.String() && p.Type != kv.NonVoter.String() {
			out = append(out, p.NodeID)
		}
	}
	return out
}

func checkSplit(ctx context.Context, c *call) error {
	key, err := c.KeyOf(ctx, c.args.Text("table"), c.args.Texts("values"))
	if err != nil {
		return err
	}
	c.prepared = hex.EncodeToString(key)
	return nil
}

func runSplit(ctx context.Context, c *call) (map[string]any, error) {
	b, err := hex.DecodeString(c.prepared)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var left, right kv.RangeDescriptor
	err = patiently(ctx, func() (err error) {
		left, right, err = c.Split(ctx, keys.Key(b))
		return err
	})
	if err != nil {
		return nil, err
	}
	out := map[string]any{"range_id": int64(right.RangeID)}
	if left.RangeID != right.RangeID {
		out["left_range_id"] = int64(left.RangeID)
	}
	return out, nil
}

// mergeTimeout bounds a merge by command, moves of replicas included.
const mergeTimeout = 10 * time.Minute

func checkMerge(ctx context.Context, c *call) error {
	if err := checkSplit(ctx, c); err != nil {
		return err
	}
	r, begins, err := c.rangeOfKey(ctx)
	if err == nil && !begins {
		err = NewProblem(CodeConflict, "no range begins there: the row is inside of range %d", r.ID)
	}
	return err
}

// rangeOfKey finds the range that holds the key that was prepared, and whether it begins there.
func (c *call) rangeOfKey(ctx context.Context) (r *RangeView, begins bool, err error) {
	b, err := hex.DecodeString(c.prepared)
	if err != nil {
		return nil, false, err
	}
	all, err := c.Ranges(ctx)
	if err != nil {
		return nil, false, err
	}
	for i := range all {
		if key := keys.Key(b); all[i].Span.Contains(key) {
			return &all[i], all[i].Span.Start.Equal(key), nil
		}
	}
	return nil, false, kv.Errorf(kv.CodeUnavailable, "the range of the row is not known")
}

func runMerge(ctx context.Context, c *call) (map[string]any, error) {
	b, err := hex.DecodeString(c.prepared)
	if err != nil {
		return nil, err
	}
	if r, begins, err := c.rangeOfKey(ctx); err == nil && !begins {
		return map[string]any{"range_id": int64(r.ID)}, nil // by the node that was at it before
	}
	ctx, cancel := context.WithTimeout(ctx, mergeTimeout)
	defer cancel()
	id, err := c.Merge(ctx, keys.Key(b))
	return map[string]any{"range_id": int64(id)}, err
}

func (c *call) move() (from, to kv.NodeID) {
	return kv.NodeID(c.args.Int("from")), kv.NodeID(c.args.Int("to"))
}

func checkMove(ctx context.Context, c *call) error {
	from, to := c.move()
	if from == 0 && to == 0 {
		return NewProblem(CodeInvalid, "neither from nor to is given").WithHint("from alone removes a replica, to alone adds one, both move it.")
	}
	if from == to {
		return NewProblem(CodeInvalid, "from and to are the same node")
	}
	r, err := theRange(ctx, c, c.rangeID())
	if err != nil {
		return err
	}
	if to != 0 {
		n, err := theNode(c, to)
		if err != nil {
			return err
		}
		switch {
		case !n.Alive:
			return NewProblem(CodeConflict, "node %d does not answer", to)
		case r.on(to) != nil:
			return NewProblem(CodeConflict, "node %d has a replica of range %d already", to, r.ID)
		}
	}
	if from != 0 && r.on(from) == nil {
		return NewProblem(CodeConflict, "range %d has no replica on node %d", r.ID, from).WithHint("It has replicas on nodes %v.", nodesOf(r))
	}
	if from != 0 && to == 0 && len(r.voters()) == 1 && slices.Contains(r.voters(), from) {
		return NewProblem(CodeConflict, "the replica on node %d is the only one of range %d", from, r.ID)
	}
	return nil
}

func nodesOf(r *RangeView) []kv.NodeID {
	out := make([]kv.NodeID, 0, len(r.Replicas))
	for _, p := range r.Replicas {
		out = append(out, p.NodeID)
	}
	return out
}

// moveTimeout bounds a move, snapshot included.
const moveTimeout = 30 * time.Minute

func runMove(ctx context.Context, c *call) (map[string]any, error) {
	from, to := c.move()
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	watching, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		watchMove(watching, c, from, to)
	}()
	defer func() {
		stop()
		<-ended
	}()
	id := c.rangeID()
	for troubles := 0; ; {
		r, err := theRange(ctx, c, id)
		if err == nil {
			var add, remove kv.NodeID
			if p := r.on(to); to != 0 && (p == nil || p.Type == kv.Learner.String()) {
				add = to
			}
			if from != 0 && r.on(from) != nil {
				remove = from
			}
			if add == 0 && remove == 0 && r.State != "changing" {
				return map[string]any{"range_id": int64(id), "replicas": nodesOf(r)}, nil
			}
			switch {
			case add != 0 && r.on(to) != nil, add == 0 && remove == 0:
				err = kv.Errorf(kv.CodeUnavailable, "range %d is changing its replicas", id) // somebody's, perhaps ours of before
			case remove != 0 && r.LeaderNode == remove:
				if heir := heirOf(c, r, remove); heir != 0 {
					err = c.TransferLeader(ctx, id, heir)
				} else if add != 0 {
					err = c.MoveReplica(ctx, id, 0, add) // that one can then lead
				} else {
					err = NewProblem(CodeConflict, "node %d leads range %d, and no other node could", remove, id)
				}
			default:
				err = c.MoveReplica(ctx, id, remove, add)
			}
		}
		if err != nil {
			if troubles++; !passing(err) || ctx.Err() != nil || troubles > 60 {
				return nil, err
			}
			if err := sleep(ctx, time.Duration(min(troubles*100, 1000))*time.Millisecond); err != nil {
				return nil, err
			}
		}
	}
}

// heirOf picks a node that could lead a range instead of one; 0 if there is none.
func heirOf(c Cluster, r *RangeView, of kv.NodeID) kv.NodeID {
	for _, n := range r.voters() {
		if v, err := theNode(c, n); n != of && err == nil && v.Alive && !v.Draining {
			return n
		}
	}
	return 0
}

// watchMove reports what a move is at.
func watchMove(ctx context.Context, c *call, from, to kv.NodeID) {
	const before, after = 0.1, 0.75 // how much is done when the snapshot begins, and when it has arrived
	var began time.Time
	var most int64 // nothing is sent any more when all has arrived
	for sleep(ctx, time.Second) == nil {
		r, err := theRange(ctx, c, c.rangeID())
		if err != nil {
			continue
		}
		switch p := r.on(to); {
		case r.State == "changing" && p != nil && p.Type == kv.Learner.String():
			if began.IsZero() {
				began = time.Now()
			}
			most = max(most, p.Sent)
			share, left := float64(most)/float64(max(r.Bytes, 1)), time.Duration(0)
			if most > 0 {
				left = time.Duration(float64(time.Since(began)) * (1 - share) / share).Round(time.Second)
			}
			c.report(before+(after-before)*share, left,
				fmt.Sprintf("node %d has been sent %s of %s", to, Size(float64(most)), Size(float64(r.Bytes))))
		case r.State == "changing":
			c.report(after, 0, "the replicas are changing over")
		case from != 0 && r.on(from) != nil && r.LeaderNode == from:
			c.report(before, 0, fmt.Sprintf("node %d hands over leadership", from))
		default:
			c.report(before, 0, "waits for its turn")
		}
	}
}

func checkTransfer(ctx context.Context, c *call) error {
	r, err := theRange(ctx, c, c.rangeID())
	if err != nil {
		return err
	}
	to := kv.NodeID(c.args.Int("node"))
	if _, err := theNode(c, to); err != nil {
		return err
	}
	if !slices.Contains(r.voters(), to) {
		return NewProblem(CodeConflict, "node %d has no replica of range %d that could lead it", to, r.ID).WithHint("Its replicas are on nodes %v.", r.voters())
	}
	return nil
}

func runTransfer(ctx context.Context, c *call) (map[string]any, error) {
	to := kv.NodeID(c.args.Int("node"))
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := patiently(ctx, func() error { return c.TransferLeader(ctx, c.rangeID(), to) })
	return map[string]any{"range_id": c.args.Int("range_id"), "leader": int64(to)}, err
}

// Nodes.

func (c *call) nodeID() kv.NodeID { return kv.NodeID(c.args.Int("node_id")) }

func checkNode(_ context.Context, c *call) error {
	_, err := theNode(c, c.nodeID())
	return err
}

// checkServing refuses to drain who does not answer.
func checkServing(_ context.Context, c *call) error {
	n, err := theNode(c, c.nodeID())
	if err == nil && !n.Alive {
		return NewProblem(CodeConflict, "node %d does not answer, so it has nothing to hand over", n.NodeID).
			WithHint("What it led is led by others. To move its replicas elsewhere now, decommission it.")
	}
	return err
}

func (c *call) nodeResult() map[string]any {
	return map[string]any{"node_id": c.args.Int("node_id")}
}

func runDrain(ctx context.Context, c *call) (map[string]any, error) {
	id := c.nodeID()
	began, most := false, 0
	var silent time.Time
	for {
		ask := c.Drain
		if began {
			ask = c.Draining
		}
		v, err := ask(ctx, id)
		if err != nil {
			if silent.IsZero() {
				silent = time.Now()
			}
			if !passing(err) || ctx.Err() != nil || time.Since(silent) > patience {
				return nil, err
			}
		} else {
			began, silent = true, time.Time{}
			if most = max(most, v.Leaders); v.State == "drained" {
				if v.Leaders > 0 {
					return nil, NewProblem(CodeConflict, "node %d still leads %d ranges: nobody took them over in time", id, v.Leaders).
						WithHint("Look at pamir range list --leader %d. Undrain and drain again to try once more.", id)
				}
				return c.nodeResult(), nil
			}
			if v.State == "serving" {
				return nil, NewProblem(CodeConflict, "node %d serves again: it was undrained or restarted", id)
			}
			done := 0.0
			if most > 0 {
				done = 1 - float64(v.Leaders)/float64(most)
			}
			c.report(0.9*done, 0, fmt.Sprintf("leads %d ranges, has %d clients", v.Leaders, v.Connections))
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// undrain waits for a drain that is under way: it can be taken back only when it has ended.
func undrain(ctx context.Context, c *call) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return patiently(ctx, func() error {
		_, err := c.Undrain(ctx, c.nodeID())
		return err
	})
}

func runUndrain(ctx context.Context, c *call) (map[string]any, error) {
	return c.nodeResult(), undrain(ctx, c)
}

func checkDecommission(ctx context.Context, c *call) error {
	if err := checkNode(ctx, c); err != nil {
		return err
	}
	return c.MayDecommission(ctx, []kv.NodeID{c.nodeID()}, c.args.Bool("force"))
}

func (c *call) decommission(ctx context.Context) (*DecommissionView, error) {
	all, err := c.Decommissions(ctx)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].NodeID == c.nodeID() {
			return &all[i], nil
		}
	}
	return nil, nil
}

func runDecommission(ctx context.Context, c *call) (map[string]any, error) {
	id := c.nodeID()
	if !c.begun {
		start, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		err := patiently(start, func() error {
			// A node that leaves already was accepted: there may be fewer others now.
			if v, err := c.decommission(start); err != nil || v != nil {
				return err
			}
			return c.Decommission(start, []kv.NodeID{id}, c.args.Bool("force"))
		})
		if err == nil {
			err = patiently(start, func() error { return c.mark(start) })
		}
		if err != nil {
			return nil, err
		}
	}
	progress := 0.0
	for pause := 200 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		v, err := c.decommission(ctx)
		switch {
		case err != nil: // that passes, and if it does not, there is nobody to tell
			c.report(progress, 0, "the cluster does not answer: "+err.Error())
		case v == nil:
			return nil, NewProblem(CodeConflict, "node %d was recommissioned", id)
		case v.State == "left":
			return c.nodeResult(), nil
		default:
			progress = v.Progress
			c.report(progress, v.Left, waitsFor(ctx, c, v))
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// waitsFor says what a decommission is at: also why it does not go on, if it does not.
func waitsFor(ctx context.Context, c *call, v *DecommissionView) string {
	why := fmt.Sprintf("%d of %d replicas are still there", v.Replicas, v.BeganWith)
	if v.BeganWithBytes > 0 {
		why += fmt.Sprintf(" (%s of %s)", Size(float64(v.Bytes)), Size(float64(v.BeganWithBytes)))
		if v.Sent > 0 {
			why += fmt.Sprintf("; %s are on their way", Size(float64(v.Sent)))
		}
	}
	p, err := c.Placement(ctx)
	if err != nil || len(p.Running) > 0 || len(p.Pending) > 0 {
		return why
	}
	ranges, err := c.Ranges(ctx)
	if err != nil {
		return why
	}
	for _, f := range p.Findings {
		if i := slices.IndexFunc(ranges, func(r RangeView) bool { return r.ID == f.RangeID }); i >= 0 && ranges[i].on(v.NodeID) != nil {
			return fmt.Sprintf("%s; range %d: %s", why, f.RangeID, f.Why)
		}
	}
	return why
}

func recommission(ctx context.Context, c *call) error {
	return c.Recommission(ctx, []kv.NodeID{c.nodeID()})
}

func runRecommission(ctx context.Context, c *call) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return c.nodeResult(), patiently(ctx, func() error { return recommission(ctx, c) })
}

// Placement.

func checkRule(ctx context.Context, c *call) error {
	kind, name, ok := strings.Cut(c.args.Text("of"), " ")
	if kind != "cluster" && kind != "table" && kind != "index" || ok != (kind != "cluster") || ok && name == "" {
		return NewProblem(CodeInvalid, "of: %q is neither cluster nor \"table NAME\" nor \"index NAME\"", c.args.Text("of"))
	}
	return c.CheckRule(ctx, c.user, c.args.Text("of"), c.args.Text("option"), c.args.Text("value"))
}

func runSetRule(ctx context.Context, c *call) (map[string]any, error) {
	option, value, of := c.args.Text("option"), c.args.Text("value"), c.args.Text("of")
	out := map[string]any{"of": of, "option": option}
	if value != "" {
		out["value"] = value
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return out, patiently(ctx, func() error {
		if of == "cluster" {
			return c.SetRule(ctx, option, value)
		}
		return c.SetRuleOf(ctx, c.user, of, option, value)
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
