package recovery

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/internal/raftlog"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/range/store"
)

const (
	// generations and replica ids are jumped over, for those that lost replicas may have seen.
	jumpGenerations = 1000
	jumpReplicas    = 1000
	// jumpIDs of nodes, stores and ranges.
	jumpIDs = 1000
	// applyPatience is how long the end of the logs may take to be applied without any progress.
	applyPatience = time.Minute
)

// Applied says what Apply did.
type Applied struct {
	Ranges []kv.RangeID
	// Found are ranges that were not in the plan: they came from a split at the end of a log.
	Found []kv.RangeID
	// Anew are ranges that were made, and are empty.
	Anew []kv.RangeID
	// Before: the plan had been carried out on this store before, and nothing was done.
	Before bool
}

// Apply carries the plan out on the stopped store in dir; fs is nil for the operating system's files.
func Apply(ctx context.Context, fs vfs.FS, dir string, p *Plan, maxOffset time.Duration, log *slog.Logger) (*Applied, error) {
	if p.Version != formatVersion {
		return nil, fmt.Errorf("the plan has format %d, this version of pamir knows %d", p.Version, formatVersion)
	}
	mine, done, err := prepare(fs, dir, p, log)
	if err != nil {
		return nil, err
	}
	if done {
		return &Applied{Before: true}, nil
	}
	if err := applyLogs(ctx, fs, dir, mine, maxOffset, log); err != nil {
		return nil, err
	}
	return rewrite(fs, dir, p, log)
}

// target is a range that goes on here, and how far its log is to be applied.
type target struct {
	id    kv.RangeID
	index uint64
}

// prepare checks that the store is as it was when the plan was made, and takes the logs of the ranges that go on here to be committed.
func prepare(fs vfs.FS, dir string, p *Plan, log *slog.Logger) (mine []target, done bool, err error) {
	e, err := open(fs, dir, false, log)
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	id, ok, err := e.Identity()
	switch {
	case err != nil:
		return nil, false, err
	case ok && id.ClusterID == p.NewCluster:
		return nil, true, nil
	case !ok || uuid.UUID(id.ClusterID) != p.Cluster:
		return nil, false, fmt.Errorf("the store in %s is of cluster %s, the plan is for cluster %s", dir, uuid.UUID(id.ClusterID), p.Cluster)
	case !slices.ContainsFunc(p.Survivors, func(m Member) bool { return m.Store == id.StoreID }):
		return nil, false, fmt.Errorf("the plan was made without store %d, in %s: make it again with it", id.StoreID, dir)
	}
	b := e.DB().NewBatch()
	defer func() { _ = b.Close() }() // committed or not, there is nothing left to report
	for _, x := range p.Ranges {
		if x.Store != id.StoreID {
			continue
		}
		r, err := readReplica(e.DB(), x.Descriptor.RangeID)
		if err != nil {
			return nil, false, err
		}
		if r == nil || r.Last != x.Last {
			return nil, false, fmt.Errorf("range %d in %s has changed since the plan was made: make it again", x.Descriptor.RangeID, dir)
		}
		upTo, err := applicable(e.DB(), r)
		if err != nil {
			return nil, false, fmt.Errorf("the log of range %d in %s: %w", x.Descriptor.RangeID, dir, err)
		}
		mine = append(mine, target{x.Descriptor.RangeID, upTo})
		h, err := raftlog.ReadHardState(e.DB(), x.Descriptor.RangeID)
		if err != nil {
			return nil, false, err
		}
		if h.GetCommit() < upTo {
			h.Commit = &upTo
			if err := raftlog.WriteHardState(b, x.Descriptor.RangeID, h); err != nil {
				return nil, false, err
			}
		}
	}
	return mine, false, engine.Classify(b.Commit(pebble.Sync))
}

