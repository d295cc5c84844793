package txn

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// unfinished returns how many transactions have a record that says STAGING, and how many locks there are.
func unfinished(s *fakeStore) (staging, locks int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.records {
		if r.Status == kv.TxnStaging {
			staging++
		}
	}
	return staging, len(s.prepared)
}

func allFinished(t *testing.T, s *fakeStore) {
	t.Helper()
	staging, locks := unfinished(s)
	require.Zero(t, staging)
	require.Zero(t, locks)
}

// What is left to do after commits that nobody waits for is done at the same moment.
func TestFinishedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := newTest(t, "g")
		time.Sleep(finishEvery - time.Duration(c.cfg.Clock.Physical()%int64(finishEvery))) // a moment has just passed
		for i := range 5 {
			put(t, c, fmt.Sprint("a", i), "1", fmt.Sprint("h", i), "1")
			time.Sleep(finishEvery / 8)
		}
		synctest.Wait()
		staging, locks := unfinished(s)
		require.Equal(t, 5, staging)
		require.Equal(t, 10, locks)
		time.Sleep(finishEvery / 2)
		synctest.Wait()
		allFinished(t, s)
	})
}

// Who waits for a transaction's locks has it finished at once; who wants to know what becomes of it is told.
func TestWhoWaitsHasItFinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := newTest(t, "g")
		x := c.Begin(bg, Options{})
		for _, key := range []string{"a", "h"} {
			require.NoError(t, x.Put(k(key), []byte("1")))
		}
		at := commit(t, x)
		synctest.Wait()
		st, err := c.QueryHolder(bg, 1, 7, x.ID(), false)
		require.NoError(t, err)
		require.Equal(t, kv.HolderState{Alive: true, Status: kv.TxnStaging, CommitTS: at, Since: st.Since}, st)
		synctest.Wait()
		staging, _ := unfinished(s)
		require.Equal(t, 1, staging, "a reader is in no hurry")
		_, err = c.QueryHolder(bg, 1, 7, x.ID(), true)
		require.NoError(t, err)
		synctest.Wait()
		allFinished(t, s)
	})
}

// Nor is it put off if somebody was known to wait when it committed.
func TestWantedIsFinishedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := newTest(t, "g")
		s.wanted = true
		put(t, c, "a", "1", "h", "1")
		synctest.Wait()
		allFinished(t, s)
	})
	synctest.Test(t, func(t *testing.T) {
		c, s := newTest(t, "g")
		x := c.Begin(bg, Options{})
		_, _, err := x.Get(bg, k("a"), ScanOptions{Lock: kv.LockUpdate})
		require.NoError(t, err)
		for _, key := range []string{"a", "h"} {
			require.NoError(t, x.Put(k(key), []byte("1")))
		}
		_, err = c.QueryHolder(bg, 1, 7, x.ID(), false) // while it runs
		require.NoError(t, err)
		commit(t, x)
		synctest.Wait()
		allFinished(t, s)
	})
}

// No more of them are put off than is bearable, and a coordinator that closes leaves nothing undone.
func TestUnfinishedAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := newTest(t, "g")
		for i := range maxUnfinished + 10 {
			put(t, c, fmt.Sprint("a", i), "1", fmt.Sprint("h", i), "1")
		}
		synctest.Wait()
		staging, _ := unfinished(s)
		require.Equal(t, maxUnfinished, staging)
		c.Close(bg)
		allFinished(t, s)
	})
}
