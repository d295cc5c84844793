package ddl

import (
	"slices"
	"strconv"
	"strings"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/rowenc"
	"github.com/pamirdb/pamir/sql/types"
)

const rowIDName = "rowid"

// maxName is PostgreSQL's limit on names, in bytes.
const maxName = 63

func (c *change) createTable(st *ast.CreateTable) error {
	sc, err := c.newSchemaFor(st.Table.Schema)
	if err != nil {
		if e, ok := pgerr.As(err); ok && (e.Code == pgerr.InvalidSchemaName || e.Code == pgerr.InsufficientPrivilege && e.Detail == "") {
			return e.At(st.Table.Pos)
		}
		return err
	}
	if taken, err := c.w.NameTaken(c.ctx, sc.ID, st.Table.Name); err != nil {
		return err
	} else if taken {
		if st.IfNotExists {
			c.notice(pgerr.DuplicateTable, "relation \"%s\" already exists, skipping", st.Table.Name)
			return nil
		}
		return pgerr.New(pgerr.DuplicateTable, "relation \"%s\" already exists", st.Table.Name)
	}
	if st.Table.Persistence == 't' {
		return pgerr.Unsupported("a temporary table", "Use an ordinary table, and drop it.")
	}
	if len(st.Likes) > 0 {
		return pgerr.Unsupported("CREATE TABLE ... (LIKE ...)", "")
	}
	if st.OnCommit != 0 && st.OnCommit != 'p' {
		return pgerr.Unsupported("ON COMMIT", "")
	}
	t, err := c.newTable(sc, st.Table.Name)
	if err != nil {
		return err
	}
	if t.Options, err = options(st.Options); err != nil {
		return err
	}
	if err := c.checkOptions(c.ruleOf("table", t, t.Name), t.Options, t.Options); err != nil {
		return err
	}
	var later []*ast.Constraint
	for _, def := range st.Columns {
		cs, err := c.addColumn(t, def)
		if err != nil {
			return err
		}
		later = append(later, cs...)
	}
	later = append(later, st.Constraints...)
	if err := c.addConstraints(t, later); err != nil {
		return err
	}
	return c.finishTable(t)
}

// newTable starts a descriptor.
func (c *change) newTable(sc *catalog.Schema, name string) (*catalog.Table, error) {
	id, err := c.w.NewObjectID(c.ctx)
	if err != nil {
		return nil, err
	}
	t := &catalog.Table{ID: catalog.TableID(id), Schema: sc.ID, Name: name, Version: 1, Owner: c.env.User, Kind: 'r',
		NextColumn: 1, NextIndex: 1}
	return t, c.freshData(t)
}

// finishTable completes a new table and writes it.
func (c *change) finishTable(t *catalog.Table) error {
	if t.Primary() == nil {
		addRowID(t)
	}
	if _, _, err := c.insertParts(t); err != nil {
		return err
	}
	return c.create(t)
}

// addRowID gives a table without a primary key its hidden key column.
func addRowID(t *catalog.Table) {
	id := t.NextColumn
	t.NextColumn++
	name := rowIDName
	for n := 1; t.ColumnByName(name) >= 0; n++ {
		name = rowIDName + "_" + strconv.Itoa(n)
	}
	t.Columns = append(t.Columns, catalog.Column{ID: id, Name: name, Type: types.Of(types.Int8OID), NotNull: true, Hidden: true})
	t.Indexes = append(t.Indexes, catalog.Index{ID: t.NextIndex, Name: t.Name + "_rowid", Unique: true, Primary: true,
		Columns: []catalog.IndexColumn{{Column: id}}})
	t.NextIndex++
}

// options keeps storage parameters as name=value.
func options(os []ast.Option) ([]string, error) {
	var out []string
	for _, o := range os {
		name := o.Name
		if o.Namespace != "" {
			name = o.Namespace + "." + name
		}
		if o.Name == "oids" && o.Text == "true" {
			return nil, pgerr.New(pgerr.FeatureNotSupported, "tables declared WITH OIDS are not supported")
		}
		v := o.Text
		switch {
		case !o.HasValue:
			v = "true"
		case slices.ContainsFunc(out, func(have string) bool { return strings.HasPrefix(have, name+"=") }):
			return nil, pgerr.New(pgerr.InvalidParameterValue, "parameter \"%s\" specified more than once", name)
		}
		out = append(out, name+"="+v)
	}
	return out, nil
}

