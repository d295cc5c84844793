package differential

import (
	"fmt"
	"sync"

	"github.com/pamirdb/pamir/range/kv"
)

// failingReads makes the n-th read of a statement fail as one does whose snapshot cannot be moved: what has been read has changed since. The server then runs the statement
// again, and nobody is to notice.
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
