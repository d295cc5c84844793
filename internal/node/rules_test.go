package node

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/keys"
)

// flattenDumb looks at every span for every piece.
func flattenDumb(spans []ruleSpan) []ruleSpan {
	var cuts []keys.Key
	for _, s := range spans {
		cuts = append(cuts, s.start, s.end)
	}
	slices.SortFunc(cuts, keys.Key.Compare)
	cuts = slices.CompactFunc(cuts, keys.Key.Equal)
	var out []ruleSpan
	for i := 0; i+1 < len(cuts); i++ {
		in := ruleSpan{start: cuts[i], end: cuts[i+1]}
		for _, s := range spans { // the last one that covers it is the innermost
			if !cuts[i].Less(s.start) && cuts[i].Less(s.end) {
				in.rule = s.rule
			}
		}
		if in.rule != 0 {
			out = append(out, in)
		}
	}
	return out
}

// Spans of tables and of their indexes, next to each other and apart, some without a rule of the table's own.
func TestFlatten(t *testing.T) {
	for seed := range uint64(2000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var spans []ruleSpan
		for table := uint64(100); table < 100+uint64(rnd.IntN(6)); table++ {
			if rnd.IntN(4) > 0 {
				k := keys.Table(table)
				spans = append(spans, ruleSpan{k, k.PrefixEnd(), len(spans) + 1})
			}
			for index := range uint64(rnd.IntN(4)) {
				if rnd.IntN(2) == 0 {
					k := keys.Index(table, index+1)
					spans = append(spans, ruleSpan{k, k.PrefixEnd(), len(spans) + 1})
				}
			}
		}
		want, got := flattenDumb(spans), flatten(spans)
		require.Len(t, got, len(want), "seed %d: %v", seed, spans)
		for i := range want {
			require.True(t, want[i].equal(got[i]), "seed %d, span %d: %v, want %v", seed, i, got[i], want[i])
		}
	}
}
