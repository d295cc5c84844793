package differential

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/pamirdb/pamir/tests/cluster"
)

// pauser stops one process after the other (SIGSTOP), for less or for longer than the promises between stores last, and lets leaders move, until ctx ends.
type pauser struct {
	c      *cluster.Cluster
	r      *rand.Rand
	pauses int
	moves  int
}

func (x *pauser) run(ctx context.Context) {
	for {
		if !rest(ctx, time.Duration(100+x.r.IntN(700))*time.Millisecond) {
			return
		}
		i := x.r.IntN(x.c.Size())
		if x.r.IntN(3) == 0 {
			x.transfer(ctx, i)
			continue
		}
		x.c.Pause(i)
		rest(ctx, time.Duration(50+x.r.IntN(pick(x.r, 400, 2500)))*time.Millisecond)
		x.c.Resume(i)
		x.pauses++
	}
}

// transfer moves the leader of some range of a table.
func (x *pauser) transfer(ctx context.Context, node int) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	s := &server{dsn: x.c.DSN(node)}
	if s.connect(ctx) != nil {
		return
	}
	defer s.c.Close(ctx)
	a := s.do(ctx, "select pamir.transfer_leader(id, node) from (select range_id as id, replicas[1 + floor(random() * cardinality(replicas))::int] as node from pamir.ranges where table_name like 't_' order by random() limit 1) x")
	if a.state == "" && len(a.rows) > 0 {
		x.moves++
	}
}

// rest waits, and reports whether ctx goes on.
func rest(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// splitBySQL cuts a table of processes at some of its rows. There may be nothing to cut, and nobody to do it.
func (p *program) splitBySQL(ctx context.Context, t *table, n int) {
	s := &server{dsn: pick(p.r, p.dsns...)}
	if s.connect(ctx) != nil {
		return
	}
	defer s.c.Close(ctx)
	key := names(t, t.key)
	if a := s.do(ctx, fmt.Sprintf("set search_path = s%d; select pamir.split_at('%s', %s) from (select %s from %s order by random() limit %d) x", p.seed, t.name, key, key, t.name, n)); a.state == "" {
		p.sum.splits += len(a.rows)
	}
}
