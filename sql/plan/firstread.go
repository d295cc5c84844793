package plan

import (
	"sync"
	"sync/atomic"
)

// While no block has come to its end that has read by a statement, nobody knows whether such blocks write the row that they have read. When many clients
// begin at once, two of them are likely to read the same row in just that moment, and one would fail for it. So among these first blocks the second that
// wants a row waits for the end of the first, for a moment: it is known then whether its own read had better lock. Nothing is locked for that, those that write without having
// read do not notice, and so it costs little if it was needless.

// firstReads are the rows that have been read by blocks which began before anything was known, and have not ended.
type firstReads struct {
	open atomic.Int32 // how many there are, or are about to be
	off  atomic.Bool  // somebody has waited in vain
	mu   sync.Mutex
	rows map[uint64]*FirstRead // by KeyRead.Row
}

// FirstRead is that a block has read a row before it was known what such blocks do.
type FirstRead struct {
	history *KeyHistory
	row     uint64
	session int32
	done    chan struct{} // closed by End
}

// maxFirst bounds the rows that a statement's first blocks have read.
const maxFirst = 256

// known reports whether a block that has read so has written the row, has ended without, or has failed for it.
func (k *KeyHistory) known() bool { return k.uses.Load() != 0 || k.until.Load() != 0 }

// First comes before a session's read of a row. If one of the first blocks has read it, the answer is that one's read: First should be called again when it has ended. If the
// caller is the first, the answer is what it has to end. Mostly, it is neither.
func (k *KeyHistory) First(row uint64, session int32) (mine, other *FirstRead) {
	f := &k.first
	if f.off.Load() || k.known() && f.open.Load() == 0 {
		return nil, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if r := f.rows[row]; r != nil {
		return nil, r
	}
	f.open.Add(1) // before it is looked whether anything is known: who knows, and sees that there are none, has no reason to wait
	if k.known() || len(f.rows) >= maxFirst {
		f.open.Add(-1)
		return nil, nil
	}
	if f.rows == nil {
		f.rows = map[uint64]*FirstRead{}
	}
	r := &FirstRead{k, row, session, make(chan struct{})}
	f.rows[row] = r
	return r, nil
}

// InVain says that somebody has waited for one of the first blocks for too long: nobody waits any more.
func (k *KeyHistory) InVain() { k.first.off.Store(true) }

// Waits reports whether one of the first blocks is waited for.
func (k *KeyHistory) Waits() bool { return !k.first.off.Load() }

// By reports whether it was by the statement with this history.
func (r *FirstRead) By(k *KeyHistory) bool { return r.history == k }

// Of reports whether it is that of the row.
func (r *FirstRead) Of(row uint64) bool { return r.row == row }

// Session is the session whose block has read it.
func (r *FirstRead) Session() int32 { return r.session }

// Ended is closed when the block has ended.
func (r *FirstRead) Ended() <-chan struct{} { return r.done }

// End says that the block has ended. It is called once.
func (r *FirstRead) End() {
	f := &r.history.first
	f.mu.Lock()
	delete(f.rows, r.row)
	f.mu.Unlock()
	f.open.Add(-1)
	close(r.done)
}
