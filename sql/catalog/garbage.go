package catalog

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/txn"
)

// What DROP, TRUNCATE and rewrites leave behind is on a list here. The leaders of its ranges remove it when nobody may read it any more, which they know: see
// Dropped. Then it is taken off the list.
const (
	// garbageAge is how long it is on the list at the least. Whatever has been writing there without knowing better has ended by then.
	garbageAge = time.Hour
	sweepEvery = 5 * time.Minute
)

// sweep shortens the list now and then, until ctx ends. Several gateways may do so at the same time.
func (s *Store) sweep(ctx context.Context, h *leaseHolder, g txn.Gateway) {
	t := time.NewTimer(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if n, err := s.ForgetDropped(ctx, g, garbageAge); err != nil && ctx.Err() == nil {
			h.log.Warn("cannot look whether anything is left of dropped tables; it is tried again later", "err", err)
		} else if n > 0 {
			h.log.Info("nothing is left of dropped tables and indexes", "of", n)
		}
		if err := h.tidy(ctx); err != nil && ctx.Err() == nil {
			h.log.Debug("cannot remove what is left of schema changes whose gateways are gone; it is tried again later", "err", err)
		}
		t.Reset(sweepEvery)
	}
}

// Dropped returns the spans of the tables and indexes that had been dropped at a time, and of which something may be left. Nobody reads or writes them at later ones.
func Dropped(ctx context.Context, g txn.Gateway, at hlc.Timestamp) ([]keys.Span, error) {
	t := g.Begin(ctx, txn.Options{ReadOnly: true, ReadAsOf: at})
	defer t.Rollback(ctx)
	list, err := garbageList(ctx, t)
	spans := make([]keys.Span, len(list))
	for i := range list {
		spans[i] = list[i].span
	}
	return spans, err
}

// ForgetDropped takes off the list what was dropped at least age ago and has no rows any more, and returns how much that was.
// What cannot be reached is left for another time, and the rest is not held up by it: it may be lost for good.
func (s *Store) ForgetDropped(ctx context.Context, g txn.Gateway, age time.Duration) (forgotten int, err error) {
	t := g.Begin(ctx, txn.Options{ReadOnly: true})
	defer t.Rollback(ctx)
	list, err := garbageList(ctx, t)
	if err != nil {
		return 0, err
	}
	before := t.ReadTimestamp().WallTime - int64(age)
	var failed error
	for _, e := range list {
		if e.since > before {
			continue
		}
		gone, err := forgetDropped(ctx, g, e)
		if ctx.Err() != nil {
			return forgotten, ctx.Err()
		}
		if gone {
			forgotten++
		}
		if failed == nil {
			failed = err
		}
	}
	return forgotten, failed
}

type garbageEntry struct {
	row   keys.Key
	span  keys.Span
	since int64 // wall time
}

func garbageList(ctx context.Context, t txn.Txn) ([]garbageEntry, error) {
	sc := t.Scan(ctx, []keys.Span{tableSpan(garbageTable)}, txn.ScanOptions{})
	defer sc.Close()
	var list []garbageEntry
	prefix := tableKey(garbageTable)
	for {
		page, ok, err := sc.Next(ctx)
		if err != nil || !ok {
			return list, err
		}
		for {
			k, v, ok, err := page.Rows.Next()
			if err != nil {
				return nil, err
			}
			if !ok {
				break
			}
			bad := pgerr.New(pgerr.DataCorrupted, "the catalog's list of dropped data is corrupt")
			if len(v) != 8 {
				return nil, bad
			}
			data, rest, err := keys.DecodeUvarint(k[len(prefix):])
			if err != nil || data < keys.FirstUserTable {
				return nil, bad
			}
			start := keys.Table(data)
			if len(rest) > 0 {
				index, _, err := keys.DecodeUvarint(rest)
				if err != nil {
					return nil, bad
				}
				start = keys.Index(data, index)
			}
			list = append(list, garbageEntry{row: k.Clone(), span: keys.Span{Start: start, End: start.PrefixEnd()}, since: int64(binary.BigEndian.Uint64(v))})
		}
	}
}

// forgetDropped takes an entry off the list if there are no rows any more.
func forgetDropped(ctx context.Context, g txn.Gateway, e garbageEntry) (gone bool, err error) {
	t := g.Begin(ctx, txn.Options{})
	defer func() {
		if !gone {
			t.Rollback(ctx)
		}
	}()
	sc := t.Scan(ctx, []keys.Span{e.span}, txn.ScanOptions{MaxRows: 1})
	defer sc.Close()
	for {
		page, ok, err := sc.Next(ctx)
		if err != nil {
			return false, err
		}
		if !ok {
			break
		}
		if _, _, ok, err := page.Rows.Next(); err != nil || ok {
			return false, err
		}
	}
	if err := t.Delete(e.row); err != nil {
		return false, err
	}
	if _, err := t.Commit(ctx); err != nil {
		if kv.AsError(err).Code.Class() == kv.RetryTxn {
			return false, nil // somebody else was at it
		}
		return false, err
	}
	return true, nil
}
