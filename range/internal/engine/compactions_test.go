package engine

import (
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// fakeDB wants to run compactions, as Pebble does.
type fakeDB struct {
	c       *compactions
	mu      sync.Mutex
	allowed atomic.Int64
	waiting int // compactions that were not let run; Pebble asks for no other while there is one
	handles []pebble.CompactionGrantHandle
	refuse  bool // by the time one may run, it need not
}

func (d *fakeDB) GetAllowedWithoutPermission() int { return int(d.allowed.Load()) }

func (d *fakeDB) GetWaitingCompaction() (bool, pebble.WaitingCompaction) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.waiting > 0, pebble.WaitingCompaction{}
}

func (d *fakeDB) Schedule(h pebble.CompactionGrantHandle) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting == 0 {
		return false
	}
	if d.refuse {
		d.waiting = 0
		return false
	}
	d.waiting--
	h.Started()
	d.handles = append(d.handles, h)
	return true
}

// want is what Pebble does when the tree has become misshapen in so many places.
func (d *fakeDB) want(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for ; n > 0 && d.waiting == 0; n-- {
		ok, h := d.c.TrySchedule()
		if !ok {
			break
		}
		h.Started()
		d.handles = append(d.handles, h)
	}
	d.waiting += n
}

func (d *fakeDB) done() {
	d.mu.Lock()
	h := d.handles[0]
	d.handles = d.handles[1:]
	d.mu.Unlock()
	h.Done()
}

func (d *fakeDB) running() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.handles)
}

func TestCompactionsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var busy atomic.Int64
		c := newCompactions(Config{CompactionBegan: func() { busy.Add(1) }, CompactionEnded: func() { busy.Add(-1) }})
		d := &fakeDB{c: c}
		d.allowed.Store(1)
		c.Register(2, d)

		d.want(4)
		require.Equal(t, 1, d.running(), "as many as are allowed")
		d.done()
		synctest.Wait()
		require.Equal(t, 1, d.running(), "the next when one is done")

		d.allowed.Store(2) // a flush has made a backlog
		c.UpdateGetAllowedWithoutPermission()
		synctest.Wait()
		require.Equal(t, 2, d.running(), "at once when more are allowed")
		d.done()
		d.done()
		synctest.Wait()
		require.Equal(t, 1, d.running(), "the last")
		require.EqualValues(t, 1, busy.Load())
		d.done()
		synctest.Wait()
		require.Zero(t, busy.Load())

		// What nobody tells of is noticed within a second.
		d.allowed.Store(0)
		d.want(1)
		require.Zero(t, d.running())
		d.allowed.Store(1)
		time.Sleep(grantInterval + time.Millisecond)
		synctest.Wait()
		require.Equal(t, 1, d.running())

		// One that need not run by then leaves its room to others.
		d.want(1)
		d.refuse = true
		d.done()
		synctest.Wait()
		require.Zero(t, d.running())
		d.refuse = false
		d.want(1)
		require.Equal(t, 1, d.running())

		c.Unregister()
		d.want(1)
		d.done()
		synctest.Wait()
		require.Zero(t, d.running(), "none begins when the store is being closed")
	})
}

// Compactions that are held up are not in the way of writers, and make up for it when they may go on.
func TestCompactionsAreHeldUp(t *testing.T) {
	var held atomic.Int64
	gate := make(chan struct{})
	e := openHeld(t, func(_ time.Duration, hurry <-chan struct{}) {
		held.Add(1)
		select {
		case <-gate:
		case <-hurry:
		}
	})
	for held.Load() == 0 {
		writeSome(t, e)
	}
	for range 3 {
		writeSome(t, e)
	}
	require.NoError(t, e.DB().Flush())
	require.Positive(t, sublevels(e), "what was flushed waits to be compacted")
	close(gate)
	require.Eventually(t, func() bool { return sublevels(e) <= 1 }, time.Minute, time.Millisecond)
	require.NoError(t, e.Close())
}

// A compaction that is held up for ever does not hold up the closing of the store.
func TestCompactionsHurryAtTheEnd(t *testing.T) {
	var held atomic.Int64
	e := openHeld(t, func(_ time.Duration, hurry <-chan struct{}) {
		held.Add(1)
		<-hurry
	})
	for held.Load() == 0 {
		writeSome(t, e)
	}
	require.NoError(t, e.Close())
}

func sublevels(e *Engine) int {
	n, _ := e.Backlog()
	return n
}

func openHeld(t *testing.T, pace func(time.Duration, <-chan struct{})) *Engine {
	e, err := Open(Config{
		Dir: "s", FS: vfs.NewMem(), MemTableBytes: 256 << 10, CacheBytes: 1 << 20, OnFatal: func(err error) { t.Error(err) },
		Logger: slog.New(slog.DiscardHandler), PaceCompaction: pace,
	})
	require.NoError(t, err)
	return e
}

// writeSome writes 600 KB of what cannot be compressed, at random keys: each memtable overlaps all of what is there.
func writeSome(t *testing.T, e *Engine) {
	value := make([]byte, 200)
	for range 3000 {
		for i := 0; i+8 <= len(value); i += 8 {
			binary.LittleEndian.PutUint64(value[i:], rand.Uint64())
		}
		key := EncodeKey(binary.BigEndian.AppendUint64(nil, rand.Uint64N(100_000)))
		require.NoError(t, e.DB().Set(key, value, pebble.NoSync))
	}
}
