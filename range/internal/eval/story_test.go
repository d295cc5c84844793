package eval

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// TestStories runs testdata/stories. See the README there for the language.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		if strings.HasSuffix(path, "README") {
			return
		}
		w := newWorld(t)
		defer w.close()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			w.t = t
			return w.command(t, d)
		})
	})
}

func stamp(t require.TestingT, s string) hlc.Timestamp {
	wall, logical, _ := strings.Cut(s, ".")
	var ts hlc.Timestamp
	var err error
	ts.WallTime, err = strconv.ParseInt(wall, 10, 64)
	require.NoError(t, err)
	if logical != "" {
		l, err := strconv.ParseUint(logical, 10, 32)
		require.NoError(t, err)
		ts.Logical = uint32(l)
	}
	return ts
}

func show(ts hlc.Timestamp) string {
	if ts.Logical == 0 {
		return strconv.FormatInt(ts.WallTime, 10)
	}
	return fmt.Sprintf("%d.%d", ts.WallTime, ts.Logical)
}

func txnNamed(s string) *kv.TxnMeta { return &kv.TxnMeta{ID: kv.TxnID{s[0]}} }

func txnName(id kv.TxnID) string { return string(id[:1]) }

func (w *world) command(t *testing.T, d *datadriven.TestData) string {
	arg := func(key string) string {
		for _, a := range d.CmdArgs {
			if a.Key == key {
				if len(a.Vals) == 0 {
					return "yes"
				}
				return a.Vals[0]
			}
		}
		return ""
	}
	at := func(key string) hlc.Timestamp {
		if s := arg(key); s != "" {
			return stamp(t, s)
		}
		return hlc.Timestamp{}
	}
	switch d.Cmd {
	case "env":
		if arg("clock") != "" {
			w.phys = stamp(t, arg("clock")).WallTime
		}
		if arg("leader-since") != "" {
			w.env.LeaderSince = at("leader-since")
		}
		if arg("closed") != "" {
			w.env.ClosedTS = at("closed")
		}
		if n := arg("committed"); n != "" {
			w.locks.known = map[kv.TxnID]knownOutcome{txnNamed(n).ID: {kv.TxnCommitted, at("at")}}
		}
		return "ok\n"
	case "state":
		return w.state()
	case "batch", "latches":
		req := &kv.BatchRequest{RangeID: 7, Timestamp: at("ts"), CanMoveReadTS: arg("move") != ""}
		if n := arg("txn"); n != "" {
			req.Txn = txnNamed(n)
			req.Txn.ReadTS, req.Txn.UncertaintyLimit, req.Txn.Observed = at("read"), at("limit"), at("observed")
			if a := arg("anchor"); a != "" {
				req.Txn.Anchor = name(a)
			}
		}
		switch arg("wait") {
		case "skip":
			req.Wait = kv.WaitSkip
		case "error":
			req.Wait = kv.WaitError
		}
		w.env.Undecided = nil
		if n := arg("undecided"); n != "" {
			w.env.Undecided = map[kv.TxnID]struct{}{txnNamed(n).ID: {}}
		}
		if s := arg("rows"); s != "" {
			req.MaxRows, _ = strconv.ParseInt(s, 10, 64)
		}
		if s := arg("bytes"); s != "" {
			req.TargetBytes, _ = strconv.ParseInt(s, 10, 64)
		}
		for _, line := range strings.Split(strings.TrimSpace(d.Input), "\n") {
			req.Requests = append(req.Requests, parseRequest(t, line))
		}
		if d.Cmd == "latches" {
			return showLatches(Latches(nil, req))
		}
		env := *w.env
		if arg("follower") != "" {
			w.env.Follower, w.env.Locks, w.env.TSCache = true, nil, nil
			defer func() { w.env.Follower, w.env.Locks, w.env.TSCache = false, env.Locks, env.TSCache }()
		}
		resp, eff, err := w.do(req)
		return showOutcome(req, resp, eff, err)
	}
	t.Fatalf("unknown command %s", d.Cmd)
	return ""
}

