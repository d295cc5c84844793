package node

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pamirdb/pamir/placement"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Merges of ranges: what the planner has to know of neighbours, and merges by command.

// mergeTimeout bounds a merge that the driver has asked for; a store gives one up sooner.
const mergeTimeout = 20 * time.Second

// mergePatience is for how long a merge by command is tried again without progress, while the ranges are not in a state for it.
const mergePatience = 10 * time.Second

// pinnedForEver is for cuts that somebody has asked for without saying for how long.
const pinnedForEver = 1<<63 - 1

// neighbours finds out which range is to the left of each, if that may have changed.
func (d *driver) neighbours() {
	if !d.known.bounds {
		return
	}
	d.known.bounds, d.known.order = false, nil
	order := d.known.inOrder()
	leftOf := make(map[kv.RangeID]kv.RangeID, len(order))
	for i := 1; i < len(order); i++ {
		l, r := &d.known.ranges[order[i-1]].desc, &d.known.ranges[order[i]].desc
		if l.EndKey.Equal(r.StartKey) { // else one of the two is not known as it is now
			leftOf[r.RangeID] = l.RangeID
		}
	}
	for id := range d.known.ranges {
		if leftOf[id] != d.leftOf[id] {
			d.known.changed[id] = true
		}
	}
	d.leftOf = leftOf
}

// border tells the planner of a range's left neighbour, and why the cut between the two has to stay. p.mu is held.
func (d *driver) border(r *placement.Range, k *knownRange, now time.Time) {
	r.Left, r.CutAt = placement.RangeID(d.leftOf[k.desc.RangeID]), k.cut.Sub(d.began)
	until := time.Time{}
	if r.Fixed, until = fixed(&k.desc, now); r.Fixed == "" {
		if f, ok := d.n.placement.unmergeable[k.desc.RangeID]; ok && now.Before(f.until) {
			r.Fixed, until = f.why, f.until
		}
	}
	if !until.IsZero() {
		r.FixedUntil = until.Sub(d.began)
	}
}

// fixed says why a range has to begin where it does, and until when (zero: for ever); "" if it need not. Rules are the planner's business.
func fixed(d *kv.RangeDescriptor, now time.Time) (why string, until time.Time) {
	switch {
	case d.StartKey.Equal(keys.TableMin):
		return "the meta range is never merged", until
	case d.StartKey.Equal(keys.Table(keys.FirstUserTable)):
		return "the catalog's ranges are not merged with those of tables", until
	case d.Pinned == pinnedForEver:
		return "somebody asked for the cut (pamir.split_at), and nobody has taken that back (pamir.merge_at)", until
	case d.Pinned > now.UnixNano():
		until = time.Unix(0, d.Pinned)
		return fmt.Sprintf("somebody asked for the cut (pamir.split_at) until %s", until.UTC().Format(time.DateTime)), until
	}
	return "", until
}

// mergeRequest is that of an operator.
func mergeRequest(op *placement.Operator, left, right *kv.RangeDescriptor) kv.Request {
	return &kv.AdminMerge{Key: left.StartKey, At: right.StartKey, Left: op.Generation, Right: op.RightGeneration}
}

// splitAt cuts a range because somebody has asked for it: the cut stays until pinned (0: for ever), or until it is taken back.
func (n *Node) splitAt(ctx context.Context, key keys.Key, pinned int64) (left, right kv.RangeDescriptor, err error) {
	if pinned == 0 {
		pinned = pinnedForEver
	}
	var resp *kv.BatchResponse
	err = untilKnown(ctx, func() (err error) {
		resp, err = n.sender.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.AdminSplit{Key: key, Pinned: pinned}}})
		return err
	})
	if err != nil {
		return left, right, err
	}
	r := resp.Responses[0].(*kv.AdminSplitResponse)
	n.sender.Learn(r.Left, r.Right)
	return r.Left, r.Right, nil
}

// unknownCuts is how often a cut is asked for whose outcome nobody tells, with a pause that doubles from 50 ms on: for about 6 s.
const unknownCuts = 8

// untilKnown asks for a cut again while it is not known what became of it, as when a connection breaks: if it is there already, that is the answer.
func untilKnown(ctx context.Context, ask func() error) (err error) {
	pause := 50 * time.Millisecond
	for n := 1; ; n++ {
		if err = ask(); !kv.HasCode(err, kv.CodeUnknownOutcome) {
			return err
		}
		if n == unknownCuts {
			return kv.Errorf(kv.CodeUnavailable, "whether the range has been cut is not known, and may be asked for again: %v", err)
		}
		select {
		case <-time.After(pause):
			pause *= 2
		case <-ctx.Done():
			return kv.Errorf(kv.CodeCanceled, "the cut may have been made: %v", err)
		}
	}
}

// mergeAt takes a cut back: it merges the range that begins at key with its left neighbour, having moved its replicas there. It returns the range that
// comes of it.
func (n *Node) mergeAt(ctx context.Context, key keys.Key) (kv.RangeID, error) {
	unpinned, progress := false, time.Now()
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		left, right, led, err := n.around(ctx, key)
		if err != nil {
			return 0, err
		}
		if right == nil {
			if unpinned {
				return left.RangeID, nil // placement was faster
			}
			return 0, kv.Errorf(kv.CodeBadRequest, "no range begins there: the row is inside of range %d", left.RangeID)
		}
		if !unpinned {
			if err := n.mayMergeAt(ctx, left, right, led); err != nil {
				return 0, err
			}
			if _, err := n.sender.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.AdminSplit{Key: key, Pinned: -1}}}); err != nil {
				return 0, err
			}
			unpinned, progress = true, time.Now()
			continue
		}
		done := false
		if done, err = n.mergeStep(ctx, left, right, led); err == nil && !done {
			pause, progress = 10*time.Millisecond, time.Now()
			continue
		} else if err == nil {
			return left.RangeID, nil
		}
		switch e := kv.AsError(err); {
		case e.Code == kv.CodeNotNow && time.Since(progress) >= mergePatience:
			return 0, kv.NotNow(string(e.Detail), "the cut may be merged away from now on, and was not yet: %s", e.Message)
		case e.Code.Class() == kv.Deterministic && e.Code != kv.CodeNotNow && e.Code != kv.CodeDescriptorChanged:
			return 0, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return 0, kv.Errorf(kv.CodeUnavailable, "the cut may be merged away from now on, and was not yet: %v", err)
		}
	}
}

