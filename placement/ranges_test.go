package placement

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Ranges that are kept and told what changes plan what Plan does from scratch, whatever happens: ranges that change, come and go, in any
// order, and stores and rules that change.
func TestKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st := drawStory(t)
		kept := NewRanges()
		for _, i := range rapid.Permutation(upTo(len(st.snap.Ranges))).Draw(t, "order") {
			kept.Set(st.snap.Ranges[i])
		}
		next := RangeID(len(st.snap.Ranges) + 1)
		for range 6 {
			st.snap.Now += 2 * time.Second
			res := kept.Plan(st.snap.Moment, st.rules)
			require.Equal(t, Plan(st.snap, st.rules), res)
			require.Equal(t, len(st.snap.Ranges), kept.Len())
			before := map[RangeID]int64{}
			leaders := map[RangeID]StoreID{}
			for _, r := range st.snap.Ranges {
				before[r.ID], leaders[r.ID] = r.Generation, r.Leader
			}
			st.apply(res)
			there := map[RangeID]bool{}
			for _, r := range st.snap.Ranges {
				there[r.ID] = true
			}
			merged := len(there) < len(before)
			for id := range before {
				if !there[id] {
					kept.Remove(id)
				}
			}
			for _, r := range st.snap.Ranges {
				if merged || before[r.ID] != r.Generation || leaders[r.ID] != r.Leader {
					kept.Set(r)
				}
			}
			for range rapid.IntRange(0, 4).Draw(t, "changes") {
				i := rapid.IntRange(0, len(st.snap.Ranges)-1).Draw(t, "range")
				r := &st.snap.Ranges[i]
				switch rapid.IntRange(0, 5).Draw(t, "what") {
				case 0: // another leader, or none
					r.Leader = append(slices.Clone(r.Voters), 0)[rapid.IntRange(0, len(r.Voters)).Draw(t, "leader")]
				case 1:
					r.Load.CPU, r.Bytes = rapid.Float64Range(0, 2).Draw(t, "cpu"), int64(rapid.IntRange(0, 1<<30).Draw(t, "bytes"))
				case 2: // other clients
					r.From = []Source{{st.snap.Stores[0].Node, float64(rapid.IntRange(0, 50).Draw(t, "rate"))}}
				case 3:
					r.Changing = !r.Changing
				case 4: // it goes, and perhaps comes back
					if len(st.snap.Ranges) > 1 {
						kept.Remove(r.ID)
						gone := *r
						st.snap.Ranges = slices.Delete(st.snap.Ranges, i, i+1)
						if rapid.Bool().Draw(t, "new id") {
							gone.ID, next = next, next+1
							st.snap.Ranges = append(st.snap.Ranges, gone)
							kept.Set(gone)
						}
						continue
					}
				case 5:
					s := &st.snap.Stores[rapid.IntRange(0, len(st.snap.Stores)-1).Draw(t, "store")]
					s.Silence = []time.Duration{0, 10 * time.Second, time.Hour}[rapid.IntRange(0, 2).Draw(t, "silence")]
				}
				kept.Set(*r)
			}
			if rapid.IntRange(0, 4).Draw(t, "rule") == 0 {
				st.rules.Default.Replicas = []int{1, 3, 5}[rapid.IntRange(0, 2).Draw(t, "replicas")]
			}
		}
	})
}

func upTo(n int) (out []int) {
	for i := range n {
		out = append(out, i)
	}
	return out
}

// People know nodes, whatever numbers their stores have.
func TestNodesForPeople(t *testing.T) {
	var snap Snapshot
	for i, id := range []StoreID{1001, 1002, 3, 4} {
		snap.Stores = append(snap.Stores, Store{ID: id, Node: NodeID(11 + i)})
	}
	snap.Stores[0].Silence = time.Hour
	snap.Ranges = []Range{{ID: 1, Voters: []StoreID{1001, 1002, 3}, Leader: 3}}
	res := Plan(snap, DefaultRules())
	require.Len(t, res.Operators, 1)
	text := res.Operators[0].Text(func(s StoreID) NodeID {
		i := slices.IndexFunc(snap.Stores, func(x Store) bool { return x.ID == s })
		return snap.Stores[i].Node
	})
	require.Equal(t, "r1 g0: +n14 -n11: n11 has been silent for 1h0m0s", text)
}
