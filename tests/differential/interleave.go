package differential

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// turn is a step of an interleaved program: a session's next statement.
type turn struct {
	session int
	st      *stmt
}

// interleaved is a program of a few sessions in a fixed order of their steps.
type interleaved struct {
	seed     uint64
	setup    []string
	init     contents
	levels   []string // of the sessions, where they do not say
	turns    []turn
	wide     bool
	onDelete string
	cuts     []string // where Pamir's ranges are made to begin, as SQL: commits then go over several
}

var isolationLevels = []string{"read committed", "repeatable read", "serializable"}

func newInterleaved(seed uint64) *interleaved {
	r := rand.New(rand.NewPCG(seed, 4))
	p := &interleaved{seed: seed, init: contents{}, onDelete: pick(r, "", " on delete cascade", " on delete set null")}
	p.setup = []string{
		"create table a (k int primary key, v int not null, w int)", "create table b (k int primary key, v int not null, w int unique)",
		"create table c (k int primary key, v int not null, w int references a" + p.onDelete + ")",
	}
	for _, table := range []string{"a", "b", "c"} {
		if r.IntN(2) == 0 {
			p.setup = append(p.setup, fmt.Sprintf("create index on %s (%s)", table, pick(r, "v", "w", "v, w", "w, v desc")))
		}
		var rows []string
		for k := range keyDomain {
			if r.IntN(5) == 0 {
				continue
			}
			x := rowValue{r.IntN(keyDomain), none}
			w := "null"
			if y := (rowValue{x.v, r.IntN(keyDomain)}); r.IntN(2) == 0 {
				p.init[rowKey{table, k}] = y
				if p.init.valid() {
					x, w = y, fmt.Sprint(y.w)
				}
			}
			p.init[rowKey{table, k}] = x
			rows = append(rows, fmt.Sprintf("(%d, %d, %s)", k, x.v, w))
		}
		if len(rows) > 0 {
			p.setup = append(p.setup, "insert into "+table+" values "+strings.Join(rows, ", "))
		}
	}
	if cuts := rand.New(rand.NewPCG(seed, 6)); cuts.IntN(4) > 0 {
		for _, table := range []string{"a", "a", "b", "c"} {
			if cuts.IntN(3) > 0 {
				p.cuts = append(p.cuts, fmt.Sprintf("select pamir.split_at('%s', %d)", table, cuts.IntN(keyDomain)))
			}
		}
	}
	one := pick(r, append(isolationLevels, "")...) // all the same, or each its own
	n := 2 + r.IntN(2)
	queues := make([][]*stmt, n)
	for i := range n {
		level := one
		if level == "" {
			level = pick(r, isolationLevels...)
		}
		p.levels = append(p.levels, level)
		queues[i] = session(r, level, p.onDelete)
	}
	p.weave(r, queues)
	return p
}

// weave lets the sessions take turns with what is in their queues, one to three statements at a time.
func (p *interleaved) weave(r *rand.Rand, queues [][]*stmt) {
	for {
		var left []int
		for i := range queues {
			if len(queues[i]) > 0 {
				left = append(left, i)
			}
		}
		if len(left) == 0 {
			return
		}
		i := pick(r, left...)
		for range 1 + few(r, 2) {
			if len(queues[i]) > 0 {
				p.turns = append(p.turns, turn{i, queues[i][0]})
				queues[i] = queues[i][1:]
			}
		}
	}
}

// session makes the statements of one: a block or two, and single statements.
func session(r *rand.Rand, level, onDelete string) (out []*stmt) {
	for range 1 + r.IntN(2) {
		if r.IntN(8) == 0 {
			out = append(out, drawStmt(r, onDelete))
			continue
		}
		out = append(out, control("begin", "begin isolation level "+level))
		saved := false
		for range 1 + few(r, 5) {
			switch d := r.IntN(12); {
			case d == 0:
				out = append(out, control("savepoint", "savepoint s"))
				saved = true
			case d == 1 && saved:
				out = append(out, control("rollback to", "rollback to s"))
			case d == 2 && saved:
				out = append(out, control("release", "release s"))
				saved = false
			default:
				out = append(out, drawStmt(r, onDelete))
			}
		}
		if r.IntN(8) == 0 {
			out = append(out, control("rollback", "rollback"))
		} else {
			out = append(out, control("commit", "commit"))
		}
	}
	return out
}

