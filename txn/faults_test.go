package txn

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

func isCommit(req *kv.BatchRequest) bool {
	_, ok := req.Requests[0].(*kv.CommitSingleRange)
	return ok
}

// The reply to a single-range commit is lost, the range splits, and the keys lie in two ranges when the commit is
// repeated: the pieces are asked, and both remember.
func TestLostReplyThenSplit(t *testing.T) {
	for _, applied := range []bool{true, false} {
		c, s := newTest(t, "x")
		var n atomic.Int32
		s.intercept(func(req *kv.BatchRequest) error {
			if isCommit(req) && n.Add(1) == 1 {
				if applied {
					_, err := s.serve(bg, req)
					require.NoError(t, err)
				}
				s.split("g")
				return kv.Errorf(kv.CodeUnknownOutcome, "injected")
			}
			return nil
		})
		x := c.Begin(bg, Options{})
		require.NoError(t, x.Put(k("a"), []byte("1")))
		require.NoError(t, x.Put(k("h"), []byte("1")))
		_, err := x.Commit(bg)
		if applied {
			require.NoError(t, err)
		} else {
			require.True(t, x.Retryable(err), "fenced, so nothing was written: %v", err)
			id := x.ID()
			require.NoError(t, x.Restart(bg, err))
			require.NotEqual(t, id, x.ID())
			require.NoError(t, x.Put(k("a"), []byte("1")))
			require.NoError(t, x.Put(k("h"), []byte("1")))
			commit(t, x)
		}
		require.Equal(t, "a=1 h=1", all(t, c.Begin(bg, Options{}), ScanOptions{}, span("a", "z")))
		require.Len(t, s.versions["a"], 1)
		settled(t, c, s)
	}
}

// A range that splits between plan and commit: nothing has happened yet, so the commit is planned anew.
func TestSplitBeforeCommit(t *testing.T) {
	c, s := newTest(t)
	x := c.Begin(bg, Options{})
	require.Equal(t, "-", get(t, x, "q"))
	require.NoError(t, x.Put(k("a"), []byte("1")))
	require.NoError(t, x.Put(k("h"), []byte("1")))
	s.split("g")
	s.split("p")
	commit(t, x)
	require.EqualValues(t, 1, c.Metrics().CommitsOneRound.Load()+c.Metrics().CommitsTwoRounds.Load())
	settled(t, c, s)
}

// A participant splits between prepare and resolution.
func TestSplitDuringCommit(t *testing.T) {
	c, s := newTest(t, "m")
	var n atomic.Int32
	s.intercept(func(req *kv.BatchRequest) error {
		switch req.Requests[0].(type) {
		case *kv.Prepare:
			if n.Add(1) == 1 {
				s.split("c")
			}
		case *kv.EndTxn:
			if n.Add(1) == 5 {
				s.split("b")
				s.split("q")
			}
		}
		return nil
	})
	put(t, c, "a", "1", "b", "1", "d", "1", "p", "1", "q", "1")
	settled(t, c, s)
	require.Equal(t, "a=1 b=1 d=1 p=1 q=1", all(t, c.Begin(bg, Options{}), ScanOptions{}, span("a", "z")))
}

