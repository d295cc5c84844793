package txn

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/kv"
)

// No commit is above its deadline, whichever way it takes, and a refused one leaves nothing.
func TestDeadline(t *testing.T) {
	for _, ways := range []string{"one range", "remote read", "two ranges", "pushed"} {
		t.Run(ways, func(t *testing.T) {
			c, s := newTest(t, "m")
			put(t, c, "a", "1", "c", "1", "x", "1")
			if ways == "pushed" {
				s.split("c")
				s.split("d")
				s.mu.Lock()
				s.known = slices.Clone(s.bounds)
				s.mu.Unlock()
			}
			run := func(deadline func(Txn) hlc.Timestamp) error {
				x := c.Begin(bg, Options{})
				switch ways {
				case "remote read":
					get(t, x, "x")
				case "pushed":
					get(t, x, "c")
				}
				read := x.ReadTimestamp()
				get(t, c.Begin(bg, Options{}), "a") // pushes the write of a
				require.NoError(t, x.Put(k("a"), []byte("2")))
				if ways == "two ranges" || ways == "pushed" {
					require.NoError(t, x.Put(k("x"), []byte("2")))
				}
				x.(Deadliner).SetDeadline(deadline(x))
				ts, err := x.Commit(bg)
				if err != nil {
					require.True(t, x.Retryable(err), "%v", err)
					require.NoError(t, x.Restart(bg, err))
					require.True(t, x.(Deadliner).MissedDeadline())
					x.Rollback(bg)
					return err
				}
				require.False(t, deadline(x).Less(ts), "committed at %s, read at %s", ts, read)
				return nil
			}
			require.Error(t, run(func(x Txn) hlc.Timestamp {
				require.False(t, x.(Deadliner).MissedDeadline())
				return x.ReadTimestamp()
			}))
			settled(t, c, s)
			require.Equal(t, "1", get(t, c.Begin(bg, Options{}), "a"))
			far := c.cfg.Clock.Now().Add(time.Minute)
			require.NoError(t, run(func(Txn) hlc.Timestamp { return far }))
			require.Equal(t, "2", get(t, c.Begin(bg, Options{}), "a"))
			settled(t, c, s)
		})
	}
}

// A deadline that is put off while the commit is under way holds as it is then, whichever way the commit takes.
func TestDeadlineIsPutOff(t *testing.T) {
	for _, way := range []string{"one range", "remote read", "two ranges"} {
		for _, putOff := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, put off: %t", way, putOff), func(t *testing.T) {
				c, s := newTest(t, "m")
				put(t, c, "a", "1", "x", "1")
				x := c.Begin(bg, Options{})
				require.NoError(t, x.Put(k("a"), []byte("2")))
				switch way {
				case "remote read":
					get(t, x, "x")
				case "two ranges":
					require.NoError(t, x.Put(k("x"), []byte("2")))
				}
				deadline := c.cfg.Clock.Now().Add(time.Minute)
				x.(Deadliner).SetDeadline(deadline)
				var once sync.Once
				s.intercept(func(req *kv.BatchRequest) error {
					if len(req.Requests) == 0 || req.Txn == nil || req.Txn.ID != x.ID() {
						return nil
					}
					switch req.Requests[0].(type) {
					case *kv.CommitSingleRange, *kv.Prepare:
						once.Do(func() { // it takes two minutes, and others have read
							c.cfg.Clock.Update(c.cfg.Clock.Now().Add(2 * time.Minute))
							get(t, c.Begin(bg, Options{}), "a")
							if putOff {
								x.(Deadliner).SetDeadline(deadline.Add(2 * time.Minute))
							}
						})
					}
					return nil
				})
				ts, err := x.Commit(bg)
				if !putOff {
					require.True(t, kv.HasCode(err, kv.CodeRefreshFailed), "%v", err)
					x.Rollback(bg)
					require.Equal(t, "1", get(t, c.Begin(bg, Options{}), "a"))
					settled(t, c, s)
					return
				}
				require.NoError(t, err)
				require.True(t, deadline.Less(ts))
				require.Equal(t, "2", get(t, c.Begin(bg, Options{}), "a"))
				settled(t, c, s)
			})
		}
	}
}
