package transport

import (
	"context"
	"runtime"
	"time"

	"github.com/pamirdb/pamir/range/kv"
)

// writer empties an outbox into a stream, and lets the fault injector have its way.
type writer struct {
	t    *Transport
	to   kv.NodeID
	kind Kind
	box  *outbox
	send func(b []byte) error // takes the buffer
}

// delayed is a frame that a fault holds back.
type delayed struct {
	b   []byte
	due time.Time
}

// run writes until ctx ends or the stream breaks. It reports whether anything was written.
func (w *writer) run(ctx context.Context) (sent bool, err error) {
	if w.t.cfg.Faults == nil {
		for {
			for b := w.box.take(w.t.cfg.Clock); b != nil; b = w.box.take(w.t.cfg.Clock) {
				if err := w.write(b); err != nil {
					return sent, err
				}
				sent = true
			}
			select {
			case <-w.box.pending:
			case <-ctx.Done():
				return sent, ctx.Err()
			}
			if w.kind == KindBatch {
				runtime.Gosched() // what is about to be added leaves in the same frame: the batches of one commit, and their answers
			}
		}
	}
	// With faults, a second goroutine writes what is due, so that a delay is a
	// distance and not a lower throughput.
	line := make(chan delayed, 1024)
	ctx, cancel := context.WithCancel(ctx)
	errc := make(chan error, 1)
	go func() {
		defer cancel()
		for d := range line {
			if wait := time.Until(d.due); wait > 0 {
				time.Sleep(wait)
			}
			if err := w.write(d.b); err != nil {
				errc <- err
				return
			}
		}
		errc <- nil
	}()
	err = w.feed(ctx, line, &sent)
	close(line)
	cancel()
	if e := <-errc; e != nil {
		err = e
	}
	return sent, err
}

func (w *writer) feed(ctx context.Context, line chan<- delayed, sent *bool) error {
	for {
		for b := w.box.take(w.t.cfg.Clock); b != nil; b = w.box.take(w.t.cfg.Clock) {
			drop, delay := w.t.link(w.to, w.kind)
			if drop {
				w.t.cfg.Metrics.dropped[w.kind].Inc()
				continue
			}
			select {
			case line <- delayed{b: b, due: time.Now().Add(delay)}:
				*sent = true
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		select {
		case <-w.box.pending:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *writer) write(b []byte) error {
	w.t.cfg.Metrics.sentFrames[w.kind].Inc()
	w.t.cfg.Metrics.sentBytes[w.kind].Add(float64(len(b)))
	return w.send(b)
}
