package plan

import (
	"slices"

	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/types"
)

// Peek is a parameter that is compared with a column of which some values are common, or are those of a partial index. A plan for one of those may be a bad one
// for a rare value, or a wrong one.
type Peek struct {
	Param  int // from 0
	column types.OID
	common []catalog.CommonValue
	// values are those for which an index serves that has no entries for others.
	values []types.Datum
}

// Class tells values apart as far as plans may differ: two of one class have the same plan. All that are not common are one class, 0.
func (k *Peek) Class(params []types.Datum) uint64 {
	if k.Param >= len(params) || params[k.Param].Null {
		return 0
	}
	h := types.Hash(0, k.column, params[k.Param])
	for _, v := range k.values {
		if types.Compare(k.column, params[k.Param], v) == 0 {
			return ^h
		}
	}
	for _, c := range k.common {
		if c.Hash == h {
			return h
		}
	}
	return 0
}

// peek returns the value of a parameter that is compared with a column, if it is known, and notes that it would have been of use.
func (p *physical) peek(t *catalog.Table, ord int, x *expr.Param) expr.Expr {
	col := &t.Columns[ord]
	common := p.stats(t).Common[col.ID]
	if len(common) == 0 || !hashesAlike(col.Type.OID, x.Type().OID) {
		return x
	}
	k := Peek{Param: x.Index, column: col.Type.OID, common: common}
	same := func(o Peek) bool {
		return o.Param == k.Param && o.column == k.column && o.values == nil && slices.Equal(o.common, k.common)
	}
	if !slices.ContainsFunc(p.stmt.Peeks, same) {
		p.stmt.Peeks = append(p.stmt.Peeks, k)
	}
	if x.Index < len(p.b.env.Peek) {
		return &expr.Const{T: x.Type(), Value: p.b.env.Peek[x.Index]}
	}
	return x
}
