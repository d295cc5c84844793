package chaos

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// fault is one thing that was done to the cluster, and undone.
type fault struct {
	kind     string
	victims  []int // nodes that cannot serve while it lasts
	what     string
	from, to time.Time // to is zero while it lasts
}

// kinds of faults. Each does its harm and returns how to undo it.
var kinds = map[string]func(r *run) (victims []int, what string, undo func()){
	"kill": func(r *run) ([]int, string, func()) {
		i := r.rng.IntN(r.c.Size())
		r.c.Kill(i)
		return []int{i}, fmt.Sprintf("node %d killed", i+1), func() { r.c.Restart(i) }
	},
	"kill-leader": func(r *run) ([]int, string, func()) {
		i := r.leader()
		r.c.Kill(i)
		return []int{i}, fmt.Sprintf("node %d, which led most, killed", i+1), func() { r.c.Restart(i) }
	},
	"kill-all": func(r *run) ([]int, string, func()) {
		r.c.KillAll()
		return r.all(), "all killed", func() {
			for i := range r.c.Size() {
				r.c.Restart(i)
			}
		}
	},
	"stop": func(r *run) ([]int, string, func()) {
		i := r.rng.IntN(r.c.Size())
		r.c.Stop(i)
		return []int{i}, fmt.Sprintf("node %d drained and stopped", i+1), func() { r.c.Restart(i) }
	},
	"pause": func(r *run) ([]int, string, func()) {
		i := r.leader()
		r.c.Pause(i)
		return []int{i}, fmt.Sprintf("node %d paused", i+1), func() { r.c.Resume(i) }
	},
	"isolate": func(r *run) ([]int, string, func()) {
		i := r.rng.IntN(r.c.Size())
		r.c.Net.Isolate(i)
		return []int{i}, fmt.Sprintf("node %d cut off", i+1), r.c.Net.Heal
	},
	"partial": func(r *run) ([]int, string, func()) {
		a, b := r.two()
		r.c.Net.CutBoth(a, b)
		return []int{a, b}, fmt.Sprintf("nodes %d and %d cut off from each other", a+1, b+1), r.c.Net.Heal
	},
	"one-way": func(r *run) ([]int, string, func()) {
		a, b := r.two()
		r.c.Net.Cut(a, b)
		return []int{a, b}, fmt.Sprintf("node %d not heard by node %d", a+1, b+1), r.c.Net.Heal
	},
	"one-way-all": func(r *run) ([]int, string, func()) {
		a := r.rng.IntN(r.c.Size())
		for b := range r.c.Size() {
			if b != a {
				r.c.Net.Cut(b, a)
			}
		}
		return []int{a}, fmt.Sprintf("node %d hears nobody and is heard", a+1), r.c.Net.Heal
	},
	"clock": func(r *run) ([]int, string, func()) { // half the bound: nothing may come of it
		i, d := r.rng.IntN(r.c.Size()), time.Duration(r.rng.IntN(200)-100)*time.Millisecond
		r.c.SetClock(i, d)
		return nil, fmt.Sprintf("clock of node %d moved by %s", i+1, d), func() { r.c.SetClock(i, 0) }
	},
	// Beyond the bound: not among the defaults, since stale reads are then allowed.
	"clock-far": func(r *run) ([]int, string, func()) {
		i, d := r.rng.IntN(r.c.Size()), time.Duration(r.rng.IntN(20)-10)*time.Second
		r.c.SetClock(i, d)
		return []int{i}, fmt.Sprintf("clock of node %d moved by %s", i+1, d), func() { r.c.SetClock(i, 0) }
	},
}

func (r *run) all() []int {
	var all []int
	for i := range r.c.Size() {
		all = append(all, i)
	}
	return all
}

func (r *run) two() (int, int) {
	a := r.rng.IntN(r.c.Size())
	return a, (a + 1 + r.rng.IntN(r.c.Size()-1)) % r.c.Size()
}

// leader is the node that leads most ranges, or any.
func (r *run) leader() int {
	i, err := r.c.NodeWithMostLeaders()
	if err != nil {
		return r.rng.IntN(r.c.Size())
	}
	return i
}

