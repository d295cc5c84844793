package admin

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/internal/admin"
	"github.com/pamirdb/pamir/internal/node"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/tests/cluster"
)

// Nodes that rules need do not leave, those without which ranges have no majority do not drain, and rules that no nodes fit are set, and that is said: over HTTP and
// in SQL alike, and by placement in the same words.
func TestWhatRulesNeed(t *testing.T) {
	region := []string{"region=eu", "region=us", "region=ap", "region=ap"}
	l := cluster.StartLocal(t, 4, func(i int, c *node.Config) {
		cluster.LongSupportLocal(i, c)
		c.Locality = []string{region[i], fmt.Sprintf("zone=z%d", i)}
	})
	h := apiOf(t, l.Nodes[0])
	_, db, _ := l.Nodes[0].Addresses()
	cfg, err := pgx.ParseConfig(fmt.Sprintf("postgres://root@%s/defaultdb?sslmode=disable", db))
	require.NoError(t, err)
	var said []string
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { said = append(said, n.Severity+" "+n.Code+" "+n.Message) }
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	exec := func(q string) []string {
		said = nil
		_, err := conn.Exec(t.Context(), q)
		require.NoError(t, err, q)
		return said
	}
	set := func(option, value string) any {
		r := h.send("PUT", "/rules/"+option, fmt.Sprintf(`{"value": %q}`, value))
		require.Equal(t, 200, r.status, "%s", r.body)
		ops := get[admin.OperationList](h, "/operations?limit=1").Operations
		require.Equal(t, admin.Succeeded, ops[0].State)
		return ops[0].Result[admin.WarningsField]
	}
	refused := func(path, what string) {
		t.Helper()
		var r answer
		l.Eventually(60*time.Second, "all nodes answer", func() error { // one may be silent for a moment, on a busy machine
			if r = h.send("POST", path, ""); strings.Contains(string(r.body), "nodes would remain") || r.status == 503 {
				return fmt.Errorf("%s", r.body)
			}
			return nil
		})
		require.Equal(t, 409, r.status, "%s", r.body)
		require.Contains(t, string(r.body), what)
		require.Contains(t, string(r.body), "force")
	}
	l.WaitReplicated(3)

	t.Run("a rule that no node fits", func(t *testing.T) {
		require.Empty(t, exec("CREATE TABLE fits (a int8 PRIMARY KEY) WITH (pamir.constraints = 'region=ap', pamir.num_replicas = 1)"))
		why := "no node meets the constraints of table public.far (region=mars)"
		require.Equal(t, []string{"WARNING 01000 placement rule: " + why}, exec("CREATE TABLE far (a int8 PRIMARY KEY) WITH (pamir.constraints = 'region=mars')"))
		require.Empty(t, exec("ALTER TABLE far SET (pamir.gc_ttl = '2h')"), "which has nothing to do with it")
		l.Eventually(60*time.Second, "a finding", func() error {
			p, err := l.Nodes[0].Operations().Placement(t.Context())
			if err == nil && !slices.ContainsFunc(p.Findings, func(f admin.FindingView) bool { return strings.Contains(f.Why, why) }) {
				err = fmt.Errorf("there are %v", p.Findings)
			}
			return err
		})
		require.Equal(t, []string{"WARNING 01000 placement rule: table public.far wants 2 replicas in region=us, and only 1 node is there"},
			exec("ALTER TABLE far SET (pamir.constraints = 'region=us:2')"))
		r := h.send("PUT", "/rules/constraints", `{"value": "region=mars", "of": "index far_pkey"}`)
		require.Contains(t, string(r.body), "no node meets the constraints of index public.far_pkey (region=mars)")
		exec("DROP TABLE far")
		require.Equal(t, []any{"no node is in region=mars, where the cluster prefers leaders"}, set("leader_preference", "region=mars"))
		require.Empty(t, exec("SELECT pamir.set_rule('leader_preference', NULL)"))
		require.Equal(t, []string{"WARNING 01000 placement rule: the cluster wants 5 replicas, and there are 4 nodes"}, exec("SELECT pamir.set_rule('num_replicas', 5)"))
		exec("SELECT pamir.set_rule('num_replicas', 3)")
	})

	t.Run("a goal that a table's constraints make impossible", func(t *testing.T) {
		exec("CREATE TABLE here (a int8 PRIMARY KEY) WITH (pamir.constraints = 'region=eu:2,region=us:1', pamir.survive = 'zone')")
		exec("CREATE TABLE there (a int8 PRIMARY KEY) WITH (pamir.constraints = 'region=ap')")
		want := "table public.there: survive = region cannot hold with constraints = region=ap, which puts most replicas into one region: leave one of the two out, or set survive = zone"
		// A table with a goal of its own is not concerned, and fits is not to have three replicas.
		got := set("survive", "region").([]any)
		require.Contains(t, got, want)
		for _, w := range got {
			require.NotContains(t, w, "public.here")
		}
		require.Contains(t, exec("SELECT pamir.set_rule('survive', 'region')"), "WARNING 01000 placement rule: "+want)
		exec("DROP TABLE here; DROP TABLE there")
	})

	t.Run("decommission", func(t *testing.T) {
		refused("/nodes/2/decommission", "node 2 cannot leave: without it, survive = region cannot hold for the cluster: no region may have half of 3 replicas, and there are 3 nodes of 2 regions")
		_, err := conn.Exec(t.Context(), "SELECT pamir.decommission_node(2)")
		require.ErrorContains(t, err, "survive = region cannot hold")
		require.ErrorContains(t, err, "55000")
		exec("SELECT pamir.set_rule('survive', NULL)")
		exec("ALTER TABLE fits SET (pamir.constraints = 'zone=z3')")
		refused("/nodes/4/decommission", "no node meets the constraints of table public.fits (zone=z3)")
		r := h.send("POST", "/nodes/4/decommission", `{"force": true}`)
		require.Equal(t, 202, r.status, "%s", r.body)
		require.Equal(t, 200, h.send("POST", "/nodes/4/recommission", "").status)
		exec("ALTER TABLE fits RESET (pamir.constraints, pamir.num_replicas)")
	})

	t.Run("drain", func(t *testing.T) {
		l.WaitReplicated(3)
		drained := func(id int, body string) {
			t.Helper()
			r := h.send("POST", fmt.Sprintf("/nodes/%d/drain?wait=30", id), body)
			require.Equal(t, 200, r.status, "%s", r.body)
			require.Contains(t, string(r.body), `"succeeded"`)
		}
		drained(3, "")
		drained(3, "") // again
		refused("/nodes/2/drain", "would have no majority of")
		refused("/nodes/2/drain", "of which node 3 drains")
		_, err := conn.Exec(t.Context(), "SELECT pamir.drain_node(2)")
		require.ErrorContains(t, err, "would have no majority of")
		drained(2, `{"force": true}`)
		drained(4, `{"force": true}`)
		refused("/nodes/1/drain", "node 1 is the only one that serves clients")
		for _, id := range []int{2, 3, 4} {
			require.Equal(t, 200, h.send("POST", fmt.Sprintf("/nodes/%d/undrain", id), "").status)
		}
		drained(2, "")
	})
}

