package pgwire

import (
	"encoding/binary"
	"hash/maphash"
	"io"

	"github.com/pamirdb/pamir/sql"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// The methods of this file make conn a sql.Client.
var _ sql.Client = (*conn)(nil)

// Describe implements sql.Client; nil says that there will be no rows.
func (c *conn) Describe(r *sql.RowShape) {
	if r == nil {
		c.w.bare('n')
		return
	}
	at := c.w.begin('T')
	c.w.int16(len(r.Fields))
	for i := range r.Fields {
		f := &r.Fields[i]
		c.w.string(f.Name)
		c.w.int32(int32(f.Table))
		c.w.int16(int(f.Attnum))
		oid := f.Type.OID
		if oid == types.UnknownOID {
			oid = types.TextOID
		}
		c.w.int32(int32(oid))
		c.w.int16(int(types.Length(oid)))
		c.w.int32(f.Type.Mod)
		c.w.int16(int(r.Formats[i]))
	}
	c.w.end(at)
}

// Rows implements sql.Client.
func (c *conn) Rows(r *sql.RowShape, b *types.Batch, from, to int) error {
	w := &c.w
	for i := from; i < to; i++ {
		row := b.Row(i)
		at := w.begin('D')
		w.int16(len(r.Fields))
		for j := range r.Fields {
			v := b.Cols[j]
			if v.HasNulls && v.Nulls[row] {
				w.buf = append(w.buf, 0xff, 0xff, 0xff, 0xff)
				continue
			}
			var err error
			if w.buf, err = appendValue(w.buf, v, row, r, j); err != nil {
				w.buf = w.buf[:at-1] // no half row may go out
				return err
			}
		}
		w.end(at)
		if err := w.spill(); err != nil {
			return err
		}
		if w.hold && len(w.buf) > heldBytes {
			return errHeld
		}
	}
	return nil
}

var errHeld = pgerr.New(pgerr.ProgramLimitExceeded, "the results of a repeated transaction are too large to compare")

// appendValue appends the length and the value v[i] of field j, which is not NULL. The commonest
// types are written here; package types has them all.
func appendValue(dst []byte, v *types.Vec, i int, r *sql.RowShape, j int) ([]byte, error) {
	t := r.Fields[j].Type
	if r.Formats[j] == 0 {
		if v.Repr == types.ReprBytes && t.OID != types.ByteaOID && t.OID != types.UUIDOID {
			b := v.Bytes[i]
			dst = binary.BigEndian.AppendUint32(dst, uint32(len(b)))
			return append(dst, b...), nil
		}
		at := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		dst = types.AppendText(dst, t, v, i, r.Text)
		binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
		return dst, nil
	}
	switch t.OID {
	case types.Int4OID:
		dst = append(dst, 0, 0, 0, 4)
		return binary.BigEndian.AppendUint32(dst, uint32(v.Ints[i])), nil
	case types.Int8OID:
		dst = append(dst, 0, 0, 0, 8)
		return binary.BigEndian.AppendUint64(dst, uint64(v.Ints[i])), nil
	}
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst, err := types.AppendBinary(dst, t, v, i)
	if err != nil {
		return dst, err
	}
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst, nil
}

// Complete implements sql.Client.
func (c *conn) Complete(tag []byte) {
	at := c.w.begin('C')
	c.w.buf = append(c.w.buf, tag...)
	c.w.buf = append(c.w.buf, 0)
	c.w.end(at)
}

// Empty implements sql.Client.
func (c *conn) Empty() { c.w.bare('I') }

// Suspended implements sql.Client.
func (c *conn) Suspended() { c.w.bare('s') }

// Notice implements sql.Client.
func (c *conn) Notice(n *pgerr.Error) { c.w.report('N', orDefault(n.Severity, "NOTICE"), n) }

// Parameter implements sql.Client.
func (c *conn) Parameter(name, value string) {
	at := c.w.begin('S')
	c.w.string(name)
	c.w.string(value)
	c.w.end(at)
}

// CopyIn implements sql.Client.
func (c *conn) CopyIn(binary bool, columns int) { c.copyStart('G', binary, columns) }

// CopyOut implements sql.Client.
func (c *conn) CopyOut(binary bool, columns int) { c.copyStart('H', binary, columns) }

func (c *conn) copyStart(typ byte, binary bool, columns int) {
	f := 0
	if binary {
		f = 1
	}
	at := c.w.begin(typ)
	c.w.buf = append(c.w.buf, byte(f))
	c.w.int16(columns)
	for range columns {
		c.w.int16(f)
	}
	c.w.end(at)
}

// CopyData implements sql.Client.
func (c *conn) CopyData() ([]byte, error) {
	for {
		typ, body, err := c.r.next()
		if err != nil {
			if _, ok := pgerr.As(err); ok {
				return nil, err
			}
			if pe, ok := err.(*protocolError); ok {
				return nil, &pgerr.Error{Severity: "FATAL", Code: pgerr.ProtocolViolation, Message: pe.msg}
			}
			c.w.err = err // nobody is there to hear the rest
			return nil, &pgerr.Error{Severity: "FATAL", Code: "08006", Message: "unexpected EOF on client connection with an open transaction", Cause: err}
		}
		c.messages++
		switch typ {
		case msgCopyData:
			return body, nil
		case msgCopyDone:
			return nil, io.EOF
		case msgCopyFail:
			d := decoder{b: body}
			return nil, pgerr.New(pgerr.QueryCanceled, "COPY from stdin failed: %s", d.cstring())
		case msgFlush, msgSync:
			// Allowed, so that a client need not know that it is copying.
		default:
			return nil, &pgerr.Error{Severity: "FATAL", Code: pgerr.ProtocolViolation,
				Message: "unexpected message type 0x" + string(hexDigits[typ>>4]) + string(hexDigits[typ&15]) + " during COPY from stdin"}
		}
	}
}

const hexDigits = "0123456789ABCDEF"

// CopyRow implements sql.Client.
func (c *conn) CopyRow(data []byte) {
	at := c.w.begin('d')
	c.w.buf = append(c.w.buf, data...)
	c.w.end(at)
	_ = c.w.spill() // COPY has nobody to ask: the session did before it began
}

// CopyDone implements sql.Client.
func (c *conn) CopyDone() { c.w.bare('c') }

// Position implements sql.Client.
func (c *conn) Position() int64 { return c.w.position() }

// Cut implements sql.Client.
func (c *conn) Cut(from int64) ([]byte, bool) { return c.w.cut(from) }

// Raw implements sql.Client.
func (c *conn) Raw(data []byte) { c.w.buf = append(c.w.buf, data...) }

// Sum implements sql.Client.
func (c *conn) Sum(from int64) (uint64, bool) {
	if from < c.w.base || from > c.w.position() {
		return 0, false
	}
	return maphash.Bytes(sumSeed, c.w.buf[from-c.w.base:]), true
}

var sumSeed = maphash.MakeSeed()

// Hold implements sql.Client.
func (c *conn) Hold(on bool) { c.w.hold = on }

// BeforeSending implements sql.Client.
func (c *conn) BeforeSending(f func() error) { c.w.before = f }

// Final implements sql.Client: it looks whether the next message is there and is Sync.
func (c *conn) Final() bool {
	r := c.r
	return r.wp-r.rp >= 5 && r.buf[r.rp] == msgSync
}

// Err implements sql.Client.
func (c *conn) Err() error { return c.w.err }
