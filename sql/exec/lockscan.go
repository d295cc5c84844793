package exec

import (
	"context"
	"sync"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/types"
	"github.com/pamirdb/pamir/txn"
)

// A scan that locks filters first, so that rows that are not wanted are neither locked nor waited for: beside the data (a page filters, locks and
// takes a row, in this order), or, where the rows are found in another way, by a look at them without locks. What passes is then read again under its lock, and has
// to pass once more.
//
// Under SERIALIZABLE only the first kind does so. What is looked at without a lock would have to stay as it is until the commit, and where others write such
// rows all the time, locks come cheaper than to run the transaction again.

// passedRow is a row that has passed the filter, and is not locked yet.
type passedRow struct {
	key   keys.Key
	entry entry // that led to it, of a secondary index
}

// filtersFirst reports whether rows are looked at before they are locked.
func (s *scan) filtersFirst() bool {
	if s.n.Lock == kv.LockNone || s.filter == nil || s.in.rt.Firm {
		return false
	}
	if s.n.Wait == kv.WaitSkip { // nothing rests on what is left out
		return true
	}
	return s.in.rt.Passing && s.portable && (s.fetch || s.beside)
}

// preview reads rows without locks, and keeps those that pass. s.entries, if there are any, led to them.
func (s *scan) preview(ctx context.Context, ks []keys.Key) error {
	opts := txn.ScanOptions{Loose: s.n.Wait == kv.WaitSkip}
	if !opts.Loose {
		// What passes is read again; that the others did not pass must hold for the snapshot of the statement.
		var mu sync.Mutex
		opts.LooseIf = func(k keys.Key, v []byte) bool {
			mu.Lock()
			defer mu.Unlock()
			ok, err := s.passes(k, v)
			return ok && err == nil
		}
	}
	vals, err := s.in.rt.Txn.GetMany(ctx, ks, opts)
	if err != nil {
		return err
	}
	for i, v := range vals {
		if v == nil {
			continue
		}
		ok, err := s.passes(ks[i], v)
		if err != nil {
			return err
		}
		if ok {
			r := passedRow{key: ks[i]}
			if len(s.entries) > 0 {
				r.entry = s.entries[i]
			}
			s.passed = append(s.passed, r)
		}
	}
	return nil
}

// keepPassing keeps those of some rows of the primary index that pass.
func (s *scan) keepPassing(es []entry) error {
	for _, e := range es {
		ok, err := s.passes(e.key, e.value)
		if err != nil {
			return err
		}
		if ok {
			s.passed = append(s.passed, passedRow{key: keys.Key(e.key).Clone()})
		}
	}
	return nil
}

func (s *scan) passes(key keys.Key, val []byte) (bool, error) {
	s.single.Reset()
	if err := s.dec.Decode(key, val, s.single.Cols); err != nil {
		return false, err
	}
	s.single.N = 1
	b, err := s.filtered(s.single)
	return err == nil && b.Len() > 0, err
}

// lockPassed locks rows that have passed, no more than are wanted, and returns those that still do.
func (s *scan) lockPassed(ctx context.Context) (*types.Batch, error) {
	n := min(len(s.passed), types.BatchSize)
	if s.left >= 0 {
		n = int(min(int64(n), max(s.left, 1)))
	}
	ks := make([]keys.Key, n)
	s.entries = s.entries[:0]
	for i, r := range s.passed[:n] {
		ks[i] = r.key
		s.entries = append(s.entries, r.entry)
	}
	s.passed = append(s.passed[:0], s.passed[n:]...)
	if s.loose {
		return s.lockedRows(ctx, ks)
	}
	return s.getRows(ctx, ks, false)
}
