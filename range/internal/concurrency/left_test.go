package concurrency

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/internal/eval"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

func scanReq(m *kv.TxnMeta, k string) (*kv.BatchRequest, []eval.Latch) {
	span := keys.Span{Start: keys.Key(k), End: keys.Key(k).Next()}
	return &kv.BatchRequest{Txn: m, Requests: []kv.Request{&kv.Scan{Spans: []keys.Span{span}, Lock: kv.LockUpdate}}}, []eval.Latch{{Span: span}}
}

// scan is a locking scan that meets the holder's prepared lock on disk once.
func scan(ctx context.Context, t *Table, req *kv.BatchRequest, ls []eval.Latch, k string, holder *kv.TxnMeta) error {
	g, err := t.Sequence(ctx, req, ls)
	if err != nil {
		return err
	}
	defer g.Finish()
	return g.HandleConflict(ctx, &eval.ConflictError{Conflicts: []eval.Conflict{{Key: keys.Key(k), Holder: *holder, Replicated: true, TS: ts(15), Want: kv.LockUpdate}}})
}

func putReq(k string) (*kv.BatchRequest, []eval.Latch) {
	return &kv.BatchRequest{Requests: []kv.Request{&kv.Put{Key: keys.Key(k)}}}, []eval.Latch{{Span: keys.Span{Start: keys.Key(k)}, Access: eval.Write}}
}

func prepareReq(m *kv.TxnMeta, at int64, ks ...string) *kv.BatchRequest {
	p := &kv.Prepare{StageTS: ts(at)}
	for _, k := range ks {
		p.Writes = append(p.Writes, kv.Write{Key: keys.Key(k)})
	}
	return &kv.BatchRequest{Txn: m, Requests: []kv.Request{p}}
}

// Who locks a row by its key passes the lock that a resolution which waits is about to remove, whether it waited there or comes later; his lock is one like any other.
func TestLeftBehindIsInNobodysWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tb := New(Config{})
		prepared(tb, 1, "k")
		req, ls := lockReq(meta(2), kv.LockUpdate, "k")
		waited := inBackground(t, tb, req, ls)
		d := tb.Defer(resolveReq(1, 15, "k"))
		require.NotNil(t, d, "nobody waits who does not pass")
		require.NoError(t, <-waited)
		at, ok := tb.Left(meta(1).ID)
		require.True(t, ok)
		require.Equal(t, ts(15), at)
		require.Empty(t, d.Go)

		third, ls := lockReq(meta(3), kv.LockUpdate, "k")
		after := inBackground(t, tb, third, ls)
		synctest.Wait()
		require.Empty(t, after, "the second transaction has it")
		require.Empty(t, d.Go, "what is left behind keeps nobody waiting")

		w := prepareReq(meta(2), 20, "k")
		g, err := tb.Sequence(t.Context(), w, eval.Latches(nil, w))
		require.NoError(t, err)
		require.Empty(t, tb.TakeUnder([]kv.Write{{Key: keys.Key("j")}}))
		require.Equal(t, []*Deferred{d}, tb.TakeUnder([]kv.Write{{Key: keys.Key("j")}, {Key: keys.Key("k")}}))
		require.False(t, tb.Withdraw(d))
		under := tb.SequenceUnder(g, d.Req, eval.Latches(nil, d.Req))
		require.NotNil(t, under)
		prepared(tb, 2, "k")
		g.Finish()
		tb.Resolved(eval.ResolvedLock{Txn: meta(1).ID, Keys: []keys.Key{keys.Key("k")}, Commit: true, CommitTS: ts(15)})
		under.Finish()
		tb.EndDeferred(d)
		_, ok = tb.Left(meta(1).ID)
		require.False(t, ok)
		synctest.Wait()
		require.Empty(t, after)
		tb.Resolved(eval.ResolvedLock{Txn: meta(2).ID})
		require.NoError(t, <-after)
	})
}

// What an evaluation has met on disk, and what goes by itself in vain, stands in the way again.
func TestLeftBehindStandsForWhoMeetsIt(t *testing.T) {
	for _, how := range []string{"met", "in vain", "split"} {
		synctest.Test(t, func(t *testing.T) {
			tb := New(Config{})
			prepared(tb, 1, "k")
			d := tb.Defer(resolveReq(1, 15, "k"))
			switch how {
			case "met":
				req, ls := scanReq(meta(2), "k")
				go func() { _ = scan(t.Context(), tb, req, ls, "k", meta(1)) }()
				synctest.Wait()
				require.Len(t, d.Go, 1)
			case "in vain":
				require.True(t, tb.Withdraw(d))
				tb.EndDeferred(d)
			case "split":
				tb = tb.SplitAt(keys.Key("a"))
			}
			require.Empty(t, tb.TakeUnder([]kv.Write{{Key: keys.Key("k")}}))
			_, ok := tb.TryLock(meta(3), keys.Key("k"), kv.LockUpdate)
			require.False(t, ok)
			tb.Resolved(eval.ResolvedLock{Txn: meta(1).ID})
		})
	}
}

// A resolution that goes with a write has latches of its own: who reads what it writes, and not what the write does, is not overtaken. Who waits for the write is.
func TestLatchesUnder(t *testing.T) {
	for _, c := range []struct {
		reads int64
		free  bool
	}{{10, true}, {15, false}, {19, false}, {20, true}} {
		synctest.Test(t, func(t *testing.T) {
			tb := New(Config{})
			w := prepareReq(meta(2), 20, "k")
			g, err := tb.Sequence(t.Context(), w, eval.Latches(nil, w))
			require.NoError(t, err)
			r := &kv.BatchRequest{Timestamp: ts(c.reads), Requests: []kv.Request{&kv.Get{Key: keys.Key("k")}}}
			read := make(chan *Guard, 1)
			go func() {
				h, err := tb.Sequence(t.Context(), r, eval.Latches(nil, r))
				if err != nil {
					t.Error(err)
				}
				read <- h
			}()
			synctest.Wait()
			x := resolveReq(1, 15, "k")
			under := tb.SequenceUnder(g, x, eval.Latches(nil, x))
			require.Equal(t, c.free, under != nil, "a read at %d", c.reads)
			require.Nil(t, tb.TrySequence(x, eval.Latches(nil, x)))
			g.Finish()
			if under != nil {
				under.Finish()
			}
			(<-read).Finish()
			require.Equal(t, 1, tb.latches.points.Len(), "the entry that is always there")
		})
	}
}
