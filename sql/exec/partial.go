package exec

import (
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/rowenc"
	"github.com/pamirdb/pamir/sql/types"
)

// predicate tells which rows have an entry in a partial index. Whoever writes must know it of the row before as well as of the one after: in a unique index the
// entry that a row without one would have may be another's. It is for one statement at a time.
type predicate struct {
	cond *expr.Program
	used []int // columns
	row  *types.Batch
}

// newPredicate returns nil for an index of all rows.
func newPredicate(t *catalog.Table, ix *catalog.Index) (*predicate, error) {
	if ix.Predicate == "" {
		return nil, nil
	}
	e, err := plan.IndexPredicate(t, ix)
	if err != nil {
		return nil, err
	}
	p := &predicate{used: expr.ColumnsUsed(nil, e), row: types.NewBatch(allColumns(t), 0)}
	p.row.N = 1
	p.cond, err = expr.Compile(e)
	return p, err
}

// holds reports whether the row has an entry.
func (p *predicate) holds(er *expr.Runtime, row rowenc.Row) (bool, error) {
	for _, c := range p.used {
		v := p.row.Cols[c]
		v.ResetSame()
		v.AppendDatum(row[c])
	}
	d, err := p.cond.EvalRow(er, p.row, 0)
	return err == nil && !d.Null && d.I != 0, err
}

// reads reports whether it looks at any of the columns.
func (p *predicate) reads(set []int) bool {
	for _, c := range p.used {
		for _, s := range set {
			if c == s {
				return true
			}
		}
	}
	return false
}

// has reports whether a row has an entry in an index.
func (w *rowWriter) has(x *rowenc.Index, row rowenc.Row) (bool, error) {
	if p := w.partial[x]; p != nil {
		return p.holds(w.er, row)
	}
	return true, nil
}
