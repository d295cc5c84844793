package sessions

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A schema change that reads the rows of a table, to check or to copy them, does not commit over what others have written to it meanwhile, at any level:
// it would be missing in the copy, or break the constraint.
func schemaChangesSeeRows(t *testing.T, s *suite) {
	a, b := s.connect(t, 0), s.connect(t, 1)
	a.do("create table sp (id int primary key)")
	a.do("insert into sp values (1)")
	for _, level := range []string{"read committed", "repeatable read", "serializable"} {
		for _, change := range []string{
			"alter table sc alter v type numeric",
			"alter table sc add column w int not null default (random() * 0)::int",
			"alter table sc add column w int generated always as identity",
			"alter table sc drop constraint sc_pkey, add primary key (u)",
			"alter table sc add unique (v)",
			"alter table sc add check (v < 10)",
			"alter table sc alter v set not null",
			"alter table sc add foreign key (v) references sp",
			"alter table sc validate constraint later",
			"create index on sc (v)",
			"create unique index on sc (v)",
			"create index on sc (v) where v > 0",
		} {
			a.do("drop table if exists sc")
			a.do("create table sc (id int primary key, u int not null, v int)")
			a.do("insert into sc values (1, 1, 1)")
			a.do("alter table sc add constraint later check (v < 10) not valid")
			begin := "begin isolation level " + level
			a.do(begin)
			a.do(change)
			b.do("insert into sc values (2, 2, 2)")
			a.fails("40001", "commit")
			a.do(begin) // again, beside one that only reads, and one that has read
			b.do("begin isolation level repeatable read")
			require.Equal(t, 2, one[int](b, "select count(*) from sc"), change)
			if change == "alter table sc add foreign key (v) references sp" {
				a.do("insert into sp values (2) on conflict do nothing")
			}
			a.do(change)
			require.Equal(t, 2, one[int](b, "select count(*) from sc"), change)
			b.do("commit")
			a.do("commit")
			require.Equal(t, 1, one[int](a, "select count(*) from sc where v::text = '2'"), change)
		}
	}
}
