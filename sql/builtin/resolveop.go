package builtin

import (
	"strings"

	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// ResolveOperator finds the operator for operand types: left is 0 for a prefix operator, 705 stands for literals and NULL.
func ResolveOperator(name string, left, right types.OID) (*Resolved, error) {
	d := catalogDB()
	rows := d.opsByName[name]
	actual := []types.OID{left, right}
	kind := byte('b')
	if left == 0 {
		actual, kind = actual[1:], 'l'
	}
	mk := func(o *OperatorRow) candidate {
		c := candidate{fn: o.Fn, op: o, args: []types.OID{o.Left, o.Right}, expand: -1}
		if kind == 'l' {
			c.args = c.args[1:]
		}
		return c
	}
	// An exact match, with an unknown operand taken to be of the other's type.
	exact := func(l, r types.OID) *OperatorRow {
		for _, o := range rows {
			if o.Kind == kind && o.Left == l && o.Right == r {
				return o
			}
		}
		return nil
	}
	var found *OperatorRow
	if kind == 'b' {
		l, r := left, right
		if l == types.UnknownOID {
			l = r
		} else if r == types.UnknownOID {
			r = l
		}
		if found = exact(l, r); found == nil && (left == types.UnknownOID) != (right == types.UnknownOID) {
			if b := d.base(l); b != l {
				found = exact(b, b)
			}
		}
	} else {
		found = exact(0, right)
	}
	if found != nil {
		c := mk(found)
		return d.finishOp(&c, actual)
	}
	var cands []candidate
	for _, o := range rows {
		if o.Kind == kind {
			cands = append(cands, mk(o))
		}
	}
	m := d.matching(actual, cands)
	var best *candidate
	if len(m) == 1 {
		best = &m[0]
	} else if len(m) > 1 {
		if best = d.selectBest(actual, m); best == nil {
			return nil, pgerr.New(pgerr.AmbiguousFunction, "operator is not unique: %s", opSignature(name, left, right)).
				WithHint("Could not choose a best candidate operator. " + noUnique)
		}
	}
	if best == nil {
		hint := "No operator matches the given name and argument types. " + noUnique
		if left == 0 {
			hint = "No operator matches the given name and argument type. You might need to add an explicit type cast."
		}
		return nil, pgerr.New(pgerr.UndefinedFunction, "operator does not exist: %s", opSignature(name, left, right)).WithHint("%s", hint)
	}
	return d.finishOp(best, actual)
}

func (d *db) finishOp(c *candidate, actual []types.OID) (*Resolved, error) {
	if c.fn == nil {
		return nil, pgerr.New(pgerr.UndefinedFunction, "operator is only a shell: %s", opSignature(c.op.Name, c.op.Left, c.op.Right))
	}
	return d.finish(c, actual)
}

func opSignature(name string, left, right types.OID) string {
	s := name + " " + types.FormatType(types.Of(right))
	if left != 0 {
		s = types.FormatType(types.Of(left)) + " " + s
	}
	return s
}

func funcSignature(schema, name string, args []types.OID, names []string) string {
	var b strings.Builder
	if schema != "" {
		b.WriteString(schema + ".")
	}
	b.WriteString(name)
	b.WriteByte('(')
	for i, a := range args {
		if i > 0 {
			b.WriteString(", ")
		}
		if k := i - (len(args) - len(names)); k >= 0 && names[k] != "" {
			b.WriteString(names[k] + " => ")
		}
		b.WriteString(types.FormatType(types.Of(a)))
	}
	b.WriteByte(')')
	return b.String()
}

// candidatesFor is FuncnameGetCandidates.
func (d *db) candidatesFor(schema, name string, nargs int, names []string, variadic bool) []candidate {
	var out []candidate
	for _, fn := range d.byName[name] {
		if schema != "" && fn.Schema != schema || schema == "" && fn.Schema != "pg_catalog" {
			continue
		}
		c := candidate{fn: fn, expand: -1}
		np := len(fn.Args)
		if len(names) > 0 {
			if !c.matchNamed(fn, nargs, names) {
				continue
			}
		} else {
			expand := !variadic && fn.Variadic != 0 && np <= nargs
			switch {
			case expand:
				c.args = append([]types.OID(nil), fn.Args[:np-1]...)
				for len(c.args) < nargs {
					c.args = append(c.args, fn.Variadic)
				}
				if fn.Variadic != types.AnyOID {
					c.expand = np - 1
				}
			case np == nargs:
				c.args = fn.Args
			case np > nargs && np-fn.Defaults <= nargs:
				c.args = fn.Args
				c.defs = np - nargs
			default:
				continue
			}
		}
		// Of two with the same arguments the one without tricks wins.
		dup := false
		for i := range out {
			if sameOIDs(out[i].args, c.args, nargs) {
				dup = true
				if out[i].cost() > c.cost() {
					out[i] = c
				}
				break
			}
		}
		if !dup {
			out = append(out, c)
		}
	}
	return out
}

func (c *candidate) cost() int {
	n := c.defs
	if c.expand >= 0 {
		n += 1000
	}
	return n
}

func sameOIDs(a, b []types.OID, n int) bool {
	if len(a) < n || len(b) < n {
		return false
	}
	for i := 0; i < n; i++ {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// matchNamed places named arguments. args become the types in the order of the actual arguments.
func (c *candidate) matchNamed(fn *Function, nargs int, names []string) bool {
	np := len(fn.Args)
	if nargs > np || fn.ArgNames == nil {
		return false
	}
	order := make([]int, np)
	for i := range order {
		order[i] = -1
	}
	pos := nargs - len(names)
	for i := 0; i < pos; i++ {
		order[i] = i
	}
	for k, n := range names {
		at := -1
		for i, an := range fn.ArgNames {
			if an == n && i < np {
				at = i
			}
		}
		if at < 0 || order[at] >= 0 {
			return false
		}
		order[at] = pos + k
	}
	for i, o := range order {
		if o < 0 {
			if i < np-fn.Defaults {
				return false
			}
			c.defs++
		}
	}
	c.order = order
	c.args = make([]types.OID, nargs)
	for i, o := range order {
		if o >= 0 {
			c.args[o] = fn.Args[i]
		}
	}
	return true
}

// ResolveFunction finds a function by PostgreSQL's rules. names are those of the trailing named arguments ("" never),
// nil for none; variadic says that the last argument was marked VARIADIC. schema "" means pg_catalog.
// With names, Args is in the order of the actual arguments; use Order.
func ResolveFunction(schema, name string, args []types.OID, names []string, variadic bool) (*Resolved, error) {
	d := catalogDB()
	cands := d.candidatesFor(schema, name, len(args), names, variadic)
	for i := range cands {
		if sameOIDs(cands[i].args, args, len(args)) {
			return d.finish(&cands[i], args)
		}
	}
	if len(args) == 1 && len(names) == 0 {
		if t := TypeByName(schema, name); t != nil && t.Type != 'p' {
			iscast := args[0] == types.UnknownOID
			if !iscast {
				if p, ok := d.pathway(args[0], t.OID, 'e'); ok {
					cat, _ := d.category(t.OID)
					r := d.typeByOID[args[0]]
					complexSrc := args[0] == types.RecordOID || r != nil && r.Type == 'c'
					iscast = p.Method == 'r' || p.Method == '=' || p.Method == 'i' && !(complexSrc && cat == 'S')
				}
			}
			if iscast {
				return &Resolved{Cast: true, Result: t.OID, Expand: -1, Args: []types.OID{t.OID}}, nil
			}
		}
	}
	m := d.matching(args, cands)
	var best *candidate
	if len(m) == 1 {
		best = &m[0]
	} else if len(m) > 1 {
		if best = d.selectBest(args, m); best == nil {
			return nil, pgerr.New(pgerr.AmbiguousFunction, "function %s is not unique", funcSignature(schema, name, args, names)).
				WithHint("Could not choose a best candidate function. " + noUnique)
		}
	}
	if best == nil {
		return nil, pgerr.New(pgerr.UndefinedFunction, "function %s does not exist", funcSignature(schema, name, args, names)).
			WithHint("No function matches the given name and argument types. " + noUnique)
	}
	return d.finish(best, args)
}

// CastPath says how a type becomes another.
type CastPath struct {
	// Method: 'f' function, 'r' relabel (binary compatible), 'i' text input/output, 'a' element by element over arrays
	// (by Fn, or relabelling if it is nil), '=' nothing to do.
	Method byte
	Fn     *Function
}

// ResolveCast finds a cast allowed in context 'i', 'a' or 'e'.
func ResolveCast(from, to types.OID, ctx byte) (CastPath, bool) {
	return catalogDB().pathway(from, to, ctx)
}

// CanCoerce reports whether a value of one type may become another's in a context; unknown may become anything.
func CanCoerce(from, to types.OID, ctx byte) bool {
	return catalogDB().canCoerce([]types.OID{from}, []types.OID{to}, ctx)
}

// IsPolymorphic reports whether a type is one of the any... pseudo-types.
func IsPolymorphic(t types.OID) bool { return isPolymorphic(t) || t == types.AnyOID }

// Category returns a type's category ('S' strings, 'N' numbers, ...) and whether it is preferred in it.
func Category(t types.OID) (byte, bool) { return catalogDB().category(t) }

// BaseType looks through domains.
func BaseType(t types.OID) types.OID { return catalogDB().base(t) }

// SelectCommonType is the rule for UNION, CASE and so on; context is for the error ("CASE types %s and %s cannot be matched").
func SelectCommonType(context string, ts []types.OID) (types.OID, error) {
	return catalogDB().commonType(context, ts)
}

func (d *db) commonType(context string, ts []types.OID) (types.OID, error) {
	p := ts[0]
	same := p != types.UnknownOID
	for _, t := range ts[1:] {
		same = same && t == p
	}
	if same {
		return p, nil
	}
	p = d.base(p)
	pcat, ppref := d.category(p)
	for _, t := range ts[1:] {
		t = d.base(t)
		if t == types.UnknownOID || t == p {
			continue
		}
		cat, pref := d.category(t)
		switch {
		case p == types.UnknownOID:
			p, pcat, ppref = t, cat, pref
		case cat != pcat:
			return 0, pgerr.New(pgerr.DatatypeMismatch, "%s types %s and %s cannot be matched", context,
				types.FormatType(types.Of(p)), types.FormatType(types.Of(t)))
		case !ppref && d.canCoerce([]types.OID{p}, []types.OID{t}, 'i') && !d.canCoerce([]types.OID{t}, []types.OID{p}, 'i'):
			p, pcat, ppref = t, cat, pref
		}
	}
	if p == types.UnknownOID {
		p = types.TextOID
	}
	return p, nil
}
