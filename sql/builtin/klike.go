package builtin

import (
	"bytes"
	"unicode/utf8"

	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

func nextRune(b []byte) (rune, []byte) {
	if len(b) > 0 && b[0] < utf8.RuneSelf {
		return rune(b[0]), b[1:]
	}
	r, w := utf8.DecodeRune(b)
	return r, b[w:]
}

func escapeAtEnd() error {
	return pgerr.New(pgerr.InvalidEscapeSequence, "LIKE pattern must not end with escape character")
}

// like matches with % and _; a backslash takes the next character as it is. The last % seen is where a
// mismatch goes back to, so it is linear in the pattern for each position.
func like(s, p []byte) (bool, error) {
	var backS, backP []byte
	back := false
	for {
		if len(p) > 0 && p[0] == '%' {
			for len(p) > 0 && p[0] == '%' {
				p = p[1:]
			}
			if len(p) == 0 {
				return true, nil
			}
			if err := danglingEscape(p); err != nil {
				return false, err
			}
			backS, backP, back = s, p, true
			continue
		}
		if len(s) == 0 {
			for len(p) > 0 && p[0] == '%' {
				p = p[1:]
			}
			return len(p) == 0, nil
		}
		match := false
		if len(p) > 0 {
			switch p[0] {
			case '_':
				_, s = nextRune(s)
				p = p[1:]
				match = true
			case '\\':
				if len(p) == 1 {
					return false, escapeAtEnd()
				}
				p = p[1:]
				fallthrough
			default:
				if s[0] == p[0] {
					s, p = s[1:], p[1:]
					match = true
				}
			}
		}
		if !match {
			if !back {
				return false, nil
			}
			if len(backS) == 0 {
				return false, nil
			}
			_, backS = nextRune(backS)
			s, p = backS, backP
		}
	}
}

func danglingEscape(p []byte) error {
	if len(p) == 1 && p[0] == '\\' {
		return escapeAtEnd()
	}
	return nil
}

// likeKernel matches; a constant pattern of a simple shape is a comparison of bytes.
func likeKernel(fold, negate bool) Kernel {
	return func(_ *Context, args []*types.Vec, n int, sel []int32, out *types.Vec) error {
		var lastP []byte
		var test func([]byte) bool
		return types.EachRow(n, sel, func(i int) error {
			s, p := args[0].Bytes[i], args[1].Bytes[i]
			if fold {
				s, p = lowerText(s), lowerText(p)
			}
			var ok bool
			if !fold && n > 1 {
				if lastP == nil || !sameSlice(lastP, p) {
					lastP, test = p, simpleLike(p)
				}
			}
			if test != nil {
				ok = test(s)
			} else {
				var err error
				if ok, err = like(s, p); err != nil {
					return err
				}
			}
			out.Ints[i] = b2i(ok != negate)
			return nil
		})
	}
}

func sameSlice(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// simpleLike recognises 'x', 'x%', '%x' and '%x%'; nil for anything else.
func simpleLike(p []byte) func([]byte) bool {
	q := p
	pre, post := false, false
	for len(q) > 0 && q[0] == '%' {
		pre = true
		q = q[1:]
	}
	for len(q) > 0 && q[len(q)-1] == '%' {
		post = true
		q = q[:len(q)-1]
	}
	if bytes.ContainsAny(q, "%_\\") {
		return nil
	}
	switch {
	case pre && post:
		return func(s []byte) bool { return bytes.Contains(s, q) }
	case pre:
		return func(s []byte) bool { return bytes.HasSuffix(s, q) }
	case post:
		return func(s []byte) bool { return bytes.HasPrefix(s, q) }
	}
	return func(s []byte) bool { return bytes.Equal(s, q) }
}

// likeEscape turns a pattern with another escape character into one with the backslash.
func likeEscape(p, esc []byte) ([]byte, error) {
	if utf8.RuneCount(esc) > 1 {
		return nil, pgerr.New(pgerr.InvalidEscapeSequence, "invalid escape string").WithHint("Escape string must be empty or one character.")
	}
	out := make([]byte, 0, len(p)+4)
	if len(esc) == 0 {
		for _, c := range p {
			if c == '\\' {
				out = append(out, '\\')
			}
			out = append(out, c)
		}
		return out, nil
	}
	if esc[0] == '\\' {
		return p, nil
	}
	after := false
	for len(p) > 0 {
		if !after && bytes.HasPrefix(p, esc) {
			out = append(out, '\\')
			after = true
			p = p[len(esc):]
			continue
		}
		if p[0] == '\\' && !after {
			out = append(out, '\\')
		}
		_, rest := nextRune(p)
		out = append(out, p[:len(p)-len(rest)]...)
		p = rest
		after = false
	}
	return out, nil
}

func init() {
	reg(likeKernel(false, false), "textlike", "bytealike", "namelike", "bpcharlike")
	reg(likeKernel(false, true), "textnlike", "byteanlike", "namenlike", "bpcharnlike")
	reg(likeKernel(true, false), "texticlike", "nameiclike", "bpchariclike")
	reg(likeKernel(true, true), "texticnlike", "nameicnlike", "bpcharicnlike")
	reg(map2(bytesOf, bytesOf, bytesOf, likeEscape), "like_escape", "like_escape_bytea")
}
