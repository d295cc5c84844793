package sql

import (
	"context"
	"hash/fnv"
	"io"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/internal/memtxn"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// fakeClient writes what a session says as text, and can lose the ability to take things back (sent).
type fakeClient struct {
	buf   []byte
	base  int64
	sent  bool // everything is sent at once
	final bool
	copy  [][]byte
	hold  bool
}

func (c *fakeClient) put(s string) {
	c.buf = append(c.buf, s...)
	if c.sent && !c.hold {
		c.base += int64(len(c.buf))
		c.buf = c.buf[:0]
	}
}

func (c *fakeClient) Describe(r *RowShape) {
	var names []string
	for _, f := range r.Fields {
		names = append(names, f.Name)
	}
	c.put("[" + strings.Join(names, ",") + "]")
}

func (c *fakeClient) Rows(r *RowShape, b *types.Batch, from, to int) error {
	for i := from; i < to; i++ {
		var vals []string
		for j, v := range b.Cols {
			if v.IsNull(b.Row(i)) {
				vals = append(vals, "~")
				continue
			}
			vals = append(vals, string(types.AppendText(nil, r.Fields[j].Type, v, b.Row(i), r.Text)))
		}
		c.put("(" + strings.Join(vals, ",") + ")")
	}
	return nil
}

func (c *fakeClient) Complete(tag []byte)          { c.put(string(tag) + ";") }
func (c *fakeClient) Empty()                       { c.put("empty;") }
func (c *fakeClient) Suspended()                   { c.put("suspended;") }
func (c *fakeClient) Notice(n *pgerr.Error)        { c.put("<" + n.Message + ">") }
func (c *fakeClient) Parameter(name, value string) {}
func (c *fakeClient) CopyIn(binary bool, n int)    { c.put("copyin;") }
func (c *fakeClient) CopyOut(binary bool, n int)   { c.put("copyout;") }
func (c *fakeClient) CopyRow(data []byte)          { c.put(string(data)) }
func (c *fakeClient) CopyDone()                    { c.put("copydone;") }
func (c *fakeClient) Position() int64              { return c.base + int64(len(c.buf)) }
func (c *fakeClient) Raw(data []byte)              { c.put(string(data)) }
func (c *fakeClient) Err() error                   { return nil }
func (c *fakeClient) Final() bool                  { return c.final }
func (c *fakeClient) Hold(on bool)                 { c.hold = on }
func (c *fakeClient) BeforeSending(f func() error) {}
func (c *fakeClient) Cut(from int64) ([]byte, bool) {
	if from < c.base || from > c.Position() {
		return nil, false
	}
	piece := append([]byte(nil), c.buf[from-c.base:]...)
	c.buf = c.buf[:from-c.base]
	return piece, true
}

func (c *fakeClient) Sum(from int64) (uint64, bool) {
	if from < c.base {
		return 0, false
	}
	h := fnv.New64a()
	_, _ = h.Write(c.buf[from-c.base:])
	return h.Sum64(), true
}

func (c *fakeClient) CopyData() ([]byte, error) {
	if len(c.copy) == 0 {
		return nil, io.EOF
	}
	b := c.copy[0]
	c.copy = c.copy[1:]
	return b, nil
}

// world is a server over a store in memory.
type world struct {
	t     testing.TB
	store *memtxn.Store
	srv   *Server
}

func newWorld(t testing.TB) *world {
	st := memtxn.New()
	cat := NewCatalog(st)
	require.NoError(t, cat.Bootstrap(context.Background(), st))
	return &world{t: t, store: st, srv: NewServer(Config{Gateway: st, Catalog: cat, Bulk: st, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})}
}

// talker is a session and its client.
type talker struct {
	*Session
	t testing.TB
	c *fakeClient
}

func (w *world) session() *talker {
	c := &fakeClient{}
	s, err := w.srv.NewSession(SessionArgs{User: "root", Database: "defaultdb"}, c)
	require.NoError(w.t, err)
	w.t.Cleanup(s.Close)
	return &talker{s, w.t, c}
}

// take returns what has been said since the last take.
func (k *talker) take() string {
	s := string(k.c.buf)
	k.c.base += int64(len(k.c.buf))
	k.c.buf = nil
	return s
}

// q runs a simple query and returns what was said, the error's SQLSTATE at its end.
func (k *talker) q(text string) string {
	err := k.Query(text)
	s := k.take()
	if err != nil {
		s += "!" + pgerr.Code(err)
	}
	return s
}

func (k *talker) must(text string) {
	k.t.Helper()
	require.NotContains(k.t, k.q(text), "!", text)
}

func TestImplicitTransactionRetriesUnseen(t *testing.T) {
	w := newWorld(t)
	a, b := w.session(), w.session()
	a.must("create table t (id int primary key, v int)")
	a.must("insert into t values (1, 10), (2, 20)")

	// Three messages of a pipeline: the first two have answered (into the buffer) when another transaction changes what
	// they have read. At Sync all of them run again, and the client sees only what is true at the commit.
	require.NoError(t, a.Parse("", "select v from t where id = $1", nil))
	for _, id := range []string{"1", "2"} {
		require.NoError(t, a.Bind(nil, nil, nil, [][]byte{[]byte(id)}, nil))
		require.NoError(t, a.Execute(nil, 0))
	}
	require.NoError(t, a.Parse("", "update t set v = v + 1 where id = 1", nil))
	require.NoError(t, a.Bind(nil, nil, nil, nil, nil))
	require.NoError(t, a.Execute(nil, 0))
	b.must("update t set v = v + 100")
	require.NoError(t, a.Sync())
	require.Equal(t, "(110)SELECT 1;(120)SELECT 1;UPDATE 1;", a.take())
	require.Equal(t, "[v](111)SELECT 1;", a.q("select v from t where id = 1"))
	require.EqualValues(t, 1, w.srv.metrics.Retries.Load())

	// Once results have been sent the client must know.
	a.c.sent = true
	require.NoError(t, a.Parse("", "select v from t where id = 1", nil))
	require.NoError(t, a.Bind(nil, nil, nil, nil, nil))
	require.NoError(t, a.Execute(nil, 0))
	require.NoError(t, a.Parse("", "update t set v = v + 1 where id = 1", nil))
	require.NoError(t, a.Bind(nil, nil, nil, nil, nil))
	require.NoError(t, a.Execute(nil, 0))
	b.must("update t set v = v + 100")
	err := a.Sync()
	require.Equal(t, pgerr.SerializationFailure, pgerr.Code(err))
	require.Equal(t, byte('I'), a.Status())
}

func TestBlockReplaysIfResultsAreTheSame(t *testing.T) {
	w := newWorld(t)
	a, b := w.session(), w.session()
	a.must("create table t (id int primary key, v int)")
	a.must("insert into t values (1, 10), (2, 20)")
	// What the client saw (an UPDATE 1) is still true: the block commits on top of the other's change.
	require.Equal(t, "BEGIN;", a.q("begin"))
	require.Equal(t, "UPDATE 1;", a.q("update t set v = v + 1 where id = 1"))
	b.must("update t set v = v + 100 where id = 1")
	require.Equal(t, "COMMIT;", a.q("commit"))
	require.Equal(t, "[v](111)SELECT 1;", a.q("select v from t where id = 1"))
	// What the client saw is not true any more.
	a.must("begin")
	require.Equal(t, "[v](111)SELECT 1;", a.q("select v from t where id = 1"))
	a.must("update t set v = 0 where id = 2")
	b.must("update t set v = 5 where id = 1")
	require.Equal(t, "!40001", a.q("commit"))
	require.Equal(t, byte('I'), a.Status())
	require.Equal(t, "[v](20)SELECT 1;", a.q("select v from t where id = 2"))
	require.EqualValues(t, 1, w.srv.metrics.Aborts[len(w.srv.metrics.Aborts)-1].Load())
}

func TestBlockStates(t *testing.T) {
	w := newWorld(t)
	a := w.session()
	a.must("create table t (id int primary key)")
	steps := []struct{ q, want string }{
		{"commit", "<there is no transaction in progress>COMMIT;"},
		{"begin", "BEGIN;"},
		{"begin", "<there is already a transaction in progress>BEGIN;"},
		{"insert into t values (1)", "INSERT 0 1;"},
		{"select nosuch", "!42703"},
		{"select 1", "!25P02"},
		{"savepoint s", "!25P02"},
		{"commit", "ROLLBACK;"},
		{"select * from t", "[id]SELECT 0;"},
		{"begin; insert into t values (1); savepoint s; insert into t values (2)", "BEGIN;INSERT 0 1;SAVEPOINT;INSERT 0 1;"},
		{"select nosuch", "!42703"},
		{"rollback to s", "ROLLBACK;"},
		{"select * from t", "[id](1)SELECT 1;"},
		{"commit", "COMMIT;"},
		{"select * from t", "[id](1)SELECT 1;"},
		{"insert into t values (5); select nosuch", "INSERT 0 1;!42703"},
		{"select * from t", "[id](1)SELECT 1;"},
		{"begin read only", "BEGIN;"},
		{"insert into t values (7)", "!25006"},
		{"rollback", "ROLLBACK;"},
		{";", "empty;"},
		{"", "empty;"},
		{"select 1; select 2", "[?column?](1)SELECT 1;[?column?](2)SELECT 1;"},
		{"listen x", "!0A000"},
		{"create database x", "!0A000"},
	}
	for _, st := range steps {
		require.Equal(t, st.want, a.q(st.q), st.q)
	}
	require.Nil(t, a.tx)
}

func TestSettingsFollowTransactions(t *testing.T) {
	w := newWorld(t)
	a := w.session()
	show := func(name string) string {
		v, ok := a.Setting(name)
		require.True(t, ok)
		return v
	}
	a.must("set work_mem = '10MB'")
	a.must("begin")
	a.must("set work_mem = '20MB'")
	a.must("savepoint s")
	a.must("set work_mem = '30MB'")
	a.must("rollback to s")
	require.Equal(t, "20MB", show("work_mem"))
	a.must("rollback")
	require.Equal(t, "10MB", show("work_mem"))
	a.must("begin")
	a.must("set local work_mem = '40MB'")
	require.Equal(t, "40MB", show("work_mem"))
	a.must("commit")
	require.Equal(t, "10MB", show("work_mem"))
	require.Contains(t, a.q("set work_mem = '50MB'; select nosuch"), "!")
	require.Equal(t, "10MB", show("work_mem"))
	a.must("reset work_mem")
	require.Equal(t, "4MB", show("work_mem"))
}

func TestPortals(t *testing.T) {
	w := newWorld(t)
	a := w.session()
	a.must("create table t (id int primary key)")
	a.must("insert into t values (1), (2), (3), (4), (5)")
	a.must("begin")
	require.NoError(t, a.Parse("s", "select id from t order by id", nil))
	require.NoError(t, a.Bind([]byte("p"), []byte("s"), nil, nil, nil))
	require.NoError(t, a.Execute([]byte("p"), 2))
	require.Equal(t, "(1)(2)suspended;", a.take())
	require.NoError(t, a.Sync())
	// What happens in between does not change what the portal yields.
	a.must("delete from t where id > 3")
	require.NoError(t, a.Execute([]byte("p"), 2))
	require.NoError(t, a.Execute([]byte("p"), 0))
	require.Equal(t, "(3)(4)suspended;(5)SELECT 1;", a.take())
	require.NoError(t, a.Execute([]byte("p"), 0))
	require.Equal(t, "SELECT 0;", a.take())
	a.must("commit")
	require.Equal(t, pgerr.InvalidCursorName, pgerr.Code(a.Execute([]byte("p"), 0)))
	require.Equal(t, "[id](1)(2)(3)SELECT 3;", a.q("select id from t"))
}

func TestPreparedStatementsFollowTheCatalog(t *testing.T) {
	w := newWorld(t)
	a := w.session()
	a.must("create table t (id int primary key, v int)")
	a.must("insert into t values (1, 10)")
	require.NoError(t, a.Parse("s", "select * from t where id = $1", nil))
	oids, shape, err := a.DescribeStatement([]byte("s"))
	require.NoError(t, err)
	require.Equal(t, []types.OID{types.Int4OID}, oids)
	require.Len(t, shape.Fields, 2)
	run := func() error {
		if err := a.Bind(nil, []byte("s"), nil, [][]byte{[]byte("1")}, nil); err != nil {
			return err
		}
		if err := a.Execute(nil, 0); err != nil {
			return err
		}
		return a.Sync()
	}
	require.NoError(t, run())
	require.Equal(t, "(1,10)SELECT 1;", a.take())
	a.must("create index on t (v)")
	require.NoError(t, run())
	require.Equal(t, "(1,10)SELECT 1;", a.take())
	a.must("alter table t add column w int")
	err = run()
	require.Equal(t, pgerr.FeatureNotSupported, pgerr.Code(err))
	require.ErrorContains(t, err, "cached plan must not change result type")
}

// A point read that is prepared parses and plans nothing, and reads the row and the catalog's version.
func TestPreparedPointReadDoesNothingElse(t *testing.T) {
	w := newWorld(t)
	a := w.session()
	a.must("create table t (id int primary key, v int)")
	a.must("insert into t values (1, 10)")
	require.NoError(t, a.Parse("s", "select v from t where id = $1", nil))
	read := func() {
		a.c.final = true
		require.NoError(t, a.Bind(nil, []byte("s"), nil, [][]byte{[]byte("1")}, nil))
		require.NoError(t, a.Execute(nil, 0))
		require.NoError(t, a.Sync())
		require.Equal(t, "(10)SELECT 1;", a.take())
	}
	read()
	misses, gets, scans := w.srv.metrics.PlanMisses.Load(), w.store.Gets, w.store.Scans
	for range 10 {
		read()
	}
	require.Equal(t, misses, w.srv.metrics.PlanMisses.Load())
	require.Equal(t, scans, w.store.Scans)
	require.LessOrEqual(t, w.store.Gets-gets, 20)
}

func TestSimpleStatementsShareAPlan(t *testing.T) {
	w := newWorld(t)
	a, b := w.session(), w.session()
	a.must("create table t (id int primary key, v text)")
	a.must("insert into t values (1, 'one'), (2, 'two')")
	require.Equal(t, "[v](one)SELECT 1;", a.q("select v from t where id = 1"))
	misses := w.srv.metrics.PlanMisses.Load()
	require.Equal(t, "[v](two)SELECT 1;", a.q("select v from t where id = 2"))
	require.Equal(t, "[v](one)SELECT 1;", b.q("select v from t where id = 1"))
	require.Equal(t, misses, w.srv.metrics.PlanMisses.Load())
	require.Equal(t, "!22P02", a.q("select v from t where id = 'x'"))
	require.Equal(t, "[v]SELECT 0;", a.q("select v from t where id = 99999999999"))
	require.Equal(t, "INSERT 0 1;", a.q("insert into t values (3, 'three')"))
	require.Equal(t, "!22003", a.q("insert into t values (99999999999, 'too large')"))
	require.Equal(t, "[?column?](1.5)SELECT 1;", a.q("select 1.5"))
	require.Equal(t, "[?column?](1)SELECT 1;", a.q("select 1"))
}

func TestCancelReachesOnlyWhatRuns(t *testing.T) {
	w := newWorld(t)
	a := w.session()
	a.Cancel() // idle: nothing happens
	require.Equal(t, "[?column?](1)SELECT 1;", a.q("select 1"))
	a.Terminate()
	require.Equal(t, "!57P01", a.q("select 1"))
}

func TestCopyInText(t *testing.T) {
	w := newWorld(t)
	a := w.session()
	a.must("create table t (a int primary key, b text)")
	data := "1\tone\n2\t\\N\n3\tx\\ty\\\\z\n"
	// Whatever the pieces, the rows are the same.
	for size := 1; size <= len(data); size++ {
		a.c.copy = nil
		for i := 0; i < len(data); i += size {
			a.c.copy = append(a.c.copy, []byte(data[i:min(i+size, len(data))]))
		}
		require.Equal(t, "copyin;COPY 3;", a.q("copy t from stdin"))
		require.Equal(t, "[a,b](1,one)(2,~)(3,x\ty\\z)SELECT 3;", a.q("select * from t order by a"))
		a.must("delete from t")
	}
	csv := "1,\"a\nb\"\n2,\"say \"\"hi\"\"\"\n3,\n4,\"\"\n"
	for size := 1; size <= len(csv); size++ {
		a.c.copy = nil
		for i := 0; i < len(csv); i += size {
			a.c.copy = append(a.c.copy, []byte(csv[i:min(i+size, len(csv))]))
		}
		require.Equal(t, "copyin;COPY 4;", a.q("copy t from stdin csv"))
		require.Equal(t, "[a,b](1,a\nb)(2,say \"hi\")(3,~)(4,)SELECT 4;", a.q("select * from t order by a"))
		a.must("delete from t")
	}
	require.Equal(t, "copyout;copydone;COPY 0;", a.q("copy t to stdout"))
	a.must("insert into t values (1, E'tab\\there')")
	require.Equal(t, "copyout;1\ttab\\there\ncopydone;COPY 1;", a.q("copy t to stdout"))
}

func TestManyRowsThroughBlocks(t *testing.T) {
	w := newWorld(t)
	a := w.session()
	a.must("create table t (id int primary key)")
	var b strings.Builder
	for i := range 3000 {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("(" + strconv.Itoa(i) + ")")
	}
	require.Equal(t, "INSERT 0 3000;", a.q("insert into t values "+b.String()))
	require.True(t, strings.HasSuffix(a.q("select * from t"), "SELECT 3000;"))
	a.must("begin; declare c scroll cursor for select id from t order by id")
	require.Equal(t, "[id](2999)FETCH 1;", a.q("fetch last from c"))
	require.Equal(t, "[id](2998)FETCH 1;", a.q("fetch prior from c"))
	require.Equal(t, "[id](1500)FETCH 1;", a.q("fetch absolute 1501 from c"))
	a.must("commit")
}

func TestAnalyzeCounts(t *testing.T) {
	w := newWorld(t)
	a := w.session()
	a.must("create table t (id int primary key, few int, same text)")
	var b strings.Builder
	for i := range 5000 {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("(" + strconv.Itoa(i) + "," + strconv.Itoa(i%7) + ",'x')")
	}
	a.must("insert into t values " + b.String())
	require.Equal(t, "ANALYZE;", a.q("analyze t"))
	a.must("begin")
	snap, err := a.snapshot(context.Background())
	require.NoError(t, err)
	tab, ok := snap.Table("public", "t")
	require.True(t, ok)
	st := snap.Stats(tab.ID)
	require.EqualValues(t, 5000, st.Rows)
	require.InEpsilon(t, 5000, st.Distinct[tab.Columns[0].ID], 0.06)
	require.EqualValues(t, 7, st.Distinct[tab.Columns[1].ID])
	require.EqualValues(t, 1, st.Distinct[tab.Columns[2].ID])
	a.must("commit")
	require.Contains(t, a.q("vacuum analyze t"), "VACUUM does nothing here")
	require.Equal(t, "!42P01", a.q("analyze nosuch"))
}

// Portals are used again; what a COMMIT through one leaves in it must not show in the next.
func TestUnnamedPortalAfterCommit(t *testing.T) {
	w := newWorld(t)
	a := w.session()
	a.must("create table t (id int primary key)")
	run := func(q string) {
		t.Helper()
		require.NoError(t, a.Parse("", q, nil))
		require.NoError(t, a.Bind(nil, nil, nil, nil, nil))
		require.NoError(t, a.Execute(nil, 0), q)
		require.NoError(t, a.Sync())
	}
	for i := range 5 {
		run("begin")
		run("insert into t values (" + strconv.Itoa(i) + ")")
		run("select * from t")
		run("commit")
	}
	require.Equal(t, "[count](5)SELECT 1;", func() string { a.take(); return a.q("select count(*) from t") }())
}

// The catalog's version number repeats when a change is taken back and another made; plans must not.
func TestPlansInsideSchemaChanges(t *testing.T) {
	w := newWorld(t)
	a := w.session()
	a.must("begin")
	a.must("savepoint s")
	a.must("create table x (a int); insert into x values (1)")
	require.Equal(t, "[a](1)SELECT 1;", a.q("select * from x"))
	a.must("rollback to s")
	require.Equal(t, "!42P01", func() string { a.must("savepoint p"); r := a.q("select * from x"); a.must("rollback to p"); return r }())
	a.must("create table x (b text); insert into x values ('two')")
	require.Equal(t, "[b](two)SELECT 1;", a.q("select * from x"))
	a.must("commit")
	require.Equal(t, "[b](two)SELECT 1;", a.q("select * from x"))
}

// TestLiteralsAreWeighed: texts that differ only in literals share a plan as long as their values are as common.
func TestLiteralsAreWeighed(t *testing.T) {
	w := newWorld(t)
	k := w.session()
	k.must("CREATE TABLE j (id int PRIMARY KEY, status text NOT NULL, n int NOT NULL); CREATE INDEX j_status ON j (status)")
	k.must("INSERT INTO j SELECT g, CASE WHEN g % 100 = 0 THEN 'open' ELSE 'done' END, g FROM generate_series(1, 5000) g")
	k.must("ANALYZE j")
	seen := map[*plan.Statement]bool{}
	for _, c := range []struct {
		status, index, count string
	}{{"open", "j_status", "50"}, {"done", "j_pkey", "4950"}, {"other", "j_status", "0"}, {"none", "j_status", "0"}, {"open", "j_status", "50"}} {
		if got := k.q("SELECT count(n) FROM j WHERE status = '" + c.status + "'"); !strings.Contains(got, c.count) {
			t.Fatalf("%s: %s", c.status, got)
		}
		pl := k.one.stmt.plan
		seen[pl] = true
		if ex := strings.Join(plan.Explain(pl, plan.ExplainOptions{}), "\n"); strings.Contains(ex, "j_status") != (c.index == "j_status") {
			t.Errorf("%s:\n%s", c.status, ex)
		}
	}
	if len(seen) != 3 {
		t.Errorf("%d plans: one for each common value and one for all others", len(seen))
	}
	// What was common is so no longer.
	k.must("UPDATE j SET status = 'x' || id % 200 WHERE status = 'done'")
	k.must("ANALYZE j")
	for range 3 {
		k.q("SELECT count(n) FROM j WHERE status = 'done'")
	}
	if ex := strings.Join(plan.Explain(k.one.stmt.plan, plan.ExplainOptions{}), "\n"); !strings.Contains(ex, "j_status") {
		t.Errorf("after the change:\n%s", ex)
	}
}

// Who asks for a database that there is not is told which there is. The name that PostgreSQL's tools take when they are told none stands for
// that one, and nothing but the connection goes by it: not the rules of who may connect, and no statement.
func TestDatabaseNames(t *testing.T) {
	w := newWorld(t)
	for _, db := range []string{"template1", "shop", ""} {
		_, err := w.srv.NewSession(SessionArgs{User: "root", Database: db}, &fakeClient{})
		e, ok := pgerr.As(err)
		require.True(t, ok, "%v", err)
		require.Equal(t, pgerr.InvalidCatalogName, e.Code)
		require.Contains(t, e.Hint, "\"defaultdb\"")
	}
	root := w.session()
	root.must("create role anna login")
	root.must("alter database defaultdb set work_mem = '5MB'")
	asked := &fakeClient{}
	s, err := w.srv.NewSession(SessionArgs{User: "anna", Database: "postgres"}, asked)
	require.NoError(t, err)
	in := &talker{s, t, asked}
	require.Equal(t, "[current_database](defaultdb)SELECT 1;", in.q("select current_database()"))
	require.Equal(t, "[work_mem](5MB)SHOW;", in.q("show work_mem"), "what is set for the database")
	require.Equal(t, "[datname](defaultdb)SELECT 1;", in.q("select datname from pg_stat_activity where pid = pg_backend_pid()"))
	require.Equal(t, "[datname](defaultdb)SELECT 1;", in.q("select datname from pg_database"))
	s.Close()
	anna := &Arrival{User: "anna", Database: "postgres", Addr: netip.MustParseAddr("127.0.0.1")}
	root.must("alter system set pamir.hba = 'host defaultdb anna 127.0.0.1/32 trust'")
	_, err = w.srv.Admit(t.Context(), anna)
	require.NoError(t, err)
	root.must("alter system set pamir.hba = 'host postgres anna 127.0.0.1/32 trust'")
	_, err = w.srv.Admit(t.Context(), anna)
	require.ErrorContains(t, err, "database \"defaultdb\"")
}

// A transaction whose time was up while a statement failed for something else: the next one says what ends the session.
func TestWhyTheSessionEnds(t *testing.T) {
	s := newWorld(t).session().Session
	s.newContext()
	s.endAfter(1, errTxnTimeout)
	<-s.ctx.Done()
	_, err := s.begin()
	require.Equal(t, errTxnTimeout, err)
	s.Terminate()
	_, err = s.begin()
	require.Equal(t, errTxnTimeout, err, "what came first")
}

func TestWithArticle(t *testing.T) {
	require.Equal(t, "an ALTER TABLE", withArticle(&ast.AlterTable{Kind: "TABLE"}))
	require.Equal(t, "an EXECUTE", withArticle(&ast.Execute{}))
	require.Equal(t, "a COPY", withArticle(&ast.Copy{}))
}
