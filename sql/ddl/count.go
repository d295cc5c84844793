package ddl

import (
	"strings"

	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/parse"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// count counts the entries of an index, public or not.
func (c *change) count(t *catalog.Table, ix *catalog.Index) (int64, error) {
	pl, err := c.build("SELECT count(*) FROM " + c.qualifiedName(t))
	if err != nil {
		return 0, err
	}
	scan := onlyScan(pl.Root)
	if scan == nil || len(scan.Spans) > 0 || scan.Filter != nil || len(scan.Columns) > 0 {
		return 0, pgerr.New(pgerr.InternalError, "the plan of a count(*) is not a scan of an index")
	}
	scan.Table, scan.Index, scan.Ordered = t, ix, false
	var n int64
	err = c.rows(pl, func(b *types.Batch) error {
		n = b.Cols[0].Ints[b.Row(0)]
		return nil
	})
	return n, err
}

// countRows counts the rows that have an entry in an index, without looking at it.
func (c *change) countRows(t *catalog.Table, ix *catalog.Index) (int64, error) {
	if ix.Predicate == "" {
		return c.count(t, t.Primary())
	}
	pl, err := c.build("SELECT count(*) FROM " + c.qualifiedName(t) + " WHERE (" + ix.Predicate + ")")
	if err != nil {
		return 0, err
	}
	var n int64
	err = c.rows(pl, func(b *types.Batch) error {
		n = b.Cols[0].Ints[b.Row(0)]
		return nil
	})
	return n, err
}

// onlyScan finds the scan in a plan that is a single branch.
func onlyScan(n plan.Node) *plan.Scan {
	switch n := n.(type) {
	case *plan.Scan:
		return n
	case *plan.Aggregate:
		return onlyScan(n.Input)
	case *plan.Project:
		return onlyScan(n.Input)
	}
	return nil
}

func (c *change) build(sql string) (*plan.Statement, error) {
	st, err := parse.One(sql)
	if err != nil {
		return nil, err
	}
	return plan.Build(c.cat, c.planEnv(), st.Statement)
}

// rows runs a plan.
func (c *change) rows(pl *plan.Statement, f func(b *types.Batch) error) error {
	cur, err := exec.Start(c.ctx, c.env.Runtime, pl)
	if err != nil {
		return err
	}
	defer cur.Close()
	for {
		b, err := cur.Next(c.ctx)
		if err != nil || b == nil {
			return err
		}
		if err := f(b); err != nil {
			return err
		}
	}
}

// duplicateRows returns the error about a key that several rows have, nil if there is none. It reads the table, not the index.
func (c *change) duplicateRows(t *catalog.Table, ix *catalog.Index) error {
	var names, conds []string
	for _, ic := range ix.Columns {
		n := exec.QuoteIdent(t.Columns[t.ColumnByID(ic.Column)].Name)
		names, conds = append(names, n), append(conds, n+" IS NOT NULL")
	}
	if ix.Predicate != "" {
		conds = append(conds, "("+ix.Predicate+")")
	}
	list := strings.Join(names, ", ")
	pl, err := c.build("SELECT " + list + " FROM " + c.qualifiedName(t) + " WHERE " + strings.Join(conds, " AND ") +
		" GROUP BY " + list + " HAVING count(*) > 1 LIMIT 1")
	if err != nil {
		return err
	}
	return c.rows(pl, func(b *types.Batch) error {
		var vals []string
		for i, v := range b.Cols {
			vals = append(vals, types.Text(pl.Columns[i].Type, v.Get(b.Row(0)), types.DefaultEnv))
		}
		e, _ := pgerr.As(exec.DuplicateInIndex(c.env.Runtime.Catalog, t, ix, nil))
		return e.WithDetail("Key (%s)=(%s) is duplicated.", list, strings.Join(vals, ", "))
	})
}
