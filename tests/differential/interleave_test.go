package differential

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/internal/node"
	"github.com/pamirdb/pamir/range/store"
	"github.com/pamirdb/pamir/tests/cluster"
)

var (
	interleavings = flag.Int("interleavings", 10, "how many programs of interleaved transactions to run")
	patient       = flag.Duration("patient", time.Minute, "how long a planted bug is looked for")
	wide          = flag.Int("wide", 5, "how many wide programs of interleaved transactions to run")
	movedToo      = flag.Int("interleavings-moving", 3, "how many of them on four nodes, while ranges are split, merged and moved")
)

// littleMemory is less than two rows take in a transaction's buffer.
const littleMemory = 200

// TestInterleaved steps PostgreSQL and Pamir through programs of a few sessions, and looks whether Pamir's answers can be explained.
func TestInterleaved(t *testing.T) {
	interleave(t, *interleavings, newInterleaved, func(t *testing.T, s *stage) *cluster.Local {
		return cluster.StartLocal(t, 1, func(_ int, c *node.Config) {
			c.ScanBytes = pageBytes
			slow(c)
		})
	})
}

// TestInterleavedWide does so with cursors, COPY, prepared statements and transactions, changes of the schema, advisory locks and reads of the past.
func TestInterleavedWide(t *testing.T) {
	batch := 0
	interleave(t, *wide, newWide, func(t *testing.T, s *stage) *cluster.Local {
		batch++
		return cluster.StartLocal(t, 1, func(_ int, c *node.Config) {
			c.ScanBytes = pageBytes
			if batch%2 == 0 {
				c.TxnBufferBytes = littleMemory
			}
			slow(c)
		})
	})
}

// TestInterleavedMoving does so with sessions of four nodes, while the tables' ranges are split, merged and moved and get other leaders.
func TestInterleavedMoving(t *testing.T) {
	sum := newMoved()
	n := uint64(0)
	either := func(seed uint64) *interleaved {
		if seed%2 == 0 {
			return newWide(seed)
		}
		return newInterleaved(seed)
	}
	interleave(t, *movedToo, either, func(t *testing.T, s *stage) *cluster.Local {
		l := cluster.StartLocal(t, 4, func(i int, c *node.Config) {
			c.ScanBytes = pageBytes
			slow(c)
			cluster.LongSupportLocal(i, c)
		})
		s.moves = func(tables []uint64) (end func()) {
			n++
			m := &mover{nodes: l.Nodes, r: rand.New(rand.NewPCG(n, 5)), keys: &cutter{n: l.Nodes[0]}, sum: sum, tables: tables}
			m.begin(t.Context())
			return m.end
		}
		return l
	})
	t.Logf("moves: %v, refused: %v", sum.did, sum.refused)
}

func interleave(t *testing.T, n int, program func(seed uint64) *interleaved, start func(t *testing.T, s *stage) *cluster.Local) {
	pg := startPostgres(t)
	watcher, err := pgx.Connect(t.Context(), pg.DSN())
	require.NoError(t, err)
	t.Cleanup(func() { _ = watcher.Close(context.Background()) })
	postgres := &stage{dsns: []string{pg.DSN()}, prepare: "set deadlock_timeout = '10ms'", waiting: func(ctx context.Context) (n int, err error) {
		err = watcher.QueryRow(ctx, "select count(*) from pg_stat_activity where wait_event_type = 'Lock'").Scan(&n)
		return n, err
	}}
	sum := newTally()
	began := time.Now()
	batches(t, n, func(t *testing.T, from uint64, n int) {
		pamir := &stage{cuts: true, travels: true}
		pamir.on(t, start(t, pamir))
		for seed := from; seed < from+uint64(n) && inTime(began); seed++ {
			one(t, program(seed), postgres, pamir, sum)
		}
	})
	sum.log(t, time.Since(began))
}

// on makes the stage that of a cluster.
func (s *stage) on(t *testing.T, l *cluster.Local) {
	s.waiting = func(context.Context) (n int, err error) {
		for _, served := range l.Nodes {
			for _, x := range served.Locks().Transactions {
				if x.Waits > 0 {
					n++
				}
			}
		}
		return n, nil
	}
	for _, served := range l.Nodes {
		s.dsns = append(s.dsns, dsnOf(t, served))
	}
}

// TestInterleavedCatches plants bugs of locks and of what has been read, and looks how many programs it takes to notice.
func TestInterleavedCatches(t *testing.T) {
	if testing.Short() {
		t.Skip("runs some hundred programs: not with -short")
	}
	for name, plant := range map[string]store.Planted{
		"what was read is not looked at again":                    {LostRefresh: true},
		"a row is locked as it was before somebody else's change": {StaleLocks: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := &stage{cuts: true}
			s.on(t, cluster.StartLocal(t, 1, func(_ int, c *node.Config) {
				c.ScanBytes, c.StoreKnob.Planted = pageBytes, plant
				slow(c)
			}))
			began := time.Now()
			for seed := uint64(1); ; seed++ {
				require.Less(t, time.Since(began), *patient, "not noticed in %d programs", seed-1)
				p := newInterleaved(seed)
				played, err := s.play(t.Context(), p)
				require.NoError(t, err, "seed %d", seed)
				if why := played.judge(p.init); why != "" {
					t.Logf("noticed in the program of seed %d, after %s: %s", seed, time.Since(began).Round(time.Millisecond), why)
					return
				}
			}
		})
	}
}

