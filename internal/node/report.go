package node

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

type reportRequest struct{}

// report is what a node says about the ranges that it leads.
type report struct {
	NodeID  kv.NodeID
	StoreID kv.StoreID
	nodeLoad
	Ranges []rangeReport
}

type rangeReport struct {
	Desc     []byte // wire form
	Stats    kv.Stats
	Requests int64
	Writes   int64
	LogBytes int64
	Quiet    bool
	Rates    RangeRates
	Sent     map[kv.ReplicaID]int64 // bytes of snapshots on their way to these replicas

	desc kv.RangeDescriptor
}

func (n *Node) serveReport(context.Context, kv.NodeID, *reportRequest) (*report, error) {
	r := &report{NodeID: n.id.NodeID, StoreID: n.storeID, nodeLoad: n.load(time.Now())}
	sent := map[kv.RangeID]map[kv.ReplicaID]int64{}
	for _, x := range n.store.Sending() {
		if sent[x.RangeID] == nil {
			sent[x.RangeID] = map[kv.ReplicaID]int64{}
		}
		sent[x.RangeID][x.To] = x.Sent
	}
	for _, st := range n.store.Ranges() {
		if !st.Leader || st.Descriptor == nil {
			continue
		}
		st.Stats.Bytes += n.store.LockedBytes(st.RangeID, st.Stats.Locks)
		rr := rangeReport{Desc: st.Descriptor.AppendWire(nil), Stats: st.Stats, Requests: st.Requests, Writes: st.Writes,
			LogBytes: st.LogBytes, Quiet: st.Quiet, Rates: n.loads.rates(st.RangeID), Sent: sent[st.RangeID]}
		r.Ranges = append(r.Ranges, rr)
	}
	return r, nil
}

// ledRange is a range as its leader reported it.
type ledRange struct {
	rangeReport
	leader      kv.NodeID
	leaderStore kv.StoreID
}

// sent is how much of the range a replica has been sent of a snapshot that is on its way to it.
func (l *ledRange) sent(to kv.ReplicaID) int64 { return min(l.Sent[to], l.Stats.Bytes) }

// reports asks every node that answers for its report. Of two leaders of a range, the one with the newer descriptor counts.
func (n *Node) reports(ctx context.Context) (led map[kv.RangeID]*ledRange, loads map[kv.NodeID]nodeLoad) {
	n.settle(ctx)
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	led, loads = map[kv.RangeID]*ledRange{}, map[kv.NodeID]nodeLoad{}
	for _, e := range n.book.Entries() {
		if !n.transport.Alive(e.NodeID) {
			continue
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			r, err := ask[reportRequest, report](ctx, n, e.NodeID, "report", &reportRequest{})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				return
			}
			loads[e.NodeID] = r.nodeLoad
			for _, rr := range r.Ranges {
				if rr.desc, err = kv.DecodeRangeDescriptor(rr.Desc); err != nil {
					n.log.Error("malformed report", "from", e.NodeID, "err", err)
					return
				}
				if old := led[rr.desc.RangeID]; old == nil || old.desc.Generation < rr.desc.Generation {
					led[rr.desc.RangeID] = &ledRange{rr, r.NodeID, r.StoreID}
				}
			}
		}()
	}
	wg.Wait()
	return led, loads
}

// RangeViews describes every range: what the meta range lists, and what leaders say of their own.
func (n *Node) RangeViews(ctx context.Context) ([]RangeView, error) {
	descs, led, err := n.allRanges(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]RangeView, 0, len(descs))
	for i := range descs {
		out = append(out, rangeView(&descs[i], led[descs[i].RangeID]))
	}
	return out, nil
}

// allRanges returns the newest descriptor known of every range, in key order, and what leaders report of theirs.
func (n *Node) allRanges(ctx context.Context) ([]kv.RangeDescriptor, map[kv.RangeID]*ledRange, error) {
	descs, led, _, err := n.allRangesAndLoads(ctx)
	return descs, led, err
}

// allRangesAndLoads is allRanges with what the nodes say of themselves.
func (n *Node) allRangesAndLoads(ctx context.Context) ([]kv.RangeDescriptor, map[kv.RangeID]*ledRange, map[kv.NodeID]nodeLoad, error) {
	descs, err := n.sender.AllRanges(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	led, loads := n.reports(ctx)
	known := map[kv.RangeID]bool{}
	for i := range descs {
		known[descs[i].RangeID] = true
		if l := led[descs[i].RangeID]; l != nil && l.desc.Generation >= descs[i].Generation {
			descs[i] = l.desc
		}
	}
	for id, l := range led { // the meta range is told after the fact
		if !known[id] {
			descs = append(descs, l.desc)
		}
	}
	slices.SortFunc(descs, func(a, b kv.RangeDescriptor) int { return a.StartKey.Compare(b.StartKey) })
	return descs, led, loads, nil
}

func rangeView(d *kv.RangeDescriptor, l *ledRange) RangeView {
	v := RangeView{ID: d.RangeID, Start: pretty(d.StartKey), End: pretty(d.EndKey), Generation: d.Generation, Replicas: make([]ReplicaView, 0, len(d.Replicas)),
		Span: keys.Span{Start: d.StartKey, End: d.EndKey}}
	for _, r := range d.Replicas {
		p := ReplicaView{NodeID: r.NodeID, StoreID: r.StoreID, ID: int32(r.ReplicaID), Type: r.Type.String()}
		if l != nil {
			p.Sent = l.sent(r.ReplicaID)
		}
		v.Replicas = append(v.Replicas, p)
	}
	if l != nil {
		v.LeaderNode = l.leader
		v.LiveRows, v.LiveBytes, v.Bytes, v.Locks = l.Stats.LiveRows, l.Stats.LiveBytes, l.Stats.Bytes, l.Stats.Locks
		v.Requests, v.Writes, v.LogBytes, v.Quiet, v.Rates = l.Requests, l.Writes, l.LogBytes, l.Quiet, l.Rates
	}
	return v
}
