package eval

import (
	"slices"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Latches appends the latches that the batch must hold while it is evaluated and applied: everything that
// Evaluate reads or writes. The spans alias the request.
//
// Timestamps let readers and writers pass each other: a write lands at its latch's timestamp or
// later, and a read looks at nothing after its own.
func Latches(dst []Latch, req *kv.BatchRequest) []Latch {
	readTS := readLatchTS(req)
	var txnTS hlc.Timestamp // where the transaction's writes land at the earliest
	if req.Txn != nil {
		txnTS = req.Txn.ReadTS
	}
	for _, r := range req.Requests {
		switch r := r.(type) {
		case *kv.Get:
			ts := readTS
			if r.Lock != kv.LockNone {
				ts = hlc.Timestamp{} // it looks at the newest version
			}
			dst = append(dst, Latch{Span: keys.Span{Start: r.Key}, TS: ts})
		case *kv.Scan:
			ts := readTS
			if r.Lock != kv.LockNone || r.Loose {
				ts = hlc.Timestamp{}
			}
			for _, s := range r.Spans {
				dst = append(dst, Latch{Span: s, TS: ts})
			}
		case *kv.Refresh:
			if r.To.LessEq(r.From) {
				continue // it only brings a clock, and looks at nothing
			}
			for _, s := range r.Spans {
				dst = append(dst, Latch{Span: s, TS: r.To})
			}
		case *kv.Put:
			dst = append(dst, Latch{Span: keys.Span{Start: r.Key}, Access: Write})
		case *kv.Delete:
			dst = append(dst, Latch{Span: keys.Span{Start: r.Key}, Access: Write})
		case *kv.Increment:
			dst = append(dst, Latch{Span: keys.Span{Start: r.Key}, Access: Write})
		case *kv.BulkWrite:
			dst = append(dst, Latch{Span: r.Span, Access: Write})
		case *kv.CommitSingleRange:
			if req.Txn != nil && len(r.Writes) > 0 {
				dst = append(dst, outcomeLatch(r.Writes[0].Key, req.Txn.ID))
			}
			dst = writeLatches(dst, r.Writes, r.Refreshes, txnTS)
		case *kv.Prepare:
			dst = writeLatches(dst, r.Writes, r.Refreshes, r.StageTS)
			dst = recordLatch(dst, req.Txn, Read)
		case *kv.StageTxn:
			dst = recordLatch(dst, req.Txn, Write)
		case *kv.EndTxn:
			dst = recordLatch(dst, req.Txn, Write)
			dst = keyLatches(dst, r.Local, Write)
		case *kv.RecoverTxn:
			dst = recordLatch(dst, req.Txn, Write)
		case *kv.ForgetTxns:
			for i := range r.Records {
				dst = append(dst, Latch{Span: keys.Span{Start: keys.TxnRecord(r.Records[i].Anchor, r.Records[i].ID)}, Access: Write})
			}
		case *kv.ResolveLocks:
			dst = resolveLatches(dst, r.Keys, r.Commit, r.CommitTS)
		case *kv.ResolveSpan:
			dst = resolveLatches(dst, r.Keys(), r.Commit, r.CommitTS)
		case *kv.UndoSpan:
			dst = keyLatches(dst, r.Keys(), Write)
		case *kv.QueryPrepared:
			dst = keyLatches(dst, r.Keys, Read)
		case *kv.QueryCommit:
			dst = append(dst, outcomeLatch(r.Key, r.ID))
		case *kv.GC:
			if r.Outcomes {
				// Whatever commits is over, and has left its outcome, before the shelves change.
				dst = append(dst, Latch{Span: keys.AllOutcomes(), Access: Write})
				continue
			}
			if r.Collect {
				// What is removed is below the threshold, which nobody reads or writes any more: one collection at a time is enough.
				dst = append(dst, Latch{Span: keys.Span{Start: keys.RangeReplicated(int64(req.RangeID), "g")}, Access: Write})
				if len(r.Dropped.Start) > 0 {
					// Nobody should be there. Whoever writes there late must count what he writes on top of as it is then.
					dst = append(dst, Latch{Span: r.Dropped, Access: Write})
				}
				continue
			}
			// Everything, local keys too: a read that passed the check of the threshold must be over
			// before anything below the new one goes.
			dst = append(dst, Latch{Span: keys.Span{Start: keys.Key{0x01}, End: keys.Max}, Access: Write})
		}
	}
	return dst
}

// outcomeLatch is that of a commit's outcome, on whichever shelf it is.
func outcomeLatch(anchor keys.Key, id kv.TxnID) Latch {
	return Latch{Span: keys.Span{Start: keys.Outcome(0, anchor, id)}, Access: Write}
}

// readLatchTS is the highest timestamp that the batch's reads without locks look at; empty if that is not known.
func readLatchTS(req *kv.BatchRequest) hlc.Timestamp {
	if req.Txn == nil {
		return req.Timestamp
	}
	ts := req.Txn.ReadTS.Forward(req.Txn.UncertaintyLimit)
	if req.CanMoveReadTS {
		// A locking read may move the whole batch to any newer version's timestamp.
		for _, r := range req.Requests {
			switch r := r.(type) {
			case *kv.Get:
				if r.Lock != kv.LockNone {
					return hlc.Timestamp{}
				}
			case *kv.Scan:
				if r.Lock != kv.LockNone {
					return hlc.Timestamp{}
				}
			}
		}
	}
	return ts
}

// wholeSpan is from how many keys on a request latches all from the first to the last. Others wait then for a request
// that does not concern them, for the time of one round; a latch for each key costs more than writing it.
const wholeSpan = 4096

// writeLatches: writes at ts or later, and what must not have changed until then.
func writeLatches(dst []Latch, writes []kv.Write, refreshes []kv.ReadSpan, ts hlc.Timestamp) []Latch {
	var whole keys.Span
	if n := len(writes); n >= wholeSpan && inOrder(writes) {
		whole = keys.Span{Start: writes[0].Key, End: writes[n-1].Key.Next()}
		dst = append(dst, Latch{Span: whole, Access: Write, TS: ts})
	} else {
		for i := range writes {
			dst = append(dst, Latch{Span: keys.Span{Start: writes[i].Key}, Access: Write, TS: ts})
		}
	}
	for i := range refreshes {
		s := refreshes[i].Span
		if len(whole.Start) > 0 && s.IsPoint() && whole.Contains(s.Start) {
			continue // a write's latch keeps out all that a read's does
		}
		if !s.IsPoint() || !writesKey(writes, s.Start) {
			dst = append(dst, Latch{Span: s}) // up to the commit timestamp, which is not known yet
		}
	}
	return dst
}

// writesKey reports whether k is among the first few writes, whose latch then covers it. To miss some is no
// harm: a latch more.
func writesKey(writes []kv.Write, k keys.Key) bool {
	for i := range min(len(writes), 8) {
		if writes[i].Key.Equal(k) {
			return true
		}
	}
	return false
}

func keyLatches(dst []Latch, ks []keys.Key, a Access) []Latch {
	if n := len(ks); n >= wholeSpan && slices.IsSortedFunc(ks, keys.Key.Compare) {
		return append(dst, Latch{Span: keys.Span{Start: ks[0], End: ks[n-1].Next()}, Access: a})
	}
	for _, k := range ks {
		dst = append(dst, Latch{Span: keys.Span{Start: k}, Access: a})
	}
	return dst
}

func recordLatch(dst []Latch, t *kv.TxnMeta, a Access) []Latch {
	if t == nil || len(t.Anchor) == 0 {
		return dst
	}
	return append(dst, Latch{Span: keys.Span{Start: keys.TxnRecord(t.Anchor, t.ID)}, Access: a})
}