// around returns the ranges on both sides of key; right is nil if no range begins there, and left then holds key.
func (n *Node) around(ctx context.Context, key keys.Key) (left, right *kv.RangeDescriptor, led map[kv.RangeID]*ledRange, err error) {
	descs, led, err := n.allRanges(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	for i := range descs {
		d := &descs[i]
		switch {
		case d.EndKey.Equal(key):
			left = d
		case d.StartKey.Equal(key):
			right = d
		case d.Contains(key):
			return d, nil, led, nil
		}
	}
	if left == nil || right == nil {
		return nil, nil, nil, kv.Errorf(kv.CodeUnavailable, "the ranges around %s are not known", pretty(key))
	}
	return left, right, led, nil
}

// mayMergeAt refuses what would be undone at once, or is never done.
func (n *Node) mayMergeAt(ctx context.Context, left, right *kv.RangeDescriptor, led map[kv.RangeID]*ledRange) error {
	d := right.Clone()
	d.Pinned = 0
	if why, _ := fixed(d, time.Now()); why != "" {
		return kv.Errorf(kv.CodeBadRequest, "%s", why)
	}
	var b ruleBook
	if err := b.refresh(ctx, n, false); err != nil {
		return err
	}
	if b.ruleAt(left.StartKey) != b.ruleAt(right.StartKey) {
		return kv.Errorf(kv.CodeBadRequest, "another placement rule begins there")
	}
	var sum int64
	for _, d := range [2]*kv.RangeDescriptor{left, right} {
		if l := led[d.RangeID]; l != nil {
			sum += l.Stats.Bytes
		}
	}
	if most, _, _ := n.store.SplitLimits(); most > 0 && sum >= most {
		return kv.Errorf(kv.CodeBadRequest, "ranges %d and %d hold %d bytes together: one that holds %d is split", left.RangeID, right.RangeID, sum, most)
	}
	return nil
}

// mergeStep does the next thing towards a merge; done when that was the merge itself.
func (n *Node) mergeStep(ctx context.Context, left, right *kv.RangeDescriptor, led map[kv.RangeID]*ledRange) (done bool, err error) {
	op := placement.Operator{Kind: placement.ChangeReplicas, Range: placement.RangeID(right.RangeID), Generation: right.Generation}
	var heir kv.Replica
	for _, d := range [2]*kv.RangeDescriptor{left, right} {
		if d.InJoint() || slices.ContainsFunc(d.Replicas, func(p kv.Replica) bool { return p.Type == kv.Learner }) {
			return false, kv.NotNow(kv.NotNowReplicas, "the replicas of range %d are changing", d.RangeID) // to what is not known here
		}
	}
	leader := kv.StoreID(0)
	if l := led[right.RangeID]; l != nil {
		leader = l.leaderStore
	}
	for _, r := range left.Replicas {
		if have, ok := right.ReplicaOn(r.StoreID); !ok {
			op.Add, op.NonVoting = []placement.StoreID{placement.StoreID(r.StoreID)}, r.Type == kv.NonVoter
			break
		} else if have.Type != r.Type {
			return false, kv.NotNow(kv.NotNowReplicas, "store %d has replicas of two kinds of the ranges %d and %d", r.StoreID, left.RangeID, right.RangeID)
		} else if have.Type == kv.Voter {
			heir = have
		}
	}
	for _, r := range right.Replicas {
		if _, ok := left.ReplicaOn(r.StoreID); ok || len(op.Remove) > 0 && kv.StoreID(op.Remove[0]) != leader {
			continue
		}
		op.Remove = []placement.StoreID{placement.StoreID(r.StoreID)}
	}
	switch {
	case len(op.Add) == 0 && len(op.Remove) == 0:
		op.Generation = left.Generation
		op.RightGeneration = right.Generation
		return true, n.carryOutMerge(ctx, &op, left, right)
	case len(op.Remove) > 0 && kv.StoreID(op.Remove[0]) == leader && heir.StoreID != 0:
		_, err = n.sender.Send(ctx, &kv.BatchRequest{RangeID: right.RangeID, Requests: []kv.Request{&kv.AdminTransferLeader{Target: heir.StoreID}}})
		return false, err
	case len(op.Remove) > 0 && kv.StoreID(op.Remove[0]) == leader:
		op.Remove = nil // the new one can then lead
	}
	return false, n.carryOut(ctx, op, right)
}

// carryOutMerge merges two ranges.
func (n *Node) carryOutMerge(ctx context.Context, op *placement.Operator, left, right *kv.RangeDescriptor) error {
	n.sender.Learn(*left, *right)
	ctx, cancel := context.WithTimeout(ctx, mergeTimeout)
	defer cancel()
	resp, err := n.sender.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{mergeRequest(op, left, right)}})
	if err != nil {
		return err
	}
	n.sender.Learn(resp.Responses[0].(*kv.AdminMergeResponse).Descriptor)
	return nil
}
