package mvcc

import (
	"cmp"
	"context"
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
			"drop": func(t *rapid.T) {
				m.gc = m.gc.Forward(genTS.Draw(t, "threshold"))
				span := genSpan(t, genKey)
				scan := rapid.Int64Range(1, 30).Draw(t, "scan")
				before := len(m.versions)
				m.versions = slices.DeleteFunc(m.versions, func(v twinVersion) bool {
					return span.Contains(keys.Key(v.key)) && m.newest(v.key).TS.LessEq(m.gc)
				})
				removed := int64(0)
				for rest := (keys.Span{Start: span.Start, End: span.EndKey()}); ; {
					w := Writer{Batch: e.DB().NewBatch()}
					n, next, err := PurgeDropped(e.DB(), &w, rest, m.gc, scan)
					require.NoError(t, err)
					commit(&w)
					removed += n
					if next == nil {
						break
					}
					require.True(t, rest.Start.Less(next) && next.Less(rest.End), "%v, then from %v", rest, next)
					rest.Start = next
				}
				require.EqualValues(t, before-len(m.versions), removed)
				there, err := HasVersions(e.DB(), span)
				require.NoError(t, err)
				require.Equal(t, slices.ContainsFunc(m.versions, func(v twinVersion) bool { return span.Contains(keys.Key(v.key)) }), there)
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
				checkScan(t, m, r, genSpan(t, genKey), rapid.Bool().Draw(t, "reverse"), genTS.Draw(t, "ts"), genWindow(t, genTS))
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

// genSpan is a point or an interval.
func genSpan(t *rapid.T, genKey *rapid.Generator[keys.Key]) keys.Span {
	a, b := genKey.Draw(t, "a"), genKey.Draw(t, "b")
	switch a.Compare(b) {
	case -1:
		return keys.Span{Start: a, End: b}
	case 1:
		return keys.Span{Start: b, End: a}
	}
	return keys.Span{Start: a}
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