// played is what a system answered.
type played struct {
	answers []*answer // of each turn
	waited  []bool    // whether it had to wait for a lock
	deals   []*deal
	final   contents
	broken  string // what went wrong as it does not in any correct system
}

// actor is a session on one of the two systems.
type actor struct {
	c       *pgconn.PgConn
	level   string
	backlog []int // turns that wait for those before them
	pending chan *answer
	turn    int
	start   int
	deal    *deal // the open transaction
	failed  bool  // a statement of the block has failed, and nothing was rolled back to

	prepared map[string]string // names of prepared statements, by their texts
	cursors  map[string]*deal  // by whom they were declared
	locks    []string          // advisory ones of the open transaction, by the names of their statements
}

// stage plays interleaved programs on one system.
type stage struct {
	dsns    []string
	waiting func(ctx context.Context) (int, error) // transactions that wait for a lock
	prepare string                                 // what a session begins with
	cuts    bool                                   // the tables can be cut into ranges
	moves   func(tables []uint64) (end func())     // begins to move the ranges of tables; nil for none
	travels bool                                   // it knows pamir.read_as_of
}

// patience is when a statement that does not answer, though nothing is seen to be in its way, is taken for one that waits.
const patience = 400 * time.Millisecond

func (s *stage) play(ctx context.Context, p *interleaved) (*played, error) {
	schema := fmt.Sprintf("i%d", p.seed)
	out := &played{answers: make([]*answer, len(p.turns)), waited: make([]bool, len(p.turns))}
	admin := &server{dsn: s.dsns[0]}
	if err := admin.connect(ctx); err != nil {
		return nil, err
	}
	defer admin.c.Close(ctx)
	setup := "drop schema if exists " + schema + " cascade; create schema " + schema + "; set search_path = " + schema
	for _, q := range append([]string{setup}, p.setup...) {
		if a := admin.do(ctx, q); a.state != "" {
			return nil, fmt.Errorf("%s: %s", q, a.outcome())
		}
	}
	defer func() { _ = admin.do(ctx, "drop schema "+schema+" cascade") }() // the next one has another name
	if s.cuts {
		for _, q := range p.cuts {
			if a := admin.do(ctx, q); a.state != "" {
				return nil, fmt.Errorf("%s: %s", q, a.outcome())
			}
		}
	}
	if s.moves != nil {
		var ids []uint64
		a := admin.do(ctx, "select oid from pg_class where relname in ('a', 'b', 'c') and relnamespace = '"+schema+"'::regnamespace")
		for _, row := range a.rows {
			ids = append(ids, uint64(atoi(row[0])))
		}
		defer s.moves(ids)()
	}
	var actors []*actor
	for i, level := range p.levels {
		x := &actor{level: level, prepared: map[string]string{}, cursors: map[string]*deal{}}
		srv := &server{dsn: s.dsns[i%len(s.dsns)]}
		if err := srv.connect(ctx); err != nil {
			return nil, err
		}
		x.c = srv.c
		defer x.c.Close(ctx)
		if a := srv.do(ctx, "set search_path = "+schema+"; set default_transaction_isolation = '"+level+"'; "+s.prepare); a.state != "" {
			return nil, fmt.Errorf("%s", a.outcome())
		}
		actors = append(actors, x)
	}
	pl := &play{stage: s, p: p, out: out, actors: actors, prepared: map[string]*deal{}, notes: map[string]*note{}}
	defer func() { pl.finish(ctx, admin) }() // else its locks stay
	for i, t := range p.turns {
		actors[t.session].backlog = append(actors[t.session].backlog, i)
		if err := pl.pump(ctx); err != nil {
			return nil, err
		}
	}
	for deadline := time.Now().Add(hang); pl.busy(); { // those that still wait for each other
		if time.Now().After(deadline) {
			out.broken = "sessions wait for ever: " + pl.stuck()
			return out, nil
		}
		pl.finish(ctx, admin)
		if err := pl.pump(ctx); err != nil {
			return nil, err
		}
		time.Sleep(time.Millisecond)
	}
	pl.finish(ctx, admin)
	out.final = contents{}
	a := admin.do(ctx, "select 'a', k, v, w from a union all select 'b', k, v, w from b union all select 'c', k, v, w from c")
	if a.state != "" {
		out.broken = a.outcome()
		return out, nil
	}
	for _, row := range a.rows {
		x := rowValue{atoi(row[2]), none}
		if row[3] != null {
			x.w = atoi(row[3])
		}
		out.final[rowKey{row[0], atoi(row[1])}] = x
	}
	return out, nil
}

