package txn

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// A key that was read for its existence may change its value, and may not go: whether it is looked at by the commit itself, by a prepare, by a
// refresh elsewhere, or by a commit that writes nothing. A value that was read under a lock as well must stay.
func TestExistence(t *testing.T) {
	share := ScanOptions{Lock: kv.LockKeyShare, Existence: true}
	for _, level := range []kv.Isolation{kv.Serializable, kv.RepeatableRead, kv.ReadCommitted} {
		for _, way := range []string{"one range", "several ranges", "elsewhere"} {
			for _, what := range []string{"changed", "deleted", "deleted and back", "changed and its value read"} {
				t.Run(fmt.Sprint(level, " ", way, " ", what), func(t *testing.T) {
					c, s := newTest(t, "m")
					put(t, c, "a", "1", "b", "1", "x", "1")
					run := c.Begin(bg, Options{Isolation: level})
					vals, err := run.GetMany(bg, []keys.Key{k("a"), k("b")}, share)
					require.NoError(t, err)
					require.Equal(t, [][]byte{[]byte("1"), []byte("1")}, vals)
					if what == "changed and its value read" {
						_, _, err := run.Get(bg, k("a"), ScanOptions{Lock: kv.LockShare})
						require.NoError(t, err)
					}
					s.mu.Lock()
					clear(s.held) // its leader has died
					s.mu.Unlock()
					other := c.Begin(bg, Options{})
					if what == "changed" || what == "changed and its value read" {
						require.NoError(t, other.Put(k("a"), []byte("2")))
					} else {
						require.NoError(t, other.Delete(k("a")))
					}
					commit(t, other)
					if what == "deleted and back" {
						put(t, c, "a", "3")
					}
					if way != "elsewhere" {
						require.NoError(t, run.Put(k("c"), []byte("1")))
					}
					if way != "one range" {
						require.NoError(t, run.Put(k("y"), []byte("1")))
					}
					reader := c.Begin(bg, Options{}) // pushes the writes above the change
					get(t, reader, "c")
					get(t, reader, "y")
					_, err = run.Commit(bg)
					if what == "changed" || what == "deleted and back" {
						require.NoError(t, err)
					} else {
						require.Error(t, err)
						require.True(t, run.Retryable(err), "%v", err)
						run.Rollback(bg)
					}
					settled(t, c, s)
				})
			}
		}
	}
}

// Below SERIALIZABLE nothing rests on the value of a row that is locked FOR KEY SHARE: others may change it meanwhile and commit first. It must not go.
func TestKeyShareIsNoReadOfTheValue(t *testing.T) {
	for _, level := range []kv.Isolation{kv.RepeatableRead, kv.ReadCommitted} {
		for _, how := range []string{"get", "get many", "scan"} {
			for _, gone := range []bool{false, true} {
				t.Run(fmt.Sprint(level, " ", how, " ", gone), func(t *testing.T) {
					c, s := newTest(t, "m")
					put(t, c, "a", "1")
					run := c.Begin(bg, Options{Isolation: level})
					share := ScanOptions{Lock: kv.LockKeyShare}
					switch how {
					case "get":
						_, _, err := run.Get(bg, k("a"), share)
						require.NoError(t, err)
					case "get many":
						_, err := run.GetMany(bg, []keys.Key{k("a")}, share)
						require.NoError(t, err)
					default:
						sc := run.Scan(bg, []keys.Span{{Start: k("a"), End: k("b")}}, share)
						_, ok, err := sc.Next(bg)
						require.NoError(t, err)
						require.True(t, ok)
						sc.Close()
					}
					if gone {
						s.mu.Lock()
						clear(s.held) // its leader has died
						s.mu.Unlock()
					}
					other := c.Begin(bg, Options{})
					if gone {
						require.NoError(t, other.Delete(k("a")))
					} else {
						_, _, err := other.Get(bg, k("a"), ScanOptions{Lock: kv.LockNoKeyUpdate})
						require.NoError(t, err)
						require.NoError(t, other.Put(k("a"), []byte("2")))
					}
					commit(t, other)
					require.NoError(t, run.Put(k("c"), []byte("1")))
					get(t, c.Begin(bg, Options{}), "c") // pushes the write above the change
					_, err := run.Commit(bg)
					require.Equal(t, gone, err != nil, "%v", err)
					if gone {
						run.Rollback(bg)
					}
				})
			}
		}
	}
}

// What is shown of rows that are locked FOR KEY SHARE is of one snapshot at REPEATABLE READ, although others may change them: a snapshot that another lock
// moves past such a change is none.
func TestKeyShareIsOfOneSnapshot(t *testing.T) {
	c, _ := newTest(t, "m")
	put(t, c, "a", "1")
	put(t, c, "b", "1")
	run := c.Begin(bg, Options{Isolation: kv.RepeatableRead})
	share := ScanOptions{Lock: kv.LockKeyShare}
	v, _, err := run.Get(bg, k("a"), share)
	require.NoError(t, err)
	require.Equal(t, "1", string(v))
	other := c.Begin(bg, Options{})
	for _, key := range []string{"a", "b"} {
		_, _, err := other.Get(bg, k(key), ScanOptions{Lock: kv.LockNoKeyUpdate})
		require.NoError(t, err)
		require.NoError(t, other.Put(k(key), []byte("2")))
	}
	commit(t, other)
	v, _, err = run.Get(bg, k("b"), share)
	require.Error(t, err, "b is %s, and a was 1", v)
	require.True(t, run.Retryable(err), "%v", err)
	run.Rollback(bg)
}
