package admin

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/verb"
)

// stuckCluster has a node that leaves: four MiB a second, until it is stuck.
type stuckCluster struct {
	Cluster
	began     time.Time
	placement PlacementView
}

func (c *stuckCluster) Decommissions(context.Context) ([]DecommissionView, error) {
	sent := int64(time.Since(c.began).Seconds() * (4 << 20))
	return []DecommissionView{{NodeID: 2, State: "leaving", BeganWith: 11, Replicas: 4, Bytes: 1 << 30, Sent: sent, Progress: 0.6}}, nil
}

func (c *stuckCluster) Placement(context.Context) (*PlacementView, error) { return &c.placement, nil }

func (c *stuckCluster) Ranges(context.Context) ([]RangeView, error) {
	return []RangeView{{ID: 5, Replicas: []ReplicaView{{NodeID: 2}}}}, nil
}

// What does not go on is not said to be over soon, and less soon each time.
func TestNoEstimateOfWhatIsStuck(t *testing.T) {
	for _, c := range []struct {
		placement PlacementView
		estimate  bool
		why       string
	}{
		{PlacementView{Running: []RunningOperator{{}}}, true, "4 of 11 replicas are still there"},
		{PlacementView{Findings: []FindingView{{RangeID: 5, Why: "there is no node"}}}, false, "4 of 11 replicas are still there; range 5: there is no node"},
		{PlacementView{Findings: []FindingView{{RangeID: 6, Why: "of another"}}}, true, "4 of 11 replicas are still there"},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			x := &call{Cluster: &stuckCluster{began: time.Now(), placement: c.placement}, args: verb.Args{"node_id": int64(2)}, begun: true}
			var last time.Duration
			began := time.Now()
			x.report = func(_ float64, left time.Duration, why string) {
				if time.Since(began) < 5*time.Second {
					require.Zero(t, left, "there is nothing to go by")
				}
				require.Equal(t, c.why, why)
				last = left
			}
			_, err := runDecommission(ctx, x)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, c.estimate, last > 0, "%s", last)
		})
	}
}

// racedCluster lets a node drain, and once it does so it must not any more: another one does so, too.
type racedCluster struct {
	Cluster
	state string
	asked int
}

func (c *racedCluster) view() (*DrainView, error) { return &DrainView{NodeID: 2, State: c.state}, nil }

func (c *racedCluster) Draining(context.Context, kv.NodeID) (*DrainView, error) { return c.view() }

func (c *racedCluster) Drain(context.Context, kv.NodeID) (*DrainView, error) {
	c.state = "drained"
	return c.view()
}

func (c *racedCluster) Undrain(context.Context, kv.NodeID) (*DrainView, error) {
	c.state = "serving"
	return c.view()
}

func (c *racedCluster) MayDrain(context.Context, kv.NodeID, bool) error {
	if c.asked++; c.state == "drained" {
		return NewProblem(CodeConflict, "node 3 drains")
	}
	return nil
}

// Drains that begin at the same moment do not go past each other.
func TestDrainsAtOnce(t *testing.T) {
	f := &racedCluster{state: "serving"}
	c := &call{Cluster: f, args: verb.Args{"node_id": int64(2)}, report: func(float64, time.Duration, string) {}}
	_, err := runDrain(t.Context(), c)
	require.ErrorContains(t, err, "node 3 drains")
	require.Equal(t, "serving", f.state, "what was begun is taken back")

	f.state = "drained" // before: it is asked for again, or gone on with by another node
	_, err = runDrain(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, "drained", f.state)
	require.Equal(t, 1, f.asked)
}

// keptLeaders is of a node that has drained, and leads something all the same: until a moment, or for ever.
type keptLeaders struct {
	Cluster
	until time.Time
}

func (c *keptLeaders) view() (*DrainView, error) {
	v := &DrainView{NodeID: 2, State: "drained"}
	if c.until.IsZero() || time.Now().Before(c.until) {
		v.Leaders = 1
	}
	return v, nil
}

func (c *keptLeaders) Draining(context.Context, kv.NodeID) (*DrainView, error) { return c.view() }

func (c *keptLeaders) Drain(context.Context, kv.NodeID) (*DrainView, error) { return c.view() }

