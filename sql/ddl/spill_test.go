package ddl_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/sql/exec"
)

// Every query has the same answer when its memory is so small that it spills (joins, sorts, grouping), when
// scans come in small pages, and when the programs of scans travel.
func TestSpillingTwin(t *testing.T) {
	s := newSession(t)
	out := s.run(`
		create table a (id int primary key, k int, t text, n numeric, f float8, d date);
		create table b (id int primary key, k int, t text);
		create index a_k on a (k);
		insert into a select i, case when i % 17 = 0 then null else (i * 7919) % 3001 end, 'text number ' || (i * 31) % 997, (i % 50) / 7.0, i / 3.0, date '2020-01-01' + i % 400 from generate_series(1, 4000) i;
		insert into b select i, (i * 104729) % 4001, repeat('x', i % 40) || i % 1000 from generate_series(1, 3000) i`)
	require.NotContains(t, out, "ERROR")
	queries := []struct {
		sql     string
		ordered bool
		fails   bool // needs its memory: 53200 is right when there is too little
	}{
		{sql: "select id, k, t, n from a order by t, n desc, id", ordered: true},
		{sql: "select * from a order by k nulls first, id desc", ordered: true},
		{sql: "select * from a order by k, id limit 10 offset 2500", ordered: true},
		{sql: "select t, count(*), sum(n), avg(f), min(d), max(k) from a group by t"},
		{sql: "select id % 4000, count(*), count(distinct k) from a group by 1", fails: true},
		{sql: "select k, string_agg(t, ',' order by id) from a group by k", fails: true},
		{sql: "select distinct k, t from a"},
		{sql: "select count(*), sum(a.id), sum(b.id) from a join b on a.k = b.k"},
		{sql: "select a.id, b.t from a join b on a.k = b.k"},
		{sql: "select a.id, b.id from a left join b on a.k = b.k"},
		{sql: "select a.id, b.id from a right join b on a.k = b.k and a.id % 2 = 0"},
		{sql: "select a.id, b.id from a full join b on a.k = b.k"},
		{sql: "select id from a where exists (select 1 from b where b.k = a.k)"},
		{sql: "select id from a where not exists (select 1 from b where b.k = a.k)"},
		{sql: "select count(*) from (select a.id from a join b on a.k < b.k where a.id < 40 and b.id < 400) x"},
		{sql: "select t from a union select t from b"},
		{sql: "select k from a intersect select k from b", fails: true},
		{sql: "select k from a except all select k from b", fails: true},
		{sql: "select id, sum(n) over (partition by k order by id), rank() over (order by t) from a", fails: true},
		{sql: "with x as (select k, t from a) select count(*) from x where t in (select t from x where k < 50)"},
		{sql: "select b.id, (select max(a.id) from a where a.k = b.k) from b where b.id < 60"},
		{sql: "select a.id, z.id from a, lateral (select b.id from b where b.id = a.id * 2) z where a.id < 100"},
		{sql: "select d, k from a where k between 100 and 200 order by k, d, id", ordered: true},
	}
	normal := func(s string, ordered bool) string {
		if ordered {
			return s
		}
		lines := strings.Split(s, "\n")
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	difference := func(a, b string) string {
		i := 0
		for i < len(a) && i < len(b) && a[i] == b[i] {
			i++
		}
		return b[i:]
	}
	spilled := 0
	for _, q := range queries {
		s.memory, s.store.Cut, s.store.Wire = 0, 0, nil
		want := s.run(q.sql)
		require.NotContains(t, want, "ERROR", q.sql)
		for _, mem := range []int64{150 << 10, 40 << 10} {
			s.memory, s.store.Cut, s.store.Wire = mem, 777, exec.Decoder{}
			got := s.run(q.sql)
			if q.fails && strings.Contains(got, "ERROR 53200") {
				continue
			}
			if w, g := normal(want, q.ordered), normal(got, q.ordered); w != g {
				t.Fatalf("%s with %d bytes: %d bytes of answer instead of %d, from %.200q", q.sql, mem, len(g), len(w), difference(w, g))
			}
			spilled++
		}
	}
	require.Greater(t, spilled, 2*len(queries)-14)
	left, err := os.ReadDir(s.tmp)
	require.NoError(t, err)
	require.Empty(t, left, "spill files have no names")

	// Index builds and rewrites with little memory.
	s.memory = 100 << 10
	out = s.run("create index on b (t); create unique index on b (k, id); alter table b drop constraint b_pkey; alter table b add primary key (k, id)")
	require.NotContains(t, out, "ERROR")
	s.memory = 0
	require.Equal(t, "3000\n", s.run("select count(*) from b"))
	require.Equal(t, s.run("select count(*) from b where t >= 'x' and id > 0"), s.run("select count(*) from (select * from b where id + 0 > 0) q where t || '' >= 'x'"))
}