// applicable is up to where a replica's log may be taken to be committed: to its end, or to before an entry that would remove the replica.
func applicable(db *pebble.DB, r *Replica) (uint64, error) {
	l, err := raftlog.Open(db, r.Descriptor.RangeID, raftlog.NewBudget(1<<20))
	if err != nil {
		return 0, err
	}
	me, _ := r.Descriptor.ReplicaByID(r.Replica)
	leaving := r.Descriptor.InJoint() && !me.VotesNew()
	for i := max(r.Applied.Index, r.Committed) + 1; i <= r.Last.Index; i++ {
		es, err := l.Entries(i, i+1, 1)
		if err != nil {
			return 0, err
		}
		if len(es) != 1 || es[0].GetType() == raftpb.EntryNormal {
			continue
		}
		cc := &raftpb.ConfChangeV2{}
		if err := proto.Unmarshal(es[0].Data, cc); err != nil {
			return 0, err
		}
		removes := slices.ContainsFunc(cc.Changes, func(c *raftpb.ConfChangeSingle) bool {
			return c.GetType() == raftpb.ConfChangeRemoveNode && c.GetNodeId() == uint64(r.Replica)
		})
		if removes || leaving && len(cc.Changes) == 0 {
			return i - 1, nil
		}
	}
	return max(r.Last.Index, r.Applied.Index), nil
}

// nowhere is the network of a store that is on its own.
type nowhere struct{}

func (nowhere) SendRaft(kv.NodeID, []*store.RaftMessage)  {}
func (nowhere) Suspect(kv.NodeID)                         {}
func (nowhere) SendHeartbeat(kv.NodeID, *store.Heartbeat) {}
func (nowhere) SendSnapshot(context.Context, kv.NodeID, kv.StoreID, func(func([]byte) error) error) error {
	return errAlone
}
func (nowhere) Send(context.Context, *kv.BatchRequest) (*kv.BatchResponse, error) {
	return nil, errAlone
}

var errAlone = kv.Errorf(kv.CodeUnavailable, "the store is on its own")

