package copyformat

import (
	"bytes"

	"github.com/pamirdb/pamir/sql/pgerr"
)

// split cuts a line into fields; nil is NULL. b may be changed, line is the original.
func (c *Reader) split(b, line []byte) error {
	c.fields = c.fields[:0]
	if c.o.Format == CSV {
		return c.splitCSV(b, line)
	}
	null := c.o.null
	if len(b) == 0 && len(c.types) == 0 {
		return nil
	}
	if bytes.IndexByte(b, '\\') < 0 {
		for {
			i := bytes.IndexByte(b, c.o.delim)
			f := b
			if i >= 0 {
				f = b[:i:i]
			}
			if string(f) == null {
				f = nil
			} else if f == nil {
				f = []byte{}
			}
			c.fields = append(c.fields, f)
			if i < 0 {
				return nil
			}
			b = b[i+1:]
		}
	}
	for {
		i := 0
		for i < len(b) && b[i] != c.o.delim {
			if b[i] == '\\' && i+1 < len(b) {
				i++
			}
			i++
		}
		if i > len(b) {
			i = len(b)
		}
		f := b[:i:i]
		if string(f) == null {
			f = nil
		} else {
			f = unescape(f)
		}
		c.fields = append(c.fields, f)
		if i >= len(b) {
			return nil
		}
		b = b[i+1:]
	}
}

// unescape resolves backslash sequences in place.
func unescape(f []byte) []byte {
	w := bytes.IndexByte(f, '\\')
	if w < 0 {
		return f
	}
	for r := w; r < len(f); r++ {
		ch := f[r]
		if ch != '\\' || r+1 == len(f) {
			f[w] = ch
			w++
			continue
		}
		r++
		ch = f[r]
		switch ch {
		case 'b':
			ch = '\b'
		case 'f':
			ch = '\f'
		case 'n':
			ch = '\n'
		case 'r':
			ch = '\r'
		case 't':
			ch = '\t'
		case 'v':
			ch = '\v'
		case '0', '1', '2', '3', '4', '5', '6', '7':
			x := int(ch - '0')
			for k := 0; k < 2 && r+1 < len(f) && f[r+1] >= '0' && f[r+1] <= '7'; k++ {
				r++
				x = x<<3 + int(f[r]-'0')
			}
			ch = byte(x)
		case 'x':
			x, k := 0, 0
			for k < 2 && r+1 < len(f) {
				h, ok := hexValue(f[r+1])
				if !ok {
					break
				}
				r++
				k++
				x = x<<4 + h
			}
			if k > 0 {
				ch = byte(x)
			}
		}
		f[w] = ch
		w++
	}
	return f[:w:w]
}

func hexValue(c byte) (int, bool) {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0'), true
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10, true
	}
	return 0, false
}

// splitCSV cuts a CSV record. Fields are packed towards the front of b as quotes go.
func (c *Reader) splitCSV(b, line []byte) error {
	o := c.o
	for {
		w, r := 0, 0
		quoted, inside := false, false
		for r < len(b) {
			ch := b[r]
			if inside {
				if ch == o.esc && r+1 < len(b) && (b[r+1] == o.esc || b[r+1] == o.quote) {
					b[w] = b[r+1]
					w++
					r += 2
					continue
				}
				if ch == o.quote {
					inside = false
					r++
					continue
				}
			} else {
				if ch == o.delim {
					break
				}
				if ch == o.quote {
					quoted, inside = true, true
					r++
					continue
				}
			}
			b[w] = ch
			w++
			r++
		}
		if inside {
			return c.lineError(pgerr.New(pgerr.BadCopyFileFormat, "unterminated CSV quoted field"), line)
		}
		f := b[:w:w]
		i := len(c.fields)
		isNull := string(f) == o.null && !quoted
		if i < len(c.types) {
			if c.forceNotNull != nil && c.forceNotNull[i] {
				isNull = false
			}
			if c.forceNull != nil && c.forceNull[i] && quoted && string(f) == o.null {
				isNull = true
			}
		}
		if isNull {
			f = nil
		} else if f == nil {
			f = []byte{}
		}
		c.fields = append(c.fields, f)
		if r >= len(b) {
			return nil
		}
		b = b[r+1:]
	}
}
