package concurrency

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/eval"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// gateways plays the transaction registries of all nodes.
type gateways struct {
	mu    sync.Mutex
	txns  map[kv.TxnID]HolderState
	waits map[kv.TxnID][]kv.TxnMeta
	at    map[kv.TxnID]keys.Key // where
	cut   map[kv.NodeID]bool
	// onQuery, if set, says whom a transaction waits for.
	onQuery func(id kv.TxnID) []kv.TxnMeta
	// before, if set, is called before a question is answered.
	before func(id kv.TxnID)
}

func newGateways() *gateways {
	return &gateways{txns: map[kv.TxnID]HolderState{}, waits: map[kv.TxnID][]kv.TxnMeta{}, at: map[kv.TxnID]keys.Key{}, cut: map[kv.NodeID]bool{}}
}

func (g *gateways) begin(m *kv.TxnMeta, since int64) {
	g.mu.Lock()
	g.txns[m.ID] = HolderState{Alive: true, Since: since}
	g.mu.Unlock()
}

func (g *gateways) end(id kv.TxnID) {
	g.mu.Lock()
	delete(g.txns, id)
	delete(g.waits, id)
	g.mu.Unlock()
}

func (g *gateways) QueryHolder(_ context.Context, n kv.NodeID, _ int64, id kv.TxnID, _ bool) (HolderState, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cut[n] {
		return HolderState{}, errUnreachable
	}
	if g.before != nil {
		g.before(id)
	}
	st := g.txns[id]
	st.WaitingFor = g.waits[id]
	for range st.WaitingFor {
		st.WaitingAt = append(st.WaitingAt, g.at[id])
	}
	if g.onQuery != nil {
		st.WaitingFor, st.WaitingAt = g.onQuery(id), nil
	}
	return st, nil
}

func (g *gateways) ReportWait(_ context.Context, w *kv.TxnMeta, key keys.Key, hs []kv.TxnMeta) (HolderState, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.at[w.ID] = key
	g.waits[w.ID] = append([]kv.TxnMeta(nil), hs...)
	return g.txns[w.ID], nil
}

func TestDeadlockAcrossRanges(t *testing.T) { synctest.Test(t, testDeadlockAcrossRanges) }

func testDeadlockAcrossRanges(t *testing.T) {
	for _, n := range []int{2, 3, 5} {
		gw := newGateways()
		var tables []*Table
		for i := range n {
			tb := New(Config{Holders: gw})
			tables = append(tables, tb)
			gw.begin(meta(byte(i+1)), int64(i))
			lock(t, tb, meta(byte(i+1)), kv.LockUpdate, fmt.Sprint("k", i))
		}
		start := time.Now()
		results := make([]chan error, n)
		for i := range n { // i waits for i+1
			results[i] = make(chan error, 1)
			go func() {
				req, ls := lockReq(meta(byte(i+1)), kv.LockUpdate, fmt.Sprint("k", (i+1)%n))
				err := evaluate(context.Background(), tables[(i+1)%n], req, ls)
				if err != nil {
					for _, tb := range tables {
						tb.ReleaseTxn(meta(byte(i+1)).ID, nil)
					}
				}
				results[i] <- err
			}()
		}
		err := <-results[n-1] // the youngest
		took := time.Since(start)
		require.True(t, kv.HasCode(err, kv.CodeDeadlock), "%v", err)
		require.Contains(t, err.Error(), "waits for transaction")
		require.Less(t, took, time.Second)
		t.Logf("cycle of %d found after %v", n, took)
		for i := n - 2; i >= 0; i-- {
			require.NoError(t, <-results[i])
			for _, tb := range tables {
				tb.ReleaseTxn(meta(byte(i+1)).ID, nil)
			}
		}
	}
}

// A gateway still believes that a transaction waits for one that stood before it at the last leader. At this one it came first.
func TestWaitThatHasEndedIsNoDeadlock(t *testing.T) {
	synctest.Test(t, testWaitThatHasEndedIsNoDeadlock)
}