// A client that leaves while nobody answers is told what became of its commit if that can be learned soon, and otherwise that it is not known, and
// later the truth.
func TestOutcomeAfterLeaving(t *testing.T) {
	for _, x := range []struct {
		name    string
		keys    []string
		arrives bool          // the writes do; no reply does
		cut     time.Duration // for so long nobody answers anything else
		code    kv.Code       // of the error; 0 for none
		rows    string
	}{
		{"ranges", []string{"a", "x"}, true, 0, 0, "a=1 x=1"},
		{"range", []string{"a"}, true, 0, 0, "a=1"},
		{"ranges that nothing reached", []string{"a", "x"}, false, 0, kv.CodeCanceled, ""},
		{"a range that nothing reached", []string{"a"}, false, 0, kv.CodeCanceled, ""},
		{"ranges that come back", []string{"a", "x"}, true, 3 * time.Second, 0, "a=1 x=1"},
		{"a range that comes back", []string{"a"}, true, 3 * time.Second, 0, "a=1"},
		{"ranges that are away", []string{"a", "x"}, true, 10 * time.Second, kv.CodeUnknownOutcome, "a=1 x=1"},
		{"a range that is away", []string{"a"}, true, 10 * time.Second, kv.CodeUnknownOutcome, "a=1"},
	} {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, s := newTest(t, "m")
				began := time.Now()
				var once sync.Map
				s.intercept(func(req *kv.BatchRequest) error {
					switch q := req.Requests[0].(type) {
					case *kv.Prepare, *kv.CommitSingleRange:
						if _, was := once.LoadOrStore(kv.Request(q), true); x.arrives && !was {
							if _, err := s.serve(bg, req); err != nil {
								return err
							}
						}
					default:
						if time.Since(began) >= x.cut {
							return nil
						}
					}
					return kv.Errorf(kv.CodeUnknownOutcome, "injected")
				})
				tx := c.Begin(bg, Options{})
				for _, key := range x.keys {
					require.NoError(t, tx.Put(k(key), []byte("1")))
				}
				ctx, cancel := context.WithTimeout(bg, 50*time.Millisecond)
				defer cancel()
				_, err := tx.Commit(ctx)
				if x.code == 0 {
					require.NoError(t, err)
				} else {
					require.True(t, kv.HasCode(err, x.code), "%v", err)
					require.False(t, tx.Retryable(err))
				}
				require.Less(t, time.Since(began), 50*time.Millisecond+lastWait+time.Second)
				want := kv.TxnCommitted
				if x.rows == "" {
					want = kv.TxnAborted
				}
				require.Eventually(t, func() bool { st, _ := c.Outcome(tx.ID()); return st == want }, time.Minute, 10*time.Millisecond)
				s.intercept(nil)
				settled(t, c, s)
				require.Equal(t, x.rows, all(t, c.Begin(bg, Options{}), ScanOptions{}, span("a", "z")))
			})
		})
	}
}

// What the background has to do, after a load of commits say, does not keep those who wait for it from learning what became of their commits.
func TestOutcomeBesidesBackground(t *testing.T) {
	for _, rows := range [][]string{{"a"}, {"a", "x"}} {
		synctest.Test(t, func(t *testing.T) {
			c, s := newTest(t, "m")
			end := make(chan struct{})
			release := sync.OnceFunc(func() { close(end) })
			defer release()
			for range 1000 {
				c.background(func(context.Context) { <-end })
			}
			var once sync.Map
			s.intercept(func(req *kv.BatchRequest) error {
				switch q := req.Requests[0].(type) {
				case *kv.Prepare, *kv.CommitSingleRange:
					if _, was := once.LoadOrStore(kv.Request(q), true); !was {
						if _, err := s.serve(bg, req); err != nil {
							return err
						}
					}
					return kv.Errorf(kv.CodeUnknownOutcome, "injected")
				}
				return nil
			})
			tx := c.Begin(bg, Options{})
			for _, key := range rows {
				require.NoError(t, tx.Put(k(key), []byte("1")))
			}
			ctx, cancel := context.WithTimeout(bg, 4*time.Millisecond)
			defer cancel()
			began := time.Now()
			_, err := tx.Commit(ctx)
			require.NoError(t, err)
			require.Less(t, time.Since(began), lastWait/2)
			release()
			s.intercept(nil)
			settled(t, c, s)
		})
	}
}

