package node

import (
	"context"
	"encoding/json"
	"slices"
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

// lost reports whether all replicas of a range are on nodes that have left for good.
func (ms membership) lost(replicas []kv.Replica) bool {
	return !slices.ContainsFunc(replicas, func(r kv.Replica) bool { return !ms[r.NodeID].Gone() })
}

// sayLost logs which ranges are lost when that has changed: whoever has recovered a cluster should not have to look for them.
func (d *driver) sayLost() {
	var ids []kv.RangeID
	for id, r := range d.known.ranges {
		if r.leader == 0 && d.left.lost(r.desc.Replicas) {
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
