package store

import (
	"context"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/replica"
	"github.com/pamirdb/pamir/range/internal/sizing"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Send executes a batch on the replica of its range here. Errors are *kv.Error.
func (s *Store) Send(ctx context.Context, req *kv.BatchRequest) (*kv.BatchResponse, error) {
	s.sends.Add(1) // before closed is looked at: Close looks the other way round
	resp, err := s.send(ctx, req)
	s.sends.Add(-1)
	if err == nil {
		return resp, nil
	}
	// The error may be shared by many requests: the reading goes on a copy.
	e := *kv.AsError(err)
	if e.Now.IsEmpty() {
		e.Now = s.clock.Now()
	}
	return nil, &e
}

func (s *Store) send(ctx context.Context, req *kv.BatchRequest) (*kv.BatchResponse, error) {
	if !s.started.Load() || s.closed.Load() != nil {
		return nil, errNotRunning
	}
	if e := s.fatal.Load(); e != nil {
		// Nothing was done here, and other stores may be well: what ails this one is no answer.
		return nil, kv.Errorf(kv.CodeUnavailable, "the store has failed: %v", e)
	}
	if !req.Now.IsEmpty() && !s.observe(req.Now) {
		return nil, kv.Errorf(kv.CodeFenced, "the clock of the sender is %v ahead of this node's", s.clock.Offset(req.Now))
	}
	if len(req.Requests) == 0 {
		return nil, kv.Errorf(kv.CodeBadRequest, "empty batch")
	}
	r := s.replica(req.RangeID)
	if r == nil {
		return nil, kv.Errorf(kv.CodeRangeNotFound, "no replica of range %d on store %d", req.RangeID, s.id.StoreID)
	}
	if len(req.Requests) == 1 {
		if req.IsLarge() {
			do := func() (*kv.BatchResponse, error) { return r.Send(ctx, req) }
			if _, ok := req.Requests[0].(*kv.ResolveSpan); ok {
				return s.resolve(ctx, r.ID(), do)
			}
			return s.writeAhead(ctx, r.ID(), do)
		}
		if resp, err, ok := s.admin(ctx, r, req.Requests[0]); ok {
			if err != nil {
				return nil, err
			}
			return &kv.BatchResponse{Now: s.clock.Now(), ServedBy: s.id.NodeID, Responses: []kv.Response{resp}}, nil
		}
	}
	return r.Send(ctx, req)
}

var errNotRunning = kv.Errorf(kv.CodeUnavailable, "the store is not running")

// admin carries out an administrative request; ok is false if q is none.
func (s *Store) admin(ctx context.Context, r *replica.Replica, q kv.Request) (resp kv.Response, err error, ok bool) {
	switch q.(type) {
	case *kv.AdminSplit, *kv.AdminMerge, *kv.AdminEndMerge, *kv.AdminTransferLeader, *kv.AdminChangeReplicas, *kv.Checksum:
		// They wait for other stores, for minutes even: they end with this one.
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.ctx, cancel)()
	}
	switch q := q.(type) {
	case *kv.AdminSplit:
		left, right, err := s.split(ctx, r, q.Key, q.Pinned, sizing.Command)
		if err != nil {
			return nil, err, true
		}
		return &kv.AdminSplitResponse{Left: *left, Right: *right}, nil, true
	case *kv.AdminMerge:
		d, err := s.merge(ctx, r, q)
		if err != nil {
			s.mergeRefused(err)
			return nil, err, true
		}
		return &kv.AdminMergeResponse{Descriptor: *d}, nil, true
	case *kv.AdminEndMerge:
		merged, err := r.EndMerge(ctx, q)
		if err != nil {
			return nil, err, true
		}
		return &kv.AdminEndMergeResponse{Merged: merged}, nil, true
	case *kv.AdminTransferLeader:
		return &kv.AdminTransferLeaderResponse{}, s.transferLeader(ctx, r, q), true
	case *kv.AdminChangeReplicas:
		d, err := r.ChangeReplicas(ctx, q, s.goneSince(time.Now()))
		if err != nil {
			s.work.push(job{kind: jobTidy, rng: r.ID()}) // if it could not even take back what it had begun
			return nil, err, true
		}
		return &kv.AdminChangeReplicasResponse{Descriptor: *d}, nil, true
	case *kv.Checksum:
		resp, err := s.checksum(ctx, r)
		return resp, err, true
	}
	return nil, nil, false
}

// do sends a batch of the store's own through the node's router.
func (s *Store) sendRouted(ctx context.Context, req *kv.BatchRequest) (*kv.BatchResponse, error) {
	x := s.sender.Load()
	if x == nil {
		return nil, kv.Errorf(kv.CodeUnavailable, "the store has no sender")
	}
	req.Now = s.clock.Now()
	return (*x).Send(ctx, req)
}

// rangeIDs are ids that were allocated and not used. Who splits a range again and again need not ask the meta range each time;
// those that are left when the store stops are never used.
type rangeIDs struct {
	turn  chan struct{} // one at a time: it holds a token
	next  kv.RangeID    // guarded by the token, as what follows
	end   kv.RangeID    // exclusive
	block int64         // how many were asked for last
	asked time.Time
}

// maxIDBlock bounds the ids that are asked for at once; idHaste is how soon a block must have been used up for the next to be larger.
const (
	maxIDBlock = 64
	idHaste    = time.Second
)

