package replica

import (
	"math"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"

	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/kv"
)

// logTail is what truncation leaves even if nobody needs it, so that a follower that misses a little does
// not need a snapshot.
const logTail = 256 << 10

// forThoseWhoCome: so many times as long a log is kept for followers that are heard of. It is mostly for those that are being sent a snapshot
// while clients write: once they have it they need all that was written since, and without that another snapshot, which is larger and takes
// longer. A range that was loaded into while it had one replica was sent to the others again and again for as long as the load went on.
const forThoseWhoCome = 16

// TruncateLog removes what nobody needs from the front of the log, once that is worth it: each replica
// decides for itself. A leader keeps what its followers miss, up to maxBytes for those whose store is silent and forThoseWhoCome times that for the others. A follower may lead
// soon, and others may then need from its log what they need from the leader's now: it keeps twice as much, unless it is far above that. again: there may be something
// to remove later, although nothing is appended.
//
// To find a position by size, entries are read. So whatever keeps the log as it is, is asked first: this is called every
// second for as long as a leader waits for a follower, on all of its ranges.
func (r *Replica) TruncateLog(minBytes, maxBytes int64, silent func(kv.StoreID) bool) (again bool, err error) {
	if r.raftLog.Bytes() < minBytes || r.Frozen() != nil {
		return false, nil
	}
	comes := r.heardOf(silent)
	err = r.Call(func() error {
		if r.raft == nil {
			return nil
		}
		size, applied := r.raftLog.Bytes(), r.snapshotState().applied.AppliedIndex
		leads := r.role == raft.StateLeader
		if !leads && size <= 2*minBytes {
			return nil
		}
		again = true
		most, keep := applied, min(int64(logTail), size/2)
		switch {
		case leads:
			for _, come := range []bool{true, false} {
				limit := maxBytes
				if come {
					limit *= forThoseWhoCome
				}
				index, err := r.mostRemoved(limit, func(id kv.ReplicaID) bool { return comes[id] == come })
				if err != nil {
					return err
				}
				if most = min(most, index); most <= r.raftLog.Truncated().Index {
					return nil
				}
			}
			keep = min(keep, maxBytes/2)
		case size < 2*maxBytes:
			keep = 2 * minBytes
		}
		if most <= r.raftLog.Truncated().Index {
			return nil
		}
		index, err := r.raftLog.IndexAtSize(keep)
		if err != nil {
			return err
		}
		index = min(index, most)
		if index <= r.raftLog.Truncated().Index {
			return nil
		}
		b := r.deps.Engine.DB().NewBatch()
		defer func() { _ = b.Close() }() // committed or not, there is nothing left to report
		if err := r.raftLog.Truncate(b, index); err != nil {
			return err
		}
		// Not synced: the entries go only after the applied state that covers them, in the same write-ahead log.
		if err := b.Commit(pebble.NoSync); err != nil {
			err = engine.Classify(err)
			r.stop(err)
			return err
		}
		r.deps.Metrics.Truncations.Add(1)
		again = r.raftLog.Bytes() >= minBytes && (leads || r.raftLog.Bytes() > 2*minBytes)
		return nil
	})
	return again, err
}

// heardOf returns the replicas whose stores are not silent.
func (r *Replica) heardOf(silent func(kv.StoreID) bool) map[kv.ReplicaID]bool {
	heard := make(map[kv.ReplicaID]bool)
	if d := r.Desc(); d != nil {
		for _, p := range d.Replicas {
			heard[p.ReplicaID] = !silent(p.StoreID)
		}
	}
	return heard
}

// mostRemoved is the last index that the leader may remove of a log that it keeps for these followers only, up to a limit: from there
// on it is too much to keep for somebody who does not come, and a snapshot will have to do.
func (r *Replica) mostRemoved(limit int64, of func(kv.ReplicaID) bool) (uint64, error) {
	index := uint64(math.MaxUint64)
	r.raft.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		need := pr.Match
		if pr.State == tracker.StateSnapshot {
			need = max(need, pr.PendingSnapshot)
		}
		if id != uint64(r.rid) && of(kv.ReplicaID(id)) {
			index = min(index, need)
		}
	})
	if index == math.MaxUint64 || r.raftLog.Bytes() <= limit {
		return index, nil
	}
	forced, err := r.raftLog.IndexAtSize(limit / 2)
	return max(index, forced), err
}

// LogBytes returns the approximate size of the log on disk.
func (r *Replica) LogBytes() int64 { return r.raftLog.Bytes() }

// Ended reports whether the replica takes no further part: it was removed, stopped, or closed.
func (r *Replica) Ended() bool { s := r.snapshotState(); return s.stopped != nil || s.removed }
