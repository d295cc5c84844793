package txn

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// farSender takes a while for every key that is asked for or resolved, as ranges that are far away do.
type farSender struct {
	*fakeStore
	takes   time.Duration
	away    atomic.Bool // nobody answers what is asked of keys
	lost    atomic.Bool // nor ever will
	asked   atomic.Int64
	resolve atomic.Int64
}

func (f *farSender) Send(ctx context.Context, req *kv.BatchRequest) (*kv.BatchResponse, error) {
	switch req.Requests[0].(type) {
	case *kv.QueryPrepared:
		f.asked.Add(1)
		if sleep(ctx, f.takes); f.lost.Load() {
			return nil, kv.Lost(7)
		}
		if f.away.Load() {
			return nil, kv.Errorf(kv.CodeUnavailable, "injected")
		}
	case *kv.ResolveLocks:
		f.resolve.Add(1)
		sleep(ctx, f.takes)
	}
	return f.fakeStore.Send(ctx, req)
}

// leftStaging commits over n ranges at a gateway that does nothing about it afterwards. What another one asks takes 100 ms a key.
func leftStaging(t *testing.T, n int) (other *Coordinator, far *farSender, holder kv.TxnMeta, ks []keys.Key) {
	t.Helper()
	var bounds []string
	for i := range n {
		bounds = append(bounds, fmt.Sprintf("k%03d", i))
		ks = append(ks, k(bounds[i]))
	}
	s := newFakeStore(bounds...)
	dead := New(Config{Sender: s, Clock: s.clock, Node: 1, Incarnation: 1, Linger: func(ctx context.Context) { <-ctx.Done() }})
	x := dead.Begin(bg, Options{})
	for _, key := range ks {
		require.NoError(t, x.Put(key, []byte("1")))
	}
	commit(t, x)
	staging, locks := unfinished(s)
	require.Equal(t, 1, staging)
	require.Equal(t, n, locks)
	s.mu.Lock()
	holder = s.prepared[string(ks[0])].meta
	s.mu.Unlock()
	far = &farSender{fakeStore: s, takes: 100 * time.Millisecond}
	other = New(Config{Sender: far, Clock: s.clock, Node: 2, Incarnation: 1, Parallel: 1})
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(bg)
		cancel()
		dead.Close(ctx)
		other.Close(ctx)
	})
	return other, far, holder, ks
}

// look is what a waiter does again and again.
func look(c *Coordinator, holder kv.TxnMeta, key keys.Key) (kv.TxnStatus, hlc.Timestamp, error) {
	ctx, cancel := context.WithTimeout(bg, 2*time.Second)
	defer cancel()
	return c.Recover(ctx, holder, key)
}

// A recovery that takes longer than anybody waits for at a time comes to its end all the same, and asks for each key once.
func TestRecoveryOutlastsItsWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 200
		other, far, holder, ks := leftStaging(t, n)
		for i := 0; ; i++ {
			require.Less(t, i, 10, "it begins again each time")
			st, _, err := look(other, holder, ks[i])
			if err == nil {
				require.Equal(t, kv.TxnCommitted, st)
				require.Positive(t, i, "the test does not test what it says")
				break
			}
			require.True(t, kv.HasCode(err, kv.CodeCanceled), "%v", err)
		}
		require.EqualValues(t, n, far.asked.Load())
		time.Sleep(time.Minute)
		synctest.Wait()
		allFinished(t, far.fakeStore)
	})
}

// Nobody waits for ever, and nothing goes on for ever, where a range does not answer; when it does again it is as if nothing had been.
func TestRecoveryEndsWithoutAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other, far, holder, ks := leftStaging(t, 5)
		far.away.Store(true)
		_, _, err := look(other, holder, ks[1])
		require.True(t, kv.HasCode(err, kv.CodeCanceled), "%v", err)
		_, _, err = other.Recover(bg, holder, ks[1])
		require.True(t, kv.HasCode(err, kv.CodeUnavailable), "%v", err)
		asked := far.asked.Load()
		time.Sleep(2 * unansweredFor)
		synctest.Wait()
		require.Equal(t, asked, far.asked.Load())
		far.away.Store(false)
		st, _, err := look(other, holder, ks[1])
		require.NoError(t, err)
		require.Equal(t, kv.TxnCommitted, st)
	})
}

