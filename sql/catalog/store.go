package catalog

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/role"
	"github.com/pamirdb/pamir/txn"
)

// System tables, by the table number in their keys. All have index 1.
const (
	descriptorTable = 1 // <object id> -> descriptor of a table, view or sequence
	nameTable       = 2 // <schema id> <name> -> object id
	schemaTable     = 3 // <schema id> -> schema
	versionTable    = 4 // <0> -> version row
	statsTable      = 5 // <object id> -> statistics
	roleTable       = 6 // <name> -> role
	garbageTable    = 7 // <data id> -> when its descriptor was dropped
	// 20 is the table of jobs (package job).
	changeTable = 21 // <version> -> the rows that it changed
	accessTable = 22 // <kind> ... -> what access.go says
)

// Ids of what exists from the start, as in PostgreSQL.
const (
	PgCatalogSchema SchemaID = 11
	PublicSchema    SchemaID = 2200
	PamirSchema     SchemaID = 15900
	RootRole                 = "root"
	// FirstObjectID is the first OID of what users make; system objects are below, as in PostgreSQL.
	FirstObjectID = 16384
)

func tableKey(table uint64) keys.Key { return keys.Index(table, 1) }

func idKey(table uint64, id uint64) keys.Key { return keys.AppendUvarint(tableKey(table), id) }

func nameKey(schema SchemaID, name string) keys.Key {
	return keys.AppendBytes(keys.AppendUvarint(tableKey(nameTable), uint64(schema)), []byte(name))
}

func roleKey(name string) keys.Key { return keys.AppendBytes(tableKey(roleTable), []byte(name)) }

var versionKey = idKey(versionTable, 0)

func tableSpan(table uint64) keys.Span {
	k := tableKey(table)
	return keys.Span{Start: k, End: k.PrefixEnd()}
}

// Counters hand out numbers that are never used again, whatever becomes of the transaction that asked.
type Counters interface {
	// Increment adds by to the counter at key (0 at first) and returns its new value.
	Increment(ctx context.Context, key keys.Key, by int64) (int64, error)
	// Numbers is a kv.Increment with Numbers, of at most lockTimeout ns if that is not 0.
	Numbers(ctx context.Context, q *kv.Increment, lockTimeout int64) (*kv.IncrementResponse, error)
}

var (
	objectCounter = keys.System("sql/object-id")
	dataCounter   = keys.System("sql/data-id")
)

// Options of a Store.
type Options struct {
	Counters Counters
	// Virtual are the schemas and tables that exist without being stored.
	VirtualSchemas []*Schema
	VirtualTables  []*Table
}

// Store reads and writes the catalog. One per node; safe for concurrent use.
type Store struct {
	opts  Options
	times leaseTimes

	holder atomic.Pointer[leaseHolder] // nil until Start

	mu     sync.Mutex
	recent []*snapshot // of committed versions, newest first
}

// maxRecent is how many versions a gateway keeps: transactions that began before a change go on with theirs.
const maxRecent = 8

// NewStore makes a Store.
func NewStore(opts Options) *Store { return &Store{opts: opts, times: defaultTimes} }

// Counters are those that the store was made with.
func (s *Store) Counters() Counters { return s.opts.Counters }

// versionRow guards the whole catalog: every change writes it, so that changes are in one order, and every
// transaction that relies on a version reads it.
type versionRow struct {
	version uint64
	// writer is the transaction that wrote it: what a transaction finds of its own is not to be cached.
	writer kv.TxnID
}

const versionRowLen = 1 + 8 + 16

func (r versionRow) encode() []byte {
	b := append(make([]byte, 0, versionRowLen), 1)
	b = binary.BigEndian.AppendUint64(b, r.version)
	return append(b, r.writer[:]...)
}

func decodeVersionRow(b []byte) (versionRow, error) {
	if len(b) != versionRowLen || b[0] != 1 {
		return versionRow{}, pgerr.New(pgerr.DataCorrupted, "the catalog's version row is corrupt")
	}
	r := versionRow{version: binary.BigEndian.Uint64(b[1:])}
	copy(r.writer[:], b[9:])
	return r, nil
}

var latest = txn.ScanOptions{Latest: true}

// Snapshot returns the catalog as the transaction sees it, its own changes included. A transaction that uses it
// calls BeforeCommit.
func (s *Store) Snapshot(ctx context.Context, t txn.Txn) (Snapshot, error) {
	if h := s.holder.Load(); h != nil && !changedBy(t) {
		if snap := h.at(t.ReadTimestamp()); snap != nil {
			return leasedSnapshot{snap}, nil
		}
	}
	snap, err := s.snapshot(ctx, t)
	if err != nil {
		return nil, err // not a nil *snapshot in the interface
	}
	return snap, nil
}

// changedBy reports whether a transaction may have changed the catalog itself.
func changedBy(t txn.Txn) bool {
	if b, ok := t.(txn.Buffered); ok {
		return b.Wrote(versionKey)
	}
	return t.HasWrites()
}

// Of what is read here nothing is noted for the commit, which compares what was used (Uses): the version row changes with every schema change there is.
var loose = txn.ScanOptions{Latest: true, Loose: true}

