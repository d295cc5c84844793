package placement

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestGolden(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var st *story
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "cluster":
				st = parse(t, d.Input)
				res := Plan(st.snap, st.rules)
				require.Equal(t, res, Plan(st.snap, st.rules))
				return print(res, d.HasArg("why"))
			case "step": // carry one plan out, and make the next
				st.apply(Plan(st.snap, st.rules))
				return print(Plan(st.snap, st.rules), false)
			case "settle": // carry plans out until there is nothing left to do
				rounds := 0
				for ; ; rounds++ {
					require.Less(t, rounds, 300, "never settles")
					res := Plan(st.snap, st.rules)
					if len(res.Operators) == 0 {
						out := fmt.Sprintf("%d rounds\n%s", rounds, st.census())
						if d.HasArg("where") {
							out += st.where()
						}
						if len(res.Findings)+len(res.Unmerged) > 0 {
							out += print(res, false)
						}
						return out
					}
					st.apply(res)
				}
			case "rule":
				var r Rule
				r.Replicas = 3
				for _, line := range strings.Split(d.Input, "\n") {
					k, v, _ := strings.Cut(line, " ")
					if err := r.Set(k, v); err != nil {
						return "error: " + err.Error() + "\n"
					}
				}
				if err := r.Check(); err != nil {
					return "error: " + err.Error() + "\n"
				}
				var b strings.Builder
				for _, o := range Options {
					fmt.Fprintf(&b, "%s = %q\n", o, r.Get(o))
				}
				return b.String()
			}
			d.Fatalf(t, "unknown command %s", d.Cmd)
			return ""
		})
	})
}

// Whatever the cluster looks like: plans are deterministic, keep every range at a quorum, never put
// two replicas on one store, keep to the limits, and settle; and then every range that is not as its rule wants has a
// why-not.
func TestPlansSettle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st := drawStory(t)
		silent := map[StoreID]bool{}
		for _, s := range st.snap.Stores {
			silent[s.ID] = s.Silence > 0
		}
		live := func(r Range) int {
			return len(slices.DeleteFunc(slices.Clone(r.Voters), func(s StoreID) bool { return silent[s] }))
		}
		for round := 0; ; round++ {
			res := Plan(st.snap, st.rules)
			require.Less(t, round, 400, "never settles:\n%s", print(res, false))
			require.Equal(t, res, Plan(st.snap, st.rules))
			if len(res.Operators) == 0 {
				explained := map[RangeID]bool{}
				for _, f := range res.Findings {
					explained[f.Range] = true
				}
				p := newPlanner(ranges(st.snap), st.snap.Moment, &st.rules)
				for _, r := range st.snap.Ranges {
					all := p.alive(r.Voters) == len(r.Voters)
					require.True(t, explained[r.ID] || all && p.asWanted(&r, p.rule(&r)), "r%d is not as wanted, and nothing says why", r.ID)
				}
				return
			}
			in, out := map[StoreID]int{}, map[StoreID]int{}
			before := map[RangeID]int{}
			for _, r := range st.snap.Ranges {
				before[r.ID] = live(r)
			}
			touched := map[RangeID]bool{}
			for _, op := range res.Operators {
				require.False(t, touched[op.Range], "two operators for r%d", op.Range)
				touched[op.Range] = true
				if op.Kind == MergeRanges {
					require.False(t, touched[op.Right], "two operators for r%d", op.Right)
					touched[op.Right] = true
					mergesOnlyLikes(t, st, op)
				}
				require.NotEmpty(t, op.Why)
				for _, rej := range op.Rejected {
					for _, s := range append(slices.Clone(op.Add), op.To) {
						require.NotContains(t, rej.Stores, s, "chosen, and said not to be for another is better (%s): %s", rej.Why, op)
					}
				}
				if op.Kind == ChangeReplicas {
					forBalance := strings.HasPrefix(op.Why, "balance: ") || strings.HasPrefix(op.Why, "to be merged with ")
					require.Equal(t, forBalance, op.Gentle, "%s", op)
					require.NotContains(t, op.Remove, op.Leader, "the leader is to be removed: %s", op)
				}
				for _, s := range op.Add {
					in[s]++
					out[op.Leader]++
				}
			}
			for s, n := range in {
				require.LessOrEqual(t, n, st.rules.Limits.Incoming, "s%d receives too much", s)
			}
			for s, n := range out {
				// One operator may add more than one replica at once.
				require.LessOrEqual(t, n, st.rules.Limits.Outgoing+4, "s%d sends too much", s)
			}
			st.apply(res)
			for _, r := range st.snap.Ranges {
				seen := map[StoreID]bool{}
				for _, v := range append(slices.Clone(r.Voters), r.NonVoters...) {
					require.False(t, seen[v], "r%d twice on s%d", r.ID, v)
					seen[v] = true
				}
				require.NotEmpty(t, r.Voters)
				if before[r.ID] > len(r.Voters)/2 {
					require.Greater(t, live(r), len(r.Voters)/2, "r%d lost its quorum", r.ID)
				}
			}
		}
	})
}

