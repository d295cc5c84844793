package concurrency

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/internal/eval"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

func resolveReq(n byte, at int64, ks ...string) *kv.BatchRequest {
	r := &kv.ResolveLocks{Commit: true, CommitTS: ts(at)}
	for _, k := range ks {
		r.Keys = append(r.Keys, keys.Key(k))
	}
	return &kv.BatchRequest{Txn: meta(n), Requests: []kv.Request{r}}
}

func prepared(tb *Table, n byte, k string) {
	tb.Prepared(eval.PreparedLock{Key: keys.Key(k), Txn: *meta(n), TS: ts(15)})
}

func TestDeferredTellsReaders(t *testing.T) {
	tb := New(Config{})
	prepared(tb, 1, "k")
	req, ls := readReq(20, "k")
	done := inBackground(t, tb, req, ls)
	d := tb.Defer(resolveReq(1, 15, "k"))
	require.NotNil(t, d)
	require.NoError(t, <-done, "who reads need not wait any more")
	require.NoError(t, evaluate(context.Background(), tb, req, ls))
	status, at := tb.Outcome(meta(1).ID)
	require.Equal(t, kv.TxnCommitted, status)
	require.Equal(t, ts(15), at)
	require.Empty(t, d.Go)
	tb.EndDeferred(d)
	status, _ = tb.Outcome(meta(1).ID)
	require.Equal(t, kv.TxnUnknown, status)
}

func TestDeferredIsUrgedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tb := New(Config{})
		prepared(tb, 1, "k")
		prepared(tb, 2, "other")
		d, bystander := tb.Defer(resolveReq(1, 15, "k")), tb.Defer(resolveReq(2, 15, "other"))
		require.NotNil(t, bystander)
		req, ls := scanReq(meta(3), "k")
		done := make(chan error, 1)
		go func() { done <- scan(t.Context(), tb, req, ls, "k", meta(1)) }()
		synctest.Wait()
		require.Len(t, d.Go, 1, "somebody wants to lock the key, who does not pass")
		require.Empty(t, bystander.Go)
		require.True(t, tb.Withdraw(d))
		require.Equal(t, []*Deferred{bystander}, tb.TakeDeferred(8))
		tb.Resolved(eval.ResolvedLock{Txn: meta(1).ID, Keys: []keys.Key{keys.Key("k")}, Commit: true, CommitTS: ts(15)})
		tb.EndDeferred(d)
		require.NoError(t, <-done)

		prepared(tb, 4, "k")
		require.Nil(t, tb.Defer(resolveReq(4, 16, "k")), "the key is one that others want")
		time.Sleep(sought)
		require.NotNil(t, tb.Defer(resolveReq(4, 16, "k")))
	})
}

func TestDeferredIsNotForThoseWhomSomebodyWaitsFor(t *testing.T) {
	tb := New(Config{})
	prepared(tb, 1, "k")
	req, ls := putReq("k")
	done := inBackground(t, tb, req, ls)
	require.Nil(t, tb.Defer(resolveReq(1, 15, "k")))
	require.Nil(t, tb.Defer(resolveReq(1, 15, "j", "k")))
	tb.Resolved(eval.ResolvedLock{Txn: meta(1).ID})
	require.NoError(t, <-done)

	abort := resolveReq(1, 15, "j")
	abort.Requests[0].(*kv.ResolveLocks).Commit = false
	require.Nil(t, tb.Defer(abort))
	d := tb.Defer(resolveReq(1, 15, "j"))
	require.NotNil(t, d)
	require.Nil(t, tb.Defer(resolveReq(1, 15, "j")), "a copy")
	for n := byte(10); len(tb.deferred.known) < maxDeferred; n++ {
		require.NotNil(t, tb.Defer(resolveReq(n, 15, "j")))
	}
	require.Nil(t, tb.Defer(resolveReq(9, 15, "j")), "too many")
}

func TestDeferredBelongsToOne(t *testing.T) {
	tb := New(Config{})
	a, b, c := tb.Defer(resolveReq(1, 15, "a")), tb.Defer(resolveReq(2, 15, "b")), tb.Defer(resolveReq(3, 15, "c"))
	require.Equal(t, []*Deferred{a, b}, tb.TakeDeferred(2))
	require.False(t, tb.Withdraw(a), "it has been taken along")
	tb.GiveBack(a)
	require.Len(t, a.Go, 1)
	require.True(t, tb.Withdraw(a))
	require.True(t, tb.Withdraw(c))
	require.Empty(t, tb.TakeDeferred(8))
	require.False(t, tb.Withdraw(b))
	for _, d := range []*Deferred{a, b, c} {
		tb.EndDeferred(d)
	}
	require.Empty(t, tb.deferred.known)

	d := tb.Defer(resolveReq(4, 15, "d"))
	tb.Clear(kv.Errorf(kv.CodeNotLeader, "over"))
	require.Len(t, d.Go, 1, "whoever leads no more does not keep it")
	require.Nil(t, tb.Defer(resolveReq(5, 15, "e")))
	require.Nil(t, tb.TrySequence(d.Req, eval.Latches(nil, d.Req)))
}

func TestTrySequence(t *testing.T) {
	tb := New(Config{})
	req, ls := commitReq(meta(1), "a")
	g, err := tb.Sequence(context.Background(), req, ls)
	require.NoError(t, err)
	r := resolveReq(2, 15, "a", "b")
	require.Nil(t, tb.TrySequence(r, eval.Latches(nil, r)))
	req, ls = commitReq(meta(3), "b")
	h, err := tb.Sequence(context.Background(), req, ls)
	require.NoError(t, err, "what could not be had left nothing")
	g.Finish()
	h.Finish()
	g = tb.TrySequence(r, eval.Latches(nil, r))
	require.NotNil(t, g)
	require.Nil(t, tb.TrySequence(r, eval.Latches(nil, r)))
	g.Finish()
	require.Equal(t, 1, tb.latches.points.Len(), "the entry that is always there")
}
