package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// What operators do. It may fail: nobody promised that it works now.

func (f *nemesis) operate(what string, at *life, g func(ctx context.Context) error) {
	f.jobs.Go(func() {
		ctx, cancel := context.WithTimeout(f.stop, 5*time.Second)
		defer cancel()
		var err error = kv.Errorf(kv.CodeUnknownOutcome, "the disk of node %d has failed", at.n.id)
		answer := make(chan error, 1)
		if at.do(func() { answer <- g(ctx) }) {
			err = <-answer
		}
		if err != nil {
			f.w.trace.say("%s: %v", what, err)
			return
		}
		f.w.trace.say("%s: done", what)
		f.w.trace.count("done: "+what[:5], 1)
	})
}

func (f *nemesis) anybody(rng *rand.Rand) *life {
	return f.w.up(kv.NodeID(1 + rng.IntN(len(f.w.nodes))))
}

func (f *nemesis) split(rng *rand.Rand) {
	l := f.anybody(rng)
	if l == nil {
		return
	}
	k := f.splitKey(rng)
	f.operate("split at "+string(k[len(k)-13:]), l, func(ctx context.Context) error {
		resp, err := l.sender.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.AdminSplit{Key: k}}})
		if err != nil {
			return err
		}
		r := resp.Responses[0].(*kv.AdminSplitResponse)
		l.sender.Learn(r.Left, r.Right)
		return nil
	})
}

// splitKey returns a key between two rows. It is to the right of all that were returned before for the same gap, so that the row
// behind it changes its range again.
func (f *nemesis) splitKey(rng *rand.Rand) keys.Key {
	all := f.w.workloads()
	w := all[rng.IntN(len(all))]
	f.mu.Lock()
	defer f.mu.Unlock()
	f.splits++
	return append(key(w.letter, rng.Int64N(min(w.keys, 10))-1), fmt.Sprintf("%06d", f.splits)...)
}

func (f *nemesis) anyRange(rng *rand.Rand) (*life, kv.RangeDescriptor, bool) {
	ids := f.w.ranges()
	if len(ids) == 0 {
		return nil, kv.RangeDescriptor{}, false
	}
	l, st := f.w.leader(ids[rng.IntN(len(ids))])
	if l == nil {
		return nil, kv.RangeDescriptor{}, false
	}
	return l, *st.Descriptor, true
}

// merge merges a range with the one to its right.
func (f *nemesis) merge(rng *rand.Rand) {
	_, d, ok := f.anyRange(rng)
	l := f.anybody(rng)
	if !ok || l == nil || d.RangeID < kv.FirstUserRange {
		return
	}
	f.operate("merge", l, func(ctx context.Context) error {
		f.w.trace.say("range %d shall absorb what is to its right", d.RangeID)
		resp, err := l.sender.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.AdminMerge{Key: d.StartKey, At: d.EndKey}}})
		if err != nil {
			return err
		}
		l.sender.Learn(resp.Responses[0].(*kv.AdminMergeResponse).Descriptor)
		return nil
	})
}

func (f *nemesis) transfer(rng *rand.Rand) {
	l, d, ok := f.anyRange(rng)
	if !ok {
		return
	}
	to := d.Replicas[rng.IntN(len(d.Replicas))]
	f.operate("transfer", l, func(ctx context.Context) error {
		f.w.trace.say("range %d shall be led by node %d", d.RangeID, to.NodeID)
		_, err := l.store.Send(ctx, &kv.BatchRequest{RangeID: d.RangeID, Requests: []kv.Request{&kv.AdminTransferLeader{Target: to.StoreID}}})
		return err
	})
}

func (f *nemesis) move(rng *rand.Rand) {
	l, d, ok := f.anyRange(rng)
	if !ok {
		return
	}
	req := &kv.AdminChangeReplicas{Generation: d.Generation}
	var here, free []kv.Replica
	for _, n := range f.w.nodes {
		r := kv.Replica{NodeID: n.id, StoreID: kv.StoreID(n.id)}
		if _, ok := d.ReplicaOn(r.StoreID); ok {
			here = append(here, r)
		} else {
			free = append(free, r)
		}
	}
	switch {
	case len(free) == 0 || len(here) > 3: // take one away, and later it comes back
		if len(here) < 3 {
			return
		}
		req.Remove = here[:0:0]
		req.Remove = append(req.Remove, here[rng.IntN(len(here))])
	case len(here) < 3:
		req.Add = append(req.Add, free[rng.IntN(len(free))])
	default:
		req.Add = append(req.Add, free[rng.IntN(len(free))])
		req.Remove = append(req.Remove, here[rng.IntN(len(here))])
	}
	f.operate("replicas", l, func(ctx context.Context) error {
		f.w.trace.say("range %d: add %v, remove %v", d.RangeID, req.Add, req.Remove)
		_, err := l.store.Send(ctx, &kv.BatchRequest{RangeID: d.RangeID, Requests: []kv.Request{req}})
		return err
	})
}

// gather merges two neighbours, having moved the replicas of the right one to where the left one's are.
func (f *nemesis) gather(rng *rand.Rand) {
	var lefts []kv.RangeID
	for _, id := range f.w.ranges() {
		if id >= kv.FirstUserRange {
			lefts = append(lefts, id)
		}
	}
	l := f.anybody(rng)
	if l == nil || len(lefts) < 2 {
		return
	}
	id := lefts[rng.IntN(len(lefts))]
	f.operate("merge, replicas first", l, func(ctx context.Context) error {
		for {
			left, right := f.w.neighbours(id)
			if right == nil {
				return errNoLeader // or it is the last one
			}
			req := kv.AdminChangeReplicas{Generation: right.Generation, Add: elsewhere(left, right), Remove: elsewhere(right, left)}
			if len(req.Add)+len(req.Remove) == 0 {
				f.w.trace.say("range %d shall be absorbed by range %d", right.RangeID, left.RangeID)
				resp, err := l.sender.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{
					&kv.AdminMerge{Key: left.StartKey, At: right.StartKey, Left: left.Generation, Right: right.Generation},
				}})
				if err == nil {
					l.sender.Learn(resp.Responses[0].(*kv.AdminMergeResponse).Descriptor)
				}
				return err
			}
			f.w.trace.say("range %d: add %v, remove %v, for a merge", right.RangeID, req.Add, req.Remove)
			if _, err := l.sender.Send(ctx, &kv.BatchRequest{RangeID: right.RangeID, Requests: []kv.Request{&req}}); err != nil {
				return err
			}
		}
	})
}

// elsewhere are the replicas of a on stores that have none of b.
func elsewhere(a, b *kv.RangeDescriptor) (out []kv.Replica) {
	for _, r := range a.Replicas {
		if _, ok := b.ReplicaOn(r.StoreID); !ok {
			out = append(out, kv.Replica{NodeID: r.NodeID, StoreID: r.StoreID})
		}
	}
	return out
}
