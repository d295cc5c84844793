package copyformat

import (
	"bytes"
	"context"
	"io"
	"strconv"

	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// RowWriter takes the rows that a Reader has read (exec.TableWriter; a fake in tests).
type RowWriter interface {
	Write(ctx context.Context, b *types.Batch) error
	Close(ctx context.Context) (int64, error)
}

// Reader reads COPY data and hands its rows on, in batches.
type Reader struct {
	o        *Options
	relation string
	names    []string
	types    []types.Type
	env      *types.TextEnv
	w        RowWriter

	forceNotNull, forceNull []bool

	batch *types.Batch
	// arena holds the bytes of the batch's lines: values may refer to them.
	arena []byte
	// carry is the beginning of a line whose end has not arrived, and scan how far it has been looked through.
	carry []byte
	scan  int
	// quoted: the end of carry[:scan] is inside a CSV quote.
	quoted  bool
	line    int64
	eol     eolStyle
	done    bool // the end marker was seen
	started bool
	fields  [][]byte
}

type eolStyle uint8

const (
	eolUnknown eolStyle = iota
	eolLF
	eolCR
	eolCRLF
)

// batchBytes bounds the text of one batch.
const batchBytes = 1 << 20

// NewReader returns a reader for columns of these names and types. The relation is named in errors.
func NewReader(o *Options, relation string, names []string, ts []types.Type, env *types.TextEnv, w RowWriter) (*Reader, error) {
	c := &Reader{o: o, relation: relation, names: names, types: ts, env: env, w: w}
	var err error
	if c.forceNotNull, err = columnFlags(o.forceNotNull, names, "FORCE_NOT_NULL", relation); err != nil {
		return nil, err
	}
	if c.forceNull, err = columnFlags(o.forceNull, names, "FORCE_NULL", relation); err != nil {
		return nil, err
	}
	c.batch = types.NewBatch(ts, types.BatchSize)
	c.fields = make([][]byte, 0, len(ts)+1)
	return c, nil
}

// Run reads all data from next and returns the number of rows.
func (c *Reader) Run(ctx context.Context, next func() ([]byte, error)) (int64, error) {
	for {
		b, err := next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, err
		}
		// Before what is wrong with the data: it may have come long after the statement's time was up.
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if c.done {
			continue
		}
		if c.o.Format == Binary {
			err = c.feedBinary(ctx, b)
		} else {
			err = c.feed(ctx, b, false)
		}
		if err != nil {
			return 0, err
		}
	}
	if c.o.Format == Binary {
		// The trailer may be missing, as in PostgreSQL; half a row may not.
		if !c.done && len(c.carry) > 0 {
			return 0, pgerr.New(pgerr.BadCopyFileFormat, "unexpected EOF in COPY data")
		}
	} else if err := c.feed(ctx, nil, true); err != nil {
		return 0, err
	}
	if err := c.flush(ctx); err != nil {
		return 0, err
	}
	return c.w.Close(ctx)
}

// feed takes a piece of text. Lines that are complete are parsed, the rest is carried.
func (c *Reader) feed(ctx context.Context, b []byte, last bool) error {
	if len(c.carry) > 0 {
		c.carry = append(c.carry, b...)
		b = c.carry
	}
	at := 0
	for !c.done {
		rest := b[at:]
		end, skip, err := c.lineEnd(rest, last)
		if err != nil {
			return err
		}
		if end < 0 {
			break
		}
		c.scan, c.quoted = 0, false
		at += end + skip
		c.line++
		if err := c.takeLine(ctx, rest[:end]); err != nil {
			return err
		}
	}
	if c.done {
		c.carry = nil
		return nil
	}
	// b may be carry itself: the copy runs forward.
	c.carry = append(c.carry[:0], b[at:]...)
	return nil
}

