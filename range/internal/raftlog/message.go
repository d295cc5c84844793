package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/kv"
)

// ErrCorrupt is returned by the decoders for bytes that no encoder writes.
var ErrCorrupt = errors.New("raftlog: corrupt encoding")

// Message is one Raft message between two replicas of a range, or a notice
// that the addressed replica was removed.
type Message struct {
	RangeID kv.RangeID
	From    kv.Replica // Type is not sent
	To      kv.Replica
	// Now is a clock reading of the sender's node at the time of sending.
	Now hlc.Timestamp
	// Epoch is the epoch of the support of From.StoreID for To.StoreID under which
	// From follows To at the message's term; 0 if it does not (package liveness).
	Epoch uint64
	// RemovedBelow, if not zero, says that replicas of the range with a smaller id
	// have been removed for ever. There is no Raft message then.
	RemovedBelow kv.ReplicaID
	// ChecksumID, if not zero, is a checksum command's, and Checksum what became of it at From; if that is empty, From asks what became of it at To
	// (store.checksums). There is no Raft message then.
	ChecksumID uint64
	Checksum   []byte
	// Resigned says that From has stopped for good and will never lead again at a term up to this one. There is no Raft message then.
	Resigned uint64
	// Ask says that From has heard of no leader for a while, and wants to know whether it still belongs to the
	// range; if To has no replica id, whether the range was merged away. There is no Raft message then.
	Ask  bool
	Raft *pb.Message
}

const (
	messageVersion = 1

	flagReject   = 1 << 0
	flagRemoved  = 1 << 1
	flagSnapshot = 1 << 2
	flagContext  = 1 << 3
	flagChecksum = 1 << 4
	flagResigned = 1 << 5
	flagAsk      = 1 << 6
	flagNotice   = flagRemoved | flagChecksum | flagResigned | flagAsk
	flagsKnown   = 1<<7 - 1

	// minEntryLen is the smallest encoding of an entry: type, term, index, length.
	minEntryLen = 4
)

// Append appends the wire form of m:
//
//	01 | flags | range id | from (node, store, replica) | to (same) | now 12 | epoch
//	flagRemoved:  smallest id
//	flagChecksum: command id | length, checksum
//	flagResigned: term
//	flagAsk:      nothing
//	otherwise:    type | term | log term | index | commit | vote | reject hint
//	              [flagContext: length, context] [flagSnapshot: length, protobuf]
//	              entry count | (type | term | index - previous index | length | data)...
//
// Numbers are uvarints. Snapshot metadata is cold, hence protobuf.
func (m *Message) Append(dst []byte) ([]byte, error) {
	var flags byte
	r := m.Raft
	if m.RemovedBelow != 0 {
		flags |= flagRemoved
	} else if m.ChecksumID != 0 {
		flags |= flagChecksum
	} else if m.Resigned != 0 {
		flags |= flagResigned
	} else if m.Ask {
		flags |= flagAsk
	} else if r == nil {
		return dst, errors.New("raftlog: message without content")
	} else {
		if r.GetReject() {
			flags |= flagReject
		}
		if r.Snapshot != nil {
			flags |= flagSnapshot
		}
		if len(r.Context) > 0 {
			flags |= flagContext
		}
		if len(r.Responses) > 0 {
			return dst, errors.New("raftlog: local message cannot be sent")
		}
	}
	dst = append(dst, messageVersion, flags)
	dst = binary.AppendUvarint(dst, uint64(m.RangeID))
	for _, p := range [2]kv.Replica{m.From, m.To} {
		dst = binary.AppendUvarint(dst, uint64(uint32(p.NodeID)))
		dst = binary.AppendUvarint(dst, uint64(uint32(p.StoreID)))
		dst = binary.AppendUvarint(dst, uint64(uint32(p.ReplicaID)))
	}
	dst = m.Now.Append(dst)
	dst = binary.AppendUvarint(dst, m.Epoch)
	switch flags & flagNotice {
	case flagRemoved:
		return binary.AppendUvarint(dst, uint64(uint32(m.RemovedBelow))), nil
	case flagChecksum:
		return appendBytes(binary.AppendUvarint(dst, m.ChecksumID), m.Checksum), nil
	case flagResigned:
		return binary.AppendUvarint(dst, m.Resigned), nil
	case flagAsk:
		return dst, nil
	}
	dst = binary.AppendUvarint(dst, uint64(r.GetType()))
	for _, v := range [6]uint64{r.GetTerm(), r.GetLogTerm(), r.GetIndex(), r.GetCommit(), r.GetVote(), r.GetRejectHint()} {
		dst = binary.AppendUvarint(dst, v)
	}
	if flags&flagContext != 0 {
		dst = appendBytes(dst, r.Context)
	}
	if flags&flagSnapshot != 0 {
		s, err := proto.Marshal(r.Snapshot)
		if err != nil {
			return dst, err
		}
		dst = appendBytes(dst, s)
	}
	dst = binary.AppendUvarint(dst, uint64(len(r.Entries)))
	prev := r.GetIndex()
	for _, e := range r.Entries {
		dst = append(dst, byte(e.GetType()))
		dst = binary.AppendUvarint(dst, e.GetTerm())
		dst = binary.AppendUvarint(dst, e.GetIndex()-prev)
		dst = appendBytes(dst, e.Data)
		prev = e.GetIndex()
	}
	return dst, nil
}

