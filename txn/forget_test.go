package txn

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// The records of many transactions go with one request to each range, when all of their locks are gone and not before.
func TestRecordsGoTogether(t *testing.T) {
	c, s := newTest(t, "g", "p")
	const n = 30
	forgets := 0 // guarded by s.mu
	s.intercept(func(req *kv.BatchRequest) error {
		q, ok := req.Requests[0].(*kv.ForgetTxns)
		if !ok {
			return nil
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		forgets++
		for _, r := range q.Records {
			require.Equal(t, kv.TxnCommitted, s.records[r.ID].Status)
			for k, l := range s.prepared {
				require.NotEqual(t, r.ID, l.meta.ID, "a lock at %s", k)
			}
		}
		return nil
	})
	for i := range n {
		put(t, c, "h", fmt.Sprint(i), "a", fmt.Sprint(i)) // the anchor's range is that of h
	}
	settled(t, c, s)
	require.Empty(t, s.records)
	require.Less(t, forgets, n/2)
	require.Positive(t, forgets)
}

// A record that says anything else than COMMITTED is not what its coordinator was done with.
func TestOtherRecordsStay(t *testing.T) {
	c, s := newTest(t, "g")
	id := kv.TxnID{1}
	meta := kv.TxnMeta{ID: id, Anchor: k("a")}
	for _, status := range []kv.TxnStatus{kv.TxnStaging, kv.TxnAborted, kv.TxnPrepared} {
		s.records[id] = &kv.TxnRecord{Meta: meta, Status: status}
		c.forget(meta)
		c.forgetNow()
		require.Contains(t, s.records, id)
	}
	s.records[id] = &kv.TxnRecord{Meta: meta, Status: kv.TxnCommitted}
	c.forget(meta)
	c.forgetNow()
	require.Empty(t, s.records)
}
