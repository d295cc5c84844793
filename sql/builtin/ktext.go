package builtin

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

const maxText = 1<<30 - 1 // PostgreSQL's limit on one value

func tooLong() error {
	return pgerr.New(pgerr.ProgramLimitExceeded, "requested length too large")
}

// isASCII lets most strings skip decoding.
func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func runeCount(b []byte) int { return utf8.RuneCount(b) }

// runeSlice returns characters lo..hi-1 (0-based, clipped).
func runeSlice(b []byte, lo, hi int) []byte {
	if isASCII(b) {
		lo, hi = max(0, min(lo, len(b))), max(0, min(hi, len(b)))
		if hi < lo {
			hi = lo
		}
		return b[lo:hi:hi]
	}
	n, start, end := 0, len(b), len(b)
	for i := range string(b) {
		if n == lo {
			start = i
		}
		if n == hi {
			end = i
			break
		}
		n++
	}
	if lo <= 0 {
		start = 0
	}
	if hi <= 0 {
		end = 0
	}
	if end < start {
		end = start
	}
	return b[start:end:end]
}

// substr is SQL's substring: positions from 1, a window that may begin before the string.
func substr(b []byte, from, length int64, has bool) ([]byte, error) {
	end := int64(len(b)) + 1
	if has {
		if length < 0 {
			return nil, pgerr.New(pgerr.SubstringError, "negative substring length not allowed")
		}
		end = from + length
		if end > int64(len(b))+1 {
			end = int64(len(b)) + 1
		}
	}
	if from < 1 {
		from = 1
	}
	if end <= from {
		return []byte{}, nil
	}
	return runeSlice(b, int(from-1), int(end-1)), nil
}

func textPosition(s, sub []byte) int64 {
	i := bytes.Index(s, sub)
	if i < 0 {
		return 0
	}
	return int64(utf8.RuneCount(s[:i])) + 1
}

func trimSet(b, set []byte, left, right bool) []byte {
	in := func(r rune) bool { return bytes.ContainsRune(set, r) }
	if left {
		b = bytes.TrimLeftFunc(b, in)
	}
	if right {
		b = bytes.TrimRightFunc(b, in)
	}
	return nonNil(b)
}

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func pad(b []byte, n int64, fill []byte, left bool) ([]byte, error) {
	if n < 0 {
		n = 0
	}
	if n > maxText {
		return nil, tooLong()
	}
	have := int64(runeCount(b))
	if have >= n || len(fill) == 0 {
		return runeSlice(b, 0, int(n)), nil
	}
	missing := int(n - have)
	fr := []rune(string(fill))
	padding := make([]byte, 0, missing*len(fill)/len(fr)+4)
	for i := 0; i < missing; i++ {
		padding = utf8.AppendRune(padding, fr[i%len(fr)])
	}
	if left {
		return append(padding, b...), nil
	}
	return append(append(make([]byte, 0, len(b)+len(padding)), b...), padding...), nil
}

// lowerText and upperText map character by character, as C.UTF-8 does.
func lowerText(b []byte) []byte {
	if !isASCII(b) {
		return bytes.Map(unicode.ToLower, b)
	}
	return caseASCII(b, 'A', 'Z')
}

func upperText(b []byte) []byte {
	if !isASCII(b) {
		return bytes.Map(unicode.ToUpper, b)
	}
	return caseASCII(b, 'a', 'z')
}

func caseASCII(b []byte, lo, hi byte) []byte {
	for i, c := range b {
		if c >= lo && c <= hi {
			out := append([]byte(nil), b...)
			for ; i < len(out); i++ {
				if c := out[i]; c >= lo && c <= hi {
					out[i] = c ^ 0x20
				}
			}
			return out
		}
	}
	return b
}

func initcap(b []byte) []byte {
	out := make([]byte, 0, len(b))
	word := false
	for _, r := range string(b) {
		if word {
			r = unicode.ToLower(r)
		} else {
			r = unicode.ToUpper(r)
		}
		word = unicode.IsLetter(r) || unicode.IsDigit(r)
		out = utf8.AppendRune(out, r)
	}
	return out
}

