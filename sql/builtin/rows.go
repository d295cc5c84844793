package builtin

import (
	"bytes"
	"compress/gzip"
	"embed"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/pamirdb/pamir/sql/types"
)

//go:generate go run ./gen -dsn "host=127.0.0.1 user=postgres dbname=postgres sslmode=disable" -out data -types ../types

//go:embed data/*.tsv.gz
var dataFS embed.FS

// table is one generated catalog as text.
type table struct {
	columns []string
	index   map[string]int
	rest    string // the rows not yet taken
}

func openTable(name string) (*table, bool) {
	z, err := dataFS.ReadFile("data/" + name + ".tsv.gz")
	if err != nil {
		return nil, false
	}
	r, err := gzip.NewReader(bytes.NewReader(z))
	if err != nil {
		panic("builtin: embedded " + name + ": " + err.Error())
	}
	var b strings.Builder
	b.Grow(len(z) * 9)
	if _, err := io.Copy(&b, r); err != nil {
		panic("builtin: embedded " + name + ": " + err.Error())
	}
	head, rest, _ := strings.Cut(b.String(), "\n")
	t := &table{columns: strings.Split(head, "\t"), rest: rest, index: map[string]int{}}
	for i, c := range t.columns {
		t.index[c] = i
	}
	return t, true
}

func mustTable(name string) *table {
	t, ok := openTable(name)
	if !ok {
		panic("builtin: no embedded " + name)
	}
	return t
}

// next splits the next row into fields; they share memory with the table. A NULL is "\N".
func (t *table) next(fields []string) ([]string, bool) {
	if t.rest == "" {
		return nil, false
	}
	line, rest, _ := strings.Cut(t.rest, "\n")
	t.rest = rest
	fields = fields[:0]
	for {
		f, more, ok := strings.Cut(line, "\t")
		fields = append(fields, f)
		if !ok {
			return fields, true
		}
		line = more
	}
}

func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b = append(b, s[i])
			continue
		}
		i++
		switch s[i] {
		case 't':
			b = append(b, '\t')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		default:
			b = append(b, s[i])
		}
	}
	return string(b)
}

const null = "\\N"

type rawCatalog struct {
	once sync.Once
	cols []string
	rows [][]*string
	ok   bool
}

var rawCatalogs sync.Map // name -> *rawCatalog

// Catalog returns the rows of a generated system catalog ("pg_proc") in their text forms; nil means NULL.
// Reg* columns are numbers. The result is shared: do not change it.
func Catalog(name string) (columns []string, rows [][]*string, ok bool) {
	v, _ := rawCatalogs.LoadOrStore(name, &rawCatalog{})
	c := v.(*rawCatalog)
	c.once.Do(func() {
		t, ok := openTable(name)
		if !ok {
			return
		}
		c.cols, c.ok = t.columns, true
		var fields []string
		for {
			if fields, ok = t.next(fields); !ok {
				return
			}
			row := make([]*string, len(fields))
			for i, f := range fields {
				if f != null {
					s := unescape(f)
					row[i] = &s
				}
			}
			c.rows = append(c.rows, row)
		}
	})
	return c.cols, c.rows, c.ok
}

// OperatorRow is a row of pg_operator.
type OperatorRow struct {
	OID, Com, Negate    uint32
	Name                string
	Kind                byte
	Left, Right, Result types.OID
	CanMerge, CanHash   bool
	Fn                  *Function
	Rest, Join          uint32
}

// TypeRow is the part of pg_type that resolution needs.
type TypeRow struct {
	OID         types.OID
	Name        string
	Schema      string
	Length      int16
	Type        byte // typtype
	Category    byte
	Preferred   bool
	Elem, Array types.OID // Elem is 0 unless it is a true array
	Base        types.OID
}

// aggRow is what resolution needs of pg_aggregate.
type aggRow struct {
	kind   byte
	direct int
}

type castKey struct{ from, to types.OID }

type castRow struct {
	fn      *Function
	context byte
	method  byte
}

// db is the catalog in a form for look-ups. It is made once, at first use.
type db struct {
	funcs     []Function
	funcByOID map[uint32]*Function
	byName    map[string][]*Function
	ops       []OperatorRow
	opByOID   map[uint32]*OperatorRow
	opsByName map[string][]*OperatorRow
	opByFn    map[*Function]*OperatorRow
	casts     map[castKey]castRow
	types     []TypeRow
	typeByOID map[types.OID]*TypeRow
	typeByNam map[string][]*TypeRow
	aggs      map[uint32]aggRow
	btree     map[types.OID]*Comparators
	rangeSub  map[types.OID]types.OID
}

var (
	dbOnce sync.Once
	theDB  *db
)

