package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/concurrency"
	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/internal/raftlog"
	"github.com/pamirdb/pamir/range/internal/replica"
	"github.com/pamirdb/pamir/range/internal/scheduler"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Store is one open store. Its methods may be called by several goroutines.
type Store struct {
	cfg    Config
	eng    *engine.Engine
	log    *slog.Logger
	clock  *hlc.Clock
	id     Identity
	deps   replica.Deps
	sched  *scheduler.Scheduler[*replica.Replica]
	sender atomic.Pointer[Sender]

	metrics     replica.Metrics
	lockMetrics concurrency.Metrics
	budget      *raftlog.Budget

	// mu guards the set of replicas.
	mu       sync.RWMutex
	replicas map[kv.RangeID]*replica.Replica
	// frozen has those that are frozen for a merge, and perhaps some that were.
	frozen map[kv.RangeID]*replica.Replica
	// receiving are the bounds of snapshots under way, for ranges that are not initialised here yet.
	receiving map[kv.RangeID]keys.Span
	creating  sync.Mutex // serialises the creation and removal of replicas

	support support
	pacing  *pace
	resting resting
	// withdrawals, for the log.
	withdrawals withdrawals

	ctx     context.Context // ends when Close begins
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	started atomic.Bool
	closed  atomic.Pointer[kv.Error]
	sends   atomic.Int64 // requests in Send; Close waits for them before it closes the engine
	fatal   atomic.Pointer[kv.Error]
	failed  chan struct{} // closed when fatal is set

	peers     peers
	work      workQueue
	lists     careLists
	turns     turns
	news      news
	asleep    asleep // guarded by mu until all are loaded, then the tick loop's
	early     early
	late      lateReplicas
	rangeIDs  rangeIDs
	snapSlots chan struct{}                 // outgoing snapshots
	recvSlots chan struct{}                 // incoming ones
	sending   map[snapshotKey]*atomic.Int64 // outgoing snapshots, and the bytes of them that have been sent
	refused   map[snapshotKey]refusals      // of those that were sent last
	splitsDue splitsDue
	sums      checksums
	sumSlot   chan struct{}
}

// defaultSupport leaves a leader, beyond the clocks' bound, time for two heartbeats that are late or lost.
const defaultSupport = 750 * time.Millisecond

func (k *Knobs) setDefaults(maxOffset time.Duration) {
	dur := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	num := func(n *int64, v int64) {
		if *n <= 0 {
			*n = v
		}
	}
	dur(&k.HeartbeatInterval, 200*time.Millisecond)
	dur(&k.SupportDuration, maxOffset+defaultSupport)
	dur(&k.TickInterval, 100*time.Millisecond)
	dur(&k.ClosedLag, 3*time.Second)
	if k.DeferResolve == 0 {
		k.DeferResolve = 80 * time.Millisecond
	}
	dur(&k.GCAfter, time.Hour)
	dur(&k.GCInterval, 10*time.Minute)
	dur(&k.OutcomesAfter, 2*time.Minute)
	dur(&k.SweepInterval, sweepInterval)
	dur(&k.SplitLoadFor, 10*time.Second)
	dur(&k.SplitInterval, time.Second)
	dur(&k.SnapshotTimeout, 5*time.Minute)
	num(&k.LogMaxBytes, 64<<20)
	num(&k.LogTruncateBytes, 1<<20)
	num(&k.MaxProposalBytes, 32<<20)
	num(&k.InflightBytes, 64<<20)
	num(&k.SnapshotBytesPerSecond, 128<<20)
	if k.SplitBytes == 0 {
		k.SplitBytes = 64 << 20
	}
	if k.SplitRequests == 0 {
		k.SplitRequests = 20_000
	}
	if k.SplitCPU == 0 {
		k.SplitCPU = 0.75
	}
	if k.Workers <= 0 {
		k.Workers = 4
	}
	if k.turns <= 0 {
		k.turns = maxTurns
	}
}

