package replica

import (
	"context"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// A split must say how much of the range lies to the right. To count it takes as long as to read it, and writers must not
// wait for that: it is counted in a snapshot, while a splitWatch notes which keys are written, and those are counted again, in a
// later snapshot, and again, until so few are left that the last round is done while the range stands still.
const (
	splitRounds = 8
	// splitLast is how many keys may be left for the last round; a key takes some 10 µs.
	splitLast = 200
	// maxWatched bounds the keys that are noted in one round. Beyond it the count begins again, in the end while the
	// range stands still: a range that is written so fast is not split lightly.
	maxWatched = 500_000
)

// splitWatch notes the keys of a span that are written. It is guarded by raftMu.
type splitWatch struct {
	span keys.Span
	keys map[string]struct{}
	// lost: something was written that is not noted.
	lost bool
}

// wrote notes what a batch that is about to be applied writes.
func (w *splitWatch) wrote(b *pebble.Batch) {
	for r := b.Reader(); !w.lost; {
		kind, enc, _, ok, err := r.Next()
		if err != nil || len(w.keys) > maxWatched {
			w.lost = true
			return
		}
		if !ok {
			return
		}
		switch kind {
		case pebble.InternalKeyKindSet, pebble.InternalKeyKindDelete, pebble.InternalKeyKindSingleDelete, pebble.InternalKeyKindDeleteSized:
		case pebble.InternalKeyKindLogData:
			continue
		default: // a range of keys
			w.lost = true
			return
		}
		k, _, ok := engine.SplitKey(enc)
		if !ok {
			w.lost = true
			return
		}
		key := keys.Key(k)
		if key.IsLocal() {
			if key, err = keys.DecodeLock(key); err != nil {
				continue
			}
		}
		if w.span.Contains(key) {
			w.keys[string(key)] = struct{}{}
		}
	}
}

// splitCount is a count of the right side under way.
type splitCount struct {
	r     *Replica
	right *kv.RangeDescriptor
	stats kv.Stats
	snap  *pebble.Snapshot
}

// countRight begins to count what lies in right, and goes on until little is missing. Call finish when nothing is written any more, and
// close in any case. adminMu is held.
func (r *Replica) countRight(ctx context.Context, right *kv.RangeDescriptor) (_ *splitCount, err error) {
	c := &splitCount{r: r, right: right}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if _, err := c.next(); err != nil {
		return nil, err
	}
	if c.stats, err = mvcc.ComputeStats(ctx, c.snap, right); err != nil {
		return nil, err
	}
	for range splitRounds {
		n, err := c.recount(ctx)
		if err != nil {
			return nil, err
		}
		if n <= splitLast {
			break
		}
	}
	return c, nil
}

// finish counts what was written since the last round, with latches over the whole range.
func (c *splitCount) finish(ctx context.Context) (kv.Stats, error) {
	_, err := c.recount(ctx)
	return c.stats, err
}

// recount counts anew what was written since the last snapshot, and returns how many keys that were.
func (c *splitCount) recount(ctx context.Context) (n int, err error) {
	old := c.snap
	w, err := c.next()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, engine.Classify(old.Close())) }()
	if w.lost {
		c.stats, err = mvcc.ComputeStats(ctx, c.snap, c.right)
		return maxWatched, err
	}
	ks := make([]keys.Key, 0, len(w.keys))
	for k := range w.keys {
		ks = append(ks, keys.Key(k))
	}
	slices.SortFunc(ks, keys.Key.Compare)
	before, err := mvcc.KeyStats(ctx, old, ks)
	if err != nil {
		return 0, err
	}
	now, err := mvcc.KeyStats(ctx, c.snap, ks)
	if err != nil {
		return 0, err
	}
	c.stats.Add(now)
	c.stats.Sub(before)
	return len(ks), nil
}

// next takes a snapshot, begins to note what is written from then on, and returns what was noted before.
func (c *splitCount) next() (w *splitWatch, err error) {
	err = c.r.Call(func() error {
		w, c.r.watch = c.r.watch, &splitWatch{span: c.right.Span(), keys: map[string]struct{}{}}
		c.snap = c.r.deps.Engine.DB().NewSnapshot()
		return nil
	})
	return w, err
}

func (c *splitCount) close() {
	c.r.post(func(error) { c.r.watch = nil })
	if c.snap == nil {
		return
	}
	if err := c.snap.Close(); err != nil {
		c.r.logger().Warn("close snapshot", "err", err)
	}
	c.snap = nil
}
