package store

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/pamirdb/pamir/range/kv"
)

// When all stores are started again, nobody leads any of thousands of ranges. They elect some at a time, whoever led last first, and one that somebody asks for
// does not wait for its turn.
func TestRestartTakesTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ranges, atOnce = 200, 10
		c := newClusterWith(t, 3, Knobs{MemTableBytes: 4 << 20, turns: atOnce}, productionClock)
		c.upReplicate(2, 3)
		c.atRest(ranges)
		c.gather(1)
		c.untilQuiet()
		last := c.descOn(2, (ranges-1)*10).RangeID
		for id := range c.nodes {
			c.nodes[id].crash()
		}
		var mu sync.Mutex
		asked := map[int64]map[kv.RangeID]bool{} // by tick: ranges that asked for votes
		c.setFilter(func(m *RaftMessage) bool {
			mu.Lock()
			defer mu.Unlock()
			if m.Raft != nil && m.Raft.GetType() == pb.MsgPreVote {
				tick := time.Now().UnixMilli() / 100
				if asked[tick] == nil {
					asked[tick] = map[kv.RangeID]bool{}
				}
				asked[tick][m.RangeID] = true
			}
			return false
		})
		began := time.Now()
		for id := range c.nodes {
			c.nodes[id].start()
		}
		led := func(id kv.RangeID) bool {
			s, _ := c.leaderOf(id)
			return s != nil
		}
		meta := time.Duration(0)
		var served time.Duration
		for served == 0 || meta == 0 {
			for n := kv.NodeID(1); n <= 3 && served == 0; n++ {
				if _, err := c.up(n).Send(c.ctx(time.Minute), &kv.BatchRequest{RangeID: last, Requests: []kv.Request{&kv.Get{Key: key((ranges - 1) * 10)}}}); err == nil {
					served = time.Since(began)
				}
			}
			if meta == 0 && led(kv.MetaRangeID) {
				meta = time.Since(began)
			}
			time.Sleep(10 * time.Millisecond)
		}
		others := 0
		for i := range ranges {
			if led(c.descOn(2, i*10).RangeID) {
				others++
			}
		}
		require.Less(t, others, ranges/2, "neither waits for all the others")
		require.Eventually(t, func() bool {
			for i := range ranges {
				if !led(c.descOn(2, i*10).RangeID) {
					return false
				}
			}
			return true
		}, time.Minute, 10*time.Millisecond)
		t.Logf("meta was led after %v, the range that was asked for after %v, all after %v", meta, served, time.Since(began))
		mu.Lock()
		most, n := 0, 0
		for _, ids := range asked {
			most, n = max(most, len(ids)), n+len(ids)
		}
		mu.Unlock()
		require.LessOrEqual(t, most, atOnce+2, "the store that led them all takes so many turns at a time")
		require.Less(t, n, 2*ranges, "who did not lead leaves it to who did")
		c.untilQuiet()
		c.checkReplicas(c.ctx(time.Minute))
	})
}

// The store that led does not come back: the others do not wait for it for long, and none of them forgets a range that nobody has asked for.
func TestRestartWithoutWhoLed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ranges = 40
		c := newClusterWith(t, 3, Knobs{MemTableBytes: 4 << 20, turns: 4}, productionClock)
		c.upReplicate(2, 3)
		c.atRest(ranges)
		c.gather(1)
		c.untilQuiet()
		for id := range c.nodes {
			c.nodes[id].crash()
		}
		c.nodes[2].start()
		c.nodes[3].start()
		t.Logf("all are led after %v", c.untilLedElsewhere(1))
		c.nodes[1].start()
		c.untilQuiet()
		c.checkReplicas(c.ctx(time.Minute))
	})
}

// A replica whose processor comes round late makes up for none of the ticks that it has missed: nobody has had a chance to answer it meanwhile.
func TestTicksThatWereMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, testKnobs)
		c.upReplicate(2, 3)
		lead, _ := c.waitLeader(kv.FirstUserRange)
		for id := range c.nodes {
			c.nodes[id].crash()
		}
		var asked atomic.Int64 // for votes, of one of the others
		c.setFilter(func(m *RaftMessage) bool {
			if m.RangeID == kv.FirstUserRange && m.Raft != nil && m.Raft.GetType() == pb.MsgPreVote && m.To.StoreID == lead.id.StoreID%3+1 {
				asked.Add(1)
			}
			return false
		})
		c.nodes[lead.id.NodeID].start()
		s := c.up(lead.id.NodeID)
		for asked.Load() == 0 { // alone, again and again
			time.Sleep(testKnobs.TickInterval / 10)
		}
		before := asked.Load()
		require.NoError(t, s.replica(kv.FirstUserRange).Call(func() error {
			for range 20 {
				s.replica(kv.FirstUserRange).Tick()
			}
			return nil
		}))
		synctest.Wait()
		require.LessOrEqual(t, asked.Load()-before, int64(1))
		for id := range c.nodes {
			if id != lead.id.NodeID {
				c.nodes[id].start()
			}
		}
		c.waitLeader(kv.FirstUserRange)
	})
}
