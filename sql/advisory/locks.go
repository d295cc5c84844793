package advisory

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/txn"
)

// Tag names a lock as pg_locks does: Sub is 1 for a lock with one bigint key and 2 for one with two integers.
type Tag struct {
	Key int64
	Sub byte
}

// String names the lock as PostgreSQL's messages do: [database,class,object,sub].
func (t Tag) String() string {
	return fmt.Sprintf("advisory lock [16383,%d,%d,%d]", uint32(t.Key>>32), uint32(t.Key), t.Sub)
}

const lockPrefix = "advisory/lock/"

func (t Tag) row() keys.Key {
	return keys.System(fmt.Sprintf("%s%d/%016x", lockPrefix, t.Sub, uint64(t.Key)))
}

func tagOfRow(k keys.Key) (t Tag, err error) {
	var key uint64
	if _, err := fmt.Sscanf(strings.TrimPrefix(string(k), string(keys.System(lockPrefix))), "%d/%x", &t.Sub, &key); err != nil {
		return t, errCorrupt
	}
	t.Key = int64(key)
	return t, nil
}

// Store is where the rows are.
type Store interface {
	// Run runs f in transactions of its own until one succeeds.
	Run(ctx context.Context, opts txn.Options, f func(tx txn.Txn) error) error
	// Each calls f with the rows under a prefix.
	Each(ctx context.Context, tx txn.Txn, prefix keys.Key, f func(k keys.Key, v []byte) error) error
}

// Config of a node's Locks.
type Config struct {
	Store Store
	Clock *hlc.Clock
	// Node and Incarnation name this process.
	Node        int32
	Incarnation int64
	// Tell lets another node's Granted know; it need not arrive. Nil: there are no others.
	Tell func(ctx context.Context, node int32, g Grant) error
	// EndHolders ends the sessions that hold locks.
	EndHolders func()
	Log        *slog.Logger
}

// Grant says that the session, who waited, has been given the lock.
type Grant struct {
	Key int64
	Sub byte
	PID int32
}

// maxQueue bounds the sessions in the row of a lock: it is written whole.
const maxQueue = 10000

// Locks is a node's side of advisory locks. It is safe for concurrent use.
type Locks struct {
	cfg   Config
	lease lease
	// present counts the entries that rows may have of sessions here.
	present atomic.Int64

	mu      sync.Mutex
	waiting map[Tag][]*waiter // sessions here, in the order in which they came
	outbox  chan letter       // grants to sessions of other nodes

	// owed is what rows say too much: what the session really holds, by row and session. repaying is held while that is put right.
	repaying sync.Mutex
	owedMu   sync.Mutex
	owed     map[debt]byte
}

type debt struct {
	tag Tag
	pid int32
}

type letter struct {
	node int32
	Grant
}

// New makes a node's Locks; Run has to run while it is used.
func New(cfg Config) *Locks {
	return &Locks{cfg: cfg, waiting: map[Tag][]*waiter{}, outbox: make(chan letter, 1024), owed: map[debt]byte{}}
}

// messengers is how many grants are on their way to other nodes at a time: one that does not answer is not to delay the others.
const messengers = 4

// Run renews this node's lease while rows speak of its sessions, and ends those that hold locks when that fails for too long; it puts
// right what could not be released, and tells other nodes of grants. It returns when ctx ends.
func (l *Locks) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for range messengers {
		wg.Go(func() { l.carry(ctx) })
	}
	t := time.NewTicker(leaseTime / 24)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		if l.present.Load() > 0 {
			tctx, cancel := context.WithTimeout(ctx, leaseTime/12)
			err := l.ensureLease(tctx)
			cancel()
			if err != nil && time.Duration(l.lease.until.Load()-l.now()) < leaseGrace {
				l.cfg.Log.Warn("the lease of advisory locks could not be renewed; sessions that hold any are ended", "err", err)
				l.cfg.EndHolders()
			}
		}
		l.repay(ctx)
	}
}

func (l *Locks) carry(ctx context.Context) {
	for {
		select {
		case m := <-l.outbox:
			tctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
			if err := l.cfg.Tell(tctx, m.node, m.Grant); err != nil {
				l.cfg.Log.Debug("a grant of an advisory lock was not told; the session will look itself", "node", m.node, "err", err)
			}
			cancel()
		case <-ctx.Done():
			return
		}
	}
}

func (l *Locks) owner(pid int32) owner { return owner{l.cfg.Node, l.cfg.Incarnation, pid} }

