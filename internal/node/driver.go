package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/pamirdb/pamir/placement"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

func pretty(k keys.Key) string { return keys.Pretty(k) }

// placementState is what the driver did last, for people. It is soft: another node starts from nothing.
type placementState struct {
	mu sync.Mutex

	driving  bool      // this node drives; guarded by mu
	at       time.Time // of the last plan; guarded by mu
	findings []string  // guarded by mu
	recent   []string  // operators, newest last; guarded by mu
	// busy are the ranges with an operator under way; guarded by mu.
	busy map[kv.RangeID]bool
	// backoff keeps a range whose last change failed from being tried at every tick; guarded by mu.
	backoff map[kv.RangeID]time.Time
}

const (
	maxRecentOperators = 50
	failedChangePause  = 10 * time.Second
	changeTimeout      = 5 * time.Minute // of a replica change, snapshot included
	transferTimeout    = 5 * time.Second
)

// startPlacement runs the driver; it works while this node leads the meta range.
func (n *Node) startPlacement() {
	if n.cfg.NoPlacement {
		return
	}
	n.placement.backoff, n.placement.busy = map[kv.RangeID]time.Time{}, map[kv.RangeID]bool{}
	n.background(func(ctx context.Context) {
		every(ctx, n.cfg.PlacementInterval, func() {
			if ctx.Err() != nil {
				return
			}
			st, _ := n.store.RangeDetail(kv.MetaRangeID)
			drive := !n.draining.Load() && st.Serving
			n.placement.mu.Lock()
			n.placement.driving = drive
			n.placement.mu.Unlock()
			if drive {
				n.place(ctx)
			}
		})
	})
}

// place makes one plan and begins to carry it out. A change that takes long does not hold up the next plan: its
// range counts as changing meanwhile.
func (n *Node) place(ctx context.Context) {
	p := &n.placement
	snap, descs := n.snapshot(ctx)
	rules := *n.cfg.Rules
	p.mu.Lock()
	for i := range snap.Ranges {
		if p.busy[kv.RangeID(snap.Ranges[i].ID)] {
			snap.Ranges[i].Changing = true
			rules.MaxReplicaChanges--
		}
	}
	p.mu.Unlock()
	res := placement.Plan(snap, rules)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = time.Now()
	p.findings = p.findings[:0]
	for _, f := range res.Findings {
		p.findings = append(p.findings, fmt.Sprintf("r%d: %s", f.Range, f.Why))
	}
	for _, op := range res.Operators {
		id := kv.RangeID(op.Range)
		if p.busy[id] || time.Now().Before(p.backoff[id]) {
			continue
		}
		p.busy[id] = true
		n.background(func(ctx context.Context) {
			err := n.carryOut(ctx, op, descs[id])
			n.finished(ctx, op, err)
		})
	}
}

// finished notes the outcome of an operator.
func (n *Node) finished(ctx context.Context, op placement.Operator, err error) {
	p, id := &n.placement, kv.RangeID(op.Range)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.busy, id)
	line := op.String()
	if err != nil {
		line += ": " + err.Error()
		p.backoff[id] = time.Now().Add(failedChangePause)
	} else {
		delete(p.backoff, id)
	}
	p.recent = append(p.recent, line)
	if len(p.recent) > maxRecentOperators {
		p.recent = p.recent[len(p.recent)-maxRecentOperators:]
	}
	switch {
	case err == nil:
		n.log.Info("placement", "op", op.String())
	case ctx.Err() == nil:
		n.log.Warn("placement: operator failed", "op", op.String(), "err", err)
	}
}