// DecodeMessage reads what Append wrote. The message's byte slices alias b.
func DecodeMessage(b []byte) (*Message, error) {
	if len(b) < 2 {
		return nil, ErrCorrupt
	}
	if b[0] != messageVersion {
		return nil, fmt.Errorf("raftlog: message version %d is not supported", b[0])
	}
	flags := b[1]
	if flags > flagsKnown {
		return nil, ErrCorrupt
	}
	d := decoder{b: b[2:]}
	m := &Message{RangeID: kv.RangeID(d.uvarint())}
	for _, p := range [2]*kv.Replica{&m.From, &m.To} {
		p.NodeID = kv.NodeID(d.uint32())
		p.StoreID = kv.StoreID(d.uint32())
		p.ReplicaID = kv.ReplicaID(d.uint32())
	}
	m.Now = d.timestamp()
	m.Epoch = d.uvarint()
	if n := flags & flagNotice; n != 0 {
		switch n {
		case flagRemoved:
			m.RemovedBelow = kv.ReplicaID(d.uint32())
			d.bad = d.bad || m.RemovedBelow == 0
		case flagChecksum:
			m.ChecksumID, m.Checksum = d.uvarint(), d.bytes()
			d.bad = d.bad || m.ChecksumID == 0
		case flagResigned:
			m.Resigned = d.uvarint()
			d.bad = d.bad || m.Resigned == 0
		case flagAsk:
			m.Ask = true
		default:
			return nil, ErrCorrupt
		}
		if d.bad || len(d.b) != 0 {
			return nil, ErrCorrupt
		}
		return m, nil
	}
	typ := d.uvarint()
	// All numbers of one message share one allocation: the generated type wants pointers.
	n := new([8]uint64)
	for i := range 6 {
		n[i] = d.uvarint()
	}
	n[6], n[7] = uint64(uint32(m.From.ReplicaID)), uint64(uint32(m.To.ReplicaID))
	if d.bad || typ > uint64(pb.MsgForgetLeader) {
		return nil, ErrCorrupt
	}
	r := &pb.Message{
		Type: pb.MessageType(typ).Enum(), From: &n[6], To: &n[7],
		Term: &n[0], LogTerm: &n[1], Index: &n[2], Commit: &n[3], Vote: &n[4], RejectHint: &n[5],
	}
	if flags&flagReject != 0 {
		r.Reject = proto.Bool(true)
	}
	if flags&flagContext != 0 {
		r.Context = d.bytes()
	}
	if flags&flagSnapshot != 0 {
		r.Snapshot = new(pb.Snapshot)
		if err := proto.Unmarshal(d.bytes(), r.Snapshot); err != nil {
			return nil, fmt.Errorf("%w: %v", ErrCorrupt, err)
		}
	}
	count := d.uvarint()
	if d.bad || count > uint64(len(d.b)/minEntryLen) {
		return nil, ErrCorrupt
	}
	if count > 0 {
		block := make([]entryBlock, count)
		r.Entries = make([]*pb.Entry, count)
		prev := n[2]
		for i := range block {
			e := &block[i]
			et := d.byte()
			e.term = d.uvarint()
			e.index = prev + d.uvarint()
			e.fill(pb.EntryType(et), d.bytes())
			if d.bad || et > byte(pb.EntryConfChangeV2) {
				return nil, ErrCorrupt
			}
			prev = e.index
			r.Entries[i] = &e.entry
		}
	}
	if d.bad || len(d.b) != 0 {
		return nil, ErrCorrupt
	}
	m.Raft = r
	return m, nil
}

// entryBlock holds an entry together with what its pointers point to.
type entryBlock struct {
	entry       pb.Entry
	term, index uint64
	typ         pb.EntryType
}

func (e *entryBlock) fill(t pb.EntryType, data []byte) {
	e.typ = t
	e.entry.Term, e.entry.Index, e.entry.Type = &e.term, &e.index, &e.typ
	if len(data) > 0 {
		e.entry.Data = data
	}
}

func appendBytes(dst, b []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

// decoder takes values off the front of b; after an error bad is set and it returns zeros.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) uint32() uint32 {
	v := d.uvarint()
	if v > 1<<31-1 {
		d.bad = true
		return 0
	}
	return uint32(v)
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.bad = true
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if d.bad || n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) timestamp() hlc.Timestamp {
	t, rest, err := hlc.Decode(d.b)
	if err != nil {
		d.bad, d.b = true, nil
		return hlc.Timestamp{}
	}
	d.b = rest
	return t
}
