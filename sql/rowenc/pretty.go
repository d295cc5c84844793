package rowenc

import (
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/types"
)

// Owner finds the table and index that a key lies in, among tables by the number under which their rows are; nil if it is in none of them, or between tables.
func Owner(k keys.Key, byData func(uint64) (*catalog.Table, bool)) (*catalog.Table, *catalog.Index) {
	data, id, _, err := keys.DecodeIndex(k)
	if err != nil {
		return wholeTable(byData, k)
	}
	t, ok := byData(data)
	if !ok {
		return nil, nil
	}
	for i := range t.Indexes {
		if uint64(t.Indexes[i].ID) == id {
			return t, &t.Indexes[i]
		}
	}
	return t, nil
}

// wholeTable finds the table of a key that is a table's whole prefix, and the index that comes first in it.
func wholeTable(byData func(uint64) (*catalog.Table, bool), k keys.Key) (*catalog.Table, *catalog.Index) {
	if len(k) < 2 || k[0] != keys.TableMin[0] {
		return nil, nil
	}
	data, rest, err := keys.DecodeUvarint(k[1:])
	if err != nil || len(rest) > 0 {
		return nil, nil
	}
	t, ok := byData(data)
	if !ok {
		return nil, nil
	}
	var first *catalog.Index
	for i := range t.Indexes {
		if first == nil || t.Indexes[i].ID < first.ID {
			first = &t.Indexes[i]
		}
	}
	return t, first
}

// Pretty prints a key of an index as /table/index/values; one that stops within a column in the way of keys.Pretty.
func Pretty(k keys.Key, t *catalog.Table, ix *catalog.Index, env *types.TextEnv) string {
	out := "/" + t.Name + "/" + ix.Name
	enc, err := ForIndex(t, ix)
	if err != nil || len(k) <= len(enc.Prefix()) {
		return out
	}
	values, err := enc.DecodeKeyPrefix(k)
	if err != nil {
		return keys.Pretty(k)
	}
	for i, v := range values {
		if v.Null {
			out += "/NULL"
		} else {
			out += "/" + string(types.AppendDatumText(nil, enc.ColumnType(i), v, env))
		}
	}
	return out
}
