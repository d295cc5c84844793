package kv

import (
	"encoding/binary"
	"fmt"
	"slices"
)

func appendResponse(b []byte, q Response) ([]byte, error) {
	switch q := q.(type) {
	case *GetResponse:
		b = appendBool(append(b, tagGet), q.Exists)
		return appendTS(appendBytes(b, q.Value), q.TS), nil
	case *ScanResponse:
		b = binary.AppendUvarint(append(b, tagScan), uint64(q.Rows.Count))
		b = appendBytes(b, q.Rows.Data)
		b, err := appendProgram(b, q.Result != nil, q.Result)
		if err != nil {
			return nil, err
		}
		b = appendKeys(b, q.Locked)
		return appendSpans(b, q.Resume), nil
	case *RefreshResponse:
		return append(b, tagRefresh), nil
	case *PutResponse:
		return appendTS(append(b, tagPut), q.TS), nil
	case *DeleteResponse:
		return appendBool(append(b, tagDelete), q.Existed), nil
	case *IncrementResponse:
		b = binary.AppendVarint(append(b, tagIncrement), q.Value)
		return appendBool(binary.AppendVarint(b, q.Count), q.Taken), nil
	case *BulkWriteResponse:
		return append(b, tagBulkWrite), nil
	case *CommitSingleRangeResponse:
		return appendTS(append(b, tagCommitSingleRange), q.CommitTS), nil
	case *PrepareResponse:
		return appendBool(appendTS(append(b, tagPrepare), q.TS), q.Wanted), nil
	case *StageTxnResponse:
		return append(b, tagStageTxn), nil
	case *EndTxnResponse:
		return appendTS(append(b, tagEndTxn, byte(q.Status)), q.CommitTS), nil
	case *ForgetTxnsResponse:
		return append(b, tagForgetTxns), nil
	case *ResolveLocksResponse:
		return append(b, tagResolveLocks), nil
	case *ResolveSpanResponse:
		return appendSpan(append(b, tagResolveSpan), q.Resume), nil
	case *UndoSpanResponse:
		return appendSpan(append(b, tagUndoSpan), q.Resume), nil
	case *ReleaseLocksResponse:
		return append(b, tagReleaseLocks), nil
	case *QueryPreparedResponse:
		return appendKeys(append(b, tagQueryPrepared), q.Missing), nil
	case *RecoverTxnResponse:
		return appendTxnRecord(append(b, tagRecoverTxn), &q.Record), nil
	case *QueryCommitResponse:
		return appendTS(appendBool(append(b, tagQueryCommit), q.Committed), q.CommitTS), nil
	case *GCResponse:
		return appendBytes(binary.AppendVarint(append(b, tagGC), q.Removed), q.Next), nil
	case *ChecksumResponse:
		b = binary.AppendUvarint(append(b, tagChecksum), uint64(len(q.ByStore)))
		stores := make([]StoreID, 0, len(q.ByStore))
		for s := range q.ByStore {
			stores = append(stores, s)
		}
		slices.Sort(stores)
		for _, s := range stores {
			b = appendString(binary.AppendVarint(b, int64(s)), q.ByStore[s])
		}
		return appendStats(b, q.Stats), nil
	case *AdminSplitResponse:
		return appendDescriptor(appendDescriptor(append(b, tagAdminSplit), &q.Left), &q.Right), nil
	case *AdminMergeResponse:
		return appendDescriptor(append(b, tagAdminMerge), &q.Descriptor), nil
	case *AdminEndMergeResponse:
		return appendBool(append(b, tagAdminEndMerge), q.Merged), nil
	case *AdminTransferLeaderResponse:
		return append(b, tagAdminTransferLeader), nil
	case *AdminChangeReplicasResponse:
		return appendDescriptor(append(b, tagAdminChangeReplicas), &q.Descriptor), nil
	}
	return nil, fmt.Errorf("kv: no wire form for response %T", q)
}

func (d *decoder) response() Response {
	switch tag := d.byte(); tag {
	case tagGet:
		return &GetResponse{Exists: d.bool(), Value: d.bytes(), TS: d.ts()}
	case tagScan:
		return &ScanResponse{Rows: d.rows(), Result: d.result(), Locked: d.keys(), Resume: d.spans()}
	case tagRefresh:
		return &RefreshResponse{}
	case tagPut:
		return &PutResponse{TS: d.ts()}
	case tagDelete:
		return &DeleteResponse{Existed: d.bool()}
	case tagIncrement:
		return &IncrementResponse{Value: d.varint(), Count: d.varint(), Taken: d.bool()}
	case tagBulkWrite:
		return &BulkWriteResponse{}
	case tagCommitSingleRange:
		return &CommitSingleRangeResponse{CommitTS: d.ts()}
	case tagPrepare:
		return &PrepareResponse{TS: d.ts(), Wanted: d.bool()}
	case tagStageTxn:
		return &StageTxnResponse{}
	case tagEndTxn:
		return &EndTxnResponse{Status: d.txnStatus(), CommitTS: d.ts()}
	case tagForgetTxns:
		return &ForgetTxnsResponse{}
	case tagResolveLocks:
		return &ResolveLocksResponse{}
	case tagResolveSpan:
		return &ResolveSpanResponse{Resume: d.span()}
	case tagUndoSpan:
		return &UndoSpanResponse{Resume: d.span()}
	case tagReleaseLocks:
		return &ReleaseLocksResponse{}
	case tagQueryPrepared:
		return &QueryPreparedResponse{Missing: d.keys()}
	case tagRecoverTxn:
		return &RecoverTxnResponse{Record: d.txnRecord()}
	case tagQueryCommit:
		return &QueryCommitResponse{Committed: d.bool(), CommitTS: d.ts()}
	case tagGC:
		return &GCResponse{Removed: d.varint(), Next: d.key()}
	case tagChecksum:
		n := d.count(2)
		var m map[StoreID]string
		if n > 0 {
			m = make(map[StoreID]string, n)
		}
		for range n {
			s := StoreID(d.varint32())
			if _, dup := m[s]; dup {
				d.fail("store listed twice")
			}
			sum := d.string()
			if d.err != nil {
				return nil
			}
			m[s] = sum
		}
		return &ChecksumResponse{ByStore: m, Stats: d.stats()}
	case tagAdminSplit:
		return &AdminSplitResponse{Left: d.descriptor(), Right: d.descriptor()}
	case tagAdminMerge:
		return &AdminMergeResponse{Descriptor: d.descriptor()}
	case tagAdminEndMerge:
		return &AdminEndMergeResponse{Merged: d.bool()}
	case tagAdminTransferLeader:
		return &AdminTransferLeaderResponse{}
	case tagAdminChangeReplicas:
		return &AdminChangeReplicasResponse{Descriptor: d.descriptor()}
	default:
		d.fail(fmt.Sprintf("unknown response %d", tag))
		return nil
	}
}