// Open opens the store in cfg.Dir, or makes an empty one. Nothing runs before Start.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Clock == nil || cfg.Transport == nil {
		return nil, errors.New("store: open: Clock and Transport must be set")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Cores <= 0 {
		cfg.Cores = runtime.GOMAXPROCS(0)
	}
	cfg.Knobs.setDefaults(cfg.Clock.MaxOffset())
	s := &Store{
		cfg: cfg, log: cfg.Logger, clock: cfg.Clock,
		replicas: make(map[kv.RangeID]*replica.Replica), receiving: make(map[kv.RangeID]keys.Span),
		frozen: make(map[kv.RangeID]*replica.Replica),
		budget: raftlog.NewBudget(64 << 20), snapSlots: make(chan struct{}, 2), recvSlots: make(chan struct{}, 2),
		sending: make(map[snapshotKey]*atomic.Int64), refused: make(map[snapshotKey]refusals), sumSlot: make(chan struct{}, 1), pacing: newPace(cfg.Knobs.SnapshotBytesPerSecond, cfg.Knobs.SplitBytes),
	}
	s.work.init()
	s.rangeIDs.turn = make(chan struct{}, 1)
	s.support.beatNow, s.support.toWrite = make(chan struct{}, 1), make(chan struct{}, 1)
	s.news.some = make(chan struct{}, 1)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if cfg.Sender != nil {
		s.SetSender(cfg.Sender)
	}
	s.failed = make(chan struct{})
	onFatal := func(err error) { // once
		s.fatal.Store(kv.AsError(err))
		close(s.failed)
		if cfg.OnFatal != nil {
			cfg.OnFatal(err)
		}
	}
	ecfg := engine.Config{
		Dir: cfg.Dir, FS: cfg.FS, CacheBytes: cfg.CacheBytes, Cores: cfg.Cores, Logger: cfg.Logger,
		MemTableBytes: cfg.Knobs.MemTableBytes, MaxOpenFiles: cfg.Knobs.MaxOpenFiles,
	}
	if cfg.OnFatal != nil {
		ecfg.OnFatal = onFatal
	}
	var err error
	if s.eng, err = engine.Open(ecfg); err != nil {
		return nil, err
	}
	id, ok, err := s.eng.Identity()
	if err == nil && ok {
		s.id = id
	}
	if err != nil {
		return nil, errors.Join(err, s.eng.Close())
	}
	return s, nil
}

// SetSender sets who routes the store's own requests. It must be called before Start.
func (s *Store) SetSender(x Sender) { s.sender.Store(&x) }

// Identity returns the store's identity; ok is false for a store that has none yet.
func (s *Store) Identity() (id Identity, ok bool) { return s.id, s.id.StoreID != 0 }

// Bootstrap makes the store the first of a new cluster, with the three initial ranges.
func (s *Store) Bootstrap(clusterID [16]byte) error {
	if s.id.StoreID != 0 {
		return fmt.Errorf("store: %s belongs to %s already", s.cfg.Dir, s.id)
	}
	const first = 1
	id := Identity{ClusterID: clusterID, NodeID: first, StoreID: first}
	me := kv.Replica{NodeID: first, StoreID: first, ReplicaID: first}
	bounds := [...]keys.Key{keys.Min, keys.TableMin, keys.Table(keys.FirstUserTable), keys.Max}
	ids := [...]kv.RangeID{kv.MetaRangeID, kv.CatalogRangeID, kv.FirstUserRange}
	now := s.clock.Now()
	b := s.eng.DB().NewBatch()
	defer func() { _ = b.Close() }() // committed or not, there is nothing left to report
	w := mvcc.Writer{Batch: b}
	put := func(key keys.Key, value []byte) error { return w.Put(key, now, false, value, mvcc.Newest{}) }
	counter := func(key keys.Key, v int64) error { return put(key, binary.BigEndian.AppendUint64(nil, uint64(v))) }
	err := errors.Join(
		counter(keys.NodeIDCounter, first), counter(keys.StoreIDCounter, first),
		counter(keys.RangeIDCounter, int64(ids[len(ids)-1])),
	)
	var descs []*kv.RangeDescriptor
	for i, id := range ids {
		d := &kv.RangeDescriptor{
			RangeID: id, StartKey: bounds[i], EndKey: bounds[i+1], Replicas: []kv.Replica{me},
			NextReplicaID: first + 1, Generation: 1,
		}
		descs = append(descs, d)
		err = errors.Join(err, put(keys.Meta(d.EndKey), d.AppendWire(nil)))
	}
	for i, d := range descs {
		var st mvcc.AppliedState
		if i == 0 {
			st.Stats = w.Stats // everything so far is in the meta range
		}
		err = errors.Join(err, replica.InitialState(b, d, first, st, nil))
	}
	if err != nil {
		return err
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return engine.Classify(err)
	}
	// The identity comes last: a crash before it leaves a store that can be bootstrapped again.
	if err := s.eng.SetIdentity(id); err != nil {
		return err
	}
	s.id = id
	return nil
}

// Join makes the store a member of an existing cluster. Its id was allocated there.
func (s *Store) Join(id Identity) error {
	if err := s.eng.SetIdentity(id); err != nil {
		return err
	}
	s.id = id
	return nil
}

