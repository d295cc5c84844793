package advisory

import (
	"context"
	"encoding/binary"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/txn"
)

// Times of leases. A lease is renewed when a third of it has gone, and given up when
// its end is nearer than a sixth.
const (
	leaseTime  = 12 * time.Second
	leaseRenew = 8 * time.Second
	leaseGrace = 2 * time.Second
)

func leaseRow(node int32) keys.Key { return keys.System("advisory/node/" + strconv.Itoa(int(node))) }

func leaseValue(incarnation, until int64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(incarnation)), uint64(until))
}

// lease is this node's, and what is known of the others'.
type lease struct {
	mu    sync.Mutex   // held while it is written
	until atomic.Int64 // its end as it is known to be written, wall ns

	seenMu sync.Mutex
	seen   map[process]int64 // ends of others' leases, as they were read: until then they live
}

type process struct {
	node        int32
	incarnation int64
}

func (l *Locks) now() int64 { return l.cfg.Clock.Now().WallTime }

// ensureLease makes sure that this node's lease is good for a while.
func (l *Locks) ensureLease(ctx context.Context) error {
	a := &l.lease
	if time.Duration(a.until.Load()-l.now()) > leaseRenew {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := l.now()
	if time.Duration(a.until.Load()-now) > leaseRenew {
		return nil
	}
	until := now + int64(leaseTime)
	err := l.cfg.Store.Run(ctx, txn.Options{}, func(tx txn.Txn) error {
		return tx.Put(leaseRow(l.cfg.Node), leaseValue(l.cfg.Incarnation, until))
	})
	if err == nil {
		a.until.Store(until)
	}
	return err
}

// Lost reports whether others may have taken what sessions of this node held.
func (l *Locks) Lost() bool { return l.lease.until.Load() < l.now() }

// dead reports whether the session's process is known to hold nothing any more.
func (l *Locks) dead(ctx context.Context, tx txn.Txn, o owner) (bool, error) {
	if o.node == l.cfg.Node && o.incarnation == l.cfg.Incarnation {
		return false, nil // it is here, and gives back what it has
	}
	p, now := process{o.node, o.incarnation}, l.now()
	a := &l.lease
	a.seenMu.Lock()
	until := a.seen[p]
	a.seenMu.Unlock()
	if until > now {
		return false, nil
	}
	b, ok, err := tx.Get(ctx, leaseRow(o.node), txn.ScanOptions{})
	if err != nil {
		return false, err
	}
	if !ok || len(b) != 16 || int64(binary.BigEndian.Uint64(b)) != o.incarnation {
		return true, nil // the process has been followed by another
	}
	until = int64(binary.BigEndian.Uint64(b[8:]))
	a.seenMu.Lock()
	for q, end := range a.seen {
		if end <= now {
			delete(a.seen, q)
		}
	}
	if a.seen == nil {
		a.seen = map[process]int64{}
	}
	a.seen[p] = until
	a.seenMu.Unlock()
	return until+int64(l.cfg.Clock.MaxOffset()) < now, nil
}

// living is the queue without those whose process is dead.
func (l *Locks) living(ctx context.Context, tx txn.Txn, q queue) (queue, error) {
	out := make(queue, 0, len(q)+1)
	for _, e := range q {
		dead, err := l.dead(ctx, tx, e.owner)
		if err != nil {
			return nil, err
		}
		if !dead {
			out = append(out, e)
		}
	}
	return out, nil
}
