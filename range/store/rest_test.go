package store

import (
	"fmt"
	"math/bits"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/replica"
	"github.com/pamirdb/pamir/range/internal/rest"
	"github.com/pamirdb/pamir/range/kv"
)

// listed returns how many replicas a loop would visit.
func (s *Store) listed(c replica.Care) int {
	l := &s.lists[bits.TrailingZeros32(uint32(c))]
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.list)
}

// atRest makes n ranges with a row in each, and waits until nobody does anything for any of them.
func (c *cluster) atRest(n int) {
	c.t.Helper()
	ctx := c.ctx(60 * time.Second)
	for i := n - 1; i > 0; i-- {
		c.split(ctx, i*10)
	}
	for i := range n {
		require.NoError(c.t, c.put(ctx, i*10, fmt.Sprint(i)))
	}
	c.untilQuiet()
}

func (c *cluster) untilQuiet() {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		for id := range c.nodes {
			s := c.up(id)
			for _, care := range []replica.Care{replica.CareTicks, replica.CareLocks, replica.CarePrepared, replica.CareLog} {
				if s.listed(care) > 0 {
					return false
				}
			}
		}
		return true
	}, 30*time.Second, 20*time.Millisecond)
}

func (c *cluster) raftSent() (n int64) {
	for id := range c.nodes {
		n += c.up(id).metrics.RaftSent.Load()
	}
	return n
}

// A follower keeps more of its log than is worth cutting at its leader. It is left alone with it, once nothing is appended.
func TestLogsAtRest(t *testing.T) { synctest.Test(t, testLogsAtRest) }

func testLogsAtRest(t *testing.T) {
	k := testKnobs
	k.LogTruncateBytes = 16 << 10
	c := newCluster(t, 3, k)
	c.upReplicate(2, 3)
	ctx := c.ctx(60 * time.Second)
	leader, _ := c.waitLeader(kv.FirstUserRange)
	follower := c.up(1 + leader.id.NodeID%3)
	logOf := func(s *Store) int64 { return s.replica(kv.FirstUserRange).LogBytes() }
	for i := 0; logOf(follower) < 3*k.LogTruncateBytes/2; i++ {
		require.NoError(t, c.put(ctx, i, strings.Repeat("y", 100)))
	}
	c.untilQuiet()
	require.Less(t, logOf(leader), k.LogTruncateBytes)
	require.Greater(t, logOf(follower), k.LogTruncateBytes)
}

// Ranges at rest are visited by no loop and send nothing, and all the same their followers answer reads of a past that moves on.
func TestRangesAtRest(t *testing.T) { synctest.Test(t, testRangesAtRest) }

func testRangesAtRest(t *testing.T) {
	k := testKnobs
	k.ClosedLag = 100 * time.Millisecond
	c := newCluster(t, 3, k)
	c.upReplicate(2, 3)
	const ranges = 12
	c.atRest(ranges)
	ctx := c.ctx(60 * time.Second)
	leader, _ := c.waitLeader(kv.FirstUserRange)
	follower := c.up(1 + leader.id.NodeID%3)
	old := func(i int, ts hlc.Timestamp) error {
		d := c.descOf(i * 10)
		_, err := follower.Send(ctx, &kv.BatchRequest{RangeID: d.RangeID, AnyReplica: true, Timestamp: ts, Requests: []kv.Request{&kv.Get{Key: key(i * 10)}}})
		return err
	}
	// A busy machine may keep heartbeats away for so long that leaders change; then there is another quiet time after it.
	require.Eventually(t, func() bool {
		sent := c.raftSent()
		now := leader.clock.Now()
		for i := range ranges {
			for end := time.Now().Add(5 * time.Second); old(i, now) != nil; time.Sleep(5 * time.Millisecond) {
				if time.Now().After(end) {
					return false
				}
			}
		}
		return c.raftSent() == sent
	}, 40*time.Second, 10*time.Millisecond, "what is closed moves on without any Raft message")
	// Somebody writes to one of them: it is above what was promised, and the others rest.
	before := leader.clock.Now()
	require.Eventually(t, func() bool { return old(3, before) == nil }, 10*time.Second, 5*time.Millisecond)
	require.NoError(t, c.put(ctx, 30, "new"))
	resp, err := follower.Send(ctx, &kv.BatchRequest{RangeID: c.descOf(30).RangeID, AnyReplica: true, Timestamp: before, Requests: []kv.Request{&kv.Get{Key: key(30)}}})
	require.NoError(t, err)
	require.Equal(t, "3", string(resp.Responses[0].(*kv.GetResponse).Value), "as of then, the new value is not there")
	c.untilQuiet()
	require.Eventually(t, func() bool {
		now := leader.clock.Now()
		resp, err := follower.Send(ctx, &kv.BatchRequest{RangeID: c.descOf(30).RangeID, AnyReplica: true, Timestamp: now.Add(-150 * time.Millisecond), Requests: []kv.Request{&kv.Get{Key: key(30)}}})
		return err == nil && string(resp.Responses[0].(*kv.GetResponse).Value) == "new"
	}, 20*time.Second, 10*time.Millisecond, "it came to rest again, with the new value")
}

// A leader that loses its followers says nothing about what is closed any more once it might have a successor, also for ranges at
// rest, which do not look for themselves.
func TestRestEndsWithSupport(t *testing.T) { synctest.Test(t, testRestEndsWithSupport) }

