package pacing

import (
	"slices"
	"time"
)

// Settings of a controller.
type Settings struct {
	// Least and Most bound the rate, in units per second: bytes of snapshots, nanoseconds of other work.
	Least, Most int64
	// Gentle: nobody is the worse for it if the work takes long. Clients come first where they can only guess at what they would notice.
	Gentle bool
}

// Reading is what was seen since the last one.
type Reading struct {
	Took time.Duration // since the last reading
	Late time.Duration // how late goroutines woke up that slept: see Late
	Sync time.Duration // what a sync of the log took, on average; 0 if there was none
	Used int64         // units that were done
	// Alone: nobody but this work wanted anything of the store. Whatever the delays were, there was nobody to notice them.
	Alone bool
}

const (
	// tolerance: a delay so far above the least is what a client may notice. Half of it stops the rate's growth.
	lateTolerance = time.Millisecond
	syncTolerance = 3 * time.Millisecond
	// The least delay is that of the last half minute, kept in pieces.
	basePiece  = 5 * time.Second
	basePieces = 6
	// quickly is the share by which the rate grows until it has been too high for the first time, step what it grows by afterwards.
	quickly = 1.5
	steps   = 24 // from the least to the most

	// What is gentle grows by slowly, and is content with gentleShare of what is tolerated.
	slowly      = 1.05
	gentleShare = 0.6
)

// Controller adapts a rate to readings.
type Controller struct {
	s          Settings
	rate       float64
	found      bool // it has been too high: what is right is known about
	late, sync base
	smooth     float64
}

// Late is what a reading says of wakings that were late by so much: the mean of the latest tenth. A request wakes goroutines up half a dozen times, so it is the
// rare late ones that one in a hundred requests meets; their mean over all would hardly show them. It reorders the wakings.
func Late(wakings []time.Duration) time.Duration {
	if len(wakings) == 0 {
		return 0
	}
	slices.Sort(wakings)
	n := (len(wakings) + 9) / 10
	sum := time.Duration(0)
	for _, d := range wakings[len(wakings)-n:] {
		sum += d
	}
	return sum / time.Duration(n)
}

// NewController begins with the least rate.
func NewController(s Settings) *Controller { return &Controller{s: s, rate: float64(s.Least)} }

// Rate in units per second.
func (c *Controller) Rate() int64 { return int64(c.rate) }

// Pressure is how far delays are above the least ones, as a share of what is tolerated.
func (c *Controller) Pressure() float64 { return c.smooth }

// Step takes a reading and returns the rate.
func (c *Controller) Step(r Reading) int64 {
	p := c.late.over(r.Took, r.Late, lateTolerance)
	if r.Sync > 0 {
		p = max(p, c.sync.over(r.Took, r.Sync, syncTolerance))
	}
	if r.Alone {
		p = 0
	}
	if c.s.Gentle {
		p /= gentleShare
	}
	// Half of what was: one late waking says little.
	c.smooth = (c.smooth + min(p, 4)) / 2
	used := float64(r.Used) >= 0.5*c.rate*r.Took.Seconds()
	switch {
	case c.smooth > 1:
		if r.Used > 0 { // else it is not us
			c.found = true
			c.rate *= max(0.5, 1-0.25*c.smooth)
		}
	case c.smooth > 0.5 || !used:
	case c.s.Gentle:
		c.rate *= slowly
	case !c.found:
		c.rate *= quickly
	default:
		c.rate += float64(c.s.Most-c.s.Least) / steps
	}
	c.rate = min(max(c.rate, float64(c.s.Least)), float64(c.s.Most))
	return int64(c.rate)
}

// base remembers the least of a delay.
type base struct {
	least [basePieces]time.Duration // 0: nothing was seen
	at    int
	took  time.Duration
}

// over returns how far a delay is above the least, as a share of what is tolerated.
func (b *base) over(took, delay, tolerance time.Duration) float64 {
	if b.took += took; b.took >= basePiece {
		b.took, b.at = 0, (b.at+1)%len(b.least)
		b.least[b.at] = 0
	}
	delay = max(delay, 1)
	if l := &b.least[b.at]; *l == 0 || delay < *l {
		*l = delay
	}
	least := delay
	for _, l := range b.least {
		if l > 0 {
			least = min(least, l)
		}
	}
	// On a slow disk half as much again is nothing.
	return float64(delay-least) / float64(max(tolerance, least))
}
