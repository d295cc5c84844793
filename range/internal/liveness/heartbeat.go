package liveness

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/rest"
	"github.com/pamirdb/pamir/range/kv"
)

// ErrCorrupt is returned by DecodeHeartbeat for bytes that no encoder writes.
var ErrCorrupt = errors.New("liveness: corrupt heartbeat")

// Heartbeat is a message between two stores. A request asks the receiver for its
// support; the answer carries the promise. Both measure the clock offset.
type Heartbeat struct {
	FromNode  kv.NodeID
	FromStore kv.StoreID
	ToNode    kv.NodeID
	ToStore   kv.StoreID
	// Answer distinguishes the answer from the request.
	Answer bool
	// Incarnation counts the starts of the sending store. Requester, in an answer, is the Incarnation of the request:
	// a promise to one process says nothing to the next.
	Incarnation uint64
	Requester   uint64
	// Now is the sender's HLC reading, Physical its physical clock.
	Now      hlc.Timestamp
	Physical int64
	// SentAt is, in a request, an opaque local reading of the requester; the answer returns it.
	SentAt int64
	// Epoch and Until are the promise, in an answer: the sender supports the
	// receiver under Epoch until its own clock has passed Until. Epoch 0 is no promise.
	// In a request, Until is the latest reading of the receiver's clock that the sender has, and Epoch, if not 0, that of a promise which
	// the sender has released.
	Epoch uint64
	Until hlc.Timestamp
	// Rest, in a request, is about ranges at rest that the sender leads; Heard, in an answer, is what is answered to it.
	Rest  rest.Update
	Heard rest.Ack
}

const heartbeatVersion = 2

// Append appends the wire form: 02 | answer | ids | incarnation | requester | now 12 | physical 8 | sent 8 | epoch | until 12
// | in an answer: session | number
// | in a request: session | base | number | ts 12 | count | (range id | index)... | count | range id...;
// numbers without a width are uvarints.
func (h *Heartbeat) Append(dst []byte) []byte {
	var a byte
	if h.Answer {
		a = 1
	}
	dst = append(dst, heartbeatVersion, a)
	for _, v := range [4]uint32{uint32(h.FromNode), uint32(h.FromStore), uint32(h.ToNode), uint32(h.ToStore)} {
		dst = binary.AppendUvarint(dst, uint64(v))
	}
	dst = binary.AppendUvarint(dst, h.Incarnation)
	dst = binary.AppendUvarint(dst, h.Requester)
	dst = h.Now.Append(dst)
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.Physical))
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.SentAt))
	dst = binary.AppendUvarint(dst, h.Epoch)
	dst = h.Until.Append(dst)
	if h.Answer {
		dst = binary.AppendUvarint(dst, h.Heard.Session)
		return binary.AppendUvarint(dst, h.Heard.Number)
	}
	u := &h.Rest
	dst = binary.AppendUvarint(dst, u.Session)
	dst = binary.AppendUvarint(dst, u.Base)
	dst = binary.AppendUvarint(dst, u.Number)
	dst = u.TS.Append(dst)
	dst = binary.AppendUvarint(dst, uint64(len(u.Rested)))
	for _, r := range u.Rested {
		dst = binary.AppendUvarint(dst, uint64(r.ID))
		dst = binary.AppendUvarint(dst, r.Index)
	}
	dst = binary.AppendUvarint(dst, uint64(len(u.Stirred)))
	for _, id := range u.Stirred {
		dst = binary.AppendUvarint(dst, uint64(id))
	}
	return dst
}

// DecodeHeartbeat reads what Append wrote.
func DecodeHeartbeat(b []byte) (*Heartbeat, error) {
	if len(b) < 2 || b[1] > 1 {
		return nil, ErrCorrupt
	}
	if b[0] != heartbeatVersion {
		return nil, fmt.Errorf("liveness: heartbeat version %d is not supported", b[0])
	}
	h := &Heartbeat{Answer: b[1] == 1}
	bad := false
	b = b[2:]
	num := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			bad, b = true, nil
			return 0
		}
		b = b[n:]
		return v
	}
	id := func() int32 {
		v := num()
		if v > 1<<31-1 {
			bad = true
		}
		return int32(v)
	}
	ts := func() (t hlc.Timestamp) {
		var err error
		if t, b, err = hlc.Decode(b); err != nil {
			bad, b = true, nil
		}
		return t
	}
	fixed := func() int64 {
		if len(b) < 8 {
			bad, b = true, nil
			return 0
		}
		v := binary.BigEndian.Uint64(b)
		b = b[8:]
		return int64(v)
	}
	h.FromNode, h.FromStore = kv.NodeID(id()), kv.StoreID(id())
	h.ToNode, h.ToStore = kv.NodeID(id()), kv.StoreID(id())
	h.Incarnation = num()
	h.Requester = num()
	h.Now = ts()
	h.Physical, h.SentAt = fixed(), fixed()
	h.Epoch = num()
	h.Until = ts()
	if h.Answer {
		h.Heard = rest.Ack{Session: num(), Number: num()}
	} else {
		u := &h.Rest
		u.Session, u.Base, u.Number, u.TS = num(), num(), num(), ts()
		n := num()
		if bad || n > uint64(len(b)/2) {
			return nil, ErrCorrupt
		}
		if n > 0 {
			u.Rested = make([]rest.Range, n)
		}
		for i := range u.Rested {
			u.Rested[i] = rest.Range{ID: kv.RangeID(num()), Index: num()}
		}
		if n = num(); bad || n > uint64(len(b)) {
			return nil, ErrCorrupt
		}
		if n > 0 {
			u.Stirred = make([]kv.RangeID, n)
		}
		for i := range u.Stirred {
			u.Stirred[i] = kv.RangeID(num())
		}
	}
	if bad || len(b) != 0 {
		return nil, ErrCorrupt
	}
	return h, nil
}
