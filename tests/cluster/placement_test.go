package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/internal/node"
	"github.com/pamirdb/pamir/placement"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/txn"
)

// quickly makes placement decide in a second or two what takes it ten and more otherwise.
func quickly(_ int, c *node.Config) {
	r := placement.DefaultRules()
	r.Limits.FollowAfter = time.Second
	c.Rules = &r
	c.DeadAfter = 2 * time.Second
}

// clients read and write accounts through gateways until stop is called, which returns the number of transactions and
// the first error.
func (l *Local) clients(accounts []int, gateways ...int) (stop func() (int64, error)) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var done atomic.Int64
	var mu sync.Mutex
	var first error
	for _, g := range gateways {
		gw := l.Nodes[g].Gateway()
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := 0; ctx.Err() == nil; i++ {
				a := account(accounts[i%len(accounts)])
				err := retry(context.Background(), gw, func(tx txn.Txn) error {
					if _, _, err := tx.Get(context.Background(), a, txn.ScanOptions{}); err != nil {
						return err
					}
					return tx.Put(a, value(int64(i)))
				})
				if err != nil {
					mu.Lock()
					first = errors.Join(first, err)
					mu.Unlock()
					return
				}
				done.Add(1)
				time.Sleep(5 * time.Millisecond) // two cores are shared by everything
			}
		}()
	}
	return func() (int64, error) {
		cancel()
		wg.Wait()
		return done.Load(), first
	}
}

// evenly runs the same through each gateway in turn until stop is called: however slow the machine is, as much comes from the one as from the other.
func (l *Local) evenly(a int, gateways ...int) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		var err error
		for i := 0; ctx.Err() == nil && err == nil; i++ {
			err = retry(context.Background(), l.Nodes[gateways[i%len(gateways)]].Gateway(), func(tx txn.Txn) error {
				if _, _, err := tx.Get(context.Background(), account(a), txn.ScanOptions{}); err != nil {
					return err
				}
				return tx.Put(account(a), value(int64(i)))
			})
			time.Sleep(2 * time.Millisecond)
		}
		ended <- err
	}()
	return sync.OnceValue(func() error { cancel(); return <-ended })
}

func (l *Local) view(id kv.RangeID) node.RangeView {
	l.t.Helper()
	rs, err := l.first().RangeViews(context.Background())
	require.NoError(l.t, err)
	i := slices.IndexFunc(rs, func(r node.RangeView) bool { return r.ID == id })
	require.GreaterOrEqual(l.t, i, 0)
	return rs[i]
}

func (l *Local) split(at ...int) (ids []kv.RangeID) {
	l.t.Helper()
	for _, i := range at {
		_, right, err := l.first().Operations().Split(context.Background(), account(i))
		require.NoError(l.t, err)
		ids = append(ids, right.RangeID)
	}
	return ids
}

func operators(t testing.TB, n *node.Node, id kv.RangeID) (out []string) {
	v, err := n.Operations().Placement(context.Background())
	require.NoError(t, err)
	for _, o := range v.Recent {
		if o.Operator.RangeID == id {
			out = append(out, o.Operator.Text)
		}
	}
	return out
}

