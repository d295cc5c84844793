package placement

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// parse reads a cluster, one line each:
//
//	s1 [region=eu,zone=a] [silent=10s] [draining] [decommissioning]
//	r1 g4 on 1,2,3 led by 1 [changing]
func parse(t testing.TB, in string) Snapshot {
	var snap Snapshot
	ids := func(s string) (out []StoreID) {
		for _, f := range strings.Split(s, ",") {
			n, err := strconv.Atoi(f)
			require.NoError(t, err, s)
			out = append(out, StoreID(n))
		}
		return out
	}
	for _, line := range strings.Split(strings.TrimSpace(in), "\n") {
		f := strings.Fields(line)
		n, err := strconv.Atoi(f[0][1:])
		require.NoError(t, err, line)
		if f[0][0] == 's' {
			s := Store{ID: StoreID(n)}
			for _, o := range f[1:] {
				switch d, silent := strings.CutPrefix(o, "silent="); {
				case silent:
					s.Silence, err = time.ParseDuration(d)
					require.NoError(t, err)
				case o == "draining":
					s.Draining = true
				case o == "decommissioning":
					s.Decommissioning = true
				default:
					s.Locality = strings.Split(o, ",")
				}
			}
			snap.Stores = append(snap.Stores, s)
			continue
		}
		r := Range{ID: RangeID(n)}
		r.Generation, err = strconv.ParseInt(f[1][1:], 10, 64)
		require.NoError(t, err)
		r.Voters = ids(f[3])
		if len(f) > 4 && f[4] == "led" {
			r.Leader = ids(f[6])[0]
		}
		r.Changing = f[len(f)-1] == "changing"
		snap.Ranges = append(snap.Ranges, r)
	}
	return snap
}

func print(res Result, verbose bool) string {
	var b strings.Builder
	for _, o := range res.Operators {
		fmt.Fprintln(&b, o)
		for _, r := range o.Rejected {
			if verbose {
				fmt.Fprintf(&b, "    not s%d: %s\n", r.Store, r.Why)
			}
		}
	}
	for _, f := range res.Findings {
		fmt.Fprintf(&b, "r%d: cannot: %s\n", f.Range, f.Why)
	}
	if b.Len() == 0 {
		return "nothing to do\n"
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var snap Snapshot
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "cluster":
				snap = parse(t, d.Input)
				return print(Plan(snap, DefaultRules()), d.HasArg("why"))
			case "settle": // carry plans out until there is nothing left to do
				rounds := 0
				for ; ; rounds++ {
					require.Less(t, rounds, 200, "never settles")
					res := Plan(snap, DefaultRules())
					if len(res.Operators) == 0 {
						break
					}
					apply(&snap, res)
				}
				return fmt.Sprintf("%d rounds\n%s", rounds, census(snap))
			}
			d.Fatalf(t, "unknown command %s", d.Cmd)
			return ""
		})
	})
}

// apply carries operators out as a cluster would.
func apply(snap *Snapshot, res Result) {
	for _, o := range res.Operators {
		for i := range snap.Ranges {
			r := &snap.Ranges[i]
			if r.ID != o.Range {
				continue
			}
			if o.Kind == TransferLeader {
				r.Leader = o.To
				continue
			}
			r.Voters = append(slices.DeleteFunc(slices.Clone(r.Voters), func(s StoreID) bool { return slices.Contains(o.Remove, s) }), o.Add...)
			r.Generation += 2
			if !slices.Contains(r.Voters, r.Leader) {
				r.Leader = r.Voters[0]
			}
		}
	}
}

func census(snap Snapshot) string {
	var b strings.Builder
	for _, s := range snap.Stores {
		replicas, leaders := 0, 0
		for _, r := range snap.Ranges {
			if slices.Contains(r.Voters, s.ID) {
				replicas++
			}
			if r.Leader == s.ID {
				leaders++
			}
		}
		fmt.Fprintf(&b, "s%d: %d replicas, %d leaders\n", s.ID, replicas, leaders)
	}
	return b.String()
}

// Whatever the cluster looks like: plans are deterministic, keep every range at a quorum, never put
// two replicas on one store, and settle.
func TestPlansSettle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var snap Snapshot
		n := rapid.IntRange(1, 8).Draw(t, "stores")
		for i := range n {
			s := Store{ID: StoreID(i + 1)}
			if rapid.IntRange(0, 5).Draw(t, "down") == 0 {
				s.Silence = []time.Duration{10 * time.Second, time.Hour}[rapid.IntRange(0, 1).Draw(t, "how")]
			}
			s.Draining = rapid.IntRange(0, 9).Draw(t, "draining") == 0
			s.Decommissioning = rapid.IntRange(0, 9).Draw(t, "leaving") == 0
			s.Locality = []string{fmt.Sprintf("zone=%d", rapid.IntRange(0, 3).Draw(t, "zone"))}
			snap.Stores = append(snap.Stores, s)
		}
		for i := range rapid.IntRange(1, 20).Draw(t, "ranges") {
			perm := rapid.Permutation(snap.Stores).Draw(t, "on")
			r := Range{ID: RangeID(i + 1), Generation: 1}
			for _, s := range perm[:rapid.IntRange(1, min(5, n)).Draw(t, "voters")] {
				r.Voters = append(r.Voters, s.ID)
				if s.Silence == 0 {
					r.Leader = s.ID
				}
			}
			snap.Ranges = append(snap.Ranges, r)
		}
		silent := map[StoreID]bool{}
		for _, s := range snap.Stores {
			silent[s.ID] = s.Silence > 0
		}
		for round := 0; ; round++ {
			require.Less(t, round, 300, "never settles:\n%s", print(Plan(snap, DefaultRules()), false))
			res := Plan(snap, DefaultRules())
			require.Equal(t, res, Plan(snap, DefaultRules()))
			if len(res.Operators) == 0 {
				return
			}
			before := map[RangeID]int{}
			live := func(r Range) int {
				return len(slices.DeleteFunc(slices.Clone(r.Voters), func(s StoreID) bool { return silent[s] }))
			}
			for _, r := range snap.Ranges {
				before[r.ID] = live(r)
			}
			apply(&snap, res)
			for _, r := range snap.Ranges {
				seen := map[StoreID]bool{}
				for _, v := range r.Voters {
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
