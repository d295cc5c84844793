package placement

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// story is a cluster as the golden files write it, one line each:
//
//	n1 [region=eu,zone=a] [silent=10s] [unsteady] [shaken] [draining] [decommissioning] [disk=96%] [slow] [busy=1.9/2] [idle=0.1]
//	r1 g4 on 1,2,3 [nonvoters=4] [learners=5] [led=1] [ledfor=1m] [changing] [rule=t] [left=7] [fixed=why] [cut=1m] [size=64] [writes=1.5] [cpu=0.2] [from=n1:100,n2:20]
//	rule t num_replicas=5 leader_preference=region=eu
//	default num_replicas=5
//	inflight r1 +4 -1 [gentle]
//	inflight r1 r2
//	merge 25 1m
//
// Busy is how many of its processors a store uses; of them nobody else uses the rest, or idle are left. A disk is of 100 GiB, size and writes are in MiB, and a node has the number of its store.
type story struct {
	snap  Snapshot
	rules Rules
}

func numbers[T ~int32 | ~int64](t testing.TB, s string) (out []T) {
	for _, f := range strings.Split(s, ",") {
		n, err := strconv.ParseInt(f, 10, 64)
		require.NoError(t, err, s)
		out = append(out, T(n))
	}
	return out
}

func parse(t testing.TB, in string) *story {
	st := &story{rules: DefaultRules()}
	num := func(s string) float64 {
		f, err := strconv.ParseFloat(s, 64)
		require.NoError(t, err, s)
		return f
	}
	for _, line := range strings.Split(strings.TrimSpace(in), "\n") {
		f := strings.Fields(line)
		switch {
		case f[0] == "rule" || f[0] == "default":
			r := st.rules.Default
			opts := f[1:]
			if f[0] == "rule" {
				r.Name, opts = "table "+f[1], f[2:]
			}
			for _, o := range opts {
				k, v, _ := strings.Cut(o, "=")
				require.NoError(t, r.Set(k, v), line)
			}
			require.NoError(t, r.Check(), line)
			if f[0] == "rule" {
				st.rules.Special = append(st.rules.Special, r)
			} else {
				st.rules.Default = r
			}
		case f[0] == "merge":
			d, err := time.ParseDuration(f[2])
			require.NoError(t, err)
			st.rules.Limits.MergeBelow(int64(num(f[1])*(1<<20)), 20000, 0.75, d)
		case f[0] == "inflight":
			op := Operator{Range: numbers[RangeID](t, f[1][1:])[0]}
			for _, o := range f[2:] {
				if o == "gentle" {
					op.Gentle = true
					continue
				}
				if o[0] == 'r' {
					op.Kind, op.Right = MergeRanges, numbers[RangeID](t, o[1:])[0]
					continue
				}
				id := numbers[StoreID](t, o[1:])[0]
				if o[0] == '+' {
					op.Add = append(op.Add, id)
				} else {
					op.Remove = append(op.Remove, id)
				}
			}
			st.snap.InFlight = append(st.snap.InFlight, op)
		case f[0][0] == 'n':
			s := Store{ID: numbers[StoreID](t, f[0][1:])[0]}
			s.Node = NodeID(s.ID)
			for _, o := range f[1:] {
				k, v, _ := strings.Cut(o, "=")
				switch k {
				case "silent":
					d, err := time.ParseDuration(v)
					require.NoError(t, err)
					s.Silence = d
				case "unsteady":
					s.Unsteady = true
				case "shaken":
					s.Shaken = true
				case "draining":
					s.Draining = true
				case "decommissioning":
					s.Decommissioning = true
				case "slow":
					s.SlowDisk = true
				case "busy":
					used, cores, _ := strings.Cut(v, "/")
					s.Used, s.Cores = num(used), num(cores)
					s.Idle = s.Cores - s.Used
				case "idle":
					s.Idle = num(v)
				case "disk":
					s.Capacity = 100 << 30
					s.Free = int64(float64(s.Capacity) * (1 - num(strings.TrimSuffix(v, "%"))/100))
				default:
					s.Locality = strings.Split(o, ",")
				}
			}
			st.snap.Stores = append(st.snap.Stores, s)
		case f[0][0] == 'r':
			r := Range{ID: numbers[RangeID](t, f[0][1:])[0], LedSince: -time.Hour, CutAt: -time.Hour}
			r.Generation = numbers[int64](t, f[1][1:])[0]
			require.Equal(t, "on", f[2])
			r.Voters = numbers[StoreID](t, f[3])
			for _, o := range f[4:] {
				k, v, _ := strings.Cut(o, "=")
				switch k {
				case "led":
					r.Leader = numbers[StoreID](t, v)[0]
				case "ledfor":
					d, err := time.ParseDuration(v)
					require.NoError(t, err)
					r.LedSince = -d
				case "nonvoters":
					r.NonVoters = numbers[StoreID](t, v)
				case "learners":
					r.Learners = numbers[StoreID](t, v)
				case "left":
					r.Left = numbers[RangeID](t, v)[0]
				case "fixed":
					r.Fixed = strings.ReplaceAll(v, "_", " ")
				case "cut":
					d, err := time.ParseDuration(v)
					require.NoError(t, err)
					r.CutAt = -d
				case "changing":
					r.Changing = true
				case "size":
					r.Bytes = int64(num(v) * (1 << 20))
				case "writes":
					r.Load.WriteBytes = num(v) * (1 << 20)
				case "cpu":
					r.Load.CPU = num(v)
				case "rule":
					at := slices.IndexFunc(st.rules.Special, func(x Rule) bool { return x.Name == "table "+v })
					require.GreaterOrEqual(t, at, 0, "no rule %s", v)
					r.Rule = at + 1
				case "from":
					for _, g := range strings.Split(v, ",") {
						n, rate, _ := strings.Cut(g, ":")
						r.From = append(r.From, Source{numbers[NodeID](t, n[1:])[0], num(rate)})
						r.Load.Requests += num(rate)
					}
				default:
					t.Fatalf("unknown %q in %q", o, line)
				}
			}
			st.snap.Ranges = append(st.snap.Ranges, r)
		default:
			t.Fatalf("not understood: %q", line)
		}
	}
	return st
}

