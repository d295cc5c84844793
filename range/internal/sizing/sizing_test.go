package sizing

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// A range's life in seconds: what it holds, what it is asked, and when it is to be split.
func TestStory(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		m := NewMachine(Settings{MaxBytes: 64, MaxRequests: 1000, MaxCPU: 0.5, LoadFor: 10 * time.Second})
		start := time.Unix(1000, 0)
		now := start
		total := map[kv.RangeID]*Reading{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			var id, secs int
			switch d.Cmd {
			case "run": // a range, for some seconds: bytes in the end, requests and milliseconds of processor time per second
				var bytes, requests, ms int64
				d.ScanArgs(t, "r", &id)
				d.ScanArgs(t, "secs", &secs)
				d.MaybeScanArgs(t, "bytes", &bytes)
				d.MaybeScanArgs(t, "requests", &requests)
				d.MaybeScanArgs(t, "ms", &ms)
				fails := d.HasArg("fails")
				r := total[kv.RangeID(id)]
				if r == nil {
					r = &Reading{ID: kv.RangeID(id)}
					total[r.ID] = r
				}
				last := None
				for i := range secs + 1 {
					if i > 0 {
						now = now.Add(time.Second)
						r.Requests += requests
						r.CPU += time.Duration(ms) * time.Millisecond
					}
					if d.HasArg("bytes") {
						r.Bytes = bytes
					}
					m.Begin()
					why := m.Observe(now, *r)
					m.End()
					if why != last || why != None && fails {
						fmt.Fprintf(&out, "%v: %v\n", now.Sub(start), why)
					}
					if last = why; why != None && fails {
						m.Failed(now, r.ID)
					}
				}
				q, c := m.Rates(r.ID)
				fmt.Fprintf(&out, "%.0f requests/s, %.2f cores\n", q, c)
			case "done":
				d.ScanArgs(t, "r", &id)
				m.Done(kv.RangeID(id))
			case "restart": // the replica is opened anew
				d.ScanArgs(t, "r", &id)
				total[kv.RangeID(id)].Requests, total[kv.RangeID(id)].CPU = 0, 0
			case "known":
				fmt.Fprintln(&out, len(m.ranges))
			}
			return out.String()
		})
	})
}

func key(i int) keys.Key { return keys.Key(fmt.Sprintf("k%04d", i)) }

var all = keys.Span{Start: keys.Key("k"), End: keys.Key("l")}

// worse is the share of the samples that the busier side of k gets, counted one by one.
func worse(samples []keys.Span, k keys.Key) float64 {
	left, right := 0, 0
	for _, s := range samples {
		if s.Start.Less(k) {
			left++
		}
		if k.Less(s.EndKey()) {
			right++
		}
	}
	return float64(max(left, right)) / float64(len(samples))
}

// Balance finds as good a key as trying all of them does, and refuses when none is good.
func TestBalanceAgainstEveryKey(t *testing.T) {
	found := 0
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		hot, n := rng.IntN(2) == 0, 1+rng.IntN(30)
		var samples []keys.Span
		for range minSamples + rng.IntN(80) {
			i := rng.IntN(n)
			if hot && rng.IntN(10) < 8 {
				i = 0
			}
			s := keys.Span{Start: key(i)}
			if rng.IntN(4) == 0 {
				s.End = key(i + 1 + rng.IntN(n))
			}
			samples = append(samples, s)
		}
		least := 2.0
		for i := range 2*n + 2 {
			least = min(least, worse(samples, key(i)))
		}
		got, ok := Balance(samples, all)
		if !ok {
			// Cutting after a key, instead of before the next that is asked for, would be as good.
			require.Greater(t, least, heavy, "seed %d", seed)
			continue
		}
		found++
		require.InDelta(t, least, worse(samples, got), 1e-9, "seed %d", seed)
	}
	require.Greater(t, found, 100)
	require.Less(t, found, 300)
}

func TestBalanceLooksInsideOnly(t *testing.T) {
	var samples []keys.Span
	for i := range 100 {
		samples = append(samples, keys.Span{Start: key(i)})
	}
	at, ok := Balance(samples, keys.Span{Start: key(50), End: key(100)})
	require.True(t, ok)
	require.Equal(t, key(75), at)
	_, ok = Balance(samples, keys.Span{Start: key(90), End: key(100)})
	require.False(t, ok, "too few")
	for i := range samples { // one key, and it is where the range begins
		samples[i].Start = key(0)
	}
	_, ok = Balance(samples, keys.Span{Start: key(0), End: key(100)})
	require.False(t, ok)
}

func TestTrend(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	make := func(n int, at func(i int) int) (ks []keys.Key) {
		for i := range n {
			ks = append(ks, key(at(i)))
		}
		return ks
	}
	require.Equal(t, Ascending, Trend(make(40, func(i int) int { return i })))
	require.Equal(t, Ascending, Trend(make(40, func(i int) int { return 100 + i + rng.IntN(7) })), "writers out of step")
	require.Equal(t, Descending, Trend(make(40, func(i int) int { return 1000 - i })))
	require.Equal(t, Anywhere, Trend(make(64, func(int) int { return rng.IntN(1000) })))
	require.Equal(t, Anywhere, Trend(make(64, func(int) int { return 5 })), "one key")
	require.Equal(t, Anywhere, Trend(make(minTrend-1, func(i int) int { return i })), "too few")
}
