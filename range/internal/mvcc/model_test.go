package mvcc

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// The dumb twin: every version in a list, every question answered by looking at all of them.
type twin struct {
	versions []twinVersion
	locks    map[string]kv.LockRecord
	gc       hlc.Timestamp
	gcNext   keys.Key
}

type twinVersion struct {
	key       string
	ts, local hlc.Timestamp
	deleted   bool
	value     string
}

func (m *twin) of(key string) []twinVersion { // newest first
	var out []twinVersion
	for _, v := range m.versions {
		if v.key == key {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b twinVersion) int { return b.ts.Compare(a.ts) })
	return out
}

func (m *twin) newest(key string) Newest {
	vs := m.of(key)
	if len(vs) == 0 {
		return Newest{}
	}
	return Newest{Exists: true, Deleted: vs[0].deleted, TS: vs[0].ts, ValueLen: len(vs[0].value)}
}

// get returns the visible value, or the timestamps of all uncertain versions.
func (m *twin) get(key string, ts hlc.Timestamp, w Window) (v twinVersion, ok bool, uncertain []hlc.Timestamp) {
	for _, v := range m.of(key) {
		switch {
		case v.ts.LessEq(ts):
			return v, !v.deleted, uncertain
		case v.ts.LessEq(w.Global) && v.local.LessEq(w.Local):
			uncertain = append(uncertain, v.ts)
		}
	}
	return v, false, uncertain
}

