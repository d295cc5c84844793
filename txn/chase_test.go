package txn

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// What is written is read whenever the reads elsewhere have been refreshed: as the catalog's version is, every few milliseconds while a
// schema change is under way, and the reads of that in thousands of ranges take longer.
func TestCommitDoesNotChaseReaders(t *testing.T) {
	for _, iso := range []kv.Isolation{kv.Serializable, kv.ReadCommitted} {
		c, s := newTest(t, "m")
		other := New(Config{Sender: s, Clock: s.clock, Node: 2, Incarnation: 1})
		defer other.Close(bg)
		put(t, c, "a", "1", "x", "1")
		x := c.Begin(bg, Options{Isolation: iso})
		_, _, err := x.Get(bg, k("x"), ScanOptions{Lock: kv.LockNoKeyUpdate})
		require.NoError(t, err)
		require.Equal(t, "1", get(t, x, "x"))
		require.NoError(t, x.Put(k("a"), []byte("2")))
		reads := 0
		s.intercept(func(req *kv.BatchRequest) error {
			if _, ok := req.Requests[0].(*kv.CommitSingleRange); ok && len(req.Requests) == 1 {
				reads++
				require.Equal(t, "1", get(t, other.Begin(bg, Options{}), "a"))
			}
			return nil
		})
		commit(t, x)
		s.intercept(nil)
		require.Equal(t, 3, reads)
		require.Zero(t, c.Metrics().CommitsSingleRange.Load())
		settled(t, c, s)
		require.Equal(t, "2", get(t, c.Begin(bg, Options{}), "a"))
	}
}
