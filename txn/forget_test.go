package txn

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

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

// A coordinator that closes asks only for a moment for records to be removed: what is not reached by then is left to the ranges.
func TestCloseLeavesRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := newTest(t, "g", "p")
		asked := false // guarded by s.mu
		s.intercept(func(req *kv.BatchRequest) error {
			if _, ok := req.Requests[0].(*kv.ForgetTxns); !ok {
				return nil
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			asked = true
			return kv.Errorf(kv.CodeUnavailable, "nobody is there")
		})
		put(t, c, "h", "1", "a", "2")
		synctest.Wait() // its locks are gone
		began := time.Now()
		c.Close(context.Background())
		require.LessOrEqual(t, time.Since(began), forgetAtEnd) // of virtual time
		require.True(t, asked)
		require.Len(t, s.records, 1)
		require.Empty(t, s.prepared)
	})
}