func testRestEndsWithSupport(t *testing.T) {
	k := testKnobs
	k.ClosedLag = time.Millisecond
	c := newCluster(t, 3, k)
	c.upReplicate(2, 3)
	c.atRest(4)
	s, st := c.waitLeader(kv.FirstUserRange)
	c.isolate(s.id.NodeID, true)
	require.Eventually(t, func() bool {
		s.resting.mu.Lock()
		defer s.resting.mu.Unlock()
		return s.resting.teller.Len() == 0
	}, 10*time.Second, 5*time.Millisecond, "no range of an isolated leader stays in the set")
	require.Eventually(t, func() bool {
		other, now := c.leaderOf(kv.FirstUserRange)
		return other != nil && other != s && now.Term > st.Term
	}, 20*time.Second, 5*time.Millisecond)
	ctx := c.ctx(30 * time.Second)
	require.NoError(t, c.put(ctx, 0, "after"))
	c.isolate(s.id.NodeID, false)
	c.untilQuiet()
	c.checkReplicas(ctx)
}

// A store that is started again finds leaders for all its ranges, and they come to rest again.
func TestRestAfterRestart(t *testing.T) { synctest.Test(t, testRestAfterRestart) }

func testRestAfterRestart(t *testing.T) {
	c := newCluster(t, 3, testKnobs)
	c.upReplicate(2, 3)
	const ranges = 40
	c.atRest(ranges)
	for id := range c.nodes {
		c.nodes[id].crash()
	}
	for id := range c.nodes {
		c.nodes[id].start()
	}
	ctx := c.ctx(60 * time.Second)
	for i := range ranges {
		v, err := c.get(ctx, i*10)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(i), v)
	}
	c.untilQuiet()
	c.checkReplicas(ctx)
}

// descOf returns the descriptor of the range that holds a row, by its leader.
func (c *cluster) descOf(i int) *kv.RangeDescriptor {
	for id := range c.nodes {
		for _, st := range c.up(id).Ranges() {
			if st.Descriptor != nil && st.Descriptor.Contains(key(i)) {
				return st.Descriptor
			}
		}
	}
	c.t.Fatalf("no range holds row %d", i)
	return nil
}

// A range comes to rest when everybody has every entry. That the last one is committed a follower may not have heard, if the messages that say so
// were lost: it finds that out by what it is told of the range at rest, and asks.
func TestRestFindsWhoIsBehind(t *testing.T) { synctest.Test(t, testRestFindsWhoIsBehind) }

func testRestFindsWhoIsBehind(t *testing.T) {
	c := newCluster(t, 3, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(60 * time.Second)
	require.NoError(t, c.put(ctx, 1, "x"))
	c.untilQuiet()
	lead, _ := c.waitLeader(kv.FirstUserRange)
	behind := c.up(lead.id.NodeID%3 + 1)
	of := func(s *Store) RangeStatus {
		st, ok := s.Range(kv.FirstUserRange)
		require.True(t, ok)
		return st
	}
	// It gets the entry, and nothing more. Its answer comes late: the leader has been idle for long by then, and comes to rest at once.
	var answer atomic.Pointer[RaftMessage]
	var sent atomic.Bool
	c.setFilter(func(m *RaftMessage) bool {
		switch {
		case m.RangeID != kv.FirstUserRange || m.Raft == nil:
			return false
		case m.From.StoreID == behind.id.StoreID:
			if m.Raft.GetType() == pb.MsgAppResp {
				answer.CompareAndSwap(nil, m)
			}
			return true
		case m.To.StoreID == behind.id.StoreID:
			return len(m.Raft.Entries) == 0 || sent.Swap(true)
		}
		return false
	})
	require.NoError(t, c.put(ctx, 1, "y"))
	time.Sleep(15 * testKnobs.TickInterval)
	require.NotNil(t, answer.Load())
	require.Eventually(t, func() bool {
		lead.HandleRaftMessages([]*RaftMessage{answer.Load()})
		return of(lead).Quiet
	}, 10*time.Second, testKnobs.TickInterval/2)
	time.Sleep(2 * replica.LateBy)
	require.Less(t, of(behind).Applied, of(lead).Applied)
	c.setFilter(nil)
	require.Eventually(t, func() bool { return of(behind).Applied == of(lead).Applied }, 30*time.Second, 20*time.Millisecond)
	c.untilQuiet()
	c.checkReplicas(ctx)
}

// A follower that is awake while its leader rests, and does not know that it does, has it said again and goes to rest.
func TestRestIsSaidAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, testKnobs)
		c.upReplicate(2, 3)
		require.NoError(t, c.put(c.ctx(60*time.Second), 1, "a"))
		s, st := c.waitLeader(kv.FirstUserRange)
		c.untilQuiet()
		f := c.up(1 + st.Replica.NodeID%3).replica(kv.FirstUserRange)
		f.Cover(0, &rest.Coverage{}) // as if what was said had been of an earlier time
		f.Wake()
		time.Sleep(100 * time.Millisecond)
		require.False(t, f.Quiet())
		time.Sleep(time.Minute)
		require.True(t, f.Quiet())
		require.True(t, s.replica(kv.FirstUserRange).Quiet())
	})
}
