package kv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
)

// WireVersion is the first byte of every message of this package. A decoder
// refuses every other.
const WireVersion = 1

// ErrWire is wrapped by every decoding error: the bytes were not written by an encoder of this version.
var ErrWire = errors.New("kv: malformed message")

// The encoding, by type:
//
//	bool, small enums   one byte
//	unsigned            uvarint
//	signed              zigzag varint
//	bytes, keys         uvarint(0) for nil, else uvarint(length+1) and the bytes
//	timestamp           uvarint(0) if empty, else uvarint(logical+1) and 8 bytes big-endian wall time
//	slice               uvarint(count), elements; nil and empty are the same
//	optional            bool, then the value if true
//	request, response   tag byte, fields in the order of the struct

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendBytes(b, v []byte) []byte {
	if v == nil {
		return append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(v))+1)
	return append(b, v...)
}

func appendString(b []byte, v string) []byte {
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

func appendTS(b []byte, t hlc.Timestamp) []byte {
	if t.IsEmpty() {
		return append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(t.Logical)+1)
	return binary.BigEndian.AppendUint64(b, uint64(t.WallTime))
}

func appendKeys(b []byte, ks []keys.Key) []byte {
	b = binary.AppendUvarint(b, uint64(len(ks)))
	for _, k := range ks {
		b = appendBytes(b, k)
	}
	return b
}

func appendSpan(b []byte, s keys.Span) []byte {
	return appendBytes(appendBytes(b, s.Start), s.End)
}

func appendSpans(b []byte, ss []keys.Span) []byte {
	b = binary.AppendUvarint(b, uint64(len(ss)))
	for _, s := range ss {
		b = appendSpan(b, s)
	}
	return b
}

func appendReadSpans(b []byte, ss []ReadSpan) []byte {
	b = binary.AppendUvarint(b, uint64(len(ss)))
	for _, s := range ss {
		if s.Existence {
			s.Span.End = s.Span.Start // no other span ends where it starts
		}
		b = appendTS(appendSpan(b, s.Span), s.At)
	}
	return b
}

const (
	writeDeleted = 1 << iota
	writeMustNotExist
	writeFlagsEnd
)

func appendWrites(b []byte, ws []Write) []byte {
	b = binary.AppendUvarint(b, uint64(len(ws)))
	for i := range ws {
		w := &ws[i]
		var flags byte
		if w.Deleted {
			flags |= writeDeleted
		}
		if w.MustNotExist {
			flags |= writeMustNotExist
		}
		b = append(b, flags)
		b = appendBytes(appendBytes(b, w.Key), w.Value)
	}
	return b
}

func appendReplica(b []byte, r Replica) []byte {
	b = binary.AppendVarint(b, int64(r.NodeID))
	b = binary.AppendVarint(b, int64(r.StoreID))
	b = binary.AppendVarint(b, int64(r.ReplicaID))
	return append(b, byte(r.Type))
}

func appendReplicas(b []byte, rs []Replica) []byte {
	b = binary.AppendUvarint(b, uint64(len(rs)))
	for _, r := range rs {
		b = appendReplica(b, r)
	}
	return b
}

func appendDescriptor(b []byte, d *RangeDescriptor) []byte {
	b = binary.AppendVarint(b, int64(d.RangeID))
	b = appendBytes(appendBytes(b, d.StartKey), d.EndKey)
	b = appendReplicas(b, d.Replicas)
	b = binary.AppendVarint(b, int64(d.NextReplicaID))
	return binary.AppendVarint(binary.AppendVarint(b, d.Generation), d.Pinned)
}

func appendDescriptors(b []byte, ds []RangeDescriptor) []byte {
	b = binary.AppendUvarint(b, uint64(len(ds)))
	for i := range ds {
		b = appendDescriptor(b, &ds[i])
	}
	return b
}

func appendTxnMeta(b []byte, t *TxnMeta) []byte {
	b = append(b, t.ID[:]...)
	b = appendBytes(b, t.Anchor)
	b = binary.AppendVarint(b, int64(t.Gateway))
	b = binary.AppendVarint(b, t.Incarnation)
	b = appendTS(b, t.ReadTS)
	b = appendTS(b, t.UncertaintyLimit)
	b = appendTS(b, t.Observed)
	return append(b, byte(t.Isolation))
}

func appendTxnRecord(b []byte, r *TxnRecord) []byte {
	b = appendTxnMeta(b, &r.Meta)
	status := byte(r.Status)
	if len(r.Spans) > 0 {
		status |= recordHasSpans
	}
	if r.Held {
		status |= recordHeld
	}
	b = append(b, status)
	b = appendTS(b, r.CommitTS)
	b = appendKeys(b, r.Prepared)
	if len(r.Spans) > 0 {
		b = appendSpans(b, r.Spans)
	}
	return b
}

// recordHasSpans is set in the status of a record with Spans, recordHeld in that of one that is Held.
const recordHasSpans, recordHeld = 0x80, 0x40

func appendStats(b []byte, s Stats) []byte {
	for _, v := range [...]int64{s.LiveRows, s.LiveBytes, s.Versions, s.Bytes, s.Locks} {
		b = binary.AppendVarint(b, v)
	}
	return b
}

// wireAppender is implemented by Pushdown and Result.
type wireAppender interface {
	AppendWire(dst []byte) ([]byte, error)
}

// appendProgram appends present(bool), length (4 bytes big endian) and the
// wire form of a pushdown or its result.
func appendProgram(b []byte, present bool, p wireAppender) ([]byte, error) {
	if !present {
		return append(b, 0), nil
	}
	b = append(b, 1, 0, 0, 0, 0)
	at := len(b)
	b, err := p.AppendWire(b)
	if err != nil {
		return nil, err
	}
	n := len(b) - at
	if n < 0 || n > math.MaxUint32 {
		return nil, Errorf(CodeTooLarge, "pushed-down program of %d bytes", n)
	}
	binary.BigEndian.PutUint32(b[at-4:], uint32(n))
	return b, nil
}

// decoder reads a message. Its first failure sticks; later reads return zero
// values, so callers check err once, at the end. What it returns aliases b.
type decoder struct {
	b   []byte
	err error
	pd  PushdownDecoder
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrWire, what)
	}
	d.b = nil
}