func translate(s, from, to []byte) []byte {
	m := map[rune]rune{}
	tr := []rune(string(to))
	for i, r := range []rune(string(from)) {
		if _, dup := m[r]; dup {
			continue
		}
		if i < len(tr) {
			m[r] = tr[i]
		} else {
			m[r] = -1
		}
	}
	out := make([]byte, 0, len(s))
	for _, r := range string(s) {
		if t, ok := m[r]; ok {
			if t >= 0 {
				out = utf8.AppendRune(out, t)
			}
			continue
		}
		out = utf8.AppendRune(out, r)
	}
	return out
}

func splitPart(s, sep []byte, n int64) ([]byte, error) {
	if n == 0 {
		return nil, pgerr.New(pgerr.InvalidParameterValue, "field position must not be zero")
	}
	if len(s) == 0 {
		return []byte{}, nil
	}
	if len(sep) == 0 {
		if n == 1 || n == -1 {
			return s, nil
		}
		return []byte{}, nil
	}
	if n < 0 {
		parts := bytes.Split(s, sep)
		if -n > int64(len(parts)) {
			return []byte{}, nil
		}
		return nonNil(parts[int64(len(parts))+n]), nil
	}
	for ; ; n-- {
		i := bytes.Index(s, sep)
		if n == 1 {
			if i < 0 {
				return nonNil(s), nil
			}
			return nonNil(s[:i]), nil
		}
		if i < 0 {
			return []byte{}, nil
		}
		s = s[i+len(sep):]
	}
}

func repeat(b []byte, n int64) ([]byte, error) {
	if n <= 0 || len(b) == 0 {
		return []byte{}, nil
	}
	if n > maxText/int64(len(b)) {
		return nil, tooLong()
	}
	return bytes.Repeat(b, int(n)), nil
}

func reverse(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for len(b) > 0 {
		_, w := utf8.DecodeLastRune(b)
		out = append(out, b[len(b)-w:]...)
		b = b[:len(b)-w]
	}
	return out
}

// QuoteIdent quotes an identifier if it must be.
func QuoteIdent(s string) string {
	safe := s != "" && (s[0] >= 'a' && s[0] <= 'z' || s[0] == '_')
	for i := 0; safe && i < len(s); i++ {
		c := s[i]
		safe = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_'
	}
	if safe && !reservedWords[s] {
		return s
	}
	return "\"" + strings.ReplaceAll(s, "\"", "\"\"") + "\""
}

// QuoteLiteral quotes a string literal.
func QuoteLiteral(s string) string {
	q := strings.ReplaceAll(s, "'", "''")
	if strings.Contains(s, "\\") {
		return "E'" + strings.ReplaceAll(q, "\\", "\\\\") + "'"
	}
	return "'" + q + "'"
}

func hexDigest(h hash.Hash, b []byte) []byte {
	h.Write(b)
	s := h.Sum(nil)
	return append([]byte(nil), hex.EncodeToString(s)...)
}

func digest(mk func() hash.Hash) func([]byte) []byte {
	return func(b []byte) []byte {
		h := mk()
		h.Write(b)
		return h.Sum(nil)
	}
}

func chr(n int64) ([]byte, error) {
	switch {
	case n == 0:
		return nil, pgerr.New(pgerr.ProgramLimitExceeded, "null character not permitted")
	case n < 0:
		return nil, pgerr.New(pgerr.ProgramLimitExceeded, "character number must be positive")
	case n > 0x10ffff:
		return nil, pgerr.New(pgerr.ProgramLimitExceeded, "requested character too large for encoding: %d", n)
	case n >= 0xd800 && n <= 0xdfff:
		return nil, pgerr.New(pgerr.ProgramLimitExceeded, "requested character not valid for encoding: %d", n)
	}
	return utf8.AppendRune(nil, rune(n)), nil
}

