package txn

import (
	"sync"
	"time"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// ActiveTxn describes a transaction that holds locks or commits, for views.
type ActiveTxn struct {
	Meta   kv.TxnMeta
	Since  int64
	Status kv.TxnStatus
	Waits  []Wait
}

// Wait is one key at which a transaction waits for others.
type Wait struct {
	Key     keys.Key
	Holders []kv.TxnMeta
	Since   time.Time
}

// Active lists the registered transactions.
func (c *Coordinator) Active() []ActiveTxn {
	var out []ActiveTxn
	now := time.Now()
	for i := range c.reg.shards {
		s := &c.reg.shards[i]
		s.mu.Lock()
		for _, e := range s.txns {
			a := ActiveTxn{Meta: e.meta, Since: e.since, Status: e.status}
			for _, w := range e.waits {
				if now.Before(w.expires) {
					a.Waits = append(a.Waits, Wait{keys.Key(w.key), w.holders, w.since})
				}
			}
			out = append(out, a)
		}
		s.mu.Unlock()
	}
	return out
}

// Contention is a wait that has ended: who waited for whom, at which key, and for how long.
type Contention struct {
	Waiter  kv.TxnID
	Key     keys.Key
	Holders []kv.TxnMeta // as of the last report
	Began   time.Time
	Waited  time.Duration
}

// maxContention is how many of the last waits a gateway remembers.
const maxContention = 1024

// contentions is a ring of the last waits. Only waits that were reported are in it: those of more than
// the lock tables' PushDelay.
type contentions struct {
	mu   sync.Mutex
	ring []Contention
	next int
}

// contended notes waits of a transaction that have ended.
func (c *Coordinator) contended(id kv.TxnID, over []wait, now time.Time) {
	if len(over) == 0 {
		return
	}
	k := &c.contention
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, w := range over {
		end := now
		if w.expires.Before(now) {
			end = w.expires
		}
		e := Contention{Waiter: id, Key: keys.Key(w.key), Holders: w.holders, Began: w.since, Waited: end.Sub(w.since)}
		if len(k.ring) < maxContention {
			k.ring = append(k.ring, e)
			continue
		}
		k.ring[k.next] = e
		k.next = (k.next + 1) % maxContention
	}
}

// Contention lists the last waits for locks of this gateway's transactions, the oldest first.
func (c *Coordinator) Contention() []Contention {
	k := &c.contention
	k.mu.Lock()
	defer k.mu.Unlock()
	return append(append([]Contention(nil), k.ring[k.next:]...), k.ring[:k.next]...)
}
