package pgwire

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Message types a client sends.
const (
	msgBind      = 'B'
	msgClose     = 'C'
	msgDescribe  = 'D'
	msgExecute   = 'E'
	msgFunction  = 'F'
	msgCopyFail  = 'f'
	msgCopyData  = 'd'
	msgCopyDone  = 'c'
	msgFlush     = 'H'
	msgParse     = 'P'
	msgPassword  = 'p'
	msgQuery     = 'Q'
	msgSync      = 'S'
	msgTerminate = 'X'
)

const (
	// readBuffer is the size of a connection's input buffer between messages.
	readBuffer = 8 << 10
	// readStep bounds how far the buffer grows ahead of the bytes that have arrived.
	readStep = 64 << 10
	// maxAuthMessage bounds messages before authentication.
	maxAuthMessage = 10_000
	// DefaultMaxMessage bounds messages after it; PostgreSQL's own bound is 1 GiB - 1.
	DefaultMaxMessage = 256 << 20
)

// protocolError is a violation after which the stream is out of step: the connection ends.
type protocolError struct{ msg string }

func (e *protocolError) Error() string { return e.msg }

func protocolErrorf(format string, args ...any) error {
	return &protocolError{fmt.Sprintf(format, args...)}
}

// reader cuts the byte stream into messages. Its buffer is reused: a body is valid until the next call of next.
type reader struct {
	src    io.Reader
	buf    []byte
	rp, wp int
	max    int
}

func newReader(src io.Reader) *reader {
	return &reader{src: src, buf: make([]byte, readBuffer), max: maxAuthMessage}
}

// buffered reports how many bytes have been read ahead.
func (r *reader) buffered() int { return r.wp - r.rp }

// next returns the next message.
func (r *reader) next() (typ byte, body []byte, err error) {
	if err := r.fill(5); err != nil {
		return 0, nil, err
	}
	typ = r.buf[r.rp]
	n := int(int32(binary.BigEndian.Uint32(r.buf[r.rp+1:])))
	if !knownMessage(typ) {
		return 0, nil, protocolErrorf("invalid frontend message type %d", typ)
	}
	if n < 4 {
		return 0, nil, protocolErrorf("invalid message length")
	}
	n -= 4
	if n > r.max {
		return 0, nil, protocolErrorf("message of %d bytes is over the limit of %d", n, r.max)
	}
	r.rp += 5
	if err := r.fill(n); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	body = r.buf[r.rp : r.rp+n : r.rp+n]
	r.rp += n
	return typ, body, nil
}

func knownMessage(t byte) bool {
	switch t {
	case msgBind, msgClose, msgDescribe, msgExecute, msgFunction, msgCopyFail, msgCopyData, msgCopyDone,
		msgFlush, msgParse, msgPassword, msgQuery, msgSync, msgTerminate:
		return true
	}
	return false
}

// fill makes n bytes available at rp.
func (r *reader) fill(n int) error {
	if r.wp-r.rp >= n {
		return nil
	}
	if r.rp == r.wp {
		r.rp, r.wp = 0, 0
		if len(r.buf) > readStep && n <= readBuffer {
			r.buf = make([]byte, readBuffer) // do not hold on to a large message's memory
		}
	}
	if len(r.buf)-r.rp < n {
		copy(r.buf, r.buf[r.rp:r.wp])
		r.rp, r.wp = 0, r.wp-r.rp
	}
	for r.wp-r.rp < n {
		if r.wp == len(r.buf) {
			// Grow by doubling what has arrived, never to what the header claims at once.
			size := min(max(2*len(r.buf), readStep), n)
			b := make([]byte, size)
			copy(b, r.buf[:r.wp])
			r.buf = b
		}
		m, err := r.src.Read(r.buf[r.wp:])
		r.wp += m
		if err != nil {
			if r.wp-r.rp >= n {
				return nil
			}
			if err == io.EOF && r.wp > r.rp {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// errShort is a body that does not hold what its message type says: 08P01, the stream stays in step.
var errShort = &bodyError{"insufficient data left in message"}

type bodyError struct{ msg string }

func (e *bodyError) Error() string { return e.msg }

// decoder walks a message's body. The first failure sticks; what is read after it is zero.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.b = nil
}

// cstring returns the bytes up to a NUL, which alias the body.
func (d *decoder) cstring() []byte {
	for i, c := range d.b {
		if c == 0 {
			s := d.b[:i]
			d.b = d.b[i+1:]
			return s
		}
	}
	d.fail(&bodyError{"invalid string in message"})
	return nil
}

func (d *decoder) byte() byte {
	if len(d.b) < 1 {
		d.fail(errShort)
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) int16() int {
	if len(d.b) < 2 {
		d.fail(errShort)
		return 0
	}
	v := binary.BigEndian.Uint16(d.b)
	d.b = d.b[2:]
	return int(v)
}

func (d *decoder) int32() int32 {
	if len(d.b) < 4 {
		d.fail(errShort)
		return 0
	}
	v := int32(binary.BigEndian.Uint32(d.b))
	d.b = d.b[4:]
	return v
}

// bytes returns the next n bytes, which alias the body.
func (d *decoder) bytes(n int) []byte {
	if n < 0 || len(d.b) < n {
		d.fail(errShort)
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

// end fails if anything is left.
func (d *decoder) end() error {
	if d.err == nil && len(d.b) > 0 {
		d.fail(&bodyError{"invalid message format"})
	}
	return d.err
}

// bindMessage is a decoded Bind. Its slices are reused and alias the message.
type bindMessage struct {
	portal, statement []byte
	paramFormats      []int16
	params            [][]byte // nil is NULL
	resultFormats     []int16
}

func (m *bindMessage) decode(body []byte) error {
	d := decoder{b: body}
	m.portal, m.statement = d.cstring(), d.cstring()
	m.paramFormats = d.formats(m.paramFormats[:0])
	n := d.int16()
	m.params = m.params[:0]
	for range n {
		if d.err != nil {
			break
		}
		size := d.int32()
		if size == -1 {
			m.params = append(m.params, nil)
			continue
		}
		p := d.bytes(int(size))
		if p == nil {
			p = []byte{}
		}
		m.params = append(m.params, p)
	}
	m.resultFormats = d.formats(m.resultFormats[:0])
	return d.end()
}

func (d *decoder) formats(dst []int16) []int16 {
	n := d.int16()
	if len(d.b) < 2*n {
		d.fail(errShort)
		return dst
	}
	for range n {
		dst = append(dst, int16(d.int16()))
	}
	return dst
}