// inflict runs one fault after the other until ctx ends, and leaves the cluster whole.
func (r *run) inflict(ctx context.Context, names []string) {
	for n := 0; ctx.Err() == nil; n++ {
		pause(ctx, time.Duration(1000+r.rng.IntN(2000))*time.Millisecond)
		if ctx.Err() != nil {
			return
		}
		name := names[n%len(names)]
		from := time.Now()
		victims, what, undo := kinds[name](r)
		r.mu.Lock()
		r.faults = append(r.faults, fault{kind: name, victims: victims, what: what, from: from})
		r.mu.Unlock()
		r.t.Logf("%s  %s", from.UTC().Format("15:04:05.000"), what)
		pause(ctx, time.Duration(1000+r.rng.IntN(4000))*time.Millisecond)
		undo()
		r.c.WaitReady()
		r.mu.Lock()
		r.faults[len(r.faults)-1].to = time.Now()
		r.mu.Unlock()
	}
}

// hurt reports whether a node is a victim now, or was until a moment ago.
func (r *run) hurt(i int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hurtDuring(i, time.Now().Add(-time.Second), time.Now())
}

func (r *run) hurtDuring(i int, from, to time.Time) bool {
	for _, f := range r.faults {
		if f.from.Before(to) && (f.to.IsZero() || f.to.After(from)) {
			for _, v := range f.victims {
				if v == i {
					return true
				}
			}
		}
	}
	return false
}

func (r *run) during(from, to time.Time) string {
	var out []string
	for _, f := range r.faults {
		if f.from.Before(to) && (f.to.IsZero() || f.to.After(from)) {
			out = append(out, fmt.Sprintf("%s from %s", f.what, f.from.UTC().Format("15:04:05.000")))
		}
	}
	if len(out) == 0 {
		return "no fault"
	}
	return strings.Join(out, "; ")
}

func (r *run) lastFault() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.during(time.Now().Add(-10*time.Second), time.Now())
}

// mostSplits bounds the ranges of a long run.
const mostSplits = 60

// cut is where a range was made to begin.
type cut struct {
	table string
	at    int64
}

// stir moves leaders, splits ranges and takes the cuts back, all the time. Each may fail when nodes are down.
func (r *run) stir(ctx context.Context, tables []string) {
	for n := 0; ctx.Err() == nil; n++ {
		pause(ctx, time.Duration(300+r.rng2.IntN(1200))*time.Millisecond)
		node := r.rng2.IntN(len(r.dsns))
		if r.hurt(node) {
			continue
		}
		if n%4 == 0 && r.split-r.merged < mostSplits {
			c := cut{tables[r.rng2.IntN(len(tables))], r.round*roundKeys + r.rng2.Int64N(200)}
			if r.operate(ctx, node, "select pamir.split_at($1, $2::bigint)", c.table, c.at) {
				r.split++
				r.cuts = append(r.cuts, c)
			}
			continue
		}
		if n%4 == 2 && len(r.cuts) > 0 {
			i := r.rng2.IntN(len(r.cuts))
			if r.operate(ctx, node, "select pamir.merge_at($1, $2::bigint)", r.cuts[i].table, r.cuts[i].at) {
				r.merged++
				r.cuts = slices.Delete(r.cuts, i, i+1)
			}
			continue
		}
		ranges, err := r.c.Ranges(node)
		if err != nil || len(ranges) == 0 {
			continue
		}
		g := ranges[r.rng2.IntN(len(ranges))]
		if len(g.Replicas) > 0 && r.operate(ctx, node, "select pamir.transfer_leader($1, $2)", g.ID, int64(g.Replicas[r.rng2.IntN(len(g.Replicas))].NodeID)) {
			r.moved++
		}
	}
}

func (r *run) operate(ctx context.Context, node int, query string, args ...any) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, r.dsns[node])
	if err != nil {
		return false
	}
	defer closeConn(conn)
	_, err = conn.Exec(ctx, query, args...)
	return err == nil
}
