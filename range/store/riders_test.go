package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// resolving is a transaction of which one range has prepared writes, while they are being resolved.
type resolving struct {
	meta kv.TxnMeta
	rng  kv.RangeID
	at   hlc.Timestamp
	keys []keys.Key
	done chan error
}

// prepareAll locks the keys of the first user range with the value.
func prepareAll(t *testing.T, ctx context.Context, s *Store, n byte, value string, ks ...int) *resolving {
	t.Helper()
	return prepareIn(t, ctx, s, kv.FirstUserRange, n, value, ks...)
}

func prepareIn(t *testing.T, ctx context.Context, s *Store, rng kv.RangeID, n byte, value string, ks ...int) *resolving {
	t.Helper()
	x := &resolving{rng: rng, meta: kv.TxnMeta{ID: kv.TxnID{0: n, 15: 1}, Anchor: key(ks[0]), Gateway: 1, ReadTS: s.clock.Now()}, done: make(chan error, 1)}
	p := &kv.Prepare{StageTS: x.meta.ReadTS}
	for _, k := range ks {
		x.keys = append(x.keys, key(k))
		p.Writes = append(p.Writes, kv.Write{Key: key(k), Value: []byte(value)})
	}
	m := x.meta
	resp, err := s.Send(ctx, &kv.BatchRequest{RangeID: rng, Txn: &m, Requests: []kv.Request{p}})
	require.NoError(t, err)
	x.at = resp.Responses[0].(*kv.PrepareResponse).TS
	return x
}

// resolve asks the store to make them versions, in the background.
func (x *resolving) resolve(ctx context.Context, s *Store) {
	go func() {
		m := x.meta
		_, err := s.Send(ctx, &kv.BatchRequest{RangeID: x.rng, Txn: &m, Requests: []kv.Request{
			&kv.ResolveLocks{Commit: true, CommitTS: x.at, Keys: x.keys}}})
		x.done <- err
	}()
}

// TestRidersMakeNoDifference: whether resolutions wait for others to ride with or not, everybody reads the same, and the same is left.
func TestRidersMakeNoDifference(t *testing.T) {
	for seed := range uint64(6) {
		var read, left [2][]string
		var ridden [2]int64
		for i, patience := range []time.Duration{time.Hour, -1} {
			synctest.Test(t, func(t *testing.T) { read[i], left[i], ridden[i] = ridersScript(t, seed, patience) })
		}
		require.Equal(t, read[1], read[0], "seed %d", seed)
		require.Equal(t, left[1], left[0], "seed %d", seed)
		require.Positive(t, ridden[0], "seed %d", seed)
		require.Zero(t, ridden[1], "seed %d", seed)
	}
}

func ridersScript(t *testing.T, seed uint64, patience time.Duration) (read, left []string, ridden int64) {
	const rows = 16
	knobs := testKnobs
	knobs.DeferResolve = patience
	c := newCluster(t, 1, knobs)
	ctx := c.ctx(time.Hour)
	s := c.waitLeaderStore()
	rng := rand.New(rand.NewPCG(seed, 'r'))
	locked := map[int]bool{} // and may be resolved by now
	var all []*resolving
	for step := range byte(120) {
		k := rng.IntN(rows)
		switch rng.IntN(5) {
		case 0, 1:
			ks := []int{k}
			if other := rng.IntN(rows); other != k {
				ks = append(ks, other)
			}
			if locked[ks[0]] || locked[ks[len(ks)-1]] {
				continue
			}
			x := prepareAll(t, ctx, s, step+1, fmt.Sprint("t", step), ks...)
			for _, k := range ks {
				locked[k] = true
			}
			all = append(all, x)
			x.resolve(ctx, s)
			if rng.IntN(2) == 0 {
				synctest.Wait()
			}
		case 2: // perhaps of a row whose lock waits: it has it hurry
			require.NoError(t, c.put(ctx, k, fmt.Sprint("p", step)))
			delete(locked, k)
		default:
			v, err := c.get(ctx, k)
			require.NoError(t, err)
			read = append(read, fmt.Sprint(step, ": ", k, " ", v))
		}
	}
	synctest.Wait()
	require.NoError(t, c.put(ctx, rows, "last")) // some ride with it
	for i := range rows {                        // and nobody is left behind
		require.NoError(t, c.put(ctx, i, fmt.Sprint("e", i)))
	}
	for _, x := range all {
		require.NoError(t, <-x.done)
	}
	stats := c.noLocksLeft(ctx, s)
	left = append(left, fmt.Sprint(stats.LiveRows, stats.LiveBytes, stats.Versions, stats.Bytes))
	return read, left, s.metrics.Ridden.Load()
}

// noLocksLeft checks the statistics of the user's range against what is in the leader's store, and that no lock is.
func (c *cluster) noLocksLeft(ctx context.Context, leader *Store) kv.Stats {
	c.t.Helper()
	_, st := c.leaderOf(kv.FirstUserRange)
	want, err := mvcc.ComputeStats(ctx, leader.eng.DB(), st.Descriptor)
	require.NoError(c.t, err)
	require.Equal(c.t, want, st.Stats)
	require.Zero(c.t, st.Stats.Locks)
	return st.Stats
}

// A resolution that waits goes along with the next write, and is answered with it.
func TestRiderGoesAlong(t *testing.T) { synctest.Test(t, testRiderGoesAlong) }

