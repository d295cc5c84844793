package store

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
)

// A disk that takes nearly as long to sync as promises last may cost a node its leaders, and does not stop its clock: who is connected
// to it goes on, with leaders elsewhere.
func TestSlowDiskDoesNotStopTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slow atomic.Bool
		c := newClusterWith(t, 1, Knobs{MemTableBytes: 4 << 20}, func(cfg *Config) {
			productionClock(cfg)
			cfg.FS = errorfs.Wrap(cfg.FS, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if slow.Load() && strings.HasSuffix(op.Path, ".log") &&
					(op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo) {
					time.Sleep(700 * time.Millisecond)
				}
				return nil
			}))
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
