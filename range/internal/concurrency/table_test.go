package concurrency

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/eval"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ts(n int64) hlc.Timestamp { return hlc.Timestamp{WallTime: n} }

func meta(n byte) *kv.TxnMeta {
	return &kv.TxnMeta{ID: kv.TxnID{7: n, 15: n}, Gateway: kv.NodeID(n), Incarnation: 1, ReadTS: ts(10)}
}

func lockReq(m *kv.TxnMeta, s kv.LockStrength, ks ...string) (*kv.BatchRequest, []eval.Latch) {
	req := &kv.BatchRequest{Txn: m}
	var ls []eval.Latch
	for _, k := range ks {
		req.Requests = append(req.Requests, &kv.Get{Key: keys.Key(k), Lock: s})
		ls = append(ls, eval.Latch{Span: keys.Span{Start: keys.Key(k)}, Access: eval.Read})
	}
	return req, ls
}

func commitReq(m *kv.TxnMeta, ks ...string) (*kv.BatchRequest, []eval.Latch) {
	c := &kv.CommitSingleRange{}
	var ls []eval.Latch
	for _, k := range ks {
		c.Writes = append(c.Writes, kv.Write{Key: keys.Key(k), Value: []byte("v")})
		ls = append(ls, eval.Latch{Span: keys.Span{Start: keys.Key(k)}, Access: eval.Write, TS: m.ReadTS})
	}
	return &kv.BatchRequest{Txn: m, Requests: []kv.Request{c}}, ls
}

func readReq(at int64, ks ...string) (*kv.BatchRequest, []eval.Latch) {
	req := &kv.BatchRequest{Timestamp: ts(at)}
	var ls []eval.Latch
	for _, k := range ks {
		req.Requests = append(req.Requests, &kv.Get{Key: keys.Key(k)})
		ls = append(ls, eval.Latch{Span: keys.Span{Start: keys.Key(k)}, Access: eval.Read, TS: ts(at)})
	}
	return req, ls
}

// evaluate plays the replica: it sequences, takes the locks as an evaluation would, and finishes.
func evaluate(ctx context.Context, t *Table, req *kv.BatchRequest, ls []eval.Latch) error {
	g, err := t.Sequence(ctx, req, ls)
	if err != nil {
		return err
	}
	defer g.Finish()
	for {
		var ce *eval.ConflictError
		for _, r := range req.Requests {
			if get, ok := r.(*kv.Get); ok && get.Lock != kv.LockNone {
				if holder, ok := t.TryLock(req.Txn, get.Key, get.Lock); !ok {
					ce = &eval.ConflictError{Conflicts: []eval.Conflict{{Key: get.Key, Holder: *holder, Want: get.Lock}}}
					break
				}
			}
		}
		if ce == nil {
			return nil
		}
		if err := g.HandleConflict(ctx, ce); err != nil {
			return err
		}
	}
}

func lock(t *testing.T, tb *Table, m *kv.TxnMeta, s kv.LockStrength, ks ...string) {
	t.Helper()
	req, ls := lockReq(m, s, ks...)
	require.NoError(t, evaluate(context.Background(), tb, req, ls))
}

// inBackground starts a locking read and returns its result channel once it waits.
func inBackground(t *testing.T, tb *Table, req *kv.BatchRequest, ls []eval.Latch) chan error {
	t.Helper()
	before := waiting(tb)
	done := make(chan error, 1)
	go func() { done <- evaluate(context.Background(), tb, req, ls) }()
	require.Eventually(t, func() bool { return waiting(tb) > before }, 5*time.Second, time.Millisecond)
	return done
}

func waiting(tb *Table) (n int) {
	for _, l := range tb.Locks(0) {
		if !l.Granted {
			n++
		}
	}
	return n
}

