package txn

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/kv"
)

// Config of a Coordinator. Sender, Clock, Node and Incarnation must be set.
type Config struct {
	Sender Sender
	Clock  *hlc.Clock
	Node   kv.NodeID
	// Incarnation is the start time of the process (ns).
	Incarnation int64
	// Workers finish commits, release locks and resolve unknown outcomes in the background (default 256: most of them wait, for a resolution to go along with another write); Queue is
	// how many such jobs may wait (default 1024). When it is full, whoever has a job does it himself.
	Workers, Queue int
	// MaxStagedBytes bounds the key list of a STAGING record; transactions with more
	// prepare first and then commit explicitly (default 64 KiB).
	MaxStagedBytes int
	// MaxBatchBytes bounds the writes of one batch (default 4 MiB).
	MaxBatchBytes int
	// MaxCommitBytes bounds the writes of a commit in one round, in one range (default 28 MiB; what a range takes
	// in one proposal is the limit). Above, everything is written twice: as locks, and as versions.
	MaxCommitBytes int
	// MaxBufferBytes is how much memory the writes of one transaction may take at the gateway before they are sent ahead,
	// as prepared locks (default 64 MiB). Small transactions commit faster, so it is not to be much below MaxCommitBytes.
	MaxBufferBytes int64
	// Parallel bounds the ranges that one transaction talks to at a time (default 16); four times as many where little is said to each.
	Parallel int
	// ScanBytes bounds the pages of scans, whatever their callers ask for; 0: it does not. For tests, in which small ranges that are read at the same time are
	// then shown piece by piece, and mixed up, as large ones are.
	ScanBytes int64
	// FailRead, for tests, is asked before a scan reads a page, and before keys of a range are read: an error is what the read gets. nil: none fails.
	FailRead func() error
	// FinishAtOnce, for tests, has every transaction finished as soon as its client has been told.
	FinishAtOnce bool
	// Linger, for tests, is called in the background before anything is done about a commit over several ranges that has been answered, and again before its locks become
	// versions: until it returns they are as a slow node leaves them. nil: nobody is slow.
	Linger func(context.Context)
	// Fenced returns why this node must not say what time it is, and AwaitClock waits until it may (routing.Sender has both). nil: it always may.
	Fenced     func() *kv.Error
	AwaitClock func(context.Context) error
	// Clocks reads the clocks of other nodes (FixSnapshot). nil: there are none.
	Clocks Clocks
	// PlantedNoFirmReads is a bug for the test of a test: firm reads (ScanOptions.Firm) are forgotten.
	PlantedNoFirmReads bool
	// PlantedSaidTooEarly is one: who asks is told that a transaction has committed while it is being prepared.
	PlantedSaidTooEarly bool
	// PlantedSkippedRead is another one: a transaction depends on what its SKIP LOCKED has left out.
	PlantedSkippedRead bool
}

// Coordinator implements Gateway. One per node.
type Coordinator struct {
	cfg     Config
	metrics Metrics
	reg     registry

	recMu      sync.Mutex
	recovering map[kv.TxnID]*recovery // guarded by recMu
	finishing  map[kv.TxnID]struct{}  // what recoveries resolve in the background; guarded by recMu
	detached   chan struct{}          // one token for each recovery that goes on by itself
	recCtx     context.Context        // of these; ends when Close begins: they are not this node's transactions, and others go on
	recCancel  context.CancelFunc
	outcomes   outcomes
	contention contentions
	clockReads clockReads

	ctx    context.Context // of the background; ends at the end of Close
	cancel context.CancelFunc
	jobs   chan func(context.Context)
	mu     sync.RWMutex // held for reading while a job is handed in
	closed bool
	// closing: Close has been called.
	closing bool
	wg      sync.WaitGroup

	forgetter forgetter
	finisher  finisher
}

var _ Gateway = (*Coordinator)(nil)

// failRead: see Config.FailRead.
func (c *Coordinator) failRead() error {
	if c.cfg.FailRead == nil {
		return nil
	}
	return c.cfg.FailRead()
}

// linger: see Config.Linger.
func (c *Coordinator) linger(ctx context.Context) {
	if c.cfg.Linger != nil {
		c.cfg.Linger(ctx)
	}
}