func catalogDB() *db {
	dbOnce.Do(func() { theDB = loadDB() })
	return theDB
}

// Warm loads the catalog if it is not loaded yet (a few milliseconds), so that the first statement does not pay.
func Warm() { catalogDB() }

func atou(s string) uint32 {
	var n uint32
	for i := 0; i < len(s); i++ {
		n = n*10 + uint32(s[i]-'0')
	}
	return n
}

func parseOIDs(s string, sep byte) []types.OID {
	s = strings.Trim(s, "{}")
	if s == "" {
		return nil
	}
	out := make([]types.OID, 0, strings.Count(s, string(sep))+1)
	for len(s) > 0 {
		i := strings.IndexByte(s, sep)
		if i < 0 {
			i = len(s)
		}
		out = append(out, types.OID(atou(s[:i])))
		s = s[min(i+1, len(s)):]
	}
	return out
}

func schemaName(oid string) string {
	if oid == "11" {
		return "pg_catalog"
	}
	if oid == "99" {
		return "pg_toast"
	}
	if oid == "2200" {
		return "public"
	}
	return "information_schema"
}

func loadDB() *db {
	d := &db{}
	d.loadTypes()
	d.loadFunctions()
	d.loadOperators()
	d.loadCasts()
	d.loadAggregates()
	d.loadBtree()
	return d
}

func (d *db) loadTypes() {
	t := mustTable("pg_type")
	c := t.index
	d.types = make([]TypeRow, 0, 700)
	d.typeByOID = make(map[types.OID]*TypeRow, 700)
	d.typeByNam = make(map[string][]*TypeRow, 700)
	var f []string
	for ok := true; ; {
		if f, ok = t.next(f); !ok {
			break
		}
		n, _ := strconv.Atoi(f[c["typlen"]])
		row := TypeRow{
			OID: types.OID(atou(f[c["oid"]])), Name: unescape(f[c["typname"]]), Schema: schemaName(f[c["typnamespace"]]), Length: int16(n),
			Type: f[c["typtype"]][0], Category: f[c["typcategory"]][0], Preferred: f[c["typispreferred"]] == "true",
			Array: types.OID(atou(f[c["typarray"]])), Base: types.OID(atou(f[c["typbasetype"]])),
		}
		if f[c["typsubscript"]] == "6179" {
			row.Elem = types.OID(atou(f[c["typelem"]]))
		}
		d.types = append(d.types, row)
	}
	for i := range d.types {
		r := &d.types[i]
		d.typeByOID[r.OID] = r
		d.typeByNam[r.Name] = append(d.typeByNam[r.Name], r)
	}
}

func (d *db) loadFunctions() {
	t := mustTable("pg_proc")
	c := t.index
	col := func(n string) int { return c[n] }
	oid, name, ns, src, args := col("oid"), col("proname"), col("pronamespace"), col("prosrc"), col("proargtypes")
	variadic, ndef, res, set, strict := col("provariadic"), col("pronargdefaults"), col("prorettype"), col("proretset"), col("proisstrict")
	vol, kind, names, defs, all, modes, lang := col("provolatile"), col("prokind"), col("proargnames"), col("proargdefaults"), col("proallargtypes"), col("proargmodes"), col("prolang")
	d.funcs = make([]Function, 0, 3400)
	var f []string
	for ok := true; ; {
		if f, ok = t.next(f); !ok {
			break
		}
		fn := Function{
			OID: atou(f[oid]), Name: f[name], Schema: schemaName(f[ns]), Source: f[src], Args: parseOIDs(f[args], ' '),
			Variadic: types.OID(atou(f[variadic])), Result: types.OID(atou(f[res])), ReturnsSet: f[set] == "true",
			Strict: f[strict] == "true", Volatility: f[vol][0], Kind: f[kind][0], Language: atou(f[lang]),
		}
		fn.Defaults = int(atou(f[ndef]))
		if fn.Defaults > 0 {
			fn.DefaultText = strings.Split(unescape(f[defs]), ", ")
		}
		if f[names] != null {
			fn.setNames(f[names], f[modes], f[all])
		}
		if fn.Language == 14 || fn.Source == "aggregate_dummy" {
			// Functions written in SQL have no symbol of their own: they are known by name and arguments.
			fn.Source = signature(fn.Name, fn.Args)
		}
		d.funcs = append(d.funcs, fn)
	}
	d.funcByOID = make(map[uint32]*Function, len(d.funcs))
	d.byName = make(map[string][]*Function, len(d.funcs))
	for i := range d.funcs {
		fn := &d.funcs[i]
		fn.Kernel = kernels[fn.Source]
		d.funcByOID[fn.OID] = fn
		d.byName[fn.Name] = append(d.byName[fn.Name], fn)
	}
	for _, fn := range operatorFunctions {
		fn.Kernel = kernels[fn.Source]
		d.funcByOID[fn.OID] = fn
		d.byName[fn.Name] = append(d.byName[fn.Name], fn)
	}
	for _, fn := range synthetic {
		fn.Kernel = kernels[fn.Source]
		d.funcByOID[fn.OID] = fn
	}
}

