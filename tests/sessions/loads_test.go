package sessions

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/internal/node"
	"github.com/pamirdb/pamir/tests/cluster"
)

// The rows that a load which still runs is going to insert are not there: nobody waits for them, who locks rows by a condition as little as who reads, and NOWAIT does not fail for them.
func TestLoadsLetLockersPass(t *testing.T) {
	s := &suite{cluster.StartLocal(t, 1, func(_ int, c *node.Config) { c.TxnBufferBytes = 32 << 10 }), t}
	a, b := s.connect(t, 0), s.connect(t, 0)
	a.do("create table loaded (id int primary key, n int not null)")
	a.do("insert into loaded select g, 0 from generate_series(1, 5) g")
	b.do("set statement_timeout = '20s'")
	a.do("begin")
	a.do("insert into loaded select g, 0 from generate_series(6, 3000) g")
	for _, lock := range []string{"for update", "for update nowait", "for share skip locked"} {
		require.Equal(t, 5, one[int](b, "select count(*) from (select * from loaded "+lock+") x"), lock)
		require.Equal(t, 5, one[int](b, "select count(*) from (select * from loaded where n = 0 "+lock+") x"), lock)
	}
	tag, err := b.Exec(bg, "update loaded set n = 1 where n = 0")
	require.NoError(t, err)
	require.EqualValues(t, 5, tag.RowsAffected())
	a.do("commit")
	require.Equal(t, 2995, one[int](a, "select count(*) from loaded where n = 0"))
}
