package engine

import (
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// compactions decides when Pebble may run a compaction (pebble.CompactionScheduler), and holds running ones up: as many run side by
// side as Pebble thinks right for its backlog, and each says every millisecond or so how long it has worked, and may have to wait then.
// Pebble runs a compaction as fast as a core can; on a machine that has few of them, clients of the store notice.
//
// Who calls what, and under which locks:
//
//	Pebble, holding its mutex    TrySchedule, UpdateGetAllowedWithoutPermission: they may take mu, and never call into Pebble for more than a number
//	Pebble, holding nothing      Register, Unregister, and a handle's Started, CumulativeStats, Done
//	the loop, holding nothing    grant, which calls into Pebble without mu
//
// Invariants:
//
//  1. running is how many compactions have a handle whose Done was not called, and those that grant is about to offer one.
//  2. Pebble keeps a compaction that it was not let run, and does not ask again before one of them is run: so grant offers one whenever there may be
//     room, after each Done, each flush, and every second for what it was not told of.
//  3. After Unregister nothing calls into Pebble. After hurry no compaction waits.
type compactions struct {
	pace func(worked time.Duration, hurry <-chan struct{}) // nil for never holding up
	// began and ended are told when compactions begin to run, and when none is left.
	began, ended func()

	db    pebble.DBForCompaction
	poked chan struct{} // of size 1: there may be room
	stop  chan struct{}
	loop  sync.WaitGroup

	hurried chan struct{} // closed by hurry
	once    sync.Once

	mu      sync.Mutex
	running int
	closed  bool
}

const (
	// grantInterval is how long a waiting compaction can be overlooked.
	grantInterval = time.Second
	// paceEvery is the least work after which a compaction asks how long it is to wait.
	paceEvery = time.Millisecond
)

func newCompactions(cfg Config) *compactions {
	return &compactions{
		pace: cfg.PaceCompaction, began: cfg.CompactionBegan, ended: cfg.CompactionEnded,
		poked: make(chan struct{}, 1), stop: make(chan struct{}), hurried: make(chan struct{}),
	}
}

// hurry lets all compactions run as fast as they can from now on: the store is being closed, and waits for them.
func (c *compactions) hurry() { c.once.Do(func() { close(c.hurried) }) }

// Register is called once, when the database is open.
func (c *compactions) Register(_ int, db pebble.DBForCompaction) {
	c.db = db
	c.loop.Go(func() {
		t := time.NewTicker(grantInterval)
		defer t.Stop()
		for {
			select {
			case <-c.stop:
				return
			case <-c.poked:
			case <-t.C:
			}
			for c.grant() {
			}
		}
	})
}

// Unregister is called once, when the database is being closed.
func (c *compactions) Unregister() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	close(c.stop)
	c.loop.Wait()
}

// TrySchedule says whether one more compaction may run.
func (c *compactions) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	if !c.reserve() {
		return false, nil
	}
	return true, &compaction{of: c}
}

// UpdateGetAllowedWithoutPermission says that there may be room for more, after a flush.
func (c *compactions) UpdateGetAllowedWithoutPermission() { c.poke() }

func (c *compactions) poke() {
	select {
	case c.poked <- struct{}{}:
	default:
	}
}

// reserve takes room for one more, if there is any.
func (c *compactions) reserve() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.room() {
		return false
	}
	c.running++
	if c.running == 1 && c.began != nil {
		c.began()
	}
	return true
}

// room needs mu.
func (c *compactions) room() bool { return !c.closed && c.running < c.db.GetAllowedWithoutPermission() }

func (c *compactions) giveBack() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
	if c.running == 0 && c.ended != nil {
		c.ended()
	}
}

// grant lets a compaction run that was not let run before, and reports whether there was one and room for it.
func (c *compactions) grant() bool {
	c.mu.Lock()
	room := c.room()
	c.mu.Unlock()
	if !room { // Pebble need not look for one in vain
		return false
	}
	if waiting, _ := c.db.GetWaitingCompaction(); !waiting || !c.reserve() {
		return false
	}
	if c.db.Schedule(&compaction{of: c}) {
		return true
	}
	c.giveBack()
	return false
}

// compaction is the right to run one: Pebble's handle on it. Only its own goroutine calls it, but for MeasureCPU.
type compaction struct {
	of *compactions
	at time.Time // when it began, or last went on
}

// Started is called once, before the others.
func (h *compaction) Started() { h.at = time.Now() }

// MeasureCPU is called by each of its goroutines. What they take is seen in how long it works.
func (h *compaction) MeasureCPU(pebble.CompactionGoroutineKind) {}

// CumulativeStats is called each 128 keys. It may block.
func (h *compaction) CumulativeStats(pebble.CompactionGrantHandleStats) {
	if h.of.pace == nil {
		return
	}
	worked := time.Since(h.at)
	if worked < paceEvery {
		return
	}
	select {
	case <-h.of.hurried:
	default:
		h.of.pace(worked, h.of.hurried)
	}
	h.at = time.Now()
}

// Done is called once, at its end.
func (h *compaction) Done() {
	h.of.giveBack()
	h.of.poke()
}
