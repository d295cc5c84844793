package sizing

import (
	"math"
	"time"

	"github.com/pamirdb/pamir/range/kv"
)

// Settings of the machine. A zero or negative threshold turns the kind of split off.
type Settings struct {
	// MaxBytes that a range may hold, old versions included.
	MaxBytes int64
	// MaxRequests per second, and MaxCPU in cores, that a range may be asked for LoadFor.
	MaxRequests float64
	MaxCPU      float64
	LoadFor     time.Duration
}

// Reading of a range that the store leads.
type Reading struct {
	ID       kv.RangeID
	Bytes    int64         // that it holds, and that its prepared locks will be
	Requests int64         // since the replica was opened
	CPU      time.Duration // since the replica was opened
}

// Reason for a split.
type Reason uint8

// Reasons.
const (
	None Reason = iota
	Size
	Load
	Command
)

func (r Reason) String() string { return [...]string{"none", "size", "load", "command"}[r] }

const (
	// rateTime is the time over which rates are smoothed.
	rateTime = 5 * time.Second
	// minBackoff and MaxBackoff bound the pause after a failed attempt.
	minBackoff = time.Second
	MaxBackoff = 5 * time.Minute
)

// Machine remembers the ranges of a store.
type Machine struct {
	set    Settings
	ranges map[kv.RangeID]*seen
	round  uint64
}

type seen struct {
	round    uint64
	at       time.Time
	last     Reading
	requests float64 // per second, smoothed
	cpu      float64 // cores
	// hot is since when the load has been above the threshold; zero if it is not.
	hot     time.Time
	backoff time.Duration
	until   time.Time
}

// NewMachine returns a machine that knows no range.
func NewMachine(set Settings) *Machine {
	return &Machine{set: set, ranges: map[kv.RangeID]*seen{}}
}

// Begin begins a round of observations, End forgets the ranges that were not observed in it.
func (m *Machine) Begin() { m.round++ }

// End: see Begin.
func (m *Machine) End() {
	for id, s := range m.ranges {
		if s.round != m.round {
			delete(m.ranges, id)
		}
	}
}

// Observe takes a reading, and says why the range should be split now.
func (m *Machine) Observe(now time.Time, r Reading) Reason {
	s := m.ranges[r.ID]
	if s == nil || r.Requests < s.last.Requests || r.CPU < s.last.CPU {
		// New here, or opened anew: there is nothing to compare with.
		var until time.Time
		var backoff time.Duration
		if s != nil {
			until, backoff = s.until, s.backoff
		}
		s = &seen{at: now, last: r, until: until, backoff: backoff}
		m.ranges[r.ID] = s
	}
	s.round = m.round
	if sec := now.Sub(s.at).Seconds(); sec > 0 {
		a := 1 - math.Exp(-sec/rateTime.Seconds())
		s.requests += a * (float64(r.Requests-s.last.Requests)/sec - s.requests)
		s.cpu += a * ((r.CPU-s.last.CPU).Seconds()/sec - s.cpu)
	}
	s.at, s.last = now, r
	over := m.set.MaxRequests > 0 && s.requests > m.set.MaxRequests || m.set.MaxCPU > 0 && s.cpu > m.set.MaxCPU
	switch {
	case !over:
		s.hot = time.Time{}
	case s.hot.IsZero():
		s.hot = now
	}
	switch {
	case now.Before(s.until):
		return None
	case m.set.MaxBytes > 0 && r.Bytes >= m.set.MaxBytes:
		return Size
	case over && now.Sub(s.hot) >= m.set.LoadFor:
		return Load
	}
	return None
}

// Rates returns what the range is asked per second, and the cores that takes.
func (m *Machine) Rates(id kv.RangeID) (requests, cpu float64) {
	if s := m.ranges[id]; s != nil {
		return s.requests, s.cpu
	}
	return 0, 0
}

// Done is told that the range was split: what is left of it begins anew.
func (m *Machine) Done(id kv.RangeID) { delete(m.ranges, id) }

// Failed is told that the range could not be split.
func (m *Machine) Failed(now time.Time, id kv.RangeID) {
	s := m.ranges[id]
	if s == nil {
		return
	}
	s.backoff = min(max(2*s.backoff, minBackoff), MaxBackoff)
	s.until = now.Add(s.backoff)
}
