package exec

import (
	"bytes"
	"context"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/rowenc"
	"github.com/pamirdb/pamir/txn"
)

// Who looks whether a value is free must not be told that it is taken by a row that is about to go, nor that it is free while a row with it is about to
// come: it waits for the other transaction. For the primary key the row's own lock does that. An entry of a unique secondary index is a key of
// its own, so there are locks on it, too:
//
//	the value comes    locked by whoever looks whether it is free, before the row is written (latestLocked, IfAbsent)
//	the value goes     locked by whoever deletes the row or gives it another value (claim)
//	the value stays    not locked by whoever finds it taken, who may go on to lock the row: those who take a row away lock the row
//	                   first and the entry then, and two orders would make deadlocks
//
// These locks make others wait; that no value is there twice is seen to at the commit.

// latestLocked is how a value is looked up that must be free.
var latestLocked = txn.ScanOptions{Latest: true, Lock: kv.LockUpdate}

// maxClaims bounds the entries that a statement locks because it takes them away. Who changes more rows than that takes up no more of the lock
// tables; to others its values look taken until it commits, or until its writes have outgrown its memory and are in the ranges.
const maxClaims = 10_000

// claims reports whether rows can give up entries that have to be locked; with set, by a change of these columns.
func (w *rowWriter) claims(set []int) bool {
	if w.rt.Implicit { // nobody sees the time between the statement and its commit
		return false
	}
	for _, x := range w.second {
		if x.Desc.Unique && (set == nil || w.touches(x, set)) {
			return true
		}
	}
	return false
}

// lost appends the entries in unique secondary indexes that a row gives up: all of them, or with after those that the new row does not have.
func (w *rowWriter) lost(ks []keys.Key, before, after rowenc.Row) ([]keys.Key, error) {
	for _, x := range w.second {
		if !x.Desc.Unique {
			continue
		}
		k, distinct, err := w.key(x, before)
		if err != nil {
			return nil, err
		}
		if !distinct {
			continue
		}
		if after != nil {
			now, _, err := w.key(x, after)
			if err != nil {
				return nil, err
			}
			if bytes.Equal(k, now) {
				continue
			}
		}
		ks = append(ks, k)
	}
	return ks, nil
}

// claim locks entries that the statement is going to take away.
func (w *rowWriter) claim(ctx context.Context, ks []keys.Key) error {
	ks = ks[:min(len(ks), maxClaims-w.claimed)]
	if len(ks) == 0 {
		return nil
	}
	w.claimed += len(ks)
	_, err := w.rt.Txn.GetMany(ctx, ks, txn.ScanOptions{Latest: true, Lock: kv.LockUpdate, Existence: true})
	return err
}
