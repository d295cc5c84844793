package exec

import (
	"bytes"
	"slices"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/rowenc"
	"github.com/pamirdb/pamir/sql/types"
)

// spanBuilder computes the key spans of a scan from its constraints.
type spanBuilder struct {
	x     *rowenc.Index
	spans []spanProgram
	all   bool
}

type spanProgram struct {
	eq        programs
	isNull    []bool
	inArray   bool
	low, high *expr.Program
	notNull   bool
	lowIncl   bool
	highIncl  bool
}

func newSpanBuilder(x *rowenc.Index, spans []plan.ScanSpan) (*spanBuilder, error) {
	b := &spanBuilder{x: x, all: spans == nil}
	for i := range spans {
		s := &spans[i]
		n := len(s.Eq)
		if s.Low != nil || s.High != nil || s.NotNull {
			n++
		}
		if n > x.KeyColumns() {
			return nil, pgerr.New(pgerr.InternalError, "scan of index %q constrains %d columns", x.Desc.Name, n)
		}
		p := spanProgram{isNull: s.IsNull, inArray: s.InArray, notNull: s.NotNull}
		for _, e := range s.Eq {
			if e == nil { // an IS NULL column has no value
				p.eq = append(p.eq, nil)
				continue
			}
			c, err := expr.Compile(e)
			if err != nil {
				return nil, err
			}
			p.eq = append(p.eq, c)
		}
		var err error
		if s.Low != nil {
			if p.low, err = expr.Compile(s.Low.Value); err != nil {
				return nil, err
			}
			p.lowIncl = s.Low.Inclusive
		}
		if s.High != nil {
			if p.high, err = expr.Compile(s.High.Value); err != nil {
				return nil, err
			}
			p.highIncl = s.High.Inclusive
		}
		b.spans = append(b.spans, p)
	}
	return b, nil
}

// build returns disjoint spans in index order (descending if reverse). If every one is the key of one
// row, they come as points instead.
func (b *spanBuilder) build(er *expr.Runtime, reverse bool) (spans []keys.Span, points []keys.Key, err error) {
	if b.all {
		return []keys.Span{b.x.Span()}, nil, nil
	}
	allPoints := true
	for i := range b.spans {
		p := &b.spans[i]
		if spans, allPoints, err = b.add(spans, p, er, allPoints); err != nil {
			return nil, nil, err
		}
	}
	if len(spans) > 1 {
		spans = normalise(spans)
		if reverse {
			slices.Reverse(spans)
		}
	}
	if !allPoints || len(spans) == 0 {
		return spans, nil, nil
	}
	points = make([]keys.Key, len(spans))
	for i := range spans {
		points[i] = spans[i].Start
	}
	return nil, points, nil
}

func (b *spanBuilder) add(spans []keys.Span, p *spanProgram, er *expr.Runtime, points bool) ([]keys.Span, bool, error) {
	x := b.x
	prefix := make(keys.Key, 0, len(x.Prefix())+24)
	prefix = append(prefix, x.Prefix()...)
	distinct := x.Desc.Primary || x.Desc.Unique
	var err error
	for i, prog := range p.eq {
		if p.isNull != nil && p.isNull[i] {
			if !x.HasMarker(i) {
				return spans, points, nil // never NULL
			}
			distinct = false
			if prefix, err = x.AppendColumn(prefix, i, types.NullDatum); err != nil {
				return nil, false, err
			}
			continue
		}
		d, err := prog.EvalRow(er, nil, 0)
		if err != nil {
			return nil, false, err
		}
		if d.Null {
			return spans, points, nil
		}
		if p.inArray && i == len(p.eq)-1 {
			arr, ok := d.A.(*types.Array)
			if !ok {
				return nil, false, pgerr.New(pgerr.InternalError, "IN list carried as %T", d.A)
			}
			for _, e := range arr.Elems {
				if e.Null {
					continue
				}
				k, err := x.AppendColumn(prefix[:len(prefix):len(prefix)], i, e)
				if err != nil {
					return nil, false, err
				}
				if spans, points, err = b.finish(spans, p, er, k, distinct, points); err != nil {
					return nil, false, err
				}
			}
			return spans, points, nil
		}
		if prefix, err = x.AppendColumn(prefix, i, d); err != nil {
			return nil, false, err
		}
	}
	return b.finish(spans, p, er, prefix, distinct, points)
}

// finish adds the span of a prefix of equal columns, and the range on the next.
func (b *spanBuilder) finish(spans []keys.Span, p *spanProgram, er *expr.Runtime, prefix keys.Key, distinct, points bool) ([]keys.Span, bool, error) {
	x, n := b.x, len(p.eq)
	if p.low == nil && p.high == nil && !p.notNull {
		if n == x.KeyColumns() && distinct {
			return append(spans, keys.Span{Start: prefix}), points, nil
		}
		return append(spans, keys.Span{Start: prefix, End: prefix.PrefixEnd()}), false, nil
	}
	bound := func(prog *expr.Program) (keys.Key, bool, error) {
		if prog == nil {
			return nil, true, nil
		}
		d, err := prog.EvalRow(er, nil, 0)
		if err != nil || d.Null {
			return nil, false, err
		}
		k, err := x.AppendColumn(prefix[:len(prefix):len(prefix)], n, d)
		return k, true, err
	}
	low, ok1, err := bound(p.low)
	if err != nil {
		return nil, false, err
	}
	high, ok2, err := bound(p.high)
	if err != nil {
		return nil, false, err
	}
	if !ok1 || !ok2 {
		return spans, points, nil
	}
	lowIncl, highIncl := p.lowIncl, p.highIncl
	if x.Descending(n) {
		low, high, lowIncl, highIncl = high, low, highIncl, lowIncl
	}
	// Without a bound the span still keeps to the values: NULLs do not compare.
	var s keys.Span
	switch {
	case low == nil:
		s.Start = x.ValuesStart(prefix, n)
	case lowIncl:
		s.Start = low
	default:
		s.Start = low.PrefixEnd()
	}
	switch {
	case high == nil:
		s.End = x.ValuesEnd(prefix, n)
	case highIncl:
		s.End = high.PrefixEnd()
	default:
		s.End = high
	}
	if bytes.Compare(s.Start, s.End) >= 0 {
		return spans, points, nil
	}
	return append(spans, s), false, nil
}

// normalise sorts spans and joins those that overlap or touch.
func normalise(spans []keys.Span) []keys.Span {
	slices.SortFunc(spans, func(a, b keys.Span) int {
		if c := bytes.Compare(a.Start, b.Start); c != 0 {
			return c
		}
		return len(b.End) - len(a.End) // a point after the span that starts there
	})
	out := spans[:1]
	for _, s := range spans[1:] {
		last := &out[len(out)-1]
		switch {
		case last.IsPoint():
			if !bytes.Equal(s.Start, last.Start) {
				out = append(out, s)
			} else if !s.IsPoint() {
				*last = s
			}
		case bytes.Compare(s.Start, last.End) >= 0:
			out = append(out, s)
		case !s.IsPoint() && bytes.Compare(s.End, last.End) > 0:
			last.End = s.End
		}
	}
	return out
}
