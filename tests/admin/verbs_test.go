package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/internal/admin"
	"github.com/pamirdb/pamir/internal/node"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/verb"
	"github.com/pamirdb/pamir/tests/cluster"
)

// Every verb, in every way in which it can be asked, does what it says on a live cluster.
func TestEveryVerb(t *testing.T) {
	l := cluster.StartLocal(t, 3, cluster.LongSupportLocal)
	conn := connect(t, l.Nodes[0])
	_, err := conn.Exec(t.Context(), `CREATE SCHEMA "S 2"; CREATE TABLE "S 2"."T.1" (a int8 PRIMARY KEY); `+"CREATE TABLE t (a int8 PRIMARY KEY, b text); INSERT INTO t SELECT g, 'x' FROM generate_series(1, 300) g")
	require.NoError(t, err)
	h := apiOf(t, l.Nodes[0])
	_, _, web := l.Nodes[0].Addresses()
	ways := []way{overHTTP(h), byCommand(t, web), inSQL(conn)}

	asked := map[string]bool{}
	ask := func(w way, name string, a verb.Args) error {
		v := verb.ByName(name)
		require.NotNil(t, v, name)
		asked[w.name+" "+name] = true
		return w.ask(t, v, a)
	}
	ranges := func() []admin.RangeView {
		rs, err := l.Nodes[0].Operations().Ranges(t.Context())
		require.NoError(t, err)
		return rs
	}
	at := func(key string) admin.RangeView { // the range that begins at a row of t
		rs := ranges()
		i := slices.IndexFunc(rs, func(r admin.RangeView) bool { return r.StartKey == "/t/t_pkey/"+key })
		require.GreaterOrEqual(t, i, 0, "no range begins at %s", key)
		return rs[i]
	}
	state := func(id kv.NodeID) string {
		for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			list := get[admin.NodeList](h, "/nodes")
			require.Empty(t, list.Problem)
			for _, n := range list.Nodes {
				if n.NodeID == id && n.Alive { // it may be silent for a moment, on a busy machine
					return n.State
				}
			}
		}
		return "not heard of"
	}

	for i, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			do := func(name string, a verb.Args) {
				t.Helper()
				require.NoError(t, ask(w, name, a), name)
			}
			maybe := func(name string, a verb.Args) bool {
				t.Helper()
				if w.has(verb.ByName(name)) {
					do(name, a)
					return true
				}
				return false
			}
			key := strconv.Itoa(100 * (i + 1))
			do("split_at", verb.Args{"table": "t", "values": []string{key}})
			r := at(key)
			l.WaitReplicated(3)
			do("pause_rebalancing", verb.Args{})
			p, err := l.Nodes[0].Operations().Placement(t.Context())
			require.NoError(t, err)
			require.Eventually(t, func() bool {
				p, err = l.Nodes[0].Operations().Placement(t.Context())
				return err == nil && p.Paused
			}, 60*time.Second, 20*time.Millisecond)

			to := r.Replicas[i%3].NodeID
			do("transfer_leader", verb.Args{"range_id": int64(r.ID), "node": int64(to)})
			require.Eventually(t, func() bool { return at(key).LeaderNode == to }, 60*time.Second, 20*time.Millisecond)
			require.ErrorContains(t, ask(w, "transfer_leader", verb.Args{"range_id": int64(9999), "node": int64(1)}), "there is no range 9999")

			do("drain_node", verb.Args{"node_id": int64(3)})
			require.Eventually(t, func() bool { return state(3) == "draining" }, 60*time.Second, 20*time.Millisecond) // gossiped
			do("undrain_node", verb.Args{"node_id": int64(3)})
			require.Eventually(t, func() bool { return state(3) == "member" }, 60*time.Second, 20*time.Millisecond)

			// Three nodes, three replicas: nobody can go.
			require.ErrorContains(t, ask(w, "decommission_node", verb.Args{"node_id": int64(3)}), "2 nodes would remain")
			cancelDecommission(t, h, w, ask, state)
			do("resume_rebalancing", verb.Args{})

			for name, a := range map[string]verb.Args{
				"cluster": {}, "status": {}, "nodes": {}, "node": {"node_id": int64(2)}, "stores": {}, "ranges": {"table": "public.t", "key": []string{key}, "state": "ok"},
				"range": {"range_id": int64(r.ID)}, "hot_ranges": {"limit": int64(5)}, "placement": {}, "operators": {"state": "done"}, "plan": {}, "rules": {},
				"operations": {"state": "succeeded", "verb": "drain_node", "limit": int64(5)}, "operation": {"operation_id": int64(1)}, "locks": {}, "replicas": {}, "checksums": {}, "openapi": {},
			} {
				if w.name == "sql" {
					a = verb.Args{} // a relation is filtered by SQL
				}
				maybe(name, a)
			}
		})
	}

	// Rules can be set in SQL by another function.
	for _, w := range ways[:2] {
		for _, of := range []string{"cluster", "table t", "index public.t_pkey", `table "S 2"."T.1"`, `index "S 2"."T.1_pkey"`} { // as they are listed, too
			require.NoError(t, ask(w, "set_rule", verb.Args{"option": "gc_ttl", "value": "2h", "of": of}))
			rules := get[admin.RuleList](h, "/rules").Rules
			i := slices.IndexFunc(rules, func(r admin.RuleView) bool {
				return strings.HasSuffix(r.Of, strings.TrimPrefix(of, "table ")) || r.Of == of
			})
			require.GreaterOrEqual(t, i, 0, "%s: %v", of, rules)
			require.Equal(t, "2h", rules[i].Options["gc_ttl"])
			require.NoError(t, ask(w, "reset_rule", verb.Args{"option": "gc_ttl", "of": of}))
		}
		require.ErrorContains(t, ask(w, "set_rule", verb.Args{"option": "nix", "value": "1"}), "there is no option nix")
		require.ErrorContains(t, ask(w, "set_rule", verb.Args{"option": "gc_ttl", "value": "2h", "of": "table nix"}), "does not exist")
	}

	// With a fourth node something can be moved, and a node can go.
	require.NoError(t, ask(ways[0], "pause_rebalancing", verb.Args{}))
	fourth := l.Nodes[l.Add()].Identity().NodeID
	require.Eventually(t, func() bool { return state(fourth) == "member" }, 60*time.Second, 20*time.Millisecond)
	for i, w := range ways {
		key := strconv.Itoa(100 * (i + 1))
		r := at(key)
		from := r.LeaderNode // which hands over first
		to := fourth         // unless the last decommission has brought it there
		for n := kv.NodeID(1); slices.ContainsFunc(r.Replicas, func(p admin.ReplicaView) bool { return p.NodeID == to }); n++ {
			to = n
		}
		require.NoError(t, ask(w, "move_replica", verb.Args{"range_id": int64(r.ID), "from": int64(from), "to": int64(to)}))
		var on []kv.NodeID
		for _, p := range at(key).Replicas {
			on = append(on, p.NodeID)
		}
		require.Len(t, on, 3)
		require.Contains(t, on, to)
		require.NotContains(t, on, from)
		require.ErrorContains(t, ask(w, "move_replica", verb.Args{"range_id": int64(r.ID), "from": int64(from)}), "has no replica on node")

		require.NoError(t, ask(w, "decommission_node", verb.Args{"node_id": int64(3)}))
		require.Equal(t, "left", state(3))
		for _, r := range ranges() {
			require.False(t, slices.ContainsFunc(r.Replicas, func(p admin.ReplicaView) bool { return p.NodeID == 3 }), "r%d", r.ID)
		}
		require.NoError(t, ask(w, "recommission_node", verb.Args{"node_id": int64(3)}))
		require.Equal(t, "member", state(3))

		require.NoError(t, ask(w, "merge_at", verb.Args{"table": "t", "values": []string{key}}))
		require.False(t, slices.ContainsFunc(ranges(), func(r admin.RangeView) bool { return r.StartKey == "/t/t_pkey/"+key }))
		require.ErrorContains(t, ask(w, "merge_at", verb.Args{"table": "t", "values": []string{key}}), "no range begins there")
	}
	var n int
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM t").Scan(&n))
	require.Equal(t, 300, n)

	// Who has left for good is not missed where all nodes are asked.
	require.NoError(t, ask(ways[0], "decommission_node", verb.Args{"node_id": int64(3)}))
	i := slices.IndexFunc(l.Nodes, func(n *node.Node) bool { return n.Identity().NodeID == 3 })
	l.Stop(i, false)
	require.Eventually(t, func() bool { return get[admin.NodeView](h, "/nodes/3").Alive == false }, 60*time.Second, 20*time.Millisecond)
	cfg := conn.Config().Copy()
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { t.Errorf("%s", n.Message) }
	heard, err := pgx.ConnectConfig(t.Context(), cfg)
	require.NoError(t, err)
	defer heard.Close(context.Background())
	require.NoError(t, heard.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity").Scan(&n))
	require.Positive(t, n)

	for _, w := range ways {
		for i := range verb.Table {
			v := &verb.Table[i]
			require.Equal(t, w.has(v), asked[w.name+" "+v.Name], "%s: %s", w.name, v.Name)
		}
	}
}