// parseRequest reads one line: a verb and its arguments.
func parseRequest(t *testing.T, line string) kv.Request {
	f := strings.Fields(line)
	var plain []string
	opt := map[string][]string{}
	for _, a := range f[1:] {
		if k, v, ok := strings.Cut(a, ":"); ok {
			opt[k] = append(opt[k], v)
		} else {
			plain = append(plain, a)
		}
	}
	one := func(k string) string {
		if len(opt[k]) > 0 {
			return opt[k][0]
		}
		return ""
	}
	ts := func(k string) hlc.Timestamp {
		if one(k) == "" {
			return hlc.Timestamp{}
		}
		return stamp(t, one(k))
	}
	list := func(k string) (ks []keys.Key) {
		for _, s := range strings.FieldsFunc(one(k), func(r rune) bool { return r == ',' }) {
			ks = append(ks, name(s))
		}
		return ks
	}
	span := func(s string) keys.Span {
		a, b, interval := strings.Cut(s, ",")
		if !interval {
			return keys.Span{Start: name(a)}
		}
		return keys.Span{Start: name(a), End: name(b)}
	}
	lock := map[string]kv.LockStrength{"": kv.LockNone, "key-share": kv.LockKeyShare, "share": kv.LockShare, "no-key-update": kv.LockNoKeyUpdate, "update": kv.LockUpdate}[one("lock")]
	var writes []kv.Write
	for _, p := range plain {
		if k, v, ok := strings.Cut(p, "="); ok {
			wr := kv.Write{Key: name(k), Value: []byte(v)}
			if strings.HasSuffix(k, "!") {
				wr.Key, wr.MustNotExist = name(strings.TrimSuffix(k, "!")), true
			}
			if v == "" {
				wr.Deleted, wr.Value = true, nil
			}
			writes = append(writes, wr)
		}
	}
	var refreshes []kv.ReadSpan
	for _, s := range opt["refresh"] {
		sp, at, _ := strings.Cut(s, "@")
		refreshes = append(refreshes, kv.ReadSpan{Span: span(sp), At: stamp(t, at)})
	}
	for _, s := range opt["there"] {
		k, at, _ := strings.Cut(s, "@")
		refreshes = append(refreshes, kv.ReadSpan{Span: span(k), At: stamp(t, at), Existence: true})
	}
	switch f[0] {
	case "get":
		return &kv.Get{Key: name(plain[0]), Lock: lock, IfAbsent: slices.Contains(plain, "absent")}
	case "scan":
		r := &kv.Scan{Lock: lock}
		for _, p := range plain {
			switch {
			case p == "reverse":
				r.Reverse = true
			case strings.HasPrefix(p, "count"):
				n, _ := strconv.Atoi(strings.TrimPrefix(p, "count"))
				r.Pushdown = countRows{limit: n}
			default:
				r.Spans = append(r.Spans, span(p))
			}
		}
		return r
	case "refresh":
		return &kv.Refresh{Spans: []keys.Span{span(plain[0])}, From: ts("from"), To: ts("to"), Existence: slices.Contains(plain, "there")}
	case "put":
		return &kv.Put{Key: writes[0].Key, Value: writes[0].Value}
	case "delete":
		return &kv.Delete{Key: name(plain[0])}
	case "increment":
		by, err := strconv.ParseInt(one("by"), 10, 64)
		require.NoError(t, err)
		return &kv.Increment{Key: name(plain[0]), By: by}
	case "bulk":
		r := &kv.BulkWrite{TS: ts("at"), Span: span(one("span"))}
		for _, w := range writes {
			r.Rows.Append(w.Key, w.Value)
		}
		return r
	case "commit":
		return &kv.CommitSingleRange{Writes: writes, Refreshes: refreshes, Sent: ts("sent")}
	case "prepare":
		r := &kv.Prepare{Writes: writes, StageTS: ts("stage"), Refreshes: refreshes}
		if n := one("number"); n != "" {
			seq, err := strconv.ParseInt(n, 10, 32)
			require.NoError(t, err)
			for range writes {
				r.Seqs = append(r.Seqs, int32(seq))
			}
		}
		return r
	case "stage":
		return &kv.StageTxn{CommitTS: ts("at"), Prepared: list("keys")}
	case "open":
		return &kv.StageTxn{CommitTS: ts("at"), Open: true}
	case "end":
		return &kv.EndTxn{Commit: plain[0] == "commit", CommitTS: ts("at"), Local: list("local"), Prepared: list("keys"), Remove: slices.Contains(plain, "remove"), Hold: plain[0] == "hold", Open: slices.Contains(plain, "open"), Staged: ts("staged")}
	case "forget":
		return &kv.ForgetTxns{Records: []kv.RecordRef{{Anchor: name(one("anchor")), ID: txnNamed(plain[0]).ID}}}
	case "resolve":
		return &kv.ResolveLocks{Commit: plain[0] == "commit", CommitTS: ts("at"), Keys: list("keys")}
	case "release":
		return &kv.ReleaseLocks{Keys: list("keys")}
	case "query-prepared":
		return &kv.QueryPrepared{Keys: list("keys"), TS: ts("at")}
	case "recover":
		return &kv.RecoverTxn{Decide: map[string]kv.TxnStatus{"": 0, "committed": kv.TxnCommitted, "aborted": kv.TxnAborted}[one("decide")], StagedTS: ts("staged")}
	case "query-commit":
		key := name("a")
		if k := one("key"); k != "" {
			key = name(k)
		}
		return &kv.QueryCommit{Key: key, ID: txnNamed(plain[0]).ID, Sent: ts("sent")}
	case "gc":
		return &kv.GC{Threshold: ts("threshold"), Collect: slices.Contains(plain, "collect"), Outcomes: slices.Contains(plain, "outcomes")}
	case "checksum":
		return &kv.Checksum{}
	}
	t.Fatalf("unknown request %q", line)
	return nil
}

