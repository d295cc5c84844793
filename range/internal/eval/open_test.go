package eval

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

func at(n int64) hlc.Timestamp { return hlc.Timestamp{WallTime: n} }

// scanned reads the whole world.
func (w *world) scanned(req *kv.BatchRequest, reverse bool) (string, error) {
	req.Requests = []kv.Request{&kv.Scan{Spans: []keys.Span{{Start: name("a"), End: name("z")}}, Reverse: reverse}}
	resp, _, err := w.do(req)
	if err != nil {
		return "", err
	}
	rows := resp.Responses[0].(*kv.ScanResponse).Rows
	var out []string
	for {
		k, v, ok, err := rows.Next()
		require.NoError(w.t, err)
		if !ok {
			return strings.Join(out, " "), nil
		}
		out = append(out, unname(k)+"="+string(v))
	}
}

// opened writes the OPEN record of a transaction.
func (w *world) opened(txn *kv.TxnMeta) {
	_, _, err := w.do(&kv.BatchRequest{Txn: txn, Requests: []kv.Request{&kv.StageTxn{CommitTS: at(w.phys), Open: true}}})
	require.NoError(w.t, err)
}

// ahead lays an open lock.
func (w *world) ahead(txn *kv.TxnMeta, seq int32, keep int32, write kv.Write) error {
	_, _, err := w.do(&kv.BatchRequest{Txn: txn, Requests: []kv.Request{
		&kv.Prepare{StageTS: at(w.phys), Writes: []kv.Write{write}, Seqs: []int32{seq}, Keep: keep}}})
	return err
}

// over sends a request over the whole span until it is done.
func (w *world) over(txn *kv.TxnMeta, mk func(keys.Span) kv.Request) {
	for span := w.env.Desc.Span(); span.Valid(); {
		req, err := FindLocks(w.e.DB(), &kv.BatchRequest{Txn: txn, Requests: []kv.Request{mk(span)}})
		require.NoError(w.t, err)
		resp, _, err := w.do(req)
		require.NoError(w.t, err)
		switch r := resp.Responses[0].(type) {
		case *kv.ResolveSpanResponse:
			span = r.Resume
		case *kv.UndoSpanResponse:
			span = r.Resume
		}
	}
}

