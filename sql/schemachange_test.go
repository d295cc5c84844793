package sql

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/sql/pgerr"
)

// What others change in the catalog while a block is open, and whether the block has to run again.
func TestBlocksBesideSchemaChanges(t *testing.T) {
	const again, through = true, false
	for _, c := range []struct {
		name, before, stmts, change string
		again                       bool
	}{
		{"create table", "", "insert into t values (1)", "create table z (a int)", through},
		{"drop table", "create table z (a int)", "insert into t values (1)", "drop table z", through},
		{"alter table", "create table z (a int)", "insert into t values (1)", "alter table z add column b int", through},
		{"create index", "create table z (a int)", "insert into t values (1)", "create index on z (a)", through},
		{"rename", "create table z (a int)", "insert into t values (1)", "alter table z rename to zz", through},
		{"truncate", "create table z (a int)", "insert into t values (1)", "truncate z", through},
		{"grant", "create table z (a int); create role r", "insert into t values (1)", "grant select on z to r", through},
		{"grant of a role", "create role r; create role q", "insert into t values (1)", "grant r to q", through},
		{"drop role", "create role r", "insert into t values (1)", "drop role r", through},
		{"sequence", "create sequence z", "insert into t values (1)", "alter sequence z increment 5; drop sequence z", through},
		{"view", "create view z as select 1", "insert into t values (1)", "drop view z", through},
		{"schema", "create schema z", "insert into t values (1)", "drop schema z", through},
		{"foreign key between others", "create table z (a int primary key); create table y (a int)", "insert into t values (1)", "alter table y add foreign key (a) references z", through},
		{"grant on it", "create role r", "insert into t values (1)", "grant select on t to r", through},
		{"comment on it", "", "insert into t values (1)", "comment on table t is 'x'", through},
		{"sequence of another table", "create table z (a serial)", "insert into t values (1)", "alter sequence z_a_seq increment 5", through},

		{"index on it", "", "insert into t values (1)", "create index on t (a)", again},
		{"column of it", "", "insert into t values (1)", "alter table t add column b int default 7", again},
		{"check on it", "", "insert into t values (1)", "alter table t add check (a > 0)", again},
		{"read only", "create table z (a int)", "select count(*) from z; insert into t values (1)", "alter table z add column b int", again},
		{"referring table appears", "create table z (a int)", "insert into t values (1)", "alter table z add foreign key (a) references t", again},
		{"referred table", "create table z (a int primary key); insert into z values (1); create table y (a int references z)", "insert into y values (1)", "alter table z add column b int", again},
		{"referring table, by cascade", "create table y (a int references t on delete cascade); insert into t values (5); insert into y values (5)",
			"delete from t where a = 5", "create index on y (a)", again},
		{"sequence of its default", "create table z (a int, b serial)", "insert into z values (1)", "alter sequence z_b_seq restart", again},
		{"view's table", "create table z (a int); create view v as select * from z", "insert into t select 1 from (select count(*) from v) x", "alter table z add column b int", again},
		{"view itself", "create view v as select 1 as a", "insert into t select * from v", "create or replace view v as select 2 as a", again},
		{"shadowed", "create schema early; set search_path to early, public", "insert into t values (1)", "create table early.t (a int primary key)", again},
		{"schema of the path renamed", "create schema early; create table early.u (a int); set search_path to early, public", "insert into u values (1)", "alter schema early rename to late", again},
	} {
		for _, kind := range []string{"lease", "row", "new plan", "own change"} {
			t.Run(c.name+"/"+kind, func(t *testing.T) {
				g := newGateways(t, 1, nil)
				w := g.nodes[0]
				if kind == "row" {
					w = newWorld(t) // without leases
				}
				k, other := w.session(), w.session()
				k.must("create table t (a int primary key)")
				if c.before != "" {
					k.must(c.before)
				}
				if kind != "new plan" {
					k.must("begin")
					for _, s := range strings.Split(c.stmts, "; ") { // the plans are there
						k.must(s)
					}
					k.must("rollback")
				}
				k.must("begin")
				for _, s := range strings.Split(c.stmts, "; ") {
					k.must(s)
				}
				if kind == "own change" {
					other.must(c.change)
					r := k.q("create table own (a int)")
					if !strings.Contains(r, "!") {
						r = k.q("commit")
					}
					if c.again { // a schema change ends what can be run again, but comes too late for this one
						require.True(t, strings.Contains(r, "!40001") || w.srv.metrics.Retries.Load() > 0, r)
					} else {
						require.NotContains(t, r, "!")
						require.Zero(t, w.srv.metrics.Retries.Load())
					}
					return
				}
				for i := range 4 { // with several, others are there to be compared with
					other.must(fmt.Sprintf("create table more%d (a int)", i))
				}
				was := w.srv.metrics.Retries.Load()
				other.must(c.change)
				r := k.q("commit")
				if !c.again {
					require.NotContains(t, r, "!")
				}
				require.Equal(t, c.again, w.srv.metrics.Retries.Load() > was || strings.Contains(r, "!40001"), r)
			})
		}
	}
}

