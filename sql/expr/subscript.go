package expr

import (
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// MakeSubscript is array[i][j] (each index an integer), or json[key].
func MakeSubscript(array Expr, index []Expr) (Expr, error) {
	t := typeOf(array)
	if t == types.JSONBOID {
		e := array
		for _, i := range index {
			var err error
			if e, err = MakeOp("->", e, i); err != nil {
				return nil, err
			}
		}
		return e, nil
	}
	if t == types.NameOID && len(index) == 1 {
		return nameByte(array, index[0])
	}
	et := types.ElemOf(t)
	if et == 0 {
		return nil, pgerr.New(pgerr.DatatypeMismatch, "cannot subscript type %s because it does not support subscripting", textOf(t))
	}
	args := []Expr{array}
	for _, i := range index {
		if !builtin.CanCoerce(typeOf(i), types.Int4OID, 'a') {
			return nil, pgerr.New(pgerr.DatatypeMismatch, "array subscript must have type integer")
		}
		c, err := Coerce(i, types.Of(types.Int4OID), 'a')
		if err != nil {
			return nil, err
		}
		args = append(args, c)
	}
	return &Call{T: types.Of(et), Fn: builtin.ArraySubscript, Args: args}, nil
}

// nameByte is name[i], the i-th byte from 0 as a "char": pg_dump looks at names so.
func nameByte(name, index Expr) (Expr, error) {
	text, err := Coerce(name, types.Of(types.TextOID), 'e')
	if err != nil {
		return nil, err
	}
	int4 := func(n int64) Expr { return &Const{T: types.Of(types.Int4OID), Value: types.NewInt(n)} }
	if index, err = Coerce(index, types.Of(types.Int4OID), 'a'); err != nil {
		return nil, err
	}
	from, err := MakeOp("+", index, int4(1))
	if err != nil {
		return nil, err
	}
	b, err := MakeCall("pg_catalog", "substr", []Expr{text, from, int4(1)}, CallOptions{})
	if err != nil {
		return nil, err
	}
	return Coerce(b, types.Of(types.CharOID), 'e')
}

// MakeSlice is array[lo:hi]...; a nil bound is an omitted one.
func MakeSlice(array Expr, lo, hi []Expr) (Expr, error) {
	t := typeOf(array)
	if types.ElemOf(t) == 0 {
		return nil, pgerr.New(pgerr.DatatypeMismatch, "cannot subscript type %s because it does not support subscripting", textOf(t))
	}
	args := []Expr{array}
	for i := range lo {
		for k, b := range []Expr{lo[i], hi[i]} {
			if b == nil {
				// Omitted bounds stand for the array's own: numbers outside of any array's.
				v := int64(-1 << 31)
				if k == 1 {
					v = 1<<31 - 1
				}
				b = &Const{T: types.Of(types.Int4OID), Value: types.NewInt(v)}
			}
			c, err := Coerce(b, types.Of(types.Int4OID), 'a')
			if err != nil {
				return nil, err
			}
			args = append(args, c)
		}
	}
	return &Call{T: types.Of(t), Fn: builtin.ArraySlice, Args: args}, nil
}

// MakeField is (record).field for the i-th field of a record whose type is known.
func MakeField(rec Expr, i int, t types.Type) Expr {
	return &Call{T: t, Fn: builtin.RecordField, Args: []Expr{rec, &Const{T: types.Of(types.Int4OID), Value: types.NewInt(int64(i))}}}
}