// one plays a program on both.
func one(t *testing.T, p *interleaved, postgres, pamir *stage, sum *tally) {
	seed := p.seed
	a, err := postgres.play(t.Context(), p)
	require.NoError(t, err, "seed %d", seed)
	b, err := pamir.play(t.Context(), p)
	require.NoError(t, err, "seed %d", seed)
	sum.compare(p, a, b)
	if *oneSeed != 0 {
		t.Logf("PostgreSQL:\n%s\nPamir:\n%s", p.show(a), p.show(b))
	}
	why := b.judge(p.init)
	if why == "" {
		return
	}
	p.shrink(func(q *interleaved) bool {
		c, err := pamir.play(t.Context(), q)
		if err != nil {
			return false
		}
		if w := c.judge(q.init); w != "" {
			b, why = c, w
			return true
		}
		return false
	})
	t.Errorf("seed %d: %s\n%s", seed, why, p.show(b))
}

// judge says what is wrong with what a system answered.
func (pl *played) judge(init contents) string {
	if pl.broken != "" {
		return pl.broken
	}
	if ok, why := explain(init, pl.deals, pl.final); !ok {
		return "no order of the transactions explains this: " + why
	}
	return ""
}

// shrink leaves turns out as long as it fails.
func (p *interleaved) shrink(fails func(*interleaved) bool) {
	budget := 150
	for again := true; again; {
		again = false
		for i := len(p.turns) - 1; i >= 0 && budget > 0; i-- {
			k := p.turns[i].st.kind
			if k == "begin" || k == "commit" || k == "rollback" || k == kindPrepare {
				continue
			}
			q := *p
			q.turns = slices.Delete(slices.Clone(p.turns), i, i+1)
			budget--
			for range 2 { // what depends on the machine gets a second chance
				if fails(&q) {
					*p, again = q, true
					break
				}
			}
		}
	}
}

func (p *interleaved) show(a *played) string {
	var b strings.Builder
	for _, q := range p.setup {
		fmt.Fprintln(&b, q+";")
	}
	for i, t := range p.turns {
		fmt.Fprintf(&b, "%d: %s%s;", t.session+1, t.st.text, []string{"", "  [extended]", "  [extended, named]", "  [execute]", "", "  [" + strings.ReplaceAll(t.st.rows, "\n", ";") + "]"}[t.st.how])
		if a.waited[i] {
			b.WriteString("  (waits)")
		}
		if a.answers[i] != nil {
			b.WriteString("  -- " + brief(a.answers[i]))
			if s := a.answers[i]; s.state != "" {
				b.WriteString(" " + s.message)
			}
		}
		b.WriteByte('\n')
	}
	fmt.Fprintln(&b, "final:", describe(a.final))
	return b.String()
}

// tally counts what interleaved programs did, and where the two systems differ, by what the statement is.
type tally struct {
	programs, same, committed int
	unexplained               int // of PostgreSQL
	outcomes                  map[string]int
	differences               map[string]int
	examples                  map[string]string
}

func newTally() *tally {
	return &tally{outcomes: map[string]int{}, differences: map[string]int{}, examples: map[string]string{}}
}

// compare looks for the first turn at which the two differ; what follows need not be alike.
func (s *tally) compare(p *interleaved, a, b *played) {
	s.programs++
	for _, d := range b.deals {
		if d.committed {
			s.committed++
		}
	}
	for i, x := range b.answers {
		if x != nil && x.state != "" {
			s.outcomes[x.state]++
			if x.state == "0A000" {
				s.outcomes[p.turns[i].st.kind+": "+refusal(x.message)]++
			}
		}
	}
	if ok, why := explain(p.init, a.deals, a.final); !ok {
		s.unexplained++
		s.differences["PostgreSQL is not explained"]++
		s.examples["PostgreSQL is not explained"] = fmt.Sprintf("seed %d: %s", p.seed, why)
	}
	for i, t := range p.turns {
		x, y := a.answers[i], b.answers[i]
		if x == nil || y == nil {
			break
		}
		d := ""
		switch {
		case a.waited[i] != b.waited[i]:
			d = fmt.Sprintf("waits %v, %v", a.waited[i], b.waited[i])
		case x.state != y.state:
			d = fmt.Sprintf("%s, %s", state(x), state(y))
		case t.st.kind == kindNote:
			continue
		case brief(sorted(x)) != brief(sorted(y)):
			d = "other answers"
		default:
			continue
		}
		key := fmt.Sprintf("%s, %s: %s", p.levels[t.session], t.st.kind, d)
		if s.differences[key]++; s.differences[key] == 1 {
			s.examples[key] = fmt.Sprintf("seed %d, turn %d", p.seed, i+1)
		}
		return
	}
	s.same++
}

// sorted: RETURNING comes in any order.
func sorted(a *answer) *answer {
	b := *a
	b.rows = slices.Clone(a.rows)
	slices.SortFunc(b.rows, slices.Compare[[]string])
	return &b
}

func state(a *answer) string {
	if a.state == "" {
		return "ok"
	}
	return a.state
}

func (s *tally) log(t *testing.T, took time.Duration) {
	t.Logf("%d programs in %s: %d transactions committed in Pamir; %d programs went the same way in PostgreSQL; errors: %v; %d programs in which the model does not explain PostgreSQL", s.programs,
		took.Round(time.Second), s.committed, s.same, s.outcomes, s.unexplained)
	t.Log("first differences (PostgreSQL, Pamir):")
	for _, k := range slices.SortedFunc(maps.Keys(s.differences), func(a, b string) int { return s.differences[b] - s.differences[a] }) {
		t.Logf("  %6d  %s (%s)", s.differences[k], k, s.examples[k])
	}
}
