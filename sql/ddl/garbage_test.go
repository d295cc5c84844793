package ddl_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/txn"
)

// What is dropped, truncated or rewritten is known to be so from then on, nothing else is, and it is forgotten when nothing is left of it.
func TestGarbage(t *testing.T) {
	s := newSession(t)
	ctx := context.Background()
	out := s.run(`create table a (id int primary key, b int); create index a_b on a (b); create table k (x int);
		insert into a select i, i from generate_series(1, 2500) i; insert into k select i from generate_series(1, 100) i`)
	require.NotContains(t, out, "ERROR")
	out = s.run(`truncate k; insert into k values (1), (2);
		drop index a_b;
		alter table k add primary key (x);
		create table gone (x int); insert into gone values (1), (2), (3); drop table gone`)
	require.NotContains(t, out, "ERROR")
	dropped := func() []keys.Span {
		t.Helper()
		spans, err := catalog.Dropped(ctx, s.store, s.store.Clock().Now())
		require.NoError(t, err)
		return spans
	}
	spans := dropped()
	require.Len(t, spans, 4)
	rows := 0
	for _, span := range spans {
		n := s.store.Len(span.Start)
		require.Positive(t, n)
		rows += n
	}
	require.Equal(t, 2500+100+2+3, rows)
	forget := func(g txn.Gateway, age time.Duration) (int, error) { return s.cat.ForgetDropped(ctx, g, age) }
	n, err := forget(s.store, 0)
	require.NoError(t, err)
	require.Zero(t, n, "there are rows left")

	tx := s.store.Begin(ctx, txn.Options{})
	sc := tx.Scan(ctx, spans, txn.ScanOptions{})
	for {
		page, ok, err := sc.Next(ctx)
		require.NoError(t, err)
		if !ok {
			break
		}
		for {
			k, _, ok, err := page.Rows.Next()
			require.NoError(t, err)
			if !ok {
				break
			}
			require.NoError(t, tx.Delete(k.Clone()))
		}
	}
	sc.Close()
	_, err = tx.Commit(ctx)
	require.NoError(t, err)

	n, err = forget(s.store, time.Hour)
	require.NoError(t, err)
	require.Zero(t, n, "too young")
	lost := &partlyLost{Gateway: s.store}
	n, err = forget(lost, 0)
	require.True(t, kv.IsLost(err), "%v", err)
	require.NotEmpty(t, lost.span)
	require.Equal(t, 3, n, "what is lost is not in the way of the rest")
	require.Equal(t, []keys.Span{lost.span}, dropped())
	n, err = forget(s.store, 0)
	require.NoError(t, err)
	require.Equal(t, 1, n, "what could not be reached was kept")
	require.Empty(t, dropped())
	require.Equal(t, "2500 | 3126250\n", s.run("select count(*), sum(b) from a"))
	require.Equal(t, "2 | 3\n", s.run("select count(*), sum(x) from k"))
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
