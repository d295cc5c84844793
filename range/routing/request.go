package routing

import (
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// repeat says what may be done with a batch whose outcome is not known.
type repeat uint8

const (
	repeatRead   repeat = iota // it reads: send it again
	repeatCommit               // it writes, and the range recognises it by its transaction: send it again
	repeatNever                // it writes, and would write twice
)

// walk calls f with every span that the batch touches until f returns false.
// It returns false if f did, and whether there was any span.
func walk(b *kv.BatchRequest, f func(keys.Span) bool) (ok, any bool) {
	point := func(k keys.Key) bool {
		any = true
		return f(keys.Span{Start: k})
	}
	points := func(ks []keys.Key) bool {
		for _, k := range ks {
			if !point(k) {
				return false
			}
		}
		return true
	}
	writes := func(ws []kv.Write) bool {
		for i := range ws {
			if !point(ws[i].Key) {
				return false
			}
		}
		return true
	}
	spans := func(ss []keys.Span) bool {
		for _, s := range ss {
			any = true
			if !f(s) {
				return false
			}
		}
		return true
	}
	reads := func(rs []kv.ReadSpan) bool {
		for _, r := range rs {
			any = true
			if !f(r.Span) {
				return false
			}
		}
		return true
	}
	anchor := func() bool { return b.Txn == nil || len(b.Txn.Anchor) == 0 || point(b.Txn.Anchor) }
	for _, q := range b.Requests {
		ok := true
		switch q := q.(type) {
		case *kv.Get:
			ok = point(q.Key)
		case *kv.Scan:
			ok = spans(q.Spans)
		case *kv.Refresh:
			ok = spans(q.Spans)
		case *kv.Put:
			ok = point(q.Key)
		case *kv.Delete:
			ok = point(q.Key)
		case *kv.Increment:
			ok = point(q.Key)
		case *kv.BulkWrite:
			ok = spans([]keys.Span{q.Span})
		case *kv.CommitSingleRange:
			ok = writes(q.Writes) && reads(q.Refreshes)
		case *kv.Prepare:
			ok = writes(q.Writes) && reads(q.Refreshes)
		case *kv.StageTxn:
			ok = anchor()
		case *kv.EndTxn:
			ok = anchor() && points(q.Local)
		case *kv.ResolveLocks:
			ok = points(q.Keys)
		case *kv.ResolveSpan:
			any = true
			ok = f(q.Span)
		case *kv.UndoSpan:
			any = true
			ok = f(q.Span)
		case *kv.ReleaseLocks:
			ok = points(q.Keys)
		case *kv.QueryPrepared:
			ok = points(q.Keys)
		case *kv.RecoverTxn:
			ok = anchor()
		case *kv.QueryCommit:
			ok = point(q.Key)
		case *kv.AdminSplit:
			ok = point(q.Key)
		case *kv.AdminMerge:
			ok = point(q.Key)
		case *kv.AdminEndMerge:
			ok = point(q.Key)
		}
		if !ok {
			return false, any
		}
	}
	return true, any
}

// firstKey returns where the batch is to be sent; nil if only its RangeID says so.
func firstKey(b *kv.BatchRequest) keys.Key {
	// The common cases, without a closure.
	if len(b.Requests) > 0 {
		switch q := b.Requests[0].(type) {
		case *kv.Get:
			return q.Key
		case *kv.Scan:
			if len(q.Spans) > 0 {
				return q.Spans[0].Start
			}
		case *kv.CommitSingleRange:
			if len(q.Writes) > 0 {
				return q.Writes[0].Key
			}
		}
	}
	var first keys.Key
	walk(b, func(s keys.Span) bool {
		first = s.Start
		return false
	})
	return first
}

// inside reports whether everything the batch touches lies in the range.
func inside(b *kv.BatchRequest, d *kv.RangeDescriptor) bool {
	if len(b.Requests) == 1 {
		switch q := b.Requests[0].(type) {
		case *kv.Get:
			return d.Contains(q.Key)
		case *kv.CommitSingleRange:
			for i := range q.Writes {
				if !d.Contains(q.Writes[i].Key) {
					return false
				}
			}
			for i := range q.Refreshes {
				if !d.ContainsSpan(q.Refreshes[i].Span) {
					return false
				}
			}
			return true
		case *kv.Scan:
			for i := range q.Spans {
				if !d.ContainsSpan(q.Spans[i]) {
					return false
				}
			}
			return true
		}
	}
	ok, _ := walk(b, d.ContainsSpan)
	return ok
}

// repeatable classifies the batch.
func repeatable(b *kv.BatchRequest) repeat {
	r := repeatRead
	for _, q := range b.Requests {
		switch q.(type) {
		case *kv.Get, *kv.Scan, *kv.Refresh, *kv.Checksum, *kv.ReleaseLocks:
		case *kv.BulkWrite, *kv.CommitSingleRange, *kv.Prepare, *kv.StageTxn, *kv.EndTxn, *kv.ResolveLocks, *kv.ResolveSpan, *kv.UndoSpan,
			*kv.QueryPrepared, *kv.RecoverTxn, *kv.QueryCommit, *kv.GC, *kv.AdminSplit, *kv.AdminMerge,
			*kv.AdminEndMerge, *kv.AdminTransferLeader:
			r = max(r, repeatCommit)
		default:
			return repeatNever
		}
	}
	return r
}

// readsNow reports whether the batch reads at a time that this node's clock has said is now.
func readsNow(req *kv.BatchRequest) bool {
	if req.AnyReplica {
		return false // of the past
	}
	for _, q := range req.Requests {
		switch q.(type) {
		case *kv.Get, *kv.Scan:
			return true
		}
	}
	return false
}