func TestOpenLocks(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	_, _, err := w.do(&kv.BatchRequest{Requests: []kv.Request{&kv.Put{Key: name("a"), Value: []byte("0")}}})
	require.NoError(t, err)
	w.phys = 200
	x := &kv.TxnMeta{ID: kv.TxnID{'x'}, Anchor: name("a"), ReadTS: at(200)}
	own := func(seq int32) string {
		s, err := w.scanned(&kv.BatchRequest{Txn: x, OwnSeq: seq}, false)
		require.NoError(t, err)
		r, err := w.scanned(&kv.BatchRequest{Txn: x, OwnSeq: seq}, true)
		require.NoError(t, err)
		require.Len(t, r, len(s))
		resp, _, err := w.do(&kv.BatchRequest{Txn: x, OwnSeq: seq, Requests: []kv.Request{&kv.Get{Key: name("a")}, &kv.Get{Key: name("b"), Lock: kv.LockUpdate}}})
		require.NoError(t, err)
		for i, k := range []string{"a", "b"} {
			g := resp.Responses[i].(*kv.GetResponse)
			require.Equal(t, g.Exists, strings.Contains(s, k+"="), "%s in %q", k, s)
			require.Contains(t, s, string(g.Value))
		}
		return s
	}
	first := kv.Write{Key: name("a"), Value: []byte("1")}
	require.True(t, kv.HasCode(w.ahead(x, 1, 1, first), kv.CodeTxnAborted), "no record")
	w.opened(x)
	require.NoError(t, w.ahead(x, 1, 1, first))
	require.NoError(t, w.ahead(x, 1, 1, kv.Write{Key: name("b"), Value: []byte("1")}))
	require.Equal(t, "a=0", own(0), "without a number it does not look at its locks")
	require.Equal(t, "a=0", own(1))
	require.Equal(t, "a=1 b=1", own(2))
	require.NoError(t, w.ahead(x, 3, 1, kv.Write{Key: name("a"), Deleted: true}))
	require.NoError(t, w.ahead(x, 3, 1, kv.Write{Key: name("c"), Value: []byte("3")}))
	require.Equal(t, "a=1 b=1", own(3))
	require.Equal(t, "b=1 c=3", own(4))

	err = w.ahead(x, 4, 1, kv.Write{Key: name("b"), Value: []byte("4"), MustNotExist: true})
	require.True(t, kv.HasCode(err, kv.CodeConditionFailed), "%v", err)
	require.NoError(t, w.ahead(x, 1, 1, kv.Write{Key: name("b"), Value: []byte("1"), MustNotExist: true}), "a repetition")
	require.NoError(t, w.ahead(x, 4, 1, kv.Write{Key: name("a"), Value: []byte("4"), MustNotExist: true}), "it has deleted the row itself")
	require.Equal(t, "a=4 b=1 c=3", own(5))

	w.over(x, func(s keys.Span) kv.Request { return &kv.UndoSpan{Span: s, From: 3, To: 4} })
	require.Equal(t, "a=1 b=1", own(math.MaxInt32))
	require.NoError(t, w.ahead(x, 3, 1, kv.Write{Key: name("c"), Value: []byte("3")}), "a late copy")
	require.NoError(t, w.ahead(x, 4, 1, kv.Write{Key: name("a"), Value: []byte("4")}), "a late copy")
	require.Equal(t, "a=1 b=1", own(math.MaxInt32))
	require.NoError(t, w.ahead(x, 6, 6, kv.Write{Key: name("b"), Value: []byte("6")}))
	require.Equal(t, "a=1 b=6", own(math.MaxInt32))
	require.Equal(t, "a=1 b=1", own(6), "kept for readers at 6")

	// Others wait, unless they are told that it commits later.
	y := &kv.BatchRequest{Txn: &kv.TxnMeta{ID: kv.TxnID{'y'}, ReadTS: at(300)}}
	_, err = w.scanned(y, false)
	var ce *ConflictError
	require.ErrorAs(t, err, &ce)
	require.Len(t, ce.Conflicts, 1, "one wait for all locks of an open transaction")
	require.True(t, ce.Conflicts[0].Open)
	w.locks.known = map[kv.TxnID]knownOutcome{x.ID: {kv.TxnUnknown, at(299)}}
	_, err = w.scanned(y, false)
	require.Error(t, err)
	w.locks.known[x.ID] = knownOutcome{kv.TxnUnknown, at(300)}
	got, err := w.scanned(y, false)
	require.NoError(t, err)
	require.Equal(t, "a=0", got)

	w.phys = 400
	w.over(x, func(s keys.Span) kv.Request { return &kv.ResolveSpan{Span: s, Commit: true, CommitTS: at(310)} })
	require.Zero(t, w.env.Stats.Locks)
	z := &kv.BatchRequest{Txn: &kv.TxnMeta{ID: kv.TxnID{'z'}, ReadTS: at(400)}}
	got, err = w.scanned(z, false)
	require.NoError(t, err)
	require.Equal(t, "a=1 b=6", got)

	// A late copy of what was taken back lands above the commit, so nobody takes it for committed.
	require.NoError(t, w.ahead(x, 3, 1, kv.Write{Key: name("c"), Value: []byte("3")}))
	l, err := w.lockOn("c")
	require.NoError(t, err)
	require.True(t, at(310).Less(l.TS), "laid at %s", l.TS)
	w.locks.known[x.ID] = knownOutcome{kv.TxnCommitted, at(310)}
	got, err = w.scanned(&kv.BatchRequest{Txn: &kv.TxnMeta{ID: kv.TxnID{'z'}, ReadTS: at(900)}}, false)
	require.NoError(t, err)
	require.Equal(t, "a=1 b=6", got)
	// Whoever meets it has it resolved: it goes, and leaves nothing, though the commit has written no version there.
	w.over(x, func(s keys.Span) kv.Request { return &kv.ResolveSpan{Span: s, Commit: true, CommitTS: at(310)} })
	require.Zero(t, w.env.Stats.Locks)
	got, err = w.scanned(&kv.BatchRequest{Txn: &kv.TxnMeta{ID: kv.TxnID{'z'}, ReadTS: at(900)}}, false)
	require.NoError(t, err)
	require.Equal(t, "a=1 b=6", got)
}

