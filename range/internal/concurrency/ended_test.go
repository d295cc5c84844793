package concurrency

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/eval"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Who wants to lock what a large transaction has left behind, which is known to have ended, resolves a piece of it and waits for nobody.
func TestClearEnded(t *testing.T) {
	type call struct {
		holder kv.TxnID
		from   string
		commit bool
		ts     hlc.Timestamp
	}
	for _, c := range []struct {
		name    string
		status  kv.TxnStatus
		at      hlc.Timestamp
		open    bool
		lock    kv.LockStrength
		fails   bool
		cleared bool
	}{
		{"aborted", kv.TxnAborted, hlc.Timestamp{}, true, kv.LockUpdate, false, true},
		{"committed", kv.TxnCommitted, ts(12), true, kv.LockNoKeyUpdate, false, true},
		{"runs", kv.TxnUnknown, ts(50), true, kv.LockUpdate, false, false},
		{"nothing is known", kv.TxnUnknown, hlc.Timestamp{}, true, kv.LockUpdate, false, false},
		{"not a large one", kv.TxnAborted, hlc.Timestamp{}, false, kv.LockUpdate, false, false},
		{"plain read", kv.TxnAborted, hlc.Timestamp{}, true, kv.LockNone, false, false},
		{"out of reach", kv.TxnAborted, hlc.Timestamp{}, true, kv.LockUpdate, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			tb := New(Config{Holders: newGateways()})
			tb.Learn(meta(1).ID, c.status, c.at)
			req, ls := lockReq(meta(2), c.lock, "k", "l", "m")
			g, err := tb.Sequence(t.Context(), req, ls)
			require.NoError(t, err)
			defer g.Finish()
			var calls []call
			resolve := func(_ context.Context, h kv.TxnMeta, from keys.Key, commit bool, at hlc.Timestamp) (keys.Key, error) {
				require.Nil(t, g.set, "it holds latches while it resolves")
				calls = append(calls, call{h.ID, string(from), commit, at})
				if c.fails {
					return nil, errors.New("led elsewhere")
				}
				return from.Next(), nil // there are always more
			}
			ce := &eval.ConflictError{}
			for _, k := range []string{"k", "l", "m"} {
				ce.Conflicts = append(ce.Conflicts, eval.Conflict{Key: keys.Key(k), Holder: *meta(1), Replicated: true, TS: ts(5), Open: c.open, Want: c.lock})
			}
			cleared, err := g.ClearEnded(t.Context(), ce, resolve)
			require.NoError(t, err)
			require.Equal(t, c.cleared, cleared)
			if !c.cleared {
				return
			}
			require.NotNil(t, g.set, "it does not hold latches any more")
			if c.fails {
				for range 5 {
					cleared, err = g.ClearEnded(t.Context(), ce, resolve)
					require.NoError(t, err)
					require.NotNil(t, g.set)
				}
				require.False(t, cleared, "it goes on trying")
				require.Len(t, calls, maxUncleared)
				return
			}
			require.Equal(t, []call{{meta(1).ID, "k", c.status == kv.TxnCommitted, c.at}}, calls, "once for all of a holder's")
			cleared, err = g.ClearEnded(t.Context(), &eval.ConflictError{Conflicts: ce.Conflicts[:1]}, resolve)
			require.NoError(t, err)
			require.False(t, cleared, "what was of no use is not tried again")
			require.Len(t, calls, 1)
			for n, want := range []int{1 + 2, 3 + 4, 7 + 8, 15 + 16, 31 + 16} {
				_, err = g.ClearEnded(t.Context(), &eval.ConflictError{Conflicts: ce.Conflicts[1+n%2 : 2+n%2]}, resolve)
				require.NoError(t, err)
				require.Len(t, calls, want, "more each time")
			}
		})
	}
	t.Run("gives up", func(t *testing.T) {
		tb := New(Config{Holders: newGateways()})
		tb.Learn(meta(1).ID, kv.TxnAborted, hlc.Timestamp{})
		req, ls := lockReq(meta(2), kv.LockUpdate, "k")
		g, err := tb.Sequence(t.Context(), req, ls)
		require.NoError(t, err)
		defer g.Finish()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err = g.ClearEnded(ctx, &eval.ConflictError{Conflicts: []eval.Conflict{{Key: keys.Key("k"), Holder: *meta(1), Replicated: true, Open: true, Want: kv.LockUpdate}}},
			func(ctx context.Context, _ kv.TxnMeta, _ keys.Key, _ bool, _ hlc.Timestamp) (keys.Key, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})
		require.True(t, kv.HasCode(err, kv.CodeCanceled), "%v", err)
	})
}

// A request that has given its latches up, to ask or to resolve, does not record what it met before: its range may have been split meanwhile, and a lock on a key that
// another range has now would never go.
func TestNothingIsRecordedWithoutLatches(t *testing.T) {
	for _, c := range []struct {
		name string
		lock kv.LockStrength
	}{{"read", kv.LockNone}, {"write", kv.LockUpdate}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var tb *Table
				split := func() { tb.SplitAt(keys.Key("a")) }
				tb = New(Config{Holders: &splitting{gateways: newGateways(), then: split}})
				if c.lock != kv.LockNone {
					tb.Learn(meta(1).ID, kv.TxnAborted, hlc.Timestamp{})
				}
				req, ls := lockReq(meta(2), c.lock, "k")
				g, err := tb.Sequence(t.Context(), req, ls)
				require.NoError(t, err)
				defer g.Finish()
				ce := &eval.ConflictError{Conflicts: []eval.Conflict{{Key: keys.Key("k"), Holder: *meta(1), Replicated: true, Open: true, TS: ts(5), At: ts(9), Want: c.lock}}}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				// As Replica.Send does.
				cleared, err := g.ClearEnded(ctx, ce, func(context.Context, kv.TxnMeta, keys.Key, bool, hlc.Timestamp) (keys.Key, error) {
					split()
					return nil, &kv.Error{Code: kv.CodeRangeMismatch}
				})
				require.NoError(t, err)
				if !cleared {
					require.NoError(t, g.HandleConflict(ctx, ce))
				}
				require.NotNil(t, g.set, "the caller evaluates once more, under latches, and learns of the split")
				require.Empty(t, tb.locks)
			})
		})
	}
}

// splitting are gateways that are out of reach; while they are asked, something happens.
type splitting struct {
	*gateways
	then func()
}

func (s *splitting) QueryHolder(context.Context, kv.NodeID, int64, kv.TxnID, bool) (HolderState, error) {
	s.then()
	return HolderState{}, errUnreachable
}