// setNames splits the names, modes and types of all parameters into inputs and outputs.
func (fn *Function) setNames(names, modes, all string) {
	ns := strings.Split(strings.Trim(names, "{}"), ",")
	for i := range ns {
		ns[i] = strings.Trim(ns[i], "\"")
	}
	if modes == null {
		fn.ArgNames = ns
		return
	}
	ms := strings.Split(strings.Trim(modes, "{}"), ",")
	ts := parseOIDs(all, ',')
	for i, m := range ms {
		if i >= len(ns) || i >= len(ts) {
			break
		}
		switch m {
		case "i", "v":
			fn.ArgNames = append(fn.ArgNames, ns[i])
		case "b":
			fn.ArgNames = append(fn.ArgNames, ns[i])
			fallthrough
		default:
			fn.OutNames = append(fn.OutNames, ns[i])
			fn.OutTypes = append(fn.OutTypes, ts[i])
		}
	}
}

// signature is "name(type,type)" with pg_type's names.
func signature(name string, args []types.OID) string {
	var b strings.Builder
	b.WriteString(name)
	b.WriteByte('(')
	for i, a := range args {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(types.Name(a))
	}
	b.WriteByte(')')
	return b.String()
}

func (d *db) loadOperators() {
	t := mustTable("pg_operator")
	c := t.index
	d.ops = make([]OperatorRow, 0, 850)
	var f []string
	for ok := true; ; {
		if f, ok = t.next(f); !ok {
			break
		}
		d.ops = append(d.ops, OperatorRow{
			OID: atou(f[c["oid"]]), Com: atou(f[c["oprcom"]]), Negate: atou(f[c["oprnegate"]]), Name: unescape(f[c["oprname"]]),
			Kind: f[c["oprkind"]][0], Left: types.OID(atou(f[c["oprleft"]])), Right: types.OID(atou(f[c["oprright"]])),
			Result: types.OID(atou(f[c["oprresult"]])), CanMerge: f[c["oprcanmerge"]] == "true", CanHash: f[c["oprcanhash"]] == "true",
			Fn: d.funcByOID[atou(f[c["oprcode"]])], Rest: atou(f[c["oprrest"]]), Join: atou(f[c["oprjoin"]]),
		})
	}
	d.opByOID = make(map[uint32]*OperatorRow, len(d.ops))
	d.opsByName = make(map[string][]*OperatorRow, 128)
	d.opByFn = make(map[*Function]*OperatorRow, len(d.ops))
	for i := range d.ops {
		o := &d.ops[i]
		d.opByOID[o.OID] = o
		d.opsByName[o.Name] = append(d.opsByName[o.Name], o)
		if o.Fn != nil && d.opByFn[o.Fn] == nil {
			d.opByFn[o.Fn] = o
		}
	}
}

func (d *db) loadCasts() {
	t := mustTable("pg_cast")
	c := t.index
	d.casts = make(map[castKey]castRow, 256)
	var f []string
	for ok := true; ; {
		if f, ok = t.next(f); !ok {
			break
		}
		k := castKey{types.OID(atou(f[c["castsource"]])), types.OID(atou(f[c["casttarget"]]))}
		d.casts[k] = castRow{fn: d.funcByOID[atou(f[c["castfunc"]])], context: f[c["castcontext"]][0], method: f[c["castmethod"]][0]}
	}
}

func (d *db) loadAggregates() {
	t := mustTable("pg_aggregate")
	c := t.index
	d.aggs = make(map[uint32]aggRow, 160)
	var f []string
	for ok := true; ; {
		if f, ok = t.next(f); !ok {
			break
		}
		d.aggs[atou(f[c["aggfnoid"]])] = aggRow{kind: f[c["aggkind"]][0], direct: int(atou(f[c["aggnumdirectargs"]]))}
	}
	d.rangeSub = map[types.OID]types.OID{}
	r := mustTable("pg_range")
	for ok := true; ; {
		if f, ok = r.next(f); !ok {
			break
		}
		d.rangeSub[types.OID(atou(f[r.index["rngtypid"]]))] = types.OID(atou(f[r.index["rngsubtype"]]))
	}
}

