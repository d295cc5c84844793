package concurrency

import (
	"context"
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

// finishing is a gateway that puts off what is left to do after its commits until it is asked to hurry.
type finishing struct {
	mu     sync.Mutex
	st     HolderState
	asked  int
	hurry  func()
	hurled bool
}

func (f *finishing) QueryHolder(_ context.Context, _ kv.NodeID, _ int64, _ kv.TxnID, hurry bool) (HolderState, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if hurry && !f.hurled {
		f.hurled = true
		go f.hurry()
	}
	return f.st, nil
}

func (f *finishing) ReportWait(context.Context, *kv.TxnMeta, keys.Key, []kv.TxnMeta) (HolderState, error) {
	return HolderState{Alive: true}, nil
}

// Who reads learns at once, without time passing, that the holder has committed, and goes through its lock; nobody resolves that while the record does not say
// so. Who wants to lock has the holder finished. Each asks once.
func TestWhoMeetsALockAsksAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &finishing{st: HolderState{Alive: true, Status: kv.TxnStaging, CommitTS: ts(15)}}
		r := &recovery{}
		tb := New(Config{Holders: f, Recoverer: r, Resolver: r})
		f.hurry = func() {
			tb.Resolved(eval.ResolvedLock{Txn: meta(1).ID, Keys: []keys.Key{keys.Key("k")}, Commit: true, CommitTS: ts(15)})
		}
		began := time.Now()
		prepared(tb, 1, "k")
		for range 3 {
			req, ls := readReq(20, "k")
			require.NoError(t, evaluate(t.Context(), tb, req, ls))
		}
		status, at := tb.Outcome(meta(1).ID)
		require.Equal(t, kv.TxnCommitted, status)
		require.Equal(t, ts(15), at)
		require.Equal(t, 1, f.asked)
		require.False(t, f.hurled)
		settled, err := tb.Settle(t.Context(), meta(1), keys.Key("k"), false)
		require.NoError(t, err)
		require.Nil(t, settled, "its gateway lives, and its record is not written")
		tb.Learn(meta(1).ID, kv.TxnUnknown, ts(99))
		status, _ = tb.Outcome(meta(1).ID)
		require.Equal(t, kv.TxnCommitted, status, "what has committed stays so")

		req, ls := lockReq(meta(2), kv.LockUpdate, "k")
		require.NoError(t, evaluate(t.Context(), tb, req, ls))
		require.True(t, f.hurled)
		require.Equal(t, began, time.Now())
		require.Empty(t, r.calls)
	})
}

// The answer to a Prepare says whether somebody waits for one of its keys, or has had to lately. Then nobody asks.
func TestWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &finishing{st: HolderState{Alive: true}, hurry: func() {}}
		tb := New(Config{Holders: f})
		laid := func(n byte, ks ...string) bool {
			var ps []eval.PreparedLock
			for _, k := range ks {
				prepared(tb, n, k)
				ps = append(ps, eval.PreparedLock{Key: keys.Key(k), Txn: *meta(n), TS: ts(15)})
			}
			return tb.Wanted(ps)
		}
		require.False(t, laid(1, "j", "k"))
		lock(t, tb, meta(2), kv.LockUpdate, "l")
		req, ls := lockReq(meta(3), kv.LockUpdate, "l")
		done := inBackground(t, tb, req, ls)
		synctest.Wait()
		require.True(t, laid(2, "m", "l"), "somebody stands in line")
		synctest.Wait()
		require.Zero(t, f.asked)
		tb.Resolved(eval.ResolvedLock{Txn: meta(2).ID, Keys: []keys.Key{keys.Key("l"), keys.Key("m")}, Commit: true, CommitTS: ts(15)})
		require.NoError(t, <-done)

		req, ls = lockReq(meta(4), kv.LockUpdate, "k")
		done = inBackground(t, tb, req, ls)
		synctest.Wait()
		require.Equal(t, 1, f.asked, "nobody had been there when it was laid")
		tb.Resolved(eval.ResolvedLock{Txn: meta(1).ID, Keys: []keys.Key{keys.Key("j"), keys.Key("k")}, Commit: true, CommitTS: hlc.Timestamp{WallTime: 15}})
		require.NoError(t, <-done)
		tb.Resolved(eval.ResolvedLock{Txn: meta(4).ID})
		require.True(t, laid(5, "k"), "somebody has had to wait for it")
		require.False(t, laid(6, "j"))
	})
}