func testWaitThatHasEndedIsNoDeadlock(t *testing.T) {
	for _, queued := range []bool{false, true} { // or it waits again, for somebody else
		gw := newGateways()
		tb := New(Config{Holders: gw})
		for n := byte(1); n <= 3; n++ {
			gw.begin(meta(n), int64(n))
		}
		results := make(chan error, 2)
		ask := func(n byte) {
			req, ls := lockReq(meta(n), kv.LockUpdate, "k")
			results <- evaluate(context.Background(), tb, req, ls)
		}
		if queued {
			lock(t, tb, meta(3), kv.LockUpdate, "k")
			go ask(1)
			synctest.Wait()
		} else {
			lock(t, tb, meta(1), kv.LockUpdate, "k")
		}
		stale := func(id kv.TxnID) {
			if id == meta(1).ID {
				gw.waits[id], gw.at[id] = []kv.TxnMeta{*meta(2)}, keys.Key("k")
			}
		}
		gw.before = stale
		go ask(2)
		time.Sleep(time.Second)
		select {
		case err := <-results:
			t.Fatalf("queued %v: %v", queued, err)
		default:
		}
		for _, n := range []byte{3, 1} {
			require.NoError(t, tb.ReleaseTxn(meta(n).ID, nil))
			if queued || n == 1 {
				require.NoError(t, <-results)
			}
		}
	}
}

// Two who wait for each other at keys of one range are found, of whose waits the gateways say where they are.
func TestDeadlockInOneRange(t *testing.T) { synctest.Test(t, testDeadlockInOneRange) }

func testDeadlockInOneRange(t *testing.T) {
	gw := newGateways()
	tb := New(Config{Holders: gw})
	results := [2]chan error{make(chan error, 1), make(chan error, 1)}
	for i := range byte(2) {
		gw.begin(meta(i+1), int64(i))
		lock(t, tb, meta(i+1), kv.LockUpdate, fmt.Sprint("k", i))
	}
	for i := range byte(2) {
		go func() {
			req, ls := lockReq(meta(i+1), kv.LockUpdate, fmt.Sprint("k", 1-i))
			results[i] <- evaluate(context.Background(), tb, req, ls)
		}()
	}
	err := <-results[1]
	require.True(t, kv.HasCode(err, kv.CodeDeadlock), "%v", err)
	require.NoError(t, tb.ReleaseTxn(meta(2).ID, nil))
	require.NoError(t, <-results[0])
}

func TestDeadGatewayLosesItsLocks(t *testing.T) { synctest.Test(t, testDeadGatewayLosesItsLocks) }

func testDeadGatewayLosesItsLocks(t *testing.T) {
	gw := newGateways()
	tb := New(Config{Holders: gw, PushDelay: 2 * time.Millisecond, PushInterval: 5 * time.Millisecond, DeadAfter: 200 * time.Millisecond})
	gw.begin(meta(2), 1)
	lock(t, tb, meta(1), kv.LockUpdate, "known-dead") // the gateway answers and does not know it
	req, ls := lockReq(meta(2), kv.LockUpdate, "known-dead")
	require.NoError(t, evaluate(context.Background(), tb, req, ls))

	gw.cut[3] = true
	lock(t, tb, meta(3), kv.LockUpdate, "silent")
	start := time.Now()
	req, ls = lockReq(meta(2), kv.LockUpdate, "silent")
	require.NoError(t, evaluate(context.Background(), tb, req, ls))
	require.GreaterOrEqual(t, time.Since(start), 200*time.Millisecond, "silence for a moment is not death")

	late := *meta(3) // a request that the dead gateway had sent before
	late.ID[0] = 1
	lock(t, tb, &late, kv.LockUpdate, "silent too")
	start = time.Now()
	req, ls = lockReq(meta(2), kv.LockUpdate, "silent too")
	require.NoError(t, evaluate(context.Background(), tb, req, ls))
	require.Less(t, time.Since(start), 150*time.Millisecond, "the silence is known")

	lock(t, tb, meta(4), kv.LockUpdate, "idle")
	require.Equal(t, 1, tb.CheckHolders(context.Background()))
	req, ls = lockReq(meta(2), kv.LockUpdate, "idle")
	req.Wait = kv.WaitError
	require.NoError(t, evaluate(context.Background(), tb, req, ls))

	lock(t, tb, meta(5), kv.LockUpdate, "nowait") // a NOWAIT asks once before it fails
	req, ls = lockReq(meta(2), kv.LockUpdate, "nowait")
	req.Wait = kv.WaitError
	require.NoError(t, evaluate(context.Background(), tb, req, ls))
}

type recovery struct {
	tb     *Table
	mu     sync.Mutex
	status kv.TxnStatus
	at     hlc.Timestamp
	err    error
	calls  []string
}