func (d *decoder) version() {
	if v := d.byte(); d.err == nil && v != WireVersion {
		d.fail(fmt.Sprintf("wire version %d, this node speaks %d", v, WireVersion))
	}
}

// finish checks that nothing failed and nothing is left.
func (d *decoder) finish() error {
	if d.err == nil && len(d.b) != 0 {
		d.fail("trailing bytes")
	}
	return d.err
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail("short")
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

// enum reads a byte that must be below limit.
func (d *decoder) enum(limit byte) byte {
	v := d.byte()
	if v >= limit {
		d.fail("enum out of range")
		return 0
	}
	return v
}

func (d *decoder) bool() bool { return d.enum(2) == 1 }

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("varint")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail("varint")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint32() int32 {
	v := d.varint()
	if v < math.MinInt32 || v > math.MaxInt32 {
		d.fail("32-bit integer out of range")
		return 0
	}
	return int32(v)
}

// take returns the next n bytes, with no spare capacity so that nobody appends over what follows.
func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.fail("short")
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n == 0 {
		return nil
	}
	return d.take(n - 1)
}

func (d *decoder) string() string { return string(d.take(d.uvarint())) }

func (d *decoder) ts() hlc.Timestamp {
	l := d.uvarint()
	if l == 0 {
		return hlc.Timestamp{}
	}
	w := d.take(8)
	if w == nil {
		return hlc.Timestamp{}
	}
	wall := binary.BigEndian.Uint64(w)
	if l-1 > math.MaxUint32 || wall > math.MaxInt64 {
		d.fail("timestamp out of range")
		return hlc.Timestamp{}
	}
	return hlc.Timestamp{WallTime: int64(wall), Logical: uint32(l - 1)}
}

// count reads the length of a slice whose elements take at least min bytes each.
// What it returns never exceeds what the rest of the input can hold.
func (d *decoder) count(min int) int {
	n := d.uvarint()
	if n > uint64(len(d.b)/min) {
		d.fail("count exceeds message")
		return 0
	}
	return int(n)
}

// decodeSlice reads count elements. nil stands for none.
func decodeSlice[T any](d *decoder, min int, elem func(*decoder) T) []T {
	n := d.count(min)
	if n == 0 {
		return nil
	}
	s := make([]T, 0, n)
	for range n {
		s = append(s, elem(d))
		if d.err != nil {
			return nil
		}
	}
	return s
}

