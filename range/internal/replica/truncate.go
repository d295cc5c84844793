package replica

import (
	"math"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"

	"github.com/pamirdb/pamir/range/internal/engine"
)

// logTail is what truncation leaves even if nobody needs it, so that a follower that misses a little does
// not need a snapshot.
const logTail = 256 << 10

// TruncateLog removes what nobody needs from the front of the log, once that is worth it: each replica
// decides for itself. A leader keeps what its followers miss, up to maxBytes. A follower may lead soon, and others may then need from its
// log what they need from the leader's now: it keeps twice as much, unless it is far above that. again: there may be something
// to remove later, although nothing is appended.
//
// To find a position by size, entries are read. So whatever keeps the log as it is, is asked first: this is called every
// second for as long as a leader waits for a follower, on all of its ranges.
func (r *Replica) TruncateLog(minBytes, maxBytes int64) (again bool, err error) {
	if r.raftLog.Bytes() < minBytes || r.Frozen() != nil {
		return false, nil
	}
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
		case leads && size > maxBytes: // too much to keep for somebody who does not come: a snapshot will have to do
			forced, err := r.raftLog.IndexAtSize(maxBytes / 2)
			if err != nil {
				return err
			}
			most, keep = min(most, max(forced, r.needed())), min(keep, maxBytes/2)
		case leads:
			most = min(most, r.needed())
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

// needed is the last index that the leader need not keep for any of its followers.
func (r *Replica) needed() uint64 {
	index := uint64(math.MaxUint64)
	r.raft.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		need := pr.Match
		if pr.State == tracker.StateSnapshot {
			need = max(need, pr.PendingSnapshot)
		}
		if id != uint64(r.rid) {
			index = min(index, need)
		}
	})
	return index
}

// LogBytes returns the approximate size of the log on disk.
func (r *Replica) LogBytes() int64 { return r.raftLog.Bytes() }

// Ended reports whether the replica takes no further part: it was removed, stopped, or closed.
func (r *Replica) Ended() bool { s := r.snapshotState(); return s.stopped != nil || s.removed }
