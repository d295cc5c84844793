package eval

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// answered is a read that was answered once, and must be answered so for ever.
type answered struct {
	txn  kv.TxnID
	what string
	ts   hlc.Timestamp
	rows string
	look func(t require.TestingT) string // what there is now
}

// outcome of a transaction, as the test knows it.
type known struct {
	meta     kv.TxnMeta
	writes   []kv.Write
	stage    hlc.Timestamp
	laid     hlc.Timestamp // where Prepare laid the locks
	status   kv.TxnStatus
	commitTS hlc.Timestamp
	stay     []answered // must stay so if it commits
}

// committed reports whether the transaction has: it may not know it yet.
func (k *known) committed() bool {
	return k.status == kv.TxnCommitted || k.status == kv.TxnUnknown && !k.laid.IsEmpty() && k.laid == k.stage
}

// prepared: its locks are there, and nobody has ended it.
func (k *known) prepared() bool { return !k.laid.IsEmpty() && k.status == kv.TxnUnknown }

// history is what random transactions have done and seen.
type history struct {
	w       *world
	reads   []answered
	txns    map[kv.TxnID]*known
	order   []kv.TxnID
	genSpan *rapid.Generator[keys.Span]
}

// those returns some of the transactions that have prepared, in their order.
func (h *history) those(want func(*known) bool) (some []*known) {
	for _, id := range h.order {
		if want(h.txns[id]) {
			some = append(some, h.txns[id])
		}
	}
	return some
}

// row is a row that is there.
type row struct {
	key   string
	value []byte
}

// truth is what a span holds at ts, straight from the versions, past caches: and prepared writes of transactions that have committed are versions too.
func (h *history) truth(t require.TestingT, span keys.Span, ts hlc.Timestamp) (rows []row) {
	r := mvcc.NewReader(h.w.e.DB())
	defer func() { require.NoError(t, r.Close()) }()
	written := map[string]*kv.LockRecord{}
	require.NoError(t, r.Locks(span, func(key keys.Key, l *kv.LockRecord) bool {
		if k := h.txns[l.Txn.ID]; k != nil && k.committed() && l.TS.LessEq(k.at()) && k.at().LessEq(ts) {
			written[unname(key)] = l
		}
		return true
	}))
	put := func(key string, value []byte) { rows = append(rows, row{key, slices.Clone(value)}) }
	s := r.Scan(span, false, ts, mvcc.Window{})
	for s.Next() {
		if written[unname(s.Key())] == nil {
			put(unname(s.Key()), s.Value())
		}
	}
	require.NoError(t, s.Err())
	for key, l := range written {
		if !l.Deleted {
			put(key, l.Value)
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.key, b.key) })
	return rows
}

// at is when it has committed.
func (k *known) at() hlc.Timestamp {
	if k.status == kv.TxnCommitted {
		return k.commitTS
	}
	return k.stage
}

// rows shows what a span holds at ts.
func (h *history) rows(t require.TestingT, span keys.Span, ts hlc.Timestamp) string {
	var b strings.Builder
	for _, r := range h.truth(t, span, ts) {
		fmt.Fprintf(&b, "%s=%s ", r.key, r.value)
	}
	return b.String()
}

// newest is the timestamp of a key's newest version.
func (h *history) newest(t require.TestingT, key keys.Key) hlc.Timestamp {
	r := mvcc.NewReader(h.w.e.DB())
	v, _, err := r.Newest(key)
	require.NoError(t, errors.Join(err, r.Close()))
	return v.TS
}

// saw notes what a read of a span was answered.
func (h *history) saw(id kv.TxnID, span keys.Span, ts hlc.Timestamp, rows string) answered {
	return answered{txn: id, what: fmt.Sprint(span), ts: ts, rows: rows, look: func(t require.TestingT) string { return h.rows(t, span, ts) }}
}

