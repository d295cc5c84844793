package sessions

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Rows go in and out of a unique partial index by many hands, from before it is built online until after: no value is there twice, whoever is refused is
// told 23505, and in the end the index holds what the table says.
func partialIndexes(t *testing.T, s *suite) {
	a := s.connect(t, 0)
	a.do("create table accounts (id int primary key, mail text not null, gone bool not null, kind int not null)")
	a.do("insert into accounts select g, 'm' || g / 4, g % 4 <> 0, g % 3 from generate_series(0, 1999) g")
	a.do("select pamir.split_at('accounts', 600), pamir.split_at('accounts', 1300)")
	var wg sync.WaitGroup
	stop := make(chan struct{})
	levels := []string{"serializable", "repeatable read", "read committed"}
	const owners = 300 // mails that are fought for
	built := make(chan struct{})
	for w := range 6 {
		c := s.connect(t, w%len(s.Nodes), "default_transaction_isolation", levels[w%3], "statement_timeout", "60s")
		rng := rand.New(rand.NewPCG(7, uint64(w)))
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				id := rng.IntN(owners)*4 + rng.IntN(4)
				var err error
				switch rng.IntN(5) {
				case 0:
					_, err = c.Exec(bg, "update accounts set gone = true where id = $1", id)
				case 1:
					select {
					case <-built: // before, nothing keeps a second one out
						_, err = c.Exec(bg, "update accounts set gone = false where id = $1", id)
					default:
						_, err = c.Exec(bg, "update accounts set kind = kind + 1 where id = $1", id)
					}
				case 2:
					_, err = c.Exec(bg, "delete from accounts where id = $1 and gone", id)
				case 3:
					_, err = c.Exec(bg, "insert into accounts values ($1, $2, true, 0) on conflict (id) do update set kind = accounts.kind + 1", id, fmt.Sprint("m", id/4))
				case 4:
					// One statement takes it from whoever has it and gives it to another.
					_, err = c.Exec(bg, "update accounts set gone = true where mail = $1 and not gone", fmt.Sprint("m", id/4))
				}
				if err != nil && !slices.Contains([]string{"23505", "40001", "40P01"}, sqlstate(err)) {
					t.Errorf("%v", err)
					return
				}
			}
		})
	}
	a.do("create unique index accounts_live on accounts (mail) where not gone")
	a.do("create index accounts_kind on accounts (kind, mail) where kind in (1, 2) and not gone")
	close(built)
	same := func() {
		t.Helper()
		for _, q := range []string{
			"select count(*) || ' ' || coalesce(sum(id), 0) from accounts where %s and mail >= ''",
			"select count(*) || ' ' || coalesce(sum(id), 0) from accounts where %s and mail >= '' and kind = 2",
		} {
			require.Equal(t, "same", one[string](a, "select case when x = y then 'same' else x || ', by the index ' || y end from (select ("+
				fmt.Sprintf(q, "(not gone) is true")+") as x, ("+fmt.Sprintf(q, "not gone")+") as y) z"), q)
		}
		require.Zero(t, one[int](a, "select count(*) from (select mail from accounts where (not gone) is true group by mail having count(*) > 1) x"))
	}
	b := s.connect(t, 1)
	for i := range 25 {
		mail := fmt.Sprint("m", i)
		b.do("insert into accounts values ($1, $2, false, 2) on conflict (mail) where not gone do update set kind = 2", 10_000+i, mail)
		require.LessOrEqual(t, one[int](b, "select count(*) from accounts where mail = $1 and not gone", mail), 1)
		same()
	}
	close(stop)
	wg.Wait()
	same()
	for _, q := range []string{
		"select id from accounts where mail = 'm1' and not gone", "select id from accounts where kind = 1 and gone = false order by mail limit 3",
		"update accounts set kind = 3 where not gone and mail = 'm7'",
	} {
		require.Contains(t, one[string](a, "explain (format json) "+q), "accounts_", q)
	}
}