func TestLatchesExclude(t *testing.T) {
	var contended atomic.Int64
	l := &latches{contended: &contended}
	type heldBy struct {
		mu   sync.Mutex
		held map[*latchSet][]eval.Latch
	}
	h := heldBy{held: map[*latchSet][]eval.Latch{}}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			for range 500 {
				var want []eval.Latch
				for range 1 + rng.IntN(5) {
					a := rng.IntN(20)
					sp := keys.Span{Start: keys.Key{byte('a' + a)}}
					if rng.IntN(3) == 0 {
						sp.End = keys.Key{byte('a' + a + 1 + rng.IntN(5))}
					}
					want = append(want, eval.Latch{Span: sp, Access: eval.Access(rng.IntN(2)), TS: ts(int64(rng.IntN(3)))})
				}
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rng.IntN(3000))*time.Microsecond)
				set := &latchSet{}
				err := l.acquire(ctx, set, want)
				cancel()
				if err != nil {
					continue
				}
				h.mu.Lock()
				for _, other := range h.held {
					for i := range other {
						for j := range want {
							if other[i].Span.Overlaps(want[j].Span) && conflicts(&other[i], &want[j]) {
								t.Errorf("%v and %v are held at once", other[i], want[j])
							}
						}
					}
				}
				h.held[set] = want
				h.mu.Unlock()
				if rng.IntN(4) == 0 {
					time.Sleep(time.Duration(rng.IntN(100)) * time.Microsecond)
				}
				h.mu.Lock()
				delete(h.held, set)
				h.mu.Unlock()
				l.release(set)
			}
		}()
	}
	wg.Wait()
	require.Equal(t, 1, l.points.Len(), "the entry that keeps the root")
	require.Empty(t, l.spans)
}

func TestLatchReadsAndLaterWritesShare(t *testing.T) {
	synctest.Test(t, testLatchReadsAndLaterWritesShare)
}

func testLatchReadsAndLaterWritesShare(t *testing.T) {
	l := &latches{contended: new(atomic.Int64)}
	at := func(a eval.Access, n int64) []eval.Latch {
		return []eval.Latch{{Span: keys.Span{Start: keys.Key("k")}, Access: a, TS: ts(n)}}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	var r, w, late latchSet
	require.NoError(t, l.acquire(ctx, &r, at(eval.Read, 10)))
	require.NoError(t, l.acquire(ctx, &w, at(eval.Write, 11)))
	require.ErrorIs(t, l.acquire(ctx, &late, at(eval.Write, 12)), context.DeadlineExceeded)
	l.release(&r)
	l.release(&w)
}

// A hot row under many clients: everybody gets it, in order of arrival, one at a time.
func TestHotRowFIFO(t *testing.T) {
	tb := New(Config{})
	const clients, rounds = 32, 30
	var inside, total atomic.Int32
	var wg sync.WaitGroup
	start := time.Now()
	for c := range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for r := range rounds {
				m := &kv.TxnMeta{ID: kv.MakeTxnID(ts(int64(r+1)), uint64(c)), ReadTS: ts(1)}
				req, ls := lockReq(m, kv.LockNoKeyUpdate, "hot")
				if err := evaluate(context.Background(), tb, req, ls); err != nil {
					t.Error(err)
					return
				}
				if inside.Add(1) != 1 {
					t.Error("two holders")
				}
				total.Add(1)
				inside.Add(-1)
				creq, cls := commitReq(m, "hot")
				g, err := tb.Sequence(context.Background(), creq, cls)
				if err != nil {
					t.Error(err)
					return
				}
				tb.Resolved(eval.ResolvedLock{Txn: m.ID, Commit: true})
				g.Finish()
			}
		}()
	}
	wg.Wait()
	require.EqualValues(t, clients*rounds, total.Load())
	require.Zero(t, tb.Len())
	require.Empty(t, tb.txns)
	t.Logf("%d hand-overs in %v", total.Load(), time.Since(start))
}

func TestQueueOrderAndReservation(t *testing.T) { synctest.Test(t, testQueueOrderAndReservation) }