var serialTypes = map[string]types.OID{
	"serial": types.Int4OID, "serial4": types.Int4OID, "bigserial": types.Int8OID, "serial8": types.Int8OID,
	"smallserial": types.Int2OID, "serial2": types.Int2OID,
}

// addColumn adds a column to a descriptor. Constraints that concern more than the column itself come back.
func (c *change) addColumn(t *catalog.Table, def *ast.ColumnDef) ([]*ast.Constraint, error) {
	if t.ColumnByName(def.Name) >= 0 {
		return nil, pgerr.New(pgerr.DuplicateColumn, "column \"%s\" specified more than once", def.Name)
	}
	if systemColumn(def.Name) {
		return nil, pgerr.New(pgerr.DuplicateColumn, "column name \"%s\" conflicts with a system column name", def.Name)
	}
	if len(t.Columns) >= 1600 {
		return nil, pgerr.New(pgerr.TooManyColumns, "tables can have at most 1600 columns")
	}
	col := catalog.Column{ID: t.NextColumn, Name: def.Name}
	t.NextColumn++
	serial := types.OID(0)
	if n := def.Type; n != nil && len(n.Names) == 1 && n.Dims == 0 {
		serial = serialTypes[n.Names[0]]
	}
	if serial != 0 {
		col.Type, col.NotNull = types.Of(serial), true
	} else {
		ty, err := plan.ResolveType(def.Type)
		if err != nil {
			return nil, err
		}
		if err := storable(def.Name, ty); err != nil {
			return nil, err
		}
		col.Type = ty
	}
	if serial != 0 {
		seq, err := c.newSequence(t, def.Name, nil, serial)
		if err != nil {
			return nil, err
		}
		seq.Sequence.OwnedTable, seq.Sequence.OwnedColumn = t.ID, col.ID
		if err := c.create(seq); err != nil {
			return nil, err
		}
		col.Sequence = seq.ID
		col.Default = sequenceDefault(seq.ID)
	}
	var later []*ast.Constraint
	null := 0 // 1 NULL, 2 NOT NULL
	for _, k := range def.Constraints {
		switch k.Kind {
		case ast.NullConstraint, ast.NotNullConstraint:
			want := 1
			if k.Kind == ast.NotNullConstraint {
				want = 2
			}
			if null != 0 && null != want {
				return nil, pgerr.New(pgerr.SyntaxError, "conflicting NULL/NOT NULL declarations for column \"%s\" of table \"%s\"", def.Name, t.Name).At(k.Pos)
			}
			null = want
			col.NotNull = col.NotNull || want == 2
		case ast.DefaultConstraint:
			if col.Default != "" {
				return nil, pgerr.New(pgerr.SyntaxError, "multiple default values specified for column \"%s\" of table \"%s\"", def.Name, t.Name).At(k.Pos)
			}
			col.Default = k.ExprText
		case ast.IdentityConstraint:
			switch col.Type.OID {
			case types.Int2OID, types.Int4OID, types.Int8OID:
			default:
				return nil, pgerr.New(pgerr.InvalidParameterValue, "identity column type must be smallint, integer, or bigint")
			}
			seq, err := c.newSequence(t, def.Name, k.Options, col.Type.OID)
			if err != nil {
				return nil, err
			}
			seq.Sequence.OwnedTable, seq.Sequence.OwnedColumn = t.ID, col.ID
			if err := c.create(seq); err != nil {
				return nil, err
			}
			col.Identity, col.Sequence, col.NotNull = k.Identity, seq.ID, true
		case ast.GeneratedConstraint:
			return nil, pgerr.Unsupported("GENERATED ALWAYS AS (expression)", "")
		case ast.PrimaryConstraint, ast.UniqueConstraint:
			n := *k
			n.Keys = []string{def.Name}
			later = append(later, &n)
		case ast.CheckConstraint:
			n := *k
			n.Keys = []string{def.Name} // only for its generated name
			later = append(later, &n)
		case ast.ForeignConstraint:
			n := *k
			n.Columns = []string{def.Name}
			later = append(later, &n)
		default:
			later = append(later, k)
		}
	}
	t.Columns = append(t.Columns, col)
	return later, nil
}

