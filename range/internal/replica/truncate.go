package replica

import (
	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"

	"github.com/pamirdb/pamir/range/internal/engine"
)

// logTail is what truncation leaves even if nobody needs it, so that a follower that misses a little does
// not need a snapshot.
const logTail = 256 << 10

// TruncateLog removes what nobody needs from the front of the log, once that is worth it: each replica
// decides for itself. A leader keeps what its followers miss, up to maxBytes.
func (r *Replica) TruncateLog(minBytes, maxBytes int64) error {
	if r.raftLog.Bytes() < minBytes || r.Frozen() != nil {
		return nil
	}
	return r.Call(func() error {
		if r.raft == nil {
			return nil
		}
		size := r.raftLog.Bytes()
		keep := int64(logTail)
		index, err := r.raftLog.IndexAtSize(min(keep, size/2))
		if err != nil {
			return err
		}
		index = min(index, r.snapshotState().applied.AppliedIndex)
		if r.role == raft.StateLeader {
			r.raft.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
				need := pr.Match
				if pr.State == tracker.StateSnapshot {
					need = max(need, pr.PendingSnapshot)
				}
				if id != uint64(r.rid) && need < index {
					index = need
				}
			})
			if size > maxBytes {
				// Too much to keep for somebody who does not come: a snapshot will have to do.
				force, err := r.raftLog.IndexAtSize(maxBytes / 2)
				if err != nil {
					return err
				}
				index = max(index, min(force, r.snapshotState().applied.AppliedIndex))
			}
		} else if size < 2*maxBytes {
			// A follower may lead soon, and others may then need from its log what they need from the leader's now.
			// It keeps twice as much, unless it is far above that.
			half, err := r.raftLog.IndexAtSize(2 * minBytes)
			if err != nil {
				return err
			}
			index = min(index, half)
		}
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
		return nil
	})
}

// LogBytes returns the approximate size of the log on disk.
func (r *Replica) LogBytes() int64 { return r.raftLog.Bytes() }

// Ended reports whether the replica takes no further part: it was removed, stopped, or closed.
func (r *Replica) Ended() bool { s := r.snapshotState(); return s.stopped != nil || s.removed }
