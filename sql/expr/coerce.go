package expr

import (
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// CanCoerce reports whether Coerce would find a way from a type to another.
func CanCoerce(from, to types.OID, ctx byte) bool { return builtin.CanCoerce(from, to, ctx) }

// Coerce converts e to a type in a context: 'i' implicit, 'a' assignment, 'e' explicit. Unknown literals are
// parsed here (22P02 and friends); a Param of unknown type gets its type.
// What cannot be cast is 42846 ("cannot cast type ... to ..."); the binder words assignment failures (42804) itself,
// see CanCoerce.
func Coerce(e Expr, to types.Type, ctx byte) (Expr, error) {
	r, err := coerceType(e, to, ctx)
	if err != nil {
		return nil, err
	}
	return coerceMod(r, to, ctx), nil
}

func coerceType(e Expr, to types.Type, ctx byte) (Expr, error) {
	from := e.Type().OID
	if p, ok := e.(*Param); ok && from == types.UnknownOID {
		return bindParam(p, to.OID)
	}
	if from == to.OID || to.OID == types.AnyOID {
		return e, nil
	}
	target := types.Of(to.OID)
	if from == types.UnknownOID {
		if c, ok := e.(*Const); ok {
			return parseLiteral(c, to)
		}
		if a, ok := e.(*ArrayCtor); ok {
			return a, nil
		}
		return &Convert{T: target, Arg: e, Via: 'i', Explicit: ctx == 'e'}, nil
	}
	path, ok := builtin.ResolveCast(from, to.OID, ctx)
	if !ok {
		if to.OID == types.RecordOID || builtin.IsPolymorphic(to.OID) {
			return e, nil
		}
		return nil, pgerr.New(pgerr.CannotCoerce, "cannot cast type %s to %s", textOf(from), textOf(to.OID))
	}
	switch path.Method {
	case 'f':
		args := []Expr{e}
		if len(path.Fn.Args) >= 2 {
			args = append(args, &Const{T: types.Of(types.Int4OID), Value: types.NewInt(int64(to.Mod))})
		}
		if len(path.Fn.Args) >= 3 {
			args = append(args, &Const{T: types.Of(types.BoolOID), Value: types.NewBool(ctx == 'e')})
		}
		c := &Call{T: target, Fn: path.Fn, Args: args, Cast: true}
		if path.Fn.Kernel == nil {
			return nil, pgerr.Unsupported("cast from "+textOf(from)+" to "+textOf(to.OID), "")
		}
		return c, nil
	case 'a':
		if path.Fn != nil && path.Fn.Kernel == nil {
			return nil, pgerr.Unsupported("cast from "+textOf(from)+" to "+textOf(to.OID), "")
		}
		return &Convert{T: target, Arg: e, Via: 'a', Fn: path.Fn, Explicit: ctx == 'e'}, nil
	case 'i':
		return &Convert{T: target, Arg: e, Via: 'i', Explicit: ctx == 'e'}, nil
	}
	return &Convert{T: target, Arg: e, Via: 'r', Explicit: ctx == 'e'}, nil
}

// coerceMod applies a type's modifier.
func coerceMod(e Expr, to types.Type, ctx byte) Expr {
	have := e.Type()
	if to.Mod < 0 || have.OID != to.OID || types.ModIsNoOp(to.OID, have.Mod, to.Mod) {
		return e
	}
	c := &Convert{T: to, Arg: e, Via: 'm', Explicit: ctx == 'e'}
	if k, ok := e.(*Const); ok {
		if k.Value.Null {
			return &Const{T: to, Value: types.NullDatum}
		}
		if d, err := types.ApplyMod(to, k.Value, c.Explicit); err == nil {
			return &Const{T: to, Value: d}
		}
	}
	return c
}

func bindParam(p *Param, t types.OID) (Expr, error) {
	if t == types.UnknownOID || t == types.AnyOID {
		return p, nil
	}
	if p.Infer == nil {
		return &Param{T: types.Of(t), Index: p.Index}, nil
	}
	for len(p.Infer.Types) <= p.Index {
		p.Infer.Types = append(p.Infer.Types, 0)
	}
	known := &p.Infer.Types[p.Index]
	switch {
	case *known == 0 || *known == types.UnknownOID:
		*known = t
	case *known != t:
		// The parameter has its type already; here it is cast like any other value.
		bound := &Param{T: types.Of(*known), Index: p.Index}
		if builtin.CanCoerce(*known, t, 'i') {
			return Coerce(bound, types.Of(t), 'i')
		}
		return nil, pgerr.New(pgerr.AmbiguousParameter, "inconsistent types deduced for parameter $%d", p.Index+1).
			WithDetail("%s versus %s", textOf(*known), textOf(t))
	}
	return &Param{T: types.Of(t), Index: p.Index}, nil
}

// parseLiteral gives a literal its type. What its meaning depends on session settings for is left to run time.
func parseLiteral(c *Const, to types.Type) (Expr, error) {
	t := types.Of(to.OID)
	if c.Value.Null {
		return &Const{T: t, Value: types.NullDatum}, nil
	}
	if literalNeedsSession(to.OID, c.Value.B) {
		if to.OID == types.IntervalOID {
			t.Mod = to.Mod
		}
		return &Convert{T: t, Arg: c, Via: 'i'}, nil
	}
	pt := t
	if to.OID == types.IntervalOID {
		pt.Mod = to.Mod // says what a bare number counts
	}
	d, err := types.ParseText(pt, c.Value.B, types.DefaultEnv)
	if err != nil {
		return nil, err
	}
	return &Const{T: pt, Value: d.Clone()}, nil
}

// literalNeedsSession: a date in another than the ISO form depends on DateStyle, 'now' on the clock, a time without zone on
// TimeZone, a regclass on the catalog.
func literalNeedsSession(t types.OID, s []byte) bool {
	switch t {
	case types.DateOID, types.TimestampOID:
		return !types.IsPlainISO(s, false)
	case types.TimestamptzOID:
		return !types.IsPlainISO(s, true)
	case types.TimeOID, types.TimetzOID:
		return len(s) == 0 || s[0] < '0' || s[0] > '9' || t == types.TimetzOID
	case types.RegProcOID, types.RegprocedureOID, types.RegoperOID, types.RegoperatorOID, types.RegclassOID, types.RegtypeOID,
		types.RegroleOID, types.RegnamespaceOID, types.RegconfigOID, types.RegdictionaryOID, types.RegcollationOID:
		return true
	}
	if e := types.ElemOf(t); e != 0 {
		switch e {
		case types.DateOID, types.TimestampOID, types.TimestamptzOID, types.TimetzOID, types.RegclassOID, types.RegtypeOID:
			return true
		}
	}
	return false
}

// castVolatility is that of a cast through text forms, or of text forms themselves.
func castVolatility(from, to types.OID) byte {
	if sessionOutput(from) || sessionInput(to) {
		return 's'
	}
	return 'i'
}

func sessionOutput(t types.OID) bool {
	switch t {
	case types.DateOID, types.TimestampOID, types.TimestamptzOID, types.IntervalOID, types.ByteaOID, types.RecordOID,
		types.Float4OID, types.Float8OID:
		return true
	}
	if isReg(t) {
		return true
	}
	if e := types.ElemOf(t); e != 0 {
		return sessionOutput(e)
	}
	return false
}

func sessionInput(t types.OID) bool {
	switch t {
	case types.DateOID, types.TimestampOID, types.TimestamptzOID, types.TimeOID, types.TimetzOID:
		return true
	}
	if isReg(t) {
		return true
	}
	if e := types.ElemOf(t); e != 0 {
		return sessionInput(e)
	}
	return false
}

func isReg(t types.OID) bool {
	switch t {
	case types.RegProcOID, types.RegprocedureOID, types.RegoperOID, types.RegoperatorOID, types.RegclassOID, types.RegtypeOID,
		types.RegroleOID, types.RegnamespaceOID, types.RegconfigOID, types.RegdictionaryOID, types.RegcollationOID:
		return true
	}
	return false
}
