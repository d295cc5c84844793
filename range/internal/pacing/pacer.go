package pacing

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Pacer spreads what any number of workers do over time. It may be used by many goroutines.
type Pacer struct {
	rate atomic.Int64
	used atomic.Int64
	mu   sync.Mutex
	next time.Time // when more may be done; guarded by mu
}

// NewPacer begins with a rate, in units per second.
func NewPacer(rate int64) *Pacer {
	p := &Pacer{}
	p.rate.Store(rate)
	return p
}

// SetRate changes the rate for what comes.
func (p *Pacer) SetRate(rate int64) { p.rate.Store(rate) }

// Rate in units per second.
func (p *Pacer) Rate() int64 { return p.rate.Load() }

// Used is how many units were done.
func (p *Pacer) Used() int64 { return p.used.Load() }

// Wait returns when n units may be done.
func (p *Pacer) Wait(ctx context.Context, n int) error {
	until, _ := p.turn(int64(n), 0)
	pause(until, ctx.Done())
	return ctx.Err()
}

// Hold is told of work that has been done, and returns when more may be; units are nanoseconds of it. It returns at once when hurry is closed.
func (p *Pacer) Hold(worked time.Duration, hurry <-chan struct{}) {
	_, after := p.turn(int64(worked), worked)
	pause(after, hurry)
}

// turn gives n units, whose doing began so long ago, their time: how long it is until that begins, and until it is over.
func (p *Pacer) turn(n int64, ago time.Duration) (until, after time.Duration) {
	p.used.Add(n)
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if began := now.Add(-ago); p.next.Before(began) {
		p.next = began
	}
	until = p.next.Sub(now)
	p.next = p.next.Add(time.Duration(float64(n) / float64(p.rate.Load()) * float64(time.Second)))
	return until, p.next.Sub(now)
}

// pause sleeps, unless it is not worth it: what is left out is made up for by the next turn.
func pause(d time.Duration, enough <-chan struct{}) {
	if d < time.Millisecond {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-enough:
	}
}
