package exec

import (
	"sync/atomic"

	"github.com/pamirdb/pamir/sql/pgerr"
)

// DefaultBudget is a statement's memory if nobody says otherwise.
const DefaultBudget = 64 << 20

// Budget is memory that may be used. A statement's budget may have the node's above it. It is safe for concurrent use.
type Budget struct {
	limit  int64
	used   atomic.Int64
	peak   atomic.Int64
	parent *Budget
}

// NewBudget makes a budget of limit bytes under parent, which may be nil.
func NewBudget(limit int64, parent *Budget) *Budget { return &Budget{limit: limit, parent: parent} }

// TryGrow takes n bytes if they are there.
func (b *Budget) TryGrow(n int64) bool {
	if u := b.used.Add(n); u > b.limit {
		b.used.Add(-n)
		return false
	} else if u > b.peak.Load() {
		b.peak.Store(u) // a race loses a peak of a few bytes
	}
	if b.parent != nil && !b.parent.TryGrow(n) {
		b.used.Add(-n)
		return false
	}
	return true
}

// Grow takes n bytes or fails with 53200.
func (b *Budget) Grow(n int64) error {
	if b.TryGrow(n) {
		return nil
	}
	return pgerr.New(pgerr.OutOfMemory, "out of memory").
		WithDetail("Failed on request of %d bytes: the statement uses %d of its %d bytes.", n, b.used.Load(), b.limit).
		WithHint("Make the statement smaller, or raise its memory limit.")
}

// Shrink gives n bytes back.
func (b *Budget) Shrink(n int64) {
	b.used.Add(-n)
	if b.parent != nil {
		b.parent.Shrink(n)
	}
}

// force takes n bytes that are in use already, whatever the limit says: others will find less.
func (b *Budget) force(n int64) {
	u := b.used.Add(n)
	if u > b.peak.Load() {
		b.peak.Store(u)
	}
	if b.parent != nil {
		b.parent.force(n)
	}
}

// Used and Peak are the bytes in use and the most there were.
func (b *Budget) Used() int64 { return b.used.Load() }
func (b *Budget) Peak() int64 { return b.peak.Load() }

// account is one operator's share of a budget.
type account struct {
	b    *Budget
	held int64
}

// set makes the share n bytes.
func (a *account) set(n int64) error {
	if n > a.held {
		if err := a.b.Grow(n - a.held); err != nil {
			return err
		}
	} else if n < a.held {
		a.b.Shrink(a.held - n)
	}
	a.held = n
	return nil
}

// try is set without an error.
func (a *account) try(n int64) bool {
	if n <= a.held {
		a.b.Shrink(a.held - n)
	} else if !a.b.TryGrow(n - a.held) {
		return false
	}
	a.held = n
	return true
}

// note makes the share n bytes, which are in use already.
func (a *account) note(n int64) {
	if n > a.held {
		a.b.force(n - a.held)
	} else {
		a.b.Shrink(a.held - n)
	}
	a.held = n
}

func (a *account) add(n int64) error { return a.set(a.held + n) }

func (a *account) close() {
	if a.b != nil && a.held != 0 {
		a.b.Shrink(a.held)
		a.held = 0
	}
}
