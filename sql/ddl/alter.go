package ddl

import (
	"slices"
	"strconv"
	"strings"

	"github.com/pamirdb/pamir/sql/access"
	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/parse"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/rowenc"
	"github.com/pamirdb/pamir/sql/types"
)

func (c *change) alterTable(st *ast.AlterTable) error {
	if st.Kind == "INDEX" {
		return c.alterIndex(st)
	}
	t, err := c.table(st.Table)
	if err != nil {
		if st.IfExists && (pgerr.Code(err) == pgerr.UndefinedTable || pgerr.Code(err) == pgerr.InvalidSchemaName) {
			c.notice("00000", "relation \"%s\" does not exist, skipping", st.Table.Name)
			return nil
		}
		return err
	}
	for _, cmd := range st.Cmds {
		// Each command starts from what the one before it left.
		t, _ = c.cat.TableByID(t.ID)
		if t.Kind != 'r' && cmd.Kind != ast.ChangeOwner && cmd.Kind != ast.SetOptions {
			return pgerr.New(pgerr.WrongObjectType, "ALTER action cannot be performed on relation \"%s\"", t.Name).
				WithDetail("This operation is not supported for %ss.", access.KindName(t.Kind))
		}
		if err := c.alter(t, cmd); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) alter(t *catalog.Table, cmd *ast.AlterCmd) error {
	switch cmd.Kind {
	case ast.AddColumn:
		return c.alterAddColumn(t, cmd)
	case ast.DropColumn:
		return c.alterDropColumn(t, cmd)
	case ast.AddConstraint:
		return c.alterAddConstraint(t, cmd.Constraint)
	case ast.DropConstraint:
		return c.alterDropConstraint(t, cmd)
	case ast.AlterConstraint:
		return c.alterConstraint(t, cmd.Constraint)
	case ast.AlterType:
		return c.alterType(t, cmd)
	case ast.SetOptions, ast.ResetOptions:
		return c.alterOptions(t, cmd)
	case ast.ChangeOwner:
		return c.changeOwner(t, cmd.Owner)
	case ast.SetStorage, ast.ReplicaIdentity, ast.ClusterOn, ast.SetColumnOptions, ast.SetStatistics, ast.SetTableSpace:
		return nil // accepted: they mean nothing here
	case ast.ValidateConstraint:
		for _, k := range t.Checks {
			if k.Name == cmd.Name {
				return c.validateCheck(t, k)
			}
		}
		for i := range t.ForeignKeys {
			if t.ForeignKeys[i].Name == cmd.Name {
				return c.validateForeignKey(t, &t.ForeignKeys[i])
			}
		}
		return missingConstraint(t, cmd.Name)
	case ast.SetDefault, ast.SetNotNull, ast.DropNotNull, ast.AddIdentity, ast.SetIdentity, ast.DropIdentity:
		return c.alterColumn(t, cmd)
	}
	return pgerr.Unsupported("this ALTER TABLE action", "")
}

func missingColumn(t *catalog.Table, name string) error {
	return pgerr.New(pgerr.UndefinedColumn, "column \"%s\" of relation \"%s\" does not exist", name, t.Name)
}

func missingConstraint(t *catalog.Table, name string) error {
	return pgerr.New(pgerr.UndefinedObject, "constraint \"%s\" of relation \"%s\" does not exist", name, t.Name)
}

// column finds a column that a user may change.
func column(t *catalog.Table, name string) (int, error) {
	pos := t.ColumnByName(name)
	if pos < 0 || t.Columns[pos].Hidden {
		return -1, missingColumn(t, name)
	}
	return pos, nil
}

// alterColumn changes properties of a column that do not concern its stored values.
func (c *change) alterColumn(t *catalog.Table, cmd *ast.AlterCmd) error {
	pos, err := column(t, cmd.Name)
	if err != nil {
		return err
	}
	n := clone(t)
	col := &n.Columns[pos]
	switch cmd.Kind {
	case ast.SetDefault:
		if col.Identity != 0 {
			return pgerr.New(pgerr.SyntaxError, "column \"%s\" of relation \"%s\" is an identity column", col.Name, t.Name)
		}
		col.Default = ""
		if cmd.Expr != nil {
			col.Default = cmd.ExprText
		}
		if _, _, err := c.insertParts(n); err != nil {
			return err
		}
	case ast.SetNotNull:
		if col.NotNull {
			return nil
		}
		some, err := c.anyRow("SELECT 1 FROM " + c.qualifiedName(t) + " WHERE " + exec.QuoteIdent(col.Name) + " IS NULL LIMIT 1")
		if err != nil {
			return err
		}
		if some {
			return nullsIn(t, col.Name)
		}
		col.NotNull = true
	case ast.DropNotNull:
		if p := t.Primary(); slices.ContainsFunc(p.Columns, func(ic catalog.IndexColumn) bool { return ic.Column == col.ID }) {
			return pgerr.New(pgerr.InvalidTableDefinition, "column \"%s\" is in a primary key", col.Name)
		}
		if col.Identity != 0 {
			return pgerr.New(pgerr.SyntaxError, "column \"%s\" of relation \"%s\" is an identity column", col.Name, t.Name)
		}
		col.NotNull = false
	case ast.AddIdentity:
		if col.Identity != 0 {
			return pgerr.New(pgerr.ObjectNotInPrerequisiteState, "column \"%s\" of relation \"%s\" is already an identity column", col.Name, t.Name)
		}
		if col.Default != "" {
			return pgerr.New(pgerr.ObjectNotInPrerequisiteState, "column \"%s\" of relation \"%s\" already has a default value", col.Name, t.Name)
		}
		if !col.NotNull {
			return pgerr.New(pgerr.ObjectNotInPrerequisiteState, "column \"%s\" of relation \"%s\" must be declared NOT NULL before identity can be added", col.Name, t.Name)
		}
		var opts []ast.Option
		ident := byte('a')
		if cmd.Constraint != nil {
			opts, ident = cmd.Constraint.Options, cmd.Constraint.Identity
		}
		seq, err := c.newSequence(t, col.Name, opts, col.Type.OID)
		if err != nil {
			return err
		}
		seq.Sequence.OwnedTable, seq.Sequence.OwnedColumn = t.ID, col.ID
		if err := c.create(seq); err != nil {
			return err
		}
		col.Identity, col.Sequence = ident, seq.ID
	case ast.SetIdentity:
		return pgerr.Unsupported("ALTER COLUMN ... SET GENERATED", "Use ALTER SEQUENCE on its sequence.")
	case ast.DropIdentity:
		if col.Identity == 0 {
			if cmd.IfExists {
				c.notice("00000", "column \"%s\" of relation \"%s\" is not an identity column, skipping", col.Name, t.Name)
				return nil
			}
			return pgerr.New(pgerr.ObjectNotInPrerequisiteState, "column \"%s\" of relation \"%s\" is not an identity column", col.Name, t.Name)
		}
		if seq, ok := c.cat.TableByID(col.Sequence); ok {
			if err := c.remove(seq); err != nil {
				return err
			}
		}
		col.Identity, col.Sequence = 0, 0
	}
	return c.replace(t, n)
}

func nullsIn(t *catalog.Table, column string) error {
	e := pgerr.New(pgerr.NotNullViolation, "column \"%s\" of relation \"%s\" contains null values", column, t.Name)
	e.Table, e.Column = t.Name, column
	return e
}

func (c *change) alterOptions(t *catalog.Table, cmd *ast.AlterCmd) (err error) {
	n := clone(t)
	if n.Options, err = c.changeOptions(t.Options, cmd); err != nil {
		return err
	}
	if err := hasPlace(t, cmd.Options); err != nil {
		return err
	}
	if err := c.checkOptions(c.ruleOf("table", n, n.Name), n.Options, optionNames(cmd)); err != nil {
		return err
	}
	for i := range n.Indexes {
		if err := c.checkIndexOptions(n, &n.Indexes[i], nil); err != nil {
			if e, ok := pgerr.As(err); ok {
				return e.WithDetail("The index \"%s\" has a rule of its own, which takes from its table what it does not set.", n.Indexes[i].Name)
			}
			return err
		}
	}
	return c.replace(t, n)
}

func (c *change) hasRows(t *catalog.Table) (bool, error) {
	return c.anyRow("SELECT 1 FROM " + c.qualifiedName(t) + " LIMIT 1")
}

func (c *change) alterAddColumn(t *catalog.Table, cmd *ast.AlterCmd) error {
	def := cmd.Column
	if t.ColumnByName(def.Name) >= 0 {
		if cmd.IfExists {
			c.notice(pgerr.DuplicateColumn, "column \"%s\" of relation \"%s\" already exists, skipping", def.Name, t.Name)
			return nil
		}
		return pgerr.New(pgerr.DuplicateColumn, "column \"%s\" of relation \"%s\" already exists", def.Name, t.Name)
	}
	n := clone(t)
	later, err := c.addColumn(n, def)
	if err != nil {
		return err
	}
	pos := len(n.Columns) - 1
	defaults, _, err := c.insertParts(n)
	if err != nil {
		return err
	}
	d := defaults[pos]
	if k, ok := d.(*expr.Const); ok && k.Value.Null {
		d = nil
	}
	some, err := c.hasRows(t)
	if err != nil {
		return err
	}
	col := &n.Columns[pos]
	switch {
	case !some:
		err = c.replace(t, n)
	case d == nil:
		if col.NotNull {
			return nullsIn(t, col.Name)
		}
		err = c.replace(t, n)
	case expr.Volatility(d) == 'v':
		err = c.rewrite(t, n, exec.Source{Set: []plan.SetClause{{Column: pos, Value: d}}})
	default: // the value is the same for all rows: they need not be touched
		var v types.Datum
		if v, err = expr.EvalConst(d, &expr.Runtime{Ctx: c.env.Runtime.Ctx}); err != nil {
			return err
		}
		if v.Null && col.NotNull {
			return nullsIn(t, col.Name)
		}
		if !v.Null {
			if col.Missing, err = rowenc.AppendValue([]byte{}, col.Type.OID, v); err != nil {
				return err
			}
		}
		err = c.replace(t, n)
	}
	if err != nil {
		return err
	}
	for _, k := range later {
		now, _ := c.cat.TableByID(t.ID)
		if err := c.alterAddConstraint(now, k); err != nil {
			return err
		}
	}
	return nil
}

// hidden reports whether the table's rows are under generated row ids.
func hidden(t *catalog.Table) bool {
	p := t.Primary()
	return p != nil && len(p.Columns) == 1 && t.Columns[t.ColumnByID(p.Columns[0].Column)].Hidden
}

func (c *change) alterAddConstraint(t *catalog.Table, k *ast.Constraint) error {
	n := clone(t)
	switch k.Kind {
	case ast.PrimaryConstraint:
		if !hidden(t) {
			return pgerr.New(pgerr.InvalidTableDefinition, "multiple primary keys for table \"%s\" are not allowed", t.Name)
		}
		// The rows move under the new key, and the hidden one goes.
		old := n.Primary()
		rowid := n.ColumnByID(old.Columns[0].Column)
		n.Indexes = slices.DeleteFunc(n.Indexes, func(ix catalog.Index) bool { return ix.Primary })
		dropColumn(n, rowid)
		if err := c.addPrimary(n, k); err != nil {
			return err
		}
		return c.rewrite(t, n, exec.Source{})
	case ast.UniqueConstraint:
		id, err := c.newIndexID()
		if err != nil {
			return err
		}
		if _, err := c.addUnique(n, k, id); err != nil {
			return err
		}
		return c.fillIndex(t, n, id)
	case ast.CheckConstraint:
		name, err := c.addCheck(n, k)
		if err != nil {
			return err
		}
		if _, _, err := c.insertParts(n); err != nil {
			return err
		}
		if err := c.replace(t, n); err != nil {
			return err
		}
		if k.NotValid {
			return nil
		}
		for _, ck := range n.Checks {
			if ck.Name == name {
				return c.validateCheck(n, ck)
			}
		}
		return nil
	case ast.ForeignConstraint:
		return c.alterAddForeignKey(t, k)
	}
	return c.addConstraints(n, []*ast.Constraint{k}) // an error that says what is not supported
}

// validateCheck looks for a row that a CHECK refuses.
func (c *change) validateCheck(t *catalog.Table, k catalog.Check) error {
	bad, err := c.anyRow("SELECT 1 FROM " + c.qualifiedName(t) + " WHERE NOT (" + k.Expr + ") LIMIT 1")
	if err != nil {
		return err
	}
	if bad {
		e := pgerr.New(pgerr.CheckViolation, "check constraint \"%s\" of relation \"%s\" is violated by some row", k.Name, t.Name)
		e.Table, e.Constraint = t.Name, k.Name
		return e
	}
	return nil
}

// dropColumn takes a column out of a descriptor and leaves its place.
func dropColumn(t *catalog.Table, pos int) {
	col := &t.Columns[pos]
	*col = catalog.Column{ID: col.ID, Type: col.Type, Dropped: true, Hidden: col.Hidden,
		Name: "........pg.dropped." + strconv.Itoa(pos+1) + "........"}
}

func (c *change) alterDropColumn(t *catalog.Table, cmd *ast.AlterCmd) error {
	pos, err := column(t, cmd.Name)
	if err != nil {
		if cmd.IfExists {
			c.notice("00000", "column \"%s\" of relation \"%s\" does not exist, skipping", cmd.Name, t.Name)
			return nil
		}
		return err
	}
	if err := c.viewsReferTo(t, cmd.Name); err != nil {
		return err
	}
	id := t.Columns[pos].ID
	what := "column " + cmd.Name + " of table " + c.shownName(t)
	if err := c.dropReferring(t, cmd.Cascade, what, what, nil, func(fk *catalog.ForeignKey) bool {
		return slices.Contains(fk.RefColumns, id) && !(fk.RefTable == t.ID && slices.ContainsFunc(t.ForeignKeys, func(k catalog.ForeignKey) bool {
			return k.OID == fk.OID && slices.Contains(k.Columns, id) // goes with the column anyway
		}))
	}); err != nil {
		return err
	}
	c.tellCascaded()
	for i := len(t.ForeignKeys) - 1; i >= 0; i-- {
		t, _ = c.cat.TableByID(t.ID)
		if i < len(t.ForeignKeys) && slices.Contains(t.ForeignKeys[i].Columns, id) {
			if err := c.dropForeignKey(t, t.ForeignKeys[i].OID); err != nil {
				return err
			}
		}
	}
	t, _ = c.cat.TableByID(t.ID)
	n := clone(t)
	rekey := false
	for i := len(n.Indexes) - 1; i >= 0; i-- {
		ix := &n.Indexes[i]
		switch in, err := indexNeeds(ix, id, cmd.Name); {
		case err != nil:
			return err
		case !in:
		case ix.Primary:
			rekey = true
			if err := c.w.ReleaseName(n.Schema, ix.Name); err != nil {
				return err
			}
			n.Indexes = append(n.Indexes[:i:i], n.Indexes[i+1:]...)
		default:
			if err := c.dropIndexAt(n, i); err != nil {
				return err
			}
		}
	}
	if n.Checks, err = checksWithout(n.Checks, cmd.Name); err != nil {
		return err
	}
	if seq := t.Columns[pos].Sequence; seq != 0 {
		if s, ok := c.cat.TableByID(seq); ok && s.Sequence.OwnedTable == t.ID {
			if err := c.remove(s); err != nil {
				return err
			}
		}
	}
	dropColumn(n, pos)
	if rekey {
		addRowID(n)
		return c.rewrite(t, n, exec.Source{})
	}
	return c.replace(t, n)
}

func (c *change) alterDropConstraint(t *catalog.Table, cmd *ast.AlterCmd) error {
	for i := range t.ForeignKeys {
		if t.ForeignKeys[i].Name == cmd.Name {
			return c.dropForeignKey(t, t.ForeignKeys[i].OID)
		}
	}
	for i := range t.Indexes {
		if ix := &t.Indexes[i]; ix.Constraint && ix.Name == cmd.Name {
			if err := c.dropReferring(t, cmd.Cascade, "constraint "+ix.Name+" on table "+c.shownName(t), "index "+ix.Name, nil, func(fk *catalog.ForeignKey) bool {
				return fk.RefIndex == ix.ID
			}); err != nil {
				return err
			}
			c.tellCascaded()
		}
	}
	t, _ = c.cat.TableByID(t.ID)
	n := clone(t)
	for i := range n.Checks {
		if n.Checks[i].Name == cmd.Name {
			n.Checks = append(n.Checks[:i:i], n.Checks[i+1:]...)
			return c.replace(t, n)
		}
	}
	for i := range n.Indexes {
		ix := &n.Indexes[i]
		if !ix.Constraint || ix.Name != cmd.Name {
			continue
		}
		if !ix.Primary {
			if err := c.dropIndexAt(n, i); err != nil {
				return err
			}
			return c.replace(t, n)
		}
		if err := c.w.ReleaseName(n.Schema, ix.Name); err != nil {
			return err
		}
		n.Indexes = append(n.Indexes[:i:i], n.Indexes[i+1:]...)
		addRowID(n)
		return c.rewrite(t, n, exec.Source{})
	}
	if cmd.IfExists {
		c.notice("00000", "constraint \"%s\" of relation \"%s\" does not exist, skipping", cmd.Name, t.Name)
		return nil
	}
	return missingConstraint(t, cmd.Name)
}

// alterType changes a column's type: the rows are written anew with the value cast, or as USING says.
func (c *change) alterType(t *catalog.Table, cmd *ast.AlterCmd) error {
	pos, err := column(t, cmd.Name)
	if err != nil {
		return err
	}
	ty, err := plan.ResolveType(cmd.Type)
	if err != nil {
		return err
	}
	if err := storable(cmd.Name, ty); err != nil {
		return err
	}
	if err := c.viewsRefer(t); err != nil {
		return err
	}
	if cmd.Expr == nil && !expr.CanCoerce(t.Columns[pos].Type.OID, ty.OID, 'a') {
		return pgerr.New(pgerr.DatatypeMismatch, "column \"%s\" cannot be cast automatically to type %s", cmd.Name, types.FormatType(types.Of(ty.OID))).
			WithHint("You might need to specify \"USING %s::%s\".", exec.QuoteIdent(cmd.Name), types.FormatType(ty))
	}
	n := clone(t)
	n.Columns[pos].Type = ty
	n.Columns[pos].Missing = nil
	for i := range n.Indexes {
		for _, ic := range n.Indexes[i].Columns {
			if ic.Column == n.Columns[pos].ID {
				if err := indexable(&n.Columns[pos]); err != nil {
					return err
				}
			}
		}
	}
	if _, _, err := c.insertParts(n); err != nil {
		return err
	}
	if err := checkPredicates(n); err != nil {
		return err
	}
	if err := c.typesAgree(n); err != nil {
		return err
	}
	// The new rows are the result of a query over the old ones.
	var list []string
	var columns []int
	for i := range t.Columns {
		col := &t.Columns[i]
		if col.Dropped || col.Hidden {
			continue
		}
		e := exec.QuoteIdent(col.Name)
		if i == pos {
			if cmd.Expr != nil {
				e = "(" + cmd.ExprText + ")"
			}
			e = "(" + e + ")::" + types.FormatType(ty)
		}
		list, columns = append(list, e), append(columns, i)
	}
	st, err := parse.One("SELECT " + strings.Join(list, ", ") + " FROM " + c.qualifiedName(t))
	if err != nil {
		return err
	}
	pl, err := plan.Build(c.cat, c.planEnv(), st.Statement)
	if err != nil {
		return err
	}
	if err := c.rewrite(t, n, exec.Source{Plan: pl, Columns: columns}); err != nil {
		return err
	}
	for _, k := range n.Checks { // what held for the values before need not hold for those after
		about, err := isAbout(k.Expr, cmd.Name)
		if err != nil {
			return err
		}
		if about {
			if err := c.validateCheck(n, k); err != nil {
				return err
			}
		}
	}
	return c.recheckColumn(n, n.Columns[pos].ID)
}

// alterIndex takes ALTER INDEX: only storage parameters, of which placement rules are kept, and the others accepted.
func (c *change) alterIndex(st *ast.AlterTable) error {
	t, at, err := c.findIndex(st.Table.Schema, st.Table.Name)
	if err != nil {
		return err
	}
	if t == nil {
		if st.IfExists {
			c.notice("00000", "relation \"%s\" does not exist, skipping", st.Table.Name)
			return nil
		}
		return missingRelation(st.Table)
	}
	if err := c.mustOwnIndex(t, at); err != nil {
		return err
	}
	n := clone(t)
	for _, cmd := range st.Cmds {
		switch cmd.Kind {
		case ast.SetOptions, ast.ResetOptions:
			ix := &n.Indexes[at]
			now, err := c.changeOptions(ix.Options, cmd)
			if err != nil {
				return err
			}
			ix.Options = rulesOnly(now)
			if err := c.checkIndexOptions(n, ix, optionNames(cmd)); err != nil {
				return err
			}
		case ast.SetStatistics, ast.SetTableSpace, ast.ChangeOwner:
		default:
			return pgerr.Unsupported("this ALTER INDEX action", "")
		}
	}
	if slices.Equal(n.Indexes[at].Options, t.Indexes[at].Options) {
		return nil
	}
	return c.replace(t, n)
}
