package concurrency

import (
	"context"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/eval"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Tens of thousands of tables are at rest: what one has when nobody uses it is what a new one has.
func TestRestedTableIsAsNew(t *testing.T) {
	cfg := Config{}.Shared()
	tb := NewShared(cfg)
	require.LessOrEqual(t, reflect.TypeFor[Table]().Size(), uintptr(160), "beyond that the allocator rounds up to 176 bytes")

	prepared(tb, 1, "k")
	d := tb.Defer(resolveReq(1, 15, "k"))
	require.NotNil(t, d)
	tb.Learn(meta(2).ID, kv.TxnAborted, hlc.Timestamp{})
	other, ok := tb.TryLock(meta(3), keys.Key("l"), kv.LockUpdate)
	require.True(t, ok, "%v", other)
	tb.silent.tooLong(1, time.Now(), time.Now(), time.Hour)
	tb.Rest(nil)
	status, _ := tb.Outcome(meta(1).ID)
	require.Equal(t, kv.TxnCommitted, status, "a request that waits is not forgotten")
	status, _ = tb.Outcome(meta(2).ID)
	require.Equal(t, kv.TxnAborted, status, "nor is an outcome, as long as there are locks")
	require.True(t, tb.Holds(meta(3).ID, keys.Key("l")))

	tb.EndDeferred(d)
	tb.EndDeferred(d)
	tb.Resolved(eval.ResolvedLock{Txn: meta(1).ID, Commit: true, CommitTS: ts(15)})
	require.NoError(t, tb.ReleaseTxn(meta(3).ID, nil))
	tb.Rest(nil)
	tb.latches.seq = 0
	require.Equal(t, NewShared(cfg), tb)
	status, _ = tb.Outcome(meta(2).ID)
	require.Equal(t, kv.TxnUnknown, status)
	require.Empty(t, tb.TakeDeferred(8))

	// And it works as a new one does.
	prepared(tb, 4, "k")
	require.NotNil(t, tb.Defer(resolveReq(4, 15, "k")))
	tb.Learn(meta(5).ID, kv.TxnAborted, hlc.Timestamp{})
	status, _ = tb.Outcome(meta(5).ID)
	require.Equal(t, kv.TxnAborted, status)
}

// A table may be put to rest at any moment.
func TestRestBesideRequests(t *testing.T) {
	tb := New(Config{})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			n := byte(w + 1)
			k := string('a' + rune(w))
			for range 300 {
				prepared(tb, n, k)
				d := tb.Defer(resolveReq(n, 15, k))
				if d == nil {
					t.Error("not put off")
					return
				}
				if status, at := tb.Outcome(d.id); status != kv.TxnCommitted || at != ts(15) {
					t.Errorf("%v at %v", status, at)
				}
				tb.Withdraw(d)
				req, ls := readReq(20, k)
				if err := evaluate(context.Background(), tb, req, ls); err != nil {
					t.Error(err)
				}
				tb.Learn(d.id, kv.TxnCommitted, ts(15))
				tb.Resolved(eval.ResolvedLock{Txn: d.id, Keys: []keys.Key{keys.Key(k)}, Commit: true, CommitTS: ts(15)})
				tb.EndDeferred(d)
			}
		})
	}
	done := make(chan struct{})
	var rester sync.WaitGroup
	rester.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				tb.Rest(nil)
			}
		}
	})
	wg.Wait()
	close(done)
	rester.Wait()
	require.Zero(t, tb.Len())
}
