package txn

import (
	"math"
	"slices"
	"sort"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

func (s *fakeStore) evaluate(req *kv.BatchRequest) (*kv.BatchResponse, *fakeConflict, error) {
	if s.outside(req) {
		return nil, nil, kv.Errorf(kv.CodeRangeMismatch, "several ranges")
	}
	resp := &kv.BatchResponse{ServedBy: 1}
	readTS := req.Timestamp
	if req.Txn != nil {
		readTS = req.Txn.ReadTS
		s.clock.Update(readTS)
	}
	for again := true; again; {
		again = false
		resp.Responses = resp.Responses[:0]
		left := req.MaxRows
		for _, q := range req.Requests {
			r, c, err := s.one(req, q, readTS, &left)
			if c != nil {
				return nil, c, nil
			}
			if ke := kv.AsError(err); ke != nil {
				if req.CanMoveReadTS && (ke.Code == kv.CodeUncertain || ke.Code == kv.CodeWriteTooOld) && readTS.Less(ke.TS) {
					readTS, again = ke.TS, true
					break
				}
				return nil, nil, ke
			}
			resp.Responses = append(resp.Responses, r)
		}
	}
	for _, q := range req.Requests {
		s.sent[name(q)]++
	}
	resp.ReadTS, resp.Now = readTS, s.clock.Now()
	return resp, nil, nil
}

func name(q kv.Request) string {
	switch q.(type) {
	case *kv.Get:
		return "get"
	case *kv.Scan:
		return "scan"
	case *kv.Refresh:
		return "refresh"
	case *kv.CommitSingleRange:
		return "commit"
	case *kv.Prepare:
		return "prepare"
	case *kv.StageTxn:
		return "stage"
	case *kv.EndTxn:
		return "end"
	case *kv.ForgetTxns:
		return "forget"
	case *kv.ResolveLocks, *kv.ResolveSpan:
		return "resolve"
	case *kv.UndoSpan:
		return "undo"
	case *kv.ReleaseLocks:
		return "release"
	}
	return "other"
}

func (s *fakeStore) newest(k keys.Key) (fakeVersion, bool) {
	v := s.versions[string(k)]
	if len(v) == 0 {
		return fakeVersion{}, false
	}
	return v[len(v)-1], true
}

func (s *fakeStore) put(k keys.Key, v fakeVersion) {
	l := s.versions[string(k)]
	i := sort.Search(len(l), func(i int) bool { return !l[i].ts.Less(v.ts) })
	if i < len(l) && l[i].ts == v.ts {
		panic("two versions at one timestamp: " + keys.Pretty(k))
	}
	s.versions[string(k)] = slices.Insert(l, i, v)
	s.wake()
}

// get reads one key.
func (s *fakeStore) get(req *kv.BatchRequest, k keys.Key, ts hlc.Timestamp) (fakeVersion, bool, *fakeConflict, error) {
	limit := ts
	var id kv.TxnID
	if req.Txn != nil {
		limit, id = ts.Forward(req.Txn.UncertaintyLimit), req.Txn.ID
		if !req.Txn.Observed.IsEmpty() && req.Txn.Observed.Less(limit) {
			limit = ts.Forward(req.Txn.Observed)
		}
	}
	if l := s.prepared[string(k)]; l != nil && l.meta.ID == id {
		if v, _, ok := l.before(req.OwnSeq); ok {
			return v, !v.deleted, nil, nil
		}
	} else if l != nil && l.ts.LessEq(limit) {
		if l.open == nil || s.after == nil || !ts.LessEq(s.after(l.meta)) {
			return fakeVersion{}, false, &fakeConflict{k, l.meta, true}, nil
		}
	}
	var found fakeVersion
	ok := false
	for _, v := range s.versions[string(k)] {
		if v.ts.LessEq(ts) {
			found, ok = v, true
		} else if v.ts.LessEq(limit) {
			return found, false, nil, &kv.Error{Code: kv.CodeUncertain, Key: k, TS: v.ts}
		}
	}
	return found, ok && !found.deleted, nil, nil
}

// lock takes an unreplicated lock.
func (s *fakeStore) lock(req *kv.BatchRequest, k keys.Key, st kv.LockStrength) *fakeConflict {
	for id, h := range s.held[string(k)] {
		if id != req.Txn.ID && h.Conflicts(st) {
			return &fakeConflict{k, kv.TxnMeta{ID: id, Gateway: 1, Incarnation: 7}, false}
		}
	}
	if l := s.prepared[string(k)]; l != nil && l.meta.ID != req.Txn.ID {
		return &fakeConflict{k, l.meta, true}
	}
	m := s.held[string(k)]
	if m == nil {
		m = map[kv.TxnID]kv.LockStrength{}
		s.held[string(k)] = m
	}
	m[req.Txn.ID] = max(m[req.Txn.ID], st)
	return nil
}

func (s *fakeStore) drop(id kv.TxnID, k string) {
	if m := s.held[k]; m != nil {
		delete(m, id)
		if len(m) == 0 {
			delete(s.held, k)
		}
	}
	s.wake()
}

func (s *fakeStore) remember(sp keys.Span, ts hlc.Timestamp, id kv.TxnID) {
	s.reads = append(s.reads, fakeRead{sp, ts, id})
	if len(s.reads) > 2000 {
		for _, r := range s.reads[:1000] {
			s.floor = s.floor.Forward(r.ts)
		}
		s.reads = slices.Clone(s.reads[1000:])
	}
}

func (s *fakeStore) one(req *kv.BatchRequest, q kv.Request, ts hlc.Timestamp, left *int64) (kv.Response, *fakeConflict, error) {
	var id kv.TxnID
	if req.Txn != nil {
		id = req.Txn.ID
	}
	switch q := q.(type) {
	case *kv.Get:
		lock := q.Lock
		if v, ok := s.newest(q.Key); ok && !v.deleted && q.IfAbsent {
			lock = kv.LockNone
			for id, h := range s.held[string(q.Key)] {
				if id != req.Txn.ID && h.Conflicts(kv.LockKeyShare) {
					return nil, &fakeConflict{q.Key, kv.TxnMeta{ID: id, Gateway: 1, Incarnation: 7}, false}, nil
				}
			}
			if ts.Less(v.ts) {
				return nil, nil, &kv.Error{Code: kv.CodeWriteTooOld, Key: q.Key, TS: v.ts}
			}
		}
		if lock != kv.LockNone {
			if c := s.lock(req, q.Key, lock); c != nil {
				if req.Wait == kv.WaitSkip {
					return &kv.GetResponse{}, nil, nil
				}
				return nil, c, nil
			}
			if v, ok := s.newest(q.Key); ok && ts.Less(v.ts) {
				return nil, nil, &kv.Error{Code: kv.CodeWriteTooOld, Key: q.Key, TS: v.ts}
			}
		}
		v, ok, c, err := s.get(req, q.Key, ts)
		if c != nil || err != nil {
			return nil, c, err
		}
		s.remember(keys.Span{Start: q.Key}, ts, id)
		return &kv.GetResponse{Exists: ok, Value: v.value, TS: v.ts}, nil, nil
	case *kv.Scan:
		return s.scan(req, q, ts, left)
	case *kv.Refresh:
		for _, sp := range q.Spans {
			if c, err := s.unchanged(sp, q.From, q.To, id, q.Existence); c != nil || err != nil {
				return nil, c, err
			}
		}
		return &kv.RefreshResponse{}, nil, nil
	case *kv.CommitSingleRange:
		return s.commit(req, q)
	case *kv.Prepare:
		return s.prepare(req, q)
	case *kv.StageTxn:
		return s.stage(req, q)
	case *kv.EndTxn:
		return s.end(req, q)
	case *kv.ForgetTxns:
		for _, r := range q.Records {
			if rec := s.records[r.ID]; rec != nil && rec.Status == kv.TxnCommitted {
				delete(s.records, r.ID)
			}
		}
		return &kv.ForgetTxnsResponse{}, nil, nil
	case *kv.ResolveLocks:
		return &kv.ResolveLocksResponse{}, nil, s.resolve(id, q.Keys, q.Commit, q.CommitTS)
	case *kv.ResolveSpan:
		ks, resume := s.lockedIn(q.Span, id)
		return &kv.ResolveSpanResponse{Resume: resume}, nil, s.resolve(id, ks, q.Commit, q.CommitTS)
	case *kv.UndoSpan:
		ks, resume := s.lockedIn(q.Span, id)
		for _, k := range ks {
			l := s.prepared[string(k)]
			for n := range l.open {
				if q.From <= n && n <= q.To && s.mutant != "undo forgets" {
					delete(l.open, n)
				}
			}
			l.undone = max(l.undone, q.To)
		}
		return &kv.UndoSpanResponse{Resume: resume}, nil, nil
	case *kv.ReleaseLocks:
		for _, k := range q.Keys {
			s.drop(id, string(k))
		}
		for k := range s.held {
			if len(q.Keys) == 0 && rangeOf(s.bounds, keys.Key(k)) == int(req.RangeID)-1 {
				s.drop(id, k)
			}
		}
		return &kv.ReleaseLocksResponse{}, nil, nil
	case *kv.QueryPrepared:
		r := &kv.QueryPreparedResponse{}
		for _, k := range q.Keys {
			if l := s.prepared[string(k)]; l != nil && l.meta.ID == id && l.ts.LessEq(q.TS) {
				continue
			}
			s.remember(keys.Span{Start: k}, q.TS, kv.TxnID{})
			r.Missing = append(r.Missing, k)
		}
		return r, nil, nil
	case *kv.RecoverTxn:
		rec := s.records[id]
		switch {
		case rec == nil:
			rec = &kv.TxnRecord{Meta: *req.Txn, Status: kv.TxnAborted}
			s.records[id] = rec
		case rec.Status == kv.TxnOpen:
			rec.Status = kv.TxnAborted
		case q.Decide != kv.TxnUnknown && rec.Status == kv.TxnStaging && rec.CommitTS == q.StagedTS:
			rec.Status = q.Decide
		}
		return &kv.RecoverTxnResponse{Record: *rec}, nil, nil
	case *kv.QueryCommit:
		m := s.outcomes(q.Key)
		o, ok := m[q.ID]
		if !ok {
			o = outcome{status: kv.TxnAborted}
			m[q.ID] = o
		}
		return &kv.QueryCommitResponse{Committed: o.status == kv.TxnCommitted, CommitTS: o.ts}, nil, nil
	}
	return nil, nil, kv.Errorf(kv.CodeBadRequest, "the fake does not know %T", q)
}

func (s *fakeStore) outcomes(k keys.Key) map[kv.TxnID]outcome {
	r := rangeOf(s.bounds, k)
	m := s.commits[r]
	if m == nil {
		m = map[kv.TxnID]outcome{}
		s.commits[r] = m
	}
	return m
}

func (s *fakeStore) scan(req *kv.BatchRequest, q *kv.Scan, ts hlc.Timestamp, left *int64) (kv.Response, *fakeConflict, error) {
	out := &kv.ScanResponse{}
	var proc kv.Processor
	if q.Pushdown != nil {
		proc = q.Pushdown.NewProcessor()
		defer proc.Close()
	}
	bytes := int64(0)
	var id kv.TxnID
	if req.Txn != nil {
		id = req.Txn.ID
	}
spans:
	for i, sp := range q.Spans {
		var ks []string
		seen := map[string]bool{}
		for k := range s.versions {
			if sp.Contains(keys.Key(k)) {
				ks, seen[k] = append(ks, k), true
			}
		}
		for k := range s.prepared {
			if sp.Contains(keys.Key(k)) && !seen[k] {
				ks = append(ks, k)
			}
		}
		slices.Sort(ks)
		if q.Reverse {
			slices.Reverse(ks)
		}
		for _, k := range ks {
			key := keys.Key(k)
			v, ok, c, err := s.get(req, key, ts)
			if c != nil || err != nil {
				return nil, c, err
			}
			if !ok {
				continue
			}
			keep := true
			if proc != nil {
				if keep, err = proc.Row(key, v.value); err != nil {
					return nil, nil, err
				}
			}
			if keep && q.Lock != kv.LockNone {
				if c := s.lock(req, key, q.Lock); c != nil {
					return nil, c, nil
				}
				if n, ok := s.newest(key); ok && ts.Less(n.ts) {
					return nil, nil, &kv.Error{Code: kv.CodeWriteTooOld, Key: key, TS: n.ts}
				}
				out.Locked = append(out.Locked, key)
			}
			if keep && proc == nil {
				out.Rows.Append(key, v.value)
			}
			if keep {
				bytes += int64(len(k) + len(v.value))
				*left--
			}
			if (req.MaxRows > 0 && *left <= 0) || (req.TargetBytes > 0 && bytes >= req.TargetBytes) || (proc != nil && proc.Done()) {
				rest := keys.Span{Start: key.Next(), End: sp.EndKey()}
				if q.Reverse {
					rest = keys.Span{Start: sp.Start, End: key}
				}
				if proc != nil && proc.Done() {
					break spans
				}
				if rest.Start.Less(rest.End) {
					out.Resume = append(out.Resume, rest)
				}
				out.Resume = append(out.Resume, q.Spans[i+1:]...)
				break spans
			}
		}
	}
	for _, sp := range q.Spans {
		s.remember(sp, ts, id)
	}
	if proc != nil {
		res, err := proc.Finish()
		if err != nil {
			return nil, nil, err
		}
		out.Result = res
	}
	return out, nil, nil
}

func (s *fakeStore) unchanged(sp keys.Span, from, to hlc.Timestamp, id kv.TxnID, existence bool) (*fakeConflict, error) {
	if !from.Less(to) {
		return nil, nil
	}
	for k, vs := range s.versions {
		if !sp.Contains(keys.Key(k)) {
			continue
		}
		var last fakeVersion
		for _, v := range vs {
			if v.ts.LessEq(to) && last.ts.Less(v.ts) {
				last = v
			}
		}
		if existence && !last.deleted && !last.ts.IsEmpty() {
			continue
		}
		for _, v := range vs {
			if from.Less(v.ts) && v.ts.LessEq(to) {
				return nil, &kv.Error{Code: kv.CodeRefreshFailed, Key: keys.Key(k), TS: v.ts}
			}
		}
	}
	for k, l := range s.prepared {
		if sp.Contains(keys.Key(k)) && l.meta.ID != id && l.ts.LessEq(to) && !(existence && l.open == nil && !l.deleted) {
			return &fakeConflict{keys.Key(k), l.meta, true}, nil
		}
	}
	s.remember(sp, to, id)
	return nil, nil
}

// place finds where writes can land.
func (s *fakeStore) place(req *kv.BatchRequest, writes []kv.Write, refreshes []kv.ReadSpan, ts hlc.Timestamp) (hlc.Timestamp, *fakeConflict, error) {
	id := req.Txn.ID
	for _, w := range writes {
		if l := s.prepared[string(w.Key)]; l != nil {
			if l.meta.ID == id && (len(l.open) > 0 || l.open == nil) {
				continue
			}
			if l.meta.ID != id {
				return ts, &fakeConflict{w.Key, l.meta, true}, nil
			}
		}
		st := kv.LockNoKeyUpdate
		for h, m := range s.held[string(w.Key)] {
			if h != id && m.Conflicts(st) && s.held[string(w.Key)][id] == kv.LockNone {
				return ts, &fakeConflict{w.Key, kv.TxnMeta{ID: h, Gateway: 1, Incarnation: 7}, false}, nil
			}
		}
		if v, ok := s.newest(w.Key); ok {
			if w.MustNotExist && !v.deleted {
				return ts, nil, &kv.Error{Code: kv.CodeConditionFailed, Key: w.Key, Value: v.value}
			}
			ts = ts.Forward(v.ts.Next())
		}
		ts = ts.Forward(s.floor.Next())
		for _, r := range s.reads {
			if r.span.Contains(w.Key) && r.txn != id {
				ts = ts.Forward(r.ts.Next())
			}
		}
	}
	return ts, nil, nil
}

func (s *fakeStore) validate(refreshes []kv.ReadSpan, ts hlc.Timestamp, id kv.TxnID) (*fakeConflict, error) {
	for _, r := range refreshes {
		if c, err := s.unchanged(r.Span, r.At, ts, id, r.Existence); c != nil || err != nil {
			return c, err
		}
	}
	return nil, nil
}

func (s *fakeStore) commit(req *kv.BatchRequest, q *kv.CommitSingleRange) (kv.Response, *fakeConflict, error) {
	id := req.Txn.ID
	m := s.outcomes(q.Writes[0].Key)
	if o, ok := m[id]; ok {
		if o.status != kv.TxnCommitted {
			return nil, nil, kv.Errorf(kv.CodeTxnAborted, "fenced")
		}
		return &kv.CommitSingleRangeResponse{CommitTS: o.ts}, nil, nil
	}
	ts, c, err := s.place(req, q.Writes, q.Refreshes, req.Txn.ReadTS)
	if c != nil || err != nil {
		return nil, c, err
	}
	if !q.MaxTS.IsEmpty() && q.MaxTS.Less(ts) {
		return nil, nil, &kv.Error{Code: kv.CodeWriteTooOld, TS: ts}
	}
	if c, err := s.validate(q.Refreshes, ts, id); c != nil || err != nil {
		return nil, c, err
	}
	for _, w := range q.Writes {
		s.put(w.Key, fakeVersion{ts, w.Deleted, w.Value})
	}
	m[id] = outcome{kv.TxnCommitted, ts}
	r := rangeOf(s.bounds, q.Writes[0].Key)
	for k := range s.held {
		if rangeOf(s.bounds, keys.Key(k)) == r {
			s.drop(id, k)
		}
	}
	return &kv.CommitSingleRangeResponse{CommitTS: ts}, nil, nil
}

func (s *fakeStore) prepare(req *kv.BatchRequest, q *kv.Prepare) (kv.Response, *fakeConflict, error) {
	id := req.Txn.ID
	if rangeOf(s.bounds, req.Txn.Anchor) == rangeOf(s.bounds, q.Writes[0].Key) {
		switch rec := s.records[id]; {
		case rec == nil && len(q.Seqs) > 0, rec != nil && rec.Status == kv.TxnAborted:
			return nil, nil, kv.Errorf(kv.CodeTxnAborted, "aborted")
		case rec != nil && rec.Status == kv.TxnCommitted:
			return &kv.PrepareResponse{TS: rec.CommitTS}, nil, nil
		}
	}
	ts, c, err := s.place(req, q.Writes, q.Refreshes, q.StageTS)
	if c != nil || err != nil {
		return nil, c, err
	}
	if len(q.Seqs) > 0 {
		return s.prepareOpen(req, q, ts)
	}
	top, fresh := hlc.Timestamp{}, false
	for _, w := range q.Writes {
		if l := s.prepared[string(w.Key)]; l != nil {
			top = top.Forward(l.ts)
		} else {
			fresh = true
		}
	}
	if fresh {
		top = top.Forward(ts)
	}
	if c, err := s.validate(q.Refreshes, top, id); c != nil || err != nil {
		return nil, c, err
	}
	for _, w := range q.Writes {
		if s.prepared[string(w.Key)] == nil {
			s.prepared[string(w.Key)] = &fakeLock{meta: *req.Txn, ts: ts, deleted: w.Deleted, value: w.Value}
		}
	}
	return &kv.PrepareResponse{TS: top, Wanted: s.wanted}, nil, nil
}

func (s *fakeStore) resolve(id kv.TxnID, ks []keys.Key, commit bool, ts hlc.Timestamp) error {
	for _, k := range ks {
		s.drop(id, string(k))
		l := s.prepared[string(k)]
		if l == nil || l.meta.ID != id {
			continue
		}
		if commit && ts.Less(l.ts) { // a late repetition, resolved before
			if v, ok := s.newest(k); l.open == nil && (!ok || v.ts.Less(ts)) {
				return kv.Errorf(kv.CodeInternal, "lock above its commit")
			}
		} else if l.open != nil {
			if v, _, ok := l.before(math.MaxInt32); ok && commit {
				s.put(k, fakeVersion{ts, v.deleted, v.value})
			} else if commit {
				s.remember(keys.Span{Start: k}, ts, kv.TxnID{}) // late copies go above
			}
		} else if commit {
			s.put(k, fakeVersion{ts, l.deleted, l.value})
		}
		delete(s.prepared, string(k))
		s.wake()
	}
	return nil
}