func systemColumn(name string) bool {
	switch name {
	case "tableoid", "xmin", "cmin", "xmax", "cmax", "ctid":
		return true
	}
	return false
}

func sequenceDefault(id catalog.TableID) string {
	return "nextval('" + strconv.Itoa(int(id)) + "'::regclass)"
}

// storable reports types that columns cannot have.
func storable(column string, t types.Type) error {
	elem := t.OID
	if e := types.ElemOf(elem); e != 0 {
		elem = e
	}
	switch types.Name(elem) {
	case "unknown", "record", "void", "cstring", "any", "anyelement", "anyarray", "internal", "trigger", "anynonarray":
		return pgerr.New(pgerr.InvalidTableDefinition, "column \"%s\" has pseudo-type %s", column, types.FormatType(t))
	}
	if types.ReprOf(elem) == types.ReprAny && elem != types.TimetzOID {
		return pgerr.Unsupported("a column of type "+types.FormatType(t), "")
	}
	return nil
}

// addConstraints adds table constraints to a descriptor whose rows do not exist yet, or are rebuilt by the caller. NOT VALID is for the caller.
func (c *change) addConstraints(t *catalog.Table, cs []*ast.Constraint) error {
	for _, k := range cs {
		if k.Kind == ast.PrimaryConstraint { // first: other constraints do not depend on it, but names in errors do
			if t.Primary() != nil {
				return pgerr.New(pgerr.InvalidTableDefinition, "multiple primary keys for table \"%s\" are not allowed", t.Name).At(k.Pos)
			}
			if err := c.addPrimary(t, k); err != nil {
				return err
			}
		}
	}
	for _, k := range cs {
		var err error
		switch k.Kind {
		case ast.PrimaryConstraint:
		case ast.UniqueConstraint:
			_, err = c.addUnique(t, k, 0)
		case ast.CheckConstraint:
			_, err = c.addCheck(t, k)
		case ast.ForeignConstraint: // below
		case ast.ExclusionConstraint:
			err = pgerr.Unsupported("EXCLUDE", "").At(k.Pos)
		default:
			err = pgerr.New(pgerr.InternalError, "constraint of kind %d on table \"%s\"", k.Kind, t.Name)
		}
		if err != nil {
			return err
		}
	}
	if err := c.foreignKeysOf(t, cs); err != nil { // last: they may rest on the others
		return err
	}
	return nil
}

// keyColumns resolves the columns of a constraint.
func keyColumns(t *catalog.Table, names []string) ([]catalog.IndexColumn, error) {
	var cols []catalog.IndexColumn
	for _, n := range names {
		pos := t.ColumnByName(n)
		if pos < 0 || t.Columns[pos].Hidden {
			return nil, pgerr.New(pgerr.UndefinedColumn, "column \"%s\" named in key does not exist", n)
		}
		if slices.ContainsFunc(cols, func(c catalog.IndexColumn) bool { return c.Column == t.Columns[pos].ID }) {
			return nil, pgerr.New(pgerr.DuplicateColumn, "column \"%s\" appears twice in unique constraint", n)
		}
		if err := indexable(&t.Columns[pos]); err != nil {
			return nil, err
		}
		cols = append(cols, catalog.IndexColumn{Column: t.Columns[pos].ID})
	}
	return cols, nil
}

func indexable(col *catalog.Column) error {
	if !rowenc.Orderable(col.Type.OID) {
		return pgerr.New(pgerr.UndefinedObject, "data type %s has no default operator class for access method \"btree\"", types.FormatType(types.Of(col.Type.OID))).
			WithHint("You must specify an operator class for the index or define a default operator class for the data type.")
	}
	return nil
}

func includeColumns(t *catalog.Table, names []string) ([]catalog.ColumnID, error) {
	var out []catalog.ColumnID
	for _, n := range names {
		pos := t.ColumnByName(n)
		if pos < 0 {
			return nil, pgerr.New(pgerr.UndefinedColumn, "column \"%s\" named in key does not exist", n)
		}
		out = append(out, t.Columns[pos].ID)
	}
	return out, nil
}

