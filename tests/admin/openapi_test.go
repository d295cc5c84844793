package admin

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/internal/admin"
	"github.com/pamirdb/pamir/sql/verb"
	"github.com/pamirdb/pamir/tests/cluster"
)

// described is the document of a server, strict: an answer with a field that is not in it does not pass.
type described struct {
	t      *testing.T
	h      *api
	doc    *openapi3.T
	router routers.Router
}

func describe(t *testing.T, h *api) *described {
	r := h.send("GET", "/openapi.json", "")
	require.Equal(t, 200, r.status)
	var raw map[string]any
	require.NoError(t, json.Unmarshal(r.body, &raw))
	for _, s := range raw["components"].(map[string]any)["schemas"].(map[string]any) {
		if o := s.(map[string]any); o["properties"] != nil {
			require.NotContains(t, o, "additionalProperties", "clients of this version must not mind fields of a later one")
			o["additionalProperties"] = false
		}
	}
	b, err := json.Marshal(raw)
	require.NoError(t, err)
	doc, err := openapi3.NewLoader().LoadFromData(b)
	require.NoError(t, err)
	require.NoError(t, doc.Validate(t.Context()))
	require.True(t, strings.HasPrefix(doc.OpenAPI, "3.1"))
	router, err := gorillamux.NewRouter(doc)
	require.NoError(t, err)
	return &described{t, h, doc, router}
}

// send sends a request, which must be as the document says if valid is set, and checks that the answer is.
func (d *described) send(valid bool, method, path, body string, header ...string) answer {
	d.t.Helper()
	r, err := http.NewRequest(method, d.h.base+admin.Prefix+path, strings.NewReader(body))
	require.NoError(d.t, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	route, params, err := d.router.FindRoute(r)
	require.NoError(d.t, err, "%s %s", method, path)
	in := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true}}
	err = openapi3filter.ValidateRequest(d.t.Context(), in)
	if valid {
		require.NoError(d.t, err, "%s %s %s", method, path, body)
	} else {
		require.Error(d.t, err, "%s %s %s", method, path, body)
	}
	a := d.h.send(method, path, body, header...)
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: a.status, Header: a.header, Options: in.Options,
		Body: io.NopCloser(bytes.NewReader(a.body))}
	require.NoError(d.t, openapi3filter.ValidateResponse(d.t.Context(), out), "%s %s: %d %s", method, path, a.status, a.body)
	if a.status >= 400 {
		require.Equal(d.t, "application/problem+json", a.header.Get("Content-Type"))
		var p admin.Problem
		require.NoError(d.t, json.Unmarshal(a.body, &p))
		require.Equal(d.t, a.status, p.Status)
		require.NotEmpty(d.t, p.Code)
		require.NotEmpty(d.t, p.Detail)
	}
	return a
}