func (m *twin) keys() []string {
	seen := map[string]bool{}
	for _, v := range m.versions {
		seen[v.key] = true
	}
	var out []string
	for k := range seen {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

var modelDesc = &kv.RangeDescriptor{RangeID: 7, StartKey: keys.TableMin, EndKey: keys.TableMax}

func testEngine(t require.TestingT) *engine.Engine {
	e, err := engine.Open(engine.Config{Dir: "s", FS: vfs.NewMem(), CacheBytes: 1 << 20, MemTableBytes: 256 << 10,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), OnFatal: func(err error) { panic(err) }})
	require.NoError(t, err)
	return e
}

// Whatever is written, resolved, collected and flushed, every read answers as the twin does,
// and the sum of the deltas is what counting from scratch gives.
func TestReaderAgainstTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := testEngine(t)
		defer func() { require.NoError(t, e.Close()) }()
		m := &twin{locks: map[string]kv.LockRecord{}}
		var stats kv.Stats

		genKey := rapid.Custom(func(t *rapid.T) keys.Key {
			return append(keys.Key{4}, rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0xff}), 1, 2).Draw(t, "key")...)
		})
		genTS := rapid.Custom(func(t *rapid.T) hlc.Timestamp {
			return hlc.Timestamp{WallTime: rapid.Int64Range(1, 30).Draw(t, "wall"), Logical: rapid.Uint32Range(0, 1).Draw(t, "logical")}
		})
		genValue := rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 2, 'x'}), 0, 3), func(b []byte) []byte { return b })
		after := func(k keys.Key, ts hlc.Timestamp) hlc.Timestamp {
			if n := m.newest(string(k)); n.Exists && ts.LessEq(n.TS) {
				ts = n.TS.Next()
			}
			return ts.Forward(m.gc.Next())
		}
		commit := func(w *Writer) {
			require.NoError(t, w.Batch.Commit(pebble.NoSync))
			stats.Add(w.Stats)
		}
		id := kv.TxnID{1, 2, 3}

		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				w := Writer{Batch: e.DB().NewBatch()}
				k, del, val := genKey.Draw(t, "k"), rapid.Bool().Draw(t, "deleted"), genValue.Draw(t, "v")
				if _, locked := m.locks[string(k)]; locked {
					t.Skip("locked")
				}
				ts := after(k, genTS.Draw(t, "ts"))
				require.NoError(t, w.Put(k, ts, del, val, m.newest(string(k))))
				if del {
					val = nil
				}
				m.versions = append(m.versions, twinVersion{string(k), ts, ts, del, string(val)})
				commit(&w)
			},
			"prepare": func(t *rapid.T) {
				w := Writer{Batch: e.DB().NewBatch()}
				k := genKey.Draw(t, "k")
				old, had := m.locks[string(k)]
				l := kv.LockRecord{Txn: kv.TxnMeta{ID: id, Anchor: k}, TS: after(k, genTS.Draw(t, "ts")).Forward(old.TS), Deleted: rapid.Bool().Draw(t, "deleted")}
				if !l.Deleted {
					l.Value = genValue.Draw(t, "v")
				}
				require.NoError(t, w.PutLock(k, &l, had))
				m.locks[string(k)] = l
				commit(&w)
			},
			"resolve": func(t *rapid.T) {
				w := Writer{Batch: e.DB().NewBatch()}
				k := genKey.Draw(t, "k")
				r := NewReader(e.DB())
				l, err := r.Lock(k)
				require.NoError(t, err)
				require.NoError(t, r.Close())
				want, had := m.locks[string(k)]
				require.Equal(t, had, l != nil)
				if !had {
					t.Skip("not locked")
				}
				require.Equal(t, want.TS, l.TS)
				ts := l.TS.Forward(genTS.Draw(t, "ts")).Forward(after(k, l.TS))
				doCommit := rapid.Bool().Draw(t, "commit")
				require.NoError(t, w.ResolveLock(k, l, doCommit, ts, m.newest(string(k))))
				if doCommit {
					m.versions = append(m.versions, twinVersion{string(k), ts, l.TS, l.Deleted, string(l.Value)})
				}
				delete(m.locks, string(k))
				commit(&w)
			},
			"gc": func(t *rapid.T) {
				m.gc = m.gc.Forward(genTS.Draw(t, "threshold"))
				w := Writer{Batch: e.DB().NewBatch()}
				limit := rapid.Int64Range(1, 20).Draw(t, "limit")
				scan := rapid.Int64Range(1, 30).Draw(t, "scan")
				span := modelDesc.Span()
				if rapid.Bool().Draw(t, "go on") && len(m.gcNext) > 0 {
					span.Start = m.gcNext
				}
				var err error
				_, m.gcNext, err = PurgeShadowed(e.DB(), &w, span, m.gc, limit, scan)
				require.NoError(t, err)
				commit(&w)
				// The twin learns which versions are gone; that they were garbage shows in the reads.
				var kept []twinVersion
				for _, v := range m.versions {
					_, closer, err := e.DB().Get(engine.AppendVersion(nil, keys.Key(v.key), v.ts))
					if err == nil {
						require.NoError(t, closer.Close())
						kept = append(kept, v)
						continue
					}
					require.ErrorIs(t, err, pebble.ErrNotFound)
					shadowed := v.deleted && v.ts.LessEq(m.gc)
					for _, n := range m.of(v.key) {
						shadowed = shadowed || (v.ts.Less(n.ts) && n.ts.LessEq(m.gc))
					}
					require.True(t, shadowed, "%+v was no garbage at %s", v, m.gc)
				}
				// No read at or above the threshold may change.
				before := &twin{versions: slices.Clone(m.versions)}
				m.versions = kept
				for _, k := range before.keys() {
					for ts := m.gc; ts.WallTime < 64; ts = ts.Next().Forward(hlc.Timestamp{WallTime: ts.WallTime + int64(ts.Logical&1)}) {
						a, aok, _ := before.get(k, ts, Window{})
						b, bok, _ := m.get(k, ts, Window{})
						require.Equal(t, aok, bok, "%x at %s", k, ts)
						if aok {
							require.Equal(t, a, b)
						}
						if ts.Logical > 2 {
							ts = hlc.Timestamp{WallTime: ts.WallTime + 1}
						}
					}
				}
			},
			"flush": func(t *rapid.T) { require.NoError(t, e.DB().Flush()) },
			"get": func(t *rapid.T) {
				r := NewReader(e.DB())
				defer func() { require.NoError(t, r.Close()) }()
				for range rapid.IntRange(1, 3).Draw(t, "n") {
					k, ts := genKey.Draw(t, "k"), genTS.Draw(t, "ts")
					w := genWindow(t, genTS)
					want, wantOK, unc := m.get(string(k), ts, w)
					v, ok, err := r.Get(k, ts, w)
					checkUncertain(t, err, unc)
					if len(unc) == 0 {
						require.Equal(t, wantOK, ok)
						if ok {
							require.Equal(t, want.value, string(v.Value))
							require.Equal(t, want.ts, v.TS)
						}
					}
					n, ok, err := r.Newest(k)
					require.NoError(t, err)
					require.Equal(t, m.newest(string(k)), Describe(n, ok))
				}
			},
			"scan": func(t *rapid.T) {
				r := NewReader(e.DB())
				defer func() { require.NoError(t, r.Close()) }()
				a, b := genKey.Draw(t, "a"), genKey.Draw(t, "b")
				span := keys.Span{Start: a}
				switch a.Compare(b) {
				case -1:
					span.End = b
				case 1:
					span = keys.Span{Start: b, End: a}
				}
				checkScan(t, m, r, span, rapid.Bool().Draw(t, "reverse"), genTS.Draw(t, "ts"), genWindow(t, genTS))
			},
			"changed": func(t *rapid.T) {
				r := NewReader(e.DB())
				defer func() { require.NoError(t, r.Close()) }()
				span := keys.Span{Start: genKey.Draw(t, "a")}
				if rapid.Bool().Draw(t, "interval") {
					span.End = keys.TableMax
				}
				from, to := genTS.Draw(t, "from"), genTS.Draw(t, "to")
				key, ts, found, err := r.Changed(span, from, to)
				require.NoError(t, err)
				want := slices.ContainsFunc(m.versions, func(v twinVersion) bool {
					return span.Contains(keys.Key(v.key)) && from.Less(v.ts) && v.ts.LessEq(to)
				})
				require.Equal(t, want, found)
				if found {
					require.True(t, slices.ContainsFunc(m.versions, func(v twinVersion) bool { return v.key == string(key) && v.ts == ts }))
					require.True(t, span.Contains(key) && from.Less(ts) && ts.LessEq(to))
				}
			},
			"": func(t *rapid.T) {
				got, err := ComputeStats(context.Background(), e.DB(), modelDesc)
				require.NoError(t, err)
				require.Equal(t, got, stats)
			},
		})
	})
}

