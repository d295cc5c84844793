package builtin

import (
	"strings"

	"github.com/pamirdb/pamir/sql/pgerr"
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

func (d *db) matching(actual []types.OID, cands []candidate) []candidate {
	out := cands[:0:0]
	for _, c := range cands {
		if d.canCoerce(actual, c.args[:len(actual)], 'i') {
			out = append(out, c)
		}
	}
	return out
}

// keepBest keeps the candidates with the highest score; all of them if it is zero.
func keepBest(cands []candidate, score func(*candidate) int) []candidate {
	best := 0
	var out []candidate
	for i := range cands {
		s := score(&cands[i])
		if s > best || i == 0 {
			best = s
			out = out[:0]
		}
		if s == best {
			out = append(out, cands[i])
		}
	}
	if best == 0 {
		return cands
	}
	return out
}

// selectBest is func_select_candidate.
func (d *db) selectBest(actual []types.OID, cands []candidate) *candidate {
	n := len(actual)
	input := make([]types.OID, n)
	unknowns := 0
	for i, t := range actual {
		input[i] = t
		if t == types.UnknownOID {
			unknowns++
		} else {
			input[i] = d.base(t)
		}
	}
	cands = keepBest(cands, func(c *candidate) int {
		s := 0
		for i, t := range input {
			if t != types.UnknownOID && c.args[i] == t {
				s++
			}
		}
		return s
	})
	if len(cands) == 1 {
		return &cands[0]
	}
	cats := make([]byte, n)
	for i, t := range input {
		cats[i], _ = d.category(t)
	}
	cands = keepBest(cands, func(c *candidate) int {
		s := 0
		for i, t := range input {
			if t == types.UnknownOID {
				continue
			}
			cat, pref := d.category(c.args[i])
			if c.args[i] == t || pref && cat == cats[i] {
				s++
			}
		}
		return s
	})
	if len(cands) == 1 {
		return &cands[0]
	}
	if unknowns == 0 {
		return nil
	}
	resolved := true
	prefs := make([]bool, n)
	for i, t := range input {
		if t != types.UnknownOID {
			continue
		}
		conflict := false
		cats[i], prefs[i] = 0, false
		for k := range cands {
			cat, pref := d.category(cands[k].args[i])
			switch {
			case cats[i] == 0:
				cats[i], prefs[i] = cat, pref
			case cat == cats[i]:
				prefs[i] = prefs[i] || pref
			case cat == 'S':
				cats[i], prefs[i] = cat, pref
			default:
				conflict = true
			}
		}
		if conflict && cats[i] != 'S' {
			resolved = false
			break
		}
	}
	if resolved {
		var kept []candidate
		for k := range cands {
			ok := true
			for i, t := range input {
				if t != types.UnknownOID {
					continue
				}
				cat, pref := d.category(cands[k].args[i])
				if cat != cats[i] || prefs[i] && !pref {
					ok = false
					break
				}
			}
			if ok {
				kept = append(kept, cands[k])
			}
		}
		if len(kept) > 0 {
			cands = kept
		}
		if len(cands) == 1 {
			return &cands[0]
		}
	}
	if unknowns < n {
		known := types.OID(0)
		for _, t := range input {
			if t == types.UnknownOID {
				continue
			}
			if known == 0 {
				known = t
			} else if known != t {
				return nil
			}
		}
		same := make([]types.OID, n)
		for i := range same {
			same[i] = known
		}
		if m := d.matching(same, cands); len(m) == 1 {
			return &m[0]
		}
	}
	return nil
}

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
