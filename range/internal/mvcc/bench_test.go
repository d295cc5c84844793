package mvcc

import (
	"io"
	"log/slog"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/keys"
)

// benchTable fills a table of n rows of 100 bytes, one version each, as pgbench_accounts has them.
func benchTable(b *testing.B, n int, compacted bool) *engine.Engine {
	b.Helper()
	e, err := engine.Open(engine.Config{Dir: "bench", FS: vfs.NewMem(), CacheBytes: 1 << 30, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = e.Close() })
	val := make([]byte, 100)
	w := Writer{Batch: e.DB().NewBatch()}
	for i := range n {
		for j := range val {
			val[j] = byte(i >> (j % 4 * 8))
		}
		if err := w.Put(benchKey(i), hlc.Timestamp{WallTime: 1_000_000 + int64(i/100)}, false, val, Newest{}); err != nil {
			b.Fatal(err)
		}
		if w.Batch.Len() > 4<<20 || i == n-1 {
			if err := w.Batch.Commit(pebble.NoSync); err != nil {
				b.Fatal(err)
			}
			w.Batch = e.DB().NewBatch()
		}
	}
	if compacted {
		if err := e.DB().Flush(); err != nil {
			b.Fatal(err)
		}
		if err := e.DB().Compact(b.Context(), []byte{0, 0}, []byte{0xff, 0}, false); err != nil {
			b.Fatal(err)
		}
	}
	return e
}

func benchKey(i int) keys.Key { return keys.AppendInt64(keys.Index(104, 1), int64(i)) }

func BenchmarkGet(b *testing.B) {
	const n = 1_000_000
	e := benchTable(b, n, true)
	ts := hlc.Timestamp{WallTime: 1 << 40}
	ks := make([]keys.Key, 4096)
	for i := range ks {
		ks[i] = benchKey(rand.IntN(n))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r := NewReader(e.DB())
		if _, ok, err := r.Get(ks[i%len(ks)], ts, Window{}); err != nil || !ok {
			b.Fatal(ok, err)
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func benchScan(b *testing.B, compacted, reverse bool) {
	const n = 1_000_000
	e := benchTable(b, n, compacted)
	ts := hlc.Timestamp{WallTime: 1 << 40}
	span := keys.Span{Start: keys.Index(104, 1), End: keys.Index(104, 1).PrefixEnd()}
	b.ReportAllocs()
	rows := 0
	for b.Loop() {
		r := NewReader(e.DB())
		s := r.Scan(span, reverse, ts, Window{Local: ts, Global: ts})
		for s.Next() {
			rows++
		}
		if s.Err() != nil {
			b.Fatal(s.Err())
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(rows), "ns/row")
}

func BenchmarkScan(b *testing.B)         { benchScan(b, true, false) }
func BenchmarkScanMemtable(b *testing.B) { benchScan(b, false, false) }
func BenchmarkScanReverse(b *testing.B)  { benchScan(b, true, true) }