// TestReadThrough reads with the outcomes of the locks' transactions known, and again when the locks are resolved: the
// same must come out.
func TestReadThrough(t *testing.T) {
	shown := 0
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		w := newWorld(t)
		for range 8 {
			w.phys += 5
			_, _, err := w.do(&kv.BatchRequest{Requests: []kv.Request{&kv.Put{Key: name(string(rune('a' + r.IntN(12)))), Value: fmt.Append(nil, w.phys)}}})
			require.NoError(t, err)
		}
		w.phys = 200
		w.locks.known = map[kv.TxnID]knownOutcome{}
		var txns []*kv.TxnMeta
		for n := range 3 {
			x := &kv.TxnMeta{ID: kv.TxnID{byte('A' + n)}, Anchor: name("a"), ReadTS: at(200)}
			if n > 0 {
				w.opened(x)
			}
			var top hlc.Timestamp
			for range 1 + r.IntN(5) {
				write := kv.Write{Key: name(string(rune('a' + r.IntN(12)))), Value: fmt.Append(nil, "t", n)}
				if r.IntN(3) == 0 {
					write.Deleted, write.Value = true, nil
				}
				p := &kv.Prepare{StageTS: at(200 + int64(r.IntN(10))), Writes: []kv.Write{write}}
				if n > 0 {
					p.Seqs = []int32{int32(1 + r.IntN(3))}
				}
				resp, _, err := w.do(&kv.BatchRequest{Txn: x, Requests: []kv.Request{p}})
				var ce *ConflictError
				if errors.As(err, &ce) {
					continue // another one has the key
				}
				require.NoError(t, err)
				top = top.Forward(resp.Responses[0].(*kv.PrepareResponse).TS)
			}
			if n > 0 && r.IntN(3) == 0 {
				w.over(x, func(s keys.Span) kv.Request { return &kv.UndoSpan{Span: s, From: 2, To: 3} })
			}
			o := knownOutcome{kv.TxnAborted, hlc.Timestamp{}}
			if r.IntN(4) > 0 {
				o = knownOutcome{kv.TxnCommitted, top.Forward(at(200)).Next().Forward(at(200 + int64(r.IntN(30))))}
			}
			w.locks.known[x.ID] = o
			txns = append(txns, x)
		}
		w.phys = 300
		type answer struct {
			meta    kv.TxnMeta
			reverse bool
			rows    string
			err     kv.Code
		}
		ask := func(m kv.TxnMeta, reverse bool) answer {
			rows, err := w.scanned(&kv.BatchRequest{Txn: &m}, reverse)
			a := answer{m, reverse, rows, 0}
			if err != nil {
				require.True(t, kv.HasCode(err, kv.CodeUncertain), "%v", err)
				a.err = kv.CodeUncertain
			}
			return a
		}
		var before []answer
		for range 12 {
			ts := at(195 + int64(r.IntN(45)))
			m := kv.TxnMeta{ID: kv.TxnID{'r'}, ReadTS: ts, UncertaintyLimit: ts}
			if r.IntN(3) == 0 {
				m.UncertaintyLimit = at(ts.WallTime + int64(r.IntN(20)))
			}
			before = append(before, ask(m, r.IntN(2) == 0))
		}
		if w.env.Stats.Locks > 0 {
			shown++
		}
		for _, x := range txns {
			o := w.locks.known[x.ID]
			w.over(x, func(s keys.Span) kv.Request {
				return &kv.ResolveSpan{Span: s, Commit: o.status == kv.TxnCommitted, CommitTS: o.ts}
			})
		}
		require.Zero(t, w.env.Stats.Locks)
		for _, b := range before {
			require.Equal(t, ask(b.meta, b.reverse), b, "seed %d", seed)
		}
		w.close()
	}
	require.Greater(t, shown, 40)
}