func (s *Store) nextRangeID(ctx context.Context) (kv.RangeID, error) {
	ids := &s.rangeIDs
	select {
	case ids.turn <- struct{}{}:
		defer func() { <-ids.turn }()
	case <-ctx.Done():
		return 0, kv.Errorf(kv.CodeCanceled, "canceled while range ids are allocated: %v", ctx.Err())
	}
	if ids.next < ids.end {
		id := ids.next
		ids.next++
		return id, nil
	}
	block := int64(1)
	if time.Since(ids.asked) < idHaste {
		block = min(2*ids.block, maxIDBlock)
	}
	id, err := s.allocateRangeIDs(ctx, block)
	if err != nil {
		return 0, err
	}
	ids.next, ids.end = id+1, id+kv.RangeID(block)
	ids.block, ids.asked = block, time.Now()
	return id, nil
}

// allocateRangeIDs returns the first of n ids that nobody else has.
func (s *Store) allocateRangeIDs(ctx context.Context, n int64) (kv.RangeID, error) {
	resp, err := s.sendRouted(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.Increment{Key: keys.RangeIDCounter, By: n}}})
	if err != nil {
		// An id that may have been taken is never used: ask for another.
		if kv.HasCode(err, kv.CodeUnknownOutcome) {
			return 0, kv.Errorf(kv.CodeUnavailable, "no range id could be allocated: %v", err)
		}
		return 0, err
	}
	return kv.RangeID(resp.Responses[0].(*kv.IncrementResponse).Value - n + 1), nil
}

// updateMeta writes the range's descriptor to the meta range, unless a later one is there.
func (s *Store) updateMeta(ctx context.Context, r *replica.Replica) error {
	d := r.Desc()
	if d == nil {
		return nil
	}
	return s.writeMeta(ctx, d)
}

// writeMeta writes descriptors where no later generation is, in one transaction: read, compare, and commit
// on the condition that nothing has changed since.
func (s *Store) writeMeta(ctx context.Context, descs ...*kv.RangeDescriptor) error {
	const attempts = 10
	var err error
	for range attempts {
		if err = s.tryWriteMeta(ctx, descs); err == nil || ctx.Err() != nil {
			return err
		}
		if e := kv.AsError(err); e.Code.Class() != kv.RetryTxn && e.Code != kv.CodeUnknownOutcome {
			return err
		}
	}
	return err
}

// resolver turns prepared locks into versions, for the lock tables (concurrency.Resolver).
type resolver struct{ s *Store }

func (x resolver) Resolve(ctx context.Context, holder kv.TxnMeta, ks []keys.Key, commit bool, commitTS hlc.Timestamp) error {
	_, err := x.s.sendRouted(ctx, &kv.BatchRequest{Txn: &holder, Requests: []kv.Request{
		&kv.ResolveLocks{Commit: commit, CommitTS: commitTS, Keys: ks},
	}})
	return err
}

// transferLeader moves leadership to a store that has been heard of lately, and that hears this one. A transfer cannot be taken back: to a store
// that has just died it would cost the range as long as its leader's own death.
func (s *Store) transferLeader(ctx context.Context, r *replica.Replica, q *kv.AdminTransferLeader) error {
	if silent := s.support.silence(q.Target); silent > 2*s.cfg.Knobs.HeartbeatInterval {
		return kv.Errorf(kv.CodeUnavailable, "store %d has not been heard of for %s", q.Target, silent.Round(time.Millisecond))
	}
	if _, heard := s.support.silenceOf(q.Target); heard && q.Target != s.id.StoreID && s.support.SupportEpoch(q.Target) == 0 {
		return kv.Errorf(kv.CodeUnavailable, "store %d is not supported: it may be heard and hear nobody", q.Target)
	}
	return r.TransferLeader(ctx, q)
}

// StopLeading makes this store stand for no leadership that another one can take, and begin no splits, until it is called again.
func (s *Store) StopLeading(stop bool) { s.support.drained.Store(stop) }

// Drain hands every leadership of this store to somebody else, as far as there is somebody. It returns the
// number of ranges that are still led here when ctx ends.
func (s *Store) Drain(ctx context.Context) (left int) {
	s.StopLeading(true)
	for {
		left = 0
		s.each(func(r *replica.Replica) bool {
			if _, ok := r.Serving(); !ok {
				return true
			}
			if d := r.Desc(); len(d.Replicas) > 1 {
				left++
				if ctx.Err() == nil {
					s.drainOne(ctx, r, d)
				}
			}
			return true
		})
		if left == 0 {
			return 0
		}
		// Who has gone is out of the way at the next look; who is left may have nobody to go to, for now or for ever.
		select {
		case <-time.After(drainPause):
		case <-ctx.Done():
			return left
		}
	}
}

// drainPause is between two rounds of Drain: others may come back within a heartbeat, and until then asking is in vain.
const drainPause = 20 * time.Millisecond

func (s *Store) drainOne(ctx context.Context, r *replica.Replica, d *kv.RangeDescriptor) {
	for _, p := range d.Replicas {
		if p.StoreID == s.id.StoreID || !p.VotesNew() {
			continue
		}
		if err := s.transferLeader(ctx, r, &kv.AdminTransferLeader{Target: p.StoreID}); err == nil {
			return
		}
	}
}
