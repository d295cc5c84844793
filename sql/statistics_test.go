package sql

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/sql/catalog"
)

// rowsOf is what the planner has been told a table holds, as this node knows it; -1 if nothing.
func (w *world) rowsOf(table string) (rows int, auto bool) {
	w.t.Helper()
	snap, err := w.srv.gather.snapshot(context.Background())
	require.NoError(w.t, err)
	tab, ok := snap.Table("public", table)
	require.True(w.t, ok)
	st := snap.Stats(tab.ID)
	return int(st.Rows), st.Auto
}

func (w *world) gather() {
	w.t.Helper()
	require.NoError(w.t, w.srv.gather.once(context.Background()))
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
		later := func() { // long enough for the next analysis
			for _, w := range g.nodes {
				for _, l := range w.srv.gather.of {
					l.after = time.Time{}
				}
			}
		}
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

		a.must("drop table t")
		one.gather()
		require.Empty(t, one.srv.gather.of)
		one.srv.gather.wrote.Range(func(any, any) bool { t.Error("it is counted still"); return false })
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

// One table's reading leaves a core alone for nearly all of the time, however much is written.
func TestAnalyzingRests(t *testing.T) {
	w := newWorld(t)
	a := w.session()
	a.must("create table t (id int primary key, a int)")
	a.must("insert into t select g, g % 7 from generate_series(1, 2000) g")
	w.gather()
	a.must("insert into t select g, g % 7 from generate_series(2001, 4000) g")
	g := w.srv.gather
	tab := func() *catalog.Table {
		snap, err := g.snapshot(t.Context())
		require.NoError(t, err)
		tab, _ := snap.Table("public", "t")
		require.True(t, time.Now().Before(g.of[tab.ID].after))
		return tab
	}()
	st := catalog.TableStats{At: g.of[tab.ID].at, Rows: 2000}
	require.False(t, g.due(tab, st, time.Now()))
	require.True(t, g.due(tab, st, g.of[tab.ID].after.Add(1)))
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
