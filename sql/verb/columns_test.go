package verb_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/sql/parse"
	"github.com/pamirdb/pamir/sql/verb"
)

// Columns can be written as they are in a query: none is a reserved word.
func TestColumnsNeedNoQuotes(t *testing.T) {
	for i := range verb.Table {
		v := &verb.Table[i]
		if v.Relation == "" && v.Function == nil {
			continue
		}
		for _, c := range v.Columns {
			if c.Type == "" {
				continue
			}
			_, err := parse.One("SELECT " + c.Name + " FROM t ORDER BY " + c.Name)
			require.NoError(t, err, "%s of %s", c.Name, v.Name)
		}
	}
}
