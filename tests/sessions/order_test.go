package sessions

import (
	"cmp"
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

// Joins that are driven in the order of an index show what sorting the whole join shows: rows without a partner among them, partners from
// several ranges, more rows than a batch on either side.
func joinsInOrder(t *testing.T, s *suite) {
	c := s.connect(t, 2)
	c.do("create table jl (id int primary key, x int, y int)")
	c.do("create table jr (id int primary key, lid int, v int)")
	c.do("create index jr_lid on jr (lid)")
	c.do("create table js (id int primary key, x int)") // small, but more than a batch
	c.do("insert into jl select g, g % 11, nullif(g * 7 % 100, 3) from generate_series(1, 4000) g")
	c.do("insert into jr select g, 1 + g * g % 4001, g % 50 from generate_series(1, 5000) g")
	c.do("insert into js select g, g / 100 from generate_series(1, 1200) g")
	for _, at := range []int{700, 1100, 2500} {
		c.do("select pamir.split_at('jl', $1::int)", at)
		c.do("select pamir.split_at('jr', $1::int)", 5000-at)
	}
	for _, table := range []string{"jl", "jr", "js"} {
		c.do("analyze " + table)
	}
	rng := rand.New(rand.NewPCG(3, 4))
	type pair struct{ l, r int }
	// read returns the pairs in order, without those of the last left row, of which a LIMIT may have cut some off.
	read := func(q string) []pair {
		rows, err := c.Query(bg, q)
		require.NoError(t, err, q)
		ps, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (pair, error) {
			var l int
			var other *int
			err := r.Scan(&l, &other)
			if other == nil {
				return pair{l, -1}, err
			}
			return pair{l, *other}, err
		})
		require.NoError(t, err, q)
		if len(ps) > 0 {
			last := ps[len(ps)-1].l
			ps = slices.DeleteFunc(ps, func(p pair) bool { return p.l == last })
		}
		return ps
	}
	sorted := 0
	for i := range 40 {
		join := []string{
			"left join jr r on r.lid = l.id",
			fmt.Sprintf("left join jr r on r.lid = l.id and r.v > %d", rng.IntN(60)),
			fmt.Sprintf("left join jr r on r.lid = l.id and r.v > l.x * %d", rng.IntN(6)),
			fmt.Sprintf("join jr r on r.lid = l.id and r.v > l.x * %d", rng.IntN(6)),
			"join js r on r.x = l.x",
			"left join js r on r.x = l.y",
			fmt.Sprintf("left join js r on r.x = l.x and r.id %% 100 > l.y + %d", rng.IntN(60)),
			"left join lateral (select id from jr where lid = l.id order by id limit 1) r on true",
		}[rng.IntN(8)]
		where := []string{"", fmt.Sprintf(" where l.id > %d", rng.IntN(3500)), fmt.Sprintf(" where l.y < %d", rng.IntN(100))}[rng.IntN(3)]
		dir := []string{"", " desc"}[rng.IntN(2)]
		limit := []int{5, 40, 300, 1500}[rng.IntN(4)]
		q := func(key string) string {
			return fmt.Sprintf("select l.id, r.id from jl l %s%s order by %s%s limit %d", join, where, key, dir, limit)
		}
		got, want := read(q("l.id")), read(q("l.id + 0"))
		require.True(t, slices.IsSortedFunc(got, func(a, b pair) int {
			if dir != "" {
				a, b = b, a
			}
			return a.l - b.l
		}), "%d: %s is out of order", i, q("l.id"))
		for _, ps := range [][]pair{got, want} {
			slices.SortFunc(ps, func(a, b pair) int { return cmp.Or(a.l-b.l, a.r-b.r) })
		}
		require.Equal(t, want, got, "%d: %s", i, q("l.id"))
		var plan []string
		rows, err := c.Query(bg, "explain "+q("l.id"))
		require.NoError(t, err)
		plan, err = pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		if strings.Contains(strings.Join(plan, "\n"), "Sort") {
			sorted++
		}
	}
	require.Less(t, sorted, 20, "most of them are driven by the index")
}
