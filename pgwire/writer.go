package pgwire

import (
	"encoding/binary"
	"io"
	"strconv"

	"github.com/pamirdb/pamir/sql/pgerr"
)

const (
	// holdBytes is how much output is kept back before it is sent without being asked for. A
	// transaction can be retried invisibly as long as its results fit.
	holdBytes = 32 << 10
	// heldBytes bounds what a replay may write.
	heldBytes = 1 << 20
	// keepBytes is how large an output buffer may stay between statements.
	keepBytes = 64 << 10
)

// writer collects messages. base counts what has been sent before buf[0].
type writer struct {
	dst  io.Writer
	buf  []byte
	base int64
	err  error
	hold bool
	// before is asked before a spill; see sql.Client.BeforeSending.
	before func() error
}

// begin starts a message and returns where its length goes.
func (w *writer) begin(typ byte) int {
	w.buf = append(w.buf, typ, 0, 0, 0, 0)
	return len(w.buf) - 4
}

func (w *writer) end(at int) {
	binary.BigEndian.PutUint32(w.buf[at:], uint32(len(w.buf)-at))
}

// bare writes a message without a body.
func (w *writer) bare(typ byte) { w.buf = append(w.buf, typ, 0, 0, 0, 4) }

func (w *writer) int16(v int)   { w.buf = binary.BigEndian.AppendUint16(w.buf, uint16(v)) }
func (w *writer) int32(v int32) { w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(v)) }
func (w *writer) string(s string) {
	w.buf = append(w.buf, s...)
	w.buf = append(w.buf, 0)
}

// spill sends the buffer if it is over its bound, and if nothing speaks against it.
func (w *writer) spill() error {
	if len(w.buf) < holdBytes || w.hold {
		return nil
	}
	if w.before != nil {
		if err := w.before(); err != nil {
			return err
		}
	}
	w.flush()
	return nil
}

// flush sends what there is. The first failure sticks.
func (w *writer) flush() {
	if len(w.buf) == 0 {
		return
	}
	if w.err == nil {
		_, w.err = w.dst.Write(w.buf)
	}
	w.base += int64(len(w.buf))
	if cap(w.buf) > keepBytes {
		w.buf = nil
	}
	w.buf = w.buf[:0]
}

func (w *writer) position() int64 { return w.base + int64(len(w.buf)) }

func (w *writer) cut(from int64) ([]byte, bool) {
	if from < w.base || from > w.position() {
		return nil, false
	}
	at := int(from - w.base)
	piece := append([]byte(nil), w.buf[at:]...)
	w.buf = w.buf[:at]
	return piece, true
}

// report writes an ErrorResponse ('E') or a NoticeResponse ('N').
func (w *writer) report(typ byte, severity string, e *pgerr.Error) {
	at := w.begin(typ)
	field := func(f byte, s string) {
		if s != "" {
			w.buf = append(w.buf, f)
			w.string(s)
		}
	}
	field('S', severity)
	field('V', severity)
	field('C', e.Code)
	field('M', orDefault(e.Message, "unknown error"))
	field('D', e.Detail)
	field('H', e.Hint)
	if e.Position > 0 {
		field('P', strconv.Itoa(e.Position))
	}
	field('W', e.Where)
	field('s', e.Schema)
	field('t', e.Table)
	field('c', e.Column)
	field('d', e.DataType)
	field('n', e.Constraint)
	w.buf = append(w.buf, 0)
	w.end(at)
}

func orDefault(s, or string) string {
	if s == "" {
		return or
	}
	return s
}
