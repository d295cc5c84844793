package eval

import (
	"context"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/tscache"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// benchWorld has 100,000 rows of 100 bytes and the real timestamp cache.
func benchWorld(b *testing.B) (*world, []keys.Key) {
	w := newWorld(b)
	b.Cleanup(w.close)
	w.env.Desc = &kv.RangeDescriptor{RangeID: 7, StartKey: keys.TableMin, EndKey: keys.TableMax}
	w.env.TSCache = tscache.New(hlc.Timestamp{})
	ks := make([]keys.Key, 100_000)
	c := &kv.CommitSingleRange{}
	for i := range ks {
		ks[i] = keys.AppendInt64(keys.Index(104, 1), int64(i))
		c.Writes = append(c.Writes, kv.Write{Key: ks[i], Value: fmt.Appendf(nil, "%0100d", i)})
	}
	txn := &kv.TxnMeta{ID: kv.TxnID{1}, ReadTS: hlc.Timestamp{WallTime: 100}}
	_, eff, err := Evaluate(b.Context(), w.env, &kv.BatchRequest{RangeID: 7, Txn: txn, Requests: []kv.Request{c}})
	if err != nil {
		b.Fatal(err)
	}
	if err := eff.Batch.Commit(pebble.NoSync); err != nil {
		b.Fatal(err)
	}
	w.env.Stats.Add(eff.Stats)
	if err := w.e.DB().Flush(); err != nil {
		b.Fatal(err)
	}
	if err := w.e.DB().Compact(b.Context(), []byte{0, 0}, []byte{0xff, 0}, false); err != nil {
		b.Fatal(err)
	}
	return w, ks
}

func BenchmarkEvaluateGet(b *testing.B) {
	w, ks := benchWorld(b)
	ctx := context.Background()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		txn := kv.TxnMeta{ID: kv.TxnID{2, byte(i), byte(i >> 8)}, ReadTS: hlc.Timestamp{WallTime: 200 + int64(i)}}
		req := kv.BatchRequest{RangeID: 7, Txn: &txn, Requests: []kv.Request{&kv.Get{Key: ks[i*7919%len(ks)]}}}
		if _, _, err := Evaluate(ctx, w.env, &req); err != nil {
			b.Fatal(err)
		}
	}
}

// One row read, changed and committed: what a simple UPDATE costs here, its application to the memtable not counted.
func BenchmarkEvaluateCommit(b *testing.B) {
	w, ks := benchWorld(b)
	ctx := context.Background()
	val := make([]byte, 100)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		k := ks[i*7919%len(ks)]
		at := hlc.Timestamp{WallTime: 200 + int64(i)}
		txn := kv.TxnMeta{ID: kv.TxnID{2, byte(i), byte(i >> 8), byte(i >> 16)}, ReadTS: at}
		req := kv.BatchRequest{RangeID: 7, Txn: &txn, Requests: []kv.Request{&kv.CommitSingleRange{
			Writes:    []kv.Write{{Key: k, Value: val}},
			Refreshes: []kv.ReadSpan{{Span: keys.Span{Start: k}, At: at}},
		}}}
		_, eff, err := Evaluate(ctx, w.env, &req)
		if err != nil {
			b.Fatal(err)
		}
		if err := eff.Batch.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEvaluateCount(b *testing.B) {
	w, _ := benchWorld(b)
	ctx := context.Background()
	b.ReportAllocs()
	rows := 0
	for b.Loop() {
		req := kv.BatchRequest{RangeID: 7, Timestamp: hlc.Timestamp{WallTime: 1000}, Requests: []kv.Request{
			&kv.Scan{Spans: []keys.Span{w.env.Desc.Span()}, Pushdown: countAll{}}}}
		if _, _, err := Evaluate(ctx, w.env, &req); err != nil {
			b.Fatal(err)
		}
		rows += 100_000
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(rows), "ns/row")
}

type countAll struct{ n int64 }

func (countAll) NewProcessor() kv.Processor            { return &countAll{} }
func (countAll) AppendWire(dst []byte) ([]byte, error) { return dst, nil }
func (c *countAll) Row(_, _ []byte) (bool, error)      { c.n++; return true, nil }
func (*countAll) Done() bool                           { return false }
func (*countAll) Bytes() int64                         { return 8 }
func (c *countAll) Finish() (kv.Result, error)         { return c, nil }
func (*countAll) Close()                               {}