func (r *recovery) Recover(_ context.Context, h kv.TxnMeta, key keys.Key) (kv.TxnStatus, hlc.Timestamp, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, "recover "+string(key))
	return r.status, r.at, r.err
}

func (r *recovery) Resolve(_ context.Context, h kv.TxnMeta, ks []keys.Key, commit bool, at hlc.Timestamp) error {
	r.calls = append(r.calls, "resolve "+string(ks[0]))
	r.tb.Resolved(eval.ResolvedLock{Txn: h.ID, Keys: ks, Commit: commit, CommitTS: at})
	return nil
}

func TestPreparedLockIsRecovered(t *testing.T) { synctest.Test(t, testPreparedLockIsRecovered) }

func testPreparedLockIsRecovered(t *testing.T) {
	gw := newGateways()
	r := &recovery{status: kv.TxnCommitted, at: ts(12)}
	tb := New(Config{Holders: gw, Recoverer: r, Resolver: r})
	r.tb = tb
	gw.begin(meta(2), 1)
	tb.Prepared(eval.PreparedLock{Key: keys.Key("k"), Txn: *meta(1), TS: ts(5)})
	req, ls := readReq(20, "k")
	require.NoError(t, evaluate(context.Background(), tb, req, ls))
	require.Equal(t, []string{"recover k", "resolve k"}, r.calls)

	// A living coordinator that has decided is believed without recovery.
	r.calls = nil
	gw.txns[meta(3).ID] = HolderState{Alive: true, Status: kv.TxnCommitted, CommitTS: ts(9)}
	tb.Prepared(eval.PreparedLock{Key: keys.Key("k"), Txn: *meta(3), TS: ts(5)})
	require.NoError(t, evaluate(context.Background(), tb, req, ls))
	require.Empty(t, r.calls, "who reads needs to know, and no more")
	req, ls = lockReq(meta(2), kv.LockUpdate, "k")
	require.NoError(t, evaluate(context.Background(), tb, req, ls))
	require.Equal(t, []string{"resolve k"}, r.calls)
}

// A transaction's record may be lost with its range: whoever waits behind its locks is told so in the end. One that its client has prepared is waited for.
func TestRecordThatDoesNotAnswer(t *testing.T) { synctest.Test(t, testRecordThatDoesNotAnswer) }

func testRecordThatDoesNotAnswer(t *testing.T) {
	gw := newGateways()
	r := &recovery{err: kv.Errorf(kv.CodeUnavailable, "node 3 is silent")}
	tb := New(Config{Holders: gw, Recoverer: r, Resolver: r})
	r.tb = tb
	gw.begin(meta(2), 1)
	tb.Prepared(eval.PreparedLock{Key: keys.Key("k"), Txn: *meta(1), TS: ts(5)})
	read, locks := readReq(20, "k")
	write, more := lockReq(meta(2), kv.LockUpdate, "k")
	within := func(d time.Duration) context.Context {
		ctx, cancel := context.WithTimeout(context.Background(), d)
		t.Cleanup(cancel)
		return ctx
	}
	for range 2 {
		began := time.Now()
		err := evaluate(within(time.Minute), tb, read, locks)
		require.True(t, kv.HasCode(err, kv.CodeGivenUp), "%v", err)
		require.ErrorContains(t, err, "node 3 is silent")
		require.InDelta(t, 30, time.Since(began).Seconds(), 1)
		err = evaluate(within(time.Minute), tb, write, more)
		require.True(t, kv.HasCode(err, kv.CodeGivenUp), "%v", err)
	}
	// It is known that it never will.
	r.mu.Lock()
	r.err = kv.Lost(7)
	r.mu.Unlock()
	began := time.Now()
	require.ErrorContains(t, evaluate(within(time.Minute), tb, read, locks), "range 7 is lost")
	require.True(t, kv.IsLost(evaluate(within(time.Minute), tb, write, more)))
	require.Less(t, time.Since(began), time.Second)
	r.mu.Lock()
	r.err = kv.Errorf(kv.CodeUnavailable, "node 3 is silent")
	r.mu.Unlock()
	// It answers again before that.
	answer := func(status kv.TxnStatus) {
		time.Sleep(25 * time.Second)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.err, r.status, r.at = nil, status, ts(12)
	}
	go func() {
		answer(kv.TxnPrepared)
		answer(kv.TxnCommitted)
	}()
	require.NoError(t, evaluate(within(time.Minute), tb, read, locks))
}

