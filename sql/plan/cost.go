package plan

import (
	"math"

	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/types"
)

// tableRows is a table's estimated size; 1000 if nothing is known.
func (p *physical) tableRows(t *catalog.Table) float64 {
	s := p.stats(t)
	if s.Rows < 0 {
		return unknownRows
	}
	return math.Max(1, s.Rows)
}

// unknownRows is how many rows a table is taken to have of which nothing is known.
const unknownRows = 1000

// stats are a table's statistics as far as plans go by them. A table that had few rows when nobody but the system looked at it, a queue say, may have
// many a minute later, and what is planned for few is bad for many: it is one of which nothing is known.
func (p *physical) stats(t *catalog.Table) catalog.TableStats {
	s := p.b.cat.Stats(t.ID)
	if s.Auto && s.Rows < unknownRows {
		return catalog.TableStats{Rows: -1}
	}
	return s
}

// distinctOf estimates how many values a column has.
func (p *physical) distinctOf(t *catalog.Table, ord int) float64 {
	rows := p.tableRows(t)
	id := t.Columns[ord].ID
	if d, ok := p.stats(t).Distinct[id]; ok && d > 0 {
		return d
	}
	for i := range t.Indexes {
		ix := &t.Indexes[i]
		if (ix.Unique || ix.Primary) && ix.Predicate == "" && len(ix.Columns) == 1 && ix.Columns[0].Column == id {
			return rows
		}
	}
	return math.Max(1, math.Min(rows, math.Max(10, rows/20)))
}

// eqSelectivity is the share of rows whose column is v; v is nil if nothing is known of it.
func (p *physical) eqSelectivity(t *catalog.Table, ord int, v expr.Expr) float64 {
	distinct := p.distinctOf(t, ord)
	if x, ok := v.(*expr.Param); ok {
		v = p.peek(t, ord, x)
	}
	if k, ok := v.(*expr.Const); ok && !k.Value.Null {
		if common := p.stats(t).Common[t.Columns[ord].ID]; len(common) > 0 && hashesAlike(t.Columns[ord].Type.OID, k.T.OID) {
			return commonShare(common, types.Hash(0, t.Columns[ord].Type.OID, k.Value), distinct)
		}
	}
	return 1 / distinct
}

// hashesAlike reports whether a value of type v has the hash of the column's value that it is equal to.
func hashesAlike(column, v types.OID) bool {
	return column == v || ordering(column) == ordering(v) && types.ReprOf(column) == types.ReprOf(v) && types.ReprOf(v) != types.ReprFloat
}

// commonShare is the share of the value with a hash; those that are not common share what the others leave.
func commonShare(common []catalog.CommonValue, hash uint64, distinct float64) float64 {
	rest := 1.0
	for _, c := range common {
		if c.Hash == hash {
			return c.Share
		}
		rest -= c.Share
	}
	others := math.Max(1, distinct-float64(len(common)))
	return math.Max(1e-9, math.Min(rest/others, common[len(common)-1].Share))
}

// listSelectivity is the share of rows whose column is in a list.
func (p *physical) listSelectivity(t *catalog.Table, ord int, list expr.Expr) float64 {
	var elems []types.Datum
	var elem types.OID
	switch x := list.(type) {
	case *expr.Const:
		if a, ok := x.Value.A.(*types.Array); ok && !x.Value.Null {
			elems, elem = a.Elems, types.ElemOf(x.T.OID)
		}
	}
	if len(elems) == 0 || len(elems) > 100 || len(p.stats(t).Common[t.Columns[ord].ID]) == 0 {
		return math.Min(1, arrayLen(list)*p.eqSelectivity(t, ord, nil))
	}
	s := 0.0
	for _, d := range elems {
		if !d.Null {
			s += p.eqSelectivity(t, ord, &expr.Const{T: types.Of(elem), Value: d})
		}
	}
	return math.Min(1, s)
}

// columnDistinct estimates a column's values, 0 if it is not a base column.
func (p *physical) columnDistinct(id colID) float64 {
	if m := p.baseColumn(id); m != nil {
		return p.distinctOf(m.table, m.ord)
	}
	return 0
}