// lineEnd finds the end of the first line in b: its length, and how many bytes the line's end has; -1 if it
// is not there yet.
func (c *Reader) lineEnd(b []byte, last bool) (end, skip int, err error) {
	if len(b) == 0 {
		return -1, 0, nil
	}
	i := c.scan
	csv := c.o.Format == CSV
	for i < len(b) {
		if c.eol == eolLF && !csv {
			// The usual case: look for the newline alone.
			j := bytes.IndexByte(b[i:], '\n')
			if j < 0 {
				i = len(b)
				break
			}
			i += j
			if escaped(b, i) {
				i++
				continue
			}
			return i, 1, nil
		}
		ch := b[i]
		if csv {
			switch {
			case c.quoted && ch == c.o.esc && c.o.esc != c.o.quote:
				if i+1 == len(b) && !last {
					c.scan = i
					return -1, 0, nil
				}
				if i+1 < len(b) && (b[i+1] == c.o.quote || b[i+1] == c.o.esc) {
					i += 2
					continue
				}
			case ch == c.o.quote:
				c.quoted = !c.quoted
			}
			if c.quoted {
				i++
				continue
			}
		}
		if ch != '\n' && ch != '\r' || !csv && escaped(b, i) {
			i++
			continue
		}
		if ch == '\n' {
			if c.eol == eolUnknown {
				c.eol = eolLF
			}
			if c.eol == eolCR || c.eol == eolCRLF {
				return 0, 0, c.badNewline()
			}
			return i, 1, nil
		}
		switch c.eol {
		case eolCR:
			return i, 1, nil
		case eolLF:
			return 0, 0, c.badReturn()
		}
		if i+1 == len(b) && !last {
			c.scan = i // \r or \r\n? The next byte tells.
			return -1, 0, nil
		}
		if i+1 < len(b) && b[i+1] == '\n' {
			c.eol = eolCRLF
			return i, 2, nil
		}
		if c.eol == eolCRLF {
			return 0, 0, c.badReturn()
		}
		c.eol = eolCR
		return i, 1, nil
	}
	c.scan = i
	if last {
		if c.quoted {
			return 0, 0, c.lineError(pgerr.New(pgerr.BadCopyFileFormat, "unterminated CSV quoted field"), b)
		}
		return len(b), 0, nil
	}
	return -1, 0, nil
}

// escaped reports whether an odd number of backslashes stands before b[i].
func escaped(b []byte, i int) bool {
	n := 0
	for i-n > 0 && b[i-n-1] == '\\' {
		n++
	}
	return n%2 == 1
}

func (c *Reader) badNewline() error {
	c.line++
	what, hint := "literal newline found in data", `Use "\n" to represent newline.`
	if c.o.Format == CSV {
		what, hint = "unquoted newline found in data", "Use quoted CSV field to represent newline."
	}
	return c.lineError(pgerr.New(pgerr.BadCopyFileFormat, "%s", what).WithHint("%s", hint), nil)
}

func (c *Reader) badReturn() error {
	c.line++
	what, hint := "literal carriage return found in data", `Use "\r" to represent carriage return.`
	if c.o.Format == CSV {
		what, hint = "unquoted carriage return found in data", "Use quoted CSV field to represent carriage return."
	}
	return c.lineError(pgerr.New(pgerr.BadCopyFileFormat, "%s", what).WithHint("%s", hint), nil)
}

// takeLine parses a line into the batch.
func (c *Reader) takeLine(ctx context.Context, line []byte) error {
	if len(line) == 2 && line[0] == '\\' && line[1] == '.' {
		c.done = true
		return nil
	}
	if c.line == 1 && c.o.header {
		return c.checkHeader(line)
	}
	if c.batch.N == types.BatchSize || len(c.arena)+len(line) > batchBytes && c.batch.N > 0 {
		if err := c.flush(ctx); err != nil {
			return err
		}
	}
	// Values refer to the line's bytes, and unescaping changes them: they get their own copy.
	at := len(c.arena)
	c.arena = append(c.arena, line...)
	own := c.arena[at:len(c.arena):len(c.arena)]
	if err := types.CheckText(own); err != nil {
		e, _ := pgerr.As(err)
		return c.lineError(e, nil)
	}
	if err := c.split(own, line); err != nil {
		return err
	}
	n := len(c.types)
	switch {
	case len(c.fields) > n:
		return c.lineError(pgerr.New(pgerr.BadCopyFileFormat, "extra data after last expected column"), line)
	case len(c.fields) < n:
		return c.lineError(pgerr.New(pgerr.BadCopyFileFormat, "missing data for column \"%s\"", c.names[len(c.fields)]), line)
	}
	row := c.batch.N
	for i := range c.types {
		v := c.batch.Cols[i]
		v.Resize(row + 1)
		if v.HasNulls {
			v.Nulls[row] = false
		}
		f := c.fields[i]
		if f == nil {
			v.SetNull(row)
			continue
		}
		switch c.types[i].OID {
		case types.Int4OID:
			if x, ok := smallInt(f); ok {
				v.Ints[row] = x
				continue
			}
		case types.Int8OID, types.Int2OID:
			if x, ok := smallInt(f); ok && (len(f) < 5 || c.types[i].OID == types.Int8OID) {
				v.Ints[row] = x
				continue
			}
		case types.TextOID:
			v.Bytes[row] = f
			continue
		}
		d, err := types.ParseText(c.types[i], f, c.env)
		if err != nil {
			v.SetNull(row)
			return c.fieldError(err, i, f)
		}
		v.Set(row, d)
	}
	c.batch.N++
	return nil
}

