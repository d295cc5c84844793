package ddl_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/txn"
)

// Dropped, truncated and rewritten data goes away, and nothing else does.
func TestGarbage(t *testing.T) {
	s := newSession(t)
	out := s.run(`create table a (id int primary key, b int); create index a_b on a (b); create table k (x int);
		insert into a select i, i from generate_series(1, 2500) i; insert into k select i from generate_series(1, 100) i;
		truncate k; insert into k values (1), (2);
		drop index a_b;
		alter table k add primary key (x);
		create table gone (x int); insert into gone values (1), (2), (3); drop table gone`)
	require.NotContains(t, out, "ERROR")
	ctx := context.Background()
	n, err := s.cat.CollectGarbage(ctx, s.store, time.Hour, 0)
	require.NoError(t, err)
	require.Zero(t, n, "too young")
	user := keys.Key{keys.TableMin[0]}
	before := s.store.Len(user)
	lost := &partlyLost{Gateway: s.store}
	first, err := s.cat.CollectGarbage(ctx, lost, 0, 0)
	require.True(t, kv.IsLost(err), "%v", err)
	require.NotEmpty(t, lost.span)
	require.Positive(t, first, "what is lost is not in the way of the rest")
	n, err = s.cat.CollectGarbage(ctx, s.store, 0, 0)
	require.NoError(t, err)
	require.Positive(t, n, "what could not be reached was kept")
	n += first
	require.EqualValues(t, 100+2500+2+3, n)
	require.Equal(t, before-int(n)-4, s.store.Len(user), "and the four notes")
	require.Equal(t, "2500 | 3126250\n", s.run("select count(*), sum(b) from a"))
	require.Equal(t, "2 | 3\n", s.run("select count(*), sum(x) from k"))
	n, err = s.cat.CollectGarbage(ctx, s.store, 0, 0)
	require.NoError(t, err)
	require.Zero(t, n)
}

// partlyLost cannot reach the rows that it is first asked for.
type partlyLost struct {
	txn.Gateway
	span keys.Span
}

func (g *partlyLost) Begin(ctx context.Context, opts txn.Options) txn.Txn {
	return partlyLostTxn{g.Gateway.Begin(ctx, opts), g}
}

type partlyLostTxn struct {
	txn.Txn
	g *partlyLost
}

func (t partlyLostTxn) Scan(ctx context.Context, spans []keys.Span, opts txn.ScanOptions) txn.Scanner {
	if len(t.g.span.Start) == 0 && !spans[0].Start.Less(keys.Table(keys.FirstUserTable)) {
		t.g.span = spans[0]
	}
	if spans[0].Start.Equal(t.g.span.Start) {
		return unreachable{}
	}
	return t.Txn.Scan(ctx, spans, opts)
}

type unreachable struct{}

func (unreachable) Next(context.Context) (txn.Page, bool, error) {
	return txn.Page{}, false, kv.Lost(7)
}

func (unreachable) Close() {}
