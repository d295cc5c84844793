package eval

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// SKIP LOCKED and NOWAIT meet a prepared lock that is above everything they read, on a row that they see: they ask after it like after others.
func TestSkipLockedBelowTheLock(t *testing.T) {
	for _, wait := range []kv.WaitPolicy{kv.WaitSkip, kv.WaitError, kv.WaitBlock} {
		w := newWorld(t)
		at := func(n int64) hlc.Timestamp { return hlc.Timestamp{WallTime: n} }
		row := kv.Write{Key: name("b"), Value: []byte("1")}
		_, _, err := w.do(&kv.BatchRequest{Txn: &kv.TxnMeta{ID: kv.TxnID{1}, ReadTS: at(110)}, Requests: []kv.Request{&kv.CommitSingleRange{Writes: []kv.Write{row}}}})
		require.NoError(t, err)
		holder := &kv.TxnMeta{ID: kv.TxnID{2}, ReadTS: at(200), Anchor: name("b")}
		_, _, err = w.do(&kv.BatchRequest{Txn: holder, Requests: []kv.Request{&kv.Prepare{Writes: []kv.Write{row}, StageTS: at(200)}}})
		require.NoError(t, err)
		req := &kv.BatchRequest{
			Txn: &kv.TxnMeta{ID: kv.TxnID{3}, ReadTS: at(150), UncertaintyLimit: at(180)}, Wait: wait,
			Requests: []kv.Request{&kv.Scan{Spans: []keys.Span{{Start: name("a"), End: name("z")}}, Lock: kv.LockUpdate}},
		}
		_, _, err = w.do(req)
		var ce *ConflictError
		require.ErrorAs(t, err, &ce)
		require.Len(t, ce.Conflicts, 1)
		require.Equal(t, holder.ID, ce.Conflicts[0].Holder.ID)

		w.env.Undecided = map[kv.TxnID]struct{}{holder.ID: {}}
		resp, _, err := w.do(req)
		switch wait {
		case kv.WaitSkip:
			require.NoError(t, err)
			require.Zero(t, resp.Responses[0].(*kv.ScanResponse).Rows.Count)
		case kv.WaitError:
			require.True(t, kv.HasCode(err, kv.CodeLockNotAvailable), "%v", err)
		default:
			require.ErrorAs(t, err, &ce)
		}
		w.close()
	}
}
