package pacing

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Pacer spreads the bytes of any number of streams over time. It may be used by many goroutines.
type Pacer struct {
	rate atomic.Int64
	sent atomic.Int64

	mu   sync.Mutex
	next time.Time // when the next bytes may go; guarded by mu
}

// NewPacer begins with a rate in bytes per second.
func NewPacer(rate int64) *Pacer {
	p := &Pacer{}
	p.rate.Store(rate)
	return p
}

// SetRate changes the rate for what comes.
func (p *Pacer) SetRate(rate int64) { p.rate.Store(rate) }

// Rate in bytes per second.
func (p *Pacer) Rate() int64 { return p.rate.Load() }

// Sent is how many bytes have gone.
func (p *Pacer) Sent() int64 { return p.sent.Load() }

// Wait returns when n bytes may go.
func (p *Pacer) Wait(ctx context.Context, n int) error {
	p.mu.Lock()
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	d := p.next.Sub(now)
	p.next = p.next.Add(time.Duration(float64(n) / float64(p.rate.Load()) * float64(time.Second)))
	p.mu.Unlock()
	p.sent.Add(int64(n))
	if d < time.Millisecond {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
