package catalog

import (
	"bytes"
	"context"
	"slices"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/pgerr"
)

// Rows of the version table besides the version row itself.
const (
	rowVersion = 0
	rowMarker  = 1 // <id> -> expiry
	rowGateway = 2 // <node> <process> -> nothing
	rowAck     = 3 // <marker's id> <node> <process> -> nothing
	rowStrike  = 4 // <node> -> id
)

func markerKey(id kv.TxnID) keys.Key { return append(idKey(versionTable, rowMarker), id[:]...) }

// registration is of one process of a node. What one that was killed was granted holds until it has run out, and what it sent may still arrive, though the node runs again:
// none says anything for another.
type registration struct {
	node    uint64
	process kv.TxnID
}

func (r registration) append(k keys.Key) keys.Key {
	k = keys.AppendUvarint(k, r.node)
	if r.process.IsZero() {
		return k // of a build that did not tell processes apart
	}
	return append(k, r.process[:]...)
}

func gatewayKey(r registration) keys.Key { return r.append(idKey(versionTable, rowGateway)) }

func ackKey(id kv.TxnID, r registration) keys.Key {
	return r.append(append(idKey(versionTable, rowAck), id[:]...))
}

func strikeKey(node uint64) keys.Key {
	return keys.AppendUvarint(idKey(versionTable, rowStrike), node)
}

// versionTableState is one look at the version table.
type versionTableState struct {
	at       hlc.Timestamp
	row      versionRow
	have     bool
	markers  []kv.TxnID // not expired at at
	expired  []kv.TxnID // other ones
	gateways []registration
	strikes  map[uint64][]byte
	acks     map[kv.TxnID][]registration
}

// maxCuts bounds how often the version table is cut again because its ranges split under a look.
const maxCuts = 20

// look reads the version table at the clock's present.
func (h *leaseHolder) look(ctx context.Context) (st *versionTableState, err error) {
	at := h.clock.Now()
	for range maxCuts { // many schema changes split the table
		if st, err = h.lookAt(ctx, at); !kv.HasCode(err, kv.CodeRangeMismatch) {
			break
		}
	}
	return st, err
}

func (h *leaseHolder) lookAt(ctx context.Context, at hlc.Timestamp) (*versionTableState, error) {
	parts, err := h.sender.Ranges(ctx, []keys.Span{tableSpan(versionTable)}, false)
	if err != nil {
		return nil, err
	}
	st := &versionTableState{at: at, strikes: map[uint64][]byte{}, acks: map[kv.TxnID][]registration{}}
	for _, p := range parts {
		for spans := p.Spans; len(spans) > 0; {
			resp, err := h.sender.Send(ctx, &kv.BatchRequest{Timestamp: at, Requests: []kv.Request{&kv.Scan{Spans: spans}}})
			if err != nil {
				return nil, err
			}
			sr, ok := resp.Responses[0].(*kv.ScanResponse)
			if !ok {
				return nil, pgerr.New(pgerr.InternalError, "the answer to a scan of the version table is a %T", resp.Responses[0])
			}
			if err := st.take(sr); err != nil {
				return nil, err
			}
			spans = sr.Resume
		}
	}
	return st, nil
}

func (st *versionTableState) take(sr *kv.ScanResponse) error {
	prefix := tableKey(versionTable)
	for {
		k, v, ok, err := sr.Rows.Next()
		if err != nil || !ok {
			return err
		}
		if err := st.add(k[len(prefix):], v); err != nil {
			return err
		}
	}
}

func (st *versionTableState) add(k, v []byte) error {
	kind, rest, err := keys.DecodeUvarint(k)
	if err != nil {
		return err
	}
	takeID := func() (id kv.TxnID, ok bool) {
		if len(rest) < len(id) {
			return id, false
		}
		copy(id[:], rest)
		rest = rest[len(id):]
		return id, true
	}
	takeRegistration := func() (r registration) {
		if r.node, rest, err = keys.DecodeUvarint(rest); err == nil {
			r.process, _ = takeID()
		}
		return r
	}
	bad := pgerr.New(pgerr.DataCorrupted, "the catalog's version table is corrupt")
	switch kind {
	case rowVersion:
		st.have = true
		st.row, err = decodeVersionRow(v)
	case rowMarker:
		id, ok := takeID()
		if !ok || len(v) != hlc.EncodedLen {
			return bad
		}
		var expiry hlc.Timestamp
		if expiry, _, err = hlc.Decode(v); err != nil {
			return err
		}
		if st.at.Less(expiry) {
			st.markers = append(st.markers, id)
		} else {
			st.expired = append(st.expired, id)
		}
	case rowGateway:
		if r := takeRegistration(); err == nil {
			st.gateways = append(st.gateways, r)
		}
	case rowStrike:
		var n uint64
		if n, _, err = keys.DecodeUvarint(rest); err == nil {
			st.strikes[n] = bytes.Clone(v)
		}
	case rowAck:
		id, ok := takeID()
		if !ok {
			return bad
		}
		if r := takeRegistration(); err == nil {
			st.acks[id] = append(st.acks[id], r)
		}
	}
	return err
}

// tidy removes what those who are gone have left: markers that have expired, which nobody can renew any more, and acknowledgements of markers that are gone. Ids
// are not used again, so a removal that arrives late removes nothing else.
func (h *leaseHolder) tidy(ctx context.Context) error {
	st, err := h.look(ctx)
	if err != nil {
		return err
	}
	for _, id := range st.expired {
		if err := h.delete(ctx, markerKey(id)); err != nil {
			return err
		}
	}
	for id, rs := range st.acks {
		if slices.Contains(st.markers, id) {
			continue
		}
		for _, r := range rs {
			if err := h.delete(ctx, ackKey(id, r)); err != nil {
				return err
			}
		}
	}
	return nil
}
