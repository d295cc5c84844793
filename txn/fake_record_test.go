package txn

import (
	"github.com/pamirdb/pamir/range/kv"
)

// Transaction records in the fake.

func (s *fakeStore) stage(req *kv.BatchRequest, q *kv.StageTxn) (kv.Response, *fakeConflict, error) {
	id := req.Txn.ID
	rec := s.records[id]
	if rec != nil {
		if rec.Status == kv.TxnAborted {
			return nil, nil, kv.Errorf(kv.CodeTxnAborted, "aborted")
		}
		if rec.Status != kv.TxnCommitted && q.Open != (rec.Status == kv.TxnOpen) {
			panic("OPEN and STAGING of one transaction")
		}
		return &kv.StageTxnResponse{}, nil, nil
	}
	if q.CommitTS.Less(s.gc) && s.mutant != "late records count" {
		return nil, nil, kv.Errorf(kv.CodeTxnAborted, "too late")
	}
	s.records[id] = &kv.TxnRecord{Meta: *req.Txn, Status: kv.TxnStaging, CommitTS: q.CommitTS, Prepared: q.Prepared}
	if q.Open {
		s.records[id].Status = kv.TxnOpen
	}
	return &kv.StageTxnResponse{}, nil, nil
}

func (s *fakeStore) end(req *kv.BatchRequest, q *kv.EndTxn) (kv.Response, *fakeConflict, error) {
	id := req.Txn.ID
	rec := s.records[id]
	if q.Hold {
		if rec != nil && rec.Status == kv.TxnAborted {
			return nil, nil, kv.Errorf(kv.CodeTxnAborted, "aborted")
		}
		if rec == nil {
			rec = &kv.TxnRecord{Meta: *req.Txn, Status: kv.TxnPrepared, CommitTS: q.CommitTS, Prepared: q.Prepared}
			s.records[id] = rec
		}
		return &kv.EndTxnResponse{Status: rec.Status, CommitTS: rec.CommitTS}, nil, nil
	}
	switch {
	case rec != nil && rec.Status == kv.TxnPrepared:
		rec.Status = kv.TxnAborted
		if q.Commit {
			rec.Status = kv.TxnCommitted
		}
	case rec == nil && q.Open && q.Commit:
		return nil, nil, kv.Errorf(kv.CodeTxnAborted, "aborted, and forgotten")
	case rec == nil:
		rec = &kv.TxnRecord{Meta: *req.Txn, Status: kv.TxnAborted, Prepared: q.Prepared, Spans: q.Spans}
		if q.Commit {
			rec.Status, rec.CommitTS = kv.TxnCommitted, q.CommitTS
		}
	case (rec.Status == kv.TxnStaging || rec.Status == kv.TxnOpen) && q.Commit:
		if q.CommitTS.Less(rec.CommitTS) {
			panic("commit below the staged timestamp")
		}
		rec.Status, rec.CommitTS = kv.TxnCommitted, q.CommitTS
		rec.Spans = q.Spans
	case rec.Status == kv.TxnStaging, rec.Status == kv.TxnOpen:
		rec.Status = kv.TxnAborted
	case rec.Status == kv.TxnAborted && q.Commit:
		return nil, nil, kv.Errorf(kv.CodeTxnAborted, "aborted")
	}
	if q.Remove {
		delete(s.records, id)
	} else {
		s.records[id] = rec
	}
	commit := rec.Status == kv.TxnCommitted
	if err := s.resolve(id, q.Local, commit, rec.CommitTS); err != nil {
		return nil, nil, err
	}
	r := &kv.EndTxnResponse{Status: rec.Status}
	if commit {
		r.CommitTS = rec.CommitTS
	}
	return r, nil, nil
}
