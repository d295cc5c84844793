package concurrency

import (
	"slices"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// HeldLock is an unreplicated lock that one leader hands to the next.
type HeldLock struct {
	Key      keys.Key
	Txn      *kv.TxnMeta // shared by all locks of the transaction
	Strength kv.LockStrength
}

// HandOver closes the table as Clear does, and returns the unreplicated locks that were held, of at most maxBytes of keys
// and metadata; left is how many more there were. Whole transactions are left out, youngest first: one that has lost
// one lock has to look after all of them. Prepared locks are on disk: the successor finds them there.
func (t *Table) HandOver(err error, maxBytes int) (held []HeldLock, left int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	byAge := make([]*txnLocks, 0, len(t.txns))
	for _, tl := range t.txns {
		byAge = append(byAge, tl)
	}
	slices.SortFunc(byAge, func(a, b *txnLocks) int { return slices.Compare(a.meta.ID[:], b.meta.ID[:]) })
	bytes, full := 0, false
	for _, tl := range byAge {
		from := len(held)
		bytes += metaBytes + len(tl.meta.Anchor)
		for _, kl := range tl.all {
			h := kl.find(tl.meta.ID)
			if h == nil || h.strength == kv.LockNone {
				continue
			}
			held = append(held, HeldLock{Key: keys.Key(kl.key), Txn: tl.meta, Strength: h.strength})
			bytes += lockBytes + len(kl.key)
		}
		if full = full || bytes > maxBytes; full {
			left += len(held) - from
			held = held[:from]
		}
	}
	t.clear(err)
	return held, left
}

// What a transaction and a lock take in a message, besides keys.
const (
	metaBytes = 80
	lockBytes = 8
)

// Install records locks that a predecessor handed over. No request has been let in since Clear or HandOver.
func (t *Table) Install(held []HeldLock) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range held {
		if int(t.shared) >= t.cfg.MaxLocks {
			t.cfg.Metrics.LocksShed.Add(1)
			continue
		}
		kl := t.locks[string(l.Key)]
		if kl == nil {
			kl = t.addKey(string(l.Key))
		}
		if h := kl.find(l.Txn.ID); h != nil {
			h.strength = max(h.strength, l.Strength)
			continue
		}
		tl := t.txnOf(l.Txn)
		kl.holders = append(kl.holders, holder{txn: tl.meta, strength: l.Strength})
		tl.add(kl)
		t.shared++
	}
}