// Recovery by somebody else, while the coordinator is slow: whatever it decides, the coordinator agrees.
func TestRecoveryOvertakesCoordinator(t *testing.T) {
	for _, when := range []string{"before staging", "after staging"} {
		t.Run(when, func(t *testing.T) {
			s := newFakeStore("m")
			other := New(Config{Sender: s, Clock: s.clock, Node: 2, Incarnation: 1})
			slow := &hookSender{fakeStore: s}
			c := New(Config{Sender: slow, Clock: s.clock, Node: 1, Incarnation: 1})
			x := c.Begin(bg, Options{})
			require.NoError(t, x.Put(k("a"), []byte("1")))
			require.NoError(t, x.Put(k("x"), []byte("1")))
			recovered := make(chan struct{})
			var once sync.Once
			slow.hook = func(req *kv.BatchRequest) {
				p, ok := req.Requests[0].(*kv.Prepare)
				if !ok {
					return
				}
				anchor := p.Writes[0].Key.Equal(k("a"))
				if anchor == (when == "after staging") {
					// Recovery comes before the other participant.
					defer once.Do(func() { close(recovered) })
					_, err := s.serve(bg, req)
					require.NoError(t, err)
					_, _, err = other.Recover(bg, *req.Txn, p.Writes[0].Key)
					require.NoError(t, err)
				} else {
					<-recovered
				}
			}
			_, err := x.Commit(bg)
			require.True(t, x.Retryable(err), "%v", err)
			x.Rollback(bg)
			c.Close(bg)
			other.Close(bg)
			require.Empty(t, s.prepared)
			require.Empty(t, finalState(s))
		})
	}
}

type hookSender struct {
	*fakeStore
	hook func(*kv.BatchRequest)
}

func (h *hookSender) Send(ctx context.Context, req *kv.BatchRequest) (*kv.BatchResponse, error) {
	h.hook(req)
	return h.fakeStore.Send(ctx, req)
}

func TestRegistryAnswers(t *testing.T) { synctest.Test(t, testRegistryAnswers) }

func testRegistryAnswers(t *testing.T) {
	c, s := newTest(t)
	put(t, c, "a", "1")
	x := c.Begin(bg, Options{})
	st, err := c.QueryHolder(bg, 1, 7, x.ID(), false)
	require.NoError(t, err)
	require.False(t, st.Alive, "who holds nothing is not known")
	_, _, err = x.Get(bg, k("a"), ScanOptions{Lock: kv.LockUpdate})
	require.NoError(t, err)
	st, _ = c.QueryHolder(bg, 1, 7, x.ID(), false)
	require.True(t, st.Alive)
	st, _ = c.QueryHolder(bg, 1, 6, x.ID(), false)
	require.False(t, st.Alive, "another incarnation")

	me := kv.TxnMeta{ID: x.ID(), Gateway: 1, Incarnation: 7}
	other := kv.TxnMeta{ID: kv.TxnID{1}, Gateway: 2}
	_, err = c.ReportWait(bg, &me, k("b"), []kv.TxnMeta{other})
	require.NoError(t, err)
	st, _ = c.QueryHolder(bg, 1, 7, x.ID(), false)
	require.Equal(t, []kv.TxnMeta{other}, st.WaitingFor)
	require.NotZero(t, st.Since)
	get(t, x, "a") // an answer has come: it does not wait any more
	st, _ = c.QueryHolder(bg, 1, 7, x.ID(), false)
	require.Empty(t, st.WaitingFor)
	over := c.Contention()
	require.Len(t, over, 1)
	require.Equal(t, x.ID(), over[0].Waiter)
	require.Equal(t, k("b"), over[0].Key)
	require.Equal(t, []kv.TxnMeta{other}, over[0].Holders)
	for range 2 * maxWaits {
		_, err = c.ReportWait(bg, &me, keys.Key{byte(len(st.WaitingFor)), byte(s.rng.IntN(250)), byte(s.rng.IntN(250))}, []kv.TxnMeta{other})
		require.NoError(t, err)
	}
	require.LessOrEqual(t, len(c.Active()[0].Waits), maxWaits)
	time.Sleep(waitReportTTL + 10*time.Millisecond)
	st, _ = c.QueryHolder(bg, 1, 7, x.ID(), false)
	require.Empty(t, st.WaitingFor, "reports run out")
	for range 2 * maxContention / maxWaits {
		get(t, x, "a")
		for range maxWaits {
			_, err = c.ReportWait(bg, &me, keys.Key{9, byte(s.rng.IntN(250)), byte(s.rng.IntN(250))}, []kv.TxnMeta{other})
			require.NoError(t, err)
		}
	}
	require.Len(t, c.Contention(), maxContention, "the memory of waits is bounded")
	x.Rollback(bg)
	settled(t, c, s)
}