// Start loads the replicas and starts to take part. It waits, if need be, until the clock has passed
// every reading of the process that had the store open before.
func (s *Store) Start(ctx context.Context) error {
	if s.id.StoreID == 0 {
		return errors.New("store: start: the store belongs to no cluster yet")
	}
	s.log = s.cfg.Logger.With("node", int(s.id.NodeID), "store", int(s.id.StoreID))
	if err := s.removeStaleFiles(); err != nil {
		return err
	}
	if err := s.startSupport(ctx); err != nil {
		return err
	}
	k := &s.cfg.Knobs
	s.deps = replica.Deps{
		Node: s.id.NodeID, Store: s.id.StoreID, Engine: s.eng, Clock: s.clock, Support: &s.support, Owner: (*owner)(s),
		Budget: s.budget, Log: s.log, Metrics: &s.metrics, Fatal: s.failed,
		Locks: concurrency.Config{
			Clock: s.clock, Holders: s.cfg.Holders, Recoverer: s.cfg.Recoverer, Resolver: resolver{s}, Metrics: &s.lockMetrics,
			DeadAfter: k.GatewayDeadAfter, Near: s.cfg.Near,
		}.Shared(),
		Knobs: replica.Knobs{
			// Elections go by support, not by these: they matter where no support is known.
			ElectionTicks: 10, HeartbeatTicks: 3, QuietTicks: 10,
			MaxProposalBytes: k.MaxProposalBytes, InflightBytes: k.InflightBytes, ClosedLag: k.ClosedLag, DeferResolve: k.DeferResolve,
			LogTruncateBytes: k.LogTruncateBytes,
		},
		Large: s.large,
		Hooks: replica.Hooks{ServeEarly: k.serveEarly}, Planted: k.Planted,
	}
	proc := replica.NewProcessor(&s.deps)
	s.sched = scheduler.New(k.Workers, 64, proc.Process)
	s.deps.Run = s.sched.Run
	if err := s.loadReplicas(); err != nil {
		s.sched.Close()
		return err
	}
	s.started.Store(true)
	s.refreshPeers()
	s.beat()
	s.goLoop(s.tickLoop)
	s.goLoop(s.beatLoop)
	s.goLoop(s.clockLoop)
	s.goLoop(s.newsLoop)
	s.goLoop(s.workLoop)
	s.goLoop(s.maintenanceLoop)
	s.goLoop(s.gcLoop)
	s.goLoop(s.holdersLoop)
	s.goLoop(s.sweepLoop)
	s.goLoop(s.splitLoop)
	s.goLoop(s.paceLoop)
	// Groups that nobody else can lead need not wait for an election timeout.
	s.each(func(r *replica.Replica) bool {
		d := r.Desc()
		if d == nil {
			return true
		}
		if me, ok := d.ReplicaByID(r.ReplicaID()); ok && len(d.Replicas) == 1 && me.Type == kv.Voter {
			r.Campaign()
		}
		return true
	})
	return nil
}

func (s *Store) goLoop(f func()) {
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		f()
	}()
}

// snapshotPrefix begins the names of files of snapshots that are being received.
const snapshotPrefix = "incoming-"

func (s *Store) removeStaleFiles() error {
	names, err := s.eng.FS().List(s.cfg.Dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		if strings.HasPrefix(n, snapshotPrefix) {
			if err := s.eng.FS().Remove(s.eng.FS().PathJoin(s.cfg.Dir, n)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Err returns the error that made the store unusable, or nil.
func (s *Store) Err() error {
	if e := s.fatal.Load(); e != nil {
		return e
	}
	return s.eng.Err()
}

// Close stops everything and closes the directory. Requests under way get an error.
func (s *Store) Close() error {
	if !s.closed.CompareAndSwap(nil, kv.Errorf(kv.CodeUnavailable, "the store is closing")) {
		return nil
	}
	s.support.closing.Store(true)
	s.cancel()
	if s.started.Load() {
		ended := make(chan struct{})
		var stuck atomic.Bool
		go func() {
			defer close(ended)
			// Replicas first: whoever waits for one of them gets an answer, and the loops end.
			s.each(func(r *replica.Replica) bool {
				r.Close()
				return true
			})
			s.sched.Close()
			s.wg.Wait()
			for end := time.Now().Add(closeSends); s.sends.Load() > 0; { // a read that has begun is still in the engine
				if time.Now().After(end) {
					stuck.Store(true)
					return
				}
				time.Sleep(100 * time.Microsecond)
			}
		}()
		failed := false
		select {
		case <-ended:
		case <-s.failed:
			select {
			case <-ended:
			case <-time.After(closeAfterFailure):
				failed = true
			}
		}
		if failed {
			// The disk has failed: a goroutine that was writing is stopped for good (engine.Config.OnFatal), and
			// with it whoever waits for its locks. The process is expected to end.
			return errors.Join(s.Err(), s.eng.Close())
		}
		s.persistFinalClock()
		if stuck.Load() {
			// Closing the engine under a request that is still in it would be a panic; so its directory stays locked.
			return kv.Errorf(kv.CodeInternal, "%d requests did not end within %v of being told to", s.sends.Load(), closeSends)
		}
	}
	return s.eng.Close()
}

// closeSends is how long Close waits for requests. Whoever waits in one has been told that the store closes, so it is a matter of
// milliseconds unless one has found a way not to hear.
const closeSends = 10 * time.Second

// closeAfterFailure is how long Close waits for a store whose disk has failed.
const closeAfterFailure = 2 * time.Second

// each calls f for the replicas until it returns false. f may block; replicas may come and go meanwhile.
func (s *Store) each(f func(*replica.Replica) bool) {
	s.mu.RLock()
	all := make([]*replica.Replica, 0, len(s.replicas))
	for _, r := range s.replicas {
		all = append(all, r)
	}
	s.mu.RUnlock()
	for _, r := range all {
		if !f(r) {
			return
		}
	}
}

func (s *Store) replica(id kv.RangeID) *replica.Replica {
	s.mu.RLock()
	r := s.replicas[id]
	s.mu.RUnlock()
	return r
}
