package txn

import (
	"math"
	"slices"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Open locks in the fake.

// prepareOpen lays open locks, or writes on top of them.
func (s *fakeStore) prepareOpen(req *kv.BatchRequest, q *kv.Prepare, ts hlc.Timestamp) (kv.Response, *fakeConflict, error) {
	id := req.Txn.ID
	for i, w := range q.Writes {
		l := s.prepared[string(w.Key)]
		if l == nil {
			continue
		}
		ts = ts.Forward(l.ts)
		if v, at, ok := l.before(math.MaxInt32); ok && !v.deleted && w.MustNotExist && at < q.Seqs[i] && l.undone < q.Seqs[i] {
			return nil, nil, &kv.Error{Code: kv.CodeConditionFailed, Key: w.Key, Value: v.value}
		}
	}
	if c, err := s.validate(q.Refreshes, ts, id); c != nil || err != nil {
		return nil, c, err
	}
	for i, w := range q.Writes {
		l := s.prepared[string(w.Key)]
		if l == nil {
			l = &fakeLock{meta: *req.Txn, open: map[int32]fakeVersion{}}
			s.prepared[string(w.Key)] = l
		}
		l.ts = ts
		if _, at, _ := l.before(math.MaxInt32); q.Seqs[i] <= at || q.Seqs[i] <= l.undone {
			if s.mutant != "late copies count" {
				continue
			}
		}
		l.open[q.Seqs[i]] = fakeVersion{deleted: w.Deleted, value: w.Value}
		s.drop(id, string(w.Key)) // the open lock is as good
	}
	s.sent["ahead"]++
	return &kv.PrepareResponse{TS: ts}, nil, nil
}

// lockedIn lists a few of the transaction's prepared keys in the span, and what is left of it.
func (s *fakeStore) lockedIn(sp keys.Span, id kv.TxnID) (ks []keys.Key, resume keys.Span) {
	for k, l := range s.prepared {
		if l.meta.ID == id && sp.Contains(keys.Key(k)) {
			ks = append(ks, keys.Key(k))
		}
	}
	slices.SortFunc(ks, keys.Key.Compare)
	if len(ks) > 3 {
		ks, resume = ks[:3], keys.Span{Start: ks[3], End: sp.End}
	}
	return ks, resume
}
