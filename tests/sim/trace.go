package sim

import (
	"context"
	"fmt"
	"hash/crc32"
	"log/slog"
	"runtime"
	"sync"
	"time"
)

// trace is what is kept of a run: a hash over everything that happened, counters, and, if asked for, the story.
type trace struct {
	mu     sync.Mutex
	hash   uint64
	events int64
	start  time.Time
	counts map[string]int64
	// story receives lines for people; events, every event (to see where two runs part).
	story, every bool
}

func newTrace(o Options) *trace {
	return &trace{start: time.Now(), counts: map[string]int64{}, story: o.Verbose > 0, every: o.Verbose > 2}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func mix(h, v uint64) uint64 {
	h = (h ^ v) * 0x9e3779b97f4a7c15
	return h ^ h>>29
}

// event adds something that happened to the hash: what, two numbers, and bytes.
func (t *trace) event(what string, a, b int64, data []byte) {
	at := time.Since(t.start)
	t.mu.Lock()
	t.events++
	h := mix(t.hash, uint64(at))
	h = mix(h, uint64(crc32.Checksum([]byte(what), castagnoli)))
	h = mix(mix(h, uint64(a)), uint64(b))
	h = mix(h, uint64(crc32.Checksum(data, castagnoli))<<32|uint64(len(data)))
	t.hash = h
	t.mu.Unlock()
	if t.every {
		emit(fmt.Sprintf("%12.6f . %s %d %d %08x %d %016x %04x\n", at.Seconds(), what, a, b, crc32.Checksum(data, castagnoli), len(data), h, seedState()&0xffff))
	}
}

func (t *trace) count(what string, n int64) {
	t.mu.Lock()
	t.counts[what] += n
	t.mu.Unlock()
}

// say adds a line to the story. What is said is part of the hash.
func (t *trace) say(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	t.event("say", 0, 0, []byte(s))
	if t.story {
		emit(fmt.Sprintf("%12.6f %s\n", time.Since(t.start).Seconds(), s))
	}
}

// stacks adds what all goroutines are doing to the story: who waits for something that does not come is among them.
func (t *trace) stacks() {
	if t.story {
		b := make([]byte, 16<<20)
		emit(string(b[:runtime.Stack(b, true)]) + "\n")
	}
}

// logger is the log of a node, in the story from verbosity 2 on.
func (t *trace) logger(o Options, node int, life int) *slog.Logger {
	if o.Verbose < 2 {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(logWriter{t, node, life}, &slog.HandlerOptions{
		Level: slog.LevelInfo,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "node" || a.Key == "store" {
				return slog.Attr{}
			}
			return a
		},
	}))
}

type logWriter struct {
	t          *trace
	node, life int
}

func (w logWriter) Write(b []byte) (int, error) {
	emit(fmt.Sprintf("%12.6f   [n%d.%d] %s", time.Since(w.t.start).Seconds(), w.node, w.life, b))
	return len(b), nil
}

// sleep waits; false if ctx ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