// New starts a coordinator; Close stops it.
func New(cfg Config) *Coordinator {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&cfg.Workers, 256)
	def(&cfg.Queue, 1024)
	def(&cfg.MaxStagedBytes, 64<<10)
	def(&cfg.MaxBatchBytes, 4<<20)
	def(&cfg.MaxCommitBytes, 28<<20)
	def(&cfg.Parallel, 16)
	if cfg.MaxBufferBytes <= 0 {
		cfg.MaxBufferBytes = 64 << 20
	}
	c := &Coordinator{cfg: cfg, jobs: make(chan func(context.Context), cfg.Queue), recovering: map[kv.TxnID]*recovery{},
		finishing: map[kv.TxnID]struct{}{}, detached: make(chan struct{}, maxDetached)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.recCtx, c.recCancel = context.WithCancel(c.ctx)
	c.reg.init()
	c.forgetter.init()
	c.finisher.init()
	go c.forgetAll() // Close waits for both
	go c.finishAll()
	for range cfg.Workers {
		c.wg.Add(1)
		go func() {
			defer c.wg.Done()
			for job := range c.jobs {
				growStack()
				job(c.ctx)
			}
		}()
	}
	return c
}

// Close waits until the background work is done; when ctx ends it is cut short. What is left then,
// recovery finishes. Records that cannot be removed soon are left. Transactions must have ended before.
func (c *Coordinator) Close(ctx context.Context) {
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		return
	}
	c.closing = true
	c.mu.Unlock()
	c.recCancel()
	done := make(chan struct{})
	go func() {
		close(c.finisher.stop)
		<-c.finisher.done
		c.mu.Lock()
		c.closed = true
		close(c.jobs)
		c.mu.Unlock()
		c.wg.Wait()
		close(c.forgetter.stop) // whoever tells it of records has ended
		late := time.AfterFunc(forgetAtEnd, c.cancel)
		<-c.forgetter.done
		late.Stop()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		c.cancel()
		<-done
	}
	c.cancel()
}

// background runs the job in the pool, or here if that is full or closed.
func (c *Coordinator) background(job func(context.Context)) {
	if !c.tryBackground(job) {
		c.metrics.BackgroundInline.Add(1)
		job(c.ctx)
	}
}

// tryBackground reports whether the pool has taken the job.
func (c *Coordinator) tryBackground(job func(context.Context)) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return false
	}
	select {
	case c.jobs <- job:
		return true
	default:
		return false
	}
}

// fenced reports whether this node must not say what time it is.
func (c *Coordinator) fenced() bool { return c.cfg.Fenced != nil && c.cfg.Fenced() != nil }

// AwaitClock implements ClockAwaiter.
func (c *Coordinator) AwaitClock(ctx context.Context) error {
	if c.cfg.AwaitClock == nil {
		return nil
	}
	return c.cfg.AwaitClock(ctx)
}

// Clock implements Gateway.
func (c *Coordinator) Clock() *hlc.Clock { return c.cfg.Clock }

// Metrics returns the live counters.
func (c *Coordinator) Metrics() *Metrics { return &c.metrics }

// Begin implements Gateway. It talks to nobody; the snapshot is taken at the first use.
func (c *Coordinator) Begin(_ context.Context, opts Options) Txn {
	c.metrics.Begins.Add(1)
	now := c.cfg.Clock.Now()
	t := &txn{c: c, opts: opts, since: now.WallTime}
	t.lockTimeout.Store(int64(opts.LockTimeout))
	t.meta = kv.TxnMeta{
		ID:          kv.MakeSessionTxnID(now, opts.Session, rand.Uint64()),
		Gateway:     c.cfg.Node,
		Incarnation: c.cfg.Incarnation,
		Isolation:   opts.Isolation,
	}
	if !opts.ReadAsOf.IsEmpty() {
		t.opts.ReadOnly = true
		t.meta.ReadTS, t.meta.UncertaintyLimit = opts.ReadAsOf, opts.ReadAsOf
		t.started = true
	}
	return t
}

// sleep waits for d, or less if ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// backoff grows from 2 ms to 200 ms, with jitter.
type backoff struct{ d time.Duration }

func (b *backoff) wait(ctx context.Context) {
	b.d = min(max(2*b.d, 2*time.Millisecond), 200*time.Millisecond)
	sleep(ctx, b.d/2+rand.N(b.d))
}