// Of two decommissions that begin at the same moment, at different nodes, and cannot be together, one is refused, and says whom it does not count; so is one beside a node that drains.
func TestLeavingTogether(t *testing.T) {
	l := cluster.StartLocal(t, 4, cluster.LongSupportLocal)
	l.WaitReplicated(3)
	ids := []kv.NodeID{l.Nodes[2].Identity().NodeID, l.Nodes[3].Identity().NodeID}
	for range 10 {
		var wg sync.WaitGroup
		errs := make([]error, 2)
		l.Eventually(60*time.Second, "all nodes answer", func() error {
			for i := range errs {
				if err := l.Nodes[i].Operations().MayDecommission(t.Context(), ids[i:i+1], false); err != nil {
					return err
				}
			}
			return nil
		})
		for i := range errs {
			wg.Go(func() { errs[i] = l.Nodes[i].Operations().Decommission(t.Context(), ids[i:i+1], false) })
		}
		wg.Wait()
		if errs[0] == nil {
			errs[0], errs[1] = errs[1], errs[0]
		}
		if errs[1] != nil && strings.Contains(errs[1].Error(), "does not answer") {
			continue // a node was silent for a moment, on a busy machine
		}
		require.NoError(t, errs[1], "one may leave: %v", errs[0])
		require.ErrorContains(t, errs[0], "2 nodes would remain, and ranges have up to 3 replicas (not counted: node ")
		require.Equal(t, admin.CodeConflict, admin.AsProblem(errs[0]).Code)
		require.NoError(t, l.Nodes[0].Operations().Recommission(t.Context(), ids))
	}
	// A node that has nothing has left as soon as it was asked to. It can take replicas again, so it is named as well.
	ops := l.Nodes[0].Operations()
	require.NoError(t, ops.Decommission(t.Context(), ids[1:], false))
	l.Eventually(60*time.Second, "it has left", func() error {
		views, err := ops.Decommissions(t.Context())
		if err == nil && !slices.ContainsFunc(views, func(v node.DecommissionView) bool { return v.NodeID == ids[1] && v.State == "left" }) {
			err = fmt.Errorf("%+v", views)
		}
		return err
	})
	l.Eventually(60*time.Second, "it is named", func() error {
		err := ops.MayDecommission(t.Context(), ids[:1], false)
		if err == nil {
			return errors.New("it may leave")
		}
		if want := fmt.Sprintf("2 nodes would remain, and ranges have up to 3 replicas (not counted: node %d has left)", ids[1]); !strings.Contains(err.Error(), want) {
			return err
		}
		return nil
	})
	require.NoError(t, ops.Recommission(t.Context(), ids))

	h := apiOf(t, l.Nodes[0])
	require.Equal(t, 200, h.send("POST", fmt.Sprintf("/nodes/%d/drain?wait=30", ids[1]), "").status)
	l.Eventually(60*time.Second, "it is known to drain", func() error {
		r := h.send("POST", fmt.Sprintf("/nodes/%d/decommission", ids[0]), "")
		if r.status == 409 && strings.Contains(string(r.body), fmt.Sprintf("(not counted: node %d drains)", ids[1])) {
			return nil
		}
		h.send("POST", fmt.Sprintf("/nodes/%d/recommission", ids[0]), "")
		return fmt.Errorf("%s", r.body)
	})
	// Who drains may leave.
	require.NoError(t, l.Nodes[0].Operations().MayDecommission(t.Context(), ids[1:], false))
}
