package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/internal/admin"
	"github.com/pamirdb/pamir/sql/verb"
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

// Without a terminal a line is written when something else is the matter, not for each figure.
func TestProgressLines(t *testing.T) {
	var b strings.Builder
	p := newProgress(&b)
	say := func(progress float64, why string) {
		p.operation(&admin.Operation{ID: 7, Verb: "decommission_node", State: admin.Running, Progress: progress, Why: why})
	}
	say(0.5, "4 of 11 replicas are still there (10.9 MiB of 24.6 MiB)")
	say(0.52, "3 of 11 replicas are still there (9.1 MiB of 24.6 MiB)")
	say(0.53, "3 of 11 replicas are still there (9.1 MiB of 24.6 MiB); range 5: n2 has been silent for 59s, and there is no node to replace it (n3: is draining)")
	say(0.53, "3 of 11 replicas are still there (9.1 MiB of 24.6 MiB); range 5: n2 has been silent for 1m1s, and there is no node to replace it (n3: is draining)")
	p.then = p.then.Add(-figuresEvery)
	say(0.53, "3 of 11 replicas are still there (9.1 MiB of 24.6 MiB); range 5: n2 has been silent for 1m9s, and there is no node to replace it (n3: is draining)")
	say(0.62, "2 of 11 replicas are still there (1.1 MiB of 24.6 MiB)")
	require.Equal(t, 4, strings.Count(b.String(), "\n"), "%s", b.String())
	require.NotContains(t, b.String(), "1m1s")
}

// Keys that are long do not make a table of screens' width.
func TestShortKeys(t *testing.T) {
	require.Equal(t, "/acc/acc_pkey/10767", shortKey("/acc/acc_pkey/10767"))
	key := shortKey("/acc/acc_b/" + strings.Repeat("é", 200) + "/12210")
	require.Len(t, []rune(key), maxKey)
	require.True(t, strings.HasPrefix(key, "/acc/acc_b/é") && strings.HasSuffix(key, "é/12210"), key)
}

// What clients have written into keys and names is not carried out by the terminal of whoever lists them, nor does it break the table.
func TestUnprintable(t *testing.T) {
	var b strings.Builder
	items := []any{map[string]any{"start_key": "/t/t_pkey/\t\x1b[2J\nü日 \u202e\u009b31m", "tables": []any{"a\tb"}}}
	require.NoError(t, printTable(&b, []verb.Column{{Name: "start_key"}, {Name: "tables"}}, items, 0))
	require.Equal(t, "START KEY                                TABLES\n/t/t_pkey/\\t\\x1b[2J\\nü日 \\u202e\\u009b31m  a\\tb\n", b.String())
	b.Reset()
	require.NoError(t, printObject(&b, []byte(`{"start_key": "\u001b]0;x\u0007", "problems": ["a \u001bc"], "operators": [{"range_id": 4, "why": "\u001bc"}]}`)))
	require.Equal(t, "start key  \\x1b]0;x\\a\nproblems   a \\x1bc\noperators (1)\n  range 4: \\x1bc\n", b.String())
	b.Reset()
	require.NoError(t, printOutcome(&b, &admin.Operation{ID: 7, Verb: "split_at", State: admin.Failed, Result: map[string]any{"x": "\x1bc", admin.WarningsField: []any{"\x1bc"}}}))
	require.Equal(t, "operation 7: split_at failed: x \\x1bc\nwarning: \\x1bc\n", b.String())
}

// A column's title for people may be another than its name in SQL.
func TestTitles(t *testing.T) {
	var b strings.Builder
	v := verb.ByRelation("operations")
	require.NoError(t, printTable(&b, v.Columns, []any{map[string]any{"id": json.Number("7"), "left_seconds": json.Number("9")}}, 0))
	require.Equal(t, "ID  LEFT\n7   9s\n", b.String())
}

// Sentences come last, and end where a terminal does; nothing else is cut.
func TestPrintTable(t *testing.T) {
	cols := []verb.Column{{Name: "state"}, {Name: "why"}, {Name: "started"}, {Name: "size_bytes", Field: "bytes", As: "bytes"}, {Name: "nobody_id"}}
	items := []any{
		map[string]any{"state": "blocked", "why": "a sentence of more words than there is room for on a line", "bytes": json.Number("2048")},
		map[string]any{"state": "done", "started": "now", "nobody_id": json.Number("0")},
	}
	for width, want := range map[int]string{
		0:  "STATE    STARTED  SIZE     WHY\nblocked  -        2.0 KiB  a sentence of more words than there is room for on a line\ndone     now      -        -\n",
		60: "STATE    STARTED  SIZE     WHY\nblocked  -        2.0 KiB  a sentence of more words than ...\ndone     now      -        -\n",
		30: "STATE    STARTED  SIZE     WHY\nblocked  -        2.0 KiB  a sentence of more wo...\ndone     now      -        -\n",
	} {
		var b strings.Builder
		require.NoError(t, printTable(&b, cols, items, width))
		require.Equal(t, want, b.String(), "%d", width)
	}
	var b strings.Builder
	require.NoError(t, printObject(&b, []byte(`{"nodes": 3, "problems": ["node 1: it is so, and so", "node 2: too"], "locality": ["region=eu", "zone=a"]}`)))
	require.Equal(t, "nodes     3\nproblems  node 1: it is so, and so\n          node 2: too\nlocality  region=eu,zone=a\n", b.String())
}

// The JSON of a list in pages has all rows, and what the answer says besides.
func TestPrintList(t *testing.T) {
	var b strings.Builder
	require.NoError(t, printList(&b, []byte(`{"ranges": [{"id": 2}], "next": "ff", "agree": true}`), "ranges", []any{json.Number("9007199254740993")}))
	require.JSONEq(t, `{"agree": true, "ranges": [9007199254740993]}`, b.String())
	require.Contains(t, b.String(), "9007199254740993")
	b.Reset()
	require.NoError(t, printList(&b, []byte(`{"locks": null, "problem": "n3 does not answer"}`), "locks", nil))
	require.JSONEq(t, `{"locks": [], "problem": "n3 does not answer"}`, b.String())
}