func genWindow(t *rapid.T, genTS *rapid.Generator[hlc.Timestamp]) Window {
	switch rapid.IntRange(0, 2).Draw(t, "window") {
	case 0:
		return Window{}
	case 1:
		ts := genTS.Draw(t, "limit")
		return Window{Local: ts, Global: ts}
	}
	a, b := genTS.Draw(t, "local"), genTS.Draw(t, "global")
	if b.Less(a) {
		a, b = b, a
	}
	return Window{Local: a, Global: b}
}

func checkUncertain(t require.TestingT, err error, want []hlc.Timestamp) {
	if len(want) == 0 {
		require.NoError(t, err)
		return
	}
	require.True(t, kv.HasCode(err, kv.CodeUncertain), "%v, want uncertain at %v", err, want)
	require.Contains(t, want, kv.AsError(err).TS)
}

func checkScan(t require.TestingT, m *twin, r *Reader, span keys.Span, reverse bool, ts hlc.Timestamp, w Window) {
	var want []twinVersion
	var uncertain []hlc.Timestamp
	ks := m.keys()
	if reverse {
		slices.SortFunc(ks, func(a, b string) int { return cmp.Compare(b, a) })
	}
	for _, k := range ks {
		if span.Contains(keys.Key(k)) {
			v, ok, unc := m.get(k, ts, w)
			uncertain = append(uncertain, unc...)
			if ok {
				want = append(want, v)
			}
		}
	}
	s := r.Scan(span, reverse, ts, w)
	i := 0
	for s.Next() {
		require.Less(t, i, len(want))
		require.Equal(t, want[i].key, string(s.Key()))
		require.Equal(t, want[i].value, string(s.Value()))
		require.Equal(t, want[i].ts, s.TS())
		require.Equal(t, m.newest(want[i].key).TS, s.Newest())
		i++
	}
	checkUncertain(t, s.Err(), uncertain)
	if len(uncertain) == 0 {
		require.Equal(t, len(want), i)
	}
}

