package store

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/kv"
)

type noTransport struct{}

func (noTransport) SendRaft(kv.NodeID, []*RaftMessage)  {}
func (noTransport) SendHeartbeat(kv.NodeID, *Heartbeat) {}
func (noTransport) Suspect(kv.NodeID)                   {}
func (noTransport) SendSnapshot(context.Context, kv.NodeID, kv.StoreID, func(func([]byte) error) error) error {
	return nil
}

type localSender struct{ s *Store }

func (l localSender) Send(ctx context.Context, req *kv.BatchRequest) (*kv.BatchResponse, error) {
	r := *req
	r.RangeID = kv.MetaRangeID
	return l.s.Send(ctx, &r)
}

func benchStore(b *testing.B) *Store { return benchStoreOn(b, vfs.Default, b.TempDir()) }

func benchStoreOn(b *testing.B, fs vfs.FS, dir string) *Store {
	clock := hlc.NewClock(nil, 250*time.Millisecond)
	s, err := Open(context.Background(), Config{Dir: dir, FS: fs, Clock: clock, Transport: noTransport{}, Logger: testLogger(1)})
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Bootstrap([16]byte{1}); err != nil {
		b.Fatal(err)
	}
	s.SetSender(localSender{s})
	if err := s.Start(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	})
	for {
		if _, err := s.Send(context.Background(), benchPut(0)); err == nil {
			return s
		}
		time.Sleep(time.Millisecond)
	}
}

var benchValue = make([]byte, 100)

func benchPut(i int) *kv.BatchRequest {
	return &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{&kv.Put{Key: key(i), Value: benchValue}}}
}

// One client: a write costs one fsync and little else.
func BenchmarkPutOneClient(b *testing.B) {
	s := benchStore(b)
	f0 := s.metrics.Fsyncs.Load()
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if _, err := s.Send(context.Background(), benchPut(i%10000)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(s.metrics.Fsyncs.Load()-f0)/float64(b.N), "fsyncs/op")
}

func BenchmarkPut64Clients(b *testing.B) { put64(b, benchStore(b)) }

// A disk that syncs in no time: the most that could be gained by not waiting for it.
func BenchmarkPut64ClientsNoDisk(b *testing.B) { put64(b, benchStoreOn(b, vfs.NewMem(), "store")) }

func put64(b *testing.B, s *Store) {
	var n atomic.Int64
	f0 := s.metrics.Fsyncs.Load()
	b.SetParallelism(32)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Send(context.Background(), benchPut(int(n.Add(1)%100000))); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(s.metrics.Fsyncs.Load()-f0)/float64(b.N), "fsyncs/op")
}

func BenchmarkGet(b *testing.B) {
	s := benchStore(b)
	for i := range 1000 {
		if _, err := s.Send(context.Background(), benchPut(i)); err != nil {
			b.Fatal(err)
		}
	}
	req := &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{&kv.Get{Key: key(500)}}}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if _, err := s.Send(context.Background(), req); err != nil {
			b.Fatal(err)
		}
	}
}
