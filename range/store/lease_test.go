package store

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/pamirdb/pamir/range/kv"
)

// readAt reads key i on one store only.
func readAt(ctx context.Context, s *Store, i int) (string, error) {
	resp, err := s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{&kv.Get{Key: key(i)}}})
	if err != nil {
		return "", err
	}
	return string(resp.Responses[0].(*kv.GetResponse).Value), nil
}

// staleAfterTakeover: followers have the leader's last entry in their logs, but do not know that it is
// committed. The leader dies. Whoever answers next must answer with that entry, or not at all.
func staleAfterTakeover(t *testing.T, knobs Knobs) (stale bool) {
	c := newCluster(t, 3, knobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(20 * time.Second)
	require.NoError(t, c.put(ctx, 1, "old"))
	s, _ := c.waitLeader(kv.FirstUserRange)
	old := s.id.NodeID
	time.Sleep(100 * time.Millisecond)
	c.setFilter(func(m *RaftMessage) bool {
		if m.RangeID != kv.FirstUserRange || m.Raft == nil {
			return false
		}
		switch m.Raft.GetType() {
		case pb.MsgApp:
			return m.From.NodeID != old || len(m.Raft.Entries) == 0 // nothing that tells the commit index alone, or a successor's entry
		case pb.MsgHeartbeat:
			return m.From.NodeID == old
		}
		return false
	})
	require.NoError(t, c.put(ctx, 1, "new"))
	c.nodes[old].crash()
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end) && !stale; {
		for n := range c.nodes {
			if s := c.up(n); s != nil {
				if v, err := readAt(ctx, s, 1); err == nil && v != "new" {
					stale = true
				}
			}
		}
		time.Sleep(time.Millisecond)
	}
	c.setFilter(nil)
	v, err := c.get(ctx, 1)
	require.NoError(t, err)
	if !stale {
		require.Equal(t, "new", v)
	}
	return stale
}

func TestNewLeaderServesOnlyAfterItsOwnEntry(t *testing.T) {
	synctest.Test(t, testNewLeaderServesOnlyAfterItsOwnEntry)
}

func testNewLeaderServesOnlyAfterItsOwnEntry(t *testing.T) {
	require.False(t, staleAfterTakeover(t, testKnobs))
	mutant := testKnobs
	mutant.serveEarly = true
	require.True(t, staleAfterTakeover(t, mutant), "the test does not notice a leader that serves too early")
}

// twoLeaders: the leader's Raft messages are lost, but its heartbeats are not, so its lease holds. Nobody
// else may be elected, or it would read the past.
func twoLeaders(t *testing.T, knobs Knobs) (stale bool) {
	c := newCluster(t, 3, knobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(20 * time.Second)
	require.NoError(t, c.put(ctx, 1, "old"))
	// A leader that has gone quiet does not find out by itself that nobody answers.
	var s *Store
	require.Eventually(t, func() bool {
		var st RangeStatus
		s, st = c.leaderOf(kv.FirstUserRange)
		return s != nil && st.Quiet
	}, 10*time.Second, time.Millisecond)
	old := s.id.NodeID
	c.setFilter(func(m *RaftMessage) bool {
		return m.RangeID == kv.FirstUserRange && (m.From.NodeID == old || m.To.NodeID == old)
	})
	wctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for wctx.Err() == nil && !stale {
		for n := range c.nodes {
			if n == old {
				continue
			}
			w, cancel := context.WithTimeout(wctx, 50*time.Millisecond)
			_, err := c.up(n).Send(w, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{&kv.Put{Key: key(1), Value: []byte("new")}}})
			cancel()
			if err != nil {
				continue
			}
			if v, err := readAt(ctx, s, 1); err == nil && v != "new" {
				stale = true
			}
		}
		time.Sleep(time.Millisecond)
	}
	c.setFilter(nil)
	return stale
}

func TestVoteGateHonoursPromises(t *testing.T) { synctest.Test(t, testVoteGateHonoursPromises) }

func testVoteGateHonoursPromises(t *testing.T) {
	require.False(t, twoLeaders(t, testKnobs))
	mutant := testKnobs
	mutant.ignorePromises = true
	caught := false
	for i := 0; i < 5 && !caught; i++ { // under the mutant the quiet leader may be deposed before its messages are lost
		caught = twoLeaders(t, mutant)
	}
	require.True(t, caught, "the test does not notice a gate that ignores promises")
}

// A leader that is cut off stops serving before anybody else begins, and the others take over without an election timeout.
func TestFailover(t *testing.T) { synctest.Test(t, testFailover) }

