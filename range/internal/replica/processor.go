package replica

import (
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/kv"
)

// maxRounds is how often a set of replicas is taken around before others get a turn.
const maxRounds = 4

// Processor drives the Raft side of replicas: it is what the scheduler runs.
type Processor struct {
	deps *Deps
}

// NewProcessor returns a processor for the replicas that share deps.
func NewProcessor(deps *Deps) *Processor { return &Processor{deps: deps} }

// Process takes every replica's inbox, writes all that must be written with one fsync, and goes on with
// those that have more to do. No replica may be processed by two goroutines at a time.
func (p *Processor) Process(batch []*Replica) {
	m := p.deps.Metrics
	var first [8]*Replica
	set := append(first[:0], batch...)
	for _, r := range set {
		r.raftMu.Lock()
	}
	b := p.deps.Engine.DB().NewBatch()
	defer func() { b.Close() }()
	var out outbox
	defer func() { out.flush(p.deps) }()
	for round := 0; len(set) > 0; round++ {
		m.Rounds.Add(1)
		sync, writers := false, 0
		next := set[:0]
		for _, r := range set {
			var more, s bool
			r.guarded(func() { more, s = r.begin(b) })
			out.take(r)
			if s {
				sync = true
				writers++
			}
			if more {
				next = append(next, r)
			} else {
				r.raftMu.Unlock()
			}
		}
		set = next
		out.flush(p.deps) // appends leave before the local disk has them
		// A split takes the lock of the right side's replica, if there is one, and that may be of this very set: whoever
		// applies one holds no other replica's lock, but for those of other splits.
		var splits []*Replica
		for _, r := range set {
			if r.commitsSplit() {
				splits = append(splits, r)
				continue
			}
			r.guarded(r.applyEarly)
		}
		if !b.Empty() {
			opts := pebble.NoSync
			if sync {
				opts = pebble.Sync
				m.Fsyncs.Add(1)
				if writers > 1 {
					m.SharedRounds.Add(1)
				}
				m.AppendedBytes.Add(int64(b.Len()))
			}
			began := time.Now()
			err := p.commit(b, opts)
			if sync {
				m.FsyncNanos.Add(int64(time.Since(began)))
			}
			if err != nil {
				for _, r := range set {
					r.hasReady = false
					r.stop(engine.Classify(err))
				}
			}
			if b.Len() > 1<<20 {
				b.Close()
				b = p.deps.Engine.DB().NewBatch()
			} else {
				b.Reset()
			}
		}
		for _, r := range set {
			r.guarded(r.sendHeld)
			out.take(r)
		}
		out.flush(p.deps)
		next = set[:0]
		for _, r := range set {
			if len(splits) > 0 && slices.Contains(splits, r) {
				continue
			}
			var more bool
			r.guarded(func() { more = r.finish() })
			out.take(r)
			if more && round < maxRounds && len(splits) == 0 {
				next = append(next, r)
				continue
			}
			if more {
				p.deps.Owner.Signal(r)
			}
			r.raftMu.Unlock()
		}
		for _, r := range splits {
			var more bool
			r.guarded(func() { more = r.finish() })
			out.take(r)
			if more {
				p.deps.Owner.Signal(r)
			}
			r.raftMu.Unlock()
		}
		set = next
	}
}

// commit refuses to write to a disk that has failed: Pebble would panic.
func (p *Processor) commit(b *pebble.Batch, opts *pebble.WriteOptions) error {
	select {
	case <-p.deps.Fatal:
		return kv.Errorf(kv.CodeUnavailable, "the store has failed")
	default:
		return b.Commit(opts)
	}
}