// What a drained node has come to lead since is waited for: not for ever.
func TestDrainedAndLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &keptLeaders{until: time.Now().Add(handsOver / 2)}
		c := &call{Cluster: f, args: verb.Args{"node_id": int64(2)}, report: func(float64, time.Duration, string) {}}
		_, err := runDrain(t.Context(), c)
		require.NoError(t, err)
		f.until = time.Time{}
		_, err = runDrain(t.Context(), c)
		require.ErrorContains(t, err, "node 2 still leads 1 ranges")
	})
}

// That a whole region is silent is said as such.
func TestSilentPlaces(t *testing.T) {
	node := func(alive bool, locality ...string) StoreView { return StoreView{Alive: alive, Locality: locality} }
	stores := []StoreView{node(false, "region=eu", "zone=a"), node(true, "region=us", "zone=a"), node(false, "region=us", "zone=b"), node(false, "region=eu", "zone=b"),
		node(false, "region=ap", "zone=a"), node(false), node(false, "zone=x"), node(false, "zone=x")}
	require.Equal(t, []string{"none of the 2 nodes of region=eu answers"}, silentPlaces(stores))
	stores[3].Unknown = true
	require.Empty(t, silentPlaces(stores))
	stores[3].Unknown, stores[3].State = false, "left"
	require.Empty(t, silentPlaces(stores))
}

func TestDrainsAt(t *testing.T) {
	require.Equal(t, "leads 1 range, has 2 clients", drainsAt(&DrainView{Leaders: 1, Connections: 2}))
	require.Equal(t, "waits for the transactions of 1 client to end, for as long as --drain-timeout says", drainsAt(&DrainView{Connections: 1}))
	require.Equal(t, "leads 3 ranges", drainsAt(&DrainView{Leaders: 3}))
}

func TestMergesAt(t *testing.T) {
	on := func(id kv.RangeID, state string, nodes ...kv.NodeID) *RangeView {
		r := &RangeView{ID: id, State: state, Bytes: 4 << 20}
		for _, n := range nodes {
			r.Replicas = append(r.Replicas, ReplicaView{NodeID: n, Type: kv.Voter.String()})
		}
		return r
	}
	at := func(left, right *RangeView) string {
		progress, _, why := mergesAt(left, right)
		return fmt.Sprintf("%.1f %s", progress, why)
	}
	left := on(3, "ok", 4, 1, 2)
	require.Equal(t, "0.6 the replicas of range 7 (nodes 1, 3, 4) move to where those of range 3 are (1, 2, 4)", at(left, on(7, "ok", 1, 3, 4)))
	right := on(7, "changing", 1, 3, 4)
	right.Replicas = append(right.Replicas, ReplicaView{NodeID: 2, Type: kv.Learner.String(), Sent: 1 << 20})
	require.Equal(t, "0.6 node 2 has been sent 1.0 MiB of 4.0 MiB of range 7", at(left, right))
	require.Equal(t, "0.9 range 7 is changing its replicas", at(left, on(7, "changing", 1, 2, 4, 3)))
	require.Equal(t, "0.9 range 3 is changing its replicas", at(on(3, "changing", 1), on(7, "ok", 1)))
	require.Equal(t, "0.9 ranges 3 and 7 wait for a moment at which neither is busy", at(left, on(7, "ok", 1, 2, 4)))
}

// silentNodes are two that do not answer; the second one has left.
type silentNodes struct{ Cluster }

func (silentNodes) Nodes() []NodeView { return []NodeView{{NodeID: 1}, {NodeID: 2}} }

func (silentNodes) Stores(context.Context) ([]StoreView, error) {
	return []StoreView{{NodeID: 1, State: "member"}, {NodeID: 2, State: "left"}}, nil
}

// Who wants something of a node that does not answer is told what to do instead, and not what nobody wants of it.
func TestDrainsOfTheSilent(t *testing.T) {
	for _, x := range []struct {
		check func(context.Context, *call) error
		node  int64
		hint  string
	}{
		{checkDrain, 1, "What it led is led by others. To move its replicas elsewhere now, decommission it."},
		{checkDrain, 2, "It was decommissioned, and has left: there is no replica on it."},
		{checkUndrain, 1, "Started again it serves: a restart ends a drain."},
	} {
		var p *Problem
		require.ErrorAs(t, x.check(t.Context(), &call{Cluster: silentNodes{}, args: verb.Args{"node_id": x.node}}), &p)
		require.Equal(t, CodeConflict, p.Code)
		require.Equal(t, x.hint, p.Hint)
	}
}
