package checkers

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
)

func ts(n int64) hlc.Timestamp { return hlc.Timestamp{WallTime: n} }

// Two transactions, one after the other, and a scan between them; then one thing is wrong.
func TestTimeline(t *testing.T) {
	type world struct {
		versions map[string][]Version
		txns     []TimedTxn
	}
	done := Span{Outcome: OK}
	right := func() world {
		return world{
			map[string][]Version{"a": {{ts(10), "1"}, {ts(30), "2"}}, "b": {{ts(10), "1"}}, "c": {{ts(30), "2"}}},
			[]TimedTxn{
				{Span: done, At: ts(10), Writes: map[string]string{"a": "1", "b": "1"}},
				{Span: done, At: ts(20), Scans: []TimedScan{{From: "a", To: "z", Rows: map[string]string{"a": "1", "b": "1"}}}},
				{Span: done, At: ts(30), Reads: []TimedRead{{"a", "1"}, {"b", "1"}, {"c", ""}}, Writes: map[string]string{"a": "2", "c": "2"}},
				{Span: Span{Outcome: Unknown}, Writes: map[string]string{"d": "4", "e": "4"}},
				{Span: done, At: ts(30), Reads: []TimedRead{{"c", ""}}},
			},
		}
	}
	judge := func(w world) []Kind { return CheckTimeline(w.versions, ts(0), w.txns).Kinds() }
	require.Empty(t, judge(right()))
	for _, c := range []struct {
		what  string
		spoil func(w *world)
		want  Kind
	}{
		{"a read of the past", func(w *world) { w.txns[2].Reads[1].Value = "" }, NotAsOf},
		{"a write slips under a read", func(w *world) { w.versions["b"] = append(w.versions["b"], Version{ts(15), "9"}) }, NotAsOf},
		{"a scan misses a row", func(w *world) { delete(w.txns[1].Scans[0].Rows, "b") }, NotAsOf},
		{"a scan sees the future", func(w *world) { w.txns[1].Scans[0].Rows["c"] = "2" }, NotAsOf},
		{"a row from nowhere", func(w *world) { w.txns[1].Scans[0].Rows["f"] = "2" }, Unexpected},
		{"a write is gone", func(w *world) { w.versions["a"] = w.versions["a"][1:] }, Lost},
		{"a write of nobody", func(w *world) { w.versions["c"] = append(w.versions["c"], Version{ts(40), "3"}) }, Unexpected},
		{"another value", func(w *world) { w.versions["c"][0].Value = "7" }, Unexpected},
		{"half of an unknown one", func(w *world) { w.versions["d"] = []Version{{ts(50), "4"}} }, Torn},
		{"an unknown one at two times", func(w *world) { w.versions["d"], w.versions["e"] = []Version{{ts(50), "4"}}, []Version{{ts(51), "4"}} }, Torn},
		{"an unknown one twice", func(w *world) {
			w.versions["d"], w.versions["e"] = []Version{{ts(50), "4"}, {ts(51), "4"}}, []Version{{ts(51), "4"}}
		}, Duplicate},
	} {
		w := right()
		c.spoil(&w)
		require.Contains(t, judge(w), c.want, c.what)
	}
	// An unknown one that is there as a whole is in order, and so is what is too old to be judged.
	w := right()
	w.versions["d"], w.versions["e"] = []Version{{ts(50), "4"}}, []Version{{ts(50), "4"}}
	require.Empty(t, judge(w))
	w = right()
	w.txns[0].Writes["q"] = "1"
	require.Equal(t, []Kind{Lost}, judge(w))
	require.Empty(t, CheckTimeline(w.versions, ts(25), w.txns).Kinds())
}
