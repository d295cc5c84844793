package txn

import (
	"time"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Any key that a transaction writes can be its anchor. The entry that says COMMITTED there turns the locks of the anchor's range into versions as well; those of
// other ranges go a round later. So the anchor is where others are likely to wait: at the key for whose lock the transaction itself has waited longest,
// and if it has waited for none at the first that it wrote.

// contendedFrom is from which wait on a lock is taken for one that others want, too.
const contendedFrom = 2 * time.Millisecond

// sought is the key for whose lock the transaction has waited longest so far.
type sought struct {
	key  keys.Key
	wait int64 // ns
}

// noteWait looks at how long the answer to a request for locks took the range, sent and received by this node's clock.
//
// What the way takes is no wait: a leader may be far away. The answer carries the leader's clock when it was made, so that the way there,
// with the wait, and the way back are known apart. If the clocks differ that much is wrong twice, and the anchor is where nobody waits: nothing is lost.
func (t *txn) noteWait(req *kv.BatchRequest, resp *kv.BatchResponse, sent, received int64) {
	wait := (resp.Now.WallTime - sent) - (received - resp.Now.WallTime)
	if wait < int64(contendedFrom) || wait <= t.sought.wait {
		return
	}
	switch q := req.Requests[0].(type) {
	case *kv.Get:
		t.sought = sought{q.Key, wait}
	case *kv.Scan:
		if r, ok := resp.Responses[0].(*kv.ScanResponse); ok && len(r.Locked) > 0 {
			t.sought = sought{r.Locked[0], wait}
		}
	}
}

// locks reports whether the batch asks for locks.
func locks(req *kv.BatchRequest) bool {
	switch q := req.Requests[0].(type) {
	case *kv.Get:
		return q.Lock != kv.LockNone
	case *kv.Scan:
		return q.Lock != kv.LockNone
	}
	return false
}

// chooseAnchor decides where the record of a commit with these writes is; t.mu is held. A place that requests have been told of stays.
func (t *txn) chooseAnchor(writes []kv.Write) {
	switch {
	case len(t.meta.Anchor) > 0:
	case t.sought.key != nil && hasKey(writes, t.sought.key):
		t.meta.Anchor = t.sought.key
	default:
		t.meta.Anchor = t.buf.log[0].key // the first that was written
	}
}
