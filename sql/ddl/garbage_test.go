package ddl_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/keys"
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
	n, err = s.cat.CollectGarbage(ctx, s.store, 0, 0)
	require.NoError(t, err)
	require.EqualValues(t, 100+2500+2+3, n)
	require.Equal(t, before-int(n)-4, s.store.Len(user), "and the four notes")
	require.Equal(t, "2500 | 3126250\n", s.run("select count(*), sum(b) from a"))
	require.Equal(t, "2 | 3\n", s.run("select count(*), sum(x) from k"))
	n, err = s.cat.CollectGarbage(ctx, s.store, 0, 0)
	require.NoError(t, err)
	require.Zero(t, n)
}
