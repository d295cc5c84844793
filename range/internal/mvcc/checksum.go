package mvcc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// ReplicatedSpans returns the spans (of keys, not encoded) that hold everything the replicas of a range share, in the order of their keys: its own
// state, transaction records, outcomes of commits, locks, and data. All but the first go by the range's bounds. A snapshot carries them, and a removed replica deletes them.
func ReplicatedSpans(d *kv.RangeDescriptor) []keys.Span {
	return []keys.Span{
		keys.RangeReplicatedSpan(int64(d.RangeID)),
		keys.TxnRecordSpan(d.StartKey, d.EndKey),
		keys.OutcomeSpan(0, d.StartKey, d.EndKey),
		keys.OutcomeSpan(1, d.StartKey, d.EndKey),
		keys.OutcomeSpan(MergeShelf, d.StartKey, d.EndKey),
		keys.LockSpan(d.StartKey, d.EndKey),
		d.Span(),
	}
}

// Checksum returns the SHA-256, in hexadecimal, of the replicated state of the range. Replicas that have applied the same
// entries have the same. The applied state itself is left out: a replica may learn a closed timestamp by another way than
// the log; its Stats are compared on their own (ComputeStats).
func Checksum(ctx context.Context, r pebble.Reader, d *kv.RangeDescriptor) (sum string, err error) {
	h := sha256.New()
	var lens [8]byte
	skip := AppliedStateKey(d.RangeID)
	for _, span := range ReplicatedSpans(d) {
		err := each(ctx, r, span, func(k, v []byte) error {
			if bytes.Equal(k, skip) {
				return nil
			}
			binary.BigEndian.PutUint32(lens[:], uint32(len(k)))
			binary.BigEndian.PutUint32(lens[4:], uint32(len(v)))
			h.Write(lens[:])
			h.Write(k)
			h.Write(v)
			return nil
		})
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// ComputeStats counts a range's statistics from scratch.
func ComputeStats(ctx context.Context, r pebble.Reader, d *kv.RangeDescriptor) (kv.Stats, error) {
	var c counter
	if err := each(ctx, r, d.Span(), c.version); err != nil {
		return c.Stats, err
	}
	err := each(ctx, r, keys.LockSpan(d.StartKey, d.EndKey), c.lock)
	return c.Stats, err
}

// counter counts what comes in key order.
type counter struct {
	kv.Stats
	last keys.Key
}

func (c *counter) version(k, v []byte) error {
	key, _, ok := engine.DecodeVersion(k)
	if !ok {
		return corrupt("version key", k)
	}
	deleted, value, err := decodeValue(v, nil)
	if err != nil {
		return err
	}
	c.Versions++
	c.Bytes += int64(len(key) + versionOverhead + len(value))
	if !bytes.Equal(c.last, key) { // the newest version comes first
		c.last = append(c.last[:0], key...)
		if !deleted {
			c.LiveRows++
			c.LiveBytes += int64(len(key) + len(value))
		}
	}
	return nil
}

func (c *counter) lock(_, _ []byte) error {
	c.Locks++
	return nil
}

// KeyStats counts what ComputeStats would of the keys, which must be sorted.
func KeyStats(ctx context.Context, r pebble.Reader, ks []keys.Key) (s kv.Stats, err error) {
	if len(ks) == 0 {
		return s, nil
	}
	over := func(span keys.Span, of func(keys.Key) keys.Key, fn func(k, v []byte) error) (err error) {
		it, err := r.NewIter(&pebble.IterOptions{
			KeyTypes:   pebble.IterKeyTypePointsOnly,
			LowerBound: engine.EncodeKey(span.Start),
			UpperBound: engine.EncodeKey(span.End),
		})
		if err != nil {
			return engine.Classify(err)
		}
		defer func() { err = errors.Join(err, engine.Classify(it.Close())) }()
		var at []byte
		for i, key := range ks {
			if i%1024 == 0 && ctx.Err() != nil {
				return &kv.Error{Code: kv.CodeCanceled, Message: ctx.Err().Error()}
			}
			key = of(key)
			at = engine.AppendKey(at[:0], key)
			for ok := it.SeekGE(at); ok; ok = it.Next() {
				if k, _, ok := engine.SplitKey(it.Key()); !ok || !bytes.Equal(k, key) {
					break
				}
				v, err := it.ValueAndErr()
				if err != nil {
					return engine.Classify(err)
				}
				if err := fn(it.Key(), v); err != nil {
					return err
				}
			}
		}
		return engine.Classify(it.Error())
	}
	var c counter
	last := ks[len(ks)-1].Next()
	if err := over(keys.Span{Start: ks[0], End: last}, func(k keys.Key) keys.Key { return k }, c.version); err != nil {
		return s, err
	}
	err = over(keys.LockSpan(ks[0], last), keys.Lock, c.lock)
	return c.Stats, err
}

// each calls fn for every encoded key of the span.
func each(ctx context.Context, r pebble.Reader, span keys.Span, fn func(k, v []byte) error) (err error) {
	it, err := r.NewIter(&pebble.IterOptions{
		KeyTypes:   pebble.IterKeyTypePointsOnly,
		LowerBound: engine.EncodeKey(span.Start),
		UpperBound: engine.EncodeKey(span.End),
	})
	if err != nil {
		return engine.Classify(err)
	}
	defer func() { err = errors.Join(err, engine.Classify(it.Close())) }()
	n := 0
	for it.First(); it.Valid(); it.Next() {
		if n++; n%4096 == 0 && ctx.Err() != nil {
			return &kv.Error{Code: kv.CodeCanceled, Message: ctx.Err().Error()}
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return engine.Classify(err)
		}
		if err := fn(it.Key(), v); err != nil {
			return err
		}
	}
	return engine.Classify(it.Error())
}
