package copyformat

import (
	"bytes"
	"encoding/binary"

	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// Writer writes rows as COPY data. What its methods return is valid until the next call.
type Writer struct {
	o      *Options
	fields []plan.Field
	env    *types.TextEnv
	force  []bool
	buf    []byte
	val    []byte
	// special marks the bytes that text format escapes.
	special [256]bool
}

// NewWriter returns a writer for rows of these fields. The relation is named in errors; it is empty for a query.
func NewWriter(o *Options, fields []plan.Field, env *types.TextEnv, relation string) (*Writer, error) {
	c := &Writer{o: o, fields: fields, env: env}
	names := make([]string, len(fields))
	for i := range fields {
		names[i] = fields[i].Name
	}
	var err error
	if c.force, err = columnFlags(o.forceQuote, names, "FORCE_QUOTE", relation); err != nil {
		return nil, err
	}
	if o.forceQuoteAll {
		c.force = make([]bool, len(fields))
		for i := range c.force {
			c.force[i] = true
		}
	}
	for _, b := range []byte("\b\f\n\r\t\v\\") {
		c.special[b] = true
	}
	c.special[o.delim] = true
	return c, nil
}

// Header returns what comes before the rows, or nil.
func (c *Writer) Header() []byte {
	c.buf = c.buf[:0]
	if c.o.Format == Binary {
		c.buf = append(c.buf, signature...)
		return append(c.buf, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	if !c.o.header {
		return nil
	}
	for i := range c.fields {
		if i > 0 {
			c.buf = append(c.buf, c.o.delim)
		}
		if c.o.Format == CSV {
			c.csv([]byte(c.fields[i].Name), false)
		} else {
			c.text([]byte(c.fields[i].Name))
		}
	}
	return append(c.buf, '\n')
}

// Trailer returns what comes after the rows, or nil.
func (c *Writer) Trailer() []byte {
	if c.o.Format == Binary {
		return []byte{0xff, 0xff}
	}
	return nil
}

// Row encodes row i of b.
func (c *Writer) Row(b *types.Batch, i int) ([]byte, error) {
	c.buf = c.buf[:0]
	if c.o.Format == Binary {
		return c.binary(b, i)
	}
	for j := range c.fields {
		if j > 0 {
			c.buf = append(c.buf, c.o.delim)
		}
		v := b.Cols[j]
		if v.IsNull(i) {
			c.buf = append(c.buf, c.o.null...)
			continue
		}
		c.val = types.AppendText(c.val[:0], c.fields[j].Type, v, i, c.env)
		if c.o.Format == CSV {
			c.csv(c.val, c.force != nil && c.force[j])
		} else {
			c.text(c.val)
		}
	}
	return append(c.buf, '\n'), nil
}

func (c *Writer) binary(b *types.Batch, i int) ([]byte, error) {
	c.buf = binary.BigEndian.AppendUint16(c.buf, uint16(len(c.fields)))
	for j := range c.fields {
		v := b.Cols[j]
		if v.IsNull(i) {
			c.buf = append(c.buf, 0xff, 0xff, 0xff, 0xff)
			continue
		}
		at := len(c.buf)
		c.buf = append(c.buf, 0, 0, 0, 0)
		var err error
		if c.buf, err = types.AppendBinary(c.buf, c.fields[j].Type, v, i); err != nil {
			return nil, err
		}
		binary.BigEndian.PutUint32(c.buf[at:], uint32(len(c.buf)-at-4))
	}
	return c.buf, nil
}

// text appends a value in text format.
func (c *Writer) text(v []byte) {
	for i, ch := range v {
		if c.special[ch] {
			c.escape(v, i)
			return
		}
	}
	c.buf = append(c.buf, v...)
}

func (c *Writer) escape(v []byte, from int) {
	c.buf = append(c.buf, v[:from]...)
	for _, ch := range v[from:] {
		if c.special[ch] {
			c.buf = append(c.buf, '\\')
			switch ch {
			case '\b':
				ch = 'b'
			case '\f':
				ch = 'f'
			case '\n':
				ch = 'n'
			case '\r':
				ch = 'r'
			case '\t':
				ch = 't'
			case '\v':
				ch = 'v'
			}
		}
		c.buf = append(c.buf, ch)
	}
}

// csv appends a value in CSV format.
func (c *Writer) csv(v []byte, force bool) {
	quote := force || string(v) == c.o.null || len(c.fields) == 1 && string(v) == `\.` ||
		bytes.IndexByte(v, c.o.delim) >= 0 || bytes.IndexByte(v, c.o.quote) >= 0 || bytes.IndexByte(v, '\n') >= 0 || bytes.IndexByte(v, '\r') >= 0
	if !quote {
		c.buf = append(c.buf, v...)
		return
	}
	c.buf = append(c.buf, c.o.quote)
	for _, ch := range v {
		if ch == c.o.quote || ch == c.o.esc {
			c.buf = append(c.buf, c.o.esc)
		}
		c.buf = append(c.buf, ch)
	}
	c.buf = append(c.buf, c.o.quote)
}