func storeList(ids []StoreID) string {
	var out []string
	for _, s := range ids {
		out = append(out, fmt.Sprintf("n%d", s))
	}
	return strings.Join(out, ", ")
}

func print(res Result, verbose bool) string {
	var b strings.Builder
	for _, o := range res.Operators {
		fmt.Fprintln(&b, o)
		for _, r := range o.Rejected {
			if verbose {
				fmt.Fprintf(&b, "    not %s: %s\n", storeList(r.Stores), r.Why)
			}
		}
	}
	for _, f := range res.Findings {
		fmt.Fprintf(&b, "r%d: not now: %s\n", f.Range, f.Why)
	}
	for _, f := range res.Unmerged {
		fmt.Fprintf(&b, "r%d: %s\n", f.Range, f.Why)
	}
	if b.Len() == 0 {
		return "nothing to do\n"
	}
	return b.String()
}

// apply carries operators out as a cluster would.
func (st *story) apply(res Result) {
	var merges []Operator
	defer func() {
		for _, o := range merges {
			st.merge(o.Range, o.Right)
		}
	}()
	for _, o := range res.Operators {
		for i := range st.snap.Ranges {
			r := &st.snap.Ranges[i]
			if r.ID != o.Range || r.Generation != o.Generation {
				continue
			}
			switch o.Kind {
			case TransferLeader:
				r.LedBefore, r.Leader, r.LedSince = r.Leader, o.To, st.snap.Now
				continue
			case MergeRanges:
				merges = append(merges, o)
				continue
			}
			r.Generation += 2
			drop := func(set []StoreID) []StoreID { return without(set, o.Remove...) }
			r.Voters, r.NonVoters, r.Learners = drop(r.Voters), drop(r.NonVoters), drop(r.Learners)
			if o.NonVoting {
				r.NonVoters = append(r.NonVoters, o.Add...)
			} else {
				r.Voters = append(r.Voters, o.Add...)
			}
		}
	}
	st.snap.Now += 2 * time.Second
}

// merge makes the range right a part of left.
func (st *story) merge(left, right RangeID) {
	var l, r *Range
	for i := range st.snap.Ranges {
		switch x := &st.snap.Ranges[i]; {
		case x.ID == left:
			l = x
		case x.ID == right:
			r = x
		case x.Left == right:
			x.Left = left
		}
	}
	l.Generation = max(l.Generation, r.Generation+1) + 1
	l.Bytes += r.Bytes
	l.Load.Requests += r.Load.Requests
	l.Load.CPU += r.Load.CPU
	st.snap.Ranges = slices.DeleteFunc(st.snap.Ranges, func(x Range) bool { return x.ID == right })
}

// census says what is where.
func (st *story) census() string {
	var b strings.Builder
	for _, s := range st.snap.Stores {
		replicas, nonvoting, leaders := 0, 0, 0
		var bytes, cpu float64
		for _, r := range st.snap.Ranges {
			if slices.Contains(r.NonVoters, s.ID) {
				nonvoting++
			}
			if slices.Contains(r.Voters, s.ID) {
				replicas++
				bytes += float64(r.Bytes)
			}
			if r.Leader == s.ID {
				leaders++
				cpu += r.Load.CPU
			}
		}
		fmt.Fprintf(&b, "n%d: %d replicas, %d leaders", s.ID, replicas, leaders)
		if nonvoting > 0 {
			fmt.Fprintf(&b, ", %d non-voting", nonvoting)
		}
		if bytes > 0 {
			fmt.Fprintf(&b, ", %s", bytesText(bytes))
		}
		if cpu > 0 {
			fmt.Fprintf(&b, ", %.2f cores", cpu)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// where says where each range is.
func (st *story) where() string {
	var b strings.Builder
	for _, r := range st.snap.Ranges {
		slices.Sort(r.Voters)
		fmt.Fprintf(&b, "r%d on %s", r.ID, storeList(r.Voters))
		if len(r.NonVoters) > 0 {
			fmt.Fprintf(&b, ", without a vote on %s", storeList(r.NonVoters))
		}
		fmt.Fprintf(&b, ", led by n%d\n", r.Leader)
	}
	return b.String()
}