// manyHistories makes them more than rapid would: what there is to be met takes several steps in a certain order.
func manyHistories(t *testing.T) {
	for name, n := range map[string]string{"rapid.checks": "250", "rapid.steps": "60"} {
		f := flag.Lookup(name)
		if f.Value.String() == f.DefValue {
			require.NoError(t, f.Value.Set(n))
			t.Cleanup(func() { require.NoError(t, f.Value.Set(f.DefValue)) })
		}
	}
}

// Random transactions, reads, repetitions and recoveries on one range:
//
//   - a read, once answered at a timestamp, never changes (snapshots are stable);
//   - a scan with a program, whatever it locks and however it waits, finds what there is, and fails for nothing else (history.scan);
//   - what a transaction has locked it can commit;
//   - what a transaction read and had refreshed is the same just before its commit timestamp;
//   - a repeated request has the outcome of the first;
//   - statistics are exact after every step (world.apply checks that).
func TestRandomHistories(t *testing.T) {
	manyHistories(t)
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		defer w.close()
		h := &history{w: w, txns: map[kv.TxnID]*known{}}
		seq := uint16(0)
		type holder struct {
			*known
			lock   kv.LockStrength
			locked []keys.Key
		}
		var holders []holder

		genKey := rapid.Map(rapid.SampledFrom([]string{"a", "b", "c", "d"}), name)
		h.genSpan = rapid.Custom(func(t *rapid.T) keys.Span {
			switch rapid.IntRange(0, 2).Draw(t, "kind") {
			case 0:
				return keys.Span{Start: genKey.Draw(t, "k")}
			case 1:
				return keys.Span{Start: name("a"), End: name("c")}
			}
			return keys.Span{Start: name("b"), End: name("z")}
		})
		genTS := rapid.Custom(func(t *rapid.T) hlc.Timestamp {
			return hlc.Timestamp{WallTime: w.phys + rapid.Int64Range(-20, 20).Draw(t, "off")}
		})
		genWrites := func(t *rapid.T) []kv.Write {
			var out []kv.Write
			for _, s := range []string{"a", "b", "c", "d"} {
				switch rapid.IntRange(0, 5).Draw(t, "write "+s) {
				case 0:
					out = append(out, kv.Write{Key: name(s), Deleted: true})
				case 1, 2:
					out = append(out, kv.Write{Key: name(s), Value: fmt.Append(nil, seq, s), MustNotExist: rapid.IntRange(0, 9).Draw(t, "insert") == 0})
				}
			}
			return out
		}
		begin := func(t *rapid.T) *known {
			seq++
			k := &known{meta: kv.TxnMeta{ID: kv.TxnID{byte(seq >> 8), byte(seq)}, ReadTS: genTS.Draw(t, "read ts"), Anchor: genKey.Draw(t, "anchor")}}
			return k
		}
		// read performs plain reads for a transaction and remembers the answers.
		read := func(t *rapid.T, k *known) (refreshes []kv.ReadSpan, ok bool) {
			for range rapid.IntRange(0, 2).Draw(t, "reads") {
				span := h.genSpan.Draw(t, "span")
				req := &kv.BatchRequest{Txn: &k.meta, Requests: []kv.Request{&kv.Scan{Spans: []keys.Span{span}}}}
				resp, _, err := w.do(req)
				if err != nil {
					var ce *ConflictError
					require.True(t, errors.As(err, &ce) || kv.HasCode(err, kv.CodeReadBelowGC), "%v", err)
					return nil, false
				}
				rows := resp.Responses[0].(*kv.ScanResponse).Rows
				var b strings.Builder
				for {
					key, v, ok, err := rows.Next()
					require.NoError(t, err)
					if !ok {
						break
					}
					fmt.Fprintf(&b, "%s=%s ", unname(key), v)
				}
				h.reads = append(h.reads, h.saw(k.meta.ID, span, k.meta.ReadTS, b.String()))
				refreshes = append(refreshes, kv.ReadSpan{Span: span, At: k.meta.ReadTS})
			}
			return refreshes, true
		}
		// A transaction may write at the very timestamp of its own reads.
		own := func(k *known, commitTS hlc.Timestamp) {
			h.reads = slices.DeleteFunc(h.reads, func(a answered) bool { return a.txn == k.meta.ID && a.ts == commitTS })
		}
		refreshed := func(t *rapid.T, rs []kv.ReadSpan, commitTS hlc.Timestamp) (stay []answered) {
			for _, r := range rs {
				if r.At.Less(commitTS) {
					rows := h.rows(t, r.Span, r.At)
					require.Equal(t, rows, h.rows(t, r.Span, commitTS.Prev()), "%s at %s", r.Span, commitTS)
					stay = append(stay, h.saw(kv.TxnID{}, r.Span, commitTS.Prev(), rows))
				}
			}
			return stay
		}
		expected := func(t *rapid.T, err error) {
			var ce *ConflictError
			if errors.As(err, &ce) {
				return
			}
			switch kv.AsError(err).Code {
			case kv.CodeWriteTooOld, kv.CodeRefreshFailed, kv.CodeConditionFailed, kv.CodeTxnAborted:
			default:
				t.Fatalf("unexpected: %v", err)
			}
		}
		pick := func(t *rapid.T, want func(*known) bool) *known {
			some := h.those(want)
			if len(some) == 0 {
				t.Skip("none")
			}
			return rapid.SampledFrom(some).Draw(t, "txn")
		}
		keysOf := func(k *known) (ks []keys.Key) {
			for _, wr := range k.writes {
				ks = append(ks, wr.Key)
			}
			return ks
		}

		scan := func(t *rapid.T) {
			k := begin(t)
			if some := h.those((*known).prepared); len(some) > 0 && rapid.IntRange(0, 3).Draw(t, "meets") > 0 {
				k.meta.ReadTS = rapid.SampledFrom(some).Draw(t, "met").laid.Add(time.Duration(rapid.IntRange(-1, 3).Draw(t, "off")))
			}
			lock, locked := h.scan(t, k)
			holders = append(holders, holder{k, lock, locked})
		}

		t.Repeat(map[string]func(*rapid.T){
			"time": func(t *rapid.T) { w.phys += rapid.Int64Range(1, 20).Draw(t, "d") },
			"read": func(t *rapid.T) { read(t, begin(t)) },
			"commit here": func(t *rapid.T) {
				k := begin(t)
				rs, ok := read(t, k)
				if !ok {
					return
				}
				if k.writes = genWrites(t); len(k.writes) == 0 || !h.free(k.meta.ID, k.writes...) {
					return
				}
				req := &kv.BatchRequest{Txn: &k.meta, Requests: []kv.Request{&kv.CommitSingleRange{Writes: k.writes, Refreshes: rs}}}
				resp, _, err := w.do(req)
				if err != nil {
					expected(t, err)
					return
				}
				ts := resp.Responses[0].(*kv.CommitSingleRangeResponse).CommitTS
				require.False(t, ts.Less(k.meta.ReadTS))
				h.reads = append(h.reads, refreshed(t, rs, ts)...)
				own(k, ts)
				again, eff, err := w.do(req)
				require.NoError(t, err)
				require.Equal(t, ts, again.Responses[0].(*kv.CommitSingleRangeResponse).CommitTS)
				require.Nil(t, eff.Batch)
			},
			"prepare": func(t *rapid.T) {
				k := begin(t)
				rs, ok := read(t, k)
				if !ok {
					return
				}
				if k.writes = genWrites(t); len(k.writes) == 0 || !h.free(k.meta.ID, k.writes...) {
					t.Skip("nothing to write")
				}
				k.stage = k.meta.ReadTS
				req := &kv.BatchRequest{Txn: &k.meta, Requests: []kv.Request{
					&kv.Prepare{Writes: k.writes, StageTS: k.stage, Refreshes: rs},
					&kv.StageTxn{CommitTS: k.stage, Prepared: keysOf(k)},
				}}
				resp, _, err := w.do(req)
				if err != nil {
					expected(t, err)
					return
				}
				k.laid = resp.Responses[0].(*kv.PrepareResponse).TS
				k.stay = refreshed(t, rs, k.laid)
				own(k, k.laid)
				h.txns[k.meta.ID] = k
				h.order = append(h.order, k.meta.ID)
			},
			"prepare again": func(t *rapid.T) {
				k := pick(t, (*known).prepared)
				resp, _, err := w.do(&kv.BatchRequest{Txn: &k.meta, Requests: []kv.Request{&kv.Prepare{Writes: k.writes, StageTS: k.stage}}})
				require.NoError(t, err)
				require.Equal(t, k.laid, resp.Responses[0].(*kv.PrepareResponse).TS, "a lock moved")
			},
			"end": func(t *rapid.T) {
				k := pick(t, (*known).prepared)
				r := &kv.EndTxn{Commit: rapid.Bool().Draw(t, "commit"), CommitTS: k.laid, Local: keysOf(k)}
				if k.laid == k.stage {
					r.Commit = true // it is committed, whatever the coordinator would like
				} else if rapid.Bool().Draw(t, "later") {
					r.CommitTS = k.laid.Add(7)
				}
				if p := w.locks.known[k.meta.ID].ts; k.laid != k.stage && r.CommitTS.LessEq(p) {
					r.CommitTS = p.Next()
				}
				resp, _, err := w.do(&kv.BatchRequest{Txn: &k.meta, Requests: []kv.Request{r}})
				require.NoError(t, err)
				k.status, k.commitTS = resp.Responses[0].(*kv.EndTxnResponse).Status, r.CommitTS
				require.Equal(t, r.Commit, k.status == kv.TxnCommitted)
				if r.Commit {
					h.reads = append(h.reads, k.stay...)
				}
			},
			"recover": func(t *rapid.T) {
				k := pick(t, (*known).prepared)
				one := func(r kv.Request) kv.Response {
					resp, _, err := w.do(&kv.BatchRequest{Txn: &k.meta, Requests: []kv.Request{r}})
					require.NoError(t, err)
					return resp.Responses[0]
				}
				rec := one(&kv.RecoverTxn{}).(*kv.RecoverTxnResponse).Record
				require.Equal(t, kv.TxnStaging, rec.Status)
				missing := one(&kv.QueryPrepared{Keys: rec.Prepared, TS: rec.CommitTS}).(*kv.QueryPreparedResponse).Missing
				require.Equal(t, k.laid == k.stage, len(missing) == 0)
				decide := kv.TxnCommitted
				if len(missing) > 0 {
					decide = kv.TxnAborted
				}
				rec = one(&kv.RecoverTxn{Decide: decide, StagedTS: rec.CommitTS}).(*kv.RecoverTxnResponse).Record
				require.Equal(t, decide, rec.Status)
				k.status, k.commitTS = decide, k.stage
				if decide == kv.TxnCommitted {
					h.reads = append(h.reads, k.stay...)
				}
				one(&kv.ResolveLocks{Commit: decide == kv.TxnCommitted, CommitTS: k.stage, Keys: keysOf(k)})
			},
			"late": func(t *rapid.T) {
				// Messages of a transaction that has ended, again.
				k := pick(t, func(k *known) bool { return k.status != kv.TxnUnknown })
				commit := k.status == kv.TxnCommitted
				before := h.rows(t, keys.Span{Start: name("a"), End: name("z")}, hlc.Max)
				for _, r := range []kv.Request{
					&kv.Prepare{Writes: k.writes, StageTS: k.stage},
					&kv.StageTxn{CommitTS: k.stage, Prepared: keysOf(k)},
					&kv.EndTxn{Commit: commit, CommitTS: k.commitTS, Local: keysOf(k)},
					&kv.ResolveLocks{Commit: commit, CommitTS: k.commitTS, Keys: keysOf(k)},
				} {
					_, _, err := w.do(&kv.BatchRequest{Txn: &k.meta, Requests: []kv.Request{r}})
					if err != nil {
						// Nobody hears these any more. (An ABORTED record may have been collected.)
						require.False(t, commit, "%v", err)
						expected(t, err)
					}
				}
				require.Equal(t, before, h.rows(t, keys.Span{Start: name("a"), End: name("z")}, hlc.Max))
			},
			"told": func(t *rapid.T) {
				// The lock table learns that a transaction has committed, or of its promise to commit later.
				k := pick(t, (*known).prepared)
				o := knownOutcome{kv.TxnCommitted, k.stage}
				if !k.committed() {
					o = knownOutcome{kv.TxnUnknown, genTS.Draw(t, "later than").Forward(w.locks.known[k.meta.ID].ts)}
				}
				w.locks.known[k.meta.ID] = o
			},
			"scan": scan, "scan to lock": scan, "scan once more": scan,
			"let go": func(t *rapid.T) {
				if len(holders) == 0 {
					t.Skip("none")
				}
				i := rapid.IntRange(0, len(holders)-1).Draw(t, "holder")
				x := holders[i]
				holders = slices.Delete(holders, i, i+1)
				defer w.locks.drop(x.meta.ID, nil)
				if x.lock < kv.LockShare {
					return // its rows may have been changed
				}
				var rs []kv.ReadSpan
				for _, key := range x.locked {
					rs = append(rs, kv.ReadSpan{Span: keys.Span{Start: key}, At: x.meta.ReadTS})
					if rapid.Bool().Draw(t, "write") {
						x.writes = append(x.writes, kv.Write{Key: key, Value: fmt.Append(nil, seq, "+")})
					}
				}
				if len(x.writes) == 0 || x.meta.ReadTS.Less(w.env.GCThreshold) || !h.free(x.meta.ID, x.writes...) {
					return
				}
				resp, _, err := w.do(&kv.BatchRequest{Txn: &x.meta, Requests: []kv.Request{&kv.CommitSingleRange{Writes: x.writes, Refreshes: rs}}})
				require.NoError(t, err, "what it writes it has locked since it read it")
				ts := resp.Responses[0].(*kv.CommitSingleRangeResponse).CommitTS
				h.reads = append(h.reads, refreshed(t, rs, ts)...)
				own(x.known, ts)
			},
			"put": func(t *rapid.T) {
				key := genKey.Draw(t, "k")
				if !h.free(kv.TxnID{}, kv.Write{Key: key}) {
					return
				}
				_, _, err := w.do(&kv.BatchRequest{Requests: []kv.Request{&kv.Put{Key: key, Value: []byte("p")}}})
				if err != nil {
					expected(t, err)
				}
			},
			"closed": func(t *rapid.T) { w.env.ClosedTS = w.env.ClosedTS.Forward(genTS.Draw(t, "closed")) },
			"gc": func(t *rapid.T) {
				threshold := hlc.Timestamp{WallTime: w.phys - 30}
				_, _, err := w.do(&kv.BatchRequest{Requests: []kv.Request{&kv.GC{Threshold: threshold}}})
				require.NoError(t, err)
				_, _, err = w.do(&kv.BatchRequest{Requests: []kv.Request{&kv.GC{Threshold: threshold, Collect: true}}})
				require.NoError(t, err)
			},
			"": func(t *rapid.T) {
				for _, a := range h.reads {
					if !a.ts.Less(w.env.GCThreshold) {
						require.Equal(t, a.rows, a.look(t), "read of %s at %s changed", a.what, a.ts)
					}
				}
				for _, k := range h.txns {
					if k.status == kv.TxnCommitted && !k.commitTS.Less(w.env.GCThreshold) {
						for _, wr := range k.writes {
							r := mvcc.NewReader(w.e.DB())
							v, ok, err := r.Get(wr.Key, k.commitTS, mvcc.Window{})
							require.NoError(t, err)
							require.Equal(t, wr.Deleted, !ok)
							if ok {
								require.Equal(t, string(wr.Value), string(v.Value))
							}
							require.NoError(t, r.Close())
						}
					}
				}
			},
		})
	})
}
