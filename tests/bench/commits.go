package main

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"
)

// commitCost is what commits of one shape have cost.
type commitCost struct {
	took           []float64 // ms of each COMMIT
	cpu            time.Duration
	fsyncs, rounds float64
	batches, raft  float64
	frames         float64 // messages between nodes travel several to a frame
	pushed         float64 // commits that took a second round
}

// commitBlock is how many transactions of one shape run before the next shape: CPU time is counted in hundredths of a second.
const commitBlock = 20

// commitRanges measures how long COMMIT takes by the number of ranges written to, and beside it with as many rows in one range; and
// what a whole transaction costs the servers, its UPDATE and what is left to do after COMMIT included.
func commitRanges(ctx context.Context, s *system, d time.Duration) error {
	const most, gap = 32, 1000
	conn, err := s.connect(ctx, "serializable")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, q := range []string{"drop table if exists spread", "create table spread (id int primary key, n bigint not null)",
		fmt.Sprintf("insert into spread select r * %d + i, 0 from generate_series(0, %d) r, generate_series(0, %d) i", gap, most-1, most-1)} {
		if _, err := conn.Exec(ctx, q); err != nil {
			return err
		}
	}
	for r := 1; r < most; r++ {
		if _, err := conn.Exec(ctx, "select pamir.split_at('spread', $1::int)", r*gap); err != nil {
			return err
		}
	}
	counts := []int{1, 2, 4, 8, 32}
	type shape struct{ kind, n int } // in ranges of their own (0), or rows of one (1)
	costs := map[shape]*commitCost{}
	rng := rand.New(rand.NewPCG(1, 1))
	one := func(k shape, c *commitCost) error {
		ids := make([]int32, k.n)
		first := rng.IntN(most)
		for i := range ids {
			if k.kind == 0 {
				ids[i] = int32((first + i) % most * gap)
			} else {
				ids[i] = int32(first*gap + i)
			}
		}
		slices.Sort(ids)
		took, err := timedCommit(ctx, conn, ids)
		c.took = append(c.took, took)
		return err
	}
	for end := time.Now().Add(d); time.Now().Before(end); {
		for _, n := range counts {
			for kind := range 2 {
				k := shape{kind, n}
				c := costs[k]
				if c == nil {
					c = &commitCost{}
					costs[k] = c
				}
				cpu, err := s.cpu()
				if err != nil {
					return err
				}
				before, err := s.counters(ctx)
				if err != nil {
					return err
				}
				for range commitBlock {
					if err := one(k, c); err != nil {
						return err
					}
				}
				time.Sleep(20 * time.Millisecond) // what goes on after COMMIT
				after, err := s.counters(ctx)
				if err != nil {
					return err
				}
				now, err := s.cpu()
				if err != nil {
					return err
				}
				c.cpu += now - cpu
				c.fsyncs += after["fsyncs"] - before["fsyncs"]
				c.rounds += after["rounds"] - before["rounds"]
				c.raft += after["raft_sent"] - before["raft_sent"]
				c.pushed += after["pushed"] - before["pushed"]
				c.frames += after["frames"] - before["frames"]
				c.batches += after["batches"] - before["batches"]
			}
		}
	}
	median := func(k shape) float64 {
		t := costs[k].took
		slices.Sort(t)
		return t[len(t)/2]
	}
	fmt.Printf("\nCOMMIT on %s, one client, median of %d each; CPU, fsyncs, Raft messages and batches of a whole transaction\n\n", s.name, len(costs[shape{0, 1}].took))
	tw := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "rows\teach in a range of its own, ms\tover one range\tCPU ms\tfsyncs\trounds\tRaft\tbatches\tframes\tpushed\tall in one range, ms\tCPU ms\tfsyncs\t")
	for _, n := range counts {
		a, b := costs[shape{0, n}], costs[shape{1, n}]
		per := func(c *commitCost, x float64) float64 { return x / float64(len(c.took)) }
		ms := func(c *commitCost) float64 { return per(c, float64(c.cpu.Microseconds())/1000) }
		fmt.Fprintf(tw, "%d\t%.2f\t%.2f\t%.2f\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%.2f\t%.2f\t%.2f\t%.1f\t\n", n, median(shape{0, n}), median(shape{0, n})/median(shape{0, 1}),
			ms(a), per(a, a.fsyncs), per(a, a.rounds), per(a, a.raft), per(a, a.batches), per(a, a.frames), per(a, a.pushed), median(shape{1, n}), ms(b), per(b, b.fsyncs))
	}
	return tw.Flush()
}

// timedCommit updates the rows and returns how long COMMIT took, in ms.
func timedCommit(ctx context.Context, conn *pgx.Conn, ids []int32) (float64, error) {
	if _, err := conn.Exec(ctx, "begin"); err != nil {
		return 0, err
	}
	if _, err := conn.Exec(ctx, "update spread set n = n + 1 where id = any($1)", ids); err != nil {
		return 0, err
	}
	start := time.Now()
	_, err := conn.Exec(ctx, "commit")
	return float64(time.Since(start).Microseconds()) / 1000, err
}

// counters adds up, over all nodes, what the stores and the routers count.
func (s *system) counters(ctx context.Context) (map[string]float64, error) {
	names := map[string]string{"pamir_range_fsyncs_total": "fsyncs", "pamir_range_rounds_total": "rounds",
		"pamir_range_raft_sent_total": "raft_sent", "pamir_routing_batches_total": "batches", "pamir_txn_commits_two_rounds_total": "pushed", "pamir_rpc_sent_frames_total": "frames"}
	out := map[string]float64{}
	for _, web := range s.webs {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+web+"/metrics", nil)
		if err != nil {
			return nil, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, err
		}
		for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
			name, value, _ := strings.Cut(sc.Text(), " ")
			name, _, _ = strings.Cut(name, "{")
			if as := names[name]; as != "" {
				v, err := strconv.ParseFloat(value, 64)
				if err != nil {
					continue // a comment
				}
				out[as] += v
			}
		}
		resp.Body.Close()
	}
	return out, nil
}
