package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// oneCommit is a commit that can be sent again.
type oneCommit struct {
	txn kv.TxnMeta
	req kv.CommitSingleRange
}

func newCommit(now hlc.Timestamp, ks ...int) *oneCommit {
	x := &oneCommit{txn: kv.TxnMeta{ID: kv.MakeTxnID(now, rand.Uint64()), Anchor: key(ks[0]), Gateway: 1, ReadTS: now, UncertaintyLimit: now}}
	x.req.Sent = now
	for _, k := range ks {
		x.req.Writes = append(x.req.Writes, kv.Write{Key: key(k), Value: []byte(x.txn.ID.String())})
	}
	return x
}

func (x *oneCommit) send(c *cluster) (hlc.Timestamp, error) {
	txn, req := x.txn, x.req
	resp, err := c.Send(c.ctx(20*time.Second), &kv.BatchRequest{Txn: &txn, Requests: []kv.Request{&req}})
	if err != nil {
		return hlc.Timestamp{}, err
	}
	return resp.Responses[0].(*kv.CommitSingleRangeResponse).CommitTS, nil
}

func (x *oneCommit) ask(c *cluster) (kv.QueryCommitResponse, error) {
	txn := x.txn
	resp, err := c.Send(c.ctx(20*time.Second), &kv.BatchRequest{Txn: &txn, Requests: []kv.Request{&kv.QueryCommit{Key: x.req.Writes[0].Key, ID: x.txn.ID, Sent: x.req.Sent}}})
	if err != nil {
		return kv.QueryCommitResponse{}, err
	}
	return *resp.Responses[0].(*kv.QueryCommitResponse), nil
}

// What became of a commit is known wherever its first key goes: through splits, merges, changes of leaders, and snapshots.
func TestCommitIsKnownAgain(t *testing.T) { synctest.Test(t, testCommitIsKnownAgain) }