func testQueueOrderAndReservation(t *testing.T) {
	tb := New(Config{})
	lock(t, tb, meta(1), kv.LockUpdate, "k")
	var order []byte
	var mu sync.Mutex
	var done []chan error
	for n := byte(2); n <= 5; n++ {
		req, ls := lockReq(meta(n), kv.LockUpdate, "k")
		before := waiting(tb)
		ch := make(chan error, 1)
		go func() {
			err := evaluate(context.Background(), tb, req, ls)
			mu.Lock()
			order = append(order, n)
			mu.Unlock()
			tb.ReleaseTxn(meta(n).ID, nil)
			ch <- err
		}()
		require.Eventually(t, func() bool { return waiting(tb) > before }, 5*time.Second, time.Millisecond)
		done = append(done, ch)
	}
	// A newcomer does not overtake, whoever asks.
	_, ok := tb.TryLock(meta(9), keys.Key("k"), kv.LockKeyShare)
	require.False(t, ok)
	tb.ReleaseTxn(meta(1).ID, []keys.Key{keys.Key("k")})
	for _, ch := range done {
		require.NoError(t, <-ch)
	}
	require.Equal(t, []byte{2, 3, 4, 5}, order)
	require.Zero(t, tb.Len())
}

func TestSharedAndUpgrade(t *testing.T) {
	tb := New(Config{})
	lock(t, tb, meta(1), kv.LockKeyShare, "k")
	lock(t, tb, meta(2), kv.LockNoKeyUpdate, "k")
	lock(t, tb, meta(3), kv.LockKeyShare, "k")
	req, ls := lockReq(meta(2), kv.LockUpdate, "k")
	up := inBackground(t, tb, req, ls) // waits for the two shares
	tb.ReleaseTxn(meta(1).ID, nil)
	tb.ReleaseTxn(meta(3).ID, nil)
	require.NoError(t, <-up)
	require.True(t, tb.Holds(meta(2).ID, keys.Key("k")))
	holder, ok := tb.TryLock(meta(4), keys.Key("k"), kv.LockKeyShare)
	require.False(t, ok)
	require.Equal(t, meta(2).ID, holder.ID)
}

func TestWriterUnderKeyShare(t *testing.T) {
	// A child row's foreign key check must not hold up an update of the parent that keeps the key.
	tb := New(Config{})
	lock(t, tb, meta(1), kv.LockKeyShare, "parent")
	lock(t, tb, meta(2), kv.LockNoKeyUpdate, "parent")
	req, ls := commitReq(meta(2), "parent")
	g, err := tb.Sequence(context.Background(), req, ls)
	require.NoError(t, err)
	g.Finish()
}

func TestNoWaitTimeoutCancelClear(t *testing.T) { synctest.Test(t, testNoWaitTimeoutCancelClear) }

func testNoWaitTimeoutCancelClear(t *testing.T) {
	tb := New(Config{})
	lock(t, tb, meta(1), kv.LockUpdate, "k")
	req, ls := lockReq(meta(2), kv.LockUpdate, "k")
	req.Wait = kv.WaitError
	err := evaluate(context.Background(), tb, req, ls)
	require.True(t, kv.HasCode(err, kv.CodeLockNotAvailable), "%v", err)
	require.Equal(t, keys.Key("k"), kv.AsError(err).Key)

	req.Wait, req.LockTimeout = kv.WaitBlock, int64(5*time.Millisecond)
	err = evaluate(context.Background(), tb, req, ls)
	require.True(t, kv.HasCode(err, kv.CodeLockNotAvailable), "%v", err)
	require.Contains(t, err.Error(), "timeout")

	req.LockTimeout = 0
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	err = evaluate(ctx, tb, req, ls)
	require.True(t, kv.HasCode(err, kv.CodeCanceled), "%v", err)
	require.Zero(t, waiting(tb))

	done := inBackground(t, tb, req, ls)
	lost := kv.Errorf(kv.CodeNotLeader, "lost")
	tb.Clear(lost)
	require.ErrorIs(t, <-done, error(lost))
	require.ErrorIs(t, evaluate(context.Background(), tb, req, ls), error(lost))
	tb.Open()
	require.NoError(t, evaluate(context.Background(), tb, req, ls))
}

