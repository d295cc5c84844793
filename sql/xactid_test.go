package sql

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/keys"
)

func (k *talker) value(text string) string {
	k.t.Helper()
	s := k.q(text)
	require.NotContains(k.t, s, "!", text)
	from, to := 0, 0
	for i := range s {
		if s[i] == '(' {
			from = i + 1
		}
		if s[i] == ')' {
			to = i
		}
	}
	return s[from:to]
}

func TestXactStatus(t *testing.T) {
	w := newWorld(t)
	a, b := w.session(), w.session()
	a.must("create table t (id int primary key)")
	status := func(x string) string { t.Helper(); return b.value("select pg_xact_status('" + x + "')") }

	a.must("begin; insert into t values (1)")
	x := a.value("select pg_current_xact_id()")
	require.Equal(t, x, a.value("select txid_current()"), "it stays")
	require.Equal(t, "in progress", a.value("select pg_xact_status('"+x+"')"))
	require.Equal(t, "in progress", status(x))
	require.Equal(t, "in progress", status(x), "to ask does no harm while the transaction runs")
	a.must("commit")
	require.Equal(t, "committed", status(x))

	a.must("begin; insert into t values (2)")
	y := a.value("select pg_current_xact_id()")
	a.must("rollback")
	require.Equal(t, "aborted", status(y))
	require.Equal(t, "aborted", b.value("select txid_status("+y+")"))

	// Ids of transactions that only read are ids, too.
	a.must("begin read only")
	z := a.value("select pg_current_xact_id()")
	a.must("commit")
	require.Equal(t, "committed", status(z))
	require.Less(t, x, y)
	require.Less(t, y, z)

	require.Equal(t, "[pg_xact_status]!22023", b.q("select pg_xact_status('9223372036854775807')"))
	require.Equal(t, "~", status("1000"), "forgotten")
	require.Equal(t, "~", a.value("select pg_current_xact_id_if_assigned()"))
	a.must("begin; insert into t values (3)")
	v := a.value("select pg_current_xact_id_if_assigned()")
	a.must("commit")
	require.Equal(t, "committed", status(v))

	// A transaction keeps its id when the server runs it again.
	a.must("begin")
	u := a.value("select pg_current_xact_id()")
	a.must("update t set id = 5 where id = 1")
	b.must("update t set id = id where id = 1")
	require.Equal(t, "COMMIT;", a.q("commit"))
	require.Positive(t, w.srv.metrics.Retries.Load())
	require.Equal(t, "committed", status(u))

	require.NoError(t, w.srv.forgetXacts(context.Background(), time.Now().Add(24*time.Hour)))
	require.Equal(t, "committed", status(u))
	require.NoError(t, w.srv.forgetXacts(context.Background(), time.Now().Add(3*24*time.Hour)))
	require.Zero(t, w.store.Len(keys.System(xactPrefix)))
}

// Whoever asks while the session cannot be reached gets an answer that stays true: the transaction fails.
func TestXactStatusFences(t *testing.T) {
	w := newWorld(t)
	a := w.session()
	a.must("create table t (id int primary key)")
	a.must("begin; insert into t values (1)")
	x := a.value("select pg_current_xact_id()")
	// A node that does not see a's.
	other := &world{t: t, store: w.store, srv: NewServer(Config{Gateway: w.store, Catalog: w.srv.cfg.Catalog, Bulk: w.store, Node: 2})}
	b := other.session()
	require.Equal(t, "aborted", b.value("select pg_xact_status('"+x+"')"))
	require.Equal(t, "!40001", a.q("commit"))
	require.Equal(t, "aborted", b.value("select pg_xact_status('"+x+"')"))
	require.Equal(t, "[count](0)SELECT 1;", b.q("select count(*) from t"))
}

// With pamir.report_xact_id the client knows the id before the transaction begins.
func TestXactIDIsAnnounced(t *testing.T) {
	w := newWorld(t)
	a, b := w.session(), w.session()
	a.must("create table t (id int primary key)")
	id := func() string { return a.value("show pamir.xact_id") }
	require.Equal(t, "", id())
	a.must("set pamir.report_xact_id = on")
	var told []string
	a.settings.ReportAll(func(name, value string) {
		if name == "pamir.xact_id" {
			told = append(told, value)
		}
	})
	require.Len(t, told, 1)
	x := told[0]
	require.Equal(t, x, id())
	a.must("select * from t")
	require.Equal(t, x, id(), "who only reads uses no id up")
	require.Equal(t, "in progress", b.value("select pg_xact_status('"+x+"')"))
	a.must("insert into t values (1)")
	require.NotEqual(t, x, id())
	require.Equal(t, "committed", b.value("select pg_xact_status('"+x+"')"))
	y := id()
	require.Contains(t, a.q("insert into t values (1)"), "!23505")
	require.NotEqual(t, y, id(), "a failed transaction's id is not used again")
	require.Equal(t, "aborted", b.value("select pg_xact_status('"+y+"')"))
	a.must("insert into t values (2)")
}
