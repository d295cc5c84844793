package ddl

import (
	"slices"
	"strings"

	"github.com/pamirdb/pamir/sql/access"
	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
)

func (c *change) rename(st *ast.Rename) error {
	switch st.Kind {
	case "SCHEMA":
		return c.renameSchema(st)
	case "INDEX":
		return c.renameIndex(st)
	case "TABLE", "VIEW", "SEQUENCE", "COLUMN", "CONSTRAINT":
	default:
		return pgerr.Unsupported("ALTER "+st.Kind+" ... RENAME", "")
	}
	t, err := c.find(st.Relation.Schema, st.Relation.Name)
	if err != nil {
		return err
	}
	if t == nil {
		if st.Kind == "TABLE" { // ALTER TABLE may name an index
			if it, _, err := c.findIndex(st.Relation.Schema, st.Relation.Name); err == nil && it != nil {
				return c.renameIndex(st)
			}
		}
		if st.IfExists {
			c.notice("00000", "relation \"%s\" does not exist, skipping", st.Relation.Name)
			return nil
		}
		return missingRelation(st.Relation)
	}
	if t.Virtual {
		return pgerr.New(pgerr.InsufficientPrivilege, "permission denied: \"%s\" is a system catalog", t.Name)
	}
	if err := c.mustOwn(t); err != nil {
		return err
	}
	n := clone(t)
	switch st.Kind {
	case "COLUMN":
		pos := n.ColumnByName(st.Old)
		if pos < 0 || n.Columns[pos].Hidden {
			return pgerr.New(pgerr.UndefinedColumn, "column \"%s\" does not exist", st.Old)
		}
		if n.ColumnByName(st.New) >= 0 {
			return pgerr.New(pgerr.DuplicateColumn, "column \"%s\" of relation \"%s\" already exists", st.New, n.Name)
		}
		if systemColumn(st.New) {
			return pgerr.New(pgerr.DuplicateColumn, "column name \"%s\" conflicts with a system column name", st.New)
		}
		if err := c.viewsRefer(n); err != nil {
			return err
		}
		for i := range n.Checks {
			if n.Checks[i].Expr, err = renamedColumn(n.Checks[i].Expr, st.Old, st.New); err != nil {
				return err
			}
		}
		for i := range n.Indexes {
			if text := n.Indexes[i].Predicate; text != "" {
				if n.Indexes[i].Predicate, err = renamedColumn(text, st.Old, st.New); err != nil {
					return err
				}
			}
		}
		n.Columns[pos].Name = st.New
	case "CONSTRAINT":
		found := false
		for i := range n.Checks {
			if n.Checks[i].Name == st.Old {
				n.Checks[i].Name, found = st.New, true
			}
		}
		for i := range n.ForeignKeys {
			if n.ForeignKeys[i].Name == st.Old {
				n.ForeignKeys[i].Name, found = st.New, true
			}
		}
		for i := range n.Indexes {
			if n.Indexes[i].Constraint && n.Indexes[i].Name == st.Old {
				if err := c.moveName(t, st.Old, st.New, n.Indexes[i].OID); err != nil {
					return err
				}
				n.Indexes[i].Name, found = st.New, true
			}
		}
		if !found {
			return pgerr.New(pgerr.UndefinedObject, "constraint \"%s\" for table \"%s\" does not exist", st.Old, t.Name)
		}
	default:
		if want := map[string]byte{"VIEW": 'v', "SEQUENCE": 'S'}[st.Kind]; want != 0 && t.Kind != want {
			return pgerr.New(pgerr.WrongObjectType, "\"%s\" is not a %s", t.Name, access.KindName(want))
		}
		if err := c.viewsRefer(t); err != nil {
			return err
		}
		n.Name = st.New
	}
	return c.replace(t, n)
}

// viewsRefer refuses a change of a table that views, which are kept as SQL, name.
func (c *change) viewsRefer(t *catalog.Table) error { return c.viewsReferTo(t, "") }

