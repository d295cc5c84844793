package node

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/range/recovery"
	"github.com/pamirdb/pamir/txn"
)

// heedRecovery notes that the nodes that the last recovery has found lost have left for good, as soon as that can be written. Several nodes may do so.
func (n *Node) heedRecovery() {
	note, err := recovery.ReadNote(n.cfg.FS, n.cfg.StoreDir)
	if err != nil {
		n.log.Error("what a recovery has noted cannot be read: decommission the nodes that are lost", "err", err)
		return
	}
	if note == nil || note.Cluster != n.id.ClusterID {
		return
	}
	n.background(func(ctx context.Context) {
		for {
			err := n.noteLost(ctx, note.Lost)
			if err == nil {
				err = recovery.RemoveNote(n.cfg.FS, n.cfg.StoreDir)
			}
			if err == nil {
				return
			}
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return
			}
		}
	})
}

// noteLost writes of nodes that they have left, with the replicas that they had.
func (n *Node) noteLost(ctx context.Context, lost []kv.NodeID) error {
	var noted []kv.NodeID
	_, err := n.inTxn(ctx, func(t txn.Txn) error {
		left, err := scanMembership(ctx, t)
		if err != nil {
			return err
		}
		noted = slices.DeleteFunc(slices.Clone(lost), func(id kv.NodeID) bool { return left[id].Gone() })
		now := time.Now().UTC()
		for _, id := range noted {
			b, err := json.Marshal(Membership{Since: now, Done: now})
			if err == nil {
				err = t.Put(keys.Membership(int32(id)), b)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && len(noted) > 0 {
		n.log.Info("nodes have left for good: they were lost, and the cluster was recovered without them", "nodes", noted)
	}
	return err
}

// lost reports whether all nodes with a replica of a range have left for good.
func (ms membership) lost(on []kv.NodeID) bool {
	return !slices.ContainsFunc(on, func(id kv.NodeID) bool { return !ms[id].Gone() })
}

// sayLost logs which ranges are lost when that has changed: whoever has recovered a cluster should not have to look for them.
func (d *driver) sayLost() {
	var ids []kv.RangeID
	for id, r := range d.known.ranges {
		if r.leader == 0 && d.left.lost(r.desc.Nodes()) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	before := d.lostBefore
	if d.lostBefore = ids; slices.Equal(ids, d.lost) || !slices.Equal(ids, before) {
		return // one that was made anew takes a moment to take its place in the meta range
	}
	if d.lost = ids; len(ids) == 0 {
		d.n.log.Info("no range is lost any more")
		return
	}
	const most = 20
	d.n.log.Error("ranges are lost: all their replicas were on nodes that have left for good, and what asks for their keys fails", "count", len(ids), "ranges", ids[:min(most, len(ids))],
		"hint", "drop what has rows there, and restore it; or stop all nodes and plan a recovery with --make-empty (pamir debug recover)")
}

// lostRanges is what this node knows of ranges that are lost, so that statements need not wait for them.
type lostRanges struct {
	// alive and read are what it goes by.
	alive func(kv.NodeID) bool
	read  func(context.Context) (membership, error)

	mu    sync.Mutex
	left  membership // as it was read at at; all guarded by mu
	at    time.Time
	since map[kv.RangeID]lostSince
}

// lostSince is when a range was first and last found to be lost.
type lostSince struct{ first, last time.Time }

const (
	// lostAfter is for how long a range must have seemed lost: what the meta range says may be old by a moment, of a range that was just moved, or made anew.
	lostAfter = 2 * time.Second
	// leftFor is how long it is believed who has left, and lostFor how long after it was last asked for a range is remembered.
	leftFor, lostFor = time.Second, time.Minute
)

// is reports whether a range is lost.
func (l *lostRanges) is(ctx context.Context, d *kv.RangeDescriptor) bool {
	on := d.Nodes()
	if d.RangeID == kv.MetaRangeID || slices.ContainsFunc(on, l.alive) {
		return false // who has left is written in the meta range
	}
	if !l.mu.TryLock() {
		return false // it is being read: the next to ask will know
	}
	defer l.mu.Unlock()
	now := time.Now()
	if now.Sub(l.at) > leftFor {
		ctx, cancel := context.WithTimeout(ctx, leftFor)
		defer cancel()
		left, err := l.read(ctx)
		if err != nil {
			return false
		}
		if l.left, l.at = left, now; l.since == nil {
			l.since = map[kv.RangeID]lostSince{}
		}
		maps.DeleteFunc(l.since, func(_ kv.RangeID, s lostSince) bool { return now.Sub(s.last) > lostFor })
	}
	if !l.left.lost(on) {
		delete(l.since, d.RangeID)
		return false
	}
	s := l.since[d.RangeID]
	if s.first.IsZero() {
		s.first = now
	}
	s.last = now
	l.since[d.RangeID] = s
	return now.Sub(s.first) >= lostAfter
}
