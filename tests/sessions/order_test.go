package sessions

import (
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// Ranges are read at the same time where nobody asks for an order, so a plan may rest on an order only if its scan was asked for it: joins, groups and
// DISTINCT over a table of several ranges.
func ordersOverRanges(t *testing.T, s *suite) {
	c := s.connect(t, 0)
	c.do("create table ra (id int, sub int, rb int, pad text, primary key (id, sub))")
	c.do("create table rb (id int primary key, v int)")
	c.do("insert into ra select g / 2, g % 2, (g * 37) % 900, repeat('x', 300) from generate_series(1, 12000) g")
	c.do("insert into rb select g, g from generate_series(0, 200000) g")
	for _, at := range []int{1000, 2000, 3000, 4000, 5000} {
		c.do("select pamir.split_at('ra', $1::int)", at)
	}
	c.do("analyze ra")
	c.do("analyze rb")
	for _, q := range []struct {
		sql  string
		rows int
	}{
		{"select ra.id from ra join rb on rb.id = ra.rb order by ra.id", 12000},
		{"select ra.id from ra left join rb on rb.id = ra.rb order by ra.id", 12000},
		{"select ra.id from ra where exists (select from rb where rb.id = ra.rb) order by ra.id, ra.sub", 12000},
		{"select ra.id from ra join rb on rb.id = ra.rb order by ra.id limit 3000", 3000},
		{"select id from ra join lateral (select v from rb where rb.id = ra.rb) l on true order by id", 12000},
		{"select ra.id, count(*) from ra join rb on rb.id = ra.rb group by ra.id order by 1", 6001},
		{"select distinct id from ra order by id", 6001},
		{"select count(*)::int from (select distinct id from ra) q", 1},
		{"select count(*)::int from (select ra.id, sum(rb.v) from ra join rb on rb.id = ra.rb group by ra.id) q", 1},
	} {
		for range 3 {
			rows, err := c.Query(bg, q.sql)
			require.NoError(t, err)
			ids, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (int, error) {
				vs, err := r.Values()
				return int(vs[0].(int32)), err
			})
			require.NoError(t, err)
			require.True(t, slices.IsSorted(ids), "%s is out of order", q.sql)
			require.Len(t, ids, q.rows, q.sql)
			if q.rows == 1 {
				require.Equal(t, 6001, ids[0], q.sql)
			}
		}
	}
}
