package kv

import (
	"encoding/binary"
	"fmt"
)

// Tags of requests and of their responses. They are part of the wire form: never reuse one.
const (
	tagGet                 = 1
	tagScan                = 2
	tagRefresh             = 3
	tagPut                 = 4
	tagDelete              = 5
	tagIncrement           = 6
	tagCommitSingleRange   = 7
	tagPrepare             = 8
	tagStageTxn            = 9
	tagEndTxn              = 10
	tagResolveLocks        = 11
	tagReleaseLocks        = 12
	tagQueryPrepared       = 13
	tagRecoverTxn          = 14
	tagQueryCommit         = 15
	tagGC                  = 16
	tagChecksum            = 17
	tagAdminSplit          = 18
	tagAdminTransferLeader = 19
	tagAdminChangeReplicas = 20
	tagBulkWrite           = 21
	tagResolveSpan         = 22
	tagUndoSpan            = 23
	tagAdminMerge          = 24
	tagAdminEndMerge       = 25
	tagForgetTxns          = 26

	// Second forms of requests.
	tagScanLoose        = 198 // a Scan with Loose
	tagIncrementNumbers = 199 // an Increment with Numbers

	tagPrepareOpen = 200 // a Prepare with Seqs
	tagEndTxnSpans = 201 // an EndTxn with Spans
	tagEndTxnHold  = 202 // an EndTxn with Hold

	tagRefreshExistence = 203 // a Refresh with Existence
	tagStageTxnOpen     = 204 // a StageTxn with Open
	tagEndTxnOpen       = 205 // an EndTxn with Open
	tagGetIfAbsent      = 206 // a Get with IfAbsent
	tagGCDropped        = 207 // a GC with Dropped
)

// gentleReplica is sent in the place of the ids of the replicas that a gentle AdminChangeReplicas adds. They have none yet, and who does not know of gentle changes
// does not look there.
const gentleReplica = 1

