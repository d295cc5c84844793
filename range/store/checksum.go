package store

import (
	"context"
	"sync"
	"time"

	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/internal/replica"
	"github.com/pamirdb/pamir/range/kv"
)

// checksumWait is how long the leader waits for the others' results.
const checksumWait = time.Minute

// checksumLook is how often it looks whether there is still somebody to wait for.
const checksumLook = 200 * time.Millisecond

// checksums collects results for the checksum commands that this store has proposed.
type checksums struct {
	mu      sync.Mutex
	waiting map[uint64]chan sumOf
}

type sumOf struct {
	store kv.StoreID
	sum   string
}

func (c *checksums) expect(id uint64, n int) chan sumOf {
	ch := make(chan sumOf, n)
	c.mu.Lock()
	if c.waiting == nil {
		c.waiting = make(map[uint64]chan sumOf)
	}
	c.waiting[id] = ch
	c.mu.Unlock()
	return ch
}

func (c *checksums) forget(id uint64) {
	c.mu.Lock()
	delete(c.waiting, id)
	c.mu.Unlock()
}

func (c *checksums) deliver(id uint64, from kv.StoreID, sum string) {
	c.mu.Lock()
	ch := c.waiting[id]
	c.mu.Unlock()
	if ch != nil {
		select {
		case ch <- sumOf{from, sum}:
		default: // more answers than replicas: repeated
		}
	}
}

// checksum makes every replica compute a checksum at the same log position.
func (s *Store) checksum(ctx context.Context, r *replica.Replica) (kv.Response, error) {
	d := r.Desc()
	if d == nil {
		return nil, kv.Errorf(kv.CodeRangeNotFound, "range %d is not initialised here", r.ID())
	}
	var results chan sumOf
	var cmd uint64
	defer func() { s.sums.forget(cmd) }()
	err := r.Checksum(ctx, func(id uint64) { cmd, results = id, s.sums.expect(id, 2*len(d.Replicas)) })
	if err != nil {
		return nil, err
	}
	resp := &kv.ChecksumResponse{ByStore: make(map[kv.StoreID]string), Stats: r.Applied().Stats}
	timeout := time.NewTimer(checksumWait)
	defer timeout.Stop()
	tick := time.NewTicker(checksumLook)
	defer tick.Stop()
	for s.missesSum(r, d, resp) {
		select {
		case x := <-results:
			resp.ByStore[x.store] = x.sum
		case <-tick.C: // replicas may have gone
		case <-timeout.C:
			return resp, nil
		case <-ctx.Done():
			return resp, nil
		case <-s.ctx.Done():
			return nil, errClosing
		}
	}
	return resp, nil
}

// missesSum reports whether a replica that was there when the checksum was asked for, and still is, has not answered.
func (s *Store) missesSum(r *replica.Replica, asked *kv.RangeDescriptor, resp *kv.ChecksumResponse) bool {
	now := r.Desc()
	if now == nil {
		return false
	}
	for _, p := range asked.Replicas {
		if _, ok := resp.ByStore[p.StoreID]; ok {
			continue
		}
		if q, ok := now.ReplicaOn(p.StoreID); ok && q.ReplicaID == p.ReplicaID {
			return true
		}
	}
	return false
}

// Checksum computes the checksum of the state as it is now, in the background, and sends it to whoever may have asked.
func (o *owner) Checksum(r *replica.Replica, id uint64) {
	s := o.store()
	desc, want := r.Desc(), r.Applied().Stats
	snap := s.eng.DB().NewSnapshot()
	s.goLoop(func() {
		defer func() {
			if err := snap.Close(); err != nil {
				s.log.Warn("close snapshot", "err", err)
			}
		}()
		select { // one at a time: it reads everything
		case s.sumSlot <- struct{}{}:
			defer func() { <-s.sumSlot }()
		case <-s.ctx.Done():
			return
		}
		sum, err := mvcc.Checksum(s.ctx, snap, desc)
		if err != nil {
			s.log.Error("checksum failed", "range", int64(desc.RangeID), "err", err)
			return
		}
		if have, err := mvcc.ComputeStats(s.ctx, snap, desc); err != nil || have != want {
			// The statistics are not part of the data, but they decide when to split and what to collect.
			s.log.Error("statistics do not agree with the data", "range", int64(desc.RangeID), "kept", want, "counted", have, "err", err)
			sum += "-stats"
		}
		s.tellSum(r, desc, id, sum)
	})
}

// tellSum sends an answer to everybody who may have asked.
func (s *Store) tellSum(r *replica.Replica, desc *kv.RangeDescriptor, id uint64, sum string) {
	s.sums.deliver(id, s.id.StoreID, sum)
	now := s.clock.Now()
	for _, p := range desc.Replicas {
		if p.StoreID != s.id.StoreID {
			s.cfg.Transport.SendRaft(p.NodeID, []*RaftMessage{{
				RangeID: desc.RangeID, From: r.Me(), To: p, Now: now, ChecksumID: id, Checksum: []byte(sum),
			}})
		}
	}
}
