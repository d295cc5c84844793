package store

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/internal/replica"
	"github.com/pamirdb/pamir/range/kv"
)

const (
	// checksumWait is how long the leader waits for the others' results: they may be behind, or have a lot to read.
	checksumWait = time.Minute
	// checksumLook is how often it looks whether there is still somebody to wait for.
	checksumLook = 200 * time.Millisecond
	// checksumAsk is how often it asks those that have not answered what has become of it: an answer may be lost, and so may the command, with a
	// process that was started again, or for a replica that got past it by a snapshot.
	checksumAsk = time.Second
	// checksumSilence is for how long a store must be silent, or have no support, not to be waited for.
	checksumSilence = 3 * time.Second
	// checksumTries is how many commands there are at most, the later ones for replicas that have lost those before.
	checksumTries = 3
)

// What a store says of a command is a checksum, in hexadecimal, or one of these. A question is an empty answer.
const (
	sumFailed = '!' // there is none, and will not be
	sumPassed = '?' // nothing is known of it; uvarint, the index up to which the replica has applied its log
)

// checksums collects results for the checksum commands that this store has proposed, and knows of those that it has applied.
type checksums struct {
	mu      sync.Mutex
	waiting map[uint64]chan sumOf
	// here has what came of commands on this store, nothing while it is being computed; ended has those that have come to something, the
	// oldest first. The last keptSums of these are kept.
	here  map[uint64]string
	ended []uint64
}

// keptSums bounds the results that are kept for those who did not hear them.
const keptSums = 256

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
		default: // it is asked for again
		}
	}
}

// begin notes that a result is being computed here, end what it is.
func (c *checksums) begin(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.here == nil {
		c.here = make(map[uint64]string)
	}
	c.here[id] = ""
}

func (c *checksums) end(id uint64, sum string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.here[id] = sum
	c.ended = append(c.ended, id)
	if len(c.ended) > keptSums {
		delete(c.here, c.ended[0])
		c.ended = slices.Delete(c.ended, 0, 1)
	}
}

// of returns what is known of a command here, if anything is.
func (c *checksums) of(id uint64) (sum string, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sum, known = c.here[id]
	return sum, known
}

// checksum makes every replica compute a checksum at the same log position. A replica without a result is behind, or has failed, or is on a
// store that does not answer.
func (s *Store) checksum(ctx context.Context, r *replica.Replica) (kv.Response, error) {
	for try := 1; ; try++ {
		x, err := s.askSums(ctx, r, try < checksumTries)
		if err != nil {
			return nil, err
		}
		if !x.again {
			return x.resp, nil
		}
	}
}

// sumRound is one command, and who has answered.
type sumRound struct {
	s     *Store
	r     *replica.Replica
	id    uint64
	index uint64 // at or above the command's
	asked *kv.RangeDescriptor
	resp  *kv.ChecksumResponse
	// without holds stores that will not answer, unsupported since when stores have had no support.
	without     map[kv.StoreID]bool
	unsupported map[kv.StoreID]time.Time
	// retry: another command is to be proposed if a replica has lost this one; again says that it is.
	retry, again bool
}

func (s *Store) askSums(ctx context.Context, r *replica.Replica, retry bool) (*sumRound, error) {
	d := r.Desc()
	if d == nil {
		return nil, kv.Errorf(kv.CodeRangeNotFound, "range %d is not initialised here", r.ID())
	}
	x := &sumRound{
		s: s, r: r, asked: d, retry: retry, without: map[kv.StoreID]bool{}, unsupported: map[kv.StoreID]time.Time{},
		resp: &kv.ChecksumResponse{ByStore: make(map[kv.StoreID]string)},
	}
	var results chan sumOf
	defer func() { s.sums.forget(x.id) }()
	if err := r.Checksum(ctx, func(id uint64) { x.id, results = id, s.sums.expect(id, 2*len(d.Replicas)) }); err != nil {
		return nil, err
	}
	applied := r.Applied()
	x.index, x.resp.Stats = applied.AppliedIndex, applied.Stats
	timeout := time.NewTimer(checksumWait)
	defer timeout.Stop()
	look := time.NewTicker(checksumLook)
	defer look.Stop()
	ask := time.NewTicker(checksumAsk)
	defer ask.Stop()
	for len(x.missing()) > 0 && !x.again {
		select {
		case a := <-results:
			x.take(a)
		case <-look.C: // replicas may have gone, or stores
		case <-ask.C:
			for _, p := range x.missing() {
				s.say(r, p, x.id, nil)
			}
		case <-timeout.C:
			return x, nil
		case <-ctx.Done():
			return x, nil
		case <-s.ctx.Done():
			return nil, errClosing
		}
	}
	return x, nil
}

