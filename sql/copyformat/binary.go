package copyformat

import (
	"bytes"
	"context"
	"encoding/binary"

	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

var signature = []byte("PGCOPY\n\377\r\n\000")

// feedBinary takes a piece of binary data.
func (c *Reader) feedBinary(ctx context.Context, b []byte) error {
	c.carry = append(c.carry, b...)
	at := 0
	defer func() { c.carry = append(c.carry[:0], c.carry[at:]...) }()
	if !c.started {
		if len(c.carry) < 19 {
			return nil
		}
		if !bytes.Equal(c.carry[:11], signature) {
			return pgerr.New(pgerr.BadCopyFileFormat, "COPY file signature not recognized")
		}
		flags := binary.BigEndian.Uint32(c.carry[11:])
		if flags&(1<<16) != 0 {
			return pgerr.New(pgerr.BadCopyFileFormat, "invalid COPY file header (WITH OIDS)")
		}
		if flags>>17 != 0 {
			return pgerr.New(pgerr.BadCopyFileFormat, "unrecognized critical flags in COPY file header")
		}
		ext := int(binary.BigEndian.Uint32(c.carry[15:]))
		if ext < 0 || ext > 1<<20 {
			return pgerr.New(pgerr.BadCopyFileFormat, "invalid COPY file header (wrong length)")
		}
		if len(c.carry) < 19+ext {
			return nil
		}
		at = 19 + ext
		c.started = true
	}
	for !c.done {
		n, err := c.binaryRow(ctx, c.carry[at:])
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		at += n
	}
	return nil
}

// binaryRow reads one row and returns its length, 0 if it is not complete yet.
func (c *Reader) binaryRow(ctx context.Context, b []byte) (int, error) {
	if len(b) < 2 {
		return 0, nil
	}
	count := int(int16(binary.BigEndian.Uint16(b)))
	if count == -1 {
		c.done = true
		return 2, nil
	}
	size := 2
	for range max(count, 0) {
		if len(b) < size+4 {
			return 0, nil
		}
		n := int(int32(binary.BigEndian.Uint32(b[size:])))
		if n < -1 {
			return 0, c.lineError(pgerr.New(pgerr.BadCopyFileFormat, "invalid field size"), nil)
		}
		size += 4 + max(n, 0)
	}
	if len(b) < size {
		return 0, nil
	}
	c.line++
	if count != len(c.types) {
		return 0, c.lineError(pgerr.New(pgerr.BadCopyFileFormat, "row field count is %d, expected %d", count, len(c.types)), nil)
	}
	if c.batch.N == types.BatchSize || len(c.arena)+size > batchBytes && c.batch.N > 0 {
		if err := c.flush(ctx); err != nil {
			return 0, err
		}
	}
	start := len(c.arena)
	c.arena = append(c.arena, b[:size]...)
	own := c.arena[start:len(c.arena):len(c.arena)]
	at := 2
	for i, t := range c.types {
		n := int(int32(binary.BigEndian.Uint32(own[at:])))
		at += 4
		v := c.batch.Cols[i]
		v.Resize(c.batch.N + 1)
		if n == -1 {
			v.SetNull(c.batch.N)
			continue
		}
		f := own[at : at+n : at+n]
		at += n
		var d types.Datum
		var err error
		if types.IsString(t.OID) {
			err = types.CheckText(f)
		}
		if err == nil {
			d, err = types.ParseBinary(t, f)
		}
		if err != nil {
			return 0, c.fieldError(err, i, nil)
		}
		v.Set(c.batch.N, d)
	}
	c.batch.N++
	return size, nil
}