// changing lets writers and schema changes go on beside each other, and returns what a reader found that cannot be.
func changing(t *testing.T, d time.Duration, forget bool) (wrong string, writes, changes, conflicts int64) {
	g := newGateways(t, 2, func(_ int, c *Config) {
		if forget {
			c.Catalog.PlantForgetting()
		}
	})
	k := g.nodes[0].session()
	k.must("create table t (id int primary key, v int, w text)")
	k.must("create table child (id int primary key, pid int)")
	k.must("insert into t select i, i % 10, 'w' || i from generate_series(0, 49) i")
	var nw, nc, no atomic.Int64
	var found atomic.Pointer[string]
	stop := time.Now().Add(d)
	on := func() bool { return time.Now().Before(stop) && found.Load() == nil }
	report := func(s string) { found.CompareAndSwap(nil, &s) }
	var wg sync.WaitGroup
	for i := range 4 {
		k := g.nodes[i%2].session()
		wg.Go(func() {
			run := func(stmts ...string) {
				for _, s := range stmts {
					err := k.Query(s)
					k.take()
					switch code := pgerr.Code(err); {
					case err == nil:
					case code == pgerr.SerializationFailure:
						no.Add(1)
						fallthrough
					case strings.HasPrefix(code, "23"):
						k.q("rollback")
						return
					default:
						report("writer: " + err.Error())
						return
					}
					if len(stmts) > 1 {
						time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
					}
				}
				nw.Add(1)
			}
			for on() {
				id := rand.IntN(50)
				put := fmt.Sprintf("insert into t values (%d, %d, 'w%d') on conflict (id) do update set v = excluded.v, w = excluded.w", id, rand.IntN(12)-1, rand.IntN(100))
				child := fmt.Sprintf("insert into child values (%d, %d) on conflict (id) do update set pid = excluded.pid", rand.IntN(50), rand.IntN(50))
				del := fmt.Sprintf("delete from t where id = %d", rand.IntN(50))
				switch rand.IntN(5) {
				case 0:
					run(put)
				case 1:
					run(child)
				case 2:
					run("begin", put, "select 1", "commit")
				case 3:
					run("begin", child, "select 1", "commit")
				default:
					run("begin", del, "select 1", "commit")
				}
			}
		})
	}
	for i := range 2 {
		k := g.nodes[i].session()
		wg.Go(func() {
			for n := 0; on(); n++ {
				var s string
				switch rand.IntN(10) {
				case 0, 1:
					s = "create index ix on t (w)"
				case 2:
					s = "drop index ix"
				case 3:
					s = "begin; update t set v = 0 where v < 0; alter table t add constraint c check (v >= 0); commit"
				case 4:
					s = "alter table t drop constraint c"
				case 5:
					s = "begin; delete from child where pid not in (select id from t); alter table child add constraint f foreign key (pid) references t; commit"
				case 6:
					s = "alter table child drop constraint f"
				case 7:
					s = fmt.Sprintf("create table z%d_%d (a int)", i, n)
				case 8:
					s = fmt.Sprintf("drop table if exists z%d_%d", i, n-1)
				default:
					s = "comment on table t is 'x'"
				}
				if k.Query(s) == nil {
					nc.Add(1)
				}
				k.take()
				k.q("rollback")
				// Everything at one timestamp: what the catalog says, and what there is.
				k.must("begin isolation level repeatable read read only")
				if strings.Contains(k.q("explain select id from t where w >= ''"), "Index") {
					if x := k.q("select count(*) from (select id, w from t where w >= '' except select id, w from t where w || '' >= '') x"); x != "[count](0)SELECT 1;" {
						report("entries without a row: " + x)
					}
					if x := k.q("select count(*) from (select id, w from t where w || '' >= '' except select id, w from t where w >= '') x"); x != "[count](0)SELECT 1;" {
						report("rows without an entry: " + x)
					}
				}
				if x := k.q("select count(*) from t where v < 0 and exists (select 1 from pg_constraint where conname = 'c')"); x != "[count](0)SELECT 1;" {
					report("rows against the check: " + x)
				}
				if x := k.q("select count(*) from child where pid not in (select id from t) and exists (select 1 from pg_constraint where conname = 'f')"); x != "[count](0)SELECT 1;" {
					report("orphans: " + x)
				}
				k.must("rollback")
			}
		})
	}
	wg.Wait()
	if s := found.Load(); s != nil {
		wrong = *s
	}
	return wrong, nw.Load(), nc.Load(), no.Load()
}

// No write made for an old schema is there under a new one: entries of indexes and rows agree, constraints hold.
func TestWritersBesideSchemaChanges(t *testing.T) {
	wrong, writes, changes, conflicts := changing(t, 3*time.Second, false)
	t.Logf("%d transactions, %d schema changes, %d failures 40001", writes, changes, conflicts)
	require.Empty(t, wrong)
	require.Greater(t, writes, int64(50))
	require.Greater(t, changes, int64(10))
}

func TestPlantedForgettingIsCaught(t *testing.T) {
	wrong, writes, changes, _ := changing(t, time.Minute, true)
	require.NotEmpty(t, wrong)
	t.Logf("after %d transactions and %d schema changes: %s", writes, changes, wrong)
}
