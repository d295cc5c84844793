package builtin

import (
	"strconv"
	"strings"

	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
	"github.com/pamirdb/pamir/sql/verb"
)

// Operator is what the functions of schema pamir ask of a session: what an operator does to the
// cluster. A Session implements it if there is a cluster behind it.
type Operator interface {
	// SplitAt cuts the range of a relation at the row with these values in the first columns of its primary key, and
	// returns the id of the range that begins there.
	SplitAt(relation string, values []types.Datum, of []types.Type) (rangeID int64, err error)
	// MergeAt takes such a cut back, and returns the id of the range that holds the row then.
	MergeAt(relation string, values []types.Datum, of []types.Type) (rangeID int64, err error)
	// Operate carries a verb out, and waits unless its function returns when it has begun. Look answers a verb as rows of texts, by its columns.
	Operate(v *verb.Verb, a verb.Args) (verb.Outcome, error)
	Look(v *verb.Verb, a verb.Args) ([][]*string, error)
	// SetRule sets an option of the cluster's placement rule; an empty value resets it.
	SetRule(option, value string) error
	// Protect keeps everything readable that is current now, or at an exported snapshot, for a time; Extend from now on.
	Protect(lifetime types.Interval, snapshot string) (id int64, err error)
	ExtendProtection(id int64, lifetime types.Interval) error
	Unprotect(id int64) (bool, error)
	// CancelJob undoes a job that runs; it reports whether there was anything to undo.
	CancelJob(id int64) (bool, error)
}

// The functions of schema pamir. Their OIDs lie where PostgreSQL hands out none to anybody.
var operatorFunctions = []*Function{
	{OID: 0xffffff00, Name: "split_at", Schema: "pamir", Source: "pamir_split_at", Volatility: 'v', Kind: 'f',
		Args: []types.OID{types.TextOID, types.AnyOID}, Variadic: types.AnyOID, Result: types.Int8OID, Language: 12},
	{OID: 0xffffff05, Name: "merge_at", Schema: "pamir", Source: "pamir_merge_at", Volatility: 'v', Kind: 'f',
		Args: []types.OID{types.TextOID, types.AnyOID}, Variadic: types.AnyOID, Result: types.Int8OID, Language: 12},
	{OID: 0xffffff06, Name: "merge_at", Schema: "pamir", Source: "pamir_merge_at_nothing", Strict: true, Volatility: 'v', Kind: 'f',
		Args: []types.OID{types.TextOID}, Result: types.Int8OID, Language: 12, ArgNames: []string{"relation"}},
	{OID: 0xffffff07, Name: "split_at", Schema: "pamir", Source: "pamir_split_at", Volatility: 'v', Kind: 'f',
		Args: []types.OID{types.RegclassOID, types.AnyOID}, Variadic: types.AnyOID, Result: types.Int8OID, Language: 12},
	{OID: 0xffffff08, Name: "merge_at", Schema: "pamir", Source: "pamir_merge_at", Volatility: 'v', Kind: 'f',
		Args: []types.OID{types.RegclassOID, types.AnyOID}, Variadic: types.AnyOID, Result: types.Int8OID, Language: 12},
	{OID: 0xffffff10, Name: "set_rule", Schema: "pamir", Source: "pamir_set_rule", Volatility: 'v', Kind: 'f',
		Args: []types.OID{types.TextOID, types.TextOID}, Result: types.BoolOID, Language: 12, ArgNames: []string{"option", "value"}},
	{OID: 0xffffff15, Name: "set_rule", Schema: "pamir", Source: "pamir_set_rule", Volatility: 'v', Kind: 'f',
		Args: []types.OID{types.TextOID, types.Int8OID}, Result: types.BoolOID, Language: 12, ArgNames: []string{"option", "value"}},
	{OID: 0xffffff02, Name: "cancel_job", Schema: "pamir", Source: "pamir_cancel_job", Strict: true, Volatility: 'v', Kind: 'f',
		Args: []types.OID{types.Int8OID}, Result: types.BoolOID, Language: 12, ArgNames: []string{"id"}},
	{OID: 0xffffff11, Name: "protect", Schema: "pamir", Source: "pamir_protect", Volatility: 'v', Kind: 'f',
		Args: []types.OID{types.IntervalOID}, Result: types.Int8OID, Language: 12, ArgNames: []string{"lifetime"}},
	{OID: 0xffffff12, Name: "protect", Schema: "pamir", Source: "pamir_protect", Volatility: 'v', Kind: 'f',
		Args: []types.OID{types.IntervalOID, types.TextOID}, Result: types.Int8OID, Language: 12, ArgNames: []string{"lifetime", "snapshot"}},
	{OID: 0xffffff13, Name: "extend_protection", Schema: "pamir", Source: "pamir_extend_protection", Strict: true, Volatility: 'v', Kind: 'f',
		Args: []types.OID{types.Int8OID, types.IntervalOID}, Result: types.BoolOID, Language: 12, ArgNames: []string{"id", "lifetime"}},
	{OID: 0xffffff14, Name: "unprotect", Schema: "pamir", Source: "pamir_unprotect", Strict: true, Volatility: 'v', Kind: 'f',
		Args: []types.OID{types.Int8OID}, Result: types.BoolOID, Language: 12, ArgNames: []string{"id"}},
	// Without values: only to say what is missing.
	{OID: 0xffffff04, Name: "split_at", Schema: "pamir", Source: "pamir_split_at_nothing", Strict: true, Volatility: 'v', Kind: 'f',
		Args: []types.OID{types.TextOID}, Result: types.Int8OID, Language: 12, ArgNames: []string{"relation"}},
	{OID: 0xffffff03, Name: "sequence_state", Schema: "pamir", Source: "pamir_sequence_state", Strict: true, Volatility: 'v', Kind: 'f', ReturnsSet: true,
		Args: []types.OID{types.OidOID}, Result: types.RecordOID, Language: 12, ArgNames: []string{"sequence"},
		OutNames: []string{"last_value", "log_cnt", "is_called"}, OutTypes: []types.OID{types.Int8OID, types.Int8OID, types.BoolOID}},
}