func (d *db) loadBtree() {
	t := mustTable("pg_opclass")
	c := t.index
	family := map[uint32][]types.OID{}
	var f []string
	for ok := true; ; {
		if f, ok = t.next(f); !ok {
			break
		}
		if f[c["opcmethod"]] == "403" && f[c["opcdefault"]] == "true" {
			fam := atou(f[c["opcfamily"]])
			family[fam] = append(family[fam], types.OID(atou(f[c["opcintype"]])))
		}
	}
	d.btree = make(map[types.OID]*Comparators, 64)
	t = mustTable("pg_amop")
	c = t.index
	for ok := true; ; {
		if f, ok = t.next(f); !ok {
			break
		}
		left := types.OID(atou(f[c["amoplefttype"]]))
		if f[c["amopmethod"]] != "403" || left != types.OID(atou(f[c["amoprighttype"]])) {
			continue
		}
		match := false
		for _, in := range family[atou(f[c["amopfamily"]])] {
			match = match || in == left
		}
		if !match {
			continue
		}
		cmp := d.btree[left]
		if cmp == nil {
			cmp = &Comparators{}
			d.btree[left] = cmp
		}
		op := d.opByOID[atou(f[c["amopopr"]])]
		switch f[c["amopstrategy"]] {
		case "1":
			cmp.Lt, cmp.LtOp = op.Fn, op.OID
		case "2":
			cmp.Le = op.Fn
		case "3":
			cmp.Eq, cmp.EqOp = op.Fn, op.OID
			if ne := d.opByOID[op.Negate]; ne != nil {
				cmp.Ne = ne.Fn
			}
		case "4":
			cmp.Ge = op.Fn
		case "5":
			cmp.Gt, cmp.GtOp = op.Fn, op.OID
		}
	}
}

// Comparators of a type: its default btree operator class. Fns are nil where it has none.
type Comparators struct {
	Eq, Ne, Lt, Le, Gt, Ge *Function
	EqOp, LtOp, GtOp       uint32
}

// TypeComparators returns the functions of "=", "<" ... for a type (arrays, records and types that are
// binary-compatible with another, such as varchar, have those of their kind).
func TypeComparators(t types.OID) (Comparators, bool) {
	d := catalogDB()
	t = d.base(t)
	if c := d.btree[t]; c != nil {
		return *c, true
	}
	if r := d.typeByOID[t]; r != nil {
		pseudo := types.OID(0)
		switch {
		case r.Elem != 0:
			if _, ok := TypeComparators(r.Elem); ok {
				pseudo = types.AnyarrayOID
			}
		case r.Type == 'c' || t == types.RecordOID:
			pseudo = types.RecordOID
		case r.Type == 'e':
			pseudo = types.AnyenumOID
		case r.Type == 'r':
			pseudo = types.AnyrangeOID
		}
		if c := d.btree[pseudo]; c != nil && pseudo != 0 {
			return *c, true
		}
	}
	if t == types.VarcharOID {
		return *d.btree[types.TextOID], true
	}
	for o, c := range d.btree {
		if o != types.TextOID && d.binaryCoercible(t, o) {
			return *c, true
		}
	}
	return Comparators{}, false
}

// OperatorByFn finds the operator behind a function called as one (for commutators and negators); nil if none.
func OperatorByFn(fn *Function) *OperatorRow { return catalogDB().opByFn[fn] }

// OperatorByOID and FunctionByOID look rows up; nil if there is none.
func OperatorByOID(oid uint32) *OperatorRow   { return catalogDB().opByOID[oid] }
func FunctionByOID(oid uint32) *Function      { return catalogDB().funcByOID[oid] }
func FunctionsByName(name string) []*Function { return catalogDB().byName[name] }

// TypeByOID and TypeByName look types up (schema "" means pg_catalog); nil if there is none.
func TypeByOID(oid types.OID) *TypeRow { return catalogDB().typeByOID[oid] }
func TypeByName(schema, name string) *TypeRow {
	if schema == "" {
		schema = "pg_catalog"
	}
	for _, r := range catalogDB().typeByNam[name] {
		if r.Schema == schema {
			return r
		}
	}
	return nil
}

// AggregateKind returns pg_aggregate.aggkind ('n', 'o' ordered set, 'h' hypothetical set) and the number of direct arguments.
func AggregateKind(fn *Function) (kind byte, direct int) {
	r := catalogDB().aggs[fn.OID]
	return r.kind, r.direct
}

// kernels by pg_proc.prosrc (or signature, for functions written in SQL). It is filled by init functions only.
var kernels = make(map[string]Kernel, 1600)

// RegisterKernel gives the functions with a pg_proc.prosrc (for functions in SQL and for aggregates: "name(type,type)")
// their kernel, for packages above this one. Call it from init.
func RegisterKernel(source string, k Kernel) { kernels[source] = k }