// A key with many versions makes the scan seek instead of step, in both directions.
func TestManyVersions(t *testing.T) {
	e := testEngine(t)
	defer func() { require.NoError(t, e.Close()) }()
	m := &twin{}
	w := Writer{Batch: e.DB().NewBatch()}
	for _, k := range []string{"\x04a", "\x04b", "\x04c"} {
		n := 40
		if k == "\x04b" {
			n = 3
		}
		for i := range n {
			v := twinVersion{key: k, ts: hlc.Timestamp{WallTime: int64(i + 1)}, deleted: i%7 == 3, value: string(rune('a' + i%26))}
			v.local = v.ts
			if v.deleted {
				v.value = ""
			}
			require.NoError(t, w.Put(keys.Key(k), v.ts, v.deleted, []byte(v.value), m.newest(k)))
			m.versions = append(m.versions, v)
		}
	}
	require.NoError(t, w.Batch.Commit(pebble.Sync))
	for range 2 {
		for ts := int64(0); ts < 42; ts++ {
			for _, reverse := range []bool{false, true} {
				for _, limit := range []int64{0, ts + 1, ts + 10} {
					r := NewReader(e.DB())
					win := Window{Local: hlc.Timestamp{WallTime: limit}, Global: hlc.Timestamp{WallTime: limit}}
					checkScan(t, m, r, modelDesc.Span(), reverse, hlc.Timestamp{WallTime: ts}, win)
					require.NoError(t, r.Close())
				}
			}
		}
		require.NoError(t, e.DB().Flush())
	}
}

func TestChecksumAndRecords(t *testing.T) {
	ctx := context.Background()
	a, b := testEngine(t), testEngine(t)
	defer func() { require.NoError(t, a.Close()); require.NoError(t, b.Close()) }()
	id := kv.TxnID{9}
	fill := func(e *engine.Engine) {
		w := Writer{Batch: e.DB().NewBatch()}
		require.NoError(t, w.Put(keys.Key("\x04k"), hlc.Timestamp{WallTime: 5}, false, []byte("v"), Newest{}))
		require.NoError(t, w.PutLock(keys.Key("\x04l"), &kv.LockRecord{Txn: kv.TxnMeta{ID: id}, TS: hlc.Timestamp{WallTime: 6}, Value: []byte("x")}, false))
		require.NoError(t, w.PutTxnRecord(&kv.TxnRecord{Meta: kv.TxnMeta{ID: id, Anchor: keys.Key("\x04l")}, Status: kv.TxnStaging, Prepared: []keys.Key{keys.Key("\x04l")}}))
		require.NoError(t, w.PutCommitOutcome(0, keys.Key("\x04l"), id, CommitOutcome{Committed: true, CommitTS: hlc.Timestamp{WallTime: 5}}))
		require.NoError(t, w.Batch.Set(DescriptorKey(7), modelDesc.AppendWire(nil), nil))
		require.NoError(t, w.Batch.Commit(pebble.Sync))
	}
	fill(a)
	fill(b)
	sum := func(e *engine.Engine) string {
		s, err := Checksum(ctx, e.DB(), modelDesc)
		require.NoError(t, err)
		return s
	}
	first := sum(a)
	require.Len(t, first, 64)
	require.Equal(t, first, sum(b))
	require.NoError(t, a.DB().Flush())
	require.Equal(t, first, sum(a))

	// The applied state does not count; everything else does.
	st := AppliedState{AppliedIndex: 3, AppliedTerm: 2, Stats: kv.Stats{LiveRows: 1, LiveBytes: -2, Versions: 3, Bytes: 4, Locks: 5},
		ClosedTS: hlc.Timestamp{WallTime: 9, Logical: 1}, GCThreshold: hlc.Timestamp{WallTime: 1},
		Outcomes: Outcomes{Half: 1, Since: hlc.Timestamp{WallTime: 8, Logical: 2}, Forgotten: hlc.Timestamp{WallTime: 7}}}
	require.NoError(t, a.DB().Set(AppliedStateKey(7), AppendAppliedState(nil, &st), pebble.Sync))
	require.Equal(t, first, sum(a))
	got, ok, err := LoadAppliedState(a.DB(), 7)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, st, got)
	_, ok, err = LoadAppliedState(b.DB(), 7)
	require.NoError(t, err)
	require.False(t, ok)
	for _, change := range []func(w *Writer) error{
		func(w *Writer) error { return w.ClearLock(keys.Key("\x04l"), id) },
		func(w *Writer) error { return w.ClearTxnRecord(keys.Key("\x04l"), id) },
		func(w *Writer) error {
			return w.PutCommitOutcome(1, keys.Key("\x04l"), kv.TxnID{1}, CommitOutcome{CommitTS: hlc.Timestamp{WallTime: 1}})
		},
		func(w *Writer) error {
			return w.Put(keys.Key("\x04k"), hlc.Timestamp{WallTime: 7}, true, nil, Newest{Exists: true, TS: hlc.Timestamp{WallTime: 5}, ValueLen: 1})
		},
	} {
		before := sum(b)
		w := Writer{Batch: b.DB().NewBatch()}
		require.NoError(t, change(&w))
		require.NoError(t, w.Batch.Commit(pebble.Sync))
		require.NotEqual(t, before, sum(b))
	}

	d, err := LoadDescriptor(a.DB(), 7)
	require.NoError(t, err)
	require.Equal(t, modelDesc.String(), d.String())
}

