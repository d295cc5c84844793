package eval

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

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
	span keys.Span
	ts   hlc.Timestamp
	rows string
}

// rows reads a span straight from the versions, past locks and caches.
func (w *world) rows(t require.TestingT, span keys.Span, ts hlc.Timestamp) string {
	r := mvcc.NewReader(w.e.DB())
	defer func() { require.NoError(t, r.Close()) }()
	var b strings.Builder
	s := r.Scan(span, false, ts, mvcc.Window{})
	for s.Next() {
		fmt.Fprintf(&b, "%s=%s ", unname(s.Key()), s.Value())
	}
	require.NoError(t, s.Err())
	return b.String()
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

// Random transactions, reads, repetitions and recoveries on one range:
//
//   - a read, once answered at a timestamp, never changes (snapshots are stable);
//   - what a transaction read and had refreshed is the same just before its commit timestamp;
//   - a repeated request has the outcome of the first;
//   - statistics are exact after every step (world.apply checks that).
func TestRandomHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		defer w.close()
		var reads []answered
		txns := map[kv.TxnID]*known{}
		var order []kv.TxnID
		seq := uint16(0)

		genKey := rapid.Map(rapid.SampledFrom([]string{"a", "b", "c", "d"}), name)
		genSpan := rapid.Custom(func(t *rapid.T) keys.Span {
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
				span := genSpan.Draw(t, "span")
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
				reads = append(reads, answered{k.meta.ID, span, k.meta.ReadTS, b.String()})
				refreshes = append(refreshes, kv.ReadSpan{Span: span, At: k.meta.ReadTS})
			}
			return refreshes, true
		}
		// A transaction may write at the very timestamp of its own reads.
		own := func(k *known, commitTS hlc.Timestamp) {
			reads = slices.DeleteFunc(reads, func(a answered) bool { return a.txn == k.meta.ID && a.ts == commitTS })
		}
		refreshed := func(t *rapid.T, rs []kv.ReadSpan, commitTS hlc.Timestamp) (stay []answered) {
			for _, r := range rs {
				if r.At.Less(commitTS) {
					rows := w.rows(t, r.Span, r.At)
					require.Equal(t, rows, w.rows(t, r.Span, commitTS.Prev()), "%s at %s", r.Span, commitTS)
					stay = append(stay, answered{span: r.Span, ts: commitTS.Prev(), rows: rows})
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
			var some []*known
			for _, id := range order {
				if want(txns[id]) {
					some = append(some, txns[id])
				}
			}
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
		prepared := func(k *known) bool { return !k.laid.IsEmpty() && k.status == kv.TxnUnknown }

		t.Repeat(map[string]func(*rapid.T){
			"time": func(t *rapid.T) { w.phys += rapid.Int64Range(1, 20).Draw(t, "d") },
			"read": func(t *rapid.T) { read(t, begin(t)) },
			"commit here": func(t *rapid.T) {
				k := begin(t)
				rs, ok := read(t, k)
				if !ok {
					return
				}
				if k.writes = genWrites(t); len(k.writes) == 0 {
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
				reads = append(reads, refreshed(t, rs, ts)...)
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
				if k.writes = genWrites(t); len(k.writes) == 0 {
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
				txns[k.meta.ID] = k
				order = append(order, k.meta.ID)
			},
			"prepare again": func(t *rapid.T) {
				k := pick(t, prepared)
				resp, _, err := w.do(&kv.BatchRequest{Txn: &k.meta, Requests: []kv.Request{&kv.Prepare{Writes: k.writes, StageTS: k.stage}}})
				require.NoError(t, err)
				require.Equal(t, k.laid, resp.Responses[0].(*kv.PrepareResponse).TS, "a lock moved")
			},
			"end": func(t *rapid.T) {
				k := pick(t, prepared)
				r := &kv.EndTxn{Commit: rapid.Bool().Draw(t, "commit"), CommitTS: k.laid, Local: keysOf(k)}
				if k.laid == k.stage {
					r.Commit = true // it is committed, whatever the coordinator would like
				} else if rapid.Bool().Draw(t, "later") {
					r.CommitTS = k.laid.Add(7)
				}
				resp, _, err := w.do(&kv.BatchRequest{Txn: &k.meta, Requests: []kv.Request{r}})
				require.NoError(t, err)
				k.status, k.commitTS = resp.Responses[0].(*kv.EndTxnResponse).Status, r.CommitTS
				require.Equal(t, r.Commit, k.status == kv.TxnCommitted)
				if r.Commit {
					reads = append(reads, k.stay...)
				}
			},
			"recover": func(t *rapid.T) {
				k := pick(t, prepared)
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
					reads = append(reads, k.stay...)
				}
				one(&kv.ResolveLocks{Commit: decide == kv.TxnCommitted, CommitTS: k.stage, Keys: keysOf(k)})
			},
			"late": func(t *rapid.T) {
				// Messages of a transaction that has ended, again.
				k := pick(t, func(k *known) bool { return k.status != kv.TxnUnknown })
				commit := k.status == kv.TxnCommitted
				before := w.rows(t, keys.Span{Start: name("a"), End: name("z")}, hlc.Max)
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
				require.Equal(t, before, w.rows(t, keys.Span{Start: name("a"), End: name("z")}, hlc.Max))
			},
			"put": func(t *rapid.T) {
				_, _, err := w.do(&kv.BatchRequest{Requests: []kv.Request{&kv.Put{Key: genKey.Draw(t, "k"), Value: []byte("p")}}})
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
				for _, a := range reads {
					if !a.ts.Less(w.env.GCThreshold) {
						require.Equal(t, a.rows, w.rows(t, a.span, a.ts), "read of %s at %s changed", a.span, a.ts)
					}
				}
				for _, k := range txns {
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
