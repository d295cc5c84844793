package sessions

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/internal/node"
	"github.com/pamirdb/pamir/tests/cluster"
)

var (
	queues    = flag.Int("queues", 4, "how many random queues TestQueues plays")
	queueSeed = flag.Uint64("queue", 1, "the seed of the first of them")
)

// TestQueues has workers take rows by SKIP LOCKED from a join, in an order that no index need have, and change or remove what they took, while others
// insert rows and change what the join, the order and the filter look at. Nobody takes what somebody else has, what is taken is and stays as it was shown, and comes in
// order. Locks live in the memory of leaders: where one is lost, two may take the same row, and both commit if not both have written it. When all is quiet, what is free is taken, in order, and nothing is left out but what is held. Where nobody but the workers writes, none of them gets 40001.
func TestQueues(t *testing.T) {
	l := cluster.StartLocal(t, 3, cluster.LongSupportLocal)
	for seed := *queueSeed; seed < *queueSeed+uint64(*queues); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			q := newQueue(&suite{l, t}, seed)
			t.Log(q.level, q.sql)
			q.judge(q.busy())
			for range 3 {
				q.quiet()
			}
			t.Logf("%d taken, %d failed", q.taken, q.failed)
			q.do("drop table " + q.jobs + ", " + q.groups)
		})
	}
}

// TestQueuesCatches plants the bug that TestQueues is to find in what workers are told: transactions depend on what SKIP LOCKED has left out.
func TestQueuesCatches(t *testing.T) {
	l := cluster.StartLocal(t, 1, func(_ int, c *node.Config) { c.PlantedSkippedRead = true })
	played := 0
	for seed := uint64(1); played < 20; seed++ {
		q := newQueue(&suite{l, t}, seed)
		if q.churn || q.share || q.level != "serializable" {
			continue
		}
		played++
		q.busy()
		if len(q.why) > 0 {
			t.Logf("noticed in queue %d of them: %s", played, q.why[0])
			return
		}
	}
	t.Fatalf("not noticed in %d queues", played)
}

// queue is a table of jobs, each in a group, and how it is taken from.
type queue struct {
	*client
	s             *suite
	r             *rand.Rand
	jobs, groups  string
	level, plain  string
	sql           string // plain, with a locking clause
	limit         int
	share, of     bool // the lock is FOR SHARE; only jobs are locked
	churn         bool // there are others than workers
	mu            sync.Mutex
	holders       map[int][]*taking // of a job: transactions that have shown it, and are not about to end yet
	twice         []pair            // who had a job at the same time
	next          int
	taken, failed int
	why           []string // they have failed
}

// job is a row that was taken.
type job struct{ id, state, prio, grp, w int }

func newQueue(s *suite, seed uint64) *queue {
	r := rand.New(rand.NewPCG(seed, 11))
	q := &queue{client: s.connect(s.t, 0), s: s, r: r, jobs: fmt.Sprintf("qj%d", seed), groups: fmt.Sprintf("qg%d", seed), limit: 1 + r.IntN(3), of: r.IntN(3) > 0, churn: r.IntN(3) > 0, holders: map[int][]*taking{}, next: 100}
	q.level = []string{"read committed", "repeatable read", "serializable"}[r.IntN(3)]
	lock := []string{"update", "update", "no key update", "share"}[r.IntN(4)]
	q.share = lock == "share"
	order := []string{"j.prio, j.id", "g.w desc, j.prio, j.id", "j.prio % 3, j.id desc", "j.id"}[r.IntN(4)]
	q.plain = fmt.Sprintf("select j.id, j.state, j.prio, j.grp, g.w from %s j join %s g on g.id = j.grp where j.state = 0 and g.w < 8 order by %s", q.jobs, q.groups, order)
	q.sql = fmt.Sprintf("%s limit %d for %s", q.plain, q.limit, lock)
	if q.of {
		q.sql += " of j"
	}
	q.sql += " skip locked"
	q.do("create table " + q.jobs + " (id int primary key, state int not null, prio int not null, grp int not null)")
	q.do("create table " + q.groups + " (id int primary key, w int not null)")
	if r.IntN(2) == 0 {
		q.do("create index on " + q.jobs + " (" + []string{"state, prio", "grp", "prio"}[r.IntN(3)] + ")")
	}
	q.do(fmt.Sprintf("insert into %s select g, g %% 10 from generate_series(1, 8) g", q.groups))
	q.do(fmt.Sprintf("insert into %s select g, 0, g * 7 %% 5, 1 + g %% 8 from generate_series(1, 24) g", q.jobs))
	if r.IntN(2) == 0 {
		q.do("select pamir.split_at('" + q.jobs + "', 9), pamir.split_at('" + q.jobs + "', 17)")
	}
	return q
}

