package eval

import (
	"sync"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// LockFloors remembers, of some keys, that no prepared lock stands on them but those of transactions with an id at or above a floor.
//
// Why: an entry of the lock table that is deleted stays in the engine, until its memtable has been flushed and what came of it compacted, and a look for a lock steps over all
// that are left of its key. On a row that many transactions prepare one after the other that is thousands, at every look.
//
// When it may be believed. A floor is raised by whoever holds the key's latch for writing and has found no lock at all; nobody else can lay one meanwhile. It is
// lowered before a lock below it is proposed. So it holds of every state of the engine from the moment of its raising on, and not of earlier ones: who reads remembers where the
// count of raisings stood (Now) before it opened its first iterator, and a floor that was raised later is none to it. What other leaders lay is not seen here, so
// each leadership has LockFloors of its own, and so has a range after a split or a merge.
//
// The zero value has none. It may be used by many goroutines.
type LockFloors struct {
	mu  sync.Mutex
	now uint64 // counts raisings
	of  map[string]floor
}

type floor struct {
	id     kv.TxnID
	raised uint64
}

// maxFloors bounds the keys of one range. They are those of rows that are hot just now; when there are more, it begins anew.
const maxFloors = 1024

// Now is the count of raisings so far.
func (f *LockFloors) Now() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// Floor returns the floor of a key for whoever began at the count at; zero if there is none.
func (f *LockFloors) Floor(key keys.Key, at uint64) kv.TxnID {
	f.mu.Lock()
	defer f.mu.Unlock()
	if x, ok := f.of[string(key)]; ok && x.raised <= at {
		return x.id
	}
	return kv.TxnID{}
}

// Raise: whoever holds the key's latch for writing has found no lock.
func (f *LockFloors) Raise(key keys.Key, id kv.TxnID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if x, ok := f.of[string(key)]; ok && !x.id.Less(id) {
		return // which holds as well
	}
	if f.of == nil || len(f.of) >= maxFloors {
		f.of = map[string]floor{}
	}
	f.now++
	f.of[string(key)] = floor{id, f.now}
}

// Lower: a lock of the transaction will stand there.
func (f *LockFloors) Lower(key keys.Key, id kv.TxnID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if x, ok := f.of[string(key)]; ok && id.Less(x.id) {
		x.id = id
		f.of[string(key)] = x
	}
}

// manyGone is from how many entries on a floor is worth its place: a lock that has gone leaves two, itself and its deletion.
const manyGone = 2

// lockOn reads the lock on key.
func (e *evaluation) lockOn(key keys.Key) (*kv.LockRecord, error) {
	l, _, err := e.lookForLock(key)
	return l, err
}

func (e *evaluation) lookForLock(key keys.Key) (l *kv.LockRecord, steps int, err error) {
	if e.env.Floors == nil {
		l, err = e.r.Lock(key)
		return l, 0, err
	}
	return e.r.LockFrom(key, e.env.Floors.Floor(key, e.floorsAt))
}

// lockForWrite is lockOn for a key whose latch is held for writing.
func (e *evaluation) lockForWrite(key keys.Key) (*kv.LockRecord, error) {
	l, steps, err := e.lookForLock(key)
	if err == nil && l == nil && steps >= manyGone && !e.id.IsZero() {
		e.env.Floors.Raise(key, e.id)
	}
	return l, err
}

// willLock is called before a lock of this transaction is laid.
func (e *evaluation) willLock(key keys.Key) {
	if e.env.Floors != nil && !e.env.Planted.FloorStays {
		e.env.Floors.Lower(key, e.id)
	}
}
