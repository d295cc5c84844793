package tending

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/tests/chaos"
	"github.com/pamirdb/pamir/tests/cluster"
)

// churn changes something every second, under the workloads and checkers of tests/chaos: five nodes in the end, two of which join meanwhile.
func churn(t *testing.T, d time.Duration, seed uint64) {
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	say("churn: for %s, seed %d", d, seed)
	s := startShow(t, 3, cluster.WithFlags("--range-max-bytes", "1MiB", "--range-merge-after", "5s"))
	c := &churner{show: s, rng: rand.New(rand.NewPCG(seed, 3)), did: map[string]int{}, refused: map[string]map[string]int{}}
	// A round is judged as a whole, and what the checkers do takes longer the more there is.
	const round = time.Minute
	end := time.Now().Add(d)
	rounds := int((d + round - 1) / round)
	chaos.Under(t, s.c, chaos.Settings{Seed: seed, Pace: 10 * time.Millisecond}, rounds, func(ctx context.Context, n int64) {
		ctx, cancel := context.WithTimeout(ctx, min(round, time.Until(end)))
		defer cancel()
		c.round(ctx, n)
	})
	s.agree()
	var lines [][]string
	for _, what := range []string{"split", "merge", "move", "transfer", "join", "leave"} {
		no := 0
		for _, k := range c.refused[what] {
			no += k
		}
		lines = append(lines, []string{what, strconv.Itoa(c.did[what]), strconv.Itoa(no)})
	}
	table("What was done", "|done|refused or overtaken", lines)
	for what, reasons := range c.refused {
		var out []string
		for why, n := range reasons {
			out = append(out, fmt.Sprintf("%d x %s", n, why))
		}
		sort.Strings(out)
		for _, o := range out {
			say("%s refused: %s", what, o)
		}
	}
	for _, m := range []string{"splits_by_size", "splits_by_command", "merges", "replica_moves", "snapshots_out", "leaderships"} {
		say("pamir_range_%s_total: %.0f", m, s.sum("pamir_range_"+m+"_total"))
	}
	for _, what := range []string{"split", "merge", "move", "transfer"} {
		require.Positive(t, c.did[what], what)
	}
}

func showChurn(t *testing.T) { churn(t, *churnTime, *churnSeed) }

type churner struct {
	*show
	rng    *rand.Rand
	nround int64
	cuts   []cut

	mu      sync.Mutex
	did     map[string]int            // guarded by mu
	refused map[string]map[string]int // by what was asked for, why; guarded by mu
	leaving int32                     // the node that is emptied, 0 for none; guarded by mu
}

// round does something every second. What takes longer goes on meanwhile.
func (c *churner) round(ctx context.Context, n int64) {
	c.nround = n
	var wg sync.WaitGroup
	defer wg.Wait()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for i := 1; ; i++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if c.c.Size() < 5 && i%8 == 0 {
			c.c.Add() // two of them, some seconds apart
			c.note("join", nil)
			continue
		}
		what, do := c.choose(i)
		if do == nil {
			continue
		}
		wg.Go(func() { c.note(what, do(ctx)) })
	}
}

func (c *churner) note(what string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.did[what]++
		return
	}
	if c.refused[what] == nil {
		c.refused[what] = map[string]int{}
	}
	c.refused[what][kind(err)]++
}

// choose picks what is to be done next, here and not in the goroutine that does it, so that a seed makes the same choices.
func (c *churner) choose(i int) (string, func(context.Context) error) {
	ranges, err := c.ranges("")
	if err != nil || len(ranges) == 0 {
		return "look", func(context.Context) error { return errors.Join(err, errors.New("no ranges")) }
	}
	g := ranges[c.rng.IntN(len(ranges))]
	tables := chaos.Tables()
	of, key := tables[c.rng.IntN(len(tables))], chaos.RoundKeys(c.nround)+c.rng.Int64N(300)
	node := c.rng.IntN(c.c.Size())
	has := map[int32]bool{}
	for _, r := range g.Replicas {
		has[r.NodeID] = true
	}
	to := int32(1 + c.rng.IntN(c.c.Size()))
	for n := 0; has[to] && n < c.c.Size(); n++ {
		to = to%int32(c.c.Size()) + 1
	}
	k := i % 10 // what, in turns; where is left to chance
	switch {
	case i%20 == 15 && c.c.Size() == 5:
		return c.leaveOrReturn(to)
	case k < 5 && k >= 3 && len(c.cuts) > 0: // one of the cuts is taken back
		at := c.rng.IntN(len(c.cuts))
		x := c.cuts[at]
		c.cuts = slices.Delete(c.cuts, at, at+1)
		return "merge", c.ask(node, "select pamir.merge_at($1, $2::bigint)", x.table, x.key)
	case k >= 5 && k < 7 && len(g.Replicas) > 0:
		return "transfer", c.ask(node, "select pamir.transfer_leader($1, $2)", g.ID, g.Replicas[c.rng.IntN(len(g.Replicas))].NodeID)
	}
	// A move: from a replica that does not lead to a node that has none. If there is none, a split.
	for _, r := range g.Replicas {
		if k >= 7 && r.NodeID != g.Leader && !has[to] {
			return "move", c.ask(node, "select pamir.move_replica($1, $2, $3)", g.ID, r.NodeID, to)
		}
	}
	c.cuts = append(c.cuts, cut{of, key})
	return "split", c.ask(node, "select pamir.split_at($1, $2::bigint)", of, key)
}

// cut is where a range was split.
type cut struct {
	table string
	key   int64
}

// leaveOrReturn empties a node for good, or takes the one back that was emptied last.
func (c *churner) leaveOrReturn(id int32) (string, func(context.Context) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaving != 0 {
		id, c.leaving = c.leaving, 0
		return "join", c.ask(0, "select pamir.recommission_node($1)", id)
	}
	c.leaving = id
	return "leave", c.ask(0, "select pamir.decommission_node($1)", id)
}

func (c *churner) ask(node int, query string, args ...any) func(context.Context) error {
	return func(context.Context) error { // to its end, also after that of the round
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		defer cancel()
		conn, err := pgx.Connect(ctx, c.c.DSN(node))
		if err != nil {
			return err
		}
		defer hangUp(conn)
		_, err = conn.Exec(ctx, query, args...)
		return err
	}
}