// A leader goes to where its clients are. When they are everywhere, it stays where it is.
func TestLeadersFollowClients(t *testing.T) {
	l := StartLocal(t, 3, quickly)
	id := l.split(0)[0]
	lead := l.view(id).LeaderNode
	far := 0
	for i, n := range l.Nodes {
		if n.Identity().NodeID != lead {
			far = i
		}
	}
	stop := l.clients([]int{1, 2, 3}, far)
	l.Eventually(60*time.Second, "the leader is where the clients are", func() error {
		if v := l.view(id); v.LeaderNode != l.Nodes[far].Identity().NodeID {
			return fmt.Errorf("led by node %d: %+v", v.LeaderNode, v.Rates)
		}
		return nil
	})
	_, err := stop()
	require.NoError(t, err)

	even := l.evenly(1, 0, 1, 2)
	defer func() { require.NoError(t, even()) }()
	var rates node.RangeRates
	l.Eventually(60*time.Second, "the new clients are seen", func() error {
		rates = l.view(id).Rates
		least := 1e9
		for _, g := range rates.From {
			least = min(least, g.Requests)
		}
		if len(rates.From) < 3 || least < rates.Requests/5 {
			return fmt.Errorf("%+v", rates)
		}
		return nil
	})
	before := len(operators(t, l.Nodes[0], id))
	plan := func() time.Time {
		v, err := l.Nodes[0].Operations().Placement(context.Background())
		require.NoError(t, err)
		return v.LastPlan
	}
	for range 20 { // plans, each of which could move it
		was := plan()
		l.Eventually(30*time.Second, "another plan", func() error {
			if !plan().After(was) {
				return errors.New("none yet")
			}
			return nil
		})
	}
	require.NoError(t, even())
	require.Len(t, operators(t, l.Nodes[0], id), before, "%v with %+v", operators(t, l.Nodes[0], id), rates)
}

// A node is decommissioned under load: everything moves away, no client sees an error, and it can be stopped, but not started again. Taken back, it can, and is
// given replicas. Drained and undrained, it loses its leaders and may have some again.
func TestDecommission(t *testing.T) {
	l := StartLocal(t, 4, quickly)
	ctx := t.Context()
	l.split(10, 20, 30, 40, 50)
	ops := l.Nodes[1].Operations()
	leaving := l.Nodes[0] // it leads the meta range, most likely, and so drives
	id := leaving.Identity().NodeID
	require.Error(t, ops.Decommission(ctx, []kv.NodeID{id, l.Nodes[3].Identity().NodeID}, false), "two would be left for three replicas")
	stop := l.clients([]int{5, 15, 25, 35, 45, 55}, 0, 1, 2)
	require.NoError(t, ops.Decommission(ctx, []kv.NodeID{id}, false))
	l.Eventually(120*time.Second, "decommissioned", func() error {
		vs, err := ops.Decommissions(ctx)
		if err != nil {
			return err
		}
		require.Len(t, vs, 1)
		require.LessOrEqual(t, vs[0].Progress, 1.0)
		if vs[0].State != "left" {
			return fmt.Errorf("%+v", vs[0])
		}
		require.Zero(t, vs[0].Replicas)
		return nil
	})
	l.Eventually(30*time.Second, "its replicas are removed", func() error {
		if rs := leaving.Replicas(); len(rs) > 0 {
			return fmt.Errorf("%d replicas", len(rs))
		}
		return nil
	})
	n, err := stop()
	require.NoError(t, err)
	require.Positive(t, n)
	l.WaitReplicated(3)

	l.Stop(0, true)
	_, err = l.tryStart(0)
	require.ErrorContains(t, err, fmt.Sprintf("node %d was decommissioned", id))
	require.NoError(t, ops.Recommission(ctx, []kv.NodeID{id}))
	l.Restart(0)
	l.Eventually(60*time.Second, "it is given replicas again", func() error {
		ss, err := ops.Stores(ctx)
		if err != nil {
			return err
		}
		for _, s := range ss {
			if s.NodeID == id && (s.Replicas == 0 || s.State != "member") {
				return fmt.Errorf("%+v", s)
			}
		}
		return nil
	})

	to := l.Nodes[2].Identity().NodeID
	v, err := ops.Drain(ctx, to)
	require.NoError(t, err)
	require.NotEqual(t, "serving", v.State)
	l.Eventually(60*time.Second, "drained", func() error {
		v, err := ops.Draining(ctx, to)
		if err != nil {
			return err
		}
		if v.State != "drained" || v.Leaders > 0 {
			return fmt.Errorf("%+v", v)
		}
		return nil
	})
	require.Error(t, l.Nodes[2].Ready(ctx))
	v, err = ops.Undrain(ctx, to)
	require.NoError(t, err)
	require.Equal(t, "serving", v.State)
	require.NoError(t, l.Nodes[2].Ready(ctx))
}

