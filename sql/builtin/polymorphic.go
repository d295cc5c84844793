package builtin

import (
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// polyBinding is what the polymorphic pseudo-types stand for in one call; 0 = not determined.
type polyBinding struct {
	elem, array, rng    types.OID
	celem, carray, crng types.OID
}

// bindPoly finds the concrete types for polymorphic arguments (check_generic_type_consistency); unknown arguments do not count.
func (d *db) bindPoly(actual, declared []types.OID) (polyBinding, bool) {
	var b polyBinding
	nonArray, enum := false, false
	cNonArray := false
	var compat []types.OID
	for i, t := range declared {
		if i >= len(actual) {
			break
		}
		a := actual[i]
		if a == types.UnknownOID {
			continue
		}
		switch t {
		case types.AnynonarrayOID, types.AnyenumOID, types.AnyelementOID:
			nonArray = nonArray || t == types.AnynonarrayOID
			enum = enum || t == types.AnyenumOID
			if b.elem != 0 && b.elem != a {
				return b, false
			}
			b.elem = a
		case types.AnyarrayOID:
			a = d.base(a)
			if b.array != 0 && b.array != a {
				return b, false
			}
			b.array = a
		case types.AnyrangeOID, types.AnymultirangeOID:
			a = d.base(a)
			if b.rng != 0 && b.rng != a {
				return b, false
			}
			b.rng = a
		case types.AnycompatibleOID, types.AnycompatiblenonarrayOID:
			cNonArray = cNonArray || t == types.AnycompatiblenonarrayOID
			compat = append(compat, a)
		case types.AnycompatiblearrayOID:
			e := d.elem(d.base(a))
			if e == 0 {
				return b, false
			}
			compat = append(compat, e)
		case types.AnycompatiblerangeOID, types.AnycompatiblemultirangeOID:
			s := d.rangeSub[d.base(a)]
			if s == 0 {
				return b, false
			}
			b.crng = a
			compat = append(compat, s)
		}
	}
	if b.array != 0 {
		if b.array == types.AnyarrayOID {
			if b.elem != 0 && b.elem != types.AnyelementOID {
				return b, false
			}
			b.elem = types.AnyelementOID
		} else {
			e := d.elem(b.array)
			if e == 0 || b.elem != 0 && b.elem != e {
				return b, false
			}
			b.elem = e
		}
	}
	if b.rng != 0 {
		s := d.rangeSub[b.rng]
		if s == 0 || b.elem != 0 && b.elem != s {
			return b, false
		}
		b.elem = s
	}
	if nonArray && b.elem != 0 && d.elem(b.elem) != 0 {
		return b, false
	}
	if enum && b.elem != 0 {
		if r := d.typeByOID[b.elem]; r == nil || r.Type != 'e' {
			return b, false
		}
	}
	if len(compat) > 0 {
		c, err := d.commonType("", compat)
		if err != nil {
			return b, false
		}
		for _, x := range compat {
			if !d.canCoerce([]types.OID{x}, []types.OID{c}, 'i') {
				return b, false
			}
		}
		if cNonArray && d.elem(c) != 0 {
			return b, false
		}
		b.celem, b.carray = c, d.arrayOf(c)
	}
	return b, true
}

// concrete replaces a polymorphic pseudo-type by what it is bound to.
func (d *db) concrete(t types.OID, b *polyBinding) (types.OID, error) {
	switch t {
	case types.AnyelementOID, types.AnynonarrayOID, types.AnyenumOID:
		return b.elem, nil
	case types.AnyarrayOID:
		if b.array != 0 {
			return b.array, nil
		}
		a := d.arrayOf(b.elem)
		if a == 0 {
			return 0, noArrayType(b.elem)
		}
		return a, nil
	case types.AnyrangeOID, types.AnymultirangeOID:
		return b.rng, nil
	case types.AnycompatibleOID, types.AnycompatiblenonarrayOID:
		return b.celem, nil
	case types.AnycompatiblearrayOID:
		if b.carray == 0 {
			return 0, noArrayType(b.celem)
		}
		return b.carray, nil
	case types.AnycompatiblerangeOID, types.AnycompatiblemultirangeOID:
		return b.crng, nil
	}
	return t, nil
}

func noArrayType(t types.OID) error {
	return pgerr.New(pgerr.UndefinedObject, "could not find array type for data type %s", types.FormatType(types.Of(t)))
}

// finish makes the polymorphic types of a chosen candidate concrete.
func (d *db) finish(c *candidate, actual []types.OID) (*Resolved, error) {
	fn := c.fn
	declared := append([]types.OID(nil), c.args...)
	result := fn.Result
	poly := isPolymorphic(result)
	for _, t := range declared {
		poly = poly || isPolymorphic(t)
	}
	if poly {
		b, ok := d.bindPoly(actual, declared)
		if !ok {
			return nil, pgerr.New(pgerr.DatatypeMismatch, "arguments declared \"anyelement\" are not all alike")
		}
		if b.elem == 0 && b.rng == 0 && b.array == 0 {
			for _, t := range append(append([]types.OID(nil), declared...), result) {
				if isPoly1(t) {
					return nil, pgerr.New(pgerr.DatatypeMismatch, "could not determine polymorphic type because input has type unknown")
				}
			}
		}
		if b.celem == 0 {
			// All unknown: they become text, as in SelectCommonType.
			b.celem, b.carray = types.TextOID, types.TextArrayOID
		}
		for i, t := range declared {
			x, err := d.concrete(t, &b)
			if err != nil {
				return nil, err
			}
			declared[i] = x
		}
		var err error
		if result, err = d.concrete(result, &b); err != nil {
			return nil, err
		}
	}
	return &Resolved{Fn: fn, Args: declared, Result: result, Expand: c.expand, Order: c.order}, nil
}