func testRiderGoesAlong(t *testing.T) {
	knobs := testKnobs
	knobs.DeferResolve = time.Hour
	c := newCluster(t, 1, knobs)
	ctx := c.ctx(time.Hour)
	s := c.waitLeaderStore()
	x := prepareAll(t, ctx, s, 1, "new", 1, 2)
	x.resolve(ctx, s)
	synctest.Wait()
	v, err := c.get(ctx, 2)
	require.NoError(t, err)
	require.Equal(t, "new", v, "read through the lock")
	require.Empty(t, x.done)
	before := s.metrics.Proposals.Load()
	require.NoError(t, c.put(ctx, 7, "other"))
	require.NoError(t, <-x.done)
	require.Equal(t, before+1, s.metrics.Proposals.Load())
	_, st := c.leaderOf(kv.FirstUserRange)
	require.Zero(t, st.Stats.Locks)
	require.EqualValues(t, 1, s.metrics.Ridden.Load())

	// A key that somebody had to wait for is resolved at once.
	x = prepareAll(t, ctx, s, 2, "hot", 3)
	x.resolve(ctx, s)
	synctest.Wait()
	require.NoError(t, c.put(ctx, 3, "after"))
	require.NoError(t, <-x.done)
	x = prepareAll(t, ctx, s, 3, "hot", 3)
	x.resolve(ctx, s)
	require.NoError(t, <-x.done)
	require.EqualValues(t, 1, s.metrics.Ridden.Load())
}

// Resolutions that nobody takes along go at one moment, whenever they came and whatever ranges they are of, and no later than they may.
func TestRidersGoTogether(t *testing.T) { synctest.Test(t, testRidersGoTogether) }

func testRidersGoTogether(t *testing.T) {
	const most = 800 * time.Millisecond
	knobs := testKnobs
	knobs.DeferResolve = most
	c := newCluster(t, 1, knobs)
	ctx := c.ctx(time.Hour)
	s := c.waitLeaderStore()
	resp, err := s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{&kv.AdminSplit{Key: key(5)}}})
	require.NoError(t, err)
	right := resp.Responses[0].(*kv.AdminSplitResponse).Right.RangeID
	all := []*resolving{prepareAll(t, ctx, s, 1, "v", 1), prepareAll(t, ctx, s, 2, "v", 2), prepareIn(t, ctx, s, right, 3, "v", 8)}
	time.Sleep(most/2 - time.Duration(s.clock.Physical())%(most/2) + time.Millisecond)
	began := time.Now()
	for _, x := range all {
		x.resolve(ctx, s)
		time.Sleep(most / 8)
	}
	for _, x := range all {
		require.NoError(t, <-x.done)
		require.Equal(t, most-time.Millisecond, time.Since(began))
	}
}

// A resolution that waits does not stay with a leader that leads no more, nor with a range that its keys have left.
func TestRidersWhereTheRangeChanges(t *testing.T) { synctest.Test(t, testRidersWhereTheRangeChanges) }

func testRidersWhereTheRangeChanges(t *testing.T) {
	knobs := testKnobs
	knobs.DeferResolve = time.Hour
	c := newCluster(t, 3, knobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(time.Hour)
	s := c.waitLeaderStore()
	left, right := prepareAll(t, ctx, s, 1, "l", 1), prepareAll(t, ctx, s, 2, "r", 8)
	for _, x := range []*resolving{left, right} {
		x.resolve(ctx, s)
	}
	synctest.Wait()
	_, err := s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{&kv.AdminSplit{Key: key(5)}}})
	require.NoError(t, err)
	require.NoError(t, <-left.done)
	require.True(t, kv.HasCode(<-right.done, kv.CodeRangeMismatch))

	x := prepareAll(t, ctx, s, 3, "l2", 2)
	x.resolve(ctx, s)
	synctest.Wait()
	to := kv.StoreID(s.id.StoreID%3 + 1)
	require.Eventually(t, func() bool {
		_, err = s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{&kv.AdminTransferLeader{Target: to}}})
		return !kv.HasCode(err, kv.CodeUnavailable)
	}, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, err)
	if err := <-x.done; err != nil { // else it was quicker than the transfer
		require.Equal(t, kv.RetryRouting, kv.AsError(err).Code.Class())
		x.resolve(ctx, c.waitLeaderStore())
		synctest.Wait()
		require.NoError(t, c.put(ctx, 3, "other"))
		require.NoError(t, <-x.done)
	}
	v, err := c.get(ctx, 2)
	require.NoError(t, err)
	require.Equal(t, "l2", v)
}

// Many at once, writers and readers of the same rows among them.
func TestRidersUnderLoad(t *testing.T) { synctest.Test(t, testRidersUnderLoad) }

func testRidersUnderLoad(t *testing.T) {
	c := newCluster(t, 3, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(time.Minute)
	s := c.waitLeaderStore()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 25 {
				x := prepareAll(t, ctx, s, byte(w*25+i+1), fmt.Sprint(i), 100+w, 200+w)
				x.resolve(ctx, s)
				if i%4 == 0 {
					if err := c.put(ctx, 300+w, "p"); err != nil {
						t.Error(err)
					}
				}
				if v, err := c.get(ctx, 200+w); err != nil || v != fmt.Sprint(i) {
					t.Errorf("read %q, %v after %d was committed", v, err, i)
				}
				if err := <-x.done; err != nil {
					t.Error(err)
				}
			}
		}()
	}
	wg.Wait()
	c.checkReplicas(ctx)
	_, st := c.leaderOf(kv.FirstUserRange)
	require.Zero(t, st.Stats.Locks)
}
