package checkers

import (
	"math/rand/v2"
	"slices"
)

// executor is a dumb database of lists that runs transactions interleaved, operation by operation, and records the history.
// serial: one transaction at a time. Otherwise each reads from a snapshot of when it began, and at commit
// fails if another has written to a list that it writes to: snapshot isolation, and no more.
type executor struct {
	rng    *rand.Rand
	serial bool
	keys   int64
	now    int64
	next   int64
	lists  map[int64][]int64 // only ever appended to: a beginning of one is what it was
	when   map[int64][]int64 // each element was committed
	h      []ListTxn
}

// running is a transaction on its way.
type running struct {
	t     ListTxn
	left  int
	mine  map[int64][]int64
	start int64
}

func (x *executor) tick() int64 { x.now += 1 + x.rng.Int64N(3); return x.now }

func newExecutor(rng *rand.Rand, keys int64, serial bool) *executor {
	return &executor{rng: rng, serial: serial, keys: keys, lists: map[int64][]int64{}, when: map[int64][]int64{}}
}

// run makes n transactions by the given number of clients.
func (x *executor) run(n, clients int) []ListTxn {
	at := make([]*running, clients)
	proc := make([]int, clients)
	for i := range proc {
		proc[i] = i
	}
	for len(x.h) < n {
		i := x.rng.IntN(clients)
		r := at[i]
		switch {
		case r == nil:
			r = &running{t: ListTxn{Span: Span{Process: proc[i], Invoke: x.tick()}}, left: 1 + x.rng.IntN(4), mine: map[int64][]int64{}}
			r.start = x.tick()
			at[i] = r
		case r.left > 0 && !x.serial:
			r.left--
			x.step(r)
		default:
			for x.serial && r.left > 0 { // all at once, somewhere between invocation and completion
				r.left--
				x.step(r)
			}
			x.finish(r)
			if r.t.Outcome == Unknown {
				proc[i] += clients
			}
			x.h = append(x.h, r.t)
			at[i] = nil
		}
	}
	// The lists as they are in the end.
	last := ListTxn{Span: Span{Process: -1, Invoke: x.tick(), Complete: x.now + 1}}
	for k := range x.keys {
		last.Ops = append(last.Ops, ListOp{Key: k, List: slices.Clone(x.lists[k])})
	}
	return append(x.h, last)
}

func (x *executor) step(r *running) {
	k := x.rng.Int64N(x.keys)
	if x.rng.IntN(2) == 0 {
		x.next++
		r.mine[k] = append(r.mine[k], x.next)
		r.t.Ops = append(r.t.Ops, ListOp{Key: k, Append: true, Value: x.next})
		return
	}
	base := x.lists[k]
	if !x.serial {
		for len(base) > 0 && x.when[k][len(base)-1] > r.start {
			base = base[:len(base)-1]
		}
	}
	if len(r.mine[k]) > 0 {
		base = slices.Concat(base, r.mine[k])
	}
	r.t.Ops = append(r.t.Ops, ListOp{Key: k, List: base})
}

// finish commits, or does not; the client may not be told.
func (x *executor) finish(r *running) {
	does := x.rng.IntN(10) != 0
	for k := range r.mine {
		if w := x.when[k]; !x.serial && len(w) > 0 && w[len(w)-1] > r.start {
			does = false
		}
	}
	if does {
		when := x.tick()
		for k, v := range r.mine {
			x.lists[k] = append(x.lists[k], v...)
			for range v {
				x.when[k] = append(x.when[k], when)
			}
		}
	}
	r.t.Complete = x.tick()
	if !does {
		r.t.Outcome = Failed
	}
	if x.rng.IntN(20) == 0 {
		r.t.Outcome, r.t.Complete = Unknown, Never
	}
}
