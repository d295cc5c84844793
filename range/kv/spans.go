package kv

import "github.com/pamirdb/pamir/range/keys"

// EachSpan calls f with every span that the batch touches, single keys as spans without an end, until f returns false, and reports whether it
// never did. It is the one list of what requests touch: routing sends by it, ranges check their bounds by it.
//
// What concerns a whole range, named by RangeID, touches nothing.
func (b *BatchRequest) EachSpan(f func(keys.Span) bool) bool {
	for _, q := range b.Requests {
		ok := true
		switch q := q.(type) {
		case *Get:
			ok = f(keys.Span{Start: q.Key})
		case *Scan:
			ok = eachOf(q.Spans, f)
		case *Refresh:
			ok = eachOf(q.Spans, f)
		case *Put:
			ok = f(keys.Span{Start: q.Key})
		case *Delete:
			ok = f(keys.Span{Start: q.Key})
		case *Increment:
			ok = f(keys.Span{Start: q.Key})
		case *BulkWrite:
			ok = f(q.Span)
		case *CommitSingleRange:
			ok = eachTouched(q.Writes, q.Refreshes, f)
		case *Prepare:
			ok = eachTouched(q.Writes, q.Refreshes, f)
		case *StageTxn, *RecoverTxn:
			ok = b.anchor(f)
		case *EndTxn:
			ok = b.anchor(f) && eachKey(q.Local, f)
		case *ForgetTxns:
			for i := range q.Records {
				if ok = ok && f(keys.Span{Start: q.Records[i].Anchor}); !ok {
					break
				}
			}
		case *ResolveLocks:
			ok = eachKey(q.Keys, f)
		case *ResolveSpan:
			ok = f(q.Span)
		case *UndoSpan:
			ok = f(q.Span)
		case *GC:
			ok = q.Dropped.Start == nil && q.Dropped.End == nil || f(q.Dropped)
		case *ReleaseLocks:
			ok = eachKey(q.Keys, f)
		case *QueryPrepared:
			ok = eachKey(q.Keys, f)
		case *QueryCommit:
			ok = f(keys.Span{Start: q.Key})
		case *AdminSplit:
			ok = f(keys.Span{Start: q.Key})
		case *AdminMerge:
			ok = f(keys.Span{Start: q.Key})
		case *AdminEndMerge:
			ok = f(keys.Span{Start: q.Key})
		}
		if !ok {
			return false
		}
	}
	return true
}

// anchor is where the record of the batch's transaction is.
func (b *BatchRequest) anchor(f func(keys.Span) bool) bool {
	return b.Txn == nil || f(keys.Span{Start: b.Txn.Anchor})
}

func eachKey(ks []keys.Key, f func(keys.Span) bool) bool {
	for _, k := range ks {
		if !f(keys.Span{Start: k}) {
			return false
		}
	}
	return true
}

func eachOf(ss []keys.Span, f func(keys.Span) bool) bool {
	for _, s := range ss {
		if !f(s) {
			return false
		}
	}
	return true
}

func eachTouched(ws []Write, rs []ReadSpan, f func(keys.Span) bool) bool {
	for i := range ws {
		if !f(keys.Span{Start: ws[i].Key}) {
			return false
		}
	}
	for i := range rs {
		if !f(rs[i].Span) {
			return false
		}
	}
	return true
}
