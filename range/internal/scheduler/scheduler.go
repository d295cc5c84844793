package scheduler

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// States of an item.
const (
	idle int32 = iota
	queued
	running
	again // running, and signalled since
)

// Item is what a schedulable thing embeds.
type Item struct{ state atomic.Int32 }

// Schedulable is anything that embeds Item.
type Schedulable interface{ scheduled() *Item }

func (it *Item) scheduled() *Item { return it }

// Scheduler runs items of type T. The zero value is not usable.
type Scheduler[T Schedulable] struct {
	process func(batch []T)
	workers int
	max     int // in a batch, as long as the queue is short

	mu      sync.Mutex
	wake    sync.Cond
	queue   []T  // guarded by mu
	waiting int  // workers asleep; guarded by mu
	gather  bool // more is about to come: see Gather; guarded by mu
	waking  bool // one of them has been woken and has not taken anything yet; guarded by mu
	closed  bool
	wg      sync.WaitGroup
}

// maxGrowth is how much larger than usual batches are when the queue is long.
const maxGrowth = 16

// New starts workers that process up to max items at once; more, up to maxGrowth times as many, if so many wait that each worker has more than that: what a batch
// waits for (a disk) takes as long for few as for many, and thousands that all wait for their turn would each come to it too late. process must leave what an item still has to do
// to a signal: it calls Signal for items that need another round.
func New[T Schedulable](workers, max int, process func(batch []T)) *Scheduler[T] {
	s := &Scheduler[T]{process: process, workers: workers, max: max}
	s.wake.L = &s.mu
	s.wg.Add(workers)
	for range workers {
		go s.work()
	}
	return s
}

// Signal says that the item has something to do.
func (s *Scheduler[T]) Signal(x T) {
	if x.scheduled().queue() {
		s.push(x)
	}
}

// queue notes that the item has something to do, and reports whether the caller must push it.
func (it *Item) queue() bool {
	for {
		switch it.state.Load() {
		case queued, again:
			return false
		case running:
			if it.state.CompareAndSwap(running, again) {
				return false
			}
		case idle:
			if it.state.CompareAndSwap(idle, queued) {
				return true
			}
		}
	}
}

// SignalAll is Signal for several items at once: one worker takes all of them, up to its limit.
func (s *Scheduler[T]) SignalAll(xs []T) {
	n := 0
	for _, x := range xs {
		if x.scheduled().queue() {
			xs[n] = x
			n++
		}
	}
	if n > 0 {
		s.push(xs[:n]...)
	}
}

// Gather is Signal for an item that is likely to be signalled together with others: a worker gives them a moment before it takes what
// is there, so that one batch has them all.
func (s *Scheduler[T]) Gather(x T) {
	s.mu.Lock()
	s.gather = true
	s.mu.Unlock()
	s.Signal(x)
}

// Run is Signal, except that an idle item is processed by the caller before Run returns.
func (s *Scheduler[T]) Run(x T) {
	it := x.scheduled()
	if !it.state.CompareAndSwap(idle, running) {
		s.Signal(x)
		return
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		it.state.Store(idle)
		return
	}
	s.wg.Add(1)
	s.mu.Unlock()
	defer s.wg.Done()
	one := [1]T{x}
	s.process(one[:])
	s.finish(x)
}

func (s *Scheduler[T]) push(xs ...T) {
	s.mu.Lock()
	s.queue = append(s.queue, xs...)
	wake := s.waiting > 0 && !s.waking
	s.waking = s.waking || wake
	s.mu.Unlock()
	if wake {
		s.wake.Signal()
	}
}

func (s *Scheduler[T]) finish(x T) {
	it := x.scheduled()
	if it.state.CompareAndSwap(running, idle) {
		return
	}
	it.state.Store(queued) // it was "again"
	s.push(x)
}

func (s *Scheduler[T]) work() {
	defer s.wg.Done()
	batch := make([]T, 0, s.max)
	var zero T
	for {
		s.mu.Lock()
		for len(s.queue) == 0 && !s.closed {
			s.waiting++
			s.wake.Wait()
			s.waiting--
			s.waking = false
		}
		if s.closed {
			s.mu.Unlock()
			return
		}
		if s.gather { // let those who are about to signal do so
			s.gather, s.waking = false, true
			s.mu.Unlock()
			runtime.Gosched()
			s.mu.Lock()
			s.waking = false
			if len(s.queue) == 0 || s.closed {
				s.mu.Unlock()
				continue
			}
		}
		n := min(len(s.queue), max(s.max, min(len(s.queue)/s.workers, maxGrowth*s.max)))
		batch = append(batch[:0], s.queue[:n]...)
		rest := copy(s.queue, s.queue[n:])
		for i := rest; i < len(s.queue); i++ {
			s.queue[i] = zero
		}
		s.queue = s.queue[:rest]
		wake := rest > 0 && s.waiting > 0 && !s.waking
		s.waking = s.waking || wake
		s.mu.Unlock()
		if wake {
			s.wake.Signal()
		}
		for _, x := range batch {
			x.scheduled().state.Store(running)
		}
		s.process(batch)
		for i, x := range batch {
			s.finish(x)
			batch[i] = zero
		}
		if cap(batch) > maxGrowth/4*s.max { // no queue is so long for long
			batch = make([]T, 0, s.max)
		}
	}
}

// Queued returns how many items wait for a worker.
func (s *Scheduler[T]) Queued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue)
}

// Close stops the workers after what they are doing. Items that are still queued are not processed.
func (s *Scheduler[T]) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.wake.Broadcast()
	s.wg.Wait()
}