// What its client has prepared stays as it is, whoever looks after the locks of gateways that know nothing of them.
func TestClientPreparedLockStays(t *testing.T) { synctest.Test(t, testClientPreparedLockStays) }

func testClientPreparedLockStays(t *testing.T) {
	gw := newGateways()
	r := &recovery{status: kv.TxnPrepared, at: ts(5)}
	tb := New(Config{Holders: gw, Recoverer: r, Resolver: r})
	r.tb = tb
	tb.Prepared(eval.PreparedLock{Key: keys.Key("k"), Txn: *meta(1), TS: ts(5)})
	for _, gone := range []bool{false, true} {
		got, err := tb.Settle(context.Background(), meta(1), keys.Key("k"), gone)
		require.NoError(t, err)
		require.Nil(t, got)
	}
	require.Zero(t, tb.CheckHolders(context.Background()))
	require.Equal(t, []string{"recover k", "recover k", "recover k"}, r.calls, "nothing is resolved")
	require.True(t, tb.Holds(meta(1).ID, keys.Key("k")))
	r.status, r.at = kv.TxnCommitted, ts(7) // its client has decided
	got, err := tb.Settle(context.Background(), meta(1), keys.Key("k"), false)
	require.NoError(t, err)
	require.Equal(t, &Settled{Commit: true, CommitTS: ts(7)}, got)
}

// A gateway that lives resolves the locks of its transactions, also when it is known here already how they have ended. When it does not know of one any more, or
// cannot be asked, what is known is enough.
func TestSettleLeavesItToTheGateway(t *testing.T) { synctest.Test(t, testSettleLeavesItToTheGateway) }

func testSettleLeavesItToTheGateway(t *testing.T) {
	gw := newGateways()
	r := &recovery{}
	tb := New(Config{Holders: gw, Recoverer: r, Resolver: r})
	r.tb = tb
	m := meta(1)
	tb.Learn(m.ID, kv.TxnCommitted, ts(12))
	settle := func(gone bool) *Settled {
		got, err := tb.Settle(context.Background(), m, keys.Key("k"), gone)
		require.NoError(t, err)
		return got
	}
	known := &Settled{Commit: true, CommitTS: ts(12)}
	gw.txns[m.ID] = HolderState{Alive: true, Status: kv.TxnCommitted, CommitTS: ts(12)}
	require.Nil(t, settle(false))
	require.Equal(t, known, settle(true))
	gw.end(m.ID)
	require.Equal(t, known, settle(false))
	gw.cut[m.Gateway] = true
	require.Equal(t, known, settle(false))
	require.Empty(t, r.calls)
}

// A plain read that waits for what a client has prepared waits for as long as lock_timeout says; behind a commit that is only not resolved yet,
// which is no lock that its user has heard of, it waits on.
func TestLockTimeoutOfReads(t *testing.T) { synctest.Test(t, testLockTimeoutOfReads) }

func testLockTimeoutOfReads(t *testing.T) {
	gw := newGateways()
	r := &recovery{status: kv.TxnPrepared, at: ts(5)}
	tb := New(Config{Holders: gw, Recoverer: r, Resolver: r, PushDelayPrepared: 20 * time.Millisecond, PushInterval: 20 * time.Millisecond})
	r.tb = tb
	tb.Prepared(eval.PreparedLock{Key: keys.Key("k"), Txn: *meta(1), TS: ts(5)})
	for _, timeout := range []time.Duration{time.Nanosecond, 100 * time.Millisecond} { // before it is known whose lock it is, and after
		req, ls := readReq(20, "k")
		req.LockTimeout = int64(timeout)
		err := evaluate(context.Background(), tb, req, ls)
		require.True(t, kv.HasCode(err, kv.CodeLockNotAvailable), "%v", err)
		require.Equal(t, "k", string(kv.AsError(err).Key))
	}
	require.EqualValues(t, 2, tb.cfg.Metrics.LockTimeouts.Load())

	gw.begin(meta(2), 1) // lives, and has not decided
	tb.Prepared(eval.PreparedLock{Key: keys.Key("c"), Txn: *meta(2), TS: ts(5)})
	req, ls := readReq(20, "c")
	req.LockTimeout = int64(time.Nanosecond)
	done := make(chan error, 1)
	go func() { done <- evaluate(context.Background(), tb, req, ls) }()
	require.Eventually(t, func() bool { return tb.cfg.Metrics.Pushes.Load() >= 10 }, 10*time.Second, time.Millisecond)
	tb.Resolved(eval.ResolvedLock{Txn: meta(2).ID, Keys: []keys.Key{keys.Key("c")}, Commit: true, CommitTS: ts(6)})
	require.NoError(t, <-done)
}

