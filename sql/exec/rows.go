package exec

import (
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/types"
)

func columnTypes(cols []catalog.Column, at []int) []types.Type {
	ts := make([]types.Type, len(at))
	for i, c := range at {
		ts[i] = cols[c].Type
	}
	return ts
}

func allColumns(t *catalog.Table) []types.Type {
	ts := make([]types.Type, len(t.Columns))
	for i := range t.Columns {
		ts[i] = t.Columns[i].Type
	}
	return ts
}