func constraintOptions(k *ast.Constraint) error {
	if k.Deferrable || k.Deferred {
		return pgerr.Unsupported("DEFERRABLE", "Constraints are checked at once.").At(k.Pos)
	}
	if k.NullsNotDistinct {
		return pgerr.Unsupported("NULLS NOT DISTINCT", "").At(k.Pos)
	}
	if k.UsingIndex != "" {
		return pgerr.Unsupported("USING INDEX", "").At(k.Pos)
	}
	return nil
}

// addPrimary makes the primary index, which holds the rows. The caller has taken an existing one away.
func (c *change) addPrimary(t *catalog.Table, k *ast.Constraint) error {
	if err := constraintOptions(k); err != nil {
		return err
	}
	cols, err := keyColumns(t, k.Keys)
	if err != nil {
		return err
	}
	for _, ic := range cols {
		t.Columns[t.ColumnByID(ic.Column)].NotNull = true
	}
	include, err := includeColumns(t, k.Include)
	if err != nil {
		return err
	}
	ix := catalog.Index{Name: k.Name, Unique: true, Primary: true, Constraint: true, Columns: cols, Include: include}
	if ix.Name == "" {
		if ix.Name, err = c.chooseName(t.Schema, t.Name, "", "pkey"); err != nil {
			return err
		}
	}
	if err := c.nameIndex(t, &ix); err != nil {
		return err
	}
	ix.ID = t.NextIndex
	t.NextIndex++
	t.Indexes = append([]catalog.Index{ix}, t.Indexes...)
	return nil
}

// nameIndex gives an index its OID and takes its name.
func (c *change) nameIndex(t *catalog.Table, ix *catalog.Index) error {
	oid, err := c.w.NewObjectID(c.ctx)
	if err != nil {
		return err
	}
	ix.OID = oid
	return c.w.ClaimName(c.ctx, t.Schema, ix.Name, oid)
}

// addUnique adds an index behind a UNIQUE constraint. id 0 takes the table's next one.
func (c *change) addUnique(t *catalog.Table, k *ast.Constraint, id catalog.IndexID) (catalog.IndexID, error) {
	if err := constraintOptions(k); err != nil {
		return 0, err
	}
	cols, err := keyColumns(t, k.Keys)
	if err != nil {
		return 0, err
	}
	include, err := includeColumns(t, k.Include)
	if err != nil {
		return 0, err
	}
	ix := catalog.Index{ID: id, Name: k.Name, Unique: true, Constraint: true, Columns: cols, Include: include}
	if ix.Name == "" {
		if ix.Name, err = c.chooseName(t.Schema, t.Name, strings.Join(k.Keys, "_"), "key"); err != nil {
			return 0, err
		}
	}
	return c.addIndex(t, ix)
}

// addIndex adds a secondary index to a descriptor.
func (c *change) addIndex(t *catalog.Table, ix catalog.Index) (catalog.IndexID, error) {
	if err := c.nameIndex(t, &ix); err != nil {
		return 0, err
	}
	if ix.ID == 0 {
		ix.ID = t.NextIndex
		t.NextIndex++
	}
	t.Indexes = append(t.Indexes, ix)
	return ix.ID, nil
}

func (c *change) addCheck(t *catalog.Table, k *ast.Constraint) (name string, err error) {
	name = k.Name
	if name == "" {
		column := onlyColumn(k.Expr)
		name = pickName(t.Name, column, "check", func(n string) bool {
			return slices.ContainsFunc(t.Checks, func(x catalog.Check) bool { return x.Name == n })
		})
	} else if slices.ContainsFunc(t.Checks, func(x catalog.Check) bool { return x.Name == name }) {
		return "", pgerr.New(pgerr.DuplicateObject, "check constraint \"%s\" already exists", name)
	}
	t.Checks = append(t.Checks, catalog.Check{Name: name, Expr: k.ExprText})
	// PostgreSQL tests them in the order of their names.
	slices.SortFunc(t.Checks, func(a, b catalog.Check) int { return strings.Compare(a.Name, b.Name) })
	return name, nil
}

// onlyColumn returns the column that an expression mentions, if it is only one: a generated name has it.
func onlyColumn(e ast.Expr) string {
	name := ""
	several := false
	var walk func(e ast.Expr)
	walk = func(e ast.Expr) {
		if ref, ok := e.(*ast.ColumnRef); ok && len(ref.Names) > 0 {
			n := ref.Names[len(ref.Names)-1]
			several = several || name != "" && name != n
			name = n
		}
		for _, c := range ast.Children(e) {
			walk(c)
		}
	}
	walk(e)
	if several {
		return ""
	}
	return name
}