var statusNames = []string{"UNKNOWN", "STAGING", "COMMITTED", "ABORTED", "PREPARED", "OPEN"}

func names(ks []keys.Key) string {
	var out []string
	for _, k := range ks {
		out = append(out, unname(k))
	}
	return strings.Join(out, ",")
}

func showSpan(s keys.Span) string {
	if s.IsPoint() {
		return unname(s.Start)
	}
	return "[" + unname(s.Start) + "," + unname(s.End) + ")"
}

func showOutcome(req *kv.BatchRequest, resp *kv.BatchResponse, eff *Effects, err error) string {
	var b strings.Builder
	var ce *ConflictError
	var ke *kv.Error
	switch {
	case errors.As(err, &ce):
		for _, c := range ce.Conflicts {
			kind := "locked"
			if c.Replicated {
				kind = "prepared at " + show(c.TS)
			}
			want := [...]string{"read", "locked key share", "locked share", "locked no key update", "locked update"}[c.Want]
			fmt.Fprintf(&b, "conflict: %s %s by %s, to be %s\n", unname(c.Key), kind, txnName(c.Holder.ID), want)
		}
		return b.String()
	case errors.As(err, &ke):
		fmt.Fprintf(&b, "error: %s", ke.Code)
		if len(ke.Key) > 0 {
			fmt.Fprintf(&b, " key=%s", unname(ke.Key))
		}
		if ke.Value != nil {
			fmt.Fprintf(&b, " value=%s", ke.Value)
		}
		if !ke.TS.IsEmpty() {
			fmt.Fprintf(&b, " at=%s", show(ke.TS))
		}
		if ke.Code == kv.CodeBadRequest || ke.Code == kv.CodeInternal || ke.Code == kv.CodePushdown {
			fmt.Fprintf(&b, " (%s)", ke.Message)
		}
		return b.String() + "\n"
	}
	if req.Txn != nil && resp.ReadTS != req.Txn.ReadTS {
		fmt.Fprintf(&b, "read moved to %s\n", show(resp.ReadTS))
	}
	for _, r := range resp.Responses {
		showResponse(&b, r)
	}
	if eff != nil {
		if eff.Stats != (kv.Stats{}) {
			s := eff.Stats
			fmt.Fprintf(&b, "  stats: rows %+d (%+d bytes), versions %+d (%+d bytes), locks %+d\n", s.LiveRows, s.LiveBytes, s.Versions, s.Bytes, s.Locks)
		}
		for _, p := range eff.Prepared {
			fmt.Fprintf(&b, "  prepared: %s at %s by %s\n", unname(p.Key), show(p.TS), txnName(p.Txn.ID))
		}
		for _, r := range eff.Resolved {
			what := "dropped"
			if r.Commit {
				what = "committed at " + show(r.CommitTS)
			} else if r.Unreplicated {
				what = "released"
			}
			ks := names(r.Keys)
			if ks == "" {
				ks = "all"
			}
			fmt.Fprintf(&b, "  locks of %s on %s: %s\n", txnName(r.Txn), ks, what)
		}
		if !eff.GCThreshold.IsEmpty() {
			fmt.Fprintf(&b, "  gc threshold: %s\n", show(eff.GCThreshold))
		}
		if !eff.TurnOutcomes.IsEmpty() {
			b.WriteString("  the outcomes of commits are turned over\n")
		}
	}
	return b.String()
}