// mergesOnlyLikes: what is merged has one rule and one set of stores, and is small and cold together.
func mergesOnlyLikes(t *rapid.T, st *story, op Operator) {
	var l, r Range
	for _, x := range st.snap.Ranges {
		switch x.ID {
		case op.Range:
			l = x
		case op.Right:
			r = x
		}
	}
	set := func(ids []StoreID) []StoreID { return slices.Sorted(slices.Values(ids)) }
	require.Equal(t, l.ID, r.Left)
	require.Equal(t, l.Rule, r.Rule)
	require.Equal(t, set(l.Voters), set(r.Voters))
	require.Equal(t, set(l.NonVoters), set(r.NonVoters))
	require.LessOrEqual(t, l.Bytes+r.Bytes, st.rules.Limits.MergeBytes)
	require.LessOrEqual(t, l.Load.CPU+r.Load.CPU, st.rules.Limits.MergeCPU)
	require.GreaterOrEqual(t, st.snap.Now-max(l.CutAt, r.CutAt), st.rules.Limits.MergeAfter)
}

func drawStory(t *rapid.T) *story {
	st := &story{rules: DefaultRules()}
	st.rules.Limits.MergeBelow(128<<20, 20000, 0.75, time.Minute)
	n := rapid.IntRange(1, 8).Draw(t, "stores")
	for i := range n {
		s := Store{ID: StoreID(i + 1), Node: NodeID(i + 1)}
		if rapid.IntRange(0, 5).Draw(t, "down") == 0 {
			s.Silence = []time.Duration{10 * time.Second, time.Hour}[rapid.IntRange(0, 1).Draw(t, "how")]
		}
		s.Draining = rapid.IntRange(0, 9).Draw(t, "draining") == 0
		s.Decommissioning = rapid.IntRange(0, 9).Draw(t, "leaving") == 0
		region := rapid.IntRange(0, 2).Draw(t, "region")
		s.Locality = []string{fmt.Sprintf("region=%d", region), fmt.Sprintf("zone=%d%d", region, rapid.IntRange(0, 1).Draw(t, "zone"))}
		if rapid.Bool().Draw(t, "disk known") {
			s.Capacity = 10 << 30
			s.Free = int64(rapid.IntRange(0, 10).Draw(t, "free")) << 30
		}
		st.snap.Stores = append(st.snap.Stores, s)
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "rules") {
		r := st.rules.Default
		r.Name = fmt.Sprint("table ", i)
		r.Replicas = []int{1, 3, 5}[rapid.IntRange(0, 2).Draw(t, "replicas")]
		r.NonVoters = rapid.IntRange(0, 2).Draw(t, "non-voters")
		for _, o := range []struct{ name, a, b string }{
			{OptConstraints, "region=0", "region=1:1,-zone=00"}, {OptLeaderPreference, "region=1", "zone=20;region=0"},
			{OptSurvive, "region", "zone"}, {OptNonVoterConstraints, "region=2", "-region=0"},
		} {
			switch rapid.IntRange(0, 3).Draw(t, o.name) {
			case 0:
				require.NoError(t, r.Set(o.name, o.a))
			case 1:
				require.NoError(t, r.Set(o.name, o.b))
			}
		}
		st.rules.Special = append(st.rules.Special, r)
	}
	for i := range rapid.IntRange(1, 20).Draw(t, "ranges") {
		perm := rapid.Permutation(st.snap.Stores).Draw(t, "on")
		r := Range{ID: RangeID(i + 1), Generation: 1, Rule: rapid.IntRange(0, len(st.rules.Special)).Draw(t, "rule"), LedSince: -time.Minute}
		if i > 0 && rapid.Bool().Draw(t, "neighbours") {
			r.Left = RangeID(i)
		}
		r.CutAt = -time.Duration(rapid.IntRange(0, 2).Draw(t, "cut")) * time.Minute
		r.Bytes = int64(rapid.IntRange(0, 100).Draw(t, "size")) << 20
		r.Load.CPU = rapid.Float64Range(0, 0.5).Draw(t, "cpu")
		r.Load.WriteBytes = float64(rapid.IntRange(0, 1<<21).Draw(t, "writes"))
		for range rapid.IntRange(0, 2).Draw(t, "clients") {
			r.From = append(r.From, Source{NodeID(rapid.IntRange(1, n).Draw(t, "gateway")), float64(rapid.IntRange(0, 100).Draw(t, "rate"))})
		}
		for _, s := range perm[:rapid.IntRange(1, min(5, n)).Draw(t, "voters")] {
			r.Voters = append(r.Voters, s.ID)
			if s.Silence == 0 {
				r.Leader = s.ID
			}
		}
		st.snap.Ranges = append(st.snap.Ranges, r)
	}
	return st
}