func (x *sumRound) take(a sumOf) {
	switch {
	case a.sum == "":
	case a.sum[0] == sumFailed:
		x.without[a.store] = true
	case a.sum[0] == sumPassed:
		applied, n := binary.Uvarint([]byte(a.sum[1:]))
		switch {
		case n <= 0 || applied < x.index: // it is behind
		case x.retry:
			x.again = true
		default:
			x.without[a.store] = true
		}
	default:
		x.resp.ByStore[a.store] = a.sum
	}
}

// missing returns the replicas that were there when the checksum was asked for, and still are, and will answer and have not.
func (x *sumRound) missing() (ps []kv.Replica) {
	now := x.r.Desc()
	if now == nil {
		return nil
	}
	for _, p := range x.asked.Replicas {
		if _, ok := x.resp.ByStore[p.StoreID]; ok || x.without[p.StoreID] || x.unheard(p.StoreID) {
			continue
		}
		if q, ok := now.ReplicaOn(p.StoreID); ok && q.ReplicaID == p.ReplicaID {
			ps = append(ps, p)
		}
	}
	return ps
}

// unheard reports whether a store is not to be waited for: it is silent, or may be heard and hears nobody.
func (x *sumRound) unheard(st kv.StoreID) bool {
	sp := &x.s.support
	switch {
	case st == x.s.id.StoreID:
		return false
	case sp.silence(st) > checksumSilence:
		return true
	case sp.SupportEpoch(st) != 0:
		delete(x.unsupported, st)
		return false
	}
	since, ok := x.unsupported[st]
	if !ok {
		x.unsupported[st] = time.Now()
	}
	return ok && time.Since(since) > checksumSilence
}

// Checksum computes the checksum of the state as it is now, in the background, and sends it to whoever may have asked.
func (o *owner) Checksum(r *replica.Replica, id uint64) {
	s := o.store()
	desc, want := r.Desc(), r.Applied().Stats
	snap := s.eng.DB().NewSnapshot()
	s.sums.begin(id)
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
			sum = string(sumFailed)
		} else if have, err := mvcc.ComputeStats(s.ctx, snap, desc); err != nil || have != want {
			// The statistics are not part of the data, but they decide when to split and what to collect.
			s.log.Error("statistics do not agree with the data", "range", int64(desc.RangeID), "kept", want, "counted", have, "err", err)
			sum += "-stats"
		}
		s.sums.end(id, sum)
		s.tellSum(r, desc, id, sum)
	})
}

// tellSum sends an answer to everybody who may have asked.
func (s *Store) tellSum(r *replica.Replica, desc *kv.RangeDescriptor, id uint64, sum string) {
	s.sums.deliver(id, s.id.StoreID, sum)
	for _, p := range desc.Replicas {
		if p.StoreID != s.id.StoreID {
			s.say(r, p, id, []byte(sum))
		}
	}
}

// say sends what is known of a checksum command here, or the question what is known there, to another replica.
func (s *Store) say(r *replica.Replica, to kv.Replica, id uint64, sum []byte) {
	s.cfg.Transport.SendRaft(to.NodeID, []*RaftMessage{{
		RangeID: r.ID(), From: r.Me(), To: to, Now: s.clock.Now(), ChecksumID: id, Checksum: sum,
	}})
}

// handleChecksum takes an answer, or answers a question; r is the range's replica here, or nil.
func (s *Store) handleChecksum(m *RaftMessage, r *replica.Replica) {
	if len(m.Checksum) > 0 {
		s.sums.deliver(m.ChecksumID, m.From.StoreID, string(m.Checksum))
		return
	}
	if r == nil || r.ReplicaID() != m.To.ReplicaID {
		return // it has not begun, or goes
	}
	// First the index. What is applied at this very moment is not known yet: at worst one more command is proposed in vain.
	st := r.Status()
	sum, known := s.sums.of(m.ChecksumID)
	switch {
	case known && sum == "":
		return // it will be told
	case !known && st.Stopped != "":
		sum = string(sumFailed)
	case !known:
		sum = string(binary.AppendUvarint([]byte{sumPassed}, st.Applied.AppliedIndex))
	}
	s.say(r, m.From, m.ChecksumID, []byte(sum))
}