func TestReadersWaitForPreparedOnly(t *testing.T) { synctest.Test(t, testReadersWaitForPreparedOnly) }

func testReadersWaitForPreparedOnly(t *testing.T) {
	tb := New(Config{})
	lock(t, tb, meta(1), kv.LockUpdate, "k")
	req, ls := readReq(20, "k")
	require.NoError(t, evaluate(context.Background(), tb, req, ls), "an unreplicated lock stops no reader")
	tb.Prepared(eval.PreparedLock{Key: keys.Key("k"), Txn: *meta(1), TS: ts(15)})
	early, els := readReq(14, "k")
	require.NoError(t, evaluate(context.Background(), tb, early, els), "prepared above the read")
	done := inBackground(t, tb, req, ls)
	tb.ReleaseTxn(meta(1).ID, nil)
	require.True(t, tb.Holds(meta(1).ID, keys.Key("k")), "a prepared lock is not released, it is resolved")
	tb.Resolved(eval.ResolvedLock{Txn: meta(1).ID, Keys: []keys.Key{keys.Key("k")}, Commit: true, CommitTS: ts(15)})
	require.NoError(t, <-done)
	require.Zero(t, tb.Len())
	require.Empty(t, tb.txns)
	require.Zero(t, tb.shared)
}

func TestDiscoveredLock(t *testing.T) { synctest.Test(t, testDiscoveredLock) }

func testDiscoveredLock(t *testing.T) {
	tb := New(Config{})
	req, ls := readReq(20, "k")
	g, err := tb.Sequence(context.Background(), req, ls)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		done <- g.HandleConflict(context.Background(), &eval.ConflictError{Conflicts: []eval.Conflict{
			{Key: keys.Key("k"), Holder: *meta(3), Replicated: true, TS: ts(11)}}})
	}()
	require.Eventually(t, func() bool { return waiting(tb) == 1 }, 5*time.Second, time.Millisecond)
	// The latches are free meanwhile.
	wreq, wls := &kv.BatchRequest{Requests: []kv.Request{&kv.ResolveLocks{}}}, []eval.Latch{{Span: keys.Span{Start: keys.Key("k")}, Access: eval.Write}}
	wg, err := tb.Sequence(context.Background(), wreq, wls)
	require.NoError(t, err)
	tb.Resolved(eval.ResolvedLock{Txn: meta(3).ID, Keys: []keys.Key{keys.Key("k")}})
	wg.Finish()
	require.NoError(t, <-done)
	g.Finish()
}

func TestSplitMovesLocksAndSendsWaitersAway(t *testing.T) {
	synctest.Test(t, testSplitMovesLocksAndSendsWaitersAway)
}

func testSplitMovesLocksAndSendsWaitersAway(t *testing.T) {
	tb := New(Config{})
	lock(t, tb, meta(1), kv.LockUpdate, "a", "x")
	tb.Prepared(eval.PreparedLock{Key: keys.Key("y"), Txn: *meta(2), TS: ts(5)})
	req, ls := lockReq(meta(3), kv.LockUpdate, "x")
	moved := inBackground(t, tb, req, ls)
	req, ls = lockReq(meta(3), kv.LockUpdate, "a")
	stays := inBackground(t, tb, req, ls)
	right := tb.SplitAt(keys.Key("m"))
	require.True(t, kv.HasCode(<-moved, kv.CodeRangeMismatch))
	require.True(t, right.Holds(meta(1).ID, keys.Key("x")))
	require.True(t, right.Holds(meta(2).ID, keys.Key("y")))
	require.False(t, tb.Holds(meta(1).ID, keys.Key("x")))
	tb.ReleaseTxn(meta(1).ID, nil)
	require.NoError(t, <-stays)
	right.ReleaseTxn(meta(1).ID, nil)
	right.Resolved(eval.ResolvedLock{Txn: meta(2).ID, Keys: []keys.Key{keys.Key("y")}})
	require.Zero(t, right.Len())
	require.Empty(t, right.txns)
	tb.Absorb(right)
	require.Equal(t, 1, tb.Len())
}