// The replicas of a node that is silent for too long are made anew elsewhere. When it comes back it removes what it has no part
// in any more, and is given others.
func TestDeadNodeComesBack(t *testing.T) {
	l := StartLocal(t, 4, quickly)
	ctx := t.Context()
	l.split(10, 20, 30)
	l.WaitReplicated(3)
	dead := l.Nodes[3].Identity()
	stop := l.clients([]int{5, 15, 25, 35}, 0, 1)
	l.Stop(3, false)
	l.Eventually(60*time.Second, "replaced", func() error {
		rs, err := l.Nodes[0].RangeViews(ctx)
		if err != nil {
			return err
		}
		for _, r := range rs {
			if len(r.Replicas) != 3 || slices.ContainsFunc(r.Replicas, func(p node.ReplicaView) bool { return p.NodeID == dead.NodeID }) {
				return fmt.Errorf("%+v", r)
			}
		}
		return nil
	})
	require.NoError(t, l.Nodes[0].Operations().Pause(ctx)) // so that nothing new comes while one looks at what goes
	l.Restart(3)
	l.Eventually(60*time.Second, "what was its is gone", func() error {
		if rs := l.Nodes[3].Replicas(); len(rs) > 0 {
			return fmt.Errorf("%+v", rs)
		}
		return nil
	})
	require.NoError(t, l.Nodes[0].Operations().Resume(ctx))
	l.Eventually(60*time.Second, "it is given replicas", func() error {
		if len(l.Nodes[3].Replicas()) == 0 {
			return errors.New("none yet")
		}
		return nil
	})
	_, err := stop()
	require.NoError(t, err)
	l.WaitReplicated(3)
}

// The cluster's rule: more replicas, leaders in a zone, replicas without a vote; and what cannot be satisfied says why.
func TestClusterRule(t *testing.T) {
	zones := []string{"a", "b", "c", "d", "e"}
	l := StartLocal(t, 5, func(i int, c *node.Config) {
		quickly(i, c)
		c.Locality = []string{"zone=" + zones[i]}
	})
	ctx := t.Context()
	ops := l.Nodes[0].Operations()
	set := func(option, value string) error {
		_, err := ops.SetRule(ctx, option, value)
		return err
	}
	require.Error(t, set("num_replicas", "4"))
	require.Error(t, set("replicas", "3"))
	require.NoError(t, set("num_replicas", "5"))
	l.WaitReplicated(5)
	require.NoError(t, set("num_replicas", ""))
	l.WaitReplicated(3)
	require.NoError(t, set("constraints", "-zone=e"))
	require.NoError(t, set("num_nonvoters", "1"))
	require.NoError(t, set("nonvoter_constraints", "zone=e"))
	require.NoError(t, set("leader_preference", "zone=b;zone=c"))
	e := l.Nodes[4].Identity().NodeID
	l.Eventually(60*time.Second, "as the rule wants it", func() error {
		rs, err := l.Nodes[0].RangeViews(ctx)
		if err != nil {
			return err
		}
		for _, r := range rs {
			voters, others := 0, 0
			for _, p := range r.Replicas {
				switch {
				case p.Type == kv.Voter.String() && p.NodeID != e:
					voters++
				case p.Type == kv.NonVoter.String() && p.NodeID == e:
					others++
				}
			}
			b := slices.ContainsFunc(r.Replicas, func(p node.ReplicaView) bool { return p.NodeID == l.Nodes[1].Identity().NodeID })
			if voters != 3 || others != 1 || len(r.Replicas) != 4 || b != (r.LeaderNode == l.Nodes[1].Identity().NodeID) {
				return fmt.Errorf("%+v", r)
			}
		}
		return nil
	})
	require.NoError(t, set("constraints", "zone=nowhere"))
	require.Error(t, set("survive", "everything"))
	l.Eventually(30*time.Second, "it says why not", func() error {
		v, err := ops.Placement(ctx)
		if err != nil {
			return err
		}
		if len(v.Findings) == 0 {
			return errors.New("no findings")
		}
		return nil
	})
	plan, err := ops.DryRun(ctx)
	require.NoError(t, err)
	require.NotEmpty(t, plan.Findings)
}