// snapshot translates what the cluster reports into the planner's terms.
func (n *Node) snapshot(ctx context.Context) (placement.Snapshot, map[kv.RangeID]*kv.RangeDescriptor) {
	var snap placement.Snapshot
	silence := map[kv.NodeID]time.Duration{}
	for _, p := range n.transport.Peers() {
		silence[p.NodeID] = p.Silence
	}
	for _, e := range n.book.Entries() {
		snap.Stores = append(snap.Stores, placement.Store{
			ID: placement.StoreID(e.StoreID), Locality: e.Locality, Draining: e.Draining, Silence: silence[e.NodeID],
		})
	}
	led, _ := n.reports(ctx)
	descs := map[kv.RangeID]*kv.RangeDescriptor{}
	for id, l := range led {
		d := &l.desc
		n.sender.Learn(*d)
		r := placement.Range{ID: placement.RangeID(id), Generation: d.Generation, Leader: placement.StoreID(l.leaderStore), Changing: d.InJoint()}
		for _, rep := range d.Replicas {
			if rep.VotesOld() || rep.VotesNew() {
				r.Voters = append(r.Voters, placement.StoreID(rep.StoreID))
			} else {
				r.Learners = append(r.Learners, placement.StoreID(rep.StoreID))
			}
		}
		snap.Ranges = append(snap.Ranges, r)
		descs[id] = d
	}
	return snap, descs
}

// carryOut does what an operator says, to the range as d describes it.
func (n *Node) carryOut(ctx context.Context, op placement.Operator, d *kv.RangeDescriptor) error {
	req := &kv.BatchRequest{RangeID: d.RangeID}
	timeout := changeTimeout
	if op.Kind == placement.TransferLeader {
		timeout = transferTimeout
		req.Requests = []kv.Request{&kv.AdminTransferLeader{Target: kv.StoreID(op.To)}}
	} else {
		change := &kv.AdminChangeReplicas{Generation: op.Generation}
		for _, s := range op.Add {
			r, err := n.replicaOn(kv.StoreID(s))
			if err != nil {
				return err
			}
			change.Add = append(change.Add, r)
		}
		for _, s := range op.Remove {
			r, ok := d.ReplicaOn(kv.StoreID(s))
			if !ok {
				return fmt.Errorf("no replica on s%d", s)
			}
			change.Remove = append(change.Remove, kv.Replica{NodeID: r.NodeID, StoreID: r.StoreID})
		}
		req.Requests = []kv.Request{change}
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, err := n.sender.Send(ctx, req)
	return err
}

func (n *Node) replicaOn(s kv.StoreID) (kv.Replica, error) {
	for _, e := range n.book.Entries() {
		if e.StoreID == s {
			return kv.Replica{NodeID: e.NodeID, StoreID: s}, nil
		}
	}
	return kv.Replica{}, fmt.Errorf("no node has store %d", s)
}

// handOver moves leadership of everything away and returns how many ranges are still led here.
func (n *Node) handOver(ctx context.Context) int {
	for {
		led := 0
		var wg sync.WaitGroup
		slots := make(chan struct{}, 16)
		for _, st := range n.store.Ranges() {
			if !st.Leader || st.Descriptor == nil {
				continue
			}
			target := n.heir(st.Descriptor)
			if target == 0 {
				continue // nobody else could lead it: a cluster that is shut down, or too small
			}
			led++
			wg.Add(1)
			slots <- struct{}{}
			go func() {
				defer wg.Done()
				defer func() { <-slots }()
				tctx, cancel := context.WithTimeout(ctx, transferTimeout)
				defer cancel()
				_, err := n.store.Send(tctx, &kv.BatchRequest{RangeID: st.Descriptor.RangeID, Now: n.clock.Now(),
					Requests: []kv.Request{&kv.AdminTransferLeader{Target: target}}})
				if err != nil && !kv.HasCode(err, kv.CodeNotLeader) {
					n.log.Debug("handing over a range", "range", st.Descriptor.RangeID, "err", err)
				}
			}()
		}
		wg.Wait()
		if led == 0 || ctx.Err() != nil {
			return led
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// heir picks a voter on a live node that is not draining.
func (n *Node) heir(d *kv.RangeDescriptor) kv.StoreID {
	for i := range d.Replicas {
		r := d.Replicas[(i+int(d.RangeID))%len(d.Replicas)] // spread
		if r.NodeID == n.id.NodeID || r.Type != kv.Voter || !n.transport.Alive(r.NodeID) {
			continue
		}
		if e, ok := n.book.Get(r.NodeID); ok && !e.Draining {
			return r.StoreID
		}
	}
	return 0
}
