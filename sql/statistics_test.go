package sql

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/txn"
)

// rowsOf is what the planner has been told a table holds, as this node knows it; -1 if nothing.
func (w *world) rowsOf(table string) (rows int, auto bool) {
	w.t.Helper()
	tx := w.store.Begin(context.Background(), txn.Options{ReadOnly: true})
	defer tx.Rollback(context.Background())
	snap, err := w.srv.cfg.Catalog.Snapshot(context.Background(), tx)
	require.NoError(w.t, err)
	tab, ok := snap.Table("public", table)
	require.True(w.t, ok)
	st := snap.Stats(tab.ID)
	return int(st.Rows), st.Auto
}

func (w *world) gather() {
	w.t.Helper()
	require.NoError(w.t, w.srv.Statistics().Once(context.Background()))
}

// A table is analyzed by a node that has written a share of it, and not again before it has written another one, nor after somebody else did.
func TestTablesAreAnalyzed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateways(t, 2, nil)
		time.Sleep(3 * time.Second) // leases begin
		one, two := g.nodes[0], g.nodes[1]
		a, b := one.session(), two.session()
		check := func(want int, auto bool) {
			t.Helper()
			time.Sleep(3 * time.Second) // the other gateway looks
			for _, w := range g.nodes {
				rows, by := w.rowsOf("t")
				require.Equal(t, fmt.Sprint(want, auto), fmt.Sprint(rows, by))
			}
		}
		later := func() { time.Sleep(time.Minute) } // long enough for the next analysis
		one.gather()
		two.gather()
		a.must("create table t (id int primary key, a int)")
		one.gather()
		two.gather()
		check(-1, false) // nobody has written it
		a.must("insert into t select g, g % 7 from generate_series(1, 2000) g")
		two.gather()
		check(-1, false) // it was not there
		one.gather()
		check(2000, true)
		require.Contains(t, b.q("explain select * from t where a = 3"), "rows=286")

		later()
		a.must("insert into t select g, g % 7 from generate_series(2001, 2400) g")
		one.gather()
		check(2000, true) // a fifth has been written, and not fifty more
		a.must("update t set a = a + 1 where id <= 50")
		one.gather()
		check(2400, true)

		later()
		b.must("delete from t where id > 1000") // 1,400 rows
		two.gather()
		check(1000, true)
		later()
		a.must("begin")
		a.must("update t set a = 5 where id <= 100")
		a.must("rollback")
		one.gather()
		check(1000, true) // too little
		require.Equal(t, "ANALYZE;", b.q("analyze t"))
		check(1000, false)
		one.gather()
		later()
		a.must("update t set a = 6 where id <= 240")
		one.gather()
		check(1000, false) // what was written before somebody analyzed it counts no more
		a.must("delete from t where id > 600")
		one.gather()
		check(600, true)
		require.Contains(t, b.q("explain select * from t"), "rows=1000", "what has few rows in passing may have many soon")

	})
}

// A node that has just been started analyzes what nobody has.
func TestTablesAreAnalyzedAfterStart(t *testing.T) {
	w := newWorld(t)
	a := w.session()
	a.must("create table t (id int primary key, a int)")
	a.must("insert into t select g, g % 7 from generate_series(1, 2000) g")
	a.must("create table empty (id int primary key)")
	w.srv = NewServer(w.srv.cfg)
	w.gather()
	rows, auto := w.rowsOf("t")
	require.Equal(t, "2000 true", fmt.Sprint(rows, auto))
	rows, _ = w.rowsOf("empty")
	require.Zero(t, rows)
}

// ANALYZE's statistics are what the next statement is planned by.
func TestAnalyzeIsSeenAtOnce(t *testing.T) {
	g := newGateways(t, 1, nil)
	a := g.nodes[0].session()
	for i := range 5 {
		name := fmt.Sprintf("t%d", i)
		a.must("create table " + name + " (id int primary key)")
		a.must(fmt.Sprintf("insert into %s select generate_series(1, %d)", name, 20+i))
		a.must("analyze " + name)
		require.Contains(t, a.q("explain select * from "+name), fmt.Sprintf("rows=%d", 20+i))
	}
}