// cancelDecommission begins what cannot come to an end, and cancels it.
func cancelDecommission(t *testing.T, h *api, w way, ask func(way, string, verb.Args) error, state func(kv.NodeID) string) {
	r := h.send("POST", "/nodes/3/decommission", `{"force": true}`)
	require.Equal(t, 202, r.status, "%s", r.body)
	var id int64
	_, err := fmt.Sscanf(r.header.Get("Location"), admin.Prefix+"/operations/%d", &id)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return state(3) == "leaving" }, 60*time.Second, 20*time.Millisecond)
	require.NoError(t, ask(w, "cancel_operation", verb.Args{"operation_id": id}))
	op := get[admin.Operation](h, fmt.Sprintf("/operations/%d?wait=30", id))
	require.Equal(t, admin.Canceled, op.State, "%+v", op.Error)
	require.Equal(t, "member", state(3))
}

// An operation whose node is stopped goes on at another, which also says that it is the same if it is asked again.
func TestOperationOutlivesItsNode(t *testing.T) {
	// It lasts, because there is nowhere to go: three nodes have three replicas.
	l := cluster.StartLocal(t, 3, nil)
	first, other := apiOf(t, l.Nodes[2]), apiOf(t, l.Nodes[0])
	l.Eventually(30*time.Second, "everything there", func() error {
		rs, err := l.Nodes[0].Operations().Ranges(t.Context())
		for _, r := range rs {
			if !slices.ContainsFunc(r.Replicas, func(p admin.ReplicaView) bool { return p.NodeID == l.Nodes[1].Identity().NodeID }) {
				err = fmt.Errorf("r%d is not there", r.ID)
			}
		}
		return err
	})
	path, body := fmt.Sprintf("/nodes/%d/decommission", l.Nodes[1].Identity().NodeID), `{"force": true}`
	r := first.send("POST", path, body, admin.KeyHeader, "once")
	require.Equal(t, 202, r.status, "%s", r.body)
	op := get[admin.OperationList](other, "/operations").Operations[0]
	require.Equal(t, admin.Running, op.State)
	require.Equal(t, l.Nodes[2].Identity().NodeID, op.NodeID)
	l.Eventually(60*time.Second, "begun", func() error {
		ds, err := l.Nodes[0].Operations().Decommissions(t.Context())
		if err == nil && len(ds) == 0 {
			err = errors.New("nobody leaves yet")
		}
		return err
	})

	l.Stop(2, false)
	l.Eventually(30*time.Second, "taken over", func() error {
		switch o := get[admin.Operation](other, fmt.Sprintf("/operations/%d", op.ID)); {
		case o.State.Over():
			return fmt.Errorf("it is over: %s %v", o.State, o.Error)
		case o.NodeID == op.NodeID:
			return errors.New("it has not moved")
		}
		return nil
	})
	r = other.send("POST", path, body, admin.KeyHeader, "once")
	require.Equal(t, 202, r.status, "%s", r.body)
	require.Equal(t, "true", r.header.Get("Idempotent-Replayed"))
	require.Len(t, get[admin.OperationList](other, "/operations").Operations, 1)

	// Now it can end: the node that was stopped returns, and one replica is enough.
	l.Restart(2)
	_, err := l.Nodes[0].Operations().SetRule(t.Context(), "num_replicas", "1")
	require.NoError(t, err)
	l.Eventually(60*time.Second, "over", func() error {
		if o := get[admin.Operation](other, fmt.Sprintf("/operations/%d", op.ID)); o.State != admin.Succeeded {
			return fmt.Errorf("%s: %s", o.State, o.Why)
		}
		return nil
	})
}