// OperatorFunctions are the functions of schema pamir.
func OperatorFunctions() []*Function { return operatorFunctions }

func operatorOf(ctx *Context) (Operator, error) {
	if ctx != nil {
		if o, ok := ctx.Session.(Operator); ok {
			return o, nil
		}
	}
	return nil, pgerr.New(pgerr.FeatureNotSupported, "there is no cluster here to operate on")
}

// atRow is a function that does something at a row of a relation, given by values for the first columns of its primary key.
func atRow(do func(o Operator, relation string, values []types.Datum, of []types.Type) (int64, error)) Kernel {
	return datumKernel(func(ctx *Context, args []*types.Vec, i int) (types.Datum, error) {
		o, err := operatorOf(ctx)
		if err != nil {
			return types.NullDatum, err
		}
		values := make([]types.Datum, 0, len(args)-1)
		of := make([]types.Type, 0, len(args)-1)
		for n, a := range args {
			if a.Get(i).Null {
				what := "a value of its key"
				if n == 0 {
					what = "the table"
				}
				return types.NullDatum, pgerr.New(pgerr.NullValueNotAllowed, "%s must not be NULL", what)
			}
		}
		for _, a := range args[1:] {
			values, of = append(values, a.Get(i)), append(of, a.Type)
		}
		relation := ""
		if args[0].Type.OID == types.RegclassOID {
			relation = string(types.AppendDatumText(nil, args[0].Type, args[0].Get(i), ctx.TextEnv()))
		} else {
			relation = string(args[0].Bytes[i])
		}
		id, err := do(o, relation, values, of)
		return types.NewInt(id), err
	})
}

