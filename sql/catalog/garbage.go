package catalog

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/txn"
)

// What DROP, TRUNCATE and rewrites leave behind is deleted in the background, some time after nobody can
// see it any more. Until then reads of the past still find it.
const (
	// garbageAge is how long it stays.
	garbageAge = time.Hour
	// garbagePause is between two batches of garbageBatch rows: the work gives way to everything else.
	garbagePause = 50 * time.Millisecond
	garbageBatch = 1000
	sweepEvery   = 5 * time.Minute
)

// sweep collects garbage now and then, until ctx ends. Several gateways may do so at the same time.
func (s *Store) sweep(ctx context.Context, h *leaseHolder, g txn.Gateway) {
	t := time.NewTimer(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if n, err := s.CollectGarbage(ctx, g, garbageAge, garbagePause); err != nil && ctx.Err() == nil {
			h.log.Warn("cannot remove the rows of dropped tables; it is tried again later", "removed", n, "err", err)
		} else if n > 0 {
			h.log.Info("removed rows of dropped tables", "rows", n)
		}
		t.Reset(sweepEvery)
	}
}

// CollectGarbage deletes the rows of tables and indexes that were dropped at least age ago, pausing between batches, and
// returns how many there were. What cannot be reached is left for another time, and the rest is not held up by it: it may be lost for good.
func (s *Store) CollectGarbage(ctx context.Context, g txn.Gateway, age, pause time.Duration) (removed int64, err error) {
	list, err := garbageList(ctx, g, age)
	if err != nil {
		return 0, err
	}
	var failed error
	for _, entry := range list {
		n, err := collect(ctx, g, entry, pause)
		removed += n
		if ctx.Err() != nil {
			return removed, ctx.Err()
		}
		if failed == nil {
			failed = err
		}
	}
	return removed, failed
}

// collect deletes the rows of an entry, and the entry.
func collect(ctx context.Context, g txn.Gateway, e garbageEntry, pause time.Duration) (removed int64, err error) {
	for {
		n, err := deleteBatch(ctx, g, e)
		removed += n
		if err != nil || n == 0 {
			return removed, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return removed, ctx.Err()
		}
	}
}

type garbageEntry struct {
	row  keys.Key
	span keys.Span
}

func garbageList(ctx context.Context, g txn.Gateway, age time.Duration) ([]garbageEntry, error) {
	t := g.Begin(ctx, txn.Options{ReadOnly: true})
	defer t.Rollback(ctx)
	before := t.ReadTimestamp().WallTime - int64(age)
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
			if int64(binary.BigEndian.Uint64(v)) > before {
				continue
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
			list = append(list, garbageEntry{row: k.Clone(), span: keys.Span{Start: start, End: start.PrefixEnd()}})
		}
	}
}

// deleteBatch deletes some rows of an entry, or the entry itself when there are none left.
func deleteBatch(ctx context.Context, g txn.Gateway, e garbageEntry) (n int64, err error) {
	t := g.Begin(ctx, txn.Options{})
	defer func() {
		if err != nil {
			t.Rollback(ctx)
		}
	}()
	sc := t.Scan(ctx, []keys.Span{e.span}, txn.ScanOptions{MaxRows: garbageBatch})
	defer sc.Close()
	for n < garbageBatch {
		page, ok, err := sc.Next(ctx)
		if err != nil {
			return 0, err
		}
		if !ok {
			break
		}
		for {
			k, _, ok, err := page.Rows.Next()
			if err != nil {
				return 0, err
			}
			if !ok {
				break
			}
			if err := t.Delete(k.Clone()); err != nil {
				return 0, err
			}
			n++
		}
	}
	if n == 0 {
		if err := t.Delete(e.row); err != nil {
			return 0, err
		}
	}
	if _, err := t.Commit(ctx); err != nil {
		if kv.AsError(err).Code.Class() == kv.RetryTxn {
			return 0, nil // somebody else was at it; the next sweep goes on
		}
		return 0, err
	}
	return n, nil
}
