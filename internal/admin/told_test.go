package admin

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/sql/verb"
)

// What nobody says is NULL in SQL, and not 0, which would be something that is known.
func TestWhatNobodySays(t *testing.T) {
	for _, c := range []struct {
		verb    string
		answer  any
		unknown []string
	}{
		{"hot_ranges", HotList{[]RangeView{{ID: 7}}}, []string{"qps", "writes", "write_bytes", "cpu", "size_bytes"}},
		{"hot_ranges", HotList{[]RangeView{{ID: 7, LeaderNode: 2}}}, nil},
		{"ranges", RangeList{Ranges: []RangeView{{ID: 7}}}, []string{"size", "qps"}},
		{"ranges", RangeList{Ranges: []RangeView{{ID: 7, LeaderNode: 2}}}, nil},
		{"stores", StoreList{[]StoreView{{StoreID: 1, NodeID: 1}}}, []string{"qps", "writes", "cpu"}},
		{"stores", StoreList{[]StoreView{{StoreID: 1, NodeID: 1, Alive: true}}}, nil},
	} {
		v := verb.ByName(c.verb)
		b, err := json.Marshal(c.answer)
		require.NoError(t, err)
		items, err := Items(b, v.List)
		require.NoError(t, err)
		var unknown []string
		for i := range v.Columns {
			if col := &v.Columns[i]; col.Told != "" && Value(items[0], col) == nil {
				require.Nil(t, sqlText(col, Value(items[0], col)))
				unknown = append(unknown, col.Name)
			}
		}
		require.Equal(t, c.unknown, unknown, "%s: %s", c.verb, b)
	}
}
