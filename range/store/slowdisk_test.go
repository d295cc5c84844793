package store

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// A disk that takes nearly as long to sync as promises last may cost a node its leaders, and does not stop its clock: who is connected
// to it goes on, with leaders elsewhere.
func TestSlowDiskDoesNotStopTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slow atomic.Bool
		c := newClusterWith(t, 1, Knobs{MemTableBytes: 4 << 20}, func(cfg *Config) {
			productionClock(cfg)
			slowSyncs(cfg, &slow, 700*time.Millisecond)
		})
		slow.Store(true)
		time.Sleep(5 * time.Second) // until it has been found out
		for range 1000 {
			if e := c.up(1).Fenced(); e != nil {
				slow.Store(false)
				t.Fatal(e)
			}
			time.Sleep(10 * time.Millisecond)
		}
		slow.Store(false)
		s := c.up(1)
		s.support.mu.Lock()
		defer s.support.mu.Unlock()
		require.LessOrEqual(t, s.ceilingLead(), int64(time.Second+maxExtraLead))
	})
}

// slowSyncs has the store's log take so long to be synced, while slow says so.
func slowSyncs(cfg *Config, slow *atomic.Bool, d time.Duration) {
	cfg.FS = errorfs.Wrap(cfg.FS, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if slow.Load() && strings.HasSuffix(op.Path, ".log") &&
			(op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo) {
			time.Sleep(d)
		}
		return nil
	}))
}

// Heartbeats do not wait for the disk: one that takes as long to sync as promises last, on all stores, as with thousands of elections under way, loses nobody's support.
func TestSlowDiskDoesNotDelayBeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slow atomic.Bool
		c := newClusterWith(t, 3, Knobs{MemTableBytes: 4 << 20}, func(cfg *Config) {
			productionClock(cfg)
			slowSyncs(cfg, &slow, time.Second)
		})
		c.upReplicate(2, 3)
		c.atRest(10)
		slow.Store(true)
		defer slow.Store(false)
		time.Sleep(5 * time.Second) // until it has been found out
		epochs := func() (all [3][3]uint64) {
			for of := range all {
				for by := range all {
					if by != of {
						all[of][by] = c.up(kv.NodeID(by + 1)).support.SupportEpoch(kv.StoreID(of + 1))
					}
				}
			}
			return all
		}
		before := epochs()
		for of := range before {
			for by := range before {
				require.True(t, by == of || before[of][by] != 0, "store %d supports store %d", by+1, of+1)
			}
		}
		for range 1000 {
			require.Equal(t, before, epochs())
			time.Sleep(20 * time.Millisecond)
		}
	})
}

// A store whose disk does not answer any more is led by others soon, though its process lives and could go on with its heartbeats.
func TestHungDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hung atomic.Bool
		stores := 0
		c := newClusterWith(t, 3, Knobs{MemTableBytes: 4 << 20}, func(cfg *Config) {
			productionClock(cfg)
			if stores++; stores == 1 {
				slowSyncs(cfg, &hung, 10*time.Second)
			}
		})
		c.upReplicate(2, 3)
		c.gather(1)
		require.NoError(t, c.put(c.ctx(time.Minute), 1, "before"))
		hung.Store(true)
		defer hung.Store(false)
		ctx := c.ctx(time.Minute)
		sent := make(chan error, 1)
		go func() { sent <- c.put(ctx, 1, "since") }() // whoever asks it may wait for as long as it hangs
		began := time.Now()
		for led := false; !led; time.Sleep(20 * time.Millisecond) {
			require.Less(t, time.Since(began), 3*time.Second)
			for _, id := range []kv.NodeID{2, 3} {
				st, ok := c.up(id).RangeDetail(2)
				led = led || ok && st.Serving
			}
		}
		hung.Store(false)
		<-sent
	})
}

// What was wanted while more was on its way to the disk does not take back what counts by then: readings and promises may have been made up to there.
func TestClockIsNotWrittenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClusterWith(t, 3, Knobs{MemTableBytes: 4 << 20}, productionClock)
		c.upReplicate(2, 3)
		time.Sleep(5 * time.Second)
		s := c.up(1)
		before, err := s.readClock()
		require.NoError(t, err)
		s.support.mu.Lock()
		old := s.support.wanted
		old.ceiling -= int64(time.Second)
		old.horizon.WallTime -= int64(time.Second)
		s.support.wanted = old
		s.support.mu.Unlock()
		s.writeWanted()
		after, err := s.readClock()
		require.NoError(t, err)
		require.GreaterOrEqual(t, after.ceiling, before.ceiling)
		require.False(t, after.horizon.Less(before.horizon))
		require.GreaterOrEqual(t, s.support.ceiling.Load(), before.ceiling)
	})
}
