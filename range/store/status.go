package store

import (
	"cmp"
	"errors"
	"slices"

	"github.com/pamirdb/pamir/range/internal/concurrency"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/internal/replica"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Ranges describes the replicas of the store, in the order of their ids. It costs little and locks
// nothing for long; Raft's view of the followers is in RangeDetail.
func (s *Store) Ranges() []RangeStatus {
	var out []RangeStatus
	s.each(func(r *replica.Replica) bool {
		out = append(out, rangeStatus(r.Status()))
		return true
	})
	slices.SortFunc(out, func(a, b RangeStatus) int { return cmp.Compare(a.RangeID, b.RangeID) })
	return out
}

// Led calls f for every range that this store leads, with what it has been asked to do. There may be one caller only:
// the requests by gateway are counted from zero again.
func (s *Store) Led(f func(RangeLoad)) {
	s.each(func(r *replica.Replica) bool {
		term, ok := r.Serving()
		if !ok {
			return true
		}
		if d := r.Desc(); d != nil {
			stats := r.Applied().Stats
			stats.Bytes += s.shownLocked(r, stats.Locks)
			f(RangeLoad{Term: term, Descriptor: d, Stats: stats, Changing: r.Changing(), Load: r.Load()})
		}
		return true
	})
}

// Sending is a snapshot on its way to another replica.
type Sending struct {
	RangeID kv.RangeID
	To      kv.ReplicaID
	Sent    int64 // bytes so far; in all there are about as many as kv.Stats.Bytes says
}

// RangeLoad is a range that the store leads.
type RangeLoad struct {
	Term       uint64
	Descriptor *kv.RangeDescriptor // must not be changed
	Stats      kv.Stats            // its bytes with a guess at what many prepared locks hold
	Changing   bool                // an administrative command is under way
	Load       Load
}

// What a range's leader has been asked to do.
type (
	Load        = replica.Load
	SourceCount = replica.SourceCount
)

// Range describes one replica, as Ranges does.
func (s *Store) Range(id kv.RangeID) (RangeStatus, bool) {
	r := s.replica(id)
	if r == nil {
		return RangeStatus{}, false
	}
	return rangeStatus(r.Status()), true
}

// RangeDetail describes one replica, with the leader's view of the others. The leader has to be asked for that, between two messages.
func (s *Store) RangeDetail(id kv.RangeID) (RangeStatus, bool) {
	r := s.replica(id)
	if r == nil {
		return RangeStatus{}, false
	}
	st := rangeStatus(r.Status())
	for _, f := range r.Followers() {
		st.Followers = append(st.Followers, FollowerStatus{
			Replica: f.Replica, Match: f.Match, State: f.State, Support: f.Support, Active: f.Active, Snapshot: f.Snapshot,
		})
	}
	return st, true
}

func rangeStatus(st replica.Status) RangeStatus {
	return RangeStatus{
		RangeID: st.ID, Descriptor: st.Desc, Replica: st.Me, Leader: st.Leader, LeaderReplica: st.LeaderReplica, LeaseEnd: st.LeaseEnd,
		Serving: st.Serving, Quiet: st.Quiet, Stopped: st.Stopped, Term: st.Term, Applied: st.Applied.AppliedIndex,
		FirstIndex: st.FirstIndex, LastIndex: st.LastIndex, LogBytes: st.LogBytes, Stats: st.Applied.Stats,
		GCThreshold: st.Applied.GCThreshold, ClosedTS: st.Applied.ClosedTS, Closed: st.Closed, Requests: st.Requests, Writes: st.Writes,
	}
}

// Space returns how large the store's disk is, and how much of it is free.
func (s *Store) Space() (free, capacity int64) {
	f, all := s.eng.Space()
	return int64(f), int64(all)
}

// Full reports whether so little of the disk is left that writes are refused.
func (s *Store) Full() bool { return s.eng.CheckSpace(false) != nil }

// commonLocks are as many as a range that small transactions write to has at most times; they are not looked at for its size.
const commonLocks = 16

func (s *Store) shownLocked(r *replica.Replica, locks int64) int64 {
	if locks <= commonLocks {
		return 0
	}
	return s.lockedBytes(r, locks)
}

// LockedBytes guesses what so many prepared locks of a range hold: what RangeLoad has in its bytes, and RangeStatus does not.
func (s *Store) LockedBytes(id kv.RangeID, locks int64) int64 {
	if r := s.replica(id); r != nil && r.Desc() != nil {
		return s.shownLocked(r, locks)
	}
	return 0
}

// preparedShown is how many prepared locks of a range Locks reads from the disk.
const preparedShown = 100

// Locks returns up to limit locks and waiters of a range led here. Of prepared locks that nobody has met it returns the first few.
func (s *Store) Locks(id kv.RangeID, limit int) []LockInfo {
	r := s.replica(id)
	if r == nil {
		return nil
	}
	out := r.Locks().Locks(limit)
	more := min(preparedShown, limit-len(out))
	if d := r.Desc(); d != nil && more > 0 && r.Applied().Stats.Locks > 0 {
		met := map[string]kv.TxnID{}
		for i := range out {
			if out[i].Replicated {
				met[string(out[i].Key)] = out[i].Txn.ID
			}
		}
		err := s.preparedLocks(d.Span(), func(key keys.Key, l *kv.LockRecord) bool {
			if met[string(key)] == l.Txn.ID {
				return true
			}
			out = append(out, LockInfo{Key: key.Clone(), Txn: l.Txn, Strength: kv.LockUpdate, Granted: true, Replicated: true, TS: l.TS})
			more--
			return more > 0
		})
		if err != nil {
			s.log.Warn("prepared locks are left out of what is shown", "range", int64(id), "err", err)
		}
	}
	return out
}

// preparedLocks calls f with the prepared locks on the disk, until it has enough.
func (s *Store) preparedLocks(span keys.Span, f func(key keys.Key, l *kv.LockRecord) (more bool)) (err error) {
	r := mvcc.NewReader(s.eng.DB())
	defer func() { err = errors.Join(err, r.Close()) }()
	cur, err := r.LockCursor(span, false)
	if err != nil {
		return err
	}
	defer cur.Close()
	for cur.Next() {
		l, err := cur.Record()
		if err != nil {
			return err
		}
		if !f(cur.Key(), l) {
			break
		}
	}
	return cur.Err()
}

// LockInfo is one lock or waiter.
type LockInfo = concurrency.LockInfo

// DiskMetrics is for scrapes: some of it is counted together when it is asked for.
func (s *Store) DiskMetrics() DiskMetrics {
	free, all := s.Space()
	m := s.eng.DB().Metrics()
	return DiskMetrics{
		FreeBytes: free, CapacityBytes: all, UsedBytes: int64(m.DiskSpaceUsage()),
		WriteStalls: s.eng.WriteStalls(), SlowWrites: s.eng.SlowWrites(),
		L0Sublevels: int64(m.Levels[0].Sublevels), CacheBytes: m.BlockCache.Size,
		CacheHits: m.BlockCache.Hits, CacheMisses: m.BlockCache.Misses,
		Compactions: m.Compact.Count, Flushes: m.Flush.Count, WALBytes: int64(m.WAL.BytesWritten),
	}
}

// DiskMetrics of a store.
type DiskMetrics struct {
	FreeBytes, CapacityBytes, UsedBytes int64
	WriteStalls, SlowWrites             int64
	L0Sublevels                         int64
	CacheBytes, CacheHits, CacheMisses  int64
	Compactions, Flushes, WALBytes      int64
}
