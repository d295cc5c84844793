package store

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/raft/v3/raftpb"

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
				split := 0
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
					// Now and then, one round in hundreds, two stores ask for the same votes at the same instant, and again a few ticks later.
					if took := time.Since(began); took >= f.bound {
						split++
						require.Less(t, took, f.bound+again)
						require.LessOrEqual(t, split, 1, "in %d rounds", round+1)
					}
					// Whoever finds that node 1 leads nothing, and seems to be there, does not get leaders back to it.
					s, st := c.waitLeaderBut(1, kv.FirstUserRange)
					_, err := s.Send(ctx, &kv.BatchRequest{RangeID: st.RangeID, Requests: []kv.Request{&kv.AdminTransferLeader{Target: 1}}})
					require.True(t, kv.HasCode(err, kv.CodeUnavailable), "%v", err)
					_, now := c.waitLeaderBut(1, kv.FirstUserRange)
					require.Equal(t, st.Term, now.Term)
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

// again is what an election costs that nobody has won.
const again = 400 * time.Millisecond

// waitLeaderBut returns who serves the range, other than node id.
func (c *cluster) waitLeaderBut(id kv.NodeID, rng kv.RangeID) (*Store, RangeStatus) {
	c.t.Helper()
	for n := range c.nodes {
		if s := c.up(n); s != nil && n != id {
			if st, ok := s.RangeDetail(rng); ok && st.Serving {
				return s, st
			}
		}
	}
	c.t.Fatalf("range %d is served by node %d, if at all", rng, id)
	return nil, RangeStatus{}
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

// Thousands of ranges at rest whose leader's store is lost do not all elect at once: some do, then the next ones, in the order of their numbers. One that
// somebody asks for does not wait for its turn.
func TestElectionsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ranges, atOnce = 200, 10
		k := Knobs{MemTableBytes: 4 << 20, turns: atOnce}
		var mu sync.Mutex
		counting := false
		asked := map[int64]map[kv.RangeID]bool{} // by tick: ranges that asked for votes
		c := newClusterWith(t, 3, k, productionClock)
		c.upReplicate(2, 3)
		c.atRest(ranges)
		c.gather(1)
		c.untilQuiet()
		c.setFilter(func(m *RaftMessage) bool {
			mu.Lock()
			defer mu.Unlock()
			if counting && m.Raft != nil && m.Raft.GetType() == pb.MsgPreVote {
				tick := time.Now().UnixMilli() / 100
				if asked[tick] == nil {
					asked[tick] = map[kv.RangeID]bool{}
				}
				asked[tick][m.RangeID] = true
			}
			return false
		})
		mu.Lock()
		counting = true
		mu.Unlock()
		began := time.Now()
		c.nodes[1].crash()
		// The last of them is asked for.
		last := c.descOn(2, (ranges-1)*10).RangeID
		var served time.Duration
		for served == 0 {
			for n := kv.NodeID(2); n <= 3 && served == 0; n++ {
				if _, err := c.up(n).Send(c.ctx(time.Minute), &kv.BatchRequest{RangeID: last, Requests: []kv.Request{&kv.Get{Key: key((ranges - 1) * 10)}}}); err == nil {
					served = time.Since(began)
				}
			}
			time.Sleep(10 * time.Millisecond)
		}
		require.Less(t, served, 1500*time.Millisecond, "it does not wait for its turn")
		all := c.untilLedElsewhere(1)
		t.Logf("the range that was asked for was served after %v, all after %v more", served, all)
		mu.Lock()
		most := 0
		for _, ids := range asked {
			most = max(most, len(ids))
		}
		mu.Unlock()
		require.LessOrEqual(t, most, 2*atOnce+2, "both stores that are left take as many turns at a time")
		require.Greater(t, all, time.Second, "or the test shows nothing")
	})
}

// What waits for its turn is bounded by the number of ranges, whatever happens meanwhile, and the last word counts.
func TestTurns(t *testing.T) { synctest.Test(t, testTurns) }

func testTurns(t *testing.T) {
	c := newCluster(t, 1, testKnobs)
	c.waitLeader(kv.FirstUserRange)
	c.waitLeader(kv.MetaRangeID)
	r, meta := c.up(1).replica(kv.FirstUserRange), c.up(1).replica(kv.MetaRangeID)
	var q turns
	now := time.Now()
	gone := func(kv.StoreID) bool { return false }
	next := func(after time.Duration, supported func(kv.StoreID) bool) (ids []kv.RangeID, lost []bool) {
		for _, t := range q.next(now.Add(after), 1, supported) {
			ids, lost = append(ids, t.r.ID()), append(lost, t.lost)
		}
		return ids, lost
	}
	for range 3 {
		q.add([]turn{{r, event{store: 1, lost: true}}, {meta, event{store: 1, lost: true}}})
	}
	q.add([]turn{{r, event{store: 2}}})
	require.Len(t, q.waiting, 2)
	ids, lost := next(0, gone)
	require.Equal(t, []kv.RangeID{kv.MetaRangeID}, ids)
	require.Equal(t, []bool{true}, lost)
	ids, _ = next(turnLasts, gone)
	require.Empty(t, ids, "the election is under way")
	ids, lost = next(turnLasts+1, gone)
	require.Equal(t, []kv.RangeID{kv.FirstUserRange}, ids, "which may take so long and no longer")
	require.Equal(t, []bool{false}, lost, "the last word")
	ids, _ = next(turnLasts+1, gone)
	require.Empty(t, ids)
	// A store that is back keeps what it leads, unless it was started again.
	back := func(kv.StoreID) bool { return true }
	q.add([]turn{{r, event{store: 1, lost: true}}})
	q.add([]turn{{r, event{store: 1}}})
	_, lost = next(0, gone)
	require.Equal(t, []bool{true}, lost)
	clear(q.taken)
	q.add([]turn{{r, event{store: 1, lost: true}}})
	_, lost = next(0, back)
	require.Equal(t, []bool{false}, lost)
	q.add([]turn{{r, event{store: 1, lost: true, restarted: true}}})
	_, lost = next(0, back)
	require.Equal(t, []bool{true}, lost)
	clear(q.taken)
	// One that has another leader needs nothing.
	q.add([]turn{{r, event{store: 2, lost: true}}})
	ids, _ = next(0, gone)
	require.Empty(t, ids)
	require.Empty(t, q.waiting)
}

// descOn is descOf for what node id knows.
func (c *cluster) descOn(id kv.NodeID, i int) *kv.RangeDescriptor {
	for _, st := range c.up(id).Ranges() {
		if st.Descriptor != nil && st.Descriptor.Contains(key(i)) {
			return st.Descriptor
		}
	}
	c.t.Fatalf("node %d knows no range with row %d", id, i)
	return nil
}
