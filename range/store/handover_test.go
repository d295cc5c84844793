package store

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// transfer hands the leadership of the first user range to a follower, and returns the store that serves then.
func (c *cluster) transfer(ctx context.Context) *Store {
	c.t.Helper()
	s, st := c.waitLeader(kv.FirstUserRange)
	for _, p := range st.Descriptor.Replicas {
		if p.StoreID == s.id.StoreID {
			continue
		}
		c.untilSupported(s, p.StoreID)
		// Who has led for a moment only may not know yet that the other one has everything; senders ask again, too.
		move := func() error {
			_, err := s.Send(ctx, &kv.BatchRequest{RangeID: st.RangeID, Requests: []kv.Request{&kv.AdminTransferLeader{Target: p.StoreID}}})
			return err
		}
		err := move()
		for kv.HasCode(err, kv.CodeUnavailable) && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
			err = move()
		}
		require.NoError(c.t, err)
		next := c.waitLeaderStore()
		require.Equal(c.t, p.StoreID, next.id.StoreID)
		return next
	}
	c.t.Fatal("nobody to hand over to")
	return nil
}

// untilSupported waits until a store supports another one: it hands leadership to nobody else. Stores that have just been started, and a clock that was
// wrong a moment ago, have yet to be heard.
func (c *cluster) untilSupported(s *Store, by kv.StoreID) {
	c.t.Helper()
	require.Eventually(c.t, func() bool { return s.support.SupportEpoch(by) != 0 }, 20*time.Second, time.Millisecond)
}

func testTxn(s *Store, n byte) *kv.TxnMeta {
	now := s.clock.Now()
	return &kv.TxnMeta{ID: kv.TxnID{n}, Anchor: key(1), Gateway: 1, ReadTS: now, UncertaintyLimit: now.Add(testOffset)}
}

func lockRow(ctx context.Context, s *Store, x *kv.TxnMeta, i int, wait kv.WaitPolicy) error {
	_, err := s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Txn: x, CanMoveReadTS: true, Wait: wait,
		Requests: []kv.Request{&kv.Get{Key: key(i), Lock: kv.LockUpdate}}})
	return err
}

// A lock that a statement has taken blocks others at the next leader and at the one after, until it is released there;
// who waits for it is sent to the new leader and waits there.
func TestLocksAreHandedOver(t *testing.T) { synctest.Test(t, testLocksAreHandedOver) }

func testLocksAreHandedOver(t *testing.T) {
	c := newCluster(t, 3, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(60 * time.Second)
	require.NoError(t, c.put(ctx, 1, "v"))
	s := c.waitLeaderStore()
	holder, other := testTxn(s, 1), testTxn(s, 2)
	require.NoError(t, lockRow(ctx, s, holder, 1, kv.WaitError))
	waits := make(chan error, 1)
	go func() { waits <- lockRow(ctx, s, other, 1, kv.WaitBlock) }()
	require.Eventually(t, func() bool { return s.lockMetrics.LockWaits.Load() > 0 }, 20*time.Second, time.Millisecond)
	for range 2 {
		s = c.transfer(ctx)
		require.True(t, kv.HasCode(<-waits, kv.CodeNotLeader))
		err := lockRow(ctx, s, other, 1, kv.WaitError)
		require.True(t, kv.HasCode(err, kv.CodeLockNotAvailable), "%v", err)
		require.NoError(t, lockRow(ctx, s, holder, 1, kv.WaitError), "it is the holder's still")
		before := s.lockMetrics.LockWaits.Load()
		go func() { waits <- lockRow(ctx, s, other, 1, kv.WaitBlock) }()
		require.Eventually(t, func() bool { return s.lockMetrics.LockWaits.Load() > before }, 20*time.Second, time.Millisecond)
	}
	_, err := s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Txn: holder, Requests: []kv.Request{&kv.ReleaseLocks{Keys: []keys.Key{key(1)}}}})
	require.NoError(t, err)
	require.NoError(t, <-waits)
	require.Positive(t, s.metrics.LocksHandedOver.Load())
}

// Leadership is not handed to a store that this one does not support: it may be heard and hear nobody, and its range would stand still until the
// transfer is given up. The range is at rest, and all that its leader knows of the follower is that it has everything.
func TestNoHandOverToAStoreWithoutSupport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClusterWith(t, 3, Knobs{MemTableBytes: 4 << 20}, productionClock)
		c.upReplicate(2, 3)
		ctx := c.ctx(time.Minute)
		c.gather(1)
		require.NoError(t, c.put(ctx, 1, "v"))
		c.untilQuiet()
		c.sever(1, 3, true)
		c.sever(2, 3, true)
		s := c.up(1)
		for s.support.SupportEpoch(3) != 0 {
			time.Sleep(10 * time.Millisecond)
		}
		require.Less(t, s.support.silence(3), 2*s.cfg.Knobs.HeartbeatInterval, "it is heard well")
		began := time.Now()
		for _, move := range []func() error{
			func() error {
				_, err := s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{&kv.AdminTransferLeader{Target: 3}}})
				return err
			},
			func() error {
				return s.transferLeader(ctx, s.replica(kv.FirstUserRange), &kv.AdminTransferLeader{Target: 3})
			},
		} {
			err := move()
			require.True(t, kv.HasCode(err, kv.CodeUnavailable), "%v", err)
			require.NoError(t, c.put(ctx, 1, "w"))
		}
		require.Less(t, time.Since(began), 100*time.Millisecond, "nobody has waited")
		require.Zero(t, s.Drain(ctx))
		require.Equal(t, kv.StoreID(2), c.waitLeaderStore().id.StoreID, "who drains hands over to another")
	})
}