func testCommitIsKnownAgain(t *testing.T) {
	c := newCluster(t, 3, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(120 * time.Second)
	s, _ := c.waitLeader(kv.FirstUserRange)
	type done struct {
		*oneCommit
		at hlc.Timestamp
	}
	var all []done
	var never []*oneCommit
	more := func() {
		for _, ks := range [][]int{{5}, {25}, {25, 26}, {5, 6}, {26, 25}} {
			x := newCommit(s.clock.Now(), ks...)
			at, err := x.send(c)
			require.NoError(t, err)
			all = append(all, done{x, at})
			y := newCommit(s.clock.Now(), ks...)
			o, err := y.ask(c)
			require.NoError(t, err)
			require.False(t, o.Committed)
			never = append(never, y)
		}
	}
	check := func(what string) {
		t.Helper()
		for _, x := range all {
			at, err := x.send(c)
			require.NoError(t, err, what)
			require.Equal(t, x.at, at, what)
			o, err := x.ask(c)
			require.NoError(t, err, what)
			require.Equal(t, kv.QueryCommitResponse{Committed: true, CommitTS: x.at}, o, what)
		}
		for _, y := range never {
			_, err := y.send(c)
			require.True(t, kv.HasCode(err, kv.CodeTxnAborted), "%s: %v", what, err)
			o, err := y.ask(c)
			require.NoError(t, err)
			require.False(t, o.Committed, what)
		}
	}
	turn := func() {
		for _, r := range c.userRanges() {
			s, _ := c.waitLeader(r.RangeID)
			rep := s.replica(r.RangeID)
			since := rep.Applied().Outcomes.Since
			// As the store does it, but without waiting for it to be time.
			for s.clock.Now().LessEq(since) {
				time.Sleep(10 * time.Millisecond)
			}
			_, err := s.Send(ctx, &kv.BatchRequest{RangeID: r.RangeID, Requests: []kv.Request{&kv.GC{Outcomes: true, Threshold: since}}})
			require.NoError(t, err)
			require.Less(t, since.WallTime, rep.Applied().Outcomes.Since.WallTime)
		}
	}
	more()
	check("at first")
	c.split(ctx, 20)
	check("split")
	more()
	turn()
	check("turned over")
	more()
	c.mergeSoon(ctx, 20)
	check("merged")
	s, _ = c.waitLeader(kv.FirstUserRange)
	rep := s.replica(kv.FirstUserRange)
	to := 1 + int32(s.id.StoreID)%3
	require.NoError(t, rep.TransferLeader(ctx, &kv.AdminTransferLeader{Target: kv.StoreID(to)}))
	check("led by another")
	c.checkReplicas(ctx)
}

// Ranges forget, all replicas alike, and what is forgotten is not executed again.
func TestCommitsAreForgotten(t *testing.T) { synctest.Test(t, testCommitsAreForgotten) }

func testCommitsAreForgotten(t *testing.T) {
	k := testKnobs
	k.OutcomesAfter, k.GCInterval = 50*time.Millisecond, 50*time.Millisecond
	c := newCluster(t, 3, k)
	c.upReplicate(2, 3)
	ctx := c.ctx(120 * time.Second)
	s, _ := c.waitLeader(kv.FirstUserRange)
	rep := s.replica(kv.FirstUserRange)
	count := func() (n int) {
		for shelf := range byte(2) {
			span := keys.OutcomeSpan(shelf, keys.Min, keys.Max)
			it, err := s.eng.DB().NewIter(&pebble.IterOptions{LowerBound: engine.EncodeKey(span.Start), UpperBound: engine.EncodeKey(span.End)})
			require.NoError(t, err)
			for it.First(); it.Valid(); it.Next() {
				n++
			}
			require.NoError(t, it.Close())
		}
		return n
	}
	x := newCommit(s.clock.Now(), 1)
	_, err := x.send(c)
	require.NoError(t, err)
	y := newCommit(s.clock.Now(), 1)
	made := 0
	for made < 1500 || rep.Applied().Outcomes.Forgotten.LessEq(y.req.Sent) {
		_, err := newCommit(s.clock.Now(), made%100).send(c)
		require.NoError(t, err)
		made++
		time.Sleep(time.Millisecond)
	}
	require.Less(t, count(), made/2)
	_, err = x.send(c)
	require.True(t, kv.HasCode(err, kv.CodeReadBelowGC), "%v", err)
	_, err = y.send(c)
	require.True(t, kv.HasCode(err, kv.CodeReadBelowGC), "%v", err)
	_, err = y.ask(c)
	require.True(t, kv.HasCode(err, kv.CodeReadBelowGC), "%v", err)
	// Left alone, it forgets everything.
	require.Eventually(t, func() bool { return count() == 0 }, 30*time.Second, 10*time.Millisecond)
	c.checkReplicas(ctx)
}

// How long a range stands still for a split does not depend on how many commits it remembers. To measure: PAMIR_SPLIT_OUTCOMES=1000000.
func TestSplitWithManyOutcomes(t *testing.T) { synctest.Test(t, testSplitWithManyOutcomes) }

func testSplitWithManyOutcomes(t *testing.T) {
	n := 2000
	if many, err := strconv.Atoi(os.Getenv("PAMIR_SPLIT_OUTCOMES")); err == nil {
		n = many
	}
	c := newCluster(t, 1, testKnobs)
	ctx := c.ctx(120 * time.Second)
	s, _ := c.waitLeader(kv.FirstUserRange)
	for i := range 100 {
		require.NoError(t, c.put(ctx, i, "x"))
	}
	now := s.clock.Now()
	for i := 0; i < n; { // as if so many had been made
		w := mvcc.Writer{Batch: s.eng.DB().NewBatch()}
		for end := min(n, i+10_000); i < end; i++ {
			require.NoError(t, w.PutCommitOutcome(0, key(i%100), kv.MakeTxnID(now, uint64(i)), mvcc.CommitOutcome{Committed: true, CommitTS: now}))
		}
		require.NoError(t, w.Batch.Commit(pebble.NoSync))
	}
	before := s.eng.DB().Metrics().WAL.BytesIn
	right := c.split(ctx, 50)
	wrote := s.eng.DB().Metrics().WAL.BytesIn - before
	t.Logf("%d outcomes: the range stood still for %v, and the split wrote %d bytes", n, time.Duration(s.metrics.SplitStallNanos.Load()), wrote)
	require.Less(t, wrote, uint64(50_000))
	for _, k := range []int{7, 77} {
		x := newCommit(now, k)
		x.txn.ID = kv.MakeTxnID(now, uint64(k))
		at, err := x.send(c)
		require.NoError(t, err)
		require.Equal(t, now, at, fmt.Sprint(right))
	}
}

// gateways answers for the transactions of all gateways.
type gateways struct {
	live atomic.Pointer[kv.TxnID]
	c    *cluster
}

func (g *gateways) QueryHolder(_ context.Context, _ kv.NodeID, _ int64, id kv.TxnID, _ bool) (kv.HolderState, error) {
	l := g.live.Load()
	return kv.HolderState{Alive: l != nil && *l == id}, nil
}

func (g *gateways) ReportWait(context.Context, *kv.TxnMeta, keys.Key, []kv.TxnMeta) (kv.HolderState, error) {
	return kv.HolderState{}, nil
}

func (g *gateways) Recover(ctx context.Context, m kv.TxnMeta, _ keys.Key) (kv.TxnStatus, hlc.Timestamp, error) {
	var rec kv.TxnRecord
	for _, decide := range []kv.TxnStatus{kv.TxnUnknown, kv.TxnAborted} {
		x := m
		resp, err := g.c.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Txn: &x, Requests: []kv.Request{&kv.RecoverTxn{Decide: decide, StagedTS: rec.CommitTS}}})
		if err != nil {
			return 0, hlc.Timestamp{}, err
		}
		if rec = resp.Responses[0].(*kv.RecoverTxnResponse).Record; rec.Status != kv.TxnStaging {
			break
		}
	}
	return rec.Status, rec.CommitTS, nil
}

