package node

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/placement"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/store"
)

// A span is kept as long as any part of it, the catalog as long as anything, and what is protected for as long as that.
func TestRetentionOfSpans(t *testing.T) {
	rule := func(d time.Duration) placement.Rule { return placement.Rule{KeepVersions: d} }
	rules := placement.Rules{Default: rule(time.Hour), Special: []placement.Rule{rule(10 * time.Minute), rule(5 * time.Hour), rule(time.Second)}}
	table := func(id uint64) keys.Key { return keys.Table(id) }
	r := &retention{asOf: hlc.Timestamp{WallTime: 100}}
	r.setRules(&rules, []ruleSpan{{table(110), table(111), 1}, {table(112), table(113), 2}, {table(113), table(114), 3}}, time.Minute)
	after := func(want time.Duration, start, end keys.Key) {
		t.Helper()
		got := r.of(keys.Span{Start: start, End: end})
		require.Equal(t, want, got.After)
		require.Equal(t, r.asOf, got.AsOf)
	}
	after(time.Hour, keys.MetaMin, keys.SystemMax)
	after(5*time.Hour, table(1), table(20))
	after(5*time.Hour, keys.TableMin, keys.Max)
	after(time.Hour, table(100), table(110))
	after(10*time.Minute, table(110), table(111))
	after(10*time.Minute, keys.Index(110, 2), table(111))
	after(time.Hour, table(110), table(112))
	after(time.Hour, table(111), table(112))
	after(5*time.Hour, table(111), table(113))
	after(5*time.Hour, table(112), table(114))
	after(time.Minute, table(113), table(114)) // the floor
	after(time.Hour, table(113), table(115))
	after(time.Hour, table(200), keys.Max)

	r.records = []Protection{
		{At: hlc.Timestamp{WallTime: 50}, Spans: []keys.Span{{Start: table(110), End: table(111)}}},
		{At: hlc.Timestamp{WallTime: 70}},
	}
	require.Equal(t, int64(50), r.of(keys.Span{Start: table(105), End: table(120)}).Protected.WallTime)
	require.Equal(t, int64(70), r.of(keys.Span{Start: table(111), End: table(120)}).Protected.WallTime)
}

// What was dropped is known by where it is, and since when it has been known to be: that is later than the drop, and never becomes later.
func TestRetentionOfDropped(t *testing.T) {
	table := func(id uint64) keys.Span { return keys.Span{Start: keys.Table(id), End: keys.Table(id + 1)} }
	index := func(id, ix uint64) keys.Span {
		return keys.Span{Start: keys.Index(id, ix), End: keys.Index(id, ix).PrefixEnd()}
	}
	at := func(n int64) hlc.Timestamp { return hlc.Timestamp{WallTime: n} }
	first := &retention{}
	first.setDropped([]keys.Span{table(120), index(110, 3), index(110, 1)}, at(10), nil)
	require.Equal(t, []store.Dropped{{Span: index(110, 1), Since: at(10)}, {Span: index(110, 3), Since: at(10)}, {Span: table(120), Since: at(10)}}, first.dropped)
	require.Len(t, first.newlyDropped(nil), 3)
	require.Empty(t, first.newlyDropped(first))

	second := &retention{}
	second.setDropped([]keys.Span{table(120), table(110), index(110, 1), index(110, 3), index(111, 2)}, at(20), first.dropped)
	require.Equal(t, []store.Dropped{{Span: table(110), Since: at(20)}, {Span: index(111, 2), Since: at(20)}, {Span: table(120), Since: at(10)}}, second.dropped)
	require.Equal(t, []keys.Span{table(110), index(111, 2)}, second.newlyDropped(first))

	of := func(start, end keys.Key) (ids []keys.Key) {
		for _, d := range second.of(keys.Span{Start: start, End: end}).Dropped {
			ids = append(ids, d.Span.Start)
		}
		return ids
	}
	require.Equal(t, []keys.Key{keys.Table(110), keys.Index(111, 2), keys.Table(120)}, of(keys.TableMin, keys.Max))
	require.Equal(t, []keys.Key{keys.Table(110)}, of(keys.Index(110, 2), keys.Table(111)), "it reaches into the span")
	require.Empty(t, of(keys.Table(112), keys.Table(120)))
	require.Empty(t, of(keys.Table(121), keys.Max))
	require.Equal(t, []keys.Key{keys.Table(120)}, of(keys.Index(120, 1), keys.Index(120, 2)))
}