// Outcomes are kept for a turn, and belong to the range that holds their key.
func TestOutcomes(t *testing.T) {
	e := testEngine(t)
	defer func() { require.NoError(t, e.Close()) }()
	key, id := keys.Key("\x04l"), kv.TxnID{9}
	ts := func(n int64) hlc.Timestamp { return hlc.Timestamp{WallTime: n} }
	var o Outcomes
	do := func(fn func(w *Writer) error) {
		t.Helper()
		w := Writer{Batch: e.DB().NewBatch()}
		require.NoError(t, fn(&w))
		require.NoError(t, w.Batch.Commit(pebble.Sync))
	}
	put := func(key keys.Key) {
		t.Helper()
		do(func(w *Writer) error {
			return w.PutCommitOutcome(o.Half, key, id, CommitOutcome{Committed: true, CommitTS: ts(5)})
		})
	}
	turn := func(d *kv.RangeDescriptor, at int64) {
		t.Helper()
		do(func(w *Writer) error { return o.Turn(w.Batch, d, ts(at)) })
	}
	known := func(key keys.Key) string {
		t.Helper()
		s := ""
		for shelf := range byte(3) {
			got, ok, err := LoadCommitOutcome(e.DB(), shelf, key, id)
			require.NoError(t, err)
			require.Equal(t, ok, got.Committed)
			if ok {
				s += fmt.Sprint(shelf)
			}
		}
		return s
	}
	remembered := func(d *kv.RangeDescriptor) bool {
		t.Helper()
		ok, err := Remembered(e.DB(), d)
		require.NoError(t, err)
		return ok
	}

	require.False(t, remembered(modelDesc))
	put(key)
	require.Equal(t, "0", known(key))
	require.True(t, remembered(modelDesc))
	turn(modelDesc, 10)
	require.Equal(t, Outcomes{Half: 1, Since: ts(10)}, o)
	require.Equal(t, "0", known(key), "the older shelf now")
	put(keys.Key("\x04m"))
	turn(modelDesc, 20)
	require.Equal(t, Outcomes{Half: 0, Since: ts(20), Forgotten: ts(10)}, o)
	require.Equal(t, "", known(key))
	require.Equal(t, "1", known(keys.Key("\x04m")))

	// Two ranges that came of a split forget for themselves.
	left, right := modelDesc.Clone(), modelDesc.Clone()
	left.EndKey, right.StartKey = keys.Key("\x04m"), keys.Key("\x04m")
	put(key)
	require.True(t, remembered(left) && remembered(right))
	was := o
	turn(right, 30)
	require.Equal(t, "0", known(key))
	require.Equal(t, "", known(keys.Key("\x04m")))
	require.False(t, remembered(right))

	// United, they know all that either knew, and the next turn is a whole one.
	o = was.Merged(o, ts(40))
	require.Equal(t, Outcomes{Half: 0, Since: ts(40), Forgotten: ts(20)}, o)
	turn(modelDesc, 60)
	require.Equal(t, ts(40), o.Forgotten)
	require.Equal(t, "0", known(key))

	// Merges are remembered for longer.
	do(func(w *Writer) error {
		return w.PutCommitOutcome(MergeShelf, key, id, CommitOutcome{Committed: true, CommitTS: ts(50)})
	})
	turn(modelDesc, 80)
	require.Equal(t, "2", known(key))
	for _, c := range []struct{ below, removed int64 }{{50, 0}, {51, 1}} {
		do(func(w *Writer) error {
			n, err := PurgeMergeOutcomes(e.DB(), w, modelDesc.Span(), ts(c.below), 100)
			require.Equal(t, c.removed, n)
			return err
		})
	}
	require.Equal(t, "", known(key))
}

