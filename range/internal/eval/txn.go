package eval

import (
	"slices"
	"sort"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Transactions over several ranges. What a record says, and what is on the keys, decides:
//
//	record      keys                                          outcome
//	none        any                                           not committed (yet); recovery writes ABORTED
//	STAGING@c   every listed key prepared at or below c       committed at c
//	STAGING@c   a listed key not so, and fenced               aborted, once recovery has recorded it
//	COMMITTED   any                                           committed
//	ABORTED     any                                           aborted
//	PREPARED@c  every key prepared at or below c              whatever is decided: committed at c, or aborted
//	OPEN        open locks (open.go)                          not committed (yet); recovery writes ABORTED
//	none        open locks                                    aborted, for ever
//
// Every request here may be repeated, and may arrive late: after recovery, after the end, or
// after the record is gone. The comments say what makes that harmless.

// prepare lays a replicated lock with its value on every key.
//
// A lock that the transaction has at StageTS or later stays untouched, above all its timestamp: the record
// may say STAGING at StageTS, the transaction thus be committed, and moving the lock up would
// make recovery think otherwise.
//
// A late repetition after the transaction has ended, with its record gone, leaves a lock again. Its timestamp is above
// the version that the transaction wrote, so resolving it as committed does nothing (resolve), and recovery of
// it finds no record and drops it.
func (e *evaluation) prepare(r *kv.Prepare) (kv.Response, error) {
	switch rec, here, err := e.recordIfHere(); {
	case err != nil:
		return nil, err
	case rec == nil && here && len(r.Seqs) > 0, rec != nil && rec.Status == kv.TxnAborted:
		return nil, recordAborted(e.id)
	case rec != nil && rec.Status == kv.TxnCommitted:
		return &kv.PrepareResponse{TS: rec.CommitTS}, nil
	}
	if r.StageTS.IsEmpty() {
		return nil, kv.Errorf(kv.CodeBadRequest, "prepare without a timestamp")
	}
	if len(r.Seqs) > 0 {
		return e.prepareOpen(r)
	}
	var inline [8]plannedWrite
	plan, ts, err := e.plan(inline[:0], r.Writes, r.Refreshes, r.StageTS, onRepeat)
	if err != nil {
		return nil, err
	}
	top, laid := hlc.Timestamp{}, 0
	for i := range plan {
		if e.keeps(&plan[i], r.StageTS) {
			top = top.Forward(plan[i].own.TS)
		} else {
			laid++
		}
	}
	if laid > 0 || len(plan) == 0 {
		top = top.Forward(ts)
	}
	if err := e.checkRefreshes(r.Refreshes, r.Writes, top); err != nil {
		return nil, err
	}
	if laid > 0 {
		w := e.batch()
		for i := range r.Writes {
			if e.keeps(&plan[i], r.StageTS) {
				continue
			}
			wr := &r.Writes[i]
			l := kv.LockRecord{Txn: *e.req.Txn, TS: ts, Deleted: wr.Deleted}
			if !wr.Deleted {
				l.Value = wr.Value
			}
			e.willLock(wr.Key)
			if err := w.PutLock(wr.Key, &l, plan[i].own != nil); err != nil {
				return nil, err
			}
			e.eff.Prepared = append(e.eff.Prepared, PreparedLock{Key: wr.Key, Txn: *e.req.Txn, TS: ts})
		}
		e.wrote(ts)
	}
	return &kv.PrepareResponse{TS: top}, nil
}

// keeps reports whether a repeated Prepare leaves the lock as it is.
func (e *evaluation) keeps(p *plannedWrite, stageTS hlc.Timestamp) bool {
	return p.own != nil && stageTS.LessEq(p.own.TS)
}

// recordIfHere reads the transaction's record if its anchor lies in this range.
func (e *evaluation) recordIfHere() (rec *kv.TxnRecord, here bool, err error) {
	t := e.req.Txn
	if len(t.Anchor) == 0 || !e.env.Desc.Contains(t.Anchor) {
		return nil, false, nil
	}
	rec, err = e.r.TxnRecord(t.Anchor, t.ID)
	return rec, true, err
}

// record reads the transaction's record, which must have its place in this range.
func (e *evaluation) record() (*kv.TxnRecord, error) {
	t := e.req.Txn
	if len(t.Anchor) == 0 {
		return nil, kv.Errorf(kv.CodeBadRequest, "transaction %s has no anchor", t.ID)
	}
	if !e.env.Desc.Contains(t.Anchor) {
		return nil, &kv.Error{Code: kv.CodeRangeMismatch, Key: t.Anchor, Descriptors: []kv.RangeDescriptor{*e.env.Desc}}
	}
	return e.r.TxnRecord(t.Anchor, t.ID)
}

func recordAborted(id kv.TxnID) error {
	return kv.Errorf(kv.CodeTxnAborted, "transaction %s was aborted", id)
}

func (e *evaluation) putRecord(rec *kv.TxnRecord) error {
	// The record is the transaction's outcome, whoever writes it: its place in line does not move the clock.
	return e.batch().PutTxnRecord(rec)
}

// stageTxn writes the STAGING record. Arriving after recovery it finds ABORTED, and after
// the end COMMITTED. If it comes after the record is gone, it leaves one that nobody's lock refers to.
//
// The OPEN record is written by the same rules, with the time of its first sending in place of the staged timestamp.
func (e *evaluation) stageTxn(r *kv.StageTxn) (kv.Response, error) {
	rec, err := e.record()
	if err != nil {
		return nil, err
	}
	if rec != nil {
		switch {
		case rec.Status == kv.TxnAborted:
			return nil, recordAborted(e.id)
		case r.Open != (rec.Status == kv.TxnOpen) && rec.Status != kv.TxnCommitted:
			return nil, kv.Errorf(kv.CodeBadRequest, "transaction %s has a record already, with status %d", e.id, rec.Status)
		case rec.Status == kv.TxnCommitted || r.CommitTS.LessEq(rec.CommitTS):
			return &kv.StageTxnResponse{}, nil // a repetition, or overtaken by a later staging
		}
	}
	if r.CommitTS.Less(e.env.GCThreshold) {
		// The ABORTED record that would have refused it may have been collected.
		return nil, recordAborted(e.id)
	}
	rec = &kv.TxnRecord{Meta: *e.req.Txn, Status: kv.TxnStaging, CommitTS: r.CommitTS, Prepared: r.Prepared}
	if r.Open {
		rec.Status = kv.TxnOpen
	}
	return &kv.StageTxnResponse{}, e.putRecord(rec)
}

// collected reports whether rec does not say what became of a transaction that has committed at staged or later, if it has: its record may have
// been collected, and ABORTED be what somebody wrote since, who met a late copy of a lock. (Without staged, whoever asks is
// that one. A record goes after all locks, so his lock is of no consequence.)
func (e *evaluation) collected(rec *kv.TxnRecord, staged hlc.Timestamp) bool {
	return (rec == nil || rec.Status == kv.TxnAborted) && !staged.IsEmpty() && staged.Less(e.env.GCThreshold)
}

func (e *evaluation) recordCollected() error {
	return &kv.Error{Code: kv.CodeReadBelowGC, TS: e.env.GCThreshold, Message: "what became of transaction " + e.id.String() + " is forgotten"}
}

// endTxn records the outcome and resolves the locks in this range by what the record says then.
func (e *evaluation) endTxn(r *kv.EndTxn) (kv.Response, error) {
	rec, err := e.record()
	if err != nil {
		return nil, err
	}
	if r.Hold {
		return e.holdTxn(r, rec)
	}
	had := rec != nil
	if !r.Remove && e.collected(rec, r.Staged) {
		return nil, e.recordCollected()
	}
	switch {
	case rec != nil && rec.Status == kv.TxnPrepared:
		// What was read has been validated up to the timestamp in the record, so that is the one to commit at.
		had = false
		next := &kv.TxnRecord{Status: kv.TxnAborted, CommitTS: e.env.Clock.Now(), Prepared: rec.Prepared, Held: true}
		if r.Commit {
			next.Status, next.CommitTS = kv.TxnCommitted, rec.CommitTS
		}
		rec = next
	case rec == nil && r.Commit && r.Open && !e.env.Planted.CommitWithoutRecord:
		return nil, recordAborted(e.id) // its record went a GC threshold after that was written
	case rec == nil && r.Commit:
		// Prepared everywhere, and then committed without staging; or a repetition after the end.
		rec = &kv.TxnRecord{Status: kv.TxnCommitted, CommitTS: r.CommitTS}
	case rec == nil:
		rec = &kv.TxnRecord{Status: kv.TxnAborted, CommitTS: e.env.Clock.Now()}
	case rec.Status == kv.TxnCommitted:
		// Perhaps at another timestamp than r's: recovery committed it as staged, and a prepare that was repeated after
		// its lock had been resolved made the coordinator believe that it was pushed. The record is right.
		r = &kv.EndTxn{Commit: true, CommitTS: rec.CommitTS, Local: r.Local, Remove: r.Remove}
	case rec.Status == kv.TxnAborted:
		if r.Commit {
			return nil, recordAborted(e.id)
		}
	case r.Commit: // STAGING or OPEN
		if r.CommitTS.Less(rec.CommitTS) {
			return nil, kv.Errorf(kv.CodeInternal, "transaction %s is staged at %s and cannot commit at %s", e.id, rec.CommitTS, r.CommitTS)
		}
		had = false // it changes
		rec = &kv.TxnRecord{Status: kv.TxnCommitted, CommitTS: r.CommitTS, Prepared: rec.Prepared}
	default:
		had = false
		rec = &kv.TxnRecord{Status: kv.TxnAborted, CommitTS: e.env.Clock.Now(), Prepared: rec.Prepared}
	}
	switch {
	case r.Remove:
		if err := e.batch().ClearTxnRecord(e.req.Txn.Anchor, e.id); err != nil {
			return nil, err
		}
	case !had:
		rec.Meta = *e.req.Txn
		if len(r.Prepared) > 0 {
			rec.Prepared = r.Prepared
		}
		if len(r.Spans) > 0 {
			rec.Spans = r.Spans
		}
		if err := e.putRecord(rec); err != nil {
			return nil, err
		}
	}
	commit := rec.Status == kv.TxnCommitted
	if err := e.resolve(r.Local, commit, rec.CommitTS); err != nil {
		return nil, err
	}
	resp := &kv.EndTxnResponse{Status: rec.Status}
	if commit {
		resp.CommitTS = rec.CommitTS
	}
	return resp, nil
}

// forgetTxns removes records. It is told of transactions that have committed; what says anything else is not what it was told of: the
// trace of a late request, or of a recovery that found nothing left, and that goes by age.
func (e *evaluation) forgetTxns(r *kv.ForgetTxns) error {
	for i := range r.Records {
		ref := &r.Records[i]
		if !e.env.Desc.Contains(ref.Anchor) {
			return &kv.Error{Code: kv.CodeRangeMismatch, Key: ref.Anchor, Descriptors: []kv.RangeDescriptor{*e.env.Desc}}
		}
		rec, err := e.r.TxnRecord(ref.Anchor, ref.ID)
		if err != nil {
			return err
		}
		if rec == nil || rec.Status != kv.TxnCommitted {
			continue
		}
		if err := e.batch().ClearTxnRecord(ref.Anchor, ref.ID); err != nil {
			return err
		}
	}
	return nil
}

// holdTxn writes the PREPARED record. Repeated, or arriving late, it finds what was made of the transaction since.
func (e *evaluation) holdTxn(r *kv.EndTxn, rec *kv.TxnRecord) (kv.Response, error) {
	if rec != nil {
		switch rec.Status {
		case kv.TxnAborted:
			return nil, recordAborted(e.id)
		case kv.TxnStaging, kv.TxnOpen:
			return nil, kv.Errorf(kv.CodeBadRequest, "transaction %s is being committed, or has open locks", e.id)
		}
		return &kv.EndTxnResponse{Status: rec.Status, CommitTS: rec.CommitTS}, nil
	}
	if r.CommitTS.IsEmpty() {
		return nil, kv.Errorf(kv.CodeBadRequest, "transaction %s is prepared without a timestamp", e.id)
	}
	if r.CommitTS.Less(e.env.GCThreshold) {
		return nil, recordAborted(e.id) // as in stageTxn
	}
	rec = &kv.TxnRecord{Meta: *e.req.Txn, Status: kv.TxnPrepared, CommitTS: r.CommitTS, Prepared: r.Prepared}
	return &kv.EndTxnResponse{Status: kv.TxnPrepared, CommitTS: r.CommitTS}, e.putRecord(rec)
}

func (e *evaluation) resolveLocks(r *kv.ResolveLocks) (kv.Response, error) {
	return &kv.ResolveLocksResponse{}, e.resolve(r.Keys, r.Commit, r.CommitTS)
}

// resolve turns the transaction's locks among ks into versions, or drops them. Keys without one are passed over.
func (e *evaluation) resolve(ks []keys.Key, commit bool, commitTS hlc.Timestamp) error {
	if len(ks) == 0 {
		return nil
	}
	if commit && commitTS.IsEmpty() {
		return kv.Errorf(kv.CodeBadRequest, "commit of %s without a timestamp", e.id)
	}
	if err := e.claim(len(ks), func(i int) keys.Key { return ks[i] }); err != nil {
		return err
	}
	large := len(ks) >= manyResolved
	absent := 0 // the first so many have no version
	if commit && len(ks) >= manyWrites && slices.IsSortedFunc(ks, keys.Key.Compare) {
		absent = len(ks)
		key, _, some, err := e.r.Changed(keys.Span{Start: ks[0], End: ks[len(ks)-1].Next()}, hlc.Timestamp{}, hlc.Max)
		if err != nil {
			return err
		}
		if some {
			absent = sort.Search(len(ks), func(i int) bool { return !ks[i].Less(key) })
		}
	}
	for i, k := range ks {
		l, err := e.r.Lock(k)
		if err != nil {
			return err
		}
		if l == nil || l.Txn.ID != e.id {
			continue
		}
		large = large || l.Open()
		writes := commit && !l.Void()
		if commit && !writes {
			// No version is left that would push a late copy of a Prepare above the commit.
			e.env.TSCache.Add(keys.Span{Start: k}, commitTS, kv.TxnID{})
		}
		var prev mvcc.Newest
		if writes {
			var v mvcc.Version
			var ok bool
			if i >= absent {
				if v, ok, err = e.r.Newest(k); err != nil {
					return err
				}
			}
			prev = mvcc.Describe(v, ok)
			if commitTS.Less(l.TS) {
				// Left by a late repetition of Prepare: see prepare. The version has been written then. (A tombstone may have been collected
				// since, with all that it hid; a deletion is made once more by nothing. And of an open lock there may have been nothing to
				// write: what it had was taken back. Its transaction has committed above all that it was answered.)
				collected := !ok && l.Deleted && commitTS.LessEq(e.env.GCThreshold)
				if !l.Open() && !collected && (!ok || v.TS.Less(commitTS)) {
					return &kv.Error{Code: kv.CodeInternal, Key: k, Message: "lock at " + l.TS.String() + " of transaction " +
						e.id.String() + ", which is said to have committed below it, at " + commitTS.String()}
				}
				writes = false
			}
		}
		if err := e.batch().ResolveLock(k, l, writes, commitTS, prev); err != nil {
			return err
		}
		if writes {
			e.wrote(commitTS)
		}
	}
	e.eff.Resolved = append(e.eff.Resolved, ResolvedLock{Txn: e.id, Keys: ks, Commit: commit, CommitTS: commitTS, Large: large})
	return nil
}

// manyResolved is how many locks resolved at once show that their transaction is large.
const manyResolved = 64

// queryPrepared finds the keys that the transaction has not prepared at or below TS, and sees to it that it
// never will: the timestamp cache pushes any later Prepare above TS.
//
// The fence is in memory and needs no replication. A later leader's timestamp cache starts at its clock, which is
// after the end of this leader's lease, and this leader answers only if TS is well before that. And
// a Prepare that was proposed before is either applied by the time the latches let this through, or was
// proposed by an earlier leader and is applied before a later one serves.
func (e *evaluation) queryPrepared(r *kv.QueryPrepared) (kv.Response, error) {
	resp := &kv.QueryPreparedResponse{}
	for _, k := range r.Keys {
		l, err := e.r.Lock(k)
		if err != nil {
			return nil, err
		}
		if l != nil && l.Txn.ID == e.id && l.TS.LessEq(r.TS) {
			continue
		}
		if !e.env.Planted.NoFence {
			e.env.TSCache.Add(keys.Span{Start: k}, r.TS, kv.TxnID{})
		}
		resp.Missing = append(resp.Missing, k)
	}
	return resp, nil
}

// recoverTxn asks for the record, or records what recovery found out.
func (e *evaluation) recoverTxn(r *kv.RecoverTxn) (kv.Response, error) {
	rec, err := e.record()
	if err != nil {
		return nil, err
	}
	switch {
	case e.collected(rec, r.StagedTS):
		return nil, e.recordCollected()
	case rec == nil:
		// The coordinator has not staged. From now on it can't. (If the transaction has ended and its record is
		// gone, no lock of it is left, so nobody acts on this.)
		rec = &kv.TxnRecord{Meta: *e.req.Txn, Status: kv.TxnAborted, CommitTS: e.env.Clock.Now()}
	case rec.Status == kv.TxnOpen:
		// Whoever asks has met a lock whose gateway does not answer, or is that gateway, and has given up.
		rec.Status, rec.CommitTS = kv.TxnAborted, e.env.Clock.Now()
	case r.Decide == kv.TxnUnknown, rec.Status != kv.TxnStaging, rec.CommitTS != r.StagedTS:
		// As it is: to be told, decided already, or staged anew since the caller looked.
		return &kv.RecoverTxnResponse{Record: *rec}, nil
	case r.Decide == kv.TxnCommitted:
		rec.Status = kv.TxnCommitted
	case r.Decide == kv.TxnAborted:
		rec.Status, rec.CommitTS = kv.TxnAborted, e.env.Clock.Now()
	default:
		return nil, kv.Errorf(kv.CodeBadRequest, "transactions are not decided to be %d", r.Decide)
	}
	if err := e.putRecord(rec); err != nil {
		return nil, err
	}
	return &kv.RecoverTxnResponse{Record: *rec}, nil
}
