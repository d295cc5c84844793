package hlc

import (
	"math"
	"sync"
	"time"
)

// Clock is a node's hybrid logical clock. It is safe for concurrent use.
type Clock struct {
	physical  func() int64
	maxOffset time.Duration

	mu    sync.Mutex
	last  Timestamp // the largest reading handed out or learned; guarded by mu
	limit int64     // see SetLimit; guarded by mu
}

// NewClock returns a clock over the given physical source (nanoseconds since
// the Unix epoch; nil means the system clock) that trusts other nodes' physical
// clocks to be within maxOffset of its own.
func NewClock(physical func() int64, maxOffset time.Duration) *Clock {
	if physical == nil {
		physical = func() int64 { return time.Now().UnixNano() }
	}
	return &Clock{physical: physical, maxOffset: maxOffset, limit: math.MaxInt64}
}

// Now returns a reading after every earlier reading and every timestamp passed to Update.
func (c *Clock) Now() Timestamp {
	now, _ := c.Reading()
	return now
}

// Reading is Now, and reports whether the physical source was believed (SetLimit). If it was not, the reading may be long ago: good for order, and not
// for what is to be "now".
func (c *Clock) Reading() (now Timestamp, believed bool) {
	p := c.physical()
	c.mu.Lock()
	defer c.mu.Unlock()
	believed = p <= c.limit
	p = min(p, c.limit)
	if p > c.last.WallTime {
		c.last = Timestamp{WallTime: p}
	} else {
		c.last = c.last.Next()
	}
	return c.last, believed
}

// Update makes every later reading come after remote. It takes the reading as
// it is: the caller that gets readings from other nodes decides, by the
// measured offset, whether to believe them (see Offset).
func (c *Clock) Update(remote Timestamp) {
	c.mu.Lock()
	if c.last.Less(remote) {
		c.last = remote
	}
	c.mu.Unlock()
}

// Peek returns the largest reading so far, or the physical time if that is
// later, without counting as a reading.
func (c *Clock) Peek() Timestamp {
	p := c.physical()
	c.mu.Lock()
	defer c.mu.Unlock()
	p = min(p, c.limit)
	if p > c.last.WallTime {
		return Timestamp{WallTime: p}
	}
	return c.last
}

// SetLimit says up to where (in wall time, ns) the physical source is believed. Beyond it readings stand still and count
// Logical until the limit is raised, so that a source that has jumped ahead cannot take the readings with it, for they never come
// back. Without a limit it is believed always.
func (c *Clock) SetLimit(wall int64) {
	c.mu.Lock()
	c.limit = wall
	c.mu.Unlock()
}

// Physical returns the physical source's reading in nanoseconds.
func (c *Clock) Physical() int64 { return c.physical() }

// MaxOffset returns the assumed bound on the difference between two nodes' physical clocks.
func (c *Clock) MaxOffset() time.Duration { return c.maxOffset }

// Believes reports whether a remote reading may come from a clock within the bound: a reading is as far ahead as the node's physical
// clock at most, and that of another in whose place it may speak. Without a bound every reading is believed. Who knows the physical clock of
// the node that sends it asks about that first (Within): the reading of a clock beyond the bound, once believed by some, goes on from them to others who
// are a little behind them, and do not believe it.
func (c *Clock) Believes(remote Timestamp) bool {
	return c.maxOffset <= 0 || c.Offset(remote) <= 2*c.maxOffset
}

// Within reports whether another node's physical clock, as it was read a moment ago, is ahead of this node's by no more than the bound. Without a
// bound every clock is.
func (c *Clock) Within(physical int64) bool {
	return c.maxOffset <= 0 || physical-c.physical() <= int64(c.maxOffset)
}

// Offset returns how far a remote reading is ahead of this node's physical clock.
func (c *Clock) Offset(remote Timestamp) time.Duration {
	return time.Duration(remote.WallTime - c.physical())
}