// chooseName makes a name for an index or sequence that nothing has: table_column_label, then with a number.
func (c *change) chooseName(schema catalog.SchemaID, table, column, label string) (string, error) {
	var err error
	name := pickName(table, column, label, func(n string) bool {
		if err != nil {
			return false
		}
		var taken bool
		taken, err = c.w.NameTaken(c.ctx, schema, n)
		return taken
	})
	return name, err
}

// pickName follows PostgreSQL's makeObjectName: the longer of the two parts is cut first.
func pickName(a, b, label string, taken func(string) bool) string {
	for n := 0; ; n++ {
		l := label
		if n > 0 {
			l += strconv.Itoa(n)
		}
		over := len(l) + 1
		if b != "" {
			over++
		}
		x, y := a, b
		for len(x)+len(y)+over > maxName {
			if len(x) > len(y) {
				x = cutByte(x)
			} else {
				y = cutByte(y)
			}
		}
		name := x
		if b != "" {
			name += "_" + y
		}
		name += "_" + l
		if !taken(name) {
			return name
		}
	}
}

// cutByte takes the last character off.
func cutByte(s string) string {
	n := len(s) - 1
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n]
}

// createTableAs is CREATE TABLE AS and SELECT INTO.
func (c *change) createTableAs(st *ast.CreateTableAs) error {
	if st.Materialized {
		return pgerr.Unsupported("CREATE MATERIALIZED VIEW", "")
	}
	q, ok := st.Query.(*ast.Select)
	if !ok {
		return pgerr.Unsupported("CREATE TABLE AS EXECUTE", "")
	}
	sc, err := c.newSchemaFor(st.Into.Table.Schema)
	if err != nil {
		return err
	}
	name := st.Into.Table.Name
	if taken, err := c.w.NameTaken(c.ctx, sc.ID, name); err != nil {
		return err
	} else if taken {
		if st.IfNotExists {
			c.notice(pgerr.DuplicateTable, "relation \"%s\" already exists, skipping", name)
			return nil
		}
		return pgerr.New(pgerr.DuplicateTable, "relation \"%s\" already exists", name)
	}
	if q.Into != nil {
		n := *q
		n.Into = nil
		q = &n
	}
	pl, err := plan.Build(c.cat, c.planEnv(), q)
	if err != nil {
		return err
	}
	if c.env.Allow != nil {
		if err := c.env.Allow(pl); err != nil {
			return err
		}
	}
	t, err := c.newTable(sc, name)
	if err != nil {
		return err
	}
	if t.Options, err = options(st.Into.Options); err != nil {
		return err
	}
	if err := c.checkOptions(c.ruleOf("table", t, t.Name), t.Options, t.Options); err != nil {
		return err
	}
	if len(st.Into.Columns) > len(pl.Columns) {
		return pgerr.New(pgerr.SyntaxError, "too many column names were specified")
	}
	var columns []int
	for i, f := range pl.Columns {
		col := catalog.Column{ID: t.NextColumn, Name: f.Name, Type: f.Type}
		t.NextColumn++
		if i < len(st.Into.Columns) {
			col.Name = st.Into.Columns[i]
		}
		if col.Type.OID == types.UnknownOID {
			col.Type = types.Of(types.TextOID)
		}
		if t.ColumnByName(col.Name) >= 0 {
			return pgerr.New(pgerr.DuplicateColumn, "column \"%s\" specified more than once", col.Name)
		}
		if err := storable(col.Name, col.Type); err != nil {
			return err
		}
		t.Columns = append(t.Columns, col)
		columns = append(columns, i)
	}
	addRowID(t)
	if err := c.create(t); err != nil {
		return err
	}
	c.tag = "SELECT 0"
	if st.Into.NoData {
		c.tag = "CREATE TABLE AS"
		return nil
	}
	n, err := exec.Rebuild(c.ctx, c.env.Runtime, exec.Source{Plan: pl, Columns: columns}, t, nil)
	c.tag = "SELECT " + strconv.FormatInt(n, 10)
	return err
}
