package txn

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Keys that are to be locked if they are not there: the commit does not look again for those; those that are there are not locked, and what
// was read of them must hold under SERIALIZABLE, unless nothing rests on it.
func TestIfAbsent(t *testing.T) {
	for _, level := range []kv.Isolation{kv.Serializable, kv.ReadCommitted} {
		for _, loose := range []bool{false, true} {
			c, s := newTest(t, "m")
			put(t, c, "a", "1", "x", "1")
			run := c.Begin(bg, Options{Isolation: level})
			vals, err := run.GetMany(bg, []keys.Key{k("a"), k("b"), k("x")},
				ScanOptions{Latest: true, Lock: kv.LockUpdate, Loose: loose, IfAbsent: []bool{true, true, false}})
			require.NoError(t, err)
			require.Equal(t, [][]byte{[]byte("1"), nil, []byte("1")}, vals)
			s.mu.Lock()
			require.Contains(t, s.held, "b")
			require.Contains(t, s.held, "x")
			require.NotContains(t, s.held, "a")
			s.mu.Unlock()
			put(t, c, "a", "2")
			require.NoError(t, run.Insert(k("b"), []byte("1")))
			reader := c.Begin(bg, Options{}) // pushes the write above the change
			get(t, reader, "b")
			_, err = run.Commit(bg)
			if level == kv.Serializable && !loose {
				require.True(t, run.Retryable(err), "%v", err)
				run.Rollback(bg)
			} else {
				require.NoError(t, err)
			}
			settled(t, c, s)
		}
	}
}

// What LooseIf is true of may change until the commit, the rest may not; a key that is not there counts as the rest.
func TestLooseIf(t *testing.T) {
	for _, what := range []string{"a", "b", "c"} {
		for _, one := range []bool{false, true} {
			c, s := newTest(t)
			put(t, c, "a", "loose", "b", "1")
			run := c.Begin(bg, Options{})
			opts := ScanOptions{LooseIf: func(key keys.Key, v []byte) bool { return string(v) == "loose" }}
			if one {
				for _, key := range []string{"a", "b", "c"} {
					_, _, err := run.Get(bg, k(key), opts)
					require.NoError(t, err)
				}
			} else {
				_, err := run.GetMany(bg, []keys.Key{k("a"), k("b"), k("c")}, opts)
				require.NoError(t, err)
			}
			put(t, c, what, "2")
			require.NoError(t, run.Put(k("w"), []byte("1")))
			get(t, c.Begin(bg, Options{}), "w") // pushes the write above the change
			_, err := run.Commit(bg)
			if what == "a" {
				require.NoError(t, err)
			} else {
				require.True(t, run.Retryable(err), "%v", err)
				run.Rollback(bg)
			}
			settled(t, c, s)
		}
	}
}