// claimReq is a commit of what the transaction has read under locks: it validates every key that it writes.
func claimReq(m *kv.TxnMeta, ks ...string) (*kv.BatchRequest, []eval.Latch) {
	req, ls := commitReq(m, ks...)
	c := req.Requests[0].(*kv.CommitSingleRange)
	for _, k := range ks {
		c.Refreshes = append(c.Refreshes, kv.ReadSpan{Span: keys.Span{Start: keys.Key(k)}, At: m.ReadTS})
	}
	return req, ls
}

// Two transactions that ask for locks in the same order cannot wait for each other, even if a change of
// leader loses the locks between.
func TestLostLocksMakeNoDeadlock(t *testing.T) { synctest.Test(t, testLostLocksMakeNoDeadlock) }

func testLostLocksMakeNoDeadlock(t *testing.T) {
	gw := newGateways()
	tb := New(Config{Holders: gw, PushDelay: 2 * time.Millisecond, PushInterval: 5 * time.Millisecond})
	gw.begin(meta(1), 1)
	gw.begin(meta(2), 2)
	lock(t, tb, meta(1), kv.LockNoKeyUpdate, "teller")
	tb.Clear(kv.Errorf(kv.CodeNotLeader, "led elsewhere"))
	tb.Open()
	lock(t, tb, meta(2), kv.LockNoKeyUpdate, "teller") // the second gets what the first still counts on,
	lock(t, tb, meta(1), kv.LockNoKeyUpdate, "branch") // and the first goes on to where
	req, ls := lockReq(meta(2), kv.LockNoKeyUpdate, "branch")
	second := inBackground(t, tb, req, ls) // the second waits for it.

	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	req, ls = claimReq(meta(1), "teller", "branch")
	require.NoError(t, evaluate(ctx, tb, req, ls))
	require.Zero(t, tb.cfg.Metrics.Deadlocks.Load())
	tb.Resolved(eval.ResolvedLock{Txn: meta(1).ID, Commit: true})
	require.NoError(t, <-second)

	// A prepared lock is waited for all the same.
	tb.Prepared(eval.PreparedLock{Key: keys.Key("teller"), Txn: *meta(2), TS: ts(11)})
	req, ls = claimReq(meta(1), "teller")
	claim := inBackground(t, tb, req, ls)
	tb.Resolved(eval.ResolvedLock{Txn: meta(2).ID, Keys: []keys.Key{keys.Key("teller")}, Commit: true})
	require.NoError(t, <-claim)
}

// An edge that was there when it was asked for first, and is not any more, makes no deadlock.
func TestStaleEdgeMakesNoDeadlock(t *testing.T) { synctest.Test(t, testStaleEdgeMakesNoDeadlock) }

