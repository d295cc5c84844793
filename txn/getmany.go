package txn

import (
	"context"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// maxGetsPerBatch bounds the keys that one batch of GetMany reads.
const maxGetsPerBatch = 512

// GetMany implements Txn.
func (t *txn) GetMany(ctx context.Context, ks []keys.Key, opts ScanOptions) ([][]byte, error) {
	out := make([][]byte, len(ks))
	var ask, more []int // indexes into ks
	for i, k := range ks {
		w, ok := t.own(k, &opts)
		if !ok {
			ask = append(ask, i)
			continue
		}
		if opts.IfAbsent == nil && t.weaker(k, opts.Lock) {
			if opts.Wait != kv.WaitSkip {
				more = append(more, i)
			} else if locked, err := t.strengthen(ctx, k, opts); err != nil {
				return nil, err
			} else if !locked {
				continue
			}
		}
		if !w.deleted {
			out[i] = notNil(w.value)
		}
	}
	if len(more) > 0 {
		if err := t.getMany(ctx, ks, more, make([][]byte, len(ks)), opts, 0); err != nil {
			return nil, err
		}
	}
	if len(ask) == 0 {
		return out, nil
	}
	if len(ask) == 1 {
		if opts.IfAbsent != nil {
			opts.IfAbsent = []bool{opts.ifAbsent(ask[0])}
		}
		v, exists, err := t.Get(ctx, ks[ask[0]], opts)
		if exists {
			out[ask[0]] = notNil(v)
		}
		return out, err
	}
	return out, t.getMany(ctx, ks, ask, out, opts, 0)
}

// notNil tells an empty value from a missing one.
func notNil(v []byte) []byte {
	if v == nil {
		return []byte{}
	}
	return v
}

func (t *txn) getMany(ctx context.Context, ks []keys.Key, ask []int, out [][]byte, opts ScanOptions, depth int) error {
	spans := make([]keys.Span, len(ask))
	for n, i := range ask {
		spans[n].Start = ks[i]
	}
	parts, err := t.c.cfg.Sender.Ranges(ctx, spans, false)
	if err != nil {
		return asError(ctx, err)
	}
	// Which index each key of each part came from. A key may be asked for twice.
	var where map[string][]int
	if len(parts) > 1 {
		where = make(map[string][]int, len(ask))
		for _, i := range ask {
			where[string(ks[i])] = append(where[string(ks[i])], i)
		}
	}
	var batches [][]int
	next := 0
	for _, p := range parts {
		var idx []int
		for _, s := range p.Spans {
			if where == nil {
				idx = append(idx, ask[next])
				next++
				continue
			}
			at := where[string(s.Start)]
			if len(at) == 0 {
				return kv.Errorf(kv.CodeInternal, "a key was added when keys were cut by range")
			}
			idx = append(idx, at[0])
			where[string(s.Start)] = at[1:]
		}
		for len(idx) > 0 {
			n := min(len(idx), maxGetsPerBatch)
			batches = append(batches, idx[:n])
			idx = idx[n:]
		}
	}
	return t.c.inParallel(ctx, len(batches), func(ctx context.Context, b int) error {
		err := t.getBatch(ctx, ks, batches[b], out, opts)
		if kv.HasCode(err, kv.CodeRangeMismatch) && depth < maxRecuts {
			return t.getMany(ctx, ks, batches[b], out, opts, depth+1)
		}
		return err
	})
}

// getBatch reads keys of one range.
func (t *txn) getBatch(ctx context.Context, ks []keys.Key, idx []int, out [][]byte, opts ScanOptions) error {
	if err := t.c.failRead(); err != nil {
		return err
	}
	for n := 0; ; n++ {
		gets := make([]kv.Get, len(idx))
		req := &kv.BatchRequest{Requests: make([]kv.Request, len(idx))}
		for j, i := range idx {
			gets[j] = kv.Get{Key: ks[i], Lock: opts.Lock, IfAbsent: opts.ifAbsent(i)}
			req.Requests[j] = &gets[j]
		}
		at, err := t.stamp(ctx, req, &kv.TxnMeta{}, &opts)
		if err != nil {
			return err
		}
		resp, err := t.send(ctx, req)
		if err != nil {
			if err := t.moveFor(ctx, err, at, n); err != nil {
				for _, i := range idx {
					t.mayHold(opts.Lock, []keys.Key{ks[i]}, nil)
				}
				return err
			}
			continue
		}
		r := readDone{at: readAt(resp, at), strength: opts.Lock, firm: opts.Firm}
		for j, i := range idx {
			got, ok := resp.Responses[j].(*kv.GetResponse)
			if !ok {
				return kv.Errorf(kv.CodeInternal, "the answer to a Get is a %T", resp.Responses[j])
			}
			out[i] = nil
			if got.Exists {
				out[i] = notNil(got.Value)
			}
			plain := opts.Lock == kv.LockNone || got.Exists && opts.ifAbsent(i)
			switch {
			case plain && !opts.rests(ks[i], got.Value, got.Exists):
			case plain:
				r.spans = append(r.spans, keys.Span{Start: ks[i]})
			case got.Exists && opts.Existence:
				r.existing = append(r.existing, ks[i])
			case got.Exists || opts.Wait != kv.WaitSkip:
				r.lockedKeys = append(r.lockedKeys, ks[i])
			default:
				r.perhaps = append(r.perhaps, ks[i])
			}
		}
		return t.done(ctx, r)
	}
}
