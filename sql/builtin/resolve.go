package builtin

import (
	"github.com/pamirdb/pamir/sql/types"
)

// Resolved is a function chosen for given argument types.
type Resolved struct {
	Fn *Function
	// Args are the types that the arguments are to be coerced to, polymorphic ones made concrete: one for each
	// of the function's actual arguments in declared order (variadic ones one by one, see Expand).
	Args   []types.OID
	Result types.OID
	// Expand: arguments from this index on are collected into an array (of their type); -1 for no.
	Expand int
	// Order[i] says which actual argument is declared argument i, -1 for its default; nil means in order, with
	// missing trailing ones from defaults.
	Order []int
	// Cast: the call is a cast to Result, written as a function; Fn is nil.
	Cast bool
}

// candidate is a function or operator under consideration; args has one type per actual argument.
type candidate struct {
	fn     *Function
	op     *OperatorRow
	args   []types.OID
	order  []int
	expand int
	defs   int
}

const noUnique = "You might need to add explicit type casts."

func (d *db) base(t types.OID) types.OID {
	for {
		r := d.typeByOID[t]
		if r == nil || r.Type != 'd' || r.Base == 0 {
			return t
		}
		t = r.Base
	}
}

func (d *db) category(t types.OID) (byte, bool) {
	r := d.typeByOID[t]
	if r == nil {
		return 'X', false
	}
	return r.Category, r.Preferred
}

func isPolymorphic(t types.OID) bool { return isPoly1(t) || isPoly2(t) }

func isPoly1(t types.OID) bool {
	switch t {
	case types.AnyelementOID, types.AnyarrayOID, types.AnynonarrayOID, types.AnyenumOID, types.AnyrangeOID, types.AnymultirangeOID:
		return true
	}
	return false
}

func isPoly2(t types.OID) bool {
	switch t {
	case types.AnycompatibleOID, types.AnycompatiblearrayOID, types.AnycompatiblenonarrayOID, types.AnycompatiblerangeOID, types.AnycompatiblemultirangeOID:
		return true
	}
	return false
}

// pathway is find_coercion_pathway.
func (d *db) pathway(from, to types.OID, ctx byte) (CastPath, bool) {
	from, to = d.base(from), d.base(to)
	if from == to {
		return CastPath{Method: '='}, true
	}
	if c, ok := d.casts[castKey{from, to}]; ok {
		if rank(ctx) < rank(c.context) {
			return CastPath{}, false
		}
		switch c.method {
		case 'f':
			return CastPath{Method: 'f', Fn: c.fn}, true
		case 'i':
			return CastPath{Method: 'i'}, true
		}
		return CastPath{Method: 'r'}, true
	}
	if to != types.OidVectorOID && to != types.Int2VectorOID {
		fe, te := d.elem(from), d.elem(to)
		if fe != 0 && te != 0 {
			if p, ok := d.pathway(fe, te, ctx); ok && p.Method != 'a' {
				if p.Method == 'i' {
					return CastPath{Method: 'i'}, true
				}
				return CastPath{Method: 'a', Fn: p.Fn}, true
			}
		}
	}
	if fc, _ := d.category(from); ctx == 'e' && fc == 'S' {
		return CastPath{Method: 'i'}, true
	}
	if tc, _ := d.category(to); ctx != 'i' && tc == 'S' {
		return CastPath{Method: 'i'}, true
	}
	return CastPath{}, false
}

func rank(ctx byte) int {
	switch ctx {
	case 'i':
		return 0
	case 'a':
		return 1
	}
	return 2
}

func (d *db) elem(t types.OID) types.OID {
	if r := d.typeByOID[t]; r != nil {
		return r.Elem
	}
	return 0
}

func (d *db) arrayOf(t types.OID) types.OID {
	if r := d.typeByOID[t]; r != nil {
		return r.Array
	}
	return 0
}

func (d *db) binaryCoercible(from, to types.OID) bool {
	from = d.base(from)
	if from == to || to == types.AnyOID || to == types.AnyelementOID || to == types.AnycompatibleOID {
		return true
	}
	if to == types.AnyarrayOID || to == types.AnycompatiblearrayOID {
		return d.elem(from) != 0
	}
	if to == types.AnynonarrayOID || to == types.AnycompatiblenonarrayOID {
		return d.elem(from) == 0
	}
	if to == types.RecordOID {
		r := d.typeByOID[from]
		return r != nil && r.Type == 'c'
	}
	c, ok := d.casts[castKey{from, to}]
	return ok && c.method == 'b' && c.context == 'i'
}

// canCoerce is can_coerce_type over a list.
func (d *db) canCoerce(from, to []types.OID, ctx byte) bool {
	generic := false
	for i, f := range from {
		t := to[i]
		if f == t || t == types.AnyOID {
			continue
		}
		if isPolymorphic(t) {
			generic = true
			continue
		}
		if f == types.UnknownOID {
			continue
		}
		if _, ok := d.pathway(f, t, ctx); ok {
			continue
		}
		if t == types.RecordOID {
			if r := d.typeByOID[f]; r != nil && r.Type == 'c' {
				continue
			}
		}
		if f == types.RecordOID {
			if r := d.typeByOID[t]; r != nil && r.Type == 'c' {
				continue
			}
		}
		if t == types.RecordArrayOID {
			if r := d.typeByOID[d.elem(f)]; r != nil && r.Type == 'c' {
				continue
			}
		}
		return false
	}
	if generic {
		_, ok := d.bindPoly(from, to)
		return ok
	}
	return true
}
