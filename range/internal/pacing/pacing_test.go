package pacing

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"
)

// A store's day: what it has left for snapshots, what its clients notice, and the rate.
func TestStory(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var m machine
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "machine": // how many bytes of snapshots a second it has room for, and the delays of its clients without any
				m = machine{c: NewController(Settings{Least: 4 << 20, Most: 64 << 20, Gentle: d.HasArg("gentle")})}
				fallthrough
			case "now":
				m.read(t, d)
				return ""
			case "run": // for some seconds
				var secs int
				d.ScanArgs(t, "secs", &secs)
				return m.run(secs)
			}
			return "unknown command " + d.Cmd
		})
	})
}

// machine has room for so many bytes a second; whatever is beyond makes clients wait, the more the fuller it is.
type machine struct {
	c          *Controller
	room       float64 // MiB/s
	late, sync time.Duration
	noise      float64
	offered    float64 // MiB/s that there is to send
	rng        *rand.Rand
}

func (m *machine) read(t *testing.T, d *datadriven.TestData) {
	if m.rng == nil {
		m.rng, m.offered = rand.New(rand.NewPCG(1, 1)), 1000
	}
	var s string
	if d.MaybeScanArgs(t, "late", &s) {
		m.late, _ = time.ParseDuration(s)
	}
	if d.MaybeScanArgs(t, "sync", &s) {
		m.sync, _ = time.ParseDuration(s)
	}
	for name, v := range map[string]*float64{"room": &m.room, "noise": &m.noise, "offered": &m.offered} {
		if d.HasArg(name) {
			d.ScanArgs(t, name, &s)
			_, err := fmt.Sscan(s, v)
			require.NoError(t, err)
		}
	}
}

func (m *machine) run(secs int) string {
	var out strings.Builder
	const tick = 100 * time.Millisecond
	for s := range secs {
		var rate, pressure float64
		for range 10 {
			r := min(float64(m.c.Rate())/(1<<20), m.offered)
			full := r / m.room
			wait := 1.0
			if full < 0.95 {
				wait = 1 / (1 - full)
			} else {
				wait = 20 * (1 + full)
			}
			noise := 1 + m.noise*m.rng.Float64()
			late := time.Duration(float64(m.late) * wait * noise)
			sync := time.Duration(float64(m.sync) * wait * noise)
			m.c.Step(Reading{Took: tick, Late: late, Sync: sync, Used: int64(r * (1 << 20) * tick.Seconds())})
			rate += float64(m.c.Rate()) / (1 << 20) / 10
			pressure += m.c.Pressure() / 10
		}
		if s < 5 || s%5 == 4 {
			fmt.Fprintf(&out, "%2d s: %2.0f MiB/s, clients wait %.1f of what they may\n", s+1, rate, pressure)
		}
	}
	return out.String()
}

// Whatever is read, gentle work goes no faster than urgent work.
func TestGentleIsNoFaster(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 3))
		urgent, gentle := NewController(Settings{Least: 4 << 20, Most: 128 << 20}), NewController(Settings{Least: 4 << 20, Most: 128 << 20, Gentle: true})
		noise := time.Duration(rng.Int64N(int64(6 * time.Millisecond)))
		for range 1000 {
			r := Reading{Took: 100 * time.Millisecond, Used: 128 << 20, Late: time.Duration(rng.ExpFloat64() * float64(noise)), Sync: time.Duration(rng.ExpFloat64() * float64(noise))}
			require.LessOrEqual(t, gentle.Step(r), urgent.Step(r), "seed %d", seed)
		}
	}
}

// Delays that nobody can notice lower no rate.
func TestAlone(t *testing.T) {
	c := NewController(Settings{Least: 1 << 20, Most: 64 << 20})
	rng := rand.New(rand.NewPCG(1, 4))
	late := func() time.Duration { return time.Duration(rng.Int64N(int64(20 * time.Millisecond))) }
	last := c.Rate()
	for range 100 {
		rate := c.Step(Reading{Took: 100 * time.Millisecond, Used: 64 << 20, Late: late(), Alone: true})
		require.GreaterOrEqual(t, rate, last)
		last = rate
	}
	require.EqualValues(t, 64<<20, last)
	for range 100 { // the delays were read all the same: somebody comes, and it is known what they are like without
		last = c.Step(Reading{Took: 100 * time.Millisecond, Used: 64 << 20, Late: 10 * time.Millisecond})
	}
	require.Less(t, last, int64(8<<20))
}

// What few wakings were late by is not lost among many that were not.
func TestLate(t *testing.T) {
	require.Zero(t, Late(nil))
	require.Equal(t, time.Second, Late([]time.Duration{time.Second}))
	w := make([]time.Duration, 20)
	for i := range w {
		w[i] = 100 * time.Microsecond
	}
	require.Equal(t, 100*time.Microsecond, Late(w))
	w[3] = 5 * time.Millisecond
	require.Equal(t, 2550*time.Microsecond, Late(w))
	w[11] = 7 * time.Millisecond
	require.Equal(t, 6*time.Millisecond, Late(w))
}

// Streams share the rate, and none waits for ever.
func TestPacerShares(t *testing.T) {
	p := NewPacer(8 << 20)
	began := time.Now()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 4 {
				if err := p.Wait(t.Context(), 64<<10); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1<<20, p.Used())
	require.GreaterOrEqual(t, time.Since(began), 110*time.Millisecond, "a mebibyte at 8 a second, but for the last piece") // it may take longer
}

// What is told after the fact takes its share of the time, however many do it, and nobody waits who is told to hurry.
func TestHold(t *testing.T) {
	const work = 2 * time.Millisecond
	for _, c := range []struct {
		workers int
		rate    time.Duration // of work a second
		want    time.Duration // of work in ten seconds
	}{
		{1, 100 * time.Millisecond, time.Second},
		{3, 100 * time.Millisecond, time.Second},
		{3, 1500 * time.Millisecond, 15 * time.Second},
		{1, 2 * time.Second, 10 * time.Second}, // as fast as it can
	} {
		synctest.Test(t, func(t *testing.T) {
			p := NewPacer(int64(c.rate))
			began := time.Now()
			var wg sync.WaitGroup
			for range c.workers {
				wg.Go(func() {
					for time.Since(began) < 10*time.Second {
						time.Sleep(work)
						p.Hold(work, nil)
					}
				})
			}
			wg.Wait()
			require.InEpsilon(t, c.want, p.Used(), 0.02, "%d workers, %v a second", c.workers, c.rate)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		p, hurry, began := NewPacer(1), make(chan struct{}), time.Now()
		var wg sync.WaitGroup
		wg.Go(func() { p.Hold(time.Hour, hurry) })
		time.Sleep(time.Second)
		close(hurry)
		wg.Wait()
		require.Equal(t, time.Second, time.Since(began))
	})
}