func atoi(s string) (n int) {
	_, _ = fmt.Sscan(s, &n) // servers write integers
	return n
}

// play is a program on its way.
type play struct {
	*stage
	p      *interleaved
	out    *played
	actors []*actor
	clock  int

	prepared map[string]*deal // transactions
	notes    map[string]*note
}

func (pl *play) busy() bool {
	return slices.ContainsFunc(pl.actors, func(x *actor) bool { return x.pending != nil || len(x.backlog) > 0 })
}

func (pl *play) stuck() string {
	var out []string
	for i, x := range pl.actors {
		if x.pending != nil {
			out = append(out, fmt.Sprintf("session %d in %q", i+1, pl.p.turns[x.turn].st.text))
		}
	}
	return strings.Join(out, ", ")
}

// pump runs what can be run, until every session has nothing to do or waits.
func (pl *play) pump(ctx context.Context) error {
	for {
		if err := pl.settle(ctx); err != nil {
			return err
		}
		i := slices.IndexFunc(pl.actors, func(x *actor) bool { return x.pending == nil && len(x.backlog) > 0 })
		if i < 0 {
			return nil
		}
		x := pl.actors[i]
		x.turn, x.backlog = x.backlog[0], x.backlog[1:]
		pl.clock++
		x.start, x.pending = pl.clock, make(chan *answer, 1)
		run, ch := pl.sender(x), x.pending
		go func() { ch <- run(ctx) }() // ends with its answer, or with the connection
	}
}

// settle waits until every statement that is under way has been answered, or waits for a lock.
func (pl *play) settle(ctx context.Context) error {
	began, still := time.Now(), 0
	for {
		waits := 0
		for _, x := range pl.actors {
			if x.pending == nil {
				continue
			}
			select {
			case a := <-x.pending:
				pl.answered(x, a)
				began, still = time.Now(), 0
			default:
				waits++
			}
		}
		if waits == 0 {
			return nil
		}
		n, err := pl.waiting(ctx)
		if err != nil {
			return err
		}
		if n >= waits {
			still++
		}
		if still == 3 || time.Since(began) > patience {
			for _, x := range pl.actors {
				if x.pending != nil {
					pl.out.waited[x.turn] = true
				}
			}
			return nil
		}
		time.Sleep(time.Duration(1+2*still) * time.Millisecond)
	}
}

// answered notes an answer, and what it means for the session's transaction.
func (pl *play) answered(x *actor, a *answer) {
	pl.clock++
	st := pl.p.turns[x.turn].st
	x.pending = nil
	pl.out.answers[x.turn] = a
	if !allowedState(a.state) && !(pl.p.wide && st.mayFail(a.state)) {
		pl.out.broken = st.text + ": " + a.outcome()
	}
	add := func() {
		if !st.control() && x.deal.first == 0 {
			x.deal.first = x.start
		}
		x.deal.outcomes = append(x.deal.outcomes, outcome{st, x.start, pl.clock, a})
	}
	end := func(committed bool) {
		d := x.deal
		d.committed, d.commit, d.end = committed, x.start, pl.clock
		if d.first == 0 {
			d.first = x.start
		}
		pl.out.deals = append(pl.out.deals, d)
		x.deal, x.failed = nil, false
	}
	fresh := func() *deal { return &deal{session: slices.Index(pl.actors, x), level: x.level, begun: x.start} }
	if pl.answeredWide(x, st, a, end) {
		return
	}
	switch {
	case st.kind == "begin" && x.deal == nil:
		x.deal = fresh()
		for _, level := range isolationLevels {
			if strings.Contains(st.text, level) {
				x.deal.level = level
			}
		}
	case st.kind == "commit" && x.deal != nil:
		end(a.state == "" && a.tag == "COMMIT")
	case st.kind == "rollback" && x.deal != nil:
		end(false)
	case x.deal != nil && st.kind == "rollback to" && a.state == "":
		x.failed = false
		add()
	case x.deal != nil:
		if a.state == "25P02" {
			return
		}
		if a.state != "" {
			x.failed = true
		}
		if a.state == "" || strings.HasPrefix(a.state, "23") {
			add()
		}
	case !st.control():
		x.deal = fresh()
		add()
		end(a.state == "")
	}
}

// allowedState: the errors that such programs can lead to.
func allowedState(state string) bool {
	switch state {
	case "", "40001", "40P01", "23505", "23503", "25P02", "55P03", "25P01", "3B001":
		return true
	}
	return false
}
