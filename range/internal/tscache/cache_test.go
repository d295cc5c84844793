package tscache

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/eval"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

var _ eval.TimestampCache = (*Cache)(nil)

// twin is the dumb version: a list of everything that was ever read.
type twin struct {
	floor hlc.Timestamp
	reads []twinRead
}

type twinRead struct {
	span keys.Span
	ts   hlc.Timestamp
	txn  kv.TxnID
}

// get is the lowest answer that is safe for a write by txn: above every read by
// others, and above its own reads but for the one at the top.
func (w *twin) get(s keys.Span, txn kv.TxnID) hlc.Timestamp {
	ts := w.floor
	for _, r := range w.reads {
		if r.span.Overlaps(s) && (txn.IsZero() || r.txn != txn) {
			ts = ts.Forward(r.ts)
		}
	}
	return ts
}

// exact is the answer of a cache that forgets nothing and does not know owners.
func (w *twin) exact(s keys.Span) hlc.Timestamp {
	ts := w.floor
	for _, r := range w.reads {
		if r.span.Overlaps(s) {
			ts = ts.Forward(r.ts)
		}
	}
	return ts
}

func key(i int) keys.Key { return keys.Key(fmt.Sprintf("k%02d", i)) }

func drawSpan(t *rapid.T) keys.Span {
	a := rapid.IntRange(0, 30).Draw(t, "start")
	if rapid.Bool().Draw(t, "point") {
		return keys.Span{Start: key(a)}
	}
	return keys.Span{Start: key(a), End: key(a + rapid.IntRange(1, 12).Draw(t, "len"))}
}

func drawTxn(t *rapid.T) kv.TxnID {
	return kv.TxnID{15: byte(rapid.IntRange(0, 3).Draw(t, "txn"))}
}

func TestNeverLowerThanTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		floor := hlc.Timestamp{WallTime: 5}
		limits := Limits{Points: rapid.IntRange(1, 40).Draw(t, "points"), Segments: rapid.IntRange(1, 20).Draw(t, "segments")}
		c, w := NewWithLimits(floor, limits), &twin{floor: floor}
		rotated := false
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "op") {
			case 0:
				ts := hlc.Timestamp{WallTime: rapid.Int64Range(1, 20).Draw(t, "floor")}
				c.SetFloor(ts)
				w.floor = w.floor.Forward(ts)
			case 1:
				c = c.SplitAt(key(10))
			case 3:
				if high, before := c.High(), (hlc.Timestamp{WallTime: rapid.Int64Range(1, 40).Draw(t, "before")}); c.Rest(before) {
					require.True(t, high.LessEq(before))
					require.Equal(t, high, c.Floor())
					rotated = true
				}
			case 2: // a hand-over to a successor that may know something already
				sum := c.Summarize(hlc.Timestamp{WallTime: rapid.Int64Range(0, 30).Draw(t, "since")},
					Limits{Points: rapid.IntRange(1, 10).Draw(t, "sum points"), Segments: rapid.IntRange(1, 5).Draw(t, "sum segments")})
				w.floor = w.floor.Forward(sum.Floor)
				c = NewWithLimits(floor, limits)
				c.Learn(&sum)
				rotated = true
			default:
				r := twinRead{drawSpan(t), hlc.Timestamp{WallTime: rapid.Int64Range(1, 40).Draw(t, "ts")}, drawTxn(t)}
				c.Add(r.span, r.ts, r.txn)
				w.reads = append(w.reads, r)
				rotated = rotated || c.old != nil
			}
			s, id := drawSpan(t), drawTxn(t)
			got := c.Get(s, id)
			require.True(t, w.get(s, id).LessEq(got), "Get(%s) = %s, below %s", s, got, w.get(s, id))
			if !rotated && s.IsPoint() && id.IsZero() {
				require.Equal(t, w.exact(s), got, "nothing was forgotten, so a point is exact")
			}
			require.True(t, w.exact(s).LessEq(c.High()))
			if c.cur != nil {
				require.LessOrEqual(t, len(c.cur.points), limits.Points)
				checkDisjoint(t, c.cur)
			}
		}
	})
}

func checkDisjoint(t *rapid.T, p *page) {
	if p.spans == nil {
		return
	}
	var last []byte
	bytes := 0
	p.spans.Scan(func(s *segment) bool {
		require.Less(t, string(s.start), string(s.end))
		require.LessOrEqual(t, string(last), string(s.start))
		last = s.end
		bytes += len(s.start) + len(s.end)
		return true
	})
	require.Equal(t, bytes, p.bytes)
}

func TestOwnReadDoesNotPush(t *testing.T) {
	c := New(hlc.Timestamp{WallTime: 1})
	me, other := kv.TxnID{1}, kv.TxnID{2}
	at := hlc.Timestamp{WallTime: 10}
	c.Add(keys.Span{Start: key(1)}, at, me)
	require.True(t, c.Get(keys.Span{Start: key(1)}, me).Less(at))
	require.Equal(t, at, c.Get(keys.Span{Start: key(1)}, other))
	require.Equal(t, at, c.Get(keys.Span{Start: key(1)}, kv.TxnID{}))
	c.Add(keys.Span{Start: key(0), End: key(5)}, at, other)
	require.Equal(t, at, c.Get(keys.Span{Start: key(1)}, me))
}

func BenchmarkPoint(b *testing.B) {
	c := New(hlc.Timestamp{WallTime: 1})
	ks := make([]keys.Key, 100_000)
	for i := range ks {
		ks[i] = keys.Key(fmt.Sprintf("table-104-1-%08d", i))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		k := keys.Span{Start: ks[(i*7919)%len(ks)]}
		c.Add(k, hlc.Timestamp{WallTime: int64(i + 2)}, kv.TxnID{})
		c.Get(k, kv.TxnID{})
	}
}
