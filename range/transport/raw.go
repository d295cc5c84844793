package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/grpc/mem"

	"github.com/pamirdb/pamir/hlc"
)

// frame is one gRPC message: a clock reading and whatever the stream's kind puts after it.
// As an argument of SendMsg its buffer goes back to the pool when gRPC has written it;
// as an argument of RecvMsg it gets fresh memory, which the receiver may keep.
type frame struct{ b []byte }

// rawCodec hands frames to gRPC as they are.
type rawCodec struct{}

func (rawCodec) Name() string { return "pamir" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	f, ok := v.(*frame)
	if !ok {
		return nil, fmt.Errorf("transport: cannot marshal %T", v)
	}
	return mem.BufferSlice{mem.NewBuffer(&f.b, frames)}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	f, ok := v.(*frame)
	if !ok {
		return fmt.Errorf("transport: cannot unmarshal %T", v)
	}
	f.b = data.Materialize()
	return nil
}

// framePool recycles the buffers of sent frames.
type framePool struct{ p sync.Pool }

var frames = &framePool{}

// maxPooled keeps a burst of large frames from staying in memory for ever.
const maxPooled = 256 << 10

func (fp *framePool) Get(length int) *[]byte {
	if b, ok := fp.p.Get().(*[]byte); ok && cap(*b) >= length {
		*b = (*b)[:length]
		return b
	}
	b := make([]byte, length, max(length, 1<<10))
	return &b
}

func (fp *framePool) Put(b *[]byte) {
	if cap(*b) <= maxPooled {
		fp.p.Put(b)
	}
}

const tsBytes = 12

var errFrame = errors.New("transport: malformed frame")

// appendReading appends a clock reading.
func appendReading(b []byte, ts hlc.Timestamp) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(ts.WallTime))
	return binary.BigEndian.AppendUint32(b, ts.Logical)
}

// cutReading takes a clock reading off the front of a frame.
func cutReading(b []byte) (hlc.Timestamp, []byte, error) {
	if len(b) < tsBytes || b[0]&0x80 != 0 {
		return hlc.Timestamp{}, nil, errFrame
	}
	ts := hlc.Timestamp{WallTime: int64(binary.BigEndian.Uint64(b)), Logical: binary.BigEndian.Uint32(b[8:])}
	return ts, b[tsBytes:], nil
}

// cutUvarint takes an unsigned integer off the front.
func cutUvarint(b []byte) (uint64, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, errFrame
	}
	return v, b[n:], nil
}

// cutBytes takes a length-prefixed string off the front. It aliases b.
func cutBytes(b []byte) (v, rest []byte, err error) {
	n, b, err := cutUvarint(b)
	if err != nil || n > uint64(len(b)) {
		return nil, nil, errFrame
	}
	return b[:n:n], b[n:], nil
}

// outbox collects messages for one stream until its writer takes them as one
// frame. It never blocks; it is bounded in bytes.
type outbox struct {
	limit int

	mu      sync.Mutex
	full    [][]byte // filled frames, in order; guarded by mu
	cur     []byte   // frame being filled, starting with room for a reading; guarded by mu
	bytes   int      // in full and cur; guarded by mu
	added   uint64   // messages ever added; guarded by mu
	taken   uint64   // messages ever handed to the writer, or cleared; guarded by mu
	counts  []uint64 // added as of the end of each full frame; guarded by mu
	pending chan struct{}
}

func newOutbox(limit int) *outbox {
	return &outbox{limit: limit, pending: make(chan struct{}, 1)}
}

// add appends what fill appends. It returns the number of the message, from 1, or 0 if the box is full.
func (o *outbox) add(size int, fill func(b []byte) []byte) uint64 {
	o.mu.Lock()
	if o.bytes+size > o.limit && o.bytes > 0 {
		o.mu.Unlock()
		return 0
	}
	if o.cur == nil {
		o.cur = *frames.Get(tsBytes)
	}
	before := len(o.cur)
	o.cur = fill(o.cur)
	o.bytes += len(o.cur) - before
	o.added++
	n := o.added
	if len(o.cur) >= maxFlushBytes {
		o.full = append(o.full, o.cur)
		o.counts = append(o.counts, o.added)
		o.cur = nil
	}
	o.mu.Unlock()
	select {
	case o.pending <- struct{}{}:
	default:
	}
	return n
}

// take removes the next frame, with the reading filled in; nil if there is none.
func (o *outbox) take(clock *hlc.Clock) []byte {
	o.mu.Lock()
	var b []byte
	switch {
	case len(o.full) > 0:
		b = o.full[0]
		o.taken = o.counts[0]
		o.full, o.counts = o.full[1:], o.counts[1:]
	case o.cur != nil:
		b, o.cur = o.cur, nil
		o.taken = o.added
	default:
		o.mu.Unlock()
		return nil
	}
	o.bytes -= len(b) - tsBytes
	o.mu.Unlock()
	appendReading(b[:0], clock.Now())
	return b
}

// clear drops what is waiting and returns how many messages that were.
func (o *outbox) clear() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.added - o.taken
	o.full, o.counts, o.cur, o.bytes, o.taken = nil, nil, nil, 0, o.added
	return n
}

// takenCount returns how many messages the writer has taken.
func (o *outbox) takenCount() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.taken
}
