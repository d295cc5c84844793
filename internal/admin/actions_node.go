package admin

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pamirdb/pamir/range/kv"
)

// What is done to nodes.

// theNode finds a node by its number.
func theNode(c Cluster, id kv.NodeID) (*NodeView, error) {
	for _, n := range c.Nodes() {
		if n.NodeID == id {
			return &n, nil
		}
	}
	return nil, NoNode(id)
}

// NoNode says that there is no node of that number.
func NoNode(id kv.NodeID) *Problem {
	return NewProblem(CodeNotFound, "there is no node %d", id).WithHint("pamir node list and TABLE pamir.nodes list them.")
}

func (c *call) nodeID() kv.NodeID { return kv.NodeID(c.args.Int("node_id")) }

func checkNode(_ context.Context, c *call) error {
	_, err := theNode(c, c.nodeID())
	return err
}

// checkUndrain refuses to undrain who does not answer.
func checkUndrain(_ context.Context, c *call) error {
	n, err := theNode(c, c.nodeID())
	if err == nil && !n.Alive {
		return NewProblem(CodeConflict, "node %d does not answer, so it cannot be told to serve", n.NodeID).
			WithHint("Started again it serves: a restart ends a drain.")
	}
	return err
}

func checkDrain(ctx context.Context, c *call) error {
	n, err := theNode(c, c.nodeID())
	if err != nil {
		return err
	}
	if !n.Alive {
		p := NewProblem(CodeConflict, "node %d does not answer, so it has nothing to hand over", n.NodeID)
		stores, err := c.Stores(ctx)
		if err == nil && slices.ContainsFunc(stores, func(s StoreView) bool { return s.NodeID == n.NodeID && s.State == "left" }) {
			return p.WithHint("It was decommissioned, and has left: there is no replica on it.")
		}
		return p.WithHint("What it led is led by others. To move its replicas elsewhere now, decommission it.")
	}
	if v, err := c.Draining(ctx, c.nodeID()); err == nil && v.State != "serving" {
		return nil // as was asked for before
	}
	return c.MayDrain(ctx, c.nodeID(), c.args.Bool("force"))
}

// drainedTogether looks again once a node says that it drains: of several drains that begin at the same moment, none may have seen the others before. Those that cannot
// be together are taken back.
func drainedTogether(ctx context.Context, c *call) error {
	look, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := patiently(look, func() error { return c.MayDrain(look, c.nodeID(), c.args.Bool("force")) })
	if err == nil || AsProblem(err).Code != CodeConflict {
		return nil // it was allowed a moment ago
	}
	if back := undrain(ctx, c); back != nil {
		return back
	}
	return err
}

func (c *call) nodeResult() map[string]any {
	return map[string]any{"node_id": c.args.Int("node_id")}
}

// handsOver is how long a node that has drained may lead something all the same before the drain has failed.
const handsOver = 10 * time.Second

func runDrain(ctx context.Context, c *call) (map[string]any, error) {
	id := c.nodeID()
	began, most := false, 0
	fresh := false // it served when it was asked
	var silent, left time.Time
	for {
		ask := c.Drain
		if began {
			ask = c.Draining
		} else if v, err := c.Draining(ctx, id); err == nil {
			fresh = v.State == "serving"
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
			if began, silent = true, (time.Time{}); fresh {
				if fresh = false; v.State != "serving" {
					if err := drainedTogether(ctx, c); err != nil {
						return nil, err
					}
				}
			}
			if most = max(most, v.Leaders); v.State == "drained" {
				if v.Leaders == 0 {
					return c.nodeResult(), nil
				}
				// What has come to it since it looked for the last time it hands over now.
				if left.IsZero() {
					left = time.Now()
				}
				if time.Since(left) > handsOver {
					return nil, NewProblem(CodeConflict, "node %d still leads %d ranges: nobody took them over in time", id, v.Leaders).
						WithHint("Look at pamir range list --leader %d. Undrain and drain again to try once more.", id)
				}
			} else {
				left = time.Time{}
			}
			if v.State == "serving" {
				return nil, NewProblem(CodeConflict, "node %d serves again: it was undrained or restarted", id)
			}
			done := 0.0
			if most > 0 {
				done = 1 - float64(v.Leaders)/float64(most)
			}
			c.report(0.9*done, 0, drainsAt(v))
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// drainsAt says what a drain is at.
func drainsAt(v *DrainView) string {
	number := func(n int64, what string) string {
		if n == 1 {
			return "1 " + what
		}
		return fmt.Sprintf("%d %ss", n, what)
	}
	switch {
	case v.Leaders == 0 && v.Connections > 0:
		return fmt.Sprintf("waits for the transactions of %s to end, for as long as --drain-timeout says", number(v.Connections, "client"))
	case v.Connections > 0:
		return fmt.Sprintf("leads %s, has %s", number(int64(v.Leaders), "range"), number(v.Connections, "client"))
	}
	return "leads " + number(int64(v.Leaders), "range")
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
	progress, speed := 0.0, pace{}
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
			why, stuck := waitsFor(ctx, c, v)
			if stuck { // that may take any time, and says nothing of what comes after it
				speed = pace{}
			}
			left, _ := speed.look(time.Now(), v)
			c.report(progress, left, why)
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// waitsFor says what a decommission is at: also why it does not go on, if it does not; then it is stuck.
func waitsFor(ctx context.Context, c *call, v *DecommissionView) (why string, stuck bool) {
	if v.Replicas == 0 {
		return "no replica is left there", false // it is to be noted
	}
	are := "are"
	if v.Replicas == 1 {
		are = "is"
	}
	why = fmt.Sprintf("%d of %d replicas %s still there", v.Replicas, v.BeganWith, are)
	if v.BeganWithBytes > 0 {
		// It may grow: those who write do not wait.
		why += fmt.Sprintf(" (%s of %s)", Size(float64(v.Bytes)), Size(float64(max(v.Bytes, v.BeganWithBytes))))
		if v.Sent > 0 {
			why += fmt.Sprintf("; %s are on their way", Size(float64(v.Sent)))
		}
	}
	p, err := c.Placement(ctx)
	if err != nil || len(p.Running) > 0 || len(p.Pending) > 0 {
		return why, false
	}
	ranges, err := c.Ranges(ctx)
	if err != nil {
		return why, false
	}
	for _, f := range p.Findings {
		if i := slices.IndexFunc(ranges, func(r RangeView) bool { return r.ID == f.RangeID }); i >= 0 && ranges[i].on(v.NodeID) != nil {
			return fmt.Sprintf("%s; range %d: %s", why, f.RangeID, f.Why), true
		}
	}
	return why, false
}

func recommission(ctx context.Context, c *call) error {
	return c.Recommission(ctx, []kv.NodeID{c.nodeID()})
}

func runRecommission(ctx context.Context, c *call) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return c.nodeResult(), patiently(ctx, func() error { return recommission(ctx, c) })
}
