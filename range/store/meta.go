package store

import (
	"context"
	"math/rand/v2"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// tryWriteMeta writes descriptors where no later ones are. Of two descriptors that overlap, the one with the higher generation is the later: a split
// raises it on both sides, and a merge beyond both. So what lies inside of a descriptor's bounds, and is earlier, was absorbed by a merge, and goes; and what
// a later one covers is not written.
func (s *Store) tryWriteMeta(ctx context.Context, descs []*kv.RangeDescriptor) error {
	now := s.clock.Now()
	txn := &kv.TxnMeta{
		ID: kv.MakeTxnID(now, rand.Uint64()), Anchor: keys.Meta(descs[0].EndKey),
		Gateway: s.id.NodeID, ReadTS: now, UncertaintyLimit: now.Add(s.clock.MaxOffset()),
	}
	read := &kv.BatchRequest{Txn: txn, CanMoveReadTS: true}
	inside := func(d *kv.RangeDescriptor) keys.Span {
		return keys.Span{Start: keys.Meta(d.StartKey).Next(), End: keys.Meta(d.EndKey)}
	}
	for _, d := range descs {
		read.Requests = append(read.Requests, &kv.Get{Key: keys.Meta(d.EndKey)}, &kv.Scan{Spans: []keys.Span{inside(d)}})
	}
	got, err := s.sendRouted(ctx, read)
	if err != nil {
		return err
	}
	meta := *txn
	meta.ReadTS = got.ReadTS
	c := &kv.CommitSingleRange{}
	for i, d := range descs {
		write, err := s.metaWrites(ctx, &meta, d, got.Responses[2*i].(*kv.GetResponse), got.Responses[2*i+1].(*kv.ScanResponse), c)
		if err != nil {
			return err
		}
		if !write {
			continue
		}
		k := keys.Meta(d.EndKey)
		c.Writes = append(c.Writes, kv.Write{Key: k, Value: d.AppendWire(nil)})
		c.Refreshes = append(c.Refreshes, kv.ReadSpan{Span: keys.Span{Start: k}, At: meta.ReadTS}, kv.ReadSpan{Span: inside(d), At: meta.ReadTS})
	}
	if len(c.Writes) == 0 {
		return nil
	}
	_, err = s.sendRouted(ctx, &kv.BatchRequest{Txn: &meta, Requests: []kv.Request{c}})
	return err
}

// metaWrites adds to c what must go if d is written, and reports whether it is to be.
func (s *Store) metaWrites(ctx context.Context, txn *kv.TxnMeta, d *kv.RangeDescriptor, at *kv.GetResponse, inside *kv.ScanResponse, c *kv.CommitSingleRange) (bool, error) {
	var gone []kv.Write
	rows := inside.Rows
	for {
		k, v, ok, err := rows.Next()
		if err != nil {
			return false, err
		}
		if !ok {
			break
		}
		have, err := kv.DecodeDescriptor(v)
		if err != nil {
			return false, err
		}
		if have.Generation >= d.Generation {
			return false, nil // the range was split since
		}
		gone = append(gone, kv.Write{Key: keys.Key(k).Clone(), Deleted: true})
	}
	if at.Exists {
		have, err := kv.DecodeDescriptor(at.Value)
		if err != nil {
			return false, err
		}
		if have.Generation > d.Generation || have.Generation == d.Generation && have.RangeID == d.RangeID && len(gone) == 0 {
			return false, nil
		}
	} else {
		span := keys.Span{Start: keys.Meta(d.EndKey).Next(), End: keys.MetaMax}
		resp, err := s.sendRouted(ctx, &kv.BatchRequest{Txn: txn, MaxRows: 1, Requests: []kv.Request{&kv.Scan{Spans: []keys.Span{span}}}})
		if err != nil {
			return false, err
		}
		rows := resp.Responses[0].(*kv.ScanResponse).Rows
		k, v, ok, err := rows.Next()
		if err != nil {
			return false, err
		}
		if ok {
			have, err := kv.DecodeDescriptor(v)
			if err != nil {
				return false, err
			}
			if have.StartKey.Less(d.EndKey) && have.Generation > d.Generation {
				return false, nil // it was absorbed since
			}
			c.Refreshes = append(c.Refreshes, kv.ReadSpan{Span: keys.Span{Start: span.Start, End: keys.Key(k).Next()}, At: txn.ReadTS})
		}
	}
	c.Writes = append(c.Writes, gone...)
	return true, nil
}
