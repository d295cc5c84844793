package builtin

import (
	"github.com/pamirdb/pamir/sql/types"
	"github.com/pamirdb/pamir/sql/verb"
)

// Most functions of schema pamir are made from the table of verbs.
func init() {
	for i := range verb.Table {
		v := &verb.Table[i]
		switch {
		case v.Function == nil || v.Function.AnyKey: // pamir.go has those
		case v.Function.Returns == verb.Rows:
			operatorFunctions = append(operatorFunctions, rowsFunction(v))
		default:
			operatorFunctions = append(operatorFunctions, doFunctions(v)...)
		}
	}
}

var verbKinds = map[verb.Kind]types.OID{verb.Int: types.Int8OID, verb.Text: types.TextOID, verb.Bool: types.BoolOID}

// doFunctions are the functions of a verb that does something: one with all its parameters, and one without each that may be left out at the end.
// NULL leaves a parameter out.
func doFunctions(v *verb.Verb) (out []*Function) {
	all := &Function{OID: v.Function.OID, Name: v.Name, Schema: "pamir", Source: "pamir_" + v.Name, Volatility: 'v', Kind: 'f', Result: types.BoolOID, Language: 12}
	if v.Function.Returns != verb.Done {
		all.Result = types.Int8OID
	}
	for i := range v.Params {
		all.Args, all.ArgNames = append(all.Args, verbKinds[v.Params[i].Kind]), append(all.ArgNames, v.Params[i].Name)
	}
	out = append(out, all)
	for n := len(v.Params) - 1; n >= 0 && v.Params[n].Kind == verb.Bool && !v.Params[n].Required; n-- {
		fewer := *all
		fewer.OID += uint32(len(out))
		fewer.Args, fewer.ArgNames = all.Args[:n], all.ArgNames[:n]
		out = append(out, &fewer)
	}
	reg(datumKernel(func(ctx *Context, args []*types.Vec, i int) (types.Datum, error) {
		o, err := operatorOf(ctx)
		if err != nil {
			return types.NullDatum, err
		}
		a := verb.Args{}
		for k, vec := range args {
			d, p := vec.Get(i), &v.Params[k]
			switch {
			case d.Null:
			case p.Kind == verb.Int:
				a[p.Name] = d.I
			case p.Kind == verb.Bool:
				a[p.Name] = d.I != 0
			default:
				a[p.Name] = string(d.B)
			}
		}
		done, err := o.Operate(v, a)
		switch {
		case err != nil:
			return types.NullDatum, err
		case v.Function.Returns == verb.Begun:
			return types.NewInt(done.Operation), nil
		case v.Function.Returns == verb.Number:
			n, _ := done.Result[v.Function.Field].(int64)
			return types.NewInt(n), nil
		}
		return types.NewBool(true), nil
	}), all.Source)
	return out
}

// rowsFunction is the function of a verb that looks.
func rowsFunction(v *verb.Verb) *Function {
	f := &Function{OID: v.Function.OID, Name: v.Name, Schema: "pamir", Source: "pamir_" + v.Name, Strict: true, Volatility: 'v', Kind: 'f', ReturnsSet: true,
		Result: types.RecordOID, Language: 12}
	var of []types.Type
	for i := range v.Columns {
		if c := &v.Columns[i]; c.Type != "" {
			t := types.TextOID
			switch c.Type {
			case "int8":
				t = types.Int8OID
			case "bool":
				t = types.BoolOID
			}
			f.OutNames, f.OutTypes = append(f.OutNames, c.Name), append(f.OutTypes, t)
			of = append(of, types.Of(t))
		}
	}
	RegisterSetKernel(f.Source, func(ctx *Context, _ []types.Datum, _ []types.Type) (RowSource, error) {
		o, err := operatorOf(ctx)
		if err != nil {
			return nil, err
		}
		texts, err := o.Look(v, verb.Args{})
		if err != nil {
			return nil, err
		}
		rows := make([][]types.Datum, 0, len(texts))
		for _, t := range texts {
			row := make([]types.Datum, len(t))
			for i, s := range t {
				if row[i] = types.NullDatum; s == nil {
					continue
				}
				if row[i], err = types.ParseText(of[i], []byte(*s), types.DefaultEnv); err != nil {
					return nil, err
				}
			}
			rows = append(rows, row)
		}
		return RowsSource(rows), nil
	}, nil, nil)
	return f
}