func testFailover(t *testing.T) {
	c := newCluster(t, 3, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(30 * time.Second)
	for round := range 4 {
		require.NoError(t, c.put(ctx, 1, "x"))
		s, _ := c.waitLeader(kv.FirstUserRange)
		begin := time.Now()
		c.isolate(s.id.NodeID, true)
		for {
			other, _ := c.leaderOf(kv.FirstUserRange)
			if other != nil && other != s {
				break
			}
			require.Less(t, time.Since(begin), 5*time.Second)
			time.Sleep(time.Millisecond)
		}
		t.Logf("round %d: new leader after %v", round, time.Since(begin))
		_, err := readAt(ctx, s, 1)
		require.True(t, kv.HasCode(err, kv.CodeNotLeader), "%v", err)
		require.NoError(t, c.put(ctx, 1, "y"))
		c.isolate(s.id.NodeID, false)
		v, err := c.get(ctx, 1)
		require.NoError(t, err)
		require.Equal(t, "y", v)
	}
}

// Groups with nothing to do stop talking, and wake up when there is.
func TestQuietGroups(t *testing.T) { synctest.Test(t, testQuietGroups) }

func testQuietGroups(t *testing.T) {
	c := newCluster(t, 3, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(30 * time.Second)
	require.NoError(t, c.put(ctx, 1, "x"))
	allQuiet := func() bool {
		for n := range c.nodes {
			for _, st := range c.up(n).Ranges() {
				if !st.Quiet {
					return false
				}
			}
		}
		return true
	}
	require.Eventually(t, allQuiet, 10*time.Second, 20*time.Millisecond)
	sent := c.up(1).metrics.RaftSent.Load() + c.up(2).metrics.RaftSent.Load() + c.up(3).metrics.RaftSent.Load()
	time.Sleep(500 * time.Millisecond)
	require.Equal(t, sent, c.up(1).metrics.RaftSent.Load()+c.up(2).metrics.RaftSent.Load()+c.up(3).metrics.RaftSent.Load())
	v, err := c.get(ctx, 1) // a quiet leader still serves
	require.NoError(t, err)
	require.Equal(t, "x", v)
	s, _ := c.waitLeader(kv.FirstUserRange)
	c.nodes[s.id.NodeID].crash()
	v, err = c.get(ctx, 1)
	require.NoError(t, err)
	require.Equal(t, "x", v)
	require.NoError(t, c.put(ctx, 1, "y"))
	c.nodes[s.id.NodeID].start()
	require.Eventually(t, allQuiet, 10*time.Second, 20*time.Millisecond)
	c.checkReplicas(ctx)
}

// A store whose clock runs away fences itself; the others go on, and it comes back when its clock does.
func TestFencing(t *testing.T) { synctest.Test(t, testFencing) }

func testFencing(t *testing.T) {
	c := newCluster(t, 3, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(30 * time.Second)
	require.NoError(t, c.put(ctx, 1, "x"))
	s, _ := c.waitLeader(kv.FirstUserRange)
	off := c.nodes[s.id.NodeID]
	off.skew.Store(int64(-testOffset))
	require.Eventually(t, func() bool {
		other, _ := c.leaderOf(kv.FirstUserRange)
		return other != nil && other != s
	}, 10*time.Second, 5*time.Millisecond)
	_, err := readAt(ctx, s, 1)
	require.Error(t, err)
	require.NotNil(t, s.support.fenced.Load())
	require.NoError(t, c.put(ctx, 1, "y"))
	off.skew.Store(0)
	require.Eventually(t, func() bool { return s.support.fenced.Load() == nil }, 10*time.Second, 5*time.Millisecond)
	lead := c.waitLeaderStore()
	c.untilSupported(lead, s.id.StoreID)
	_, err = lead.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{
		&kv.AdminTransferLeader{Target: s.id.StoreID},
	}})
	require.NoError(t, err)
	v, err := readAt(ctx, s, 1)
	require.NoError(t, err)
	require.Equal(t, "y", v)
}

// A replica that stops must not keep the range from electing another leader, though its store lives on.
func TestStoppedLeader(t *testing.T) { synctest.Test(t, testStoppedLeader) }

func testStoppedLeader(t *testing.T) {
	c := newCluster(t, 3, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(30 * time.Second)
	require.NoError(t, c.put(ctx, 1, "x"))
	s, _ := c.waitLeader(kv.FirstUserRange)
	s.replica(kv.FirstUserRange).StopForTest()
	require.NoError(t, c.put(ctx, 1, "y"))
	require.Positive(t, s.metrics.Stopped.Load())
}

// A replica that was removed while its store was away learns that when it comes back.
func TestRemovedWhileAway(t *testing.T) { synctest.Test(t, testRemovedWhileAway) }

func testRemovedWhileAway(t *testing.T) {
	c := newCluster(t, 4, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(30 * time.Second)
	require.NoError(t, c.put(ctx, 1, "x"))
	s, _ := c.waitLeader(kv.FirstUserRange)
	away := 1 + s.id.NodeID%3
	c.nodes[away].crash()
	c.changeReplicas(ctx, kv.FirstUserRange, []kv.NodeID{4}, []kv.NodeID{away})
	c.nodes[away].start()
	require.Eventually(t, func() bool {
		_, ok := c.up(away).RangeDetail(kv.FirstUserRange)
		return !ok
	}, 10*time.Second, 10*time.Millisecond)
	c.checkReplicas(ctx)
}

// After a restart of everybody, promises are waited out and the range serves soon.
func TestRestartOfAll(t *testing.T) { synctest.Test(t, testRestartOfAll) }

func testRestartOfAll(t *testing.T) {
	c := newCluster(t, 3, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(30 * time.Second)
	require.NoError(t, c.put(ctx, 1, "x"))
	for _, nd := range c.nodes {
		nd.crash()
	}
	begin := time.Now()
	for _, nd := range c.nodes {
		nd.start()
	}
	v, err := c.get(ctx, 1)
	require.NoError(t, err)
	require.Equal(t, "x", v)
	t.Logf("serves again after %v", time.Since(begin))
}

// Two peers may say at the same time that a replica was removed. What the second of them is worked on for must not take the replica that the store
// has got of the same range meanwhile, with its data.
func TestRemovedTwice(t *testing.T) { synctest.Test(t, testRemovedTwice) }

func testRemovedTwice(t *testing.T) {
	c := newCluster(t, 4, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(30 * time.Second)
	require.NoError(t, c.put(ctx, 1, "x"))
	s, _ := c.waitLeader(kv.FirstUserRange)
	away := 1 + s.id.NodeID%3
	was := c.up(away).replica(kv.FirstUserRange)
	c.changeReplicas(ctx, kv.FirstUserRange, []kv.NodeID{4}, []kv.NodeID{away})
	for c.up(away).replica(kv.FirstUserRange) == was {
		require.NoError(t, ctx.Err(), "the replica is still there")
		time.Sleep(10 * time.Millisecond)
	}
	c.changeReplicas(ctx, kv.FirstUserRange, []kv.NodeID{away}, []kv.NodeID{4})
	c.checkReplicas(ctx)
	require.NoError(t, c.up(away).destroy(was, kv.FirstUserRange, was.ReplicaID()+1))
	require.NotNil(t, c.up(away).replica(kv.FirstUserRange), "the new replica is gone")
	require.NoError(t, c.put(ctx, 2, "y"))
	c.checkReplicas(ctx)
}

// The same where everybody it knew has moved away: it looks in the meta range.
func TestRemovedAndForgotten(t *testing.T) { synctest.Test(t, testRemovedAndForgotten) }

func testRemovedAndForgotten(t *testing.T) {
	c := newCluster(t, 5, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(60 * time.Second)
	require.NoError(t, c.put(ctx, 1, "x"))
	c.checkReplicas(ctx)
	s, _ := c.waitLeader(kv.FirstUserRange)
	away := 1 + s.id.NodeID%3
	third := 1 + away%3
	c.nodes[away].crash()
	c.changeReplicas(ctx, kv.FirstUserRange, []kv.NodeID{4, 5}, []kv.NodeID{away, third})
	c.checkReplicas(ctx)
	c.untilSupported(s, 4)
	_, err := s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{&kv.AdminTransferLeader{Target: 4}}})
	require.NoError(t, err)
	c.changeReplicas(ctx, kv.FirstUserRange, nil, []kv.NodeID{s.id.NodeID})
	c.nodes[away].start()
	require.Eventually(t, func() bool {
		_, ok := c.up(away).RangeDetail(kv.FirstUserRange)
		return !ok
	}, 20*time.Second, 10*time.Millisecond)
}

// A store that has just died is no place to move leadership to: the range would stand still until the transfer is given up.
func TestTransferToTheDead(t *testing.T) { synctest.Test(t, testTransferToTheDead) }

func testTransferToTheDead(t *testing.T) {
	c := newCluster(t, 3, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(30 * time.Second)
	require.NoError(t, c.put(ctx, 1, "x"))
	s, _ := c.waitLeader(kv.FirstUserRange)
	dead := 1 + s.id.NodeID%3
	c.untilSupported(s, kv.StoreID(dead)) // of whom nothing was ever heard, he is new, and not silent
	c.nodes[dead].crash()
	require.Eventually(t, func() bool {
		return s.support.silence(kv.StoreID(dead)) > 2*s.cfg.Knobs.HeartbeatInterval
	}, 10*time.Second, time.Millisecond)
	_, err := s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{&kv.AdminTransferLeader{Target: kv.StoreID(dead)}}})
	require.ErrorContains(t, err, "has not been heard of")
	require.NoError(t, c.put(ctx, 1, "y"))
}

// A replica that never got a snapshot, and that nobody talks to any more, finds out by the range's number that it was removed.
func TestRemovedBeforeItsSnapshot(t *testing.T) { synctest.Test(t, testRemovedBeforeItsSnapshot) }

func testRemovedBeforeItsSnapshot(t *testing.T) {
	c := newCluster(t, 5, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(60 * time.Second)
	require.NoError(t, c.put(ctx, 1, "x"))
	c.changeReplicas(ctx, kv.FirstUserRange, []kv.NodeID{5}, nil)
	_, st := c.waitLeader(kv.FirstUserRange)
	was, ok := st.Descriptor.ReplicaOn(5)
	require.True(t, ok)
	c.changeReplicas(ctx, kv.FirstUserRange, nil, []kv.NodeID{5})
	from, _ := st.Descriptor.ReplicaOn(1)
	was.NodeID, was.StoreID = 4, 4 // as if it had been there
	c.up(4).HandleRaftMessages([]*RaftMessage{{
		RangeID: kv.FirstUserRange, From: from, To: was, Now: c.up(1).clock.Now(),
		Raft: &pb.Message{Type: pb.MsgHeartbeat.Enum(), From: new(uint64(from.ReplicaID)), To: new(uint64(was.ReplicaID)), Term: new(uint64(1))},
	}})
	_, ok = c.up(4).RangeDetail(kv.FirstUserRange)
	require.True(t, ok)
	require.Eventually(t, func() bool {
		_, ok := c.up(4).RangeDetail(kv.FirstUserRange)
		return !ok
	}, 30*time.Second, 10*time.Millisecond)
}

// A replica that is on its way out may be elected, commit its own removal, and be gone before anybody else has heard of that. Its
// store lives, so the promises to it do not run out; the others must learn that nobody leads.
func TestRemovedLeader(t *testing.T) {
	for _, lost := range []string{"nothing", "its last words", "its last words and the answers"} {
		t.Run(lost, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testRemovedLeader(t, lost) })
		})
	}
}

func testRemovedLeader(t *testing.T, lost string) {
	const rng = kv.FirstUserRange
	c := newCluster(t, 3, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(5 * time.Minute)
	require.NoError(t, c.put(ctx, 1, "x"))
	c.checkReplicas(ctx)
	s, st := c.waitLeader(rng)
	require.Equal(t, kv.StoreID(1), s.id.StoreID)
	desc := func(id kv.NodeID) *kv.RangeDescriptor {
		if r := c.up(id).replica(rng); r != nil {
			return r.Desc()
		}
		return nil
	}
	joint := func(id kv.NodeID) bool { d := desc(id); return d != nil && d.InJoint() }

	// Store 3 does not hear of the end of the change, so that it cannot be committed; store 2, which is to go, has it in its log.
	c.setFilter(func(m *RaftMessage) bool { return m.RangeID == rng && m.To.StoreID == 3 && joint(1) && m.Raft != nil })
	change, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	two, _ := st.Descriptor.ReplicaOn(2)
	_, err := s.Send(change, &kv.BatchRequest{RangeID: rng, Requests: []kv.Request{
		&kv.AdminChangeReplicas{Generation: st.Descriptor.Generation, Remove: []kv.Replica{two}},
	}})
	require.Error(t, err)
	require.True(t, joint(1) && joint(2))

	// Store 1 crashes and comes back; nobody may win but store 2. What it says when it is gone may be lost, too.
	var gone atomic.Bool
	c.setFilter(func(m *RaftMessage) bool {
		if m.RangeID != rng {
			return false
		}
		if !gone.Load() {
			vote := m.Raft != nil && (m.Raft.GetType() == pb.MsgVote || m.Raft.GetType() == pb.MsgPreVote)
			if vote && m.From.StoreID != 2 {
				return true
			}
		}
		switch lost {
		case "its last words":
			return m.From.StoreID == 2 && m.Resigned != 0 && !gone.Load()
		case "its last words and the answers":
			return m.From.StoreID == 2 && m.Resigned != 0
		}
		return false
	})
	c.nodes[1].crash()
	c.nodes[1].start()
	require.Eventually(t, func() bool { return desc(2) == nil }, time.Minute, 100*time.Microsecond)
	gone.Store(true)
	if lost == "its last words and the answers" {
		time.Sleep(10 * time.Second) // everybody is quiet by now
		c.setFilter(nil)
		_, err := readAt(ctx, c.up(1), 1)
		require.True(t, kv.HasCode(err, kv.CodeNotLeader), "%v", err)
	}
	s, _ = c.waitLeader(rng)
	require.NotEqual(t, kv.StoreID(2), s.id.StoreID)
	require.NoError(t, c.put(ctx, 1, "y"))
	require.False(t, joint(1) || joint(3))
}
