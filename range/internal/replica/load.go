package replica

import (
	"sync/atomic"
	"time"

	"github.com/pamirdb/pamir/range/kv"
)

// loadSample: every so many requests one is timed.
const loadSample = 16

// loadMeter counts what the leader of a range is asked to do, for placement. It costs a few nanoseconds a request.
type loadMeter struct {
	writeBytes atomic.Int64
	cpuNanos   atomic.Int64 // of evaluation, extrapolated from the requests that were timed
	sources    atomic.Pointer[sources]
	keys       atomic.Pointer[keySampler]
}

// maxSources bounds the gateways that are told apart between two readings.
const maxSources = 16

// sources counts requests by the gateway of their transaction. A slot is taken for good until it is read.
type sources [maxSources]struct {
	node atomic.Int32
	n    atomic.Int64
}

// note counts a request by where it comes from.
func (l *loadMeter) note(req *kv.BatchRequest) {
	if req.Txn == nil || req.Txn.Gateway == 0 {
		return
	}
	s := l.sources.Load()
	if s == nil { // most ranges are idle and have none
		s = new(sources)
		if !l.sources.CompareAndSwap(nil, s) {
			s = l.sources.Load()
		}
	}
	node := int32(req.Txn.Gateway)
	for i := range s {
		have := s[i].node.Load()
		if have == 0 && s[i].node.CompareAndSwap(0, node) {
			have = node
		} else if have == 0 {
			have = s[i].node.Load()
		}
		if have == node {
			s[i].n.Add(1)
			return
		}
	}
}

// SourceCount is a gateway and the number of its requests.
type SourceCount struct {
	Node     kv.NodeID
	Requests int64
}

// take returns the requests by gateway since the last call, and frees the slots of gateways that sent none.
func (l *loadMeter) take() (out []SourceCount) {
	s := l.sources.Load()
	if s == nil {
		return nil
	}
	for i := range s {
		node := s[i].node.Load()
		if node == 0 {
			continue
		}
		if n := s[i].n.Swap(0); n > 0 {
			out = append(out, SourceCount{kv.NodeID(node), n})
		} else {
			s[i].node.CompareAndSwap(node, 0)
		}
	}
	return out
}

// Load is what a range's leader has been asked to do since the replica was opened.
type Load struct {
	Requests, Writes, WriteBytes int64
	CPU                          time.Duration
	// Sources are those since the last call of Replica.Load.
	Sources []SourceCount
}

// Load returns the counts. The sources are counted from zero again, so there may be one caller only.
func (r *Replica) Load() Load {
	return Load{
		Requests: r.requests.Load(), Writes: r.writes.Load(), WriteBytes: r.meter.writeBytes.Load(),
		CPU: time.Duration(r.meter.cpuNanos.Load()), Sources: r.meter.take(),
	}
}