// Every path and method of the document answers as it says, and the server has no other.
func TestOpenAPI(t *testing.T) {
	l := cluster.StartLocal(t, 3, nil)
	conn := connect(t, l.Nodes[0])
	_, err := conn.Exec(t.Context(), "CREATE TABLE t (a int8 PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100)")
	require.NoError(t, err)
	d := describe(t, apiOf(t, l.Nodes[0]))

	// What is asked of each, in order; what is missing is asked without anything.
	args := map[string]verb.Args{
		"split_at": {"table": "t", "values": []string{"50"}}, "merge_at": {"table": "t", "values": []string{"50"}}, "transfer_leader": {"range_id": int64(2), "node": int64(2)}, "move_replica": {"range_id": int64(2), "from": int64(3), "to": int64(0)},
		"drain_node": {"node_id": int64(3), "force": true}, "undrain_node": {"node_id": int64(3)}, "decommission_node": {"node_id": int64(3), "force": true},
		"recommission_node": {"node_id": int64(3)}, "set_rule": {"option": "gc_ttl", "value": "2h"}, "reset_rule": {"option": "gc_ttl", "of": "cluster"},
		"cancel_operation": {"operation_id": int64(1)}, "node": {"node_id": int64(1)}, "range": {"range_id": int64(1)}, "operation": {"operation_id": int64(1), "wait": int64(1)},
		"ranges":    {"table": "t", "key": []string{"7"}, "node": int64(1), "state": "ok", "limit": int64(1)},
		"operators": {"state": "done", "range_id": int64(1)}, "operations": {"state": "succeeded", "limit": int64(3)}, "hot_ranges": {"limit": int64(2)},
	}
	// Those that change something first: then there is something to look at.
	byVerb := slices.Clone(verb.Table)
	// Checksums before that: they wait for ranges whose replicas change.
	order := func(v *verb.Verb) int {
		switch {
		case v.Name == "checksums":
			return 0
		case v.Changes():
			return 1
		}
		return 2
	}
	slices.SortStableFunc(byVerb, func(a, b verb.Verb) int { return order(&a) - order(&b) })
	described := map[string]bool{}
	for path, item := range d.doc.Paths.Map() {
		for method, o := range item.Operations() {
			described[method+" "+path] = true
			v := verb.ByName(o.OperationID)
			require.NotNil(t, v, o.OperationID)
			require.Equal(t, v.Path, path)
			require.Equal(t, v.Method, method)
			require.NotEmpty(t, o.Summary)
		}
	}
	for i := range byVerb {
		v := &byVerb[i]
		require.True(t, described[v.Method+" "+v.Path], "%s is not in the document", v.Name)
		a := args[v.Name]
		if a == nil {
			a = verb.Args{}
		}
		path, body := request(v, a)
		began := time.Now()
		r := d.send(true, v.Method, path, body)
		if d := time.Since(began); d > time.Second {
			t.Logf("%s took %s: %s", v.Name, d, r.body)
		}
		if v.Name == "cancel_operation" { // it is over
			require.Equal(t, 409, r.status)
		} else {
			require.Contains(t, []int{200, 202}, r.status, "%s: %s", v.Name, r.body)
		}
	}
	require.Len(t, described, len(verb.Table))

	// The node serves no other path below the API's prefix than by package admin.
	files, err := filepath.Glob(filepath.Join("..", "..", "internal", "node", "*.go"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		require.NotRegexp(t, `Handle(Func)?\("[A-Z ]*/api`, string(b), f)
	}
}

// What is not as the document says is refused, and the refusal is as it says.
func TestRefusals(t *testing.T) {
	l := cluster.StartLocal(t, 1, nil)
	h := apiOf(t, l.Nodes[0])
	d := describe(t, h)
	_, err := connect(t, l.Nodes[0]).Exec(t.Context(), "CREATE TABLE held (a int8 PRIMARY KEY)")
	require.NoError(t, err)
	long := strings.Repeat("x", 2000)
	for _, c := range []struct {
		method, path, body string
		header             []string
		valid              bool // by the document
		status             int
		code, detail       string
	}{
		{"GET", "/nodes/999", "", nil, true, 404, admin.CodeNotFound, "there is no node 999"},
		{"GET", "/nodes/x", "", nil, false, 400, admin.CodeInvalid, `node_id: "x" is not a whole number`},
		{"GET", "/nodes/0", "", nil, false, 400, admin.CodeInvalid, "out of range"},
		{"GET", "/ranges/99999999999999999999", "", nil, false, 400, admin.CodeInvalid, "is out of range"},
		{"GET", "/ranges?state=nix", "", nil, false, 400, admin.CodeInvalid, "is not one of ok, changing"},
		{"GET", "/ranges?limit=0", "", nil, false, 400, admin.CodeInvalid, "out of range (1 to 10000)"},
		{"GET", "/ranges?limit=1&limit=2", "", nil, true, 400, admin.CodeInvalid, "more than once"},
		{"GET", "/ranges?nix=1", "", nil, true, 400, admin.CodeInvalid, `"nix" is not a parameter`},
		{"GET", "/ranges?table=nix", "", nil, true, 404, admin.CodeNotFound, `relation "nix" does not exist`},
		{"GET", "/ranges?key=1", "", nil, true, 400, admin.CodeInvalid, "needs a table"},
		{"GET", "/ranges?after=zz", "", nil, true, 400, admin.CodeInvalid, "after: is not"},
		{"GET", "/ranges?node=9", "", nil, true, 404, admin.CodeNotFound, "there is no node 9"},
		{"GET", "/ranges?leader=9", "", nil, true, 404, admin.CodeNotFound, "there is no node 9"},
		{"GET", "/operations?verb=split", "", nil, true, 400, admin.CodeInvalid, `there is no operation "split"`},
		{"GET", "/operations?verb=nodes", "", nil, true, 400, admin.CodeInvalid, `there is no operation "nodes"`},
		{"GET", "/operations/77", "", nil, true, 404, admin.CodeNotFound, "there is no operation 77"},
		{"GET", "/operations/77?wait=61", "", nil, false, 400, admin.CodeInvalid, "out of range (0 to 60)"},
		{"POST", "/ranges/split", "", nil, false, 400, admin.CodeInvalid, "table: is missing"},
		{"POST", "/ranges/split", `{"table": "t"}`, nil, false, 400, admin.CodeInvalid, "values: is missing"},
		{"POST", "/ranges/split", `{"table": "t", "values": []}`, nil, false, 400, admin.CodeInvalid, "values: must not be empty"},
		{"POST", "/ranges/split", `{"table": "t", "values": [{}]}`, nil, false, 400, admin.CodeInvalid, "neither a text nor a number"},
		{"POST", "/ranges/split", `{"table": "t", "values": [null]}`, nil, false, 400, admin.CodeInvalid, "null is neither a text nor a number"},
		{"POST", "/ranges/split", `{"table": 7, "values": [1]}`, nil, false, 400, admin.CodeInvalid, "table: must be a text"},
		{"POST", "/ranges/split", `{"table": "t", "values": [1], "nix": 1}`, nil, false, 400, admin.CodeInvalid, `"nix" is not a field`},
		{"POST", "/ranges/split", `{"table": "` + long + `", "values": [1]}`, nil, false, 400, admin.CodeInvalid, "too long"},
		{"POST", "/ranges/split", `{"table": "t", "values": [1]`, nil, false, 400, admin.CodeInvalid, "is not JSON"},
		{"POST", "/ranges/split", `[]`, nil, false, 400, admin.CodeInvalid, "is not a JSON object"},
		{"POST", "/ranges/split", `{"table": "nix", "values": [1]}`, nil, true, 404, admin.CodeNotFound, "does not exist"},
		{"POST", "/ranges/split", `{"table": "pg_class", "values": [1]}`, nil, true, 400, admin.CodeInvalid, "is not a table"},
		{"POST", "/ranges/split", `{"table": "held_pkey", "values": [1]}`, nil, true, 400, admin.CodeInvalid, "is an index"},
		{"GET", "/ranges?table=public.held_pkey", "", nil, true, 400, admin.CodeInvalid, "is an index"},
		{"GET", "/locks?node=99", "", nil, true, 404, admin.CodeNotFound, "pamir node list"},
		{"GET", "/replicas?range_id=9999", "", nil, true, 404, admin.CodeNotFound, "pamir range list"},
		{"POST", "/ranges/1/move", `{"from": 1.5}`, nil, false, 400, admin.CodeInvalid, "is not a whole number"},
		{"POST", "/ranges/1/move", `{"from": null}`, nil, false, 400, admin.CodeInvalid, "must be a number"},
		{"POST", "/ranges/1/move", ``, nil, true, 400, admin.CodeInvalid, "neither from nor to"},
		{"POST", "/ranges/1/move", `{"from": 1}`, nil, true, 409, admin.CodeConflict, "is the only one"},
		{"POST", "/ranges/1/move", `{"to": 1}`, nil, true, 409, admin.CodeConflict, "has a replica of range 1 already"},
		{"POST", "/ranges/1/move", `{"to": 9}`, nil, true, 404, admin.CodeNotFound, "there is no node 9"},
		{"POST", "/ranges/9999/transfer", `{"node": 1}`, nil, true, 404, admin.CodeNotFound, "there is no range 9999"},
		{"POST", "/nodes/1/decommission", `{"force": "yes"}`, nil, false, 400, admin.CodeInvalid, "must be true or false"},
		{"POST", "/nodes/1/decommission", ``, nil, true, 409, admin.CodeConflict, "no node would remain"},
		{"POST", "/nodes/1/drain", ``, nil, true, 409, admin.CodeConflict, "node 1 is the only one that serves clients"},
		{"POST", "/nodes/1/drain", `{"force": 1}`, nil, false, 400, admin.CodeInvalid, "must be true or false"},
		{"POST", "/nodes/7/drain", ``, nil, true, 404, admin.CodeNotFound, "there is no node 7"},
		{"POST", "/placement/pause?wait=100", ``, nil, false, 400, admin.CodeInvalid, "wait: 100 is out of range"},
		{"POST", "/placement/pause", ``, []string{admin.KeyHeader, "a b"}, false, 400, admin.CodeInvalid, "printable"},
		{"POST", "/placement/pause", ``, []string{admin.KeyHeader, long}, false, 400, admin.CodeInvalid, "1 to 200"},
		{"PUT", "/rules/nix", `{"value": "1"}`, nil, true, 400, admin.CodeInvalid, "there is no option nix"},
		{"PUT", "/rules/num_replicas", `{"value": "2"}`, nil, true, 400, admin.CodeInvalid, "odd"},
		{"PUT", "/rules/gc_ttl", `{"value": "2h", "of": "view v"}`, nil, true, 400, admin.CodeInvalid, "neither cluster nor"},
		{"PUT", "/rules/num_replicas", `{"value": 4}`, nil, true, 400, admin.CodeInvalid, "odd"},
		{"PUT", "/rules/num_replicas", `{"value": []}`, nil, false, 400, admin.CodeInvalid, "value: must be a text"},
		{"PUT", "/rules/num_replicas", `{"value": null}`, nil, false, 400, admin.CodeInvalid, "value: must be a text"},
		{"PUT", "/rules/constraints", `{"value": "region=eu:4"}`, nil, true, 400, admin.CodeInvalid, "constraints"},
		{"PUT", "/rules/num_replicas", `{"value": 5, "of": "table nix"}`, nil, true, 404, admin.CodeNotFound, `relation "nix" does not exist`},
		{"PUT", "/rules/num_replicas", `{"value": 5, "of": "index nix"}`, nil, true, 404, admin.CodeNotFound, `relation "nix" does not exist`},
		{"PUT", "/rules/num_replicas", `{"value": 5, "of": "table pg_class"}`, nil, true, 403, admin.CodeForbidden, `pg_class`},
		{"DELETE", "/rules/gc_ttl?of=table+nix", ``, nil, true, 404, admin.CodeNotFound, `relation "nix" does not exist`},
		{"POST", "/operations/77/cancel", ``, nil, true, 404, admin.CodeNotFound, "there is no operation 77"},
	} {
		t.Run(c.method+" "+c.path[:min(len(c.path), 40)]+" "+c.body[:min(len(c.body), 30)], func(t *testing.T) {
			r := d.send(c.valid, c.method, c.path, c.body, c.header...)
			require.Equal(t, c.status, r.status, "%s", r.body)
			require.Contains(t, strings.ReplaceAll(string(r.body), `\"`, `"`), c.detail)
			if c.code != "" {
				require.Contains(t, string(r.body), `"code": "`+c.code+`"`)
			}
		})
	}

	// What no document can say.
	problem := func(r answer, status int, code string) {
		t.Helper()
		require.Equal(t, status, r.status, "%s", r.body)
		require.Contains(t, string(r.body), `"code": "`+code+`"`)
		require.Equal(t, "application/problem+json", r.header.Get("Content-Type"))
	}
	problem(h.send("GET", "/nix", ""), 404, admin.CodeNotFound)
	problem(h.send("GET", "", ""), 404, admin.CodeNotFound)
	problem(h.send("GET", "/", ""), 404, admin.CodeNotFound)
	r := h.send("PATCH", "/nodes", "")
	problem(r, 405, admin.CodeMethod)
	require.Equal(t, "GET, HEAD", r.header.Get("Allow"))
	r = h.send("GET", "/rules/gc_ttl", "")
	problem(r, 405, admin.CodeMethod)
	require.Equal(t, "DELETE, PUT", r.header.Get("Allow"))
	problem(h.send("POST", "/placement/pause", "{}", "Content-Type", "text/plain"), 415, admin.CodeMediaType)
	problem(h.send("POST", "/ranges/split", `{"table": "`+strings.Repeat("x", 70<<10)+`"}`), 413, admin.CodeTooLarge)
	problem(h.send("POST", "/ranges/split", `{"table": "t", "table": "u"}`), 400, admin.CodeInvalid)
	problem(h.send("POST", "/ranges/split", `{"table": "t", "values": [1]} {}`), 400, admin.CodeInvalid)
	problem(h.send("POST", "/placement/pause", "", "Origin", "http://elsewhere.example"), 403, admin.CodeForbidden)
	require.Equal(t, 200, h.send("HEAD", "/nodes", "").status)
	require.Empty(t, get[admin.OperationList](h, "/operations?state=running").Operations, "what is refused begins nothing")
}
