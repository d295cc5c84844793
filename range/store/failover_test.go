package store

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/kv"
)

// productionClock gives stores the bound on clock offsets that a node has by default, and with it the default length of a promise: one second.
func productionClock(cfg *Config) {
	cfg.Clock = hlc.NewClock(func() int64 { return time.Now().UnixNano() }, 250*time.Millisecond)
}

// sever cuts what from sends to to, or joins it again.
func (c *cluster) sever(from, to kv.NodeID, on bool) {
	c.mu.Lock()
	c.cut[[2]kv.NodeID{from, to}] = on
	c.mu.Unlock()
}

// gather makes node id lead all ranges.
func (c *cluster) gather(id kv.NodeID) {
	c.t.Helper()
	ctx := c.ctx(time.Minute)
	for _, st := range c.up(id).Ranges() {
		for {
			s, _ := c.waitLeader(st.RangeID)
			if s.id.NodeID == id {
				break
			}
			_, _ = s.Send(ctx, &kv.BatchRequest{RangeID: st.RangeID, Requests: []kv.Request{&kv.AdminTransferLeader{Target: kv.StoreID(id)}}})
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// A node that leads everything fails, wholly or by halves. In virtual time, in which computing takes none, it is exact how long it is until
// each range is served by somebody else: what the promise has left, a vote, and an entry.
func TestFailoverBounds(t *testing.T) {
	for _, f := range []struct {
		name  string
		do    func(c *cluster)
		bound time.Duration
	}{
		{"dead", func(c *cluster) { c.nodes[1].crash() }, 1300 * time.Millisecond},
		{"isolated", func(c *cluster) { c.isolate(1, true) }, 1300 * time.Millisecond},
		{"mute", func(c *cluster) { c.sever(1, 2, true); c.sever(1, 3, true) }, 1300 * time.Millisecond},
		{"deaf", func(c *cluster) { c.sever(2, 1, true); c.sever(3, 1, true) }, 1300 * time.Millisecond},
	} {
		t.Run(f.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClusterWith(t, 3, Knobs{MemTableBytes: 4 << 20}, productionClock)
				c.upReplicate(2, 3)
				const ranges = 24
				c.atRest(ranges)
				for round := range 4 {
					c.gather(1)
					// Half of them are in use when it happens.
					ctx := c.ctx(time.Minute)
					for i := range ranges / 2 {
						require.NoError(t, c.put(ctx, i*10, "x"))
					}
					time.Sleep(time.Duration(round) * 53 * time.Millisecond) // between two heartbeats, somewhere
					began := time.Now()
					f.do(c)
					worst := c.untilLedElsewhere(1)
					t.Logf("round %d: all ranges have a new leader after %v", round, worst)
					require.Less(t, time.Since(began), f.bound)
					if c.up(1) == nil {
						c.nodes[1].start()
					}
					c.isolate(1, false)
					c.untilQuiet()
				}
				c.checkReplicas(c.ctx(time.Minute))
			})
		})
	}
}

// untilLedElsewhere waits until all ranges are served by other nodes than id.
func (c *cluster) untilLedElsewhere(id kv.NodeID) time.Duration {
	c.t.Helper()
	began := time.Now()
	for {
		left := map[kv.RangeID]bool{}
		served := map[kv.RangeID]bool{}
		for n := range c.nodes {
			s := c.up(n)
			if s == nil || n == id {
				continue
			}
			for _, st := range s.Ranges() {
				left[st.RangeID] = true
				if st.Serving {
					served[st.RangeID] = true
				}
			}
		}
		if len(served) == len(left) {
			return time.Since(began)
		}
		if time.Since(began) > time.Minute {
			c.t.Fatalf("%d of %d ranges are led elsewhere after a minute", len(served), len(left))
		}
		time.Sleep(5 * time.Millisecond)
	}
}