// applyLogs starts the store, without a network, until the ends of the logs are applied.
func applyLogs(ctx context.Context, fs vfs.FS, dir string, mine []target, maxOffset time.Duration, log *slog.Logger) (err error) {
	if len(mine) == 0 {
		return nil
	}
	fatal := make(chan error, 1)
	s, err := store.Open(ctx, store.Config{Dir: dir, FS: fs, CacheBytes: 32 << 20, Clock: hlc.NewClock(nil, maxOffset), Transport: nowhere{}, Sender: nowhere{},
		Logger: log, OnFatal: func(err error) {
			select {
			case fatal <- err:
			default: // one is enough
			}
		},
		Retention: func(keys.Span) store.Retention { return store.Retention{Unknown: true} }})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.Start(ctx); err != nil {
		return err
	}
	deadline, sum := time.Now().Add(applyPatience), uint64(0)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		behind, now := kv.RangeID(0), uint64(0)
		for _, t := range mine {
			st, ok := s.RangeDetail(t.id)
			if !ok || st.Stopped != "" {
				return fmt.Errorf("range %d cannot apply its log: %s", t.id, st.Stopped)
			}
			now += st.Applied
			if st.Applied < t.index {
				behind = t.id
			}
		}
		if behind == 0 {
			return nil
		}
		if now != sum {
			sum, deadline = now, time.Now().Add(applyPatience)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the log of range %d was not applied within %s", behind, applyPatience)
		}
		select {
		case <-tick.C:
		case err := <-fatal:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// rewrite makes the replicas the only ones of their ranges, and the store one of the new cluster.
func rewrite(fs vfs.FS, dir string, p *Plan, log *slog.Logger) (out *Applied, err error) {
	e, err := open(fs, dir, false, log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	id, _, err := e.Identity()
	if err != nil {
		return nil, err
	}
	out = &Applied{}
	planned := map[kv.RangeID]kv.StoreID{}
	for _, x := range p.Ranges {
		planned[x.Descriptor.RangeID] = x.Store
	}
	survives := func(r kv.Replica) bool {
		return slices.ContainsFunc(p.Survivors, func(m Member) bool { return m.Store == r.StoreID })
	}
	b := e.DB().NewIndexedBatch()
	defer func() { _ = b.Close() }() // committed or not, there is nothing left to report
	ids, err := rangesOf(e.DB())
	if err != nil {
		return nil, err
	}
	for _, rid := range ids {
		r, err := readReplica(e.DB(), rid)
		if err != nil {
			return nil, err
		}
		if r == nil {
			continue
		}
		at, known := planned[rid]
		switch {
		case known && at == id.StoreID:
			out.Ranges = append(out.Ranges, rid)
		case !known && rid > p.LastRange && !majority(r.Descriptor, survives):
			out.Found = append(out.Found, rid)
		default:
			continue
		}
		d := r.Descriptor.Clone()
		d.Replicas = []kv.Replica{{NodeID: id.NodeID, StoreID: id.StoreID, ReplicaID: r.Replica, Type: kv.Voter}}
		d.Generation += jumpGenerations
		d.NextReplicaID += jumpReplicas
		if err := b.Set(mvcc.DescriptorKey(rid), d.AppendWire(nil), nil); err != nil {
			return nil, err
		}
		if rid == kv.MetaRangeID {
			if err := rewriteSystem(b, p); err != nil {
				return nil, err
			}
		}
	}
	for i := range p.Anew {
		a := &p.Anew[i]
		if a.Store != id.StoreID {
			continue
		}
		if err := makeAnew(b, e.DB(), a, ids); err != nil {
			return nil, err
		}
		out.Anew = append(out.Anew, a.Descriptor.RangeID)
	}
	if len(p.Lost) > 0 {
		if fs == nil {
			fs = vfs.Default
		}
		if err := writeNote(fs, dir, p); err != nil {
			return nil, err
		}
	}
	id.ClusterID = p.NewCluster
	if err := engine.ReplaceIdentity(b, id); err != nil {
		return nil, err
	}
	return out, engine.Classify(b.Commit(pebble.Sync))
}

// rewriteSystem jumps over ids that may have been given to what is lost, and notes that the lost nodes have left, so that nobody waits for them to come back or
// gives them replicas. If the meta range has a majority, it has the ids, and the nodes note who has left (Note).
func rewriteSystem(b *pebble.Batch, p *Plan) (err error) {
	as, _, err := mvcc.LoadAppliedState(b, kv.MetaRangeID)
	if err != nil {
		return err
	}
	r := mvcc.NewReader(b)
	defer func() { err = errors.Join(err, r.Close()) }()
	w := mvcc.Writer{Batch: b}
	now := time.Now()
	put := func(key keys.Key, value []byte) error {
		v, ok, err := r.Newest(key)
		if err != nil {
			return err
		}
		was := mvcc.Describe(v, ok)
		return w.Put(key, was.TS.Forward(hlc.Timestamp{WallTime: now.UnixNano()}).Next(), false, value, was)
	}
	for _, c := range []struct {
		key   keys.Key
		floor int64
	}{
		{keys.NodeIDCounter, int64(p.LastNode)}, {keys.StoreIDCounter, int64(p.LastStore)}, {keys.RangeIDCounter, int64(p.LastRange)},
	} {
		n, err := readCounter(r, c.key)
		if err == nil {
			err = put(c.key, binary.BigEndian.AppendUint64(nil, uint64(max(n, c.floor)+jumpIDs)))
		}
		if err != nil {
			return err
		}
	}
	// The form is that of a decommissioned node (internal/node, Membership).
	left, err := json.Marshal(struct {
		Since time.Time `json:"since"`
		Done  time.Time `json:"done"`
	}{now, now})
	if err != nil {
		return err
	}
	for _, m := range p.Lost {
		if err := put(keys.Membership(int32(m.Node)), left); err != nil {
			return err
		}
	}
	as.Stats.Add(w.Stats)
	return b.Set(mvcc.AppliedStateKey(kv.MetaRangeID), mvcc.AppendAppliedState(nil, &as), nil)
}
