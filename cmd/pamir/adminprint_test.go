package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/internal/admin"
)

// What placement does, and why it does nothing, as a person reads it.
func TestPrintObject(t *testing.T) {
	var b strings.Builder
	require.NoError(t, printObject(&b, []byte(`{
		"driver": 3, "paused": false, "pending": [],
		"recent": [
			{"range_id": 4, "text": "r4 g7: +n3 -n1: balance", "why": "balance", "add": [3], "started": "soon", "at": "soon"},
			{"range_id": 5, "text": "r5 g7: leader to n2: balance", "why": "balance", "started": "soon", "at": "later", "error": "timeout"},
			{"text": "n4 has no replica left: it may be stopped", "at": "later"}
		],
		"findings": [{"range_id": 1, "why": "n4 has been silent for 5s"}],
		"decommission": {"node_id": 4, "bytes": 2048}
	}`)))
	require.Equal(t, `driver   3
paused   no
pending  -
recent (3)
  r4 g7: +n3 -n1: balance, started soon
  r5 g7: leader to n2: balance, started soon, at later, error timeout
  n4 has no replica left: it may be stopped, at later
findings (1)
  range 1: n4 has been silent for 5s
decommission
  node id  4
  bytes    2.0 KiB
`, b.String())
}

// What is to be known beside a result is not lost in it.
func TestPrintWarnings(t *testing.T) {
	var b strings.Builder
	op := &admin.Operation{ID: 7, Verb: "set_rule", State: admin.Succeeded, Result: map[string]any{"option": "survive", admin.WarningsField: []any{"it is so", "and so"}}}
	require.NoError(t, printOutcome(&b, op))
	require.Equal(t, "operation 7: set_rule succeeded: option survive\nwarning: it is so\nwarning: and so\n", b.String())
	require.Contains(t, op.Result, admin.WarningsField, "which is printed as JSON")
}
