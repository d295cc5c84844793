package replica

import (
	"sync"
	"time"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

const (
	// sampledRequests and sampledWrites are how many of the latest keys are kept.
	sampledRequests = 128
	sampledWrites   = 64
	// writeSample: every so many bytes written, a key is kept.
	writeSample = 16 << 10
	// maxSampledKey bounds what a sample keeps of a key. A longer key is not sampled: a prefix of it may be in the middle of a row.
	maxSampledKey = 256
	// shortScan: a scan of at most so many rows counts as one at its first key.
	shortScan = 100
)

// keySampler keeps some of the keys that a range was asked for lately, and some that were written: where to cut it.
type keySampler struct {
	mu       sync.Mutex
	requests [sampledRequests]keys.Span // guarded by mu, as all that follows
	nreq     uint64
	writes   [sampledWrites]keys.Key
	nwrites  uint64
}

// sampler returns the range's, which most ranges, being idle, have none of.
func (l *loadMeter) sampler() *keySampler {
	k := l.keys.Load()
	if k == nil {
		k = new(keySampler)
		if !l.keys.CompareAndSwap(nil, k) {
			k = l.keys.Load()
		}
	}
	return k
}

// sampleRequest keeps one of the batch's keys; which, the number n says.
func (l *loadMeter) sampleRequest(req *kv.BatchRequest, n int64) {
	s, ok := sampleOf(req, n)
	if !ok || len(s.Start)+len(s.End) > 2*maxSampledKey {
		return
	}
	k := l.sampler()
	k.mu.Lock()
	at := &k.requests[k.nreq%sampledRequests]
	k.nreq++
	at.Start = append(at.Start[:0], s.Start...)
	at.End = append(at.End[:0], s.End...)
	k.mu.Unlock()
}

// sampleWrite keeps one of the batch's keys if enough has been written since the last. size is what the batch writes.
func (l *loadMeter) sampleWrite(req *kv.BatchRequest, size int64) {
	before := l.writeBytes.Load()
	if before/writeSample == (before+size)/writeSample {
		return
	}
	s, ok := sampleOf(req, before)
	if !ok || len(s.Start) > maxSampledKey {
		return
	}
	k := l.sampler()
	k.mu.Lock()
	at := &k.writes[k.nwrites%sampledWrites]
	k.nwrites++
	*at = append((*at)[:0], s.Start...)
	k.mu.Unlock()
}

// sampleOf returns one of the spans that the batch is about, and whether it is about any.
func sampleOf(req *kv.BatchRequest, n int64) (s keys.Span, ok bool) {
	if len(req.Requests) == 0 {
		return s, false
	}
	u := uint64(n) * 0x9e3779b97f4a7c15 >> 17 // no regular pattern of batches meets that of the samples
	pick := func(of int) int { return int(u/31) % of }
	point := func(k keys.Key) (keys.Span, bool) { return keys.Span{Start: k}, true }
	switch q := req.Requests[int(u)%len(req.Requests)].(type) {
	case *kv.Get:
		return point(q.Key)
	case *kv.Scan:
		if len(q.Spans) > 0 {
			s = q.Spans[pick(len(q.Spans))]
			if req.MaxRows > 0 && req.MaxRows <= shortScan {
				s.End = nil // of however long a span it is at the beginning
			}
			return s, true
		}
	case *kv.Put:
		return point(q.Key)
	case *kv.Delete:
		return point(q.Key)
	case *kv.Increment:
		return point(q.Key)
	case *kv.BulkWrite:
		return keys.Span{Start: q.Span.Start}, true
	case *kv.CommitSingleRange:
		if len(q.Writes) > 0 {
			return point(q.Writes[pick(len(q.Writes))].Key)
		}
	case *kv.Prepare:
		if len(q.Writes) > 0 {
			return point(q.Writes[pick(len(q.Writes))].Key)
		}
	}
	return s, false // what serves to finish transactions goes where they wrote
}

// KeySamples are keys of a range, oldest first.
type KeySamples struct {
	Requests []keys.Span // of the requests
	Writes   []keys.Key  // of what was written, by bytes
}

// KeySamples returns the latest samples.
func (r *Replica) KeySamples() (out KeySamples) {
	k := r.meter.keys.Load()
	if k == nil {
		return out
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := max(k.nreq, sampledRequests) - sampledRequests; i < k.nreq; i++ {
		s := k.requests[i%sampledRequests]
		c := keys.Span{Start: s.Start.Clone()}
		if len(s.End) > 0 {
			c.End = s.End.Clone()
		}
		out.Requests = append(out.Requests, c)
	}
	for i := max(k.nwrites, sampledWrites) - sampledWrites; i < k.nwrites; i++ {
		out.Writes = append(out.Writes, k.writes[i%sampledWrites].Clone())
	}
	return out
}

// DropKeySamples gives the samples' memory back.
func (r *Replica) DropKeySamples() {
	if r.meter.keys.Load() != nil {
		r.meter.keys.Store(nil)
	}
}

// Writes counts the writes that were applied while this replica led, collections of garbage not among them.
func (r *Replica) Writes() int64 { return r.writes.Load() }

// LoadTotals returns the requests and the processor time since the replica was opened. Any number of callers may ask.
func (r *Replica) LoadTotals() Load {
	return Load{Requests: r.requests.Load(), Writes: r.writes.Load(), WriteBytes: r.meter.writeBytes.Load(), CPU: time.Duration(r.meter.cpuNanos.Load())}
}
