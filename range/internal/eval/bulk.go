package eval

import (
	"bytes"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// bulkWrite puts rows below what may have been read, which is right only because nobody but the
// writer's transaction knows of their keys: a descriptor that names them is committed later, at a later timestamp, so
// every other reader that gets here reads above TS and finds them in the log before its own closed timestamp.
func (e *evaluation) bulkWrite(r *kv.BulkWrite) (kv.Response, error) {
	if e.req.Txn != nil || len(e.req.Requests) != 1 {
		return nil, kv.Errorf(kv.CodeBadRequest, "a bulk write comes alone and without a transaction")
	}
	if r.TS.IsEmpty() || e.env.Clock.Now().Less(r.TS) {
		return nil, kv.Errorf(kv.CodeBadRequest, "bulk write at %s", r.TS)
	}
	if r.TS.LessEq(e.env.GCThreshold) {
		return nil, &kv.Error{Code: kv.CodeReadBelowGC, TS: e.env.GCThreshold}
	}
	// Nearly always nothing is there at all: one look instead of one for each row.
	_, _, some, err := e.r.Changed(r.Span, hlc.Timestamp{}, hlc.Max)
	if err != nil {
		return nil, err
	}
	e.writes++
	w := e.batch()
	rows := r.Rows
	var last keys.Key
	for {
		key, value, ok, err := rows.Next()
		if err != nil {
			return nil, kv.Errorf(kv.CodeBadRequest, "%v", err)
		}
		if !ok {
			break
		}
		if !r.Span.Contains(key) || key.IsLocal() || bytes.Compare(key, last) <= 0 {
			return nil, &kv.Error{Code: kv.CodeBadRequest, Key: key.Clone(), Message: "bulk write out of its span or order"}
		}
		last = key
		if some {
			there, err := e.sameVersion(key, value, r.TS)
			if err != nil {
				return nil, err
			}
			if there {
				continue
			}
		}
		if err := w.Put(key, r.TS, false, value, mvcc.Newest{}); err != nil {
			return nil, err
		}
	}
	if !w.Batch.Empty() {
		e.wrote(r.TS)
	}
	return &kv.BulkWriteResponse{}, nil
}

// sameVersion reports whether the very row has been written before; another one is an error.
func (e *evaluation) sameVersion(key keys.Key, value []byte, ts hlc.Timestamp) (bool, error) {
	v, ok, err := e.r.Newest(key)
	if err != nil || !ok {
		return false, err
	}
	if v.TS == ts && !v.Deleted && bytes.Equal(v.Value, value) {
		return true, nil
	}
	return false, &kv.Error{Code: kv.CodeConditionFailed, Key: key.Clone(), TS: v.TS, Message: "bulk write over a row"}
}
