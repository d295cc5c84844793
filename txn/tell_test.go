package txn

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// told is the timestamps that the leader of each range, by the key asked for, has been told of.
type told struct {
	s    *fakeStore
	mu   sync.Mutex
	ends []int // ranges
}

// note takes in a refresh that only brings a clock, if it lies in one range as the ranges are now.
func (t *told) note(q *kv.Refresh) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	in := map[int]bool{}
	for _, sp := range q.Spans {
		in[rangeOf(t.s.bounds, sp.Start)] = true
		if !sp.IsPoint() {
			for i, b := range t.s.bounds {
				if sp.Start.Less(b) && b.Less(sp.End) {
					in[i+1] = true
				}
			}
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(in) == 1 {
		for r := range in {
			t.ends = append(t.ends, r)
		}
	}
}

func (t *told) has(key string) bool {
	t.s.mu.Lock()
	r := rangeOf(t.s.bounds, keys.Key(key))
	t.s.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Contains(t.ends, r)
}

// onlyClock is the refresh in a batch that only brings a clock.
func onlyClock(req *kv.BatchRequest) *kv.Refresh {
	if q, ok := req.Requests[0].(*kv.Refresh); ok && q.From == q.To {
		return q
	}
	return nil
}

// pushed begins a transaction over two ranges, of which the one with the key is pushed, so that the other one prepares below the commit timestamp. The record
// goes to a.
func pushed(t *testing.T, c *Coordinator, s *fakeStore, key string) Txn {
	put(t, c, "a", "1", "b", "1", "c", "1", "x", "1", "y", "1")
	s.split("c") // the read of c is in a range without writes, so the commit aims at the read timestamp
	s.split("d")
	s.mu.Lock()
	s.known = slices.Clone(s.bounds)
	s.mu.Unlock()
	x := c.Begin(bg, Options{})
	require.Equal(t, "1", get(t, x, "c"))
	require.Equal(t, "1", get(t, c.Begin(bg, Options{}), key))
	for _, key := range []string{"a", "b", "x", "y"} {
		require.NoError(t, x.Put(k(key), []byte("2")))
	}
	return x
}

// Who leads the right half of a range that splits while a commit is under way is told of the commit timestamp, too.
func TestLeadersOfNewRangesAreTold(t *testing.T) {
	for key, below := range map[string][]string{"a": {"x", "y"}, "x": {"a", "b"}} {
		t.Run("two rounds, pushed at "+key, func(t *testing.T) {
			c, s := newTest(t, "m")
			x := pushed(t, c, s, key)
			w := &told{s: s}
			var once sync.Once
			s.intercept(func(req *kv.BatchRequest) error {
				if q := onlyClock(req); q != nil {
					once.Do(func() { s.split("b"); s.split("y") })
					w.note(q)
				}
				return nil
			})
			commit(t, x)
			require.EqualValues(t, 1, c.Metrics().CommitsTwoRounds.Load())
			for _, key := range below {
				require.True(t, w.has(key), "the leader of %s", key)
			}
			settled(t, c, s)
		})
	}
	t.Run("sent ahead", func(t *testing.T) {
		c, s := newSmall(t, 1000, "m")
		x := c.Begin(bg, Options{})
		fillRows(t, x, "a", 20, "new")
		fillRows(t, x, "z", 20, "new")
		w := &told{s: s}
		var once sync.Once
		s.intercept(func(req *kv.BatchRequest) error {
			if q := onlyClock(req); q != nil {
				once.Do(func() { s.split("a05"); s.split("z05") })
				w.note(q)
			}
			return nil
		})
		commit(t, x)
		require.EqualValues(t, 1, c.Metrics().CommitsOpen.Load())
		for _, key := range []string{"a00", "a05", "z00", "z05"} {
			require.True(t, w.has(key), "the leader of %s", key)
		}
		settled(t, c, s)
	})
}

// A commit whose answer got lost, and of which not all could be told, is not reported before every clock has passed it.
func TestUntoldCommitIsOutWaited(t *testing.T) {
	s := newFakeStore("m")
	const offset = 100 * time.Millisecond
	s.clock = hlc.NewClock(nil, offset)
	c := New(Config{Sender: s, Clock: s.clock, Node: 1, Incarnation: 7})
	s.recover = c.Recover
	t.Cleanup(func() { c.Close(bg); s.waitLate() })
	x := pushed(t, c, s, "a")
	ctx, leave := context.WithCancel(bg)
	defer leave()
	var once sync.Once
	s.intercept(func(req *kv.BatchRequest) error {
		if onlyClock(req) != nil {
			return kv.Errorf(kv.CodeCanceled, "not heard")
		}
		var err error
		if end, ok := req.Requests[0].(*kv.EndTxn); ok && end.Commit {
			once.Do(func() {
				_, _ = s.serve(bg, req.ForNode(1))
				leave()
				err = kv.Errorf(kv.CodeUnknownOutcome, "the answer is lost")
			})
		}
		return err
	})
	ts, err := x.Commit(ctx)
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Duration(s.clock.Physical()-ts.WallTime), offset)
	settled(t, c, s)
}
