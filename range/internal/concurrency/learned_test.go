package concurrency

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// What has been learned goes with the leadership, and with a split or a merge: others write there, and this table is not told.
func TestLearnedEnds(t *testing.T) {
	k, after := keys.Key("k"), keys.Key("l")
	for name, end := range map[string]func(*Table){
		"Clear":    func(t *Table) { t.Clear(errors.New("led elsewhere")) },
		"HandOver": func(t *Table) { t.HandOver(errors.New("led elsewhere"), 1000) },
		"Open":     (*Table).Open,
		"Rest":     func(t *Table) { t.Rest(nil) },
		"SplitAt":  func(t *Table) { t.SplitAt(keys.Key("m")) },
		"Absorb":   func(t *Table) { t.Absorb(NewShared(t.cfg)) },
	} {
		tab := New(Config{})
		l := tab.Learned()
		learn := func() {
			l.Floors.Raise(k, kv.TxnID{9})
			l.Gaps.Note(keys.Span{Start: k, End: after}, 100, hlc.Timestamp{WallTime: 1})
		}
		learn()
		require.Same(t, l, tab.Learned(), name)
		require.NotZero(t, l.Floors.Floor(k, l.Floors.Now()), name)
		require.Equal(t, after, l.Gaps.Past(k, hlc.Max, l.Gaps.Now()), name)
		end(tab)
		for range 2 {
			now := tab.Learned()
			require.Zero(t, now.Floors.Floor(k, now.Floors.Now()), name)
			require.Equal(t, k, now.Gaps.Past(k, hlc.Max, now.Gaps.Now()), name)
			learn() // by somebody who began before
		}
	}
}