// Records of committed transactions that nobody has removed are handed to whoever can, when they are old, until they are gone. Those that others
// remove stay, and those that do not say where locks may be. Records that nobody has decided go when their gateways do not know them. Records that
// cannot be finished hold up no others.
func TestLeftOverRecordsGo(t *testing.T) { synctest.Test(t, testLeftOverRecordsGo) }

func testLeftOverRecordsGo(t *testing.T) {
	k := testKnobs
	k.GCAfter, k.GCInterval = 200*time.Millisecond, 50*time.Millisecond
	var c *cluster
	var failed, early atomic.Int64
	var stuck atomic.Bool
	stuck.Store(true)
	g := &gateways{}
	c = newClusterWith(t, 1, k, func(cfg *Config) {
		clock := cfg.Clock
		cfg.Holders, cfg.Recoverer = g, g
		cfg.FinishRecord = func(_ context.Context, rec kv.TxnRecord) error {
			if clock.Now().Add(-k.GCAfter).Less(rec.CommitTS) {
				early.Add(1)
			}
			if failed.Add(1) <= 2 || rec.Meta.Anchor.Less(key(4)) && stuck.Load() {
				return kv.Errorf(kv.CodeUnavailable, "injected")
			}
			m := rec.Meta
			_, err := c.Send(c.ctx(20*time.Second), &kv.BatchRequest{RangeID: kv.FirstUserRange, Txn: &m, Requests: []kv.Request{
				&kv.ResolveLocks{Commit: true, CommitTS: rec.CommitTS, Keys: rec.Prepared}, &kv.EndTxn{Commit: true, CommitTS: rec.CommitTS, Remove: true}}})
			return err
		}
	})
	g.c = c
	ctx := c.ctx(60 * time.Second)
	require.NoError(t, c.put(ctx, 1, "x"))
	s, _ := c.waitLeader(kv.FirstUserRange)
	end := func(i int, reqs ...kv.Request) kv.TxnMeta {
		now := s.clock.Now()
		txn := kv.TxnMeta{ID: kv.MakeTxnID(now, uint64(i)), Anchor: key(i), Gateway: 1, ReadTS: now, UncertaintyLimit: now}
		for _, q := range reqs {
			if e, ok := q.(*kv.EndTxn); ok {
				e.CommitTS = now
			}
			if o, ok := q.(*kv.StageTxn); ok {
				o.CommitTS = now
			}
			m := txn
			_, err := s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Txn: &m, Requests: []kv.Request{q}})
			require.NoError(t, err)
		}
		return txn
	}
	var left []kv.TxnMeta
	for i := range 5 {
		left = append(left, end(i, &kv.EndTxn{Commit: true, Prepared: []keys.Key{key(i)}}))
	}
	held := end(10, &kv.EndTxn{Hold: true, Prepared: []keys.Key{key(10)}}, &kv.EndTxn{Commit: true})
	nowhere := end(11, &kv.EndTxn{Commit: true})
	living := kv.TxnMeta{ID: kv.MakeTxnID(s.clock.Now(), 12), Anchor: key(12), Gateway: 1}
	g.live.Store(&living.ID)
	_, err := s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Txn: &living, Requests: []kv.Request{&kv.StageTxn{CommitTS: s.clock.Now(), Open: true}}})
	require.NoError(t, err)
	open, staged := end(13, &kv.StageTxn{Open: true}), end(14, &kv.StageTxn{Prepared: []keys.Key{key(14)}})
	there := func(m kv.TxnMeta) bool {
		r := mvcc.NewReader(s.eng.DB())
		defer func() { require.NoError(t, r.Close()) }()
		rec, err := r.TxnRecord(m.Anchor, m.ID)
		require.NoError(t, err)
		return rec != nil
	}
	gone := func(ms ...kv.TxnMeta) func() bool {
		return func() bool {
			for _, m := range ms {
				if there(m) {
					return false
				}
			}
			return true
		}
	}
	require.Eventually(t, gone(left[4], open, staged), 30*time.Second, 10*time.Millisecond)
	for _, m := range left[:4] {
		require.True(t, there(m))
	}
	stuck.Store(false)
	require.Eventually(t, gone(left...), 30*time.Second, 10*time.Millisecond)
	require.True(t, there(held) && there(nowhere) && there(living))
	require.Zero(t, early.Load())
}
