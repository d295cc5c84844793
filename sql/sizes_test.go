package sql

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/types"
)

// All bytes of the ranges go to somebody, by rows; an index over several ranges has a part in each.
func TestShareSizes(t *testing.T) {
	column := catalog.Column{ID: 1, Name: "a", Type: types.Of(types.Int8OID)}
	table := func(id uint32, name string) *catalog.Table {
		return &catalog.Table{ID: catalog.TableID(id), Schema: catalog.PublicSchema, Name: name, Kind: 'r', DataID: uint64(id), Columns: []catalog.Column{column},
			Indexes: []catalog.Index{{ID: 1, Primary: true, Columns: []catalog.IndexColumn{{Column: 1}}}}}
	}
	small, large := table(200, "small"), table(201, "large")
	snap := catalog.NewSnapshot(1, []*catalog.Schema{{ID: catalog.PublicSchema, Name: "public"}}, []*catalog.Table{small, large},
		map[catalog.TableID]catalog.TableStats{200: {Rows: 99}, 201: {Rows: 1999}})
	cut := keys.AppendUvarint(keys.Index(201, 1), 77)
	ranges := []ClusterRange{
		{Descriptor: kv.RangeDescriptor{RangeID: 1, StartKey: keys.Table(100), EndKey: cut}, Stats: kv.Stats{Bytes: 11000}},
		{Descriptor: kv.RangeDescriptor{RangeID: 2, StartKey: cut, EndKey: keys.Table(900)}, Stats: kv.Stats{Bytes: 5000}},
	}
	bytes, total := shareSizes(ranges, snap)
	require.EqualValues(t, 16000, total)
	require.EqualValues(t, 1000, bytes[sizeKey{200, 1}])
	require.EqualValues(t, 10000+5000, bytes[sizeKey{201, 1}])
}