func testStaleEdgeMakesNoDeadlock(t *testing.T) {
	gw := newGateways()
	tb := New(Config{Holders: gw, PushDelay: time.Millisecond, PushInterval: 2 * time.Millisecond})
	gw.begin(meta(1), 1)
	gw.begin(meta(2), 2)
	lock(t, tb, meta(1), kv.LockUpdate, "k")
	var asked int
	gw.onQuery = func(id kv.TxnID) []kv.TxnMeta {
		if asked++; id == meta(1).ID && asked%2 == 1 {
			return []kv.TxnMeta{*meta(2)}
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	req, ls := lockReq(meta(2), kv.LockUpdate, "k")
	err := evaluate(ctx, tb, req, ls)
	require.True(t, kv.HasCode(err, kv.CodeCanceled), "%v", err)
	require.Greater(t, asked, 2)
}

// promising is a gateway whose one transaction runs, and commits later than it promises.
type promising struct {
	mu    sync.Mutex
	asked int
	st    HolderState
}

func (p *promising) QueryHolder(context.Context, kv.NodeID, int64, kv.TxnID, bool) (HolderState, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	return p.st, nil
}

func (p *promising) ReportWait(context.Context, *kv.TxnMeta, keys.Key, []kv.TxnMeta) (HolderState, error) {
	return HolderState{Alive: true}, nil
}

func (p *promising) set(st HolderState) {
	p.mu.Lock()
	p.st = st
	p.mu.Unlock()
}

func TestOpenLocksLetReadersPass(t *testing.T) { synctest.Test(t, testOpenLocksLetReadersPass) }

func testOpenLocksLetReadersPass(t *testing.T) {
	p := &promising{st: HolderState{Alive: true, After: ts(50)}}
	tb := New(Config{Holders: p, PushDelayPrepared: time.Millisecond, PushInterval: time.Millisecond})
	holder := *meta(1)
	read := func(at int64) error {
		req, ls := readReq(at, "k")
		g, err := tb.Sequence(context.Background(), req, ls)
		require.NoError(t, err)
		defer g.Finish()
		for {
			if s, after := tb.Outcome(holder.ID); s != kv.TxnUnknown || req.Timestamp.LessEq(after) {
				return nil
			}
			err := g.HandleConflict(context.Background(), &eval.ConflictError{Conflicts: []eval.Conflict{{
				Key: keys.Key("k"), Holder: holder, Replicated: true, Open: true, TS: ts(10), At: req.Timestamp}}})
			if err != nil {
				return err
			}
		}
	}
	require.NoError(t, read(40))
	require.Equal(t, 1, p.asked)
	require.NoError(t, read(50))
	require.Equal(t, 1, p.asked, "one promise is for all readers up to it")

	done := make(chan error, 1)
	go func() { done <- read(60) }()
	require.Eventually(t, func() bool { return waiting(tb) > 0 }, 5*time.Second, time.Millisecond)
	select {
	case <-done:
		t.Fatal("it read past the promise")
	default:
	}
	p.set(HolderState{Alive: true, Status: kv.TxnCommitted, CommitTS: ts(55)})
	require.NoError(t, <-done)
	s, at := tb.Outcome(holder.ID)
	require.Equal(t, kv.TxnCommitted, s)
	require.Equal(t, ts(55), at)
	tb.Learn(holder.ID, kv.TxnAborted, ts(99))
	s, _ = tb.Outcome(holder.ID)
	require.Equal(t, kv.TxnCommitted, s, "an outcome is final")
	for i := range maxOutcomes {
		tb.Learn(kv.TxnID{1, byte(i), byte(i >> 8)}, kv.TxnAborted, ts(1))
	}
	require.LessOrEqual(t, len(tb.outcomes.known), maxOutcomes)
	s, _ = tb.Outcome(holder.ID)
	require.Equal(t, kv.TxnUnknown, s, "the first in goes first")
}

// What a large transaction locked in memory goes when it lays the open locks, but for those that somebody waits for.
func TestOpenedForgets(t *testing.T) { synctest.Test(t, testOpenedForgets) }

func testOpenedForgets(t *testing.T) {
	tb := New(Config{})
	m := meta(1)
	lock(t, tb, m, kv.LockUpdate, "a", "b", "c")
	req, ls := lockReq(meta(2), kv.LockUpdate, "b")
	done := inBackground(t, tb, req, ls)
	require.Eventually(t, func() bool { return waiting(tb) > 0 }, 5*time.Second, time.Millisecond)
	tb.Opened(eval.OpenedLocks{Txn: *m, Keys: []keys.Key{keys.Key("a"), keys.Key("b"), keys.Key("c")}, TS: ts(5)})
	require.False(t, tb.Holds(m.ID, keys.Key("a")))
	require.True(t, tb.Holds(m.ID, keys.Key("b")))
	require.Equal(t, 1, tb.Len())
	tb.Resolved(eval.ResolvedLock{Txn: m.ID, Keys: []keys.Key{keys.Key("b")}})
	require.NoError(t, <-done)
}

// A gateway is not out of reach for as long as those who ask it are without a processor.
func TestSilenceWhileAway(t *testing.T) {
	var s silences
	at := func(ms int) time.Time { return time.UnixMilli(int64(1_000_000 + ms)) }
	dead := func(asked, now int) bool { return s.tooLong(7, at(asked), at(now), time.Second) }
	require.False(t, dead(0, 400))
	require.False(t, dead(475, 875))
	require.True(t, dead(950, 1350))
	s.answered(7)
	require.False(t, dead(2000, 4000), "one question, however long it took")
	require.False(t, dead(4075, 4475))
	require.True(t, dead(4550, 4950), "but the third counts")
	require.False(t, dead(9000, 9400), "that was another silence")
	require.False(t, dead(9000, 9410), "of two who ask at once")
	require.False(t, dead(9010, 9420))
	require.False(t, dead(9500, 9900))
}
