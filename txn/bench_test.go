package txn

import (
	"context"
	"testing"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// echo answers every batch at once, so that what is measured is the coordinator alone.
type echo struct {
	clock *hlc.Clock
	get   kv.GetResponse
}

func (e *echo) Send(_ context.Context, req *kv.BatchRequest) (*kv.BatchResponse, error) {
	resp := &kv.BatchResponse{ReadTS: req.Txn.ReadTS, ServedBy: 1, Responses: make([]kv.Response, 1)}
	switch req.Requests[0].(type) {
	case *kv.Get:
		resp.Responses[0] = &e.get
	case *kv.CommitSingleRange:
		resp.Responses[0] = &kv.CommitSingleRangeResponse{CommitTS: req.Txn.ReadTS}
	}
	return resp, nil
}

func (e *echo) Ranges(_ context.Context, spans []keys.Span, _ bool) ([]kv.Part, error) {
	return []kv.Part{{RangeID: 1, Spans: spans}}, nil
}

func benchCoordinator(b *testing.B) *Coordinator {
	e := &echo{clock: hlc.NewClock(nil, 0), get: kv.GetResponse{Exists: true, Value: []byte("v")}}
	c := New(Config{Sender: e, Clock: e.clock, Node: 1})
	b.Cleanup(func() { c.Close(bg) })
	b.ReportAllocs()
	return c
}

func BenchmarkPointRead(b *testing.B) {
	c := benchCoordinator(b)
	key := k("some-key-of-usual-length")
	for b.Loop() {
		x := c.Begin(bg, Options{})
		if _, _, err := x.Get(bg, key, ScanOptions{}); err != nil {
			b.Fatal(err)
		}
		if _, err := x.Commit(bg); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLockAndWrite(b *testing.B) {
	c := benchCoordinator(b)
	key := k("some-key-of-usual-length")
	for b.Loop() {
		x := c.Begin(bg, Options{})
		if _, _, err := x.Get(bg, key, ScanOptions{Lock: kv.LockNoKeyUpdate}); err != nil {
			b.Fatal(err)
		}
		if err := x.Put(key, []byte("w")); err != nil {
			b.Fatal(err)
		}
		if _, err := x.Commit(bg); err != nil {
			b.Fatal(err)
		}
	}
}