// commitAt commits a write of a transaction that read at ts, and returns where it landed.
func commitAt(ctx context.Context, t *testing.T, s *Store, n byte, i int, ts hlc.Timestamp) hlc.Timestamp {
	x := &kv.TxnMeta{ID: kv.TxnID{n}, Anchor: key(i), Gateway: 1, ReadTS: ts, UncertaintyLimit: ts.Add(testOffset)}
	resp, err := s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Txn: x, Requests: []kv.Request{
		&kv.CommitSingleRange{Writes: []kv.Write{{Key: key(i), Value: []byte("w")}}},
	}})
	require.NoError(t, err)
	return resp.Responses[0].(*kv.CommitSingleRangeResponse).CommitTS
}

// The next leader knows what was read, key by key: writes under a read are pushed, others stay where they are. After a
// crash it knows nothing, and pushes all.
func TestReadsAreHandedOver(t *testing.T) { synctest.Test(t, testReadsAreHandedOver) }

func testReadsAreHandedOver(t *testing.T) {
	c := newCluster(t, 3, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(60 * time.Second)
	require.NoError(t, c.put(ctx, 1, "v"))
	s := c.waitLeaderStore()
	early := s.clock.Now()
	read := s.clock.Now()
	get := func(q kv.Request) {
		_, err := s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Timestamp: read, Requests: []kv.Request{q}})
		require.NoError(t, err)
	}
	get(&kv.Get{Key: key(1)})
	get(&kv.Scan{Spans: []keys.Span{{Start: key(10), End: key(20)}}})
	require.Equal(t, early, commitAt(ctx, t, s, 1, 5, early))
	s = c.transfer(ctx)
	moved := s.clock.Now()
	pushed := func(n byte, i int) {
		t.Helper()
		ts := commitAt(ctx, t, s, n, i, early)
		require.True(t, read.Less(ts), "a write at %s under a read at %s", ts, read)
		require.True(t, ts.Less(moved), "pushed to %s, further than the read at %s asks for: nothing was handed over", ts, read)
	}
	require.Equal(t, early, commitAt(ctx, t, s, 2, 2, early), "nobody has read that key")
	pushed(3, 1)
	pushed(4, 15)

	c.nodes[s.id.NodeID].crash()
	s = c.waitLeaderStore()
	require.True(t, moved.Less(commitAt(ctx, t, s, 5, 30, early)), "a leader that was told nothing lets nobody write in the past")
}

// The right side of a split has the locks and the reads of the left, and its first leader's floor is no higher.
func TestSplitKeepsLocksAndReads(t *testing.T) { synctest.Test(t, testSplitKeepsLocksAndReads) }

func testSplitKeepsLocksAndReads(t *testing.T) {
	c := newCluster(t, 1, testKnobs)
	ctx := c.ctx(60 * time.Second)
	require.NoError(t, c.put(ctx, 1, "v"))
	s := c.waitLeaderStore()
	holder, other := testTxn(s, 1), testTxn(s, 2)
	require.NoError(t, lockRow(ctx, s, holder, 55, kv.WaitError))
	early, read := s.clock.Now(), s.clock.Now()
	_, err := s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Timestamp: read, Requests: []kv.Request{&kv.Get{Key: key(60)}}})
	require.NoError(t, err)
	resp, err := c.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.AdminSplit{Key: key(50)}}})
	require.NoError(t, err)
	right := resp.Responses[0].(*kv.AdminSplitResponse).Right.RangeID
	c.waitLeader(right)
	_, err = s.Send(ctx, &kv.BatchRequest{RangeID: right, Txn: other, CanMoveReadTS: true, Wait: kv.WaitError,
		Requests: []kv.Request{&kv.Get{Key: key(55), Lock: kv.LockUpdate}}})
	require.True(t, kv.HasCode(err, kv.CodeLockNotAvailable), "%v", err)
	commit := func(n byte, i int) hlc.Timestamp {
		x := &kv.TxnMeta{ID: kv.TxnID{n}, Anchor: key(i), Gateway: 1, ReadTS: early, UncertaintyLimit: early}
		resp, err := s.Send(ctx, &kv.BatchRequest{RangeID: right, Txn: x, Requests: []kv.Request{
			&kv.CommitSingleRange{Writes: []kv.Write{{Key: key(i), Value: []byte("w")}}},
		}})
		require.NoError(t, err)
		return resp.Responses[0].(*kv.CommitSingleRangeResponse).CommitTS
	}
	require.Equal(t, early, commit(3, 70))
	require.Equal(t, read.Next(), commit(4, 60))
}
