package routing

import (
	"context"
	"sync"
	"time"

	"github.com/pamirdb/pamir/range/kv"
)

const (
	// fenceWait is how long a fence is waited out. A process that has slept is believed again as soon as another node has measured its clock,
	// within a few tenths of a second; a clock that is really off stays so for longer than anybody wants to wait.
	fenceWait = 5 * time.Second
	// fenceGap is how far apart two looks at a fence may be and still show one.
	fenceGap  = time.Second
	fencePoll = 5 * time.Millisecond
)

// fence is since when this node's clock has not been believed, as far as anybody has looked.
type fence struct {
	mu          sync.Mutex
	first, last time.Time
}

// seen notes that the fence is up and returns for how long it has been.
func (f *fence) seen(now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.Sub(f.last) > fenceGap {
		f.first = now
	}
	f.last = now
	return now.Sub(f.first)
}

// Fenced returns why this node must not say what time it is; nil if it may.
func (s *Sender) Fenced() *kv.Error {
	if s.cfg.Fenced == nil {
		return nil
	}
	return s.cfg.Fenced()
}

// AwaitClock waits until this node may say what time it is. It returns an error if that has not been so for a few seconds, or if ctx ends.
func (s *Sender) AwaitClock(ctx context.Context) error {
	e := s.Fenced()
	if e == nil {
		return nil
	}
	s.cfg.Metrics.fenced.Inc()
	tick := time.NewTicker(fencePoll)
	defer tick.Stop()
	for ; e != nil; e = s.Fenced() {
		if s.fence.seen(time.Now()) > fenceWait {
			return e
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return &kv.Error{Code: kv.CodeCanceled, Message: context.Cause(ctx).Error() + " (last: " + e.Error() + ")"}
		}
	}
	return nil
}
