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

// lateBeats delays heartbeats and their answers.
type lateBeats struct {
	Transport
	by *atomic.Int64
}

func (l lateBeats) SendHeartbeat(to kv.NodeID, h *Heartbeat) {
	time.AfterFunc(time.Duration(l.by.Load()), func() { l.Transport.SendHeartbeat(to, h) })
}

// While answers to heartbeats take long, fewer and fewer ranges are woken to elect a leader: if support were lost, everything would have to be elected anew. It goes on, and
// goes on as before once answers are in time again.
func TestLateAnswersMakeForFewTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ranges, atOnce = 240, 32
		var late atomic.Int64
		c := newClusterWith(t, 3, Knobs{MemTableBytes: 4 << 20, turns: atOnce}, func(cfg *Config) {
			productionClock(cfg)
			cfg.Transport = lateBeats{cfg.Transport, &late}
		})
		c.upReplicate(2, 3)
		c.atRest(ranges)
		c.gather(1)
		c.untilQuiet()
		ids := make([]kv.RangeID, ranges)
		for i := range ids {
			ids[i] = c.descOn(2, i*10).RangeID
		}
		for id := range c.nodes {
			c.nodes[id].crash()
		}
		late.Store(int64(200 * time.Millisecond))
		for id := range c.nodes {
			c.nodes[id].start()
		}
		led := func() (n int) {
			for _, id := range ids {
				if s, _ := c.leaderOf(id); s != nil {
					n++
				}
			}
			return n
		}
		for led() == 0 {
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		n := led()
		require.NotZero(t, n)
		require.Less(t, n, ranges/2)
		late.Store(0)
		require.Eventually(t, func() bool { return led() == ranges }, 20*time.Second, 100*time.Millisecond)
		c.untilQuiet()
	})
}

func TestGait(t *testing.T) {
	var g gait
	now := time.Now()
	step := func(trip time.Duration) int {
		now = now.Add(gaitEvery)
		return g.next(now, trip, time.Second, 512)
	}
	require.Equal(t, 512, step(0))
	require.Equal(t, 256, step(time.Second/2))
	require.Equal(t, 256, g.next(now.Add(gaitEvery/2), time.Second/2, time.Second, 512), "what the last change has brought is to be seen first")
	for range 10 {
		step(time.Second)
	}
	require.Equal(t, 512/leastTurns, g.limit, "it goes on")
	for range 8 {
		step(0)
	}
	require.Equal(t, 512, g.limit)
}
