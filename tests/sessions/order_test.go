package sessions

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
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

// A union of index scans shows what reading the whole table shows, over several ranges and over what the transaction has written itself.
func unionsOverRanges(t *testing.T, s *suite) {
	c := s.connect(t, 1)
	c.do("create table un (id int primary key, a int, b int, d int)")
	c.do("create index un_a on un (a)")
	c.do("create index un_b on un (b, d)")
	c.do("insert into un select g, nullif(g * 7 % 40, 11), nullif(g * 13 % 60, 17), g % 10 from generate_series(1, 6000) g")
	for _, at := range []int{1500, 3000, 4500} {
		c.do("select pamir.split_at('un', $1::int)", at)
	}
	c.do("analyze un")
	rng := rand.New(rand.NewPCG(1, 2))
	// A condition that indexes serve, and its twin that none does.
	arm := func() (string, string) {
		col := []string{"a", "b", "id"}[rng.IntN(3)]
		v := rng.IntN(map[string]int{"a": 40, "b": 60, "id": 6100}[col])
		switch rng.IntN(6) {
		case 0:
			return fmt.Sprintf("%s in (%d, %d)", col, v, v+1), fmt.Sprintf("%s + 0 in (%d, %d)", col, v, v+1)
		case 1:
			return fmt.Sprintf("%s is null", col), fmt.Sprintf("%s + 0 is null", col)
		case 2:
			return fmt.Sprintf("(%s = %d and d < 5)", col, v), fmt.Sprintf("(%s + 0 = %d and d + 0 < 5)", col, v)
		case 3:
			return fmt.Sprintf("id between %d and %d", v, v+9), fmt.Sprintf("id + 0 between %d and %d", v, v+9)
		}
		return fmt.Sprintf("%s = %d", col, v), fmt.Sprintf("%s + 0 = %d", col, v)
	}
	same := func() {
		var with, without []string
		for range 2 + rng.IntN(3) {
			x, y := arm()
			with, without = append(with, x), append(without, y)
		}
		rest := []string{"", " and d > 3", " and (d = 2 or b = 5)"}[rng.IntN(3)]
		const q = "select count(*) || ' ' || count(distinct id) || ' ' || coalesce(sum(id), 0) || ' ' || coalesce(sum(d), 0) from un where "
		x := "(" + strings.Join(with, " or ") + ")" + rest
		y := "(" + strings.Join(without, " or ") + ")" + rest
		require.Equal(t, one[string](c, q+y), one[string](c, q+x), x)
	}
	require.Contains(t, one[string](c, "explain select * from un where a = 1 or b = 2"), "Index Union on un")
	for range 30 {
		same()
	}
	c.do("begin")
	c.do("update un set a = b, b = a where a = 3 or b = 4 or id in (1, 1500, 1501)")
	c.do("insert into un select g, g % 40, g % 60, g % 10 from generate_series(6001, 6100) g")
	c.do("delete from un where a = 5 or b = 6 or id between 2990 and 3010")
	for range 30 {
		same()
	}
	c.do("commit")
	for range 10 {
		same()
	}
}