func FuzzDecoders(f *testing.F) {
	f.Add([]byte{kindValue, 1})
	f.Add([]byte{kindTombstone | flagLocal, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2})
	f.Add(AppendAppliedState(nil, &AppliedState{AppliedIndex: 1}))
	f.Add(AppendCommitOutcome(nil, CommitOutcome{Committed: true}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var local hlc.Timestamp
		if _, v, err := decodeValue(b, &local); err == nil && len(v) >= len(b) {
			t.Fatalf("%x", b)
		}
		if s, err := DecodeAppliedState(b); err == nil {
			require.Equal(t, b, AppendAppliedState(nil, &s))
		}
		if o, err := DecodeCommitOutcome(b); err == nil {
			require.Equal(t, b, AppendCommitOutcome(nil, o))
		}
	})
}

// What LeftRecords returns outlives its iterator, and the blocks that it has read.
func TestLeftRecords(t *testing.T) {
	e := testEngine(t)
	defer func() { require.NoError(t, e.Close()) }()
	const n = 2000
	key := func(i, j int) keys.Key { return fmt.Appendf(keys.Key("\x04k"), "%d/%d/%0200d", i, j, 0) } // all of it more than the cache takes
	w := Writer{Batch: e.DB().NewBatch()}
	want := map[kv.TxnID]kv.TxnRecord{}
	for i := range n {
		rec := kv.TxnRecord{Meta: kv.TxnMeta{ID: kv.MakeTxnID(hlc.Timestamp{WallTime: int64(i + 1)}, uint64(i)), Anchor: key(i, 0)}, Status: kv.TxnCommitted, CommitTS: hlc.Timestamp{WallTime: 5}}
		for j := range i%30 + 1 {
			rec.Prepared = append(rec.Prepared, key(i, j))
		}
		switch i % 6 {
		case 0:
			rec.Status = []kv.TxnStatus{kv.TxnAborted, kv.TxnPrepared}[i/6%2]
		case 1:
			rec.Held = true
		case 2:
			rec.CommitTS.WallTime = 6
		case 3:
			rec.Prepared = nil
		default:
			rec.Status = []kv.TxnStatus{kv.TxnCommitted, kv.TxnStaging, kv.TxnOpen}[i/6%3]
			want[rec.Meta.ID] = rec
		}
		require.NoError(t, w.PutTxnRecord(&rec))
	}
	require.NoError(t, w.Batch.Commit(pebble.Sync))
	require.NoError(t, e.DB().Flush())
	recs, err := LeftRecords(e.DB(), keys.Span{Start: keys.Key("\x04"), End: keys.Key("\x05")}, nil, hlc.Timestamp{WallTime: 6}, n)
	require.NoError(t, err)
	require.Len(t, recs, len(want))
	for _, rec := range recs {
		require.Equal(t, want[rec.Meta.ID].Prepared, rec.Prepared)
		require.Equal(t, want[rec.Meta.ID].Meta.Anchor, rec.Meta.Anchor)
	}
	recs, err = LeftRecords(e.DB(), keys.Span{Start: keys.Key("\x04"), End: keys.Key("\x05")}, nil, hlc.Timestamp{WallTime: 6}, 3)
	require.NoError(t, err)
	require.Len(t, recs, 3)

	// Piece by piece.
	var from keys.Key
	seen := 0
	for {
		recs, err := LeftRecords(e.DB(), keys.Span{Start: keys.Key("\x04"), End: keys.Key("\x05")}, from, hlc.Timestamp{WallTime: 6}, 100)
		require.NoError(t, err)
		if len(recs) == 0 {
			break
		}
		seen += len(recs)
		last := recs[len(recs)-1].Meta
		from = keys.TxnRecord(last.Anchor, last.ID).Next()
	}
	require.Equal(t, len(want), seen)
}
