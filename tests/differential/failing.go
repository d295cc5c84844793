package differential

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/pamirdb/pamir/internal/node"
	"github.com/pamirdb/pamir/range/kv"
)

// failingReads makes the n-th read of a statement fail as one does whose snapshot cannot be moved: what has been read has changed since. The server then runs the statement,
// or the block up to it, again, and nobody is to notice.
type failingReads struct {
	mu     sync.Mutex
	seen   int
	failAt int // 0: none
}

// read is node.Config.FailRead.
func (f *failingReads) read() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen++
	if f.seen == f.failAt {
		return kv.Errorf(kv.CodeRefreshFailed, "a read that a test makes fail")
	}
	return nil
}

// during runs what reads, with the n-th read failing (0: none), and returns how many reads there were.
func (f *failingReads) during(n int, run func()) int {
	f.mu.Lock()
	f.seen, f.failAt = 0, n
	f.mu.Unlock()
	run()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failAt = 0
	return f.seen
}

// slow makes a node clean up late, now and then, after commits over several ranges: the locks of what has been acknowledged are still there for whoever comes next.
func slow(c *node.Config) {
	c.Linger = func(ctx context.Context) {
		wait := time.Duration(rand.IntN(100)-40) * time.Millisecond
		if wait <= 0 {
			return
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// failing asks Pamir with one of the first reads failing, if there are so many, as often as one says, of 6; failed is whether one has.
func (p *program) failing(of int, ask func() *answer) (a *answer, failed bool) {
	if p.reads == nil || p.r.IntN(6) >= of {
		return ask(), false
	}
	n := 1 + p.r.IntN(pick(p.r, 1, 3, 12))
	if failed = p.reads.during(n, func() { a = ask() }) >= n; failed {
		p.sum.failed++
		p.note(fmt.Sprintf("-- with read %d of the following failing", n))
	}
	return a, failed
}

// executeFailing executes a prepared query again, each time with another read that fails, and once more with none: what is left of an execution that has failed must not
// be in the next.
func (p *program) executeFailing(text string, params []*value, cmp *comparison) {
	var want *answer
	reads := p.reads.during(0, func() { want = p.pamir.execute(p.ctx, params) })
	if want.state != "" || reads == 0 {
		return
	}
	for n := range 4 {
		at := 0
		if n < 3 {
			at = 1 + p.r.IntN(reads)
			p.sum.failed++
		}
		var got *answer
		p.reads.during(at, func() { got = p.pamir.execute(p.ctx, params) })
		if got.state == "40001" {
			continue // so much had been sent that the server could not take it back
		}
		if d := p.equal(want, got, cmp); d != "" {
			p.differs(text, fmt.Sprintf("with read %d of %d failing (0: after that), %s with parameters %s", at, reads, d, literals(params)))
			return
		}
	}
}

// replayed is a block of queries and changes, without savepoints and cursors, of which reads fail: the server runs the block again, up to where it was. It ends with the first error.
func (p *program) replayed() {
	p.both("begin isolation level " + pick(p.r, "serializable", "repeatable read", "read committed"))
	p.open = true
	defer func() { p.open = false }()
	again := false
	for range 2 + p.r.IntN(6) {
		var t *tree
		cmp, kind := &comparison{}, ""
		if p.r.IntN(2) == 0 {
			q := p.g.top()
			t, kind = q.tree, "SELECT"
			*cmp = comparison{kinds: q.kinds, keys: q.keys, total: q.total, limited: q.limited}
		} else {
			c := p.g.change()
			t, kind, cmp.kinds = c.tree, c.kind, c.kinds
		}
		text, _ := t.text(false)
		ask := func(s *server) *answer { return s.do(p.ctx, text) }
		if p.r.IntN(3) == 0 {
			kind += ", prepared"
			with, params := t.text(true)
			ask = func(s *server) *answer {
				if a := s.prepare(p.ctx, with); a.state != "" {
					return a
				}
				return s.execute(p.ctx, params)
			}
		}
		p.sum.statements["in a block that is run again: "+kind]++
		pg := ask(p.pg)
		pamir, failed := p.failing(2, func() *answer { return ask(p.pamir) })
		p.note(text)
		again = again || failed
		if again && pamir.state == "40001" {
			p.sum.shown++
			p.quiet("rollback")
			return
		}
		before := p.sum.refusals()
		if d := p.equal(pg, pamir, cmp); d != "" {
			p.differs(text, "in a block with reads that failed: "+d)
			p.diverged = true
			return
		}
		if p.sum.refusals() != before {
			p.quiet("rollback")
			return
		}
		if pg.state != "" {
			break
		}
	}
	end := pick(p.r, "commit", "commit", "rollback")
	p.note(end)
	pg := p.pg.do(p.ctx, end)
	if pamir := p.pamir.do(p.ctx, end); pamir.state != pg.state || pamir.tag != pg.tag {
		p.differs(end, "PostgreSQL: "+pg.outcome()+", Pamir: "+pamir.outcome())
		p.diverged = true
		return
	}
	p.open = false
	for _, t := range p.g.tables {
		if !p.diverged {
			p.whole(t)
		}
	}
}
