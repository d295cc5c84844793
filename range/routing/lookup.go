package routing

import (
	"context"
	"fmt"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// lookup returns the entry for a key, or for a range id if key is nil. Its errors are
// of class RetryRouting, but for a context that ended.
func (s *Sender) lookup(ctx context.Context, key keys.Key, id kv.RangeID) (*entry, error) {
	if id == kv.MetaRangeID && key == nil || key != nil && key.Less(keys.TableMin) {
		return s.metaEntry()
	}
	select {
	case s.lookups <- struct{}{}:
	case <-ctx.Done():
		return nil, kv.Errorf(kv.CodeUnavailable, "looking up a range: %v", ctx.Err())
	}
	defer func() { <-s.lookups }()
	// While this one waited its turn, another may have learned it.
	if key != nil {
		if e := s.cache.find(key); e != nil {
			return e, nil
		}
	}
	s.cfg.Metrics.lookups.Inc()
	start := keys.MetaMin
	if key != nil {
		start = keys.Meta(key).Next()
	}
	for {
		descs, more, err := s.readMeta(ctx, start)
		if err != nil {
			return nil, err
		}
		s.Learn(descs...)
		if key != nil {
			if e := s.cache.find(key); e != nil {
				return e, nil
			}
			return nil, kv.Errorf(kv.CodeUnavailable, "the meta range knows no range for %s yet", keys.Pretty(key))
		}
		if e := s.cache.findID(id); e != nil {
			return e, nil
		}
		if !more || len(descs) == 0 {
			return nil, kv.Errorf(kv.CodeRangeMismatch, "there is no range %d", id)
		}
		start = keys.Meta(descs[len(descs)-1].EndKey).Next()
	}
}

// metaEntry returns the entry of the meta range itself.
func (s *Sender) metaEntry() (*entry, error) {
	d := s.cfg.Hints.Meta()
	if d == nil {
		return nil, kv.Errorf(kv.CodeUnavailable, "where the meta range is has not been learned yet")
	}
	s.cache.insert(d)
	if e := s.cache.findID(kv.MetaRangeID); e != nil {
		return e, nil
	}
	return nil, kv.Errorf(kv.CodeUnavailable, "the meta range is not addressable yet")
}

// readMeta reads descriptors from the meta range, from start on.
func (s *Sender) readMeta(ctx context.Context, start keys.Key) (descs []kv.RangeDescriptor, more bool, err error) {
	resp, err := s.Send(ctx, &kv.BatchRequest{
		MaxRows:  lookupPrefetch,
		Requests: []kv.Request{&kv.Scan{Spans: []keys.Span{{Start: start, End: keys.MetaMax}}}},
	})
	if err != nil {
		return nil, false, fmt.Errorf("looking up a range: %w", err)
	}
	scan := resp.Responses[0].(*kv.ScanResponse)
	rows := scan.Rows
	for {
		_, v, ok, err := rows.Next()
		if err != nil {
			return nil, false, kv.AsError(err)
		}
		if !ok {
			return descs, len(scan.Resume) > 0, nil
		}
		d, err := kv.DecodeRangeDescriptor(v)
		if err != nil {
			return nil, false, kv.Errorf(kv.CodeCorruption, "meta range: %v", err)
		}
		descs = append(descs, d)
	}
}

// AllRanges reads every descriptor from the meta range.
func (s *Sender) AllRanges(ctx context.Context) ([]kv.RangeDescriptor, error) {
	var all []kv.RangeDescriptor
	start := keys.MetaMin
	for {
		descs, more, err := s.readMeta(ctx, start)
		if err != nil {
			return nil, err
		}
		all = append(all, descs...)
		if !more || len(descs) == 0 {
			return all, nil
		}
		start = keys.Meta(descs[len(descs)-1].EndKey).Next()
	}
}

// Ranges cuts spans at range bounds, by the cache. Parts come in the order of the
// spans; with reverse, each span is cut from its end. Neighbouring pieces in one range share a Part.
func (s *Sender) Ranges(ctx context.Context, spans []keys.Span, reverse bool) ([]kv.Part, error) {
	var parts []kv.Part
	add := func(id kv.RangeID, sp keys.Span) {
		if n := len(parts); n > 0 && parts[n-1].RangeID == id {
			parts[n-1].Spans = append(parts[n-1].Spans, sp)
			return
		}
		parts = append(parts, kv.Part{RangeID: id, Spans: []keys.Span{sp}})
	}
	for _, sp := range spans {
		if !sp.Valid() {
			return nil, kv.Errorf(kv.CodeBadRequest, "invalid span %s", sp)
		}
		if sp.IsPoint() {
			d, err := s.descriptorOf(ctx, sp.Start)
			if err != nil {
				return nil, err
			}
			add(d.RangeID, sp)
			continue
		}
		for sp.Start.Less(sp.End) {
			if reverse {
				d, err := s.descriptorBefore(ctx, sp.Start, sp.End)
				if err != nil {
					return nil, err
				}
				from := sp.Start
				if from.Less(d.StartKey) {
					from = d.StartKey
				}
				add(d.RangeID, keys.Span{Start: from, End: sp.End})
				sp.End = from
				continue
			}
			d, err := s.descriptorOf(ctx, sp.Start)
			if err != nil {
				return nil, err
			}
			to := sp.End
			if d.EndKey.Less(to) {
				to = d.EndKey
			}
			add(d.RangeID, keys.Span{Start: sp.Start, End: to})
			sp.Start = to
		}
	}
	return parts, nil
}

func (s *Sender) descriptorOf(ctx context.Context, k keys.Key) (*kv.RangeDescriptor, error) {
	if e := s.cache.find(k); e != nil {
		return e.desc, nil
	}
	a := attempt{s: s, key: k, req: &kv.BatchRequest{}}
	for {
		e, err := s.lookup(ctx, k, 0)
		if err == nil {
			return e.desc, nil
		}
		if done, err := a.failed(ctx, err); done {
			return nil, err
		}
		if !a.pause(ctx) {
			return nil, a.ended(ctx)
		}
	}
}

// descriptorBefore returns the descriptor of the range that holds the keys just before end.
func (s *Sender) descriptorBefore(ctx context.Context, start, end keys.Key) (*kv.RangeDescriptor, error) {
	if e := s.cache.findBefore(end); e != nil {
		return e.desc, nil
	}
	if end.Less(keys.TableMin) || end.Equal(keys.TableMin) {
		return s.descriptorOf(ctx, start)
	}
	a := attempt{s: s, key: start, req: &kv.BatchRequest{}}
	for {
		// Of the ranges that end at or after end, the first.
		s.cfg.Metrics.lookups.Inc()
		descs, _, err := s.readMeta(ctx, keys.Meta(end))
		if err == nil {
			s.Learn(descs...)
			if e := s.cache.findBefore(end); e != nil {
				return e.desc, nil
			}
			err = kv.Errorf(kv.CodeUnavailable, "the meta range knows no range before %s yet", keys.Pretty(end))
		}
		if done, err := a.failed(ctx, err); done {
			return nil, err
		}
		if !a.pause(ctx) {
			return nil, a.ended(ctx)
		}
	}
}
