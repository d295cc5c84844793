package eval

import (
	"errors"
	"fmt"
	"slices"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// sieve is the program of a scan in random histories: it keeps some values, cannot read some, shows no more of them than their length, and wants so many rows.
type sieve struct {
	kind  int // 0 keeps all
	limit int // 0: all
	short bool
}

var errUnreadable = errors.New("value cannot be read")

func (s sieve) keeps(value []byte) (bool, error) {
	sum := 0
	for _, b := range value {
		sum += int(b)
	}
	switch {
	case s.kind == 3 && sum%7 == 2:
		return false, errUnreadable
	case s.kind == 0:
		return true, nil
	}
	return sum%4 < 2 == (s.kind == 1), nil
}

// show is what the program returns of a row.
func (s sieve) show(key string, value []byte) string {
	if s.short {
		return fmt.Sprintf("%s=(%d)", key, len(value))
	}
	return fmt.Sprintf("%s=%s", key, value)
}

func (s sieve) NewProcessor() kv.Processor            { return &sieved{sieve: s} }
func (s sieve) AppendWire(dst []byte) ([]byte, error) { return dst, nil }

type sieved struct {
	sieve
	keys, rows []string
	bytes      int64
}

func (s *sieved) Row(key, value []byte) (bool, error) {
	kept, err := s.keeps(value)
	if kept {
		k := unname(key)
		s.keys, s.rows, s.bytes = append(s.keys, k), append(s.rows, s.show(k, value)), s.bytes+int64(len(key)+len(value))
	}
	return kept, err
}
func (s *sieved) Done() bool                            { return s.limit > 0 && len(s.rows) >= s.limit }
func (s *sieved) Bytes() int64                          { return s.bytes }
func (s *sieved) Finish() (kv.Result, error)            { return s, nil }
func (s *sieved) Close()                                {}
func (s *sieved) AppendWire(dst []byte) ([]byte, error) { return dst, nil }

// shown is a row that a program is to keep.
type shown struct{ key, text string }

// sift is what a scan of spans with the program finds: the rows that it keeps, up to the first value that it cannot read, if unreadable.
func sift(rows func(span keys.Span) []row, spans []keys.Span, s sieve, reverse bool) (kept []shown, unreadable bool) {
	for _, span := range spans {
		all := rows(span)
		if reverse {
			slices.Reverse(all)
		}
		for _, r := range all {
			ok, err := s.keeps(r.value)
			if err != nil {
				return kept, true
			}
			if ok {
				kept = append(kept, shown{r.key, s.show(r.key, r.value)})
			}
		}
	}
	return kept, false
}

// scan asks for rows with a program, most often to lock them, as UPDATE, DELETE and SELECT FOR UPDATE do, and compares the answer with what there is at that time, whose prepared
// writes that have committed it knows. What it returns is to stay as it is.
func (h *history) scan(t *rapid.T, k *known) (lock kv.LockStrength, locked []keys.Key) {
	s := sieve{kind: rapid.IntRange(0, 3).Draw(t, "sieve"), limit: rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(t, "limit"), short: rapid.Bool().Draw(t, "short")}
	r := &kv.Scan{Spans: []keys.Span{h.genSpan.Draw(t, "span")}, Reverse: rapid.Bool().Draw(t, "reverse"), Pushdown: s}
	if rapid.IntRange(0, 3).Draw(t, "two spans") == 0 { // as look-ups by several keys have them
		r.Spans = []keys.Span{{Start: name("a")}, {Start: name("b"), End: name("d")}}
		if r.Reverse {
			slices.Reverse(r.Spans)
		}
	}
	r.Lock = rapid.SampledFrom([]kv.LockStrength{kv.LockNone, kv.LockKeyShare, kv.LockShare, kv.LockNoKeyUpdate, kv.LockUpdate, kv.LockUpdate}).Draw(t, "lock")
	req := &kv.BatchRequest{Txn: &k.meta, Requests: []kv.Request{r}}
	if r.Lock != kv.LockNone {
		req.Wait = rapid.SampledFrom([]kv.WaitPolicy{kv.WaitBlock, kv.WaitBlock, kv.WaitError, kv.WaitSkip}).Draw(t, "wait")
	}
	if rapid.IntRange(0, 3).Draw(t, "bounded") == 0 {
		req.MaxRows = 1
	}
	want, unreadable := sift(func(span keys.Span) []row { return h.truth(t, span, k.meta.ReadTS) }, r.Spans, s, r.Reverse)
	resp, err := h.ask(req)
	if err != nil {
		h.refused(t, req, want, unreadable, err)
		return lock, nil
	}
	sr := resp.Responses[0].(*kv.ScanResponse)
	got := sr.Result.(*sieved)
	skips := req.Wait == kv.WaitSkip
	if skips {
		want = slices.DeleteFunc(want, func(x shown) bool {
			return !slices.Contains(got.keys, x.key) && h.takenByOther(k.meta.ID, x.key, r.Lock)
		})
	}
	full := s.limit > 0 && len(got.rows) == s.limit
	switch {
	case full:
		require.GreaterOrEqual(t, len(want), s.limit, "%v", got.rows)
		want = want[:s.limit]
	case len(sr.Resume) > 0: // the rest is in the rest
		require.NotZero(t, req.MaxRows)
		require.NotEmpty(t, got.rows)
		rest, bad := sift(func(span keys.Span) []row { return h.truth(t, span, k.meta.ReadTS) }, sr.Resume, s, r.Reverse)
		if unreadable = unreadable && !bad; !skips {
			require.GreaterOrEqual(t, len(want), len(rest))
			want = want[:len(want)-len(rest)]
		} else {
			want = want[:min(len(want), len(got.rows))]
		}
	}
	require.Equal(t, texts(want), got.rows, "%s of %s at %s, wait %d, resume %v", lockName(r.Lock), r.Spans, k.meta.ReadTS, req.Wait, sr.Resume)
	require.False(t, unreadable && !full, "a value that cannot be read was passed over")
	if r.Lock == kv.LockNone {
		require.Empty(t, sr.Locked)
	} else {
		var ks []string
		for _, key := range sr.Locked {
			ks = append(ks, unname(key))
			require.True(t, slices.ContainsFunc(h.w.locks.held[string(key)], func(l heldLock) bool { return l.txn.ID == k.meta.ID && l.s == r.Lock }))
			require.Empty(t, h.truthAfter(t, key, k.meta.ReadTS), "what was locked has changed since")
		}
		require.Equal(t, got.keys, ks, "what it shows is what it has locked")
	}
	// Whatever happens from here on, these rows are the first that the program keeps there; with SKIP LOCKED they are among them.
	spans, ts, seen := r.Spans, k.meta.ReadTS, got.keys
	h.reads = append(h.reads, answered{txn: k.meta.ID, what: fmt.Sprintf("%s with %+v", spans, s), ts: ts, rows: fmt.Sprint(got.rows), look: func(t require.TestingT) string {
		now, _ := sift(func(span keys.Span) []row {
			rows := h.truth(t, span, ts)
			if skips { // what was prepared then and passed over may have become a value that cannot be read
				rows = slices.DeleteFunc(rows, func(x row) bool { return !slices.Contains(seen, x.key) })
			}
			return rows
		}, spans, s, r.Reverse)
		if full || len(sr.Resume) > 0 {
			now = now[:min(len(now), len(seen))]
		}
		return fmt.Sprint(texts(now))
	}})
	return r.Lock, sr.Locked
}

func texts(rows []shown) (out []string) {
	for _, r := range rows {
		out = append(out, r.text)
	}
	return out
}

func lockName(s kv.LockStrength) string {
	return [...]string{"scan", "scan for key share", "scan for share", "scan for no key update", "scan for update"}[s]
}

// ask sends a scan, and asks after the holders of prepared locks as package concurrency does for requests that do not wait.
func (h *history) ask(req *kv.BatchRequest) (*kv.BatchResponse, error) {
	defer func() { h.w.env.Undecided = nil }()
	for {
		resp, _, err := h.w.do(req)
		var ce *ConflictError
		if req.Wait == kv.WaitBlock || !errors.As(err, &ce) || !ce.Conflicts[0].Replicated || ce.Conflicts[0].Want == kv.LockNone {
			return resp, err
		}
		asked := h.w.env.Undecided
		h.w.env.Undecided = map[kv.TxnID]struct{}{}
		for id := range asked {
			h.w.env.Undecided[id] = struct{}{}
		}
		for _, c := range ce.Conflicts {
			if k := h.txns[c.Holder.ID]; !k.committed() {
				h.w.env.Undecided[c.Holder.ID] = struct{}{}
			}
		}
		if len(h.w.env.Undecided) == len(asked) {
			return nil, err // it waits for what has committed
		}
	}
}

// refused looks whether a scan had a reason to fail, or to wait.
func (h *history) refused(t *rapid.T, req *kv.BatchRequest, want []shown, unreadable bool, err error) {
	r := req.Requests[0].(*kv.Scan)
	id, ts := req.Txn.ID, req.Txn.ReadTS
	in := func(key keys.Key) bool {
		return slices.ContainsFunc(r.Spans, func(s keys.Span) bool { return s.Contains(key) })
	}
	var ce *ConflictError
	switch {
	case errors.As(err, &ce):
		for _, c := range ce.Conflicts {
			require.True(t, in(c.Key))
			if !c.Replicated {
				require.True(t, slices.ContainsFunc(want, func(x shown) bool { return x.key == unname(c.Key) }), "it waits for the lock of a row that it does not want: %s", unname(c.Key))
				require.True(t, h.takenByOther(id, unname(c.Key), r.Lock))
				require.NotEqual(t, kv.WaitSkip, req.Wait)
				continue
			}
			l, err := h.w.lockOn(unname(c.Key))
			require.NoError(t, err)
			require.Equal(t, c.Holder.ID, l.Txn.ID)
		}
	case kv.HasCode(err, kv.CodeReadBelowGC):
		require.True(t, ts.Less(h.w.env.GCThreshold))
	case kv.HasCode(err, kv.CodePushdown):
		require.True(t, unreadable, "a value that is not there cannot be read: %s of %s at %s", lockName(r.Lock), r.Spans, ts)
	case kv.HasCode(err, kv.CodeWriteTooOld):
		require.NotEqual(t, kv.LockNone, r.Lock)
		key := kv.AsError(err).Key
		require.True(t, slices.ContainsFunc(want, func(x shown) bool { return x.key == unname(key) }))
		require.NotEmpty(t, h.truthAfter(t, key, ts))
	case kv.HasCode(err, kv.CodeLockNotAvailable):
		require.Equal(t, kv.WaitError, req.Wait)
		key := kv.AsError(err).Key
		require.True(t, in(key))
		require.True(t, h.takenByOther(id, unname(key), r.Lock))
	default:
		require.NoError(t, err)
	}
}

// takenByOther reports whether another transaction has a lock that is in the way: in memory, or prepared and not committed.
func (h *history) takenByOther(id kv.TxnID, key string, s kv.LockStrength) bool {
	for _, l := range h.w.locks.held[string(name(key))] {
		if l.txn.ID != id && l.s.Conflicts(s) {
			return true
		}
	}
	l, err := h.w.lockOn(key)
	require.NoError(h.w.t, err)
	return l != nil && l.Txn.ID != id && !h.txns[l.Txn.ID].committed()
}

// free reports whether a write need not wait for locks in memory of others, as package concurrency would make it.
func (h *history) free(id kv.TxnID, writes ...kv.Write) bool {
	for _, wr := range writes {
		s := kv.LockNoKeyUpdate
		if wr.Deleted {
			s = kv.LockUpdate
		}
		for _, l := range h.w.locks.held[string(wr.Key)] {
			if l.txn.ID != id && l.s.Conflicts(s) {
				return false
			}
		}
	}
	return true
}

// truthAfter says what has become of a key after ts.
func (h *history) truthAfter(t require.TestingT, key keys.Key, ts hlc.Timestamp) string {
	now, then := h.newest(t, key), fmt.Sprint(h.truth(t, keys.Span{Start: key}, ts))
	if ts.Less(now) {
		return fmt.Sprintf("%s until %s", then, now)
	}
	return ""
}