// Of many requests at once with one key, through all nodes, one begins something.
func TestOneKeyOneOperation(t *testing.T) {
	l := cluster.StartLocal(t, 3, nil)
	type told struct {
		op    *admin.Operation
		began bool
		err   error
	}
	const each = 4
	answers := make(chan told, 3*each)
	for _, n := range l.Nodes {
		for range each {
			go func() {
				op, began, err := n.Admin().Begin(context.Background(), admin.Request{User: "root", Key: "k", Verb: verb.ByName("pause_rebalancing"), Args: verb.Args{}})
				answers <- told{op, began, err}
			}()
		}
	}
	began, id := 0, int64(0)
	for range cap(answers) {
		a := <-answers
		require.NoError(t, a.err)
		if a.began {
			began++
		}
		require.True(t, id == 0 || id == a.op.ID)
		id = a.op.ID
	}
	require.Equal(t, 1, began)
	_, _, err := l.Nodes[0].Admin().Begin(t.Context(), admin.Request{User: "root", Key: "k", Verb: verb.ByName("resume_rebalancing"), Args: verb.Args{}})
	require.Equal(t, admin.CodeKeyReused, admin.AsProblem(err).Code)
	_, mine, err := l.Nodes[0].Admin().Begin(t.Context(), admin.Request{User: "other", Key: "k", Verb: verb.ByName("pause_rebalancing"), Args: verb.Args{}})
	require.NoError(t, err)
	require.True(t, mine, "keys are a user's own")
}