func showResponse(b *strings.Builder, r kv.Response) {
	switch r := r.(type) {
	case *kv.GetResponse:
		if r.Exists {
			fmt.Fprintf(b, "%s @%s\n", r.Value, show(r.TS))
		} else {
			b.WriteString("nothing\n")
		}
	case *kv.ScanResponse:
		rows := r.Rows
		for {
			k, v, ok, err := rows.Next()
			if err != nil || !ok {
				break
			}
			fmt.Fprintf(b, "%s=%s ", unname(k), v)
		}
		if c, ok := r.Result.(*counter); ok {
			fmt.Fprintf(b, "count %d: %s ", c.n, strings.Join(c.seen, ","))
		} else {
			fmt.Fprintf(b, "(%d rows) ", r.Rows.Count)
		}
		if len(r.Locked) > 0 {
			fmt.Fprintf(b, "locked %s ", names(r.Locked))
		}
		for _, s := range r.Resume {
			fmt.Fprintf(b, "resume %s ", showSpan(s))
		}
		s := strings.TrimSuffix(b.String(), " ")
		b.Reset()
		b.WriteString(s + "\n")
	case *kv.PutResponse:
		fmt.Fprintf(b, "put at %s\n", show(r.TS))
	case *kv.DeleteResponse:
		fmt.Fprintf(b, "deleted, existed %v\n", r.Existed)
	case *kv.IncrementResponse:
		fmt.Fprintf(b, "counter %d\n", r.Value)
	case *kv.CommitSingleRangeResponse:
		fmt.Fprintf(b, "committed at %s\n", show(r.CommitTS))
	case *kv.PrepareResponse:
		fmt.Fprintf(b, "prepared at %s\n", show(r.TS))
	case *kv.EndTxnResponse:
		fmt.Fprintf(b, "%s", statusNames[r.Status])
		if !r.CommitTS.IsEmpty() {
			fmt.Fprintf(b, " at %s", show(r.CommitTS))
		}
		b.WriteString("\n")
	case *kv.QueryPreparedResponse:
		fmt.Fprintf(b, "missing: %s\n", names(r.Missing))
	case *kv.RecoverTxnResponse:
		fmt.Fprintf(b, "record: %s at %s, keys %s\n", statusNames[r.Record.Status], show(r.Record.CommitTS), names(r.Record.Prepared))
	case *kv.QueryCommitResponse:
		fmt.Fprintf(b, "committed %v at %s\n", r.Committed, show(r.CommitTS))
	case *kv.GCResponse:
		fmt.Fprintf(b, "removed %d\n", r.Removed)
	default:
		fmt.Fprintf(b, "ok\n")
	}
}

func showLatches(ls []Latch) string {
	var b strings.Builder
	for _, l := range ls {
		kind := "read "
		if l.Access == Write {
			kind = "write"
		}
		at := "at every timestamp"
		if !l.TS.IsEmpty() {
			at = "at " + show(l.TS)
		}
		fmt.Fprintf(&b, "%s %s %s\n", kind, showSpan(l.Span), at)
	}
	return b.String()
}

// state lists what is on disk.
func (w *world) state() string {
	var b strings.Builder
	it, err := w.e.DB().NewIter(nil)
	require.NoError(w.t, err)
	defer func() { require.NoError(w.t, it.Close()) }()
	for it.First(); it.Valid(); it.Next() {
		k, suffix, ok := engine.SplitKey(it.Key())
		require.True(w.t, ok)
		switch {
		case !k.IsLocal():
			ts, _ := engine.DecodeVersionSuffix(suffix)
			r := mvcc.NewReader(w.e.DB())
			v, live, err := r.Get(k, ts, mvcc.Window{})
			require.NoError(w.t, err)
			val := "deleted"
			if live {
				val = string(v.Value)
			}
			fmt.Fprintf(&b, "%s@%s = %s\n", unname(k), show(ts), val)
			require.NoError(w.t, r.Close())
		case len(suffix) > 0:
			lk, _, id, ok := engine.DecodeLock(it.Key())
			require.True(w.t, ok)
			l, err := kv.DecodeLockRecord(it.Value())
			require.NoError(w.t, err)
			val := string(l.Value)
			if l.Deleted {
				val = "deleted"
			}
			fmt.Fprintf(&b, "lock %s by %s at %s = %s\n", unname(lk), txnName(id), show(l.TS), val)
		default:
			if anchor, id, err := keys.DecodeTxnRecord(k); err == nil {
				rec, err := kv.DecodeTxnRecord(it.Value())
				require.NoError(w.t, err)
				held := ""
				if rec.Held {
					held = ", held"
				}
				fmt.Fprintf(&b, "record of %s at %s: %s at %s%s, keys %s\n", txnName(id), unname(anchor), statusNames[rec.Status], show(rec.CommitTS), held, names(rec.Prepared))
				continue
			}
			shelf, anchor, id, err := keys.DecodeOutcome(k)
			require.NoError(w.t, err)
			o, err := mvcc.DecodeCommitOutcome(it.Value())
			require.NoError(w.t, err)
			fmt.Fprintf(&b, "outcome of %s at %s, shelf %d: committed %v at %s\n", txnName(id), unname(anchor), shelf, o.Committed, show(o.CommitTS))
		}
	}
	return b.String()
}