func (d *decoder) key() keys.Key { return d.bytes() }

func (d *decoder) keys() []keys.Key { return decodeSlice(d, 1, (*decoder).key) }

func (d *decoder) span() keys.Span { return keys.Span{Start: d.bytes(), End: d.bytes()} }

func (d *decoder) spans() []keys.Span { return decodeSlice(d, 2, (*decoder).span) }

func (d *decoder) rows() Rows {
	n := d.uvarint()
	if n > math.MaxInt32 {
		d.fail("row count out of range")
		return Rows{}
	}
	return Rows{Count: int(n), Data: d.bytes()}
}

func (d *decoder) readSpan() ReadSpan {
	s := ReadSpan{Span: d.span(), At: d.ts()}
	if len(s.Span.End) > 0 && s.Span.End.Equal(s.Span.Start) {
		s.Span.End, s.Existence = nil, true
	}
	return s
}

func (d *decoder) readSpans() []ReadSpan { return decodeSlice(d, 3, (*decoder).readSpan) }

func (d *decoder) write() Write {
	f := d.enum(writeFlagsEnd)
	return Write{
		Deleted:      f&writeDeleted != 0,
		MustNotExist: f&writeMustNotExist != 0,
		Key:          d.bytes(),
		Value:        d.bytes(),
	}
}

func (d *decoder) writes() []Write { return decodeSlice(d, 3, (*decoder).write) }

func (d *decoder) replica() Replica {
	return Replica{
		NodeID:    NodeID(d.varint32()),
		StoreID:   StoreID(d.varint32()),
		ReplicaID: ReplicaID(d.varint32()),
		Type:      ReplicaType(d.enum(byte(NonVoter) + 1)),
	}
}

func (d *decoder) replicas() []Replica { return decodeSlice(d, 4, (*decoder).replica) }

func (d *decoder) descriptor() RangeDescriptor {
	return RangeDescriptor{
		RangeID:       RangeID(d.varint()),
		StartKey:      d.bytes(),
		EndKey:        d.bytes(),
		Replicas:      d.replicas(),
		NextReplicaID: ReplicaID(d.varint32()),
		Generation:    d.varint(),
		Pinned:        d.varint(),
	}
}

func (d *decoder) descriptors() []RangeDescriptor {
	return decodeSlice(d, 7, (*decoder).descriptor)
}

func (d *decoder) txnID() (id TxnID) {
	copy(id[:], d.take(uint64(len(id))))
	return id
}

func (d *decoder) txnMeta() TxnMeta {
	return TxnMeta{
		ID:               d.txnID(),
		Anchor:           d.bytes(),
		Gateway:          NodeID(d.varint32()),
		Incarnation:      d.varint(),
		ReadTS:           d.ts(),
		UncertaintyLimit: d.ts(),
		Observed:         d.ts(),
		Isolation:        Isolation(d.enum(byte(ReadCommitted) + 1)),
	}
}

func (d *decoder) txnStatus() TxnStatus { return TxnStatus(d.enum(byte(TxnOpen) + 1)) }

func (d *decoder) lockStrength() LockStrength { return LockStrength(d.enum(byte(LockUpdate) + 1)) }

func (d *decoder) txnRecord() TxnRecord {
	r := TxnRecord{Meta: d.txnMeta()}
	status := d.byte()
	r.Held = status&recordHeld != 0
	if r.Status = TxnStatus(status &^ (recordHasSpans | recordHeld)); r.Status > TxnOpen {
		d.fail("enum out of range")
	}
	r.CommitTS, r.Prepared = d.ts(), d.keys()
	if status&recordHasSpans != 0 {
		r.Spans = d.spans()
	}
	return r
}

func (d *decoder) stats() Stats {
	return Stats{LiveRows: d.varint(), LiveBytes: d.varint(), Versions: d.varint(), Bytes: d.varint(), Locks: d.varint()}
}

// program reads what appendProgram wrote; nil if absent.
func (d *decoder) program() []byte {
	if !d.bool() {
		return nil
	}
	n := d.take(4)
	if n == nil {
		return nil
	}
	p := d.take(uint64(binary.BigEndian.Uint32(n)))
	if d.err == nil && d.pd == nil {
		d.fail("pushed-down program, and nobody here to decode it")
		return nil
	}
	return p
}

