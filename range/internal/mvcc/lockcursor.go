package mvcc

import (
	"bytes"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// LockCursor walks over the locks of a span without reading more of them than it is asked to: a large transaction
// may have left millions.
//
//	c, err := r.LockCursor(span, false)
//	for c.Next() { use c.Key(), c.Txn(), c.Record() }
//	err = c.Err()
type LockCursor struct {
	it      *pebble.Iterator
	reverse bool
	started bool
	key     keys.Key
	txn     kv.TxnID
	err     error
}

// LockCursor starts a walk. It uses the Reader's iterator over locks: it ends when another method reads locks.
func (r *Reader) LockCursor(span keys.Span, reverse bool) (LockCursor, error) {
	it, err := r.lockIter()
	if err != nil {
		return LockCursor{}, err
	}
	r.buf = engine.AppendLockKey(r.buf[:0], span.Start)
	r.buf2 = engine.AppendLockKey(r.buf2[:0], span.EndKey())
	it.SetBounds(r.buf, r.buf2)
	return LockCursor{it: it, reverse: reverse}, nil
}

// Next moves to the next lock; false at the end or on an error.
func (c *LockCursor) Next() bool {
	if c.it == nil || c.err != nil {
		return false
	}
	ok := false
	switch {
	case !c.started && c.reverse:
		ok = c.it.Last()
	case !c.started:
		ok = c.it.First()
	case c.reverse:
		ok = c.it.Prev()
	default:
		ok = c.it.Next()
	}
	c.started = true
	if !ok {
		c.err = engine.Classify(c.it.Error())
		c.Close()
		return false
	}
	key, _, id, ok := engine.DecodeLock(c.it.Key())
	if !ok {
		c.err = corrupt("lock key", c.it.Key())
		return false
	}
	c.key, c.txn = append(c.key[:0], key...), id
	return true
}

// Key returns the locked key, valid until Next.
func (c *LockCursor) Key() keys.Key { return c.key }

// Txn returns whose lock it is.
func (c *LockCursor) Txn() kv.TxnID { return c.txn }

// Len returns the length of the stored lock.
func (c *LockCursor) Len() (int, error) {
	b, err := c.it.ValueAndErr()
	return len(b), engine.Classify(err)
}

// Record decodes the lock. It shares nothing.
func (c *LockCursor) Record() (*kv.LockRecord, error) {
	b, err := c.it.ValueAndErr()
	if err != nil {
		return nil, engine.Classify(err)
	}
	l, err := kv.DecodeLockRecord(bytes.Clone(b))
	if err != nil || l.Txn.ID != c.txn {
		return nil, corrupt("lock", b)
	}
	return &l, nil
}

// Err returns what ended the walk, nil at its end.
func (c *LockCursor) Err() error { return c.err }

// Close ends the walk before its end and lets the Reader look for single locks again without bounds.
func (c *LockCursor) Close() {
	if c.it != nil {
		c.it.SetBounds(nil, nil)
		c.it = nil
	}
}