func TestReadSetStaysBounded(t *testing.T) {
	var r readSet
	for i := range 20_000 {
		r.add(keys.Span{Start: keys.Key{byte(i >> 16), byte(i >> 8), byte(i)}})
	}
	require.LessOrEqual(t, len(r.spans), maxReadSpans)
	for i := range 20_000 {
		key := keys.Key{byte(i >> 16), byte(i >> 8), byte(i)}
		found := false
		for _, s := range r.spans {
			found = found || s.Contains(key)
		}
		require.True(t, found, "a read was forgotten")
		if i%50 != 0 {
			continue
		}
	}
	// Pages of a scan, both ways, are one span.
	r = readSet{}
	r.add(span("a", "c"))
	r.add(span("c", "f"))
	r.add(span("f", "g"))
	require.Equal(t, []keys.Span{span("a", "g")}, r.spans)
	r = readSet{}
	r.add(span("f", "g"))
	r.add(span("c", "f"))
	require.Equal(t, []keys.Span{span("c", "g")}, r.spans)
}

func TestCloseDrains(t *testing.T) { synctest.Test(t, testCloseDrains) }

func testCloseDrains(t *testing.T) {
	s := newFakeStore("m")
	c := New(Config{Sender: s, Clock: s.clock, Node: 1, Workers: 1, Queue: 2})
	s.intercept(func(*kv.BatchRequest) error { time.Sleep(100 * time.Microsecond); return nil })
	for range 20 {
		put(t, c, "a", "1", "x", "2")
	}
	c.Close(bg)
	require.Empty(t, s.prepared)
	require.Empty(t, s.records)
	require.Zero(t, c.Metrics().BackgroundFailed.Load())
	c.Close(bg)
}

// Where a lock was lost with its leader, the transaction that had it neither waits for it nor keeps the others while it starts again.
func TestRestartAfterLostLock(t *testing.T) {
	c, s := newTest(t)
	put(t, c, "a", "1", "b", "1")
	lock := func(x Txn, key string) error {
		_, _, err := x.Get(bg, k(key), ScanOptions{Lock: kv.LockUpdate})
		return err
	}
	x := c.Begin(bg, Options{})
	require.NoError(t, lock(x, "a"))
	s.mu.Lock()
	clear(s.held)
	s.mu.Unlock()
	y := c.Begin(bg, Options{})
	require.NoError(t, lock(y, "a"))
	require.NoError(t, lock(x, "b"))
	err := lock(x, "a")
	require.True(t, kv.HasCode(err, kv.CodeLockLost), "%v", err)
	require.True(t, x.Retryable(err))
	id := x.ID()
	require.NoError(t, x.Restart(bg, err))
	require.NotEqual(t, id, x.ID())
	require.NoError(t, lock(y, "b"), "the locks of the first attempt are gone")

	// The commit finds out as well.
	z := c.Begin(bg, Options{})
	y.Rollback(bg)
	require.NoError(t, lock(z, "a"))
	require.NoError(t, lock(z, "b"))
	require.NoError(t, z.Put(k("a"), []byte("z")))
	s.mu.Lock()
	clear(s.held)
	s.mu.Unlock()
	put(t, c, "a", "2")
	_, err = z.Commit(bg)
	require.True(t, z.Retryable(err), "%v", err)
	id = z.ID()
	require.NoError(t, z.Restart(bg, err))
	require.NotEqual(t, id, z.ID())
	z.Rollback(bg)
	x.Rollback(bg)
	settled(t, c, s)
}