// smallInt reads an optional minus and up to nine digits, and nothing else.
func smallInt(b []byte) (int64, bool) {
	neg := false
	if len(b) > 0 && b[0] == '-' {
		neg, b = true, b[1:]
	}
	if len(b) == 0 || len(b) > 9 {
		return 0, false
	}
	x := int64(0)
	for _, ch := range b {
		if ch < '0' || ch > '9' {
			return 0, false
		}
		x = 10*x + int64(ch-'0')
	}
	if neg {
		x = -x
	}
	return x, true
}

func (c *Reader) checkHeader(line []byte) error {
	if !c.o.headerMatch {
		return nil
	}
	own := append([]byte(nil), line...)
	if err := c.split(own, line); err != nil {
		return err
	}
	if len(c.fields) != len(c.names) {
		return c.lineError(pgerr.New(pgerr.BadCopyFileFormat, "wrong number of fields in header line: got %d, expected %d", len(c.fields), len(c.names)), line)
	}
	for i, f := range c.fields {
		if f == nil {
			return c.lineError(pgerr.New(pgerr.BadCopyFileFormat, "column name mismatch in header line field %d: got null value (\"%s\"), expected \"%s\"", i+1, c.o.null, c.names[i]), line)
		}
		if string(f) != c.names[i] {
			return c.lineError(pgerr.New(pgerr.BadCopyFileFormat, "column name mismatch in header line field %d: got \"%s\", expected \"%s\"", i+1, f, c.names[i]), line)
		}
	}
	return nil
}

// flush writes the batch.
func (c *Reader) flush(ctx context.Context) error {
	if c.batch.N == 0 {
		return nil
	}
	for _, v := range c.batch.Cols {
		v.N = c.batch.N
	}
	err := c.w.Write(ctx, c.batch)
	c.batch.Reset()
	c.arena = c.arena[:0]
	if e, ok := pgerr.As(err); ok && e.Where == "" {
		e.Where = "COPY " + c.relation + ", line " + strconv.FormatInt(c.line, 10)
	}
	return err
}

// lineError adds the line to an error.
func (c *Reader) lineError(e *pgerr.Error, line []byte) error {
	e.Where = "COPY " + c.relation + ", line " + strconv.FormatInt(c.line, 10)
	if line != nil {
		e.Where += ": \"" + limited(line) + "\""
	}
	return e
}

// fieldError adds the field to an error.
func (c *Reader) fieldError(err error, i int, f []byte) error {
	e, ok := pgerr.As(err)
	if !ok {
		return err
	}
	e.Where = "COPY " + c.relation + ", line " + strconv.FormatInt(c.line, 10) + ", column " + c.names[i]
	if f != nil {
		e.Where += ": \"" + limited(f) + "\""
	}
	return e
}

// limited shortens what goes into messages.
func limited(b []byte) string {
	if len(b) <= 100 {
		return string(b)
	}
	n := 100
	for n > 0 && b[n]&0xc0 == 0x80 {
		n--
	}
	return string(b[:n]) + "..."
}
