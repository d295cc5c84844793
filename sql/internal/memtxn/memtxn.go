package memtxn

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync"

	"github.com/tidwall/btree"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/txn"
)

type row struct {
	key, value []byte
	ts         hlc.Timestamp
	deleted    bool
	old        *row // what it replaced
}

// asOf returns the version that a read at a timestamp finds, perhaps a deleted one; nil if there is none.
func (r *row) asOf(ts hlc.Timestamp) *row {
	for r != nil && ts.Less(r.ts) {
		r = r.old
	}
	return r
}

func less(a, b row) bool { return bytes.Compare(a.key, b.key) < 0 }

// Store is the data. It implements txn.Gateway and catalog.Counters.
type Store struct {
	clock *hlc.Clock
	mu    sync.Mutex
	rows  *btree.BTreeG[row]
	// Cut is how many rows a page has at most; 0 = all.
	Cut int
	// Wire sends every pushdown and result through its wire form.
	Wire kv.PushdownDecoder
	// Gets, Scans and Commits count calls.
	Gets, Scans, Commits int
}

// New returns an empty store.
func New() *Store { return &Store{clock: hlc.NewClock(nil, 0), rows: btree.NewBTreeG(less)} }

// Clock implements txn.Gateway.
func (s *Store) Clock() *hlc.Clock { return s.clock }

// Begin implements txn.Gateway.
func (s *Store) Begin(_ context.Context, opts txn.Options) txn.Txn {
	t := &Txn{s: s, opts: opts}
	t.start()
	return t
}

func (s *Store) count(n *int) {
	s.mu.Lock()
	*n++
	s.mu.Unlock()
}

// Increment implements catalog.Counters.
func (s *Store) Increment(_ context.Context, key keys.Key, by int64) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var v int64
	if r, ok := s.rows.Get(row{key: key}); ok {
		v = int64(binary.BigEndian.Uint64(r.value))
	}
	v += by
	s.rows.Set(row{key: key.Clone(), value: binary.BigEndian.AppendUint64(nil, uint64(v)), ts: s.clock.Now()})
	return v, nil
}

// Numbers implements catalog.Counters.
func (s *Store) Numbers(_ context.Context, q *kv.Increment, _ int64) (*kv.IncrementResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := kv.NumberState{Last: q.Numbers.Start}
	if r, ok := s.rows.Get(row{key: q.Key}); ok {
		var err error
		if st, err = kv.DecodeNumberState(r.value); err != nil {
			return nil, err
		}
	}
	if q.By == 0 {
		return &kv.IncrementResponse{Value: st.Last, Taken: st.Taken}, nil
	}
	first, n, after := q.Numbers.Take(st, q.By)
	if n > 0 {
		s.rows.Set(row{key: q.Key.Clone(), value: after.Append(nil), ts: s.clock.Now()})
	}
	return &kv.IncrementResponse{Value: first, Count: n, Taken: true}, nil
}

// Write implements exec.BulkWriter.
func (s *Store) Write(_ context.Context, at hlc.Timestamp, pairs []kv.Write) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range pairs {
		s.rows.Set(row{key: p.Key, value: p.Value, ts: at})
	}
	return nil
}

// Ranges implements txn.Sender: all is in one range.
func (s *Store) Ranges(_ context.Context, spans []keys.Span, _ bool) ([]kv.Part, error) {
	return []kv.Part{{RangeID: 1, Spans: spans}}, nil
}

// Send serves the requests without a transaction that package catalog sends.
func (s *Store) Send(ctx context.Context, req *kv.BatchRequest) (*kv.BatchResponse, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	resp := &kv.BatchResponse{}
	for _, r := range req.Requests {
		switch r := r.(type) {
		case *kv.Put:
			s.put(row{key: r.Key.Clone(), value: r.Value})
			resp.Responses = append(resp.Responses, &kv.PutResponse{})
		case *kv.Delete:
			s.put(row{key: r.Key.Clone(), deleted: true})
			resp.Responses = append(resp.Responses, &kv.DeleteResponse{})
		case *kv.Scan:
			resp.Responses = append(resp.Responses, s.scan(r.Spans[0], req.Timestamp))
		default:
			return nil, kv.Errorf(kv.CodeBadRequest, "%T", r)
		}
	}
	return resp, nil
}

