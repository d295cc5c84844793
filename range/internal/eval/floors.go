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
// When it may be believed:
//
//  1. Locks come into a range's state in two ways only: an entry of the log that a leader has evaluated (prepare, prepareOpen, undoSpan), and the state of another replica
//     (a snapshot), which a leader never takes in. Of statements' locks, handed over or not, none is on disk. What rides along with another write, and what collects garbage, lays none.
//  2. A floor is raised by whoever holds the key's latch for writing and has found no lock at all, above a lower floor or anywhere. Two writers of a key never hold their latches at once, so
//     nobody else is between the evaluation and the application of a lock then. Who sees resolutions that are not applied yet (Env.Ahead) raises none: they may never be.
//  3. Whoever lays a lock lowers the floor to its own id, when it is evaluated, under its latch and before it is proposed. A repeated or late request is evaluated anew and
//     does the same. An entry is proposed once: what could not be proposed in the term of its evaluation is dropped, and latches go when the entry has been applied or never will be.
//  4. So a floor holds of every state of the engine from its raising on, until it is lowered. Who reads remembers where the count of raisings stood (Now) before it opened its first
//     iterator, and a floor that was raised later is none to it. (A floor that was merely lowered holds of earlier states as well.)
//  5. A lock may be laid while somebody reads, and he may know the floor of before. If it lands at or below what he reads, one of the two has waited for the other's
//     latch; otherwise it is above, and of no concern to him. A locking read's latches are at every timestamp. Recovery's questions, refreshes and scans do not go by floors at all.
//  6. What other leaders lay is not seen here, so each leadership has LockFloors of its own. They begin (concurrency.Table.Open) when an entry of the leader's term has been applied, and
//     with it all that its predecessors proposed. Who still evaluates for an older leadership of this replica cannot propose, and its answers are to reads within that one's lease,
//     below which no later leader lays anything.
//  7. A split or a merge is applied while the leader holds latches over the whole range, and floors end there: a part that was led elsewhere in between begins without.
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
	if err == nil && l == nil && steps >= manyGone && !e.id.IsZero() && !e.env.Ahead {
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