func concat2(a, b []byte) ([]byte, error) {
	if len(a)+len(b) > maxText {
		return nil, tooLong()
	}
	out := make([]byte, 0, len(a)+len(b))
	return append(append(out, a...), b...), nil
}

func overlay(s, repl []byte, from, n int64) ([]byte, error) {
	if from <= 0 {
		return nil, pgerr.New(pgerr.SubstringError, "negative substring length not allowed")
	}
	l := int64(runeCount(s))
	end := from + n
	head := runeSlice(s, 0, int(min(from-1, l)))
	tail := runeSlice(s, int(max(0, min(end-1, l))), int(l))
	out := append(append([]byte(nil), head...), repl...)
	return append(out, tail...), nil
}

func init() {
	b1 := func(f func([]byte) []byte, s ...string) { reg(pure1(bytesOf, bytesOf, f), s...) }
	count := pure1(bytesOf, ints, func(b []byte) int64 { return int64(runeCount(b)) })
	reg(count, "textlen")
	reg(pure1(bytesOf, ints, func(b []byte) int64 { return int64(runeCount(types.TrimBpchar(b))) }), "bpcharlen")
	reg(pure1(bytesOf, ints, func(b []byte) int64 { return int64(len(b)) }), "textoctetlen", "bpcharoctetlen", "byteaoctetlen")
	reg(pure1(bytesOf, ints, func(b []byte) int64 { return 8 * int64(len(b)) }), "bit_length(text)", "bit_length(bytea)")
	b1(lowerText, "lower")
	b1(upperText, "upper")
	b1(initcap, "initcap")
	b1(reverse, "text_reverse")
	b1(func(b []byte) []byte { return trimSet(b, []byte{' '}, true, true) }, "btrim1")
	b1(func(b []byte) []byte { return trimSet(b, []byte{' '}, true, false) }, "ltrim1")
	b1(func(b []byte) []byte { return trimSet(b, []byte{' '}, false, true) }, "rtrim1")
	b2 := func(f func(a, b []byte) []byte, s ...string) { reg(pure2(bytesOf, bytesOf, bytesOf, f), s...) }
	b2(func(a, b []byte) []byte { return trimSet(a, b, true, true) }, "btrim")
	b2(func(a, b []byte) []byte { return trimSet(a, b, true, false) }, "ltrim")
	b2(func(a, b []byte) []byte { return trimSet(a, b, false, true) }, "rtrim")
	reg(map3(bytesOf, ints, ints, bytesOf, func(b []byte, f, n int64) ([]byte, error) { return substr(b, f, n, true) }), "text_substr")
	reg(map2(bytesOf, ints, bytesOf, func(b []byte, f int64) ([]byte, error) { return substr(b, f, 0, false) }), "text_substr_no_len")
	reg(pure2(bytesOf, bytesOf, ints, textPosition), "textpos")
	reg(map3(bytesOf, ints, bytesOf, bytesOf, func(b []byte, n int64, f []byte) ([]byte, error) { return pad(b, n, f, true) }), "lpad")
	reg(map3(bytesOf, ints, bytesOf, bytesOf, func(b []byte, n int64, f []byte) ([]byte, error) { return pad(b, n, f, false) }), "rpad")
	reg(map2(bytesOf, ints, bytesOf, func(b []byte, n int64) ([]byte, error) { return pad(b, n, []byte{' '}, true) }), "lpad(text,int4)")
	reg(map2(bytesOf, ints, bytesOf, func(b []byte, n int64) ([]byte, error) { return pad(b, n, []byte{' '}, false) }), "rpad(text,int4)")
	reg(pure2(bytesOf, ints, bytesOf, func(b []byte, n int64) []byte {
		if n < 0 {
			n = max(0, int64(runeCount(b))+n)
		}
		return runeSlice(b, 0, int(n))
	}), "text_left")
	reg(pure2(bytesOf, ints, bytesOf, func(b []byte, n int64) []byte {
		l := int64(runeCount(b))
		if n < 0 {
			n = max(0, l+n)
		}
		return runeSlice(b, int(max(0, l-n)), int(l))
	}), "text_right")
	reg(map2(bytesOf, ints, bytesOf, repeat), "repeat")
	reg(map3(bytesOf, bytesOf, bytesOf, bytesOf, func(s, from, to []byte) ([]byte, error) {
		if len(from) == 0 {
			return s, nil
		}
		return nonNil(bytes.ReplaceAll(s, from, to)), nil
	}), "replace_text")
	reg(map3(bytesOf, bytesOf, bytesOf, bytesOf, func(s, from, to []byte) ([]byte, error) { return translate(s, from, to), nil }), "translate")
	reg(map3(bytesOf, bytesOf, ints, bytesOf, splitPart), "split_part")
	reg(pure1(bytesOf, ints, func(b []byte) int64 {
		if len(b) == 0 {
			return 0
		}
		r, _ := utf8.DecodeRune(b)
		return int64(r)
	}), "ascii")
	reg(map1(ints, bytesOf, chr), "chr")
	b1(func(b []byte) []byte { return hexDigest(md5.New(), b) }, "md5_text", "md5_bytea")
	b1(digest(sha256.New), "sha256_bytea")
	b1(digest(sha256.New224), "sha224_bytea")
	b1(digest(sha512.New), "sha512_bytea")
	b1(digest(sha512.New384), "sha384_bytea")
	reg(map2(bytesOf, bytesOf, bytesOf, concat2), "textcat", "byteacat")
	reg(pure2(bytesOf, bytesOf, ints, func(a, b []byte) int64 { return b2i(bytes.HasPrefix(a, b)) }), "text_starts_with")
	b1(func(b []byte) []byte { return []byte(QuoteIdent(string(b))) }, "quote_ident")
	b1(func(b []byte) []byte { return []byte(QuoteLiteral(string(b))) }, "quote_literal")
	reg(pure1(ints, bytesOf, func(x int64) []byte { return strconv.AppendUint(nil, uint64(uint32(x)), 16) }), "to_hex32")
	reg(pure1(ints, bytesOf, func(x int64) []byte { return strconv.AppendUint(nil, uint64(x), 16) }), "to_hex64")
	reg(rowKernel(func(_ *Context, args []*types.Vec, i int, out *types.Vec) error {
		b, err := overlay(args[0].Bytes[i], args[1].Bytes[i], args[2].Ints[i], args[3].Ints[i])
		out.Bytes[i] = b
		return err
	}), "textoverlay")
	reg(map3(bytesOf, bytesOf, ints, bytesOf, func(s, r []byte, f int64) ([]byte, error) { return overlay(s, r, f, int64(runeCount(r))) }), "textoverlay_no_len")

	// text forms of anything
	asText := func(ctx *Context, v *types.Vec, i int) []byte {
		return types.AppendText(nil, v.Type, v, i, ctx.TextEnv())
	}
	// asCast is v::text, which for two types is not the text form.
	asCast := func(ctx *Context, v *types.Vec, i int) []byte {
		switch v.Type.OID {
		case types.BoolOID:
			if v.Ints[i] != 0 {
				return []byte("true")
			}
			return []byte("false")
		case types.BpcharOID:
			return append([]byte(nil), types.TrimBpchar(v.Bytes[i])...)
		}
		return asText(ctx, v, i)
	}
	reg(rowKernel(func(ctx *Context, args []*types.Vec, i int, out *types.Vec) error {
		out.Bytes[i] = nonNil(append(asCast(ctx, args[0], i), asCast(ctx, args[1], i)...))
		return nil
	}), "textanycat(text,anynonarray)", "anytextcat(anynonarray,text)")
	reg(rowKernel(func(ctx *Context, args []*types.Vec, i int, out *types.Vec) error {
		b := []byte{}
		for _, a := range args {
			if !a.IsNull(i) {
				b = types.AppendText(b, a.Type, a, i, ctx.TextEnv())
			}
		}
		out.Bytes[i] = b
		return nil
	}), "text_concat")
	reg(rowKernel(func(ctx *Context, args []*types.Vec, i int, out *types.Vec) error {
		if args[0].IsNull(i) {
			out.SetNull(i)
			return nil
		}
		b, first := []byte{}, true
		for _, a := range args[1:] {
			if a.IsNull(i) {
				continue
			}
			if !first {
				b = append(b, args[0].Bytes[i]...)
			}
			first = false
			b = types.AppendText(b, a.Type, a, i, ctx.TextEnv())
		}
		out.Bytes[i] = b
		return nil
	}), "text_concat_ws")
	reg(rowKernel(func(ctx *Context, args []*types.Vec, i int, out *types.Vec) error {
		if args[0].IsNull(i) {
			out.Bytes[i] = []byte("NULL")
			return nil
		}
		out.Bytes[i] = []byte(QuoteLiteral(string(asText(ctx, args[0], i))))
		return nil
	}), "quote_nullable", "quote_nullable(anyelement)")
	reg(rowKernel(func(ctx *Context, args []*types.Vec, i int, out *types.Vec) error {
		out.Bytes[i] = []byte(QuoteLiteral(string(asText(ctx, args[0], i))))
		return nil
	}), "quote_literal(anyelement)")
	reg(rowKernel(textFormat), "text_format", "text_format_nv")

	// casts among strings
	b1(func(b []byte) []byte { return types.ClipName(b) }, "text_name")
	b1(func(b []byte) []byte { return b }, "name_text")
	b1(func(b []byte) []byte { return types.ClipName(types.TrimBpchar(b)) }, "bpchar_name")
	b1(func(b []byte) []byte { return b }, "name_bpchar")
	reg(pure1(ints, bytesOf, func(x int64) []byte {
		if x == 0 {
			return []byte{}
		}
		return types.AppendDatumText(nil, types.Of(types.CharOID), types.NewInt(x), types.DefaultEnv)
	}), "char_text", "char_bpchar")
	reg(map1(bytesOf, ints, func(b []byte) (int64, error) {
		d, err := types.ParseText(types.Of(types.CharOID), b, types.DefaultEnv)
		return d.I, err
	}), "text_char")
	reg(pure1(ints, bytesOf, func(x int64) []byte {
		if x != 0 {
			return []byte("true")
		}
		return []byte("false")
	}), "booltext")
	length := func(t types.OID) Kernel {
		return map3(bytesOf, ints, ints, bytesOf, func(b []byte, mod, explicit int64) ([]byte, error) {
			d, err := types.ApplyMod(types.Type{OID: t, Mod: int32(mod)}, types.NewBytes(b), explicit != 0)
			return d.B, err
		})
	}
	reg(length(types.VarcharOID), "varchar")
	reg(length(types.BpcharOID), "bpchar")
	reg(pure1(bytesOf, ints, func(b []byte) int64 { return int64(int32(hashBytes(b))) }), "hashtext", "hashbpchar", "hashname", "hashvarlena")
	reg(map2(bytesOf, bytesOf, bytesOf, textConvertTo), "pg_convert_to")
	reg(map2(bytesOf, bytesOf, bytesOf, textConvertFrom), "pg_convert_from")
	reg(stringToArray, "text_to_array", "text_to_array_null")
}

func requireUTF8(enc []byte) error {
	switch strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(string(enc))) {
	case "utf8", "unicode":
		return nil
	}
	return pgerr.Unsupported("encoding "+string(enc), "Only UTF8 is supported.")
}

func textConvertTo(b, enc []byte) ([]byte, error) { return b, requireUTF8(enc) }

func textConvertFrom(b, enc []byte) ([]byte, error) {
	if err := requireUTF8(enc); err != nil {
		return nil, err
	}
	d, err := types.ParseText(types.Of(types.TextOID), b, types.DefaultEnv)
	return d.B, err
}

// hashBytes is 32 bits of FNV-1a: stable over versions, but not PostgreSQL's number.
func hashBytes(b []byte) uint32 {
	h := uint32(2166136261)
	for _, c := range b {
		h = (h ^ uint32(c)) * 16777619
	}
	return h
}