func (s *Store) snapshot(ctx context.Context, t txn.Txn) (*snapshot, error) {
	for {
		val, ok, err := t.Get(ctx, versionKey, loose)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, pgerr.New(pgerr.CannotConnectNow, "the database is not initialised yet")
		}
		at := t.ReadTimestamp()
		row, err := decodeVersionRow(val)
		if err != nil {
			return nil, err
		}
		own := row.writer == t.ID()
		if !own {
			if snap := s.cached(row); snap != nil {
				return snap, nil
			}
		}
		snap, err := s.load(ctx, t, row, loose)
		if t.ReadTimestamp() != at && ctx.Err() == nil {
			continue // the descriptors are perhaps newer than the version
		}
		if err != nil {
			return nil, err
		}
		if !own {
			s.keep(snap)
		}
		return snap, nil
	}
}

func (s *Store) cached(row versionRow) *snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.recent {
		if r.row == row {
			return r
		}
	}
	return nil
}

func (s *Store) keep(snap *snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.recent {
		if r.row == snap.row {
			return
		}
	}
	s.recent = append([]*snapshot{snap}, s.recent...)
	if len(s.recent) > maxRecent {
		s.recent = s.recent[:maxRecent]
	}
}

// load reads the catalog through a transaction: what has changed since a version that is known, or all of it.
func (s *Store) load(ctx context.Context, t txn.Txn, row versionRow, opts txn.ScanOptions) (*snapshot, error) {
	if base := s.newestBefore(row.version); base != nil {
		if snap, ok, err := s.follow(ctx, t, base, row, opts); ok || err != nil {
			return snap, err
		}
	}
	return s.loadAll(ctx, t, row, opts)
}

func (s *Store) loadAll(ctx context.Context, t txn.Txn, row versionRow, opts txn.ScanOptions) (*snapshot, error) {
	snap := newSnapshot(row, s.opts.VirtualSchemas, s.opts.VirtualTables)
	spans := []keys.Span{tableSpan(descriptorTable), tableSpan(schemaTable), tableSpan(statsTable), tableSpan(roleTable), tableSpan(accessTable)}
	sc := t.Scan(ctx, spans, opts)
	defer sc.Close()
	for {
		page, ok, err := sc.Next(ctx)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		for {
			k, v, ok, err := page.Rows.Next()
			if err != nil {
				return nil, err
			}
			if !ok {
				break
			}
			if err := snap.add(k, v); err != nil {
				return nil, err
			}
		}
	}
	snap.finish()
	return snap, nil
}

// envelope is the stored form of every catalog object: a format version and the object, as JSON.
type envelope struct {
	V      int             `json:"v"`
	Object json.RawMessage `json:"o"`
}

const formatVersion = 1

func encodeObject(o any) ([]byte, error) {
	raw, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("catalog: encode %T: %w", o, err)
	}
	return json.Marshal(envelope{V: formatVersion, Object: raw})
}

func decodeObject(b []byte, o any) error {
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return pgerr.New(pgerr.DataCorrupted, "a catalog row is corrupt: %v", err)
	}
	if e.V != formatVersion {
		return pgerr.New(pgerr.DataCorrupted, "a catalog row has format %d, this node knows %d", e.V, formatVersion)
	}
	if err := json.Unmarshal(e.Object, o); err != nil {
		return pgerr.New(pgerr.DataCorrupted, "a catalog row is corrupt: %v", err)
	}
	return nil
}

// Bootstrap writes the initial catalog unless there is one.
func (s *Store) Bootstrap(ctx context.Context, g txn.Gateway) error {
	t := g.Begin(ctx, txn.Options{})
	for {
		err := s.bootstrap(ctx, t)
		if err == nil {
			return nil
		}
		if !t.Retryable(err) {
			t.Rollback(ctx)
			return err
		}
		if err := t.Restart(ctx, err); err != nil {
			t.Rollback(ctx)
			return err
		}
	}
}

func (s *Store) bootstrap(ctx context.Context, t txn.Txn) error {
	_, ok, err := t.Get(ctx, versionKey, txn.ScanOptions{Latest: true, Lock: kv.LockUpdate})
	if err != nil {
		return err
	}
	if ok {
		t.Rollback(ctx)
		return nil
	}
	public, err := encodeObject(&Schema{ID: PublicSchema, Name: "public", Owner: role.DatabaseOwner})
	if err != nil {
		return err
	}
	root, err := encodeObject(&Role{OID: 10, Name: RootRole, Super: true, Login: true, CreateRole: true, CreateDB: true, Replication: true, BypassRLS: true})
	if err != nil {
		return err
	}
	for _, w := range []struct {
		k keys.Key
		v []byte
	}{
		{versionKey, versionRow{version: 1, writer: t.ID()}.encode()},
		{idKey(schemaTable, uint64(PublicSchema)), public},
		{roleKey(RootRole), root},
	} {
		if err := t.Put(w.k, w.v); err != nil {
			return err
		}
	}
	if err := s.initialRows(t); err != nil {
		return err
	}
	_, err = t.Commit(ctx)
	return err
}