// Rules of tables and indexes are storage parameters: they change with their transaction, and go with their table.
func TestTableRules(t *testing.T) {
	zones := []string{"a", "b", "c"}
	l := StartLocal(t, 3, func(i int, c *node.Config) {
		quickly(i, c)
		c.Locality = []string{"zone=" + zones[i]}
	})
	ctx := t.Context()
	db := l.Connect(0)
	exec := func(q string) {
		t.Helper()
		_, err := db.Exec(ctx, q)
		require.NoError(t, err, q)
	}
	refusedAs := func(code, q, part string) {
		t.Helper()
		_, err := db.Exec(ctx, q)
		var pe *pgconn.PgError
		require.ErrorAs(t, err, &pe, q)
		require.Equal(t, code, pe.Code, "%s: %s", q, pe.Message)
		require.Contains(t, pe.Message, part)
	}
	refused := func(q, part string) {
		t.Helper()
		refusedAs("22023", q, part)
	}
	refused(`CREATE TABLE t (a int PRIMARY KEY) WITH (pamir.num_replicas = 4)`, "odd")
	refused(`CREATE TABLE t (a int PRIMARY KEY) WITH (pamir.replicas = 3)`, "there is no option replicas")
	refused(`SELECT pamir.set_rule('survive', 'anything')`, "zone or region")
	exec(`CREATE TABLE t (a int PRIMARY KEY, b int) WITH (fillfactor = 70, pamir.leader_preference = 'zone=b')`)
	exec(`CREATE TABLE u (a int PRIMARY KEY, b int)`)
	exec(`CREATE INDEX u_b ON u (b)`)
	exec(`ALTER TABLE t SET (pamir.num_replicas = 1)`)
	exec(`ALTER INDEX u_b SET (pamir.leader_preference = 'zone=c')`)
	refused(`ALTER TABLE t SET (pamir.survive = 'region')`, "needs at least 3 replicas")
	refused(`ALTER TABLE u SET (pamir.survive = 'region', pamir.constraints = 'region=eu')`, "cannot hold")
	refused(`ALTER TABLE t SET (pamir.num_replicas = 3, pamir.num_replicas = 5)`, "more than once")
	exec(`CREATE VIEW tv AS SELECT a FROM t`)
	exec(`CREATE SEQUENCE ts`)
	for _, q := range []string{`ALTER VIEW tv SET (pamir.num_replicas = 1)`, `ALTER SEQUENCE ts SET (pamir.num_replicas = 1)`, `CREATE VIEW tw WITH (pamir.num_replicas = 1) AS SELECT 1`} {
		refusedAs("42809", q, "is not a table")
	}
	// An index can have one from the beginning: when its table is empty, and when it is built beside those who write the table.
	exec(`CREATE TABLE w (a int PRIMARY KEY, b int)`)
	exec(`CREATE INDEX w_b ON w (b) WITH (pamir.leader_preference = 'zone=b')`)
	exec(`INSERT INTO w SELECT g, g FROM generate_series(1, 100) g`)
	exec(`CREATE INDEX w_c ON w (b) WITH (pamir.leader_preference = 'zone=c')`)
	refused(`CREATE INDEX w_d ON w (b) WITH (pamir.num_replicas = 2)`, "odd")
	// What a rule leaves out is as that of its table has it, and as the cluster's.
	exec(`CREATE TABLE x (a int PRIMARY KEY, b int) WITH (pamir.num_replicas = 5)`)
	exec(`CREATE INDEX x_b ON x (b) WITH (pamir.constraints = 'zone=a:4')`)
	refused(`ALTER INDEX x_b SET (pamir.constraints = 'zone=a:6')`, "asks for 6 replicas, and there are to be 5")
	refused(`ALTER TABLE x SET (pamir.num_replicas = 3)`, "asks for 4 replicas, and there are to be 3")
	exec(`CREATE INDEX x_c ON x (b)`)
	exec(`ALTER INDEX x_c SET (pamir.survive = 'region')`)
	exec(`ALTER INDEX x_b RESET (pamir.constraints)`)
	refused(`ALTER TABLE x SET (pamir.num_replicas = 1)`, "needs at least 3 replicas")
	refused(`CREATE TABLE y (a int PRIMARY KEY) WITH (pamir.constraints = 'zone=a:4')`, "there are to be 3")
	exec(`SELECT pamir.set_rule('num_replicas', 5)`)
	exec(`CREATE TABLE y (a int PRIMARY KEY) WITH (pamir.constraints = 'zone=a:4')`)
	exec(`SELECT pamir.set_rule('num_replicas', NULL)`)
	exec(`DROP TABLE x, y`)
	var opts []string
	require.NoError(t, db.QueryRow(ctx, `SELECT reloptions FROM pg_class WHERE relname = 't'`).Scan(&opts))
	require.Equal(t, []string{"fillfactor=70", "pamir.leader_preference=zone=b", "pamir.num_replicas=1"}, opts)
	require.NoError(t, db.QueryRow(ctx, `SELECT reloptions FROM pg_class WHERE relname = 'u_b'`).Scan(&opts))
	require.Equal(t, []string{"pamir.leader_preference=zone=c"}, opts)
	wait := func(table, index string, replicas, leader int) {
		t.Helper()
		l.Eventually(60*time.Second, table+" is as its rule wants it", func() error {
			var on []int32
			var lead *int32
			err := db.QueryRow(ctx, `SELECT replicas, leader FROM pamir.ranges WHERE table_name = $1 AND index_name = $2`, table, index).Scan(&on, &lead)
			if err != nil {
				return err
			}
			if len(on) != replicas || lead == nil || *lead != int32(l.Nodes[leader].Identity().NodeID) {
				return fmt.Errorf("%s.%s on %v led by %v", table, index, on, lead)
			}
			return nil
		})
	}
	wait("t", "t_pkey", 1, 1)
	wait("u", "u_b", 3, 2)
	wait("w", "w_b", 3, 1)
	wait("w", "w_c", 3, 2)
	exec(`DROP VIEW tv`)
	exec(`DROP TABLE w`)
	var of string
	var n int
	require.NoError(t, db.QueryRow(ctx, `SELECT rule_of, num_replicas FROM pamir.rules WHERE num_replicas <> 3`).Scan(&of, &n))
	require.Equal(t, "table public.t", of)
	require.Equal(t, 1, n)
	exec(`ALTER TABLE t RESET (pamir.num_replicas)`)
	wait("t", "t_pkey", 3, 1)
	refused(`SELECT pamir.set_rule('num_replicas', 4)`, "odd")
	exec(`SELECT pamir.set_rule('leader_preference', 'zone=a')`)
	exec(`DROP TABLE t`)
	l.Eventually(60*time.Second, "the table's rule goes with it", func() error {
		var of []string
		rows, err := db.Query(ctx, `SELECT rule_of FROM pamir.rules ORDER BY 1`)
		if err != nil {
			return err
		}
		if of, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil || !slices.Equal(of, []string{"cluster", "index public.u_b"}) {
			return fmt.Errorf("%v %v", of, err)
		}
		return nil
	})
	exec(`SELECT pamir.set_rule('leader_preference', NULL)`)
}