// scan returns what a span held at a timestamp, however much later the scan comes; without one, what it holds.
func (s *Store) scan(span keys.Span, at hlc.Timestamp) *kv.ScanResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at.IsEmpty() {
		at = hlc.Max
	}
	out := &kv.ScanResponse{}
	s.rows.Ascend(row{key: span.Start}, func(newest row) bool {
		if !span.Contains(newest.key) {
			return false
		}
		if r := newest.asOf(at); r != nil && !r.deleted {
			out.Rows.Append(r.key, r.value)
		}
		return true
	})
	return out
}

func (s *Store) put(r row) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.ts = s.clock.Now()
	s.set(r)
}

// set makes r the newest version of its row. s.mu is held.
func (s *Store) set(r row) {
	if old, ok := s.rows.Get(r); ok {
		r.old = &old
	}
	s.rows.Set(r)
}

// Len is the number of live rows under a prefix.
func (s *Store) Len(prefix keys.Key) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	s.rows.Ascend(row{key: prefix}, func(r row) bool {
		if !bytes.HasPrefix(r.key, prefix) {
			return false
		}
		if !r.deleted {
			n++
		}
		return true
	})
	return n
}

type write struct {
	kv.Write
	stmt int
}

// Txn is a transaction.
type Txn struct {
	s      *Store
	opts   txn.Options
	id     kv.TxnID
	ts     hlc.Timestamp
	snap   *btree.BTreeG[row]
	writes []write
	stmt   int
	read   map[string]bool // read one by one, for Insert
	spans  []keys.Span
	after  []func(hlc.Timestamp)
	done   bool
	// deadline of the commit.
	deadline hlc.Timestamp
	missed   bool
}

func (t *Txn) start() {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.ts = t.s.clock.Now()
	t.id = kv.MakeTxnID(t.ts, rand.Uint64())
	t.snap = t.s.rows.Copy()
	t.writes, t.stmt, t.read, t.spans = nil, 0, map[string]bool{}, nil
}

// ID implements txn.Txn.
func (t *Txn) ID() kv.TxnID                 { return t.id }
func (t *Txn) ReadTimestamp() hlc.Timestamp { return t.ts }

// StepStatement implements txn.Txn.
func (t *Txn) StepStatement(context.Context) error {
	t.stmt++
	return nil
}

// find returns the newest own write of a key that a read may see.
func (t *Txn) find(key keys.Key, latest bool) (write, bool) {
	for i := len(t.writes) - 1; i >= 0; i-- {
		if w := t.writes[i]; (latest || w.stmt < t.stmt) && bytes.Equal(w.Key, key) {
			return w, true
		}
	}
	return write{}, false
}

// Get implements txn.Txn.
func (t *Txn) Get(_ context.Context, key keys.Key, opts txn.ScanOptions) ([]byte, bool, error) {
	t.s.count(&t.s.Gets)
	if opts.Lock != kv.LockNone && opts.Latest {
		if err := t.moveFor(key); err != nil {
			return nil, false, err
		}
	}
	if opts.Lock != kv.LockNone || !opts.Loose {
		t.read[string(key)] = true
	}
	if w, ok := t.find(key, opts.Latest); ok {
		return w.Value, !w.Deleted, nil
	}
	r, ok := t.snap.Get(row{key: key})
	if !ok || r.deleted {
		return nil, false, nil
	}
	return r.value, true, nil
}

// moveFor moves the snapshot to the present if a key that is being locked has changed since, and nothing that was read.
func (t *Txn) moveFor(key keys.Key) error {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if r, ok := t.s.rows.Get(row{key: key}); !ok || r.ts.LessEq(t.ts) {
		return nil
	}
	if err := t.unchanged(); err != nil {
		return err
	}
	t.ts, t.snap = t.s.clock.Now(), t.s.rows.Copy()
	return nil
}

// GetMany implements txn.Txn.
func (t *Txn) GetMany(ctx context.Context, ks []keys.Key, opts txn.ScanOptions) ([][]byte, error) {
	out := make([][]byte, len(ks))
	for i, k := range ks {
		v, ok, err := t.Get(ctx, k, opts)
		if err != nil {
			return nil, err
		}
		if ok {
			out[i] = v
		}
	}
	return out, nil
}

type scanner struct {
	t     *Txn
	opts  txn.ScanOptions
	spans []keys.Span
	left  int64
	done  bool
	stmt  int
}

