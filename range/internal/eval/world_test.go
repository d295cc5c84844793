package eval

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// world is one range with its state, and the twins of what surrounds an evaluation.
type world struct {
	t     require.TestingT
	e     *engine.Engine
	phys  int64
	env   *Env
	locks *heldLocks
	reads *readLog
}

func newWorld(t require.TestingT) *world {
	e, err := engine.Open(engine.Config{Dir: "s", FS: vfs.NewMem(), CacheBytes: 64 << 20, MemTableBytes: 256 << 10,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), OnFatal: func(err error) { panic(err) }})
	require.NoError(t, err)
	w := &world{t: t, e: e, phys: 100, locks: &heldLocks{held: map[string][]heldLock{}, known: map[kv.TxnID]knownOutcome{}}, reads: &readLog{}}
	w.env = &Env{
		Reader: e.DB(),
		Desc:   &kv.RangeDescriptor{RangeID: 7, StartKey: name("a"), EndKey: name("zz")},
		Clock:  hlc.NewClock(func() int64 { return w.phys }, time.Second),
		Node:   1, Locks: w.locks, TSCache: w.reads, Floors: &LockFloors{}, Gaps: &Gaps{few: 1},
		NewBatch: func() *pebble.Batch { return e.DB().NewBatch() },
	}
	return w
}

func (w *world) close() { require.NoError(w.t, w.e.Close()) }

// do evaluates and, on success, applies.
func (w *world) do(req *kv.BatchRequest) (*kv.BatchResponse, *Effects, error) {
	req.RangeID = w.env.Desc.RangeID
	resp, eff, err := Evaluate(context.Background(), w.env, req)
	if err != nil {
		require.Nil(w.t, eff)
		return nil, nil, err
	}
	w.apply(eff)
	return resp, eff, nil
}

// apply is what the replica does with effects; it also counts the statistics again.
func (w *world) apply(eff *Effects) {
	if eff == nil {
		return
	}
	if eff.Batch != nil {
		require.NoError(w.t, eff.Batch.Commit(pebble.NoSync))
		require.NoError(w.t, eff.Batch.Close())
	}
	w.env.Stats.Add(eff.Stats)
	w.env.GCThreshold = w.env.GCThreshold.Forward(eff.GCThreshold)
	if !eff.TurnOutcomes.IsEmpty() {
		b := w.e.DB().NewBatch()
		require.NoError(w.t, w.env.Outcomes.Turn(b, w.env.Desc, eff.TurnOutcomes))
		require.NoError(w.t, b.Commit(pebble.NoSync))
	}
	for _, r := range eff.Resolved {
		w.locks.drop(r.Txn, r.Keys)
	}
	require.True(w.t, eff.MaxWriteTS.LessEq(w.env.Clock.Peek()))
	got, err := mvcc.ComputeStats(context.Background(), w.e.DB(), w.env.Desc)
	require.NoError(w.t, err)
	require.Equal(w.t, got, w.env.Stats)
}

func name(s string) keys.Key { return append(keys.Key{4}, s...) }

func unname(k keys.Key) string {
	if len(k) > 0 && k[0] == 4 {
		return strings.ReplaceAll(string(k[1:]), "\x00", "+")
	}
	return keys.Pretty(k)
}

// heldLocks is a lock table without queues.
type heldLocks struct {
	held  map[string][]heldLock
	known map[kv.TxnID]knownOutcome
}

type knownOutcome struct {
	status kv.TxnStatus
	ts     hlc.Timestamp
}

func (h *heldLocks) Outcome(id kv.TxnID) (kv.TxnStatus, hlc.Timestamp) {
	o := h.known[id]
	return o.status, o.ts
}

func (h *heldLocks) Left(kv.TxnID) (hlc.Timestamp, bool) { return hlc.Timestamp{}, false }

type heldLock struct {
	txn kv.TxnMeta
	s   kv.LockStrength
}

func (h *heldLocks) TryLock(txn *kv.TxnMeta, key keys.Key, s kv.LockStrength) (*kv.TxnMeta, bool) {
	holder, ok := h.Blocker(txn, key, s)
	if ok {
		h.held[string(key)] = append(h.held[string(key)], heldLock{*txn, s})
	}
	return holder, ok
}

func (h *heldLocks) Blocker(txn *kv.TxnMeta, key keys.Key, s kv.LockStrength) (*kv.TxnMeta, bool) {
	for _, l := range h.held[string(key)] {
		if l.txn.ID != txn.ID && l.s.Conflicts(s) {
			return &l.txn, false
		}
	}
	return nil, true
}

func (h *heldLocks) Holds(id kv.TxnID, key keys.Key) bool {
	return slices.ContainsFunc(h.held[string(key)], func(l heldLock) bool { return l.txn.ID == id })
}

func (h *heldLocks) drop(id kv.TxnID, ks []keys.Key) {
	for k, ls := range h.held {
		if len(ks) == 0 || slices.ContainsFunc(ks, func(o keys.Key) bool { return string(o) == k }) {
			h.held[k] = slices.DeleteFunc(ls, func(l heldLock) bool { return l.txn.ID == id })
		}
	}
}

// readLog is a timestamp cache that forgets nothing.
type readLog struct {
	all []struct {
		span keys.Span
		ts   hlc.Timestamp
		txn  kv.TxnID
	}
}

func (r *readLog) Add(span keys.Span, ts hlc.Timestamp, txn kv.TxnID) {
	r.all = append(r.all, struct {
		span keys.Span
		ts   hlc.Timestamp
		txn  kv.TxnID
	}{keys.Span{Start: span.Start.Clone(), End: span.End.Clone()}, ts, txn})
}

func (r *readLog) Get(span keys.Span, txn kv.TxnID) (max hlc.Timestamp) {
	for _, e := range r.all {
		if e.span.Overlaps(span) {
			ts := e.ts
			if e.txn == txn && !txn.IsZero() {
				ts = ts.Prev()
			}
			max = max.Forward(ts)
		}
	}
	return max
}

// countRows is a pushed-down program: it keeps rows whose value does not begin with "-", and
// counts them, up to a limit.
type countRows struct{ limit int }

type counter struct {
	limit, n int
	seen     []string
}

func (c countRows) NewProcessor() kv.Processor            { return &counter{limit: c.limit} }
func (c countRows) AppendWire(dst []byte) ([]byte, error) { return dst, nil }
func (c *counter) Row(key, value []byte) (bool, error) {
	if strings.HasPrefix(string(value), "!") {
		return false, errors.New("value cannot be read")
	}
	if strings.HasPrefix(string(value), "-") {
		return false, nil
	}
	c.n++
	c.seen = append(c.seen, unname(key))
	return true, nil
}
func (c *counter) Done() bool                            { return c.limit > 0 && c.n >= c.limit }
func (c *counter) Bytes() int64                          { return int64(c.n) }
func (c *counter) Finish() (kv.Result, error)            { return c, nil }
func (c *counter) Close()                                {}
func (c *counter) AppendWire(dst []byte) ([]byte, error) { return dst, nil }

// lockOn returns the lock on a key.
func (w *world) lockOn(s string) (*kv.LockRecord, error) {
	r := mvcc.NewReader(w.e.DB())
	l, err := r.Lock(name(s))
	return l, errors.Join(err, r.Close())
}
