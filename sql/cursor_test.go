package sql

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/sql/pgerr"
)

// Cursors whose rows do not fit into memory keep them in a file: after a write, at READ COMMITTED, beyond the commit, forwards and backwards. The file
// is gone with the cursor, however that ends.
func TestCursorsSpill(t *testing.T) {
	w := newWorld(t)
	w.srv.cfg.TempDir = t.TempDir()
	a := w.session()
	a.must("create table u (v int)")
	a.must("set pamir.statement_memory = '1MB'")
	files := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("open files are counted in /proc, which is not here")
		}
		n := 0
		for _, fd := range fds {
			if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(to, w.srv.cfg.TempDir) {
				n++
			}
		}
		return n
	}
	require.Zero(t, files())
	query := " cursor %s for select g, repeat('x', 100) from generate_series(1, 50000) g"
	row := func(n int) string { return fmt.Sprintf("(%d,%s)", n, strings.Repeat("x", 100)) }
	for _, x := range []struct{ begin, with, then string }{
		{"begin isolation level read committed", "", "insert into u values (1)"},
		{"begin; insert into u values (1)", "", "insert into u values (2)"},
		{"begin", "with hold", "commit"},
		{"begin", "with hold", "select 1"},
	} {
		for _, end := range []string{"close", "end", "error"} {
			if end == "error" && x.then == "commit" {
				continue
			}
			what := x.begin + ", " + x.then + ", " + end
			a.must(x.begin)
			a.must("declare big scroll" + fmt.Sprintf(query, x.with))
			require.Contains(t, a.q("fetch 3 from big"), row(3)+"FETCH 3;", what)
			a.must(x.then)
			if x.then != "select 1" {
				require.Equal(t, 1, files(), what)
			}
			require.Contains(t, a.q("fetch 2 from big"), row(4)+row(5)+"FETCH 2;", what)
			require.Contains(t, a.q("fetch absolute 49999 from big"), row(49999)+"FETCH 1;", what)
			require.Contains(t, a.q("fetch forward all from big"), row(50000)+"FETCH 1;", what)
			require.Contains(t, a.q("fetch backward 2 from big"), row(50000)+row(49999)+"FETCH 2;", what)
			require.Contains(t, a.q("fetch absolute 1025 from big"), row(1025)+"FETCH 1;", what)
			require.Contains(t, a.q("fetch first from big"), row(1)+"FETCH 1;", what)
			require.Contains(t, a.q("move all in big"), "MOVE 49999;", what)
			switch end {
			case "close":
				a.must("close big")
				a.q("rollback")
			case "end":
				a.q("rollback")
				a.q("close all")
			case "error":
				a.q("select 1/0")
				a.q("rollback")
			}
			require.Zero(t, files(), what)
		}
	}
	a.must("begin")
	a.must("declare  big cursor for table u")
	require.Equal(t, "[statement](declare  big cursor for table u)SELECT 1;", a.q("select statement from pg_cursors"))
	a.must("rollback")
	// One that goes forward only, in a session that ends; and a portal of the protocol.
	b := w.session()
	b.must("set pamir.statement_memory = '1MB'")
	b.must("begin")
	b.must("declare big no scroll" + fmt.Sprintf(query, "with hold"))
	b.must("commit")
	for i := range 50 {
		require.Contains(t, b.q("fetch 1000 from big"), row(1000*i+1000)+"FETCH 1000;")
	}
	require.Contains(t, b.q("fetch from big"), "FETCH 0;")
	require.Equal(t, 1, files())
	b.Close()
	require.Zero(t, files())
	a.must("begin isolation level read committed")
	require.NoError(t, a.Parse("s", "select g, repeat('x', 100) from generate_series(1, 50000) g", nil))
	require.NoError(t, a.Bind([]byte("p"), []byte("s"), nil, nil, nil))
	require.NoError(t, a.Execute([]byte("p"), 10))
	a.take()
	a.must("insert into u values (1)")
	require.NoError(t, a.Execute([]byte("p"), 10))
	require.Equal(t, row(11), a.take()[:len(row(11))])
	require.NoError(t, a.Execute([]byte("p"), 0))
	require.Contains(t, a.take(), row(50000))
	a.must("rollback")
	require.Zero(t, files())
}

// A small statement that fails because an open cursor's rows do not fit into memory, and may not go to a file, says that it is the cursor's.
func TestCursorThatDoesNotFit(t *testing.T) {
	w := newWorld(t)
	a := w.session()
	a.must("create table u (v int)")
	a.must("set pamir.statement_memory = '1MB'")
	for _, x := range []struct{ begin, with, then string }{
		{"begin isolation level read committed", "", "insert into u values (1)"},
		{"begin; insert into u values (1)", "", "insert into u values (2)"},
		{"begin", "with hold", "commit"},
	} {
		a.must(x.begin)
		a.must("declare big cursor " + x.with + " for select g, repeat('x', 100) from generate_series(1, 50000) g")
		a.must("fetch 3 from big")
		e, ok := pgerr.As(a.Query(x.then))
		require.True(t, ok, x.begin)
		require.Equal(t, "53200", e.Code)
		require.Equal(t, `the rows of cursor "big" that have not been fetched do not fit into memory`, e.Message)
		require.Contains(t, e.Hint, "pamir.statement_memory")
		a.take()
		a.must("rollback")
	}
	require.Equal(t, "[count](0)SELECT 1;", a.q("select count(*) from u"))
}

// An error in a row comes when that row is fetched, and not with rows before it; and not at all if nobody asks for the row.
func TestErrorsComeWithTheirRows(t *testing.T) {
	w := newWorld(t)
	a := w.session()
	a.must("create table u (v int primary key)")
	a.must("insert into u select generate_series(1, 300)")
	for _, query := range []string{"select 1000 / (150 - v) from u order by v", "select 1000 / (150 - v), v / 1 from u order by v", "select 1000 / (150 - g) from generate_series(1, 300) g"} {
		a.must("begin")
		a.must("declare c cursor for " + query)
		require.Contains(t, a.q("fetch 100 from c"), "FETCH 100;", query)
		require.Contains(t, a.q("fetch 49 from c"), "FETCH 49;", query)
		require.Contains(t, a.q("fetch from c"), "!22012", query)
		a.must("rollback")
		require.Contains(t, a.q(query+" limit 149"), "SELECT 149;", query)
		require.Contains(t, a.q(query+" limit 150"), "!22012", query)
	}
}
