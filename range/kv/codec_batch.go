package kv

import "encoding/binary"

const (
	batchHasTxn = 1 << iota
	batchCanMove
	batchAnyReplica
	batchHasOwn
	batchFlagsEnd
)

// AppendWire appends the versioned wire form of r.
func (r *BatchRequest) AppendWire(dst []byte) ([]byte, error) {
	var flags byte
	if r.Txn != nil {
		flags |= batchHasTxn
	}
	if r.CanMoveReadTS {
		flags |= batchCanMove
	}
	if r.AnyReplica {
		flags |= batchAnyReplica
	}
	if r.OwnSeq != 0 {
		flags |= batchHasOwn
	}
	b := append(dst, WireVersion, flags)
	b = binary.AppendVarint(b, int64(r.RangeID))
	b = binary.AppendVarint(b, r.Generation)
	b = appendTS(b, r.Now)
	if r.Txn != nil {
		b = appendTxnMeta(b, r.Txn)
	}
	b = appendTS(b, r.Timestamp)
	b = append(b, byte(r.Wait))
	b = binary.AppendVarint(b, r.LockTimeout)
	b = binary.AppendVarint(b, r.MaxRows)
	b = binary.AppendVarint(b, r.TargetBytes)
	if r.OwnSeq != 0 {
		b = binary.AppendVarint(b, int64(r.OwnSeq))
	}
	b = binary.AppendUvarint(b, uint64(len(r.Requests)))
	var err error
	for _, q := range r.Requests {
		if b, err = appendRequest(b, q); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// DecodeBatchRequest reads what BatchRequest.AppendWire wrote. The result
// aliases b, which must not change afterwards. pd may be nil if no pushdown is expected.
func DecodeBatchRequest(b []byte, pd PushdownDecoder) (*BatchRequest, error) {
	d := decoder{b: b, pd: pd}
	d.version()
	flags := d.enum(batchFlagsEnd)
	r := &BatchRequest{
		CanMoveReadTS: flags&batchCanMove != 0,
		AnyReplica:    flags&batchAnyReplica != 0,
		RangeID:       RangeID(d.varint()),
		Generation:    d.varint(),
		Now:           d.ts(),
	}
	if flags&batchHasTxn != 0 {
		t := d.txnMeta()
		r.Txn = &t
	}
	r.Timestamp = d.ts()
	r.Wait = WaitPolicy(d.enum(byte(WaitSkip) + 1))
	r.LockTimeout = d.varint()
	r.MaxRows = d.varint()
	r.TargetBytes = d.varint()
	if flags&batchHasOwn != 0 {
		r.OwnSeq = d.varint32()
	}
	r.Requests = decodeSlice(&d, 1, (*decoder).request)
	if err := d.finish(); err != nil {
		return nil, err
	}
	return r, nil
}

// AppendWire appends the versioned wire form of r.
func (r *BatchResponse) AppendWire(dst []byte) ([]byte, error) {
	b := append(dst, WireVersion)
	b = appendTS(b, r.Now)
	b = binary.AppendVarint(b, int64(r.ServedBy))
	b = appendTS(b, r.ReadTS)
	b = binary.AppendUvarint(b, uint64(len(r.Responses)))
	var err error
	for _, q := range r.Responses {
		if b, err = appendResponse(b, q); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// DecodeBatchResponse reads what BatchResponse.AppendWire wrote. The result
// aliases b, which must not change afterwards.
func DecodeBatchResponse(b []byte, pd PushdownDecoder) (*BatchResponse, error) {
	d := decoder{b: b, pd: pd}
	d.version()
	r := &BatchResponse{
		Now:       d.ts(),
		ServedBy:  NodeID(d.varint32()),
		ReadTS:    d.ts(),
		Responses: decodeSlice(&d, 1, (*decoder).response),
	}
	if err := d.finish(); err != nil {
		return nil, err
	}
	return r, nil
}