func init() {
	reg(atRow(Operator.SplitAt), "pamir_split_at")
	reg(atRow(Operator.MergeAt), "pamir_merge_at")
	reg(datumKernel(func(*Context, []*types.Vec, int) (types.Datum, error) {
		return types.NullDatum, pgerr.New(pgerr.InvalidParameterValue, "merge_at needs a key to merge at").
			WithHint("Give values for the first columns of the table's primary key: SELECT pamir.merge_at('accounts', 500).")
	}), "pamir_merge_at_nothing")
	reg(datumKernel(func(ctx *Context, args []*types.Vec, i int) (types.Datum, error) {
		o, err := operatorOf(ctx)
		if err != nil {
			return types.NullDatum, err
		}
		for n, a := range args { // who reads on is not to believe that something is protected
			if a.Get(i).Null {
				return types.NullDatum, pgerr.New(pgerr.NullValueNotAllowed, "the %s must not be NULL", []string{"lifetime", "snapshot"}[n])
			}
		}
		snapshot := ""
		if len(args) > 1 {
			if snapshot = string(args[1].Bytes[i]); snapshot == "" {
				return types.NullDatum, pgerr.New(pgerr.InvalidParameterValue, "invalid snapshot identifier: \"\"")
			}
		}
		id, err := o.Protect(args[0].Get(i).Interval(), snapshot)
		return types.NewInt(id), err
	}), "pamir_protect")
	reg(datumKernel(func(ctx *Context, args []*types.Vec, i int) (types.Datum, error) {
		o, err := operatorOf(ctx)
		if err != nil {
			return types.NullDatum, err
		}
		return types.NewBool(true), o.ExtendProtection(args[0].Ints[i], args[1].Get(i).Interval())
	}), "pamir_extend_protection")
	reg(datumKernel(func(ctx *Context, args []*types.Vec, i int) (types.Datum, error) {
		o, err := operatorOf(ctx)
		if err != nil {
			return types.NullDatum, err
		}
		ok, err := o.Unprotect(args[0].Ints[i])
		return types.NewBool(ok), err
	}), "pamir_unprotect")
	reg(datumKernel(func(*Context, []*types.Vec, int) (types.Datum, error) {
		return types.NullDatum, pgerr.New(pgerr.InvalidParameterValue, "split_at needs a key to split at").
			WithHint("Give values for the first columns of the table's primary key: SELECT pamir.split_at('accounts', 500).")
	}), "pamir_split_at_nothing")
	RegisterSetKernel("pamir_sequence_state", func(ctx *Context, args []types.Datum, _ []types.Type) (RowSource, error) {
		s, ok := ctx.Session.(interface {
			SequenceState(oid uint32) (last int64, called bool, err error)
		})
		if !ok {
			return nil, pgerr.New(pgerr.InternalError, "a sequence was asked for without a session")
		}
		last, called, err := s.SequenceState(uint32(args[0].I))
		return RowsSource([][]types.Datum{{types.NewInt(last), types.NewInt(0), types.NewBool(called)}}), err
	}, nil, nil)
	// There are no partitioned tables. psql asks about every table with foreign keys.
	RegisterSetKernel("pg_partition_ancestors", func(*Context, []types.Datum, []types.Type) (RowSource, error) { return RowsSource(nil), nil }, nil, nil)
	RegisterSetKernel("pg_options_to_table", func(_ *Context, args []types.Datum, _ []types.Type) (RowSource, error) {
		var rows [][]types.Datum
		for _, d := range args[0].Array().Elems {
			name, value, ok := strings.Cut(string(d.B), "=")
			row := []types.Datum{types.NewString(name), types.NullDatum}
			if ok {
				row[1] = types.NewString(value)
			}
			rows = append(rows, row)
		}
		return RowsSource(rows), nil
	}, nil, nil)
	reg(datumKernel(func(ctx *Context, args []*types.Vec, i int) (types.Datum, error) {
		o, err := operatorOf(ctx)
		if err != nil {
			return types.NullDatum, err
		}
		option, value := args[0].Get(i), args[1].Get(i)
		if option.Null {
			return types.NullDatum, pgerr.New(pgerr.NullValueNotAllowed, "which option of the rule is to be set must not be NULL")
		}
		v := "" // NULL resets
		switch {
		case value.Null:
		case args[1].Type.OID == types.Int8OID:
			v = strconv.FormatInt(value.I, 10)
		default:
			v = string(value.B)
		}
		return types.NewInt(1), o.SetRule(string(option.B), v)
	}), "pamir_set_rule")
	reg(datumKernel(func(ctx *Context, args []*types.Vec, i int) (types.Datum, error) {
		o, err := operatorOf(ctx)
		if err != nil {
			return types.NullDatum, err
		}
		ok, err := o.CancelJob(args[0].Ints[i])
		return types.NewBool(ok), err
	}), "pamir_cancel_job")
}