// Scan implements txn.Txn.
func (t *Txn) Scan(_ context.Context, spans []keys.Span, opts txn.ScanOptions) txn.Scanner {
	t.s.count(&t.s.Scans)
	if !opts.Loose {
		t.spans = append(t.spans, spans...)
	}
	return &scanner{t: t, opts: opts, spans: spans, left: opts.MaxRows, stmt: t.stmt}
}

// rows returns what a span holds for the transaction, in the order of the scan.
func (sc *scanner) rows(span keys.Span) []row {
	t := sc.t
	over := btree.NewBTreeG(less)
	for _, w := range t.writes {
		if (sc.opts.Latest || w.stmt < sc.stmt) && span.Contains(w.Key) {
			over.Set(row{key: w.Key, value: w.Value, deleted: w.Deleted})
		}
	}
	if over.Len() == 0 && !sc.opts.Reverse {
		out := make([]row, 0, 1024)
		t.snap.Ascend(row{key: span.Start}, func(r row) bool {
			if !span.Contains(r.key) {
				return false
			}
			if !r.deleted {
				out = append(out, r)
			}
			return sc.t.s.Cut == 0 || len(out) <= sc.t.s.Cut
		})
		return out
	}
	merged := btree.NewBTreeG(less)
	t.snap.Ascend(row{key: span.Start}, func(r row) bool {
		if !span.Contains(r.key) {
			return false
		}
		merged.Set(r)
		return true
	})
	over.Scan(func(r row) bool { merged.Set(r); return true })
	var out []row
	keep := func(r row) bool {
		if !r.deleted {
			out = append(out, r)
		}
		return true
	}
	if sc.opts.Reverse {
		merged.Reverse(keep)
	} else {
		merged.Scan(keep)
	}
	return out
}

// Next implements txn.Scanner.
func (sc *scanner) Next(ctx context.Context) (txn.Page, bool, error) {
	if sc.done || len(sc.spans) == 0 {
		return txn.Page{}, false, nil
	}
	if err := ctx.Err(); err != nil {
		return txn.Page{}, false, err
	}
	var proc kv.Processor
	pd := sc.opts.Pushdown
	if pd != nil {
		if sc.t.s.Wire != nil {
			b, err := pd.AppendWire(nil)
			if err != nil {
				return txn.Page{}, false, err
			}
			if pd, err = sc.t.s.Wire.DecodePushdown(b); err != nil {
				return txn.Page{}, false, err
			}
		}
		proc = pd.NewProcessor()
		defer proc.Close()
	}
	var out kv.Rows
	n := 0
	stop := false
	for len(sc.spans) > 0 && !stop {
		rows := sc.rows(sc.spans[0])
		rest := sc.spans[1:]
		for i, r := range rows {
			if sc.t.s.Cut > 0 && n == sc.t.s.Cut {
				span := sc.spans[0]
				switch {
				case !sc.opts.Reverse:
					span.Start = keys.Key(r.key)
				case i > 0: // else nothing of this span is on the page
					span.End = keys.Key(rows[i-1].key)
				}
				rest = append([]keys.Span{span}, rest...)
				stop = true
				break
			}
			n++
			if proc != nil {
				keep, err := proc.Row(r.key, r.value)
				if err != nil {
					return txn.Page{}, false, kv.AsError(err)
				}
				if proc.Done() {
					stop, rest = true, nil
					break
				}
				if !keep {
					continue
				}
			} else {
				out.Append(r.key, r.value)
			}
			if sc.left > 0 {
				if sc.left--; sc.left == 0 {
					stop, rest = true, nil
					break
				}
			}
		}
		sc.spans = rest
	}
	sc.done = len(sc.spans) == 0
	if proc == nil {
		return txn.Page{Rows: out}, true, nil
	}
	res, err := proc.Finish()
	if err != nil {
		return txn.Page{}, false, kv.AsError(err)
	}
	if sc.t.s.Wire != nil {
		b, err := res.AppendWire(nil)
		if err != nil {
			return txn.Page{}, false, err
		}
		if res, err = sc.t.s.Wire.DecodeResult(b); err != nil {
			return txn.Page{}, false, err
		}
	}
	return txn.Page{Result: res}, true, nil
}

// Close implements txn.Scanner.
func (sc *scanner) Close() { sc.done = true }

func (t *Txn) buffer(w kv.Write) error {
	t.writes = append(t.writes, write{Write: w, stmt: t.stmt})
	return nil
}