// viewsReferTo is viewsRefer for a change of one column: views that name it, or have a star, are in its way.
func (c *change) viewsReferTo(t *catalog.Table, column string) error {
	for _, o := range c.cat.Tables() {
		if o.Kind == 'v' && slices.Contains(o.DependsOn, t.ID) && (column == "" || mentions(o.ViewQuery, column) || strings.Contains(o.ViewQuery, "*")) {
			return pgerr.New(pgerr.DependentObjectsStillExist, "cannot change relation %s because view %s depends on it", t.Name, o.Name).
				WithHint("Drop the view first and create it again.")
		}
	}
	return nil
}

// mentions reports whether a word occurs in an SQL text. It may err on the side of yes.
func mentions(text, word string) bool {
	for at := 0; ; {
		i := strings.Index(text[at:], word)
		if i < 0 {
			return false
		}
		i += at
		at = i + 1
		before := i == 0 || !nameByte(text[i-1])
		end := i + len(word)
		if before && (end == len(text) || !nameByte(text[end])) {
			return true
		}
	}
}

func nameByte(b byte) bool {
	return b == '_' || b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= 0x80
}

func (c *change) moveName(t *catalog.Table, before, after string, oid uint32) error {
	if err := c.w.ClaimName(c.ctx, t.Schema, after, oid); err != nil {
		return err
	}
	return c.w.ReleaseName(t.Schema, before)
}

func (c *change) renameIndex(st *ast.Rename) error {
	t, i, err := c.findIndex(st.Relation.Schema, st.Relation.Name)
	if err != nil {
		return err
	}
	if t == nil {
		if st.IfExists {
			c.notice("00000", "relation \"%s\" does not exist, skipping", st.Relation.Name)
			return nil
		}
		return missingRelation(st.Relation)
	}
	if err := c.mustOwnIndex(t, i); err != nil {
		return err
	}
	n := clone(t)
	if err := c.moveName(t, n.Indexes[i].Name, st.New, n.Indexes[i].OID); err != nil {
		return err
	}
	n.Indexes[i].Name = st.New
	return c.replace(t, n)
}

func (c *change) renameSchema(st *ast.Rename) error {
	s, ok := c.cat.Schema(st.Old)
	if !ok {
		return pgerr.New(pgerr.InvalidSchemaName, "schema \"%s\" does not exist", st.Old)
	}
	if _, taken := c.cat.Schema(st.New); taken {
		return pgerr.New(pgerr.DuplicateSchema, "schema \"%s\" already exists", st.New)
	}
	if !ownable(s) || strings.HasPrefix(st.New, "pg_") {
		return pgerr.New(pgerr.ReservedName, "unacceptable schema name \"%s\"", st.New)
	}
	for _, v := range c.cat.Tables() {
		if v.Kind == 'v' && mentions(v.ViewQuery, st.Old) {
			return pgerr.Unsupported("to rename a schema that the view \""+v.Name+"\" names", "Drop the view first and create it again.")
		}
	}
	if err := c.mustOwnSchema(s); err != nil {
		return err
	}
	if err := c.mayMakeSchemas(); err != nil {
		return err
	}
	n := *s
	n.Name = st.New
	c.cat.schemas[s.ID] = &n
	return c.w.PutSchema(&n)
}

