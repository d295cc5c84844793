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