func appendRequest(b []byte, q Request) ([]byte, error) {
	switch q := q.(type) {
	case *Get:
		tag := byte(tagGet)
		if q.IfAbsent {
			tag = tagGetIfAbsent
		}
		b = append(b, tag)
		b = appendBytes(b, q.Key)
		return append(b, byte(q.Lock)), nil
	case *Scan:
		tag := byte(tagScan)
		if q.Loose {
			tag = tagScanLoose
		}
		b = append(b, tag)
		b = appendSpans(b, q.Spans)
		b = appendBool(b, q.Reverse)
		b = append(b, byte(q.Lock))
		return appendProgram(b, q.Pushdown != nil, q.Pushdown)
	case *Refresh:
		tag := byte(tagRefresh)
		if q.Existence {
			tag = tagRefreshExistence
		}
		b = append(b, tag)
		b = appendSpans(b, q.Spans)
		return appendTS(appendTS(b, q.From), q.To), nil
	case *Put:
		b = append(b, tagPut)
		return appendBytes(appendBytes(b, q.Key), q.Value), nil
	case *Delete:
		return appendBytes(append(b, tagDelete), q.Key), nil
	case *Increment:
		tag := byte(tagIncrement)
		if q.Numbers != nil {
			tag = tagIncrementNumbers
		}
		b = binary.AppendVarint(appendBytes(append(b, tag), q.Key), q.By)
		if n := q.Numbers; n != nil {
			for _, v := range [...]int64{n.Start, n.By, n.Min, n.Max} {
				b = binary.AppendVarint(b, v)
			}
			b = appendBool(b, n.Cycle)
		}
		return b, nil
	case *BulkWrite:
		b = appendTS(appendSpan(append(b, tagBulkWrite), q.Span), q.TS)
		b = binary.AppendUvarint(b, uint64(q.Rows.Count))
		return appendBytes(b, q.Rows.Data), nil
	case *CommitSingleRange:
		b = appendWrites(append(b, tagCommitSingleRange), q.Writes)
		return appendTS(appendTS(appendReadSpans(b, q.Refreshes), q.MaxTS), q.Sent), nil
	case *Prepare:
		tag, open := byte(tagPrepare), len(q.Seqs) > 0 || q.Keep != 0
		if open {
			tag = tagPrepareOpen
		}
		b = appendWrites(append(b, tag), q.Writes)
		b = appendTS(b, q.StageTS)
		b = appendReadSpans(b, q.Refreshes)
		if open {
			b = binary.AppendUvarint(b, uint64(len(q.Seqs)))
			for _, s := range q.Seqs {
				b = binary.AppendVarint(b, int64(s))
			}
			b = binary.AppendVarint(b, int64(q.Keep))
		}
		return b, nil
	case *ResolveSpan:
		b = appendBool(appendSpan(append(b, tagResolveSpan), q.Span), q.Commit)
		return appendTS(b, q.CommitTS), nil
	case *UndoSpan:
		b = appendSpan(append(b, tagUndoSpan), q.Span)
		return binary.AppendVarint(binary.AppendVarint(b, int64(q.From)), int64(q.To)), nil
	case *StageTxn:
		tag := byte(tagStageTxn)
		if q.Open {
			tag = tagStageTxnOpen
		}
		b = appendTS(append(b, tag), q.CommitTS)
		return appendKeys(b, q.Prepared), nil
	case *EndTxn:
		tag := byte(tagEndTxn)
		if len(q.Spans) > 0 {
			tag = tagEndTxnSpans
		}
		if q.Hold {
			tag = tagEndTxnHold
		}
		if q.Open {
			tag = tagEndTxnOpen
		}
		b = appendBool(append(b, tag), q.Commit)
		b = appendTS(b, q.CommitTS)
		b = appendKeys(b, q.Local)
		b = appendKeys(b, q.Prepared)
		b = appendTS(appendBool(b, q.Remove), q.Staged)
		if tag != tagEndTxn {
			b = appendSpans(b, q.Spans)
		}
		if q.Open {
			b = appendBool(b, q.Hold)
		}
		return b, nil
	case *ResolveLocks:
		b = appendBool(append(b, tagResolveLocks), q.Commit)
		b = appendTS(b, q.CommitTS)
		return appendKeys(b, q.Keys), nil
	case *ForgetTxns:
		b = binary.AppendUvarint(append(b, tagForgetTxns), uint64(len(q.Records)))
		for i := range q.Records {
			b = append(appendBytes(b, q.Records[i].Anchor), q.Records[i].ID[:]...)
		}
		return b, nil
	case *ReleaseLocks:
		return appendKeys(append(b, tagReleaseLocks), q.Keys), nil
	case *QueryPrepared:
		b = appendKeys(append(b, tagQueryPrepared), q.Keys)
		return appendTS(b, q.TS), nil
	case *RecoverTxn:
		b = append(b, tagRecoverTxn, byte(q.Decide))
		return appendTS(b, q.StagedTS), nil
	case *QueryCommit:
		b = appendBytes(append(b, tagQueryCommit), q.Key)
		return appendTS(append(b, q.ID[:]...), q.Sent), nil
	case *GC:
		tag := byte(tagGC)
		if q.Dropped.Start != nil || q.Dropped.End != nil {
			tag = tagGCDropped
		}
		b = appendBytes(appendBool(appendBool(appendTS(append(b, tag), q.Threshold), q.Collect), q.Outcomes), q.From)
		if tag == tagGCDropped {
			b = appendSpan(b, q.Dropped)
		}
		return b, nil
	case *Checksum:
		return append(b, tagChecksum), nil
	case *AdminSplit:
		return binary.AppendVarint(appendBytes(append(b, tagAdminSplit), q.Key), q.Pinned), nil
	case *AdminMerge:
		b = appendBytes(appendBytes(append(b, tagAdminMerge), q.Key), q.At)
		return binary.AppendVarint(binary.AppendVarint(b, q.Left), q.Right), nil
	case *AdminEndMerge:
		b = append(appendBytes(append(b, tagAdminEndMerge), q.Key), q.ID[:]...)
		return binary.AppendVarint(binary.AppendVarint(b, int64(q.Left)), q.Base), nil
	case *AdminTransferLeader:
		b = binary.AppendVarint(append(b, tagAdminTransferLeader), int64(q.Target))
		return binary.AppendVarint(binary.AppendVarint(b, q.Generation), int64(q.From)), nil
	case *AdminChangeReplicas:
		b = binary.AppendVarint(append(b, tagAdminChangeReplicas), q.Generation)
		b = binary.AppendUvarint(b, uint64(len(q.Add)))
		for _, r := range q.Add {
			if r.ReplicaID = 0; q.Gentle {
				r.ReplicaID = gentleReplica
			}
			b = appendReplica(b, r)
		}
		return appendReplicas(b, q.Remove), nil
	}
	return nil, fmt.Errorf("kv: no wire form for request %T", q)
}

