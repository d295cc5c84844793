package recovery

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/internal/raftlog"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// formatVersion of what Collect and Make return, as JSON.
const formatVersion = 2

// Facts are what one store knows.
type Facts struct {
	Version int        `json:"version"`
	Cluster uuid.UUID  `json:"cluster"`
	Node    kv.NodeID  `json:"node"`
	Store   kv.StoreID `json:"store"`
	// Dir is where the store was when it was read.
	Dir      string    `json:"dir"`
	Replicas []Replica `json:"replicas"`
	// Objects are rows of the catalog, for names; none if the store has no replica of its range.
	Objects [][]byte `json:"objects,omitempty"`
	// Addresses are the ranges as the meta range knows them, also those without a replica here; none if the store has no replica of that.
	Addresses []*kv.RangeDescriptor `json:"addresses,omitempty"`
}

// Position in a log.
type Position struct {
	Index uint64 `json:"index"`
	Term  uint64 `json:"term"`
}

func (p Position) less(o Position) bool {
	return p.Term < o.Term || p.Term == o.Term && p.Index < o.Index
}

// Replica is what a store has of one range.
type Replica struct {
	Descriptor *kv.RangeDescriptor `json:"descriptor"`
	Replica    kv.ReplicaID        `json:"replica"`
	Applied    Position            `json:"applied"`
	Last       Position            `json:"last"`
	Committed  uint64              `json:"committed"`
	// Complete: every write up to this time is here.
	Complete hlc.Timestamp `json:"complete"`
	Rows     int64         `json:"rows"`
	Bytes    int64         `json:"bytes"`
}

// open opens an existing store's directory. It is locked meanwhile.
func open(fs vfs.FS, dir string, readOnly bool, log *slog.Logger) (*engine.Engine, error) {
	return engine.Open(engine.Config{Dir: dir, FS: fs, CacheBytes: 32 << 20, MustExist: true, ReadOnly: readOnly, Logger: log,
		OnFatal: func(err error) { log.Error("the disk fails", "err", err) }})
}

// Collect reads the stopped store in dir; fs is nil for the operating system's files.
func Collect(fs vfs.FS, dir string, log *slog.Logger) (f *Facts, err error) {
	e, err := open(fs, dir, true, log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	id, ok, err := e.Identity()
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("the store in %s belongs to no cluster yet", dir)
	}
	f = &Facts{Version: formatVersion, Cluster: id.ClusterID, Node: id.NodeID, Store: id.StoreID, Dir: dir}
	ids, err := rangesOf(e.DB())
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		r, err := readReplica(e.DB(), id)
		if err != nil {
			return nil, fmt.Errorf("range %d in %s: %w", id, dir, err)
		}
		if r == nil {
			continue // it waits for its first snapshot: it has nothing
		}
		f.Replicas = append(f.Replicas, *r)
		if d := r.Descriptor; d.RangeID == kv.CatalogRangeID {
			if f.Objects, err = readObjects(e.DB()); err != nil {
				return nil, err
			}
		} else if d.RangeID == kv.MetaRangeID {
			if f.Addresses, err = readAddresses(e.DB()); err != nil {
				return nil, err
			}
		}
	}
	return f, nil
}

// rangesOf lists the ranges that have replicated state in the store.
func rangesOf(db *pebble.DB) (ids []kv.RangeID, err error) {
	span := keys.AllRangeReplicated()
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: engine.EncodeKey(span.Start), UpperBound: engine.EncodeKey(span.End)})
	if err != nil {
		return nil, engine.Classify(err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; {
		key, _, valid := engine.SplitKey(it.Key())
		if !valid {
			return nil, kv.Errorf(kv.CodeCorruption, "key %x", it.Key())
		}
		id, _, _, err := keys.DecodeRangeLocal(key)
		if err != nil {
			return nil, err
		}
		ids = append(ids, kv.RangeID(id))
		ok = it.SeekGE(engine.EncodeKey(keys.RangeReplicatedSpan(id).End))
	}
	return ids, it.Error()
}

// readReplica returns nil for a replica without state.
func readReplica(db *pebble.DB, id kv.RangeID) (*Replica, error) {
	d, err := mvcc.LoadDescriptor(db, id)
	if err != nil || d == nil {
		return nil, err
	}
	as, ok, err := mvcc.LoadAppliedState(db, id)
	if err != nil || !ok {
		return nil, err
	}
	rid, err := raftlog.ReadReplicaID(db, id)
	if err != nil || rid == 0 {
		return nil, err
	}
	l, err := raftlog.Open(db, id, raftlog.NewBudget(1<<20))
	if err != nil {
		return nil, err
	}
	last := l.Last()
	r := &Replica{Descriptor: d, Replica: rid, Applied: Position{as.AppliedIndex, as.AppliedTerm}, Last: Position{last.Index, last.Term},
		Committed: max(l.HardState().GetCommit(), as.AppliedIndex), Complete: as.ClosedTS, Rows: as.Stats.LiveRows, Bytes: as.Stats.Bytes}
	if r.Last.Index < r.Applied.Index { // the log was truncated up to what is applied
		r.Last = r.Applied
	}
	return r, nil
}

// readObjects reads the catalog's descriptors as they were last written, for names; what is not committed is left out.
func readObjects(db *pebble.DB) ([][]byte, error) {
	const descriptors = 1 // the catalog's first table
	k := keys.Table(descriptors)
	return readRows(db, keys.Span{Start: k, End: k.PrefixEnd()})
}

// readAddresses reads the meta range in the same way.
func readAddresses(db *pebble.DB) (descs []*kv.RangeDescriptor, err error) {
	rows, err := readRows(db, keys.Span{Start: keys.MetaMin, End: keys.MetaMax})
	for _, row := range rows {
		d, err := kv.DecodeDescriptor(row)
		if err != nil {
			return nil, err
		}
		descs = append(descs, d)
	}
	return descs, err
}

func readRows(db *pebble.DB, span keys.Span) (rows [][]byte, err error) {
	r := mvcc.NewReader(db)
	defer func() { err = errors.Join(err, r.Close()) }()
	s := r.Scan(span, false, hlc.Max, mvcc.Window{})
	defer s.Close()
	for s.Next() {
		rows = append(rows, bytes.Clone(s.Value()))
	}
	return rows, s.Err()
}

// readCounter reads a counter of the system keys.
func readCounter(r *mvcc.Reader, key keys.Key) (int64, error) {
	v, ok, err := r.Newest(key)
	if err != nil || !ok || v.Deleted {
		return 0, err
	}
	if len(v.Value) != 8 {
		return 0, kv.Errorf(kv.CodeCorruption, "counter %s is %x", keys.Pretty(key), v.Value)
	}
	return int64(binary.BigEndian.Uint64(v.Value)), nil
}
