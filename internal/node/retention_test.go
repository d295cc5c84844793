package node

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/placement"
	"github.com/pamirdb/pamir/range/keys"
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