// A record that was left over says where the locks are: whoever finds it finishes the transaction and removes it, whether all keys are listed or only spans.
func TestFinishRecord(t *testing.T) {
	for _, large := range []bool{false, true} {
		c, s := newTest(t, "m")
		if large {
			c.cfg.MaxStagedBytes = 1
		}
		var dead atomic.Bool
		s.intercept(func(req *kv.BatchRequest) error {
			switch q := req.Requests[0].(type) {
			case *kv.ResolveLocks, *kv.ResolveSpan:
				if dead.Load() {
					return kv.Errorf(kv.CodeCorruption, "injected")
				}
			case *kv.EndTxn:
				q.Local = nil // all locks stay
			}
			return nil
		})
		dead.Store(true)
		x := c.Begin(bg, Options{})
		require.NoError(t, x.Put(k("a"), []byte("1")))
		require.NoError(t, x.Put(k("q"), []byte("1")))
		require.NoError(t, x.Put(k("z"), []byte("1")))
		commit(t, x)
		var rec kv.TxnRecord
		require.Eventually(t, func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			if r := s.records[x.ID()]; r != nil && r.Status == kv.TxnCommitted {
				rec = *r
			}
			return rec.Status == kv.TxnCommitted && c.Metrics().BackgroundFailed.Load() > 0
		}, 10*time.Second, time.Millisecond)
		require.Equal(t, large, len(rec.Spans) > 0)
		require.Equal(t, large, len(rec.Prepared) == 0)
		require.Error(t, c.FinishRecord(bg, rec))
		s.mu.Lock()
		require.NotNil(t, s.records[x.ID()], "not before the locks are gone")
		s.mu.Unlock()
		dead.Store(false)
		require.NoError(t, c.FinishRecord(bg, rec))
		s.mu.Lock()
		require.Nil(t, s.records[x.ID()])
		require.Empty(t, s.prepared)
		s.mu.Unlock()
		require.Equal(t, "a=1 q=1 z=1", all(t, c.Begin(bg, Options{}), ScanOptions{}, span("a", "zz")))
		rec.Prepared, rec.Spans = nil, nil
		require.Error(t, c.FinishRecord(bg, rec), "it does not say where")
	}
}

// An abort says what was staged if, and only if, something was sent more than once: whoever has it collected then may have finished the transaction
// by an earlier copy. It does not matter who has sent it again, and whether the piece was cut since.
func TestAbortInDoubt(t *testing.T) {
	for _, what := range []string{"", "not answered", "sent again by the sender", "not answered and split"} {
		t.Run(what, func(t *testing.T) {
			c, s := newTest(t, "m")
			var staged []hlc.Timestamp // guarded by s.mu
			var n atomic.Int32
			s.intercept(func(req *kv.BatchRequest) error {
				switch q := req.Requests[0].(type) {
				case *kv.Prepare:
					if !q.Writes[0].Key.Equal(k("q")) {
						break
					}
					switch again := n.Add(1) > 1; {
					case what == "not answered" && !again:
						return kv.Errorf(kv.CodeUnknownOutcome, "injected")
					case what == "not answered and split" && !again:
						s.split("r")
						return kv.Errorf(kv.CodeUnknownOutcome, "injected")
					case what == "not answered and split" && len(q.Writes) > 1:
						return kv.Errorf(kv.CodeRangeMismatch, "injected")
					case what == "sent again by the sender":
						req.SetRepeated()
					}
					return kv.Errorf(kv.CodeWriteTooOld, "injected")
				case *kv.EndTxn:
					s.mu.Lock()
					staged = append(staged, q.Staged)
					s.mu.Unlock()
				}
				return nil
			})
			x := c.Begin(bg, Options{})
			for _, key := range []string{"a", "q", "z"} {
				require.NoError(t, x.Put(k(key), []byte("1")))
			}
			_, err := x.Commit(bg)
			require.Error(t, err)
			settled(t, c, s)
			s.mu.Lock()
			defer s.mu.Unlock()
			require.Len(t, staged, 1)
			require.Equal(t, what != "", !staged[0].IsEmpty())
		})
	}
}
