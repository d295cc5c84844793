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

// firstKey returns where the batch is to be sent; nil if only its RangeID says so.
func firstKey(b *kv.BatchRequest) (first keys.Key) {
	b.EachSpan(func(s keys.Span) bool {
		first = s.Start
		return false
	})
	return first
}

// inside reports whether everything the batch touches lies in the range.
func inside(b *kv.BatchRequest, d *kv.RangeDescriptor) bool { return b.EachSpan(d.ContainsSpan) }

// repeatable classifies the batch.
func repeatable(b *kv.BatchRequest) repeat {
	r := repeatRead
	for _, q := range b.Requests {
		if i, ok := q.(*kv.Increment); ok && i.Numbers != nil {
			continue // numbers of a sequence that nobody gets are a gap, and allowed
		}
		switch q.(type) {
		case *kv.Get, *kv.Scan, *kv.Refresh, *kv.Checksum, *kv.ReleaseLocks:
		case *kv.BulkWrite, *kv.CommitSingleRange, *kv.Prepare, *kv.StageTxn, *kv.EndTxn, *kv.ResolveLocks, *kv.ResolveSpan, *kv.UndoSpan, *kv.ForgetTxns,
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