func scanJobs(rows pgx.Rows, err error) ([]job, error) {
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (j job, err error) {
		return j, r.Scan(&j.id, &j.state, &j.prio, &j.grp, &j.w)
	})
}

func retryable(err error) bool {
	return sqlstate(err) == "40001" || sqlstate(err) == "40P01"
}

// busy has all of them at it at the same time. lost is how many leaders may have been lost meanwhile.
func (q *queue) busy() (lost int) {
	before := q.s.Campaigns()
	var wg sync.WaitGroup
	for w := range 4 {
		c, r := q.s.connect(q.t, w%len(q.s.Nodes)), rand.New(rand.NewPCG(q.r.Uint64(), 1))
		wg.Go(func() {
			for range 12 {
				if err := q.work(c, r); retryable(err) {
					q.mu.Lock()
					q.failed++
					var pg *pgconn.PgError
					_ = errors.As(err, &pg)
					q.why = append(q.why, fmt.Sprintf("%s %s %s %s", pg.Code, pg.Message, pg.Detail, pg.Hint))
					q.mu.Unlock()
				} else if err != nil {
					q.t.Errorf("%s: %v", q.sql, err)
				}
			}
		})
	}
	for w := range 2 {
		c, r := q.s.connect(q.t, w%len(q.s.Nodes)), rand.New(rand.NewPCG(q.r.Uint64(), 2))
		if !q.churn {
			continue
		}
		wg.Go(func() {
			for range 20 {
				if _, err := c.Exec(bg, q.change(r)); err != nil && !retryable(err) {
					q.t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	return q.s.Campaigns() - before
}

// judge looks at what has become of that.
func (q *queue) judge(lost int) {
	for _, x := range q.twice {
		if a, b := x.a, x.b; a.committed && b.committed && (lost == 0 || a.wrote[x.job] && b.wrote[x.job]) {
			q.t.Errorf("job %d is taken by two (%d elections): %s", x.job, lost, q.sql)
		}
	}
	if !q.churn && !q.share && lost == 0 {
		require.Empty(q.t, q.why, "workers beside workers have failed")
	}
}

// change is a statement of somebody who is not a worker.
func (q *queue) change(r *rand.Rand) string {
	id, grp := 1+r.IntN(24), 1+r.IntN(8)
	switch r.IntN(6) {
	case 0:
		return fmt.Sprintf("update %s set grp = %d where id = %d", q.jobs, grp, id)
	case 1:
		return fmt.Sprintf("update %s set prio = %d where id = %d", q.jobs, r.IntN(9), id)
	case 2:
		return fmt.Sprintf("update %s set w = %d where id = %d", q.groups, r.IntN(10), grp)
	case 3:
		return fmt.Sprintf("delete from %s where id = %d", q.jobs, id)
	case 4:
		return fmt.Sprintf("update %s set state = 0 where state = 1 and prio = %d", q.jobs, r.IntN(5))
	}
	q.mu.Lock()
	q.next++
	id = q.next
	q.mu.Unlock()
	return fmt.Sprintf("insert into %s values (%d, 0, %d, %d)", q.jobs, id, r.IntN(9), grp)
}

// taking is a worker's transaction. What it was told is wrong only if it commits: one whose locks were lost with a leader does not, if the row was changed since.
type taking struct {
	committed bool
	wrote     map[int]bool // jobs
}

type pair struct {
	job  int
	a, b *taking
}

// claim notes who has shown which jobs.
func (q *queue) claim(x *taking, js []job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, j := range js {
		q.taken++
		for _, y := range q.holders[j.id] {
			if !q.share {
				q.twice = append(q.twice, pair{j.id, x, y})
			}
		}
		q.holders[j.id] = append(q.holders[j.id], x)
	}
}

// unclaim notes who is about to end.
func (q *queue) unclaim(x *taking, js []job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, j := range js {
		q.holders[j.id] = slices.DeleteFunc(q.holders[j.id], func(y *taking) bool { return y == x })
	}
}

// work is the transaction of a worker.
func (q *queue) work(c *client, r *rand.Rand) error {
	tx, err := c.Begin(bg)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(bg) }()
	if _, err := tx.Exec(bg, "set transaction isolation level "+q.level); err != nil {
		return err
	}
	js, err := scanJobs(tx.Query(bg, q.sql))
	if err != nil {
		return err
	}
	x, wrong := &taking{wrote: map[int]bool{}}, []string{}
	q.claim(x, js)
	ended := false
	end := func() {
		if !ended {
			q.unclaim(x, js)
		}
		ended = true
	}
	defer end() // before it is rolled back
	ids := []int{}
	for _, j := range js {
		ids = append(ids, j.id)
		if j.state != 0 || j.w >= 8 {
			q.t.Errorf("job %v is taken: %s", j, q.sql)
		}
	}
	if len(js) > q.limit {
		q.t.Errorf("%d jobs: %s", len(js), q.sql)
	}
	for range 2 { // it stays so
		again, err := scanJobs(tx.Query(bg, "select j.id, j.state, j.prio, j.grp, 0 from "+q.jobs+" j where id = any($1)", ids))
		if err != nil {
			return err
		}
		for i := range again {
			if k := slices.IndexFunc(js, func(j job) bool { return j.id == again[i].id }); k >= 0 {
				again[i].w = js[k].w
			}
		}
		a, b := slices.Clone(js), again
		byID := func(x, y job) int { return x.id - y.id }
		slices.SortFunc(a, byID)
		slices.SortFunc(b, byID)
		if !slices.Equal(a, b) {
			wrong = append(wrong, fmt.Sprintf("%s: shown %v, locked %v: %s", q.level, a, b, q.sql))
		}
	}
	if !q.share && len(ids) > 0 {
		what := []string{"update %s set state = 1 where id = any($1)", "update %s set prio = prio + 3 where id = any($1)", "delete from %s where id = any($1) and id > 12", "update %s set grp = 1 + grp %% 8 where id = any($1)"}[r.IntN(4)]
		if _, err := tx.Exec(bg, fmt.Sprintf(what, q.jobs), ids); err != nil {
			return err
		}
		for _, id := range ids {
			x.wrote[id] = id > 12 || !strings.HasPrefix(what, "delete")
		}
	}
	end()
	if r.IntN(5) == 0 {
		return tx.Rollback(bg)
	}
	if err := tx.Commit(bg); err != nil {
		return err
	}
	x.committed = true
	for _, w := range wrong {
		q.t.Error(w)
	}
	return nil
}

// quiet has transactions take rows one after the other, and end.
func (q *queue) quiet() {
	q.do("update " + q.jobs + " set state = 0 where id % 4 <> 0")
	q.do("update " + q.groups + " set w = w % 8 where id % 3 <> 0")
	all, err := scanJobs(q.Query(bg, q.plain))
	require.NoError(q.t, err)
	held, groups := map[int]bool{}, map[int]bool{}
	free := func() []job {
		js := []job{}
		for _, j := range all {
			if len(js) < q.limit && !held[j.id] && !groups[j.grp] {
				js = append(js, j)
			}
		}
		return js
	}
	var open []*client
	var took [][]job
	n := 3
	if !q.of {
		n = 2 // the second may lock jobs of groups that it then finds locked
	}
	take := func(node int) {
		c := q.s.connect(q.t, node)
		c.do("begin isolation level " + q.level)
		js, err := scanJobs(c.Query(bg, q.sql))
		require.NoError(q.t, err)
		require.Equal(q.t, free(), js, "%s: %s\nof %v, without jobs %v and groups %v", q.level, q.sql, all, held, groups)
		for _, j := range js {
			held[j.id] = !q.share
			groups[j.grp] = groups[j.grp] || !q.share && !q.of
		}
		open, took = append(open, c), append(took, js)
	}
	for i := range n {
		take(i % len(q.s.Nodes))
	}
	if q.of {
		for i := range 3 { // what has just ended is free, if it has not been changed
			c := open[i]
			for _, j := range took[i] {
				delete(held, j.id)
			}
			if i == 1 && !q.share && len(took[i]) > 0 {
				c.do("update "+q.jobs+" set prio = prio where id = $1", took[i][0].id)
			}
			c.do([]string{"commit", "commit", "rollback"}[i])
			take((i + 1) % len(q.s.Nodes))
		}
		open = open[3:]
	}
	for _, c := range open {
		c.do("rollback")
	}
}
