package sql

import (
	"context"
	"io"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/internal/memtxn"
	"github.com/pamirdb/pamir/txn"
)

// victims makes transactions whose next read is chosen to end a deadlock, once per armed.
type victims struct {
	*memtxn.Store
	armed int
}

func (v *victims) Begin(ctx context.Context, o txn.Options) txn.Txn {
	return &victim{v.Store.Begin(ctx, o), v}
}

type victim struct {
	txn.Txn
	v *victims
}

func (t *victim) fail() error {
	if t.v.armed == 0 {
		return nil
	}
	t.v.armed--
	return kv.Errorf(kv.CodeDeadlock, "for the test")
}

func (t *victim) Get(ctx context.Context, k keys.Key, o txn.ScanOptions) ([]byte, bool, error) {
	if err := t.fail(); err != nil {
		return nil, false, err
	}
	return t.Txn.Get(ctx, k, o)
}

func (t *victim) GetMany(ctx context.Context, ks []keys.Key, o txn.ScanOptions) ([][]byte, error) {
	if err := t.fail(); err != nil {
		return nil, err
	}
	return t.Txn.GetMany(ctx, ks, o)
}

// A statement in the middle of a block is the victim of a deadlock. The block begins again with a new transaction, and what is left
// of the failed statement must not get in the way of those before it.
func TestDeadlockInABlockIsRunAgain(t *testing.T) {
	v := &victims{Store: memtxn.New()}
	cat := NewCatalog(v.Store)
	require.NoError(t, cat.Bootstrap(context.Background(), v.Store))
	w := &world{t: t, store: v.Store, srv: NewServer(Config{Gateway: v, Catalog: cat, Bulk: v.Store, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})}
	a := w.session()
	a.must("create table t (id int primary key, v int)")
	a.must("insert into t values (1, 10), (2, 20), (3, 30)")
	run := func(q string) {
		t.Helper()
		require.NoError(t, a.Parse("", q, nil))
		require.NoError(t, a.Bind(nil, nil, nil, nil, nil))
		require.NoError(t, a.Execute(nil, 0), q)
		require.NoError(t, a.Sync())
	}
	// Under READ COMMITTED what was read before anything was written is true of its own moment, and need not be so again.
	b := w.session()
	b.must("update t set v = v")
	run("begin isolation level read committed")
	run("select v from t where id = 2")
	run("select count(*) from t")
	b.must("insert into t values (4, 40)")
	b.must("update t set v = 21 where id = 2")
	v.armed = 1
	run("update t set v = v where id = 3")
	require.Zero(t, v.armed)
	// What is read after a write may be what was written: it has to be the same.
	run("select v from t where id = 2")
	b.must("update t set v = 20 where id = 2")
	b.must("delete from t where id = 4")
	v.armed = 1
	require.NoError(t, a.Parse("", "update t set v = v where id = 3", nil))
	require.NoError(t, a.Bind(nil, nil, nil, nil, nil))
	err := a.Execute(nil, 0)
	require.ErrorContains(t, err, "deadlock detected") // the cause, and not what became of the attempt to hide it
	require.NoError(t, a.Sync())
	run("rollback")
	// A volatile function is run again, and gives something else.
	a.must("create sequence s")
	run("begin isolation level read committed")
	run("select nextval('s')")
	v.armed = 1
	require.NoError(t, a.Parse("", "update t set v = v where id = 3", nil))
	require.NoError(t, a.Bind(nil, nil, nil, nil, nil))
	require.ErrorContains(t, a.Execute(nil, 0), "deadlock detected")
	require.NoError(t, a.Sync())
	run("rollback")
	a.take()
	w.srv.metrics.Retries.Store(0)
	for _, times := range []int{1, 3} {
		run("begin")
		run("update t set v = v + 1 where id = 1")
		run("select v from t where id = 2")
		v.armed = times
		run("update t set v = v + 1 where id = 3")
		require.Zero(t, v.armed)
		run("commit")
		a.take()
	}
	require.Equal(t, "[v](12)(20)(32)SELECT 3;", a.q("select v from t order by id"))
	require.EqualValues(t, 4, w.srv.metrics.Retries.Load())
}