// Who waits behind a transaction of which a range is lost for good is told so at once.
func TestRecoveryOfWhatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other, far, holder, ks := leftStaging(t, 5)
		far.lost.Store(true)
		_, _, err := look(other, holder, ks[1])
		require.True(t, kv.IsLost(err), "%v", err)
	})
}

// A coordinator that closes waits for no recovery.
func TestCloseEndsRecoveries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other, far, holder, ks := leftStaging(t, 5)
		far.away.Store(true)
		_, _, err := look(other, holder, ks[1])
		require.True(t, kv.HasCode(err, kv.CodeCanceled), "%v", err)
		began := time.Now()
		other.Close(bg)
		require.Less(t, time.Since(began), unansweredFor/2)
		_, _, err = look(other, holder, ks[1])
		require.Error(t, err)
	})
}

// Whoever meets another lock of the same transaction before it has been resolved does not have all of them resolved once more.
func TestRecoveredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 50
		other, far, holder, ks := leftStaging(t, n)
		_, _, err := look(other, holder, ks[0])
		require.NoError(t, err)
		for i := range ks {
			st, _, err := look(other, holder, ks[i])
			require.NoError(t, err)
			require.Equal(t, kv.TxnCommitted, st)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		require.EqualValues(t, n, far.resolve.Load())
		allFinished(t, far.fakeStore)
		_, _, err = look(other, holder, ks[0]) // whose lock came back with a late copy, say
		require.NoError(t, err)
		time.Sleep(time.Minute)
		require.EqualValues(t, 2*n, far.resolve.Load())
	})
}

// A record whose locks take longer to be resolved than its finder waits is finished all the same, once, and not begun again by each who finds it.
func TestFinishingGoesOnAlone(t *testing.T) {
	c, s := newTest(t, "m")
	var resolves atomic.Int64
	reached, release := make(chan struct{}, 10), make(chan struct{})
	var finishing atomic.Bool
	s.intercept(func(req *kv.BatchRequest) error {
		switch q := req.Requests[0].(type) {
		case *kv.ResolveLocks:
			if !finishing.Load() {
				return kv.Errorf(kv.CodeCorruption, "injected")
			}
			resolves.Add(1)
			reached <- struct{}{}
			<-release
		case *kv.EndTxn:
			q.Local = nil // all locks stay
		}
		return nil
	})
	x := c.Begin(bg, Options{})
	require.NoError(t, x.Put(k("a"), []byte("1")))
	require.NoError(t, x.Put(k("z"), []byte("1")))
	commit(t, x)
	record := func() *kv.TxnRecord {
		s.mu.Lock()
		defer s.mu.Unlock()
		if r := s.records[x.ID()]; r != nil {
			rec := *r
			return &rec
		}
		return nil
	}
	require.Eventually(t, func() bool {
		r := record()
		return r != nil && r.Status == kv.TxnCommitted && c.Metrics().BackgroundFailed.Load() > 0
	}, 10*time.Second, time.Millisecond)
	rec := *record()
	finishing.Store(true)
	ctx, cancel := context.WithCancel(bg)
	left := make(chan error)
	go func() { left <- c.FinishRecord(ctx, rec) }()
	<-reached
	<-reached
	cancel()
	require.True(t, kv.HasCode(<-left, kv.CodeCanceled))
	require.True(t, kv.HasCode(c.FinishRecord(bg, rec), kv.CodeUnavailable))
	close(release)
	require.Eventually(t, func() bool { return record() == nil }, 10*time.Second, time.Millisecond)
	require.EqualValues(t, 2, resolves.Load())
	require.Equal(t, "a=1 z=1", all(t, c.Begin(bg, Options{}), ScanOptions{}, span("a", "zz")))
}
