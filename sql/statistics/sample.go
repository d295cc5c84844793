package statistics

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/pamirdb/pamir/sql/catalog"
)

// sample holds the hashes of some rows' values, chosen at random from all that come by: all rows of a small table, between half of sampleRows and sampleRows
// of a large one. A value that one row in a hundred has is then seen about a hundred times.
type sample struct {
	rows   int
	every  uint64     // one row of so many is chosen, a power of two
	hashes [][]uint64 // of the chosen rows' values that are not NULL, by column
	rng    *rand.Rand
	chosen []int
}

const sampleRows = 16384

func newSample(columns int) *sample {
	return &sample{every: 1, hashes: make([][]uint64, columns), rng: rand.New(rand.NewPCG(1, 2))}
}

// choose says which of the next n rows to add.
func (s *sample) choose(n int) []int {
	s.chosen = s.chosen[:0]
	for i := range n {
		if s.every == 1 || s.rng.Uint64()&(s.every-1) == 0 {
			s.chosen = append(s.chosen, i)
		}
	}
	s.rows += len(s.chosen)
	return s.chosen
}

func (s *sample) add(column int, hash uint64) { s.hashes[column] = append(s.hashes[column], hash) }

// thin drops every other value, by lot, when there are too many rows. Each column draws by itself: what is asked is only how often values are.
func (s *sample) thin() {
	for s.rows > sampleRows {
		for j, hs := range s.hashes {
			kept := hs[:0]
			for _, h := range hs {
				if s.rng.Uint64()&1 == 0 {
					kept = append(kept, h)
				}
			}
			s.hashes[j] = kept
		}
		s.rows /= 2
		s.every *= 2
	}
}

// common returns the commonest values of a column.
func (s *sample) common(column int) []catalog.CommonValue {
	hs := s.hashes[column]
	slices.Sort(hs)
	least := max(s.rows/100, 2) // of a handful of rows every value is one in a hundred
	var out []catalog.CommonValue
	for i := 0; i < len(hs); {
		to := i + 1
		for to < len(hs) && hs[to] == hs[i] {
			to++
		}
		if to-i >= least {
			out = append(out, catalog.CommonValue{Hash: hs[i], Share: float64(to-i) / float64(s.rows)})
		}
		i = to
	}
	slices.SortFunc(out, func(a, b catalog.CommonValue) int {
		return cmp.Or(cmp.Compare(b.Share, a.Share), cmp.Compare(a.Hash, b.Hash))
	})
	return out[:min(len(out), catalog.MaxCommon)]
}
