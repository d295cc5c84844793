package chaos

import (
	"context"
	"encoding/json"
	"flag"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/tests/cluster"
)

var (
	duration  = flag.Duration("duration", 45*time.Second, "how long faults go on; a round lasts at most a minute of it")
	faultKind = flag.String("faults", "kill-leader,pause,isolate,one-way,clock,partial,kill,stop,one-way-all,kill-all", "kinds of faults, in this order, again and again")
	nodes     = flag.Int("nodes", 3, "processes")
	seed      = flag.Uint64("seed", 0, "of the choices made here, not of the scheduling of processes; 0: from the time")
	pace      = flag.Duration("pace", 10*time.Millisecond, "the longest pause of a client between two operations")
	dump      = flag.String("dump", "", "directory for what the nodes say while a client is stuck")
)

const roundTime = time.Minute

func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short: it takes a minute")
	}
	names := strings.Split(*faultKind, ",")
	for _, n := range names {
		require.Contains(t, kinds, n, "a kind of fault")
	}
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", *seed)
	c := cluster.Start(t, *nodes, cluster.WithNetwork(), cluster.WithClocks(), cluster.WithTimeout(2*time.Minute))
	r := &run{t: t, c: c, base: time.Now(), pace: *pace, dump: *dump, rng: rand.New(rand.NewPCG(*seed, 1)), rng2: rand.New(rand.NewPCG(*seed, 2)),
		errors: map[string]map[string]int{}, resolved: map[string]int{}}
	for i := range *nodes {
		r.dsns = append(r.dsns, c.DSN(i))
	}
	r.exec(schema...)
	_, err := r.status(0, "1")
	r.hasStatus = err == nil
	end := time.Now().Add(*duration)
	for time.Now().Before(end) && !t.Failed() {
		r.round++
		r.oneRound(min(roundTime, time.Until(end)), names)
	}
	r.keepLogs()
	t.Logf("%d rounds\n%s", r.round, r.summary())
}

func (r *run) oneRound(d time.Duration, names []string) {
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
	r.wg.Go(func() { r.stir(ctx, tables) })
	defer r.wg.Wait() // also after a fatal error
	defer cancel()

	time.Sleep(2 * time.Second)
	faults, stop := context.WithTimeout(ctx, d)
	defer stop()
	// Each round begins where the last one ended.
	k := int(r.round-1) * 7 % len(names)
	r.inflict(faults, slices.Concat(names[k:], names[:k]))
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