func (d *decoder) pushdown() Pushdown {
	b := d.program()
	if b == nil {
		return nil
	}
	p, err := d.pd.DecodePushdown(b)
	if err != nil {
		d.fail("pushed-down program: " + err.Error())
		return nil
	}
	return p
}

func (d *decoder) result() Result {
	b := d.program()
	if b == nil {
		return nil
	}
	r, err := d.pd.DecodeResult(b)
	if err != nil {
		d.fail("result of a pushed-down program: " + err.Error())
		return nil
	}
	return r
}

// AppendWire appends the versioned wire form of r.
func (r *TxnRecord) AppendWire(dst []byte) []byte {
	return appendTxnRecord(append(dst, WireVersion), r)
}

// DecodeTxnRecord reads what TxnRecord.AppendWire wrote. The result aliases b.
func DecodeTxnRecord(b []byte) (TxnRecord, error) {
	d := decoder{b: b}
	d.version()
	r := d.txnRecord()
	return r, d.finish()
}

// AppendWire appends the versioned wire form of r.
func (r *LockRecord) AppendWire(dst []byte) []byte {
	dst = appendTxnMeta(append(dst, WireVersion), &r.Txn)
	dst = appendTS(dst, r.TS)
	open := r.Seq != 0 || r.Undone != 0 || len(r.Older) > 0
	var flags byte
	if r.Deleted {
		flags |= lockDeleted
	}
	if open {
		flags |= lockOpen
	}
	dst = appendBytes(append(dst, flags), r.Value)
	if open {
		dst = binary.AppendVarint(dst, int64(r.Seq))
		dst = binary.AppendVarint(dst, int64(r.Undone))
		dst = binary.AppendUvarint(dst, uint64(len(r.Older)))
		for i := range r.Older {
			v := &r.Older[i]
			dst = appendBytes(appendBool(binary.AppendVarint(dst, int64(v.Seq)), v.Deleted), v.Value)
		}
	}
	return dst
}

// The flags of a lock.
const (
	lockDeleted = 1 << iota
	lockOpen    // the fields of an open lock follow
	lockFlagsEnd
)

// DecodeLockRecord reads what LockRecord.AppendWire wrote. The result aliases b.
func DecodeLockRecord(b []byte) (LockRecord, error) {
	d := decoder{b: b}
	d.version()
	r := LockRecord{Txn: d.txnMeta(), TS: d.ts()}
	flags := d.enum(lockFlagsEnd)
	r.Deleted, r.Value = flags&lockDeleted != 0, d.bytes()
	if flags&lockOpen != 0 {
		r.Seq, r.Undone = d.varint32(), d.varint32()
		r.Older = decodeSlice(&d, 3, func(d *decoder) LockVersion {
			return LockVersion{Seq: d.varint32(), Deleted: d.bool(), Value: d.bytes()}
		})
	}
	return r, d.finish()
}

// AppendWire appends the versioned wire form of e.
func (e *Error) AppendWire(dst []byte) []byte {
	dst = append(dst, WireVersion)
	dst = binary.AppendUvarint(dst, uint64(e.Code))
	dst = appendString(dst, e.Message)
	dst = appendBytes(appendBytes(dst, e.Key), e.Value)
	dst = appendTS(dst, e.TS)
	dst = appendReplica(dst, e.Leader)
	dst = appendDescriptors(dst, e.Descriptors)
	dst = appendBytes(dst, e.Detail)
	return appendTS(dst, e.Now)
}

// DecodeError reads what Error.AppendWire wrote. The result aliases b.
func DecodeError(b []byte) (*Error, error) {
	d := decoder{b: b}
	d.version()
	code := d.uvarint()
	if code >= uint64(numCodes) {
		d.fail("unknown error code")
	}
	e := &Error{
		Code:        Code(code),
		Message:     d.string(),
		Key:         d.bytes(),
		Value:       d.bytes(),
		TS:          d.ts(),
		Leader:      d.replica(),
		Descriptors: d.descriptors(),
		Detail:      d.bytes(),
		Now:         d.ts(),
	}
	if err := d.finish(); err != nil {
		return nil, err
	}
	return e, nil
}
