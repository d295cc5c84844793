package chaos

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/pamirdb/pamir/tests/cluster"
)

// Settings of a run.
type Settings struct {
	Seed uint64        // of the choices made here, not of the scheduling of processes
	Pace time.Duration // the longest pause of a client between two operations
	Dump string        // directory for what the nodes say while a client is stuck; empty for none
}

func newRun(t testing.TB, c *cluster.Cluster, s Settings) *run {
	r := &run{t: t, c: c, base: time.Now(), pace: s.Pace, dump: s.Dump, rng: rand.New(rand.NewPCG(s.Seed, 1)), rng2: rand.New(rand.NewPCG(s.Seed, 2)),
		errors: map[string]map[string]int{}, resolved: map[string]int{}}
	for i := range c.Size() {
		r.dsns = append(r.dsns, c.DSN(i))
	}
	r.exec(schema...)
	_, err := r.status(0, "1")
	r.hasStatus = err == nil
	return r
}

// Tables are those of the workloads; the keys of a round are RoundKeys(round) and the ones after it.
func Tables() []string { return tables }

// RoundKeys is the first key that a round uses; rounds count from 1.
func RoundKeys(round int64) int64 { return round * roundKeys }

// Under runs the workloads at the nodes that a cluster has now, and judges what they saw, for rounds: in each of them trouble is called, on the
// test's goroutine, and may do to the cluster what it likes, if all nodes run in the end.
func Under(t testing.TB, c *cluster.Cluster, s Settings, rounds int, trouble func(ctx context.Context, round int64)) {
	r := newRun(t, c, s)
	for range rounds {
		if r.round++; !t.Failed() {
			r.oneRound(func(ctx context.Context) { trouble(ctx, r.round) })
		}
	}
	r.keepLogs()
	t.Logf("%d rounds\n%s", r.round, r.summary())
}

// oneRound runs the workloads while trouble, which is called on the test's goroutine, makes some; then it judges. All nodes must be there again
// when trouble returns, or on their way.
func (r *run) oneRound(trouble func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r.clients = nil
	var ls []*lists
	for _, l := range levels {
		ls = append(ls, newLists(r, l))
	}
	s := newSmall(r)
	for _, w := range ls {
		w.start(ctx, 3)
	}
	s.start(ctx)
	r.wg.Go(func() { r.watch(ctx) })
	defer r.wg.Wait() // also after a fatal error
	defer cancel()

	time.Sleep(2 * time.Second)
	trouble(ctx)
	time.Sleep(2 * time.Second)
	cancel()
	r.wg.Wait()

	for i := range r.c.Size() {
		if !r.c.Running(i) {
			r.t.Errorf("node %d has ended by itself", i+1)
		}
	}
	r.c.WaitReady()
	r.c.WaitReplicated()
	for _, w := range ls {
		w.judge()
	}
	s.judge()
	r.checksums()
	r.panics()
}

// checksums compares the replicas of every range, asking again while some have no answer yet.
func (r *run) checksums() {
	var sums struct {
		Ranges []struct {
			ID        int64             `json:"range_id"`
			Checksums map[string]string `json:"by_store"`
		} `json:"ranges"`
	}
	deadline := time.Now().Add(time.Minute)
	for {
		raw, err := r.c.Get(0, "/api/v1/checksums")
		if err == nil {
			err = json.Unmarshal(raw, &sums)
		}
		complete := err == nil && len(sums.Ranges) > 0
		for _, g := range sums.Ranges {
			distinct := map[string]bool{}
			for _, s := range g.Checksums {
				distinct[s] = true
			}
			if len(distinct) > 1 {
				r.t.Errorf("the replicas of range %d differ: %v", g.ID, g.Checksums)
				return
			}
			complete = complete && len(g.Checksums) >= min(r.c.Size(), 3)
		}
		if complete {
			r.t.Logf("the replicas of %d ranges agree", len(sums.Ranges))
			return
		}
		if time.Now().After(deadline) {
			r.t.Errorf("not every replica has a checksum: %v: %s", err, raw)
			return
		}
		time.Sleep(time.Second)
	}
}

// panics looks for them in the nodes' logs.
func (r *run) panics() {
	for i := range r.c.Size() {
		var bad []string
		for _, line := range strings.Split(r.c.Logs(i, 1<<30), "\n") {
			if strings.Contains(line, "panic") || strings.HasPrefix(line, "goroutine ") || strings.HasPrefix(line, "fatal error") {
				bad = append(bad, line)
			}
		}
		if len(bad) > 0 {
			sort.Strings(bad)
			r.t.Errorf("node %d has panicked: %s", i+1, strings.Join(bad[:min(len(bad), 10)], "\n"))
		}
	}
}