func (d *decoder) request() Request {
	switch tag := d.byte(); tag {
	case tagGet, tagGetIfAbsent:
		return &Get{Key: d.bytes(), Lock: d.lockStrength(), IfAbsent: tag == tagGetIfAbsent}
	case tagScan, tagScanLoose:
		return &Scan{Spans: d.spans(), Reverse: d.bool(), Lock: d.lockStrength(), Pushdown: d.pushdown(), Loose: tag == tagScanLoose}
	case tagRefresh, tagRefreshExistence:
		return &Refresh{Spans: d.spans(), From: d.ts(), To: d.ts(), Existence: tag == tagRefreshExistence}
	case tagPut:
		return &Put{Key: d.bytes(), Value: d.bytes()}
	case tagDelete:
		return &Delete{Key: d.bytes()}
	case tagIncrement:
		return &Increment{Key: d.bytes(), By: d.varint()}
	case tagIncrementNumbers:
		return &Increment{Key: d.bytes(), By: d.varint(),
			Numbers: &NumberRule{Start: d.varint(), By: d.varint(), Min: d.varint(), Max: d.varint(), Cycle: d.bool()}}
	case tagBulkWrite:
		return &BulkWrite{Span: d.span(), TS: d.ts(), Rows: d.rows()}
	case tagCommitSingleRange:
		return &CommitSingleRange{Writes: d.writes(), Refreshes: d.readSpans(), MaxTS: d.ts(), Sent: d.ts()}
	case tagPrepare, tagPrepareOpen:
		q := &Prepare{Writes: d.writes(), StageTS: d.ts(), Refreshes: d.readSpans()}
		if tag == tagPrepareOpen {
			q.Seqs = decodeSlice(d, 1, (*decoder).varint32)
			q.Keep = d.varint32()
		}
		return q
	case tagResolveSpan:
		return &ResolveSpan{Span: d.span(), Commit: d.bool(), CommitTS: d.ts()}
	case tagUndoSpan:
		return &UndoSpan{Span: d.span(), From: d.varint32(), To: d.varint32()}
	case tagStageTxn, tagStageTxnOpen:
		return &StageTxn{CommitTS: d.ts(), Prepared: d.keys(), Open: tag == tagStageTxnOpen}
	case tagEndTxn, tagEndTxnSpans, tagEndTxnHold, tagEndTxnOpen:
		q := &EndTxn{Commit: d.bool(), CommitTS: d.ts(), Local: d.keys(), Prepared: d.keys(), Remove: d.bool(), Staged: d.ts()}
		if tag != tagEndTxn {
			q.Spans = d.spans()
		}
		if q.Hold = tag == tagEndTxnHold; tag == tagEndTxnOpen {
			q.Open, q.Hold = true, d.bool()
		}
		return q
	case tagResolveLocks:
		return &ResolveLocks{Commit: d.bool(), CommitTS: d.ts(), Keys: d.keys()}
	case tagForgetTxns:
		return &ForgetTxns{Records: decodeSlice(d, 1+len(TxnID{}), (*decoder).recordRef)}
	case tagReleaseLocks:
		return &ReleaseLocks{Keys: d.keys()}
	case tagQueryPrepared:
		return &QueryPrepared{Keys: d.keys(), TS: d.ts()}
	case tagRecoverTxn:
		return &RecoverTxn{Decide: d.txnStatus(), StagedTS: d.ts()}
	case tagQueryCommit:
		return &QueryCommit{Key: d.bytes(), ID: d.txnID(), Sent: d.ts()}
	case tagGC:
		return &GC{Threshold: d.ts(), Collect: d.bool(), Outcomes: d.bool(), From: d.key()}
	case tagGCDropped:
		return &GC{Threshold: d.ts(), Collect: d.bool(), Outcomes: d.bool(), From: d.key(), Dropped: d.span()}
	case tagChecksum:
		return &Checksum{}
	case tagAdminSplit:
		return &AdminSplit{Key: d.bytes(), Pinned: d.varint()}
	case tagAdminMerge:
		return &AdminMerge{Key: d.bytes(), At: d.bytes(), Left: d.varint(), Right: d.varint()}
	case tagAdminEndMerge:
		return &AdminEndMerge{Key: d.bytes(), ID: d.txnID(), Left: RangeID(d.varint()), Base: d.varint()}
	case tagAdminTransferLeader:
		return &AdminTransferLeader{Target: StoreID(d.varint32()), Generation: d.varint(), From: StoreID(d.varint32())}
	case tagAdminChangeReplicas:
		q := &AdminChangeReplicas{Generation: d.varint(), Add: d.replicas(), Remove: d.replicas()}
		for i := range q.Add {
			q.Gentle = q.Gentle || q.Add[i].ReplicaID == gentleReplica
			q.Add[i].ReplicaID = 0
		}
		return q
	default:
		d.fail(fmt.Sprintf("unknown request %d", tag))
		return nil
	}
}

func (d *decoder) recordRef() RecordRef { return RecordRef{Anchor: d.bytes(), ID: d.txnID()} }