// Put implements txn.Txn.
func (t *Txn) Put(key keys.Key, value []byte) error {
	return t.buffer(kv.Write{Key: key, Value: value})
}

// Insert implements txn.Txn.
func (t *Txn) Insert(key keys.Key, value []byte) error {
	return t.buffer(kv.Write{Key: key, Value: value, MustNotExist: !t.read[string(key)]})
}

// Delete implements txn.Txn.
func (t *Txn) Delete(key keys.Key) error { return t.buffer(kv.Write{Key: key, Deleted: true}) }

// Wrote implements txn.Buffered.
func (t *Txn) Wrote(key keys.Key) bool { _, ok := t.find(key, true); return ok }

// MakeRoom implements txn.Buffered: what is here stays in memory.
func (t *Txn) MakeRoom(context.Context) error { return nil }

var _ txn.Buffered = (*Txn)(nil)

// WriteBytes implements txn.Buffered.
func (t *Txn) WriteBytes() int64 {
	n := int64(0)
	for _, w := range t.writes {
		n += int64(len(w.Key) + len(w.Value))
	}
	return n
}

// SetDeadline implements txn.Deadliner.
func (t *Txn) SetDeadline(ts hlc.Timestamp) {
	t.s.mu.Lock()
	t.deadline = ts
	t.s.mu.Unlock()
}

// MissedDeadline implements txn.Deadliner.
func (t *Txn) MissedDeadline() bool { return t.missed }

// Savepoint implements txn.Txn.
func (t *Txn) Savepoint() txn.Mark      { return txn.Mark(len(t.writes)) }
func (t *Txn) RollbackTo(m txn.Mark)    { t.writes = t.writes[:m] }
func (t *Txn) HasWrites() bool          { return len(t.writes) > 0 }
func (t *Txn) Retryable(err error) bool { return kv.AsError(err).Code.Class() == kv.RetryTxn }

// OnCommit implements txn.Txn.
func (t *Txn) OnCommit(f func(hlc.Timestamp)) { t.after = append(t.after, f) }

// Commit implements txn.Txn.
func (t *Txn) Commit(context.Context) (hlc.Timestamp, error) {
	ts, err := t.commit()
	if err != nil {
		return ts, err
	}
	for _, f := range t.after {
		f(ts)
	}
	return ts, nil
}

func (t *Txn) commit() (hlc.Timestamp, error) {
	s := t.s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Commits++
	t.done = true
	if len(t.writes) == 0 {
		return t.ts, nil
	}
	if err := t.unchanged(); err != nil {
		return hlc.Timestamp{}, err
	}
	first := map[string]bool{}
	for _, w := range t.writes {
		if w.MustNotExist && !first[string(w.Key)] {
			if r, ok := s.rows.Get(row{key: w.Key}); ok && !r.deleted {
				return hlc.Timestamp{}, &kv.Error{Code: kv.CodeConditionFailed, Key: w.Key, Value: r.value}
			}
		}
		first[string(w.Key)] = true
	}
	ts := s.clock.Now()
	if !t.deadline.IsEmpty() && t.deadline.Less(ts) {
		t.missed = true
		return ts, kv.Errorf(kv.CodeRefreshFailed, "past the deadline")
	}
	for _, w := range t.writes {
		s.set(row{key: w.Key, value: w.Value, deleted: w.Deleted, ts: ts})
	}
	return ts, nil
}

// Rollback implements txn.Txn.
func (t *Txn) Rollback(context.Context) { t.done = true }

// Restart implements txn.Txn.
func (t *Txn) Restart(context.Context, error) error {
	t.deadline = hlc.Timestamp{}
	t.start()
	return nil
}

// unchanged fails if something that was read has changed since. The store's mu is held.
func (t *Txn) unchanged() error {
	s := t.s
	changed := func(k []byte) bool {
		r, ok := s.rows.Get(row{key: k})
		return ok && t.ts.Less(r.ts)
	}
	for k := range t.read {
		if changed([]byte(k)) {
			return &kv.Error{Code: kv.CodeRefreshFailed, Key: keys.Key(k)}
		}
	}
	for _, span := range t.spans {
		bad := false
		s.rows.Ascend(row{key: span.Start}, func(r row) bool {
			if !span.Contains(r.key) {
				return false
			}
			bad = t.ts.Less(r.ts)
			return !bad
		})
		if bad {
			return &kv.Error{Code: kv.CodeRefreshFailed, Key: span.Start}
		}
	}
	return nil
}
