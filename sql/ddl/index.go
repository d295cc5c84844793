package ddl

import (
	"slices"
	"strings"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
)

func (c *change) createIndex(st *ast.CreateIndex) error {
	t, err := c.table(st.Table)
	if err != nil {
		return err
	}
	if t.Kind != 'r' {
		return pgerr.New(pgerr.WrongObjectType, "cannot create index on relation \"%s\"", t.Name)
	}
	if st.Method != "" && st.Method != "btree" {
		return pgerr.Unsupported("access method \""+st.Method+"\"", "Indexes are ordered: leave USING out, or say btree.")
	}
	if st.NullsNotDistinct {
		return pgerr.Unsupported("NULLS NOT DISTINCT", "")
	}
	ix := catalog.Index{Name: st.Name, Unique: st.Unique}
	if st.Where != nil {
		if err := plan.CheckPredicate(c.cat, c.planEnv(), t, st.Where); err != nil {
			return err
		}
		ix.Predicate = st.WhereText
	}
	var names []string
	for _, e := range st.Elems {
		if e.Expr != nil {
			return pgerr.Unsupported("an index on an expression", "").At(e.Pos)
		}
		pos := t.ColumnByName(e.Name)
		if pos < 0 || t.Columns[pos].Hidden {
			return pgerr.New(pgerr.UndefinedColumn, "column \"%s\" does not exist", e.Name)
		}
		if err := indexable(&t.Columns[pos]); err != nil {
			return err
		}
		col := catalog.IndexColumn{Column: t.Columns[pos].ID, Desc: e.Desc, NullsFirst: e.Desc}
		if e.Nulls != 0 {
			col.NullsFirst = e.Nulls == 'f'
		}
		ix.Columns = append(ix.Columns, col)
		names = append(names, e.Name)
	}
	for _, e := range st.Include {
		if e.Expr != nil {
			return pgerr.New(pgerr.FeatureNotSupported, "expressions are not supported in included columns")
		}
		ids, err := includeColumns(t, []string{e.Name})
		if err != nil {
			return err
		}
		ix.Include = append(ix.Include, ids...)
		names = append(names, e.Name)
	}
	if ix.Name == "" {
		if ix.Name, err = c.chooseName(t.Schema, t.Name, strings.Join(names, "_"), "idx"); err != nil {
			return err
		}
	} else if taken, err := c.w.NameTaken(c.ctx, t.Schema, ix.Name); err != nil {
		return err
	} else if taken {
		if st.IfNotExists {
			c.notice(pgerr.DuplicateTable, "relation \"%s\" already exists, skipping", ix.Name)
			return nil
		}
		return pgerr.New(pgerr.DuplicateTable, "relation \"%s\" already exists", ix.Name)
	}
	params, err := options(st.Options)
	if err != nil {
		return err
	}
	ix.Options = rulesOnly(params)
	if err := c.checkIndexOptions(t, &ix, ix.Options); err != nil {
		return err
	}
	n := clone(t)
	if ix.ID, err = c.newIndexID(); err != nil {
		return err
	}
	if _, err := c.addIndex(n, ix); err != nil {
		return err
	}
	return c.fillIndex(t, n, ix.ID)
}

// checkPredicates says what is wrong with the conditions of partial indexes, now that a column has another type.
func checkPredicates(t *catalog.Table) error {
	for i := range t.Indexes {
		if t.Indexes[i].Predicate == "" {
			continue
		}
		if _, err := plan.IndexPredicate(t, &t.Indexes[i]); err != nil {
			if e, ok := pgerr.As(err); ok {
				e.Position = 0
			}
			return err
		}
	}
	return nil
}

// indexNeeds reports whether an index goes with a column.
func indexNeeds(ix *catalog.Index, id catalog.ColumnID, name string) (bool, error) {
	if slices.ContainsFunc(ix.Columns, func(ic catalog.IndexColumn) bool { return ic.Column == id }) || slices.Contains(ix.Include, id) {
		return true, nil
	}
	if ix.Predicate == "" {
		return false, nil
	}
	return isAbout(ix.Predicate, name)
}

// fillIndex stores a descriptor with a new index, and builds the index: at once, or online.
func (c *change) fillIndex(before, after *catalog.Table, id catalog.IndexID) error {
	if c.env.Online != nil {
		for i := range after.Indexes {
			if after.Indexes[i].ID == id {
				after.Indexes[i].State = catalog.WriteOnly
			}
		}
		if err := c.replace(before, after); err != nil {
			return err
		}
		return c.buildOnline(after, id)
	}
	if err := c.replace(before, after); err != nil {
		return err
	}
	return c.buildIndexes(before, after, []catalog.IndexID{id})
}

// buildIndexes fills new indexes from the rows of the table as it was.
func (c *change) buildIndexes(before, after *catalog.Table, ids []catalog.IndexID) error {
	_, err := exec.Rebuild(c.ctx, c.env.Runtime, exec.Source{Table: before}, after, ids)
	return err
}

// rewrite writes all rows of a table anew, under a fresh data id. after is complete but for that.
func (c *change) rewrite(before, after *catalog.Table, src exec.Source) error {
	if err := c.freshData(after); err != nil {
		return err
	}
	if err := c.replace(before, after); err != nil {
		return err
	}
	if src.Plan == nil && src.Table == nil {
		src.Table = before
	}
	if _, err := exec.Rebuild(c.ctx, c.env.Runtime, src, after, nil); err != nil {
		return err
	}
	return c.step()
}

// dropIndexAt takes an index out of a descriptor.
func (c *change) dropIndexAt(t *catalog.Table, i int) error {
	ix := &t.Indexes[i]
	if hasName(ix) {
		if err := c.w.ReleaseName(t.Schema, ix.Name); err != nil {
			return err
		}
	}
	if err := c.w.DiscardIndex(t.DataID, ix.ID); err != nil {
		return err
	}
	t.Indexes = append(t.Indexes[:i:i], t.Indexes[i+1:]...)
	return nil
}

// findIndex looks an index up by name along the search path.
func (c *change) findIndex(schema, name string) (*catalog.Table, int, error) {
	in := func(schema string) (*catalog.Table, int) {
		s, ok := c.cat.Schema(schema)
		if !ok {
			return nil, -1
		}
		for _, t := range c.cat.Tables() {
			if t.Schema != s.ID {
				continue
			}
			for i := range t.Indexes {
				if t.Indexes[i].Name == name && hasName(&t.Indexes[i]) {
					return t, i
				}
			}
		}
		return nil, -1
	}
	if schema != "" {
		if _, ok := c.cat.Schema(schema); !ok {
			return nil, -1, pgerr.New(pgerr.InvalidSchemaName, "schema \"%s\" does not exist", schema)
		}
		t, i := in(schema)
		return t, i, nil
	}
	for _, s := range c.env.SearchPath {
		if t, i := in(s); t != nil {
			return t, i, nil
		}
	}
	return nil, -1, nil
}
