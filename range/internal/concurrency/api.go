package concurrency

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// HolderState is kv.HolderState.
type HolderState = kv.HolderState

// Holders asks gateways about their transactions. Implementations must honour ctx promptly.
type Holders interface {
	// QueryHolder asks the gateway for a transaction. A gateway that runs but does not know
	// it, or that is another incarnation, is an answer (Alive false), as is a node known to be dead;
	// one that cannot be reached is an error. hurry: whoever asks waits for the transaction's locks to go, and not only
	// to learn what becomes of it.
	QueryHolder(ctx context.Context, gateway kv.NodeID, incarnation int64, id kv.TxnID, hurry bool) (HolderState, error)
	// ReportWait tells the waiter's gateway whom it waits for at key (nobody: no longer), so that
	// others can follow, and returns the waiter's own state. The report is
	// repeated while the wait lasts; the gateway forgets it when it is not.
	ReportWait(ctx context.Context, waiter *kv.TxnMeta, key keys.Key, holders []kv.TxnMeta) (HolderState, error)
}

// Recoverer finds the outcome of a transaction whose coordinator is silent (txn.Recoverer).
type Recoverer interface {
	Recover(ctx context.Context, holder kv.TxnMeta, key keys.Key) (kv.TxnStatus, hlc.Timestamp, error)
}

// Resolver turns prepared locks of this range into versions, or drops them, by an ordinary ResolveLocks.
type Resolver interface {
	Resolve(ctx context.Context, holder kv.TxnMeta, ks []keys.Key, commit bool, commitTS hlc.Timestamp) error
}

// Config of Tables. Without Holders nobody is asked, and waits end by release or time only.
type Config struct {
	Clock     *hlc.Clock
	Holders   Holders
	Recoverer Recoverer
	Resolver  Resolver
	// Near says whether a gateway is so near that SKIP LOCKED waits for its answer; nil: all are.
	Near func(gateway kv.NodeID) bool
	// MaxLocks bounds the unreplicated locks of the range; 0 means 500,000.
	MaxLocks int
	// PushDelay is how long a waiter waits before it looks for deadlocks and dead holders (default 50 ms),
	// PushDelayPrepared the same where the lock is a prepared one (default 10 ms), PushInterval the time between
	// two looks (default 75 ms; behind prepared locks it starts at PushDelayPrepared and doubles up to PushInterval).
	PushDelay, PushDelayPrepared, PushInterval time.Duration
	// DeadAfter is how long a gateway must be out of reach before its
	// unreplicated locks are dropped and its prepared ones recovered (default 1 s): both are safe at
	// any time, and everybody behind a dead gateway's hot row stands still for so long.
	DeadAfter time.Duration
	// GiveUp is how long a waiter waits behind a prepared lock of which nobody can say what is to become: the range of its transaction's record does not
	// answer (default 30 s).
	GiveUp time.Duration
	// Metrics may be shared by all Tables of a store; nil for none.
	Metrics *Metrics

	questions *questions // set by Shared
}

// Metrics counts, for all Tables that share it.
type Metrics struct {
	LockWaits      atomic.Int64 // waits begun
	LockWaitNanos  atomic.Int64 // time spent in them
	LockTimeouts   atomic.Int64
	Deadlocks      atomic.Int64
	Pushes         atomic.Int64 // looks at holders
	DeadHolders    atomic.Int64 // locks dropped because the holder was gone
	Recoveries     atomic.Int64
	LocksShed      atomic.Int64 // not recorded, over MaxLocks
	LatchContended atomic.Int64
	EndedCleared   atomic.Int64 // pieces of the locks of large transactions that had ended, resolved by who met them
}

// Shared returns the configuration with its defaults, for the Tables of a store: a store has tens of thousands, and they hold
// one between them. It must not be changed.
func (c Config) Shared() *Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.PushDelay, 50*time.Millisecond)
	def(&c.PushDelayPrepared, 10*time.Millisecond)
	def(&c.PushInterval, 75*time.Millisecond)
	def(&c.DeadAfter, time.Second)
	def(&c.GiveUp, 30*time.Second)
	if c.MaxLocks <= 0 {
		c.MaxLocks = 500_000
	}
	if c.Metrics == nil {
		c.Metrics = &Metrics{}
	}
	c.questions = &questions{}
	return &c
}

// LockInfo is one lock or one waiter, for views.
type LockInfo struct {
	Key        keys.Key
	Txn        kv.TxnMeta
	Strength   kv.LockStrength
	Granted    bool // false: waits
	Replicated bool // prepared
	TS         hlc.Timestamp
}