// change changes the queue of a lock in a transaction, gives the lock to those whose turn it is then, and lets them know. f gets the queue of the
// living and returns what is to become of it.
func (l *Locks) change(ctx context.Context, tag Tag, f func(q queue) (queue, error)) error {
	row := tag.row()
	var granted []owner
	err := l.cfg.Store.Run(ctx, txn.Options{}, func(tx txn.Txn) error {
		b, found, err := tx.Get(ctx, row, txn.ScanOptions{Lock: kv.LockUpdate, Latest: true})
		if err != nil {
			return err
		}
		old, err := decode(b)
		if err != nil {
			return err
		}
		q, err := l.living(ctx, tx, old)
		if err != nil {
			return err
		}
		if q, err = f(q); err != nil {
			return err
		}
		granted = q.promote()
		switch {
		case slices.Equal(q, old):
			return nil
		case len(q) > 0:
			return tx.Put(row, q.encode())
		case found:
			return tx.Delete(row)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, o := range granted {
		l.tell(o, Grant{tag.Key, tag.Sub, o.pid})
	}
	return nil
}

func (l *Locks) tell(o owner, g Grant) {
	switch {
	case o.node == l.cfg.Node:
		l.Granted(g)
	case l.cfg.Tell != nil:
		select {
		case l.outbox <- letter{o.node, g}:
		default: // it will look itself
		}
	}
}

// Granted wakes a session of this node that has been given a lock. It may come late, twice or not at all: the session believes
// the row alone.
func (l *Locks) Granted(g Grant) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.waiting[Tag{g.Key, g.Sub}] {
		if w.pid == g.PID {
			w.wake()
		}
	}
}

// ask asks for a mode for a session that holds held.
func (l *Locks) ask(ctx context.Context, tag Tag, pid int32, held, mode byte, try bool) (granted bool, err error) {
	me := l.owner(pid)
	err = l.change(ctx, tag, func(q queue) (next queue, err error) {
		next, granted = q.ask(me, held, mode, try)
		if len(next) > maxQueue && !granted {
			return nil, pgerr.New("53400", "too many sessions wait for %s", tag)
		}
		return next, nil
	})
	return granted, err
}

// release makes a row say that a session holds these modes and waits for none, at once or, if that fails, later.
func (l *Locks) release(ctx context.Context, tag Tag, pid int32, held byte) {
	if err := l.setRow(ctx, debt{tag, pid}, held); err != nil {
		l.owedMu.Lock()
		l.owed[debt{tag, pid}] = held
		l.owedMu.Unlock()
		l.cfg.Log.Warn("an advisory lock could not be released; it will be tried again", "lock", tag.String(), "pid", pid, "err", err)
	}
}

func (l *Locks) setRow(ctx context.Context, d debt, held byte) error {
	me := l.owner(d.pid)
	err := l.change(ctx, d.tag, func(q queue) (queue, error) { return q.set(me, held), nil })
	if err == nil && held == 0 {
		l.present.Add(-1)
	}
	return err
}

// repay puts right what rows say too much.
func (l *Locks) repay(ctx context.Context) {
	l.repaying.Lock()
	defer l.repaying.Unlock()
	l.owedMu.Lock()
	left := make([]debt, 0, len(l.owed))
	for d := range l.owed {
		left = append(left, d)
	}
	l.owedMu.Unlock()
	for _, d := range left {
		l.owedMu.Lock()
		held, ok := l.owed[d]
		l.owedMu.Unlock()
		if !ok {
			continue
		}
		tctx, cancel := context.WithTimeout(ctx, leaseTime/12)
		err := l.setRow(tctx, d, held)
		cancel()
		if err != nil {
			return // the next round
		}
		l.owedMu.Lock()
		delete(l.owed, d)
		l.owedMu.Unlock()
	}
}

// forgive forgets what a session's row says too much, since the session is about to ask for the lock anew, which puts it right.
func (l *Locks) forgive(tag Tag, pid int32) {
	d := debt{tag, pid}
	l.owedMu.Lock()
	_, ok := l.owed[d]
	l.owedMu.Unlock()
	if !ok {
		return
	}
	l.repaying.Lock()
	defer l.repaying.Unlock()
	l.owedMu.Lock()
	defer l.owedMu.Unlock()
	if held, ok := l.owed[d]; ok {
		delete(l.owed, d)
		if held == 0 {
			l.present.Add(-1)
		}
	}
}

// read returns a lock's queue of the living; changed says that the row has others too.
func (l *Locks) read(ctx context.Context, tag Tag) (q queue, changed bool, err error) {
	err = l.cfg.Store.Run(ctx, txn.Options{ReadOnly: true}, func(tx txn.Txn) error {
		b, _, err := tx.Get(ctx, tag.row(), txn.ScanOptions{})
		if err != nil {
			return err
		}
		old, err := decode(b)
		if err != nil {
			return err
		}
		q, err = l.living(ctx, tx, old)
		changed = len(q) != len(old)
		return err
	})
	return q, changed, err
}