func TestMaxLocksSheds(t *testing.T) {
	m := &Metrics{}
	tb := New(Config{MaxLocks: 2, Metrics: m})
	lock(t, tb, meta(1), kv.LockUpdate, "a", "b", "c")
	require.False(t, tb.Holds(meta(1).ID, keys.Key("c")))
	require.EqualValues(t, 1, m.LocksShed.Load())
	tb.ReleaseTxn(meta(1).ID, nil)
	lock(t, tb, meta(1), kv.LockUpdate, "c")
	require.True(t, tb.Holds(meta(1).ID, keys.Key("c")))
}

// Random transactions over few keys: locks are exclusive by the table of strengths, and everybody ends.
func TestRandomTransactions(t *testing.T) {
	tb := New(Config{})
	gw := newGateways()
	tb.cfg.Holders, tb.cfg.PushDelay, tb.cfg.PushInterval = gw, 2*time.Millisecond, 3*time.Millisecond
	type held struct {
		id kv.TxnID
		s  kv.LockStrength
	}
	var mu sync.Mutex
	twin := map[string][]held{}
	var wg sync.WaitGroup
	var deadlocks atomic.Int32
	for w := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := rand.New(rand.NewPCG(uint64(w), 2))
			for i := range 60 {
				m := &kv.TxnMeta{ID: kv.MakeTxnID(ts(int64(i+1)), uint64(w)), Gateway: kv.NodeID(w + 1), ReadTS: ts(1)}
				gw.begin(m, int64(i))
				var got []string
				for range 1 + rng.IntN(3) {
					k, s := fmt.Sprint("k", rng.IntN(5)), kv.LockStrength(1+rng.IntN(4))
					req, ls := lockReq(m, s, k)
					err := evaluate(context.Background(), tb, req, ls)
					if kv.HasCode(err, kv.CodeDeadlock) {
						deadlocks.Add(1)
						break
					}
					if err != nil {
						t.Error(err)
						break
					}
					mu.Lock()
					for _, h := range twin[k] {
						if h.id != m.ID && h.s.Conflicts(s) {
							t.Errorf("%s: %v and %v together", k, h.s, s)
						}
					}
					twin[k] = append(twin[k], held{m.ID, s})
					mu.Unlock()
					got = append(got, k)
				}
				mu.Lock()
				for _, k := range got {
					kept := twin[k][:0]
					for _, h := range twin[k] {
						if h.id != m.ID {
							kept = append(kept, h)
						}
					}
					twin[k] = kept
				}
				mu.Unlock()
				gw.end(m.ID)
				tb.ReleaseTxn(m.ID, nil)
			}
		}()
	}
	wg.Wait()
	require.Zero(t, tb.Len())
	require.Empty(t, tb.txns)
	require.Zero(t, tb.shared)
	t.Logf("%d deadlocks", deadlocks.Load())
}

func BenchmarkUncontendedPoint(b *testing.B) {
	tb := New(Config{})
	req, ls := readReq(20, "some-key-of-usual-length")
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		g, err := tb.Sequence(ctx, req, ls)
		if err != nil {
			b.Fatal(err)
		}
		g.Finish()
	}
}

func BenchmarkLockRelease(b *testing.B) {
	tb := New(Config{})
	req, ls := lockReq(meta(1), kv.LockUpdate, "some-key-of-usual-length")
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if err := evaluate(ctx, tb, req, ls); err != nil {
			b.Fatal(err)
		}
		tb.ReleaseTxn(meta(1).ID, nil)
	}
}

var errUnreachable = errors.New("unreachable")