func (c *change) setSchema(st *ast.AlterSchema) error {
	if st.Relation == nil {
		return pgerr.Unsupported("ALTER "+st.Kind+" ... SET SCHEMA", "")
	}
	t, err := c.table(st.Relation)
	if err != nil {
		if st.IfExists && pgerr.Code(err) == pgerr.UndefinedTable {
			c.notice("00000", "relation \"%s\" does not exist, skipping", st.Relation.Name)
			return nil
		}
		return err
	}
	s, err := c.newSchemaFor(st.Schema)
	if err != nil {
		return err
	}
	if s.ID == t.Schema {
		return nil
	}
	if err := c.viewsRefer(t); err != nil {
		return err
	}
	n := clone(t)
	n.Schema = s.ID
	for i := range n.Indexes {
		if !hasName(&n.Indexes[i]) {
			continue
		}
		if err := c.w.ClaimName(c.ctx, s.ID, n.Indexes[i].Name, n.Indexes[i].OID); err != nil {
			return err
		}
		if err := c.w.ReleaseName(t.Schema, n.Indexes[i].Name); err != nil {
			return err
		}
	}
	if err := c.replace(t, n); err != nil {
		return err
	}
	for _, o := range c.cat.Tables() { // owned sequences move with their table
		if o.Kind == 'S' && o.Sequence.OwnedTable == t.ID && o.Schema != s.ID {
			m := clone(o)
			m.Schema = s.ID
			if err := c.replace(o, m); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *change) createView(st *ast.CreateView) error {
	if st.Check != 0 {
		return pgerr.Unsupported("WITH CHECK OPTION", "")
	}
	sc, err := c.newSchemaFor(st.View.Schema)
	if err != nil {
		return err
	}
	pl, err := plan.Build(c.cat, c.planEnv(), st.Query)
	if err != nil {
		return err
	}
	if len(pl.Params) > 0 {
		return pgerr.New(pgerr.UndefinedParameter, "there is no parameter $1")
	}
	if len(st.Columns) > len(pl.Columns) {
		return pgerr.New(pgerr.SyntaxError, "CREATE VIEW specifies more column names than columns")
	}
	old, exists := c.cat.Table(sc.Name, st.View.Name)
	if exists && !st.OrReplace {
		return pgerr.New(pgerr.DuplicateTable, "relation \"%s\" already exists", st.View.Name)
	}
	if exists && old.Kind != 'v' {
		return pgerr.New(pgerr.WrongObjectType, "\"%s\" is not a view", old.Name)
	}
	if exists {
		if err := c.mustOwn(old); err != nil {
			return err
		}
	}
	var v *catalog.Table
	if exists {
		v = clone(old)
		v.Columns, v.NextColumn = nil, 1
	} else {
		if v, err = c.newTable(sc, st.View.Name); err != nil {
			return err
		}
		v.Kind, v.DataID = 'v', 0
	}
	if v.ViewQuery, err = c.qualified(st.Text); err != nil {
		return err
	}
	v.DependsOn = c.relationsIn(st.Query)
	if v.Options, err = options(st.Options); err != nil {
		return err
	}
	if err := hasPlace(v, st.Options); err != nil {
		return err
	}
	for i, f := range pl.Columns {
		name := f.Name
		if i < len(st.Columns) {
			name = st.Columns[i]
		}
		if v.ColumnByName(name) >= 0 {
			return pgerr.New(pgerr.DuplicateColumn, "column \"%s\" specified more than once", name)
		}
		ty := f.Type
		if exists && i < len(old.Columns) && (old.Columns[i].Name != name || old.Columns[i].Type != ty) {
			if old.Columns[i].Name != name {
				return pgerr.New(pgerr.InvalidTableDefinition, "cannot change name of view column \"%s\" to \"%s\"", old.Columns[i].Name, name).
					WithHint("Use ALTER VIEW ... RENAME COLUMN ... to change name of view column instead.")
			}
			return pgerr.New(pgerr.InvalidTableDefinition, "cannot change data type of view column \"%s\"", name)
		}
		v.Columns = append(v.Columns, catalog.Column{ID: v.NextColumn, Name: name, Type: ty})
		v.NextColumn++
	}
	if exists {
		if len(v.Columns) < len(old.Columns) {
			return pgerr.New(pgerr.InvalidTableDefinition, "cannot drop columns from view")
		}
		return c.replace(old, v)
	}
	return c.create(v)
}

// relationsIn lists the relations that a query names. It may list too many: a WITH query can hide a table's name.
func (c *change) relationsIn(q ast.Statement) []catalog.TableID {
	var out []catalog.TableID
	names, _ := namedRelations(q)
	for _, n := range names {
		if t, err := c.find(n.Schema, n.Name); err == nil && t != nil && !t.Virtual && !slices.Contains(out, t.ID) {
			out = append(out, t.ID)
		}
	}
	slices.Sort(out)
	return out
}

func (c *change) comment(st *ast.Comment) error {
	switch st.Kind {
	case "TABLE", "VIEW", "SEQUENCE":
		schema, name := splitName(st.Name)
		t, err := c.table(&ast.TableName{Schema: schema, Name: name})
		if err != nil {
			return err
		}
		n := clone(t)
		n.Comment = st.Text
		return c.replace(t, n)
	case "COLUMN":
		if len(st.Name) < 2 {
			return pgerr.New(pgerr.SyntaxError, "column name must be qualified")
		}
		schema, name := splitName(st.Name[:len(st.Name)-1])
		t, err := c.table(&ast.TableName{Schema: schema, Name: name})
		if err != nil {
			return err
		}
		column := st.Name[len(st.Name)-1]
		pos := t.ColumnByName(column)
		if pos < 0 {
			return pgerr.New(pgerr.UndefinedColumn, "column \"%s\" of relation \"%s\" does not exist", column, t.Name)
		}
		n := clone(t)
		if n.ColumnComments == nil {
			n.ColumnComments = map[catalog.ColumnID]string{}
		}
		if st.Null || st.Text == "" {
			delete(n.ColumnComments, n.Columns[pos].ID)
		} else {
			n.ColumnComments[n.Columns[pos].ID] = st.Text
		}
		return c.replace(t, n)
	case "INDEX":
		schema, name := splitName(st.Name)
		t, i, err := c.findIndex(schema, name)
		if err != nil {
			return err
		}
		if t == nil {
			return missingRelation(&ast.TableName{Schema: schema, Name: name})
		}
		n := clone(t)
		n.Indexes[i].Comment = st.Text
		return c.replace(t, n)
	case "CONSTRAINT":
		return c.commentConstraint(st)
	case "SCHEMA":
		s, ok := c.cat.Schema(st.Name[0])
		if !ok {
			return pgerr.New(pgerr.InvalidSchemaName, "schema \"%s\" does not exist", st.Name[0])
		}
		if !ownable(s) {
			return pgerr.New(pgerr.InsufficientPrivilege, "permission denied: \"%s\" is a system schema", s.Name)
		}
		n := *s
		n.Comment = st.Text
		c.cat.schemas[s.ID] = &n
		return c.w.PutSchema(&n)
	}
	c.notice(pgerr.FeatureNotSupported, "the comment is not kept: comments on a %s are not supported", strings.ToLower(st.Kind))
	return nil
}

// commentConstraint is COMMENT ON CONSTRAINT name ON table; the table's name comes first.
func (c *change) commentConstraint(st *ast.Comment) error {
	last := len(st.Name) - 1
	schema, name := splitName(st.Name[:last])
	t, err := c.table(&ast.TableName{Schema: schema, Name: name})
	if err != nil {
		return err
	}
	n := clone(t)
	for i := range n.Indexes {
		if n.Indexes[i].Constraint && n.Indexes[i].Name == st.Name[last] {
			n.Indexes[i].ConstraintComment = st.Text
			return c.replace(t, n)
		}
	}
	for i := range n.ForeignKeys {
		if n.ForeignKeys[i].Name == st.Name[last] {
			n.ForeignKeys[i].Comment = st.Text
			return c.replace(t, n)
		}
	}
	for i := range n.Checks {
		if n.Checks[i].Name == st.Name[last] {
			n.Checks[i].Comment = st.Text
			return c.replace(t, n)
		}
	}
	return pgerr.New(pgerr.UndefinedObject, "constraint \"%s\" for table \"%s\" does not exist", st.Name[last], t.Name)
}