// baseColumn is what is known of a column that is a stored table's; nil if it is none.
func (p *physical) baseColumn(id colID) *colMeta {
	m := &p.b.cols[id]
	if m.table == nil || m.table.Kind != 'r' || m.table.Virtual {
		return nil
	}
	return m
}

// selectivity guesses which share of rows a condition lets through. The constants are PostgreSQL's defaults.
func (p *physical) selectivity(e expr.Expr, r *scanRel) float64 {
	switch x := e.(type) {
	case *expr.And:
		s := 1.0
		for _, a := range x.Args {
			s *= p.selectivity(a, r)
		}
		return s
	case *expr.Or:
		s := 0.0
		for _, a := range x.Args {
			t := p.selectivity(a, r)
			s = s + t - s*t
		}
		return s
	case *expr.Not:
		return clampSel(1 - p.selectivity(x.Arg, r))
	case *expr.BoolTest:
		if x.Want == 'u' {
			break
		}
		if s := p.selectivity(x.Arg, r); (x.Want == 't') != x.Not {
			return s
		} else {
			return clampSel(1 - s)
		}
	case *expr.IsNull:
		if x.Not {
			return 0.99
		}
		return 0.01
	case *expr.Any:
		if c, ok := stripRelabel(x.Left).(*expr.Column); ok && x.Op == "=" && !x.All {
			if m := p.baseColumn(c.Index); m != nil {
				return clampSel(p.listSelectivity(m.table, m.ord, x.Array))
			}
		}
		return 0.1
	case *expr.Call:
		switch x.Op {
		case "=":
			best := 0.0
			for i, a := range x.Args {
				if c, ok := stripRelabel(a).(*expr.Column); ok {
					if m := p.baseColumn(c.Index); m != nil && len(x.Args) == 2 {
						s := p.eqSelectivity(m.table, m.ord, expr.Fold(x.Args[1-i]))
						if best == 0 || s < best {
							best = s
						}
					}
				}
			}
			if best > 0 {
				return best
			}
			return 0.005
		case "<", "<=", ">", ">=":
			return 0.33
		case "<>":
			return 0.995
		case "~~", "~", "~*", "~~*":
			return 0.05
		}
		return 0.33
	case *expr.Const:
		if x.Value.Null || x.Value.I == 0 {
			return 0.0001
		}
		return 1
	case *expr.Subplan:
		return 0.5
	}
	return 0.5
}

func stripRelabel(e expr.Expr) expr.Expr {
	for {
		c, ok := e.(*expr.Convert)
		if !ok || c.Via != 'r' {
			return e
		}
		e = c.Arg
	}
}

func clampSel(s float64) float64 { return math.Min(1, math.Max(0.0001, s)) }

// groupRows estimates how many groups there are over the columns ids.
func (p *physical) groupRows(rows float64, ids []colID) float64 {
	if len(ids) == 0 {
		return 1
	}
	n := 1.0
	for _, id := range ids {
		d := p.columnDistinct(id)
		if d == 0 {
			d = math.Max(10, rows/10)
		}
		n *= d
		if n > rows {
			return math.Max(1, rows)
		}
	}
	return math.Max(1, math.Min(n, rows))
}

// typeWidth guesses the bytes of a value.
func typeWidth(t types.Type) int {
	switch t.OID {
	case types.BoolOID, types.CharOID:
		return 1
	case types.Int2OID:
		return 2
	case types.Int4OID, types.Float4OID, types.DateOID, types.OidOID:
		return 4
	case types.Int8OID, types.Float8OID, types.TimestampOID, types.TimestamptzOID, types.TimeOID:
		return 8
	case types.UUIDOID, types.IntervalOID:
		return 16
	case types.NameOID:
		return 64
	case types.VarcharOID, types.BpcharOID:
		if t.Mod > 4 {
			return int(min(t.Mod-4, 1000))
		}
	}
	return 32
}
