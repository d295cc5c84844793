package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/internal/admin"
	"github.com/pamirdb/pamir/internal/node"
	"github.com/pamirdb/pamir/sql/verb"
	"github.com/pamirdb/pamir/tests/cluster"
)

// api asks a node over HTTP.
type api struct {
	t    *testing.T
	base string // scheme and host
	do   func(*http.Request) (*http.Response, error)
}

func apiOf(t *testing.T, n *node.Node) *api {
	_, _, web := n.Addresses()
	return &api{t, "http://" + web, http.DefaultClient.Do}
}

// answer is one of a server's.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a *api) send(method, path, body string, header ...string) answer {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), 90*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, a.base+admin.Prefix+path, strings.NewReader(body))
	require.NoError(a.t, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := a.do(r)
	require.NoError(a.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(a.t, err)
	return answer{resp.StatusCode, resp.Header, b}
}

// get fetches an answer.
func get[T any](a *api, path string) (out T) {
	a.t.Helper()
	r := a.send(http.MethodGet, path, "")
	require.Equal(a.t, 200, r.status, "%s: %s", path, r.body)
	require.NoError(a.t, json.Unmarshal(r.body, &out))
	return out
}

// request makes the path and body of a verb's request.
func request(v *verb.Verb, a verb.Args) (path, body string) {
	path = v.Path
	query, fields := url.Values{}, map[string]any{}
	for name, x := range a {
		switch v.Param(name).In {
		case verb.Path:
			path = strings.ReplaceAll(path, "{"+name+"}", url.PathEscape(fmt.Sprint(x)))
		case verb.Query:
			if list, ok := x.([]string); ok {
				query[name] = list
			} else {
				query.Set(name, fmt.Sprint(x))
			}
		default:
			fields[name] = x
		}
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	if len(fields) > 0 {
		b, _ := json.Marshal(fields) // of texts and numbers
		body = string(b)
	}
	return path, body
}

// A way is one in which verbs can be asked.
type way struct {
	name string
	// has reports whether the verb can be asked so.
	has func(v *verb.Verb) bool
	// ask asks it, and waits for the end; the error is what the asker is told.
	ask func(t *testing.T, v *verb.Verb, a verb.Args) error
}

func overHTTP(h *api) way {
	return way{"http", func(*verb.Verb) bool { return true }, func(t *testing.T, v *verb.Verb, a verb.Args) error {
		path, body := request(v, a)
		if v.Changes() {
			sep := "?"
			if strings.Contains(path, "?") {
				sep = "&"
			}
			path += sep + "wait=30"
		}
		r := h.send(v.Method, path, body)
		if r.status >= 300 {
			p := &admin.Problem{}
			require.NoError(t, json.Unmarshal(r.body, p), "%s", r.body)
			require.Equal(t, r.status, p.Status)
			return p
		}
		require.True(t, json.Valid(r.body))
		if v.Changes() {
			var op admin.Operation
			require.NoError(t, json.Unmarshal(r.body, &op))
			require.Equal(t, fmt.Sprintf("%s/operations/%d", admin.Prefix, op.ID), r.header.Get("Location"))
			for !op.State.Over() { // on a busy machine it may take longer than one may wait at once
				op = get[admin.Operation](h, fmt.Sprintf("/operations/%d?wait=30", op.ID))
			}
			if op.Error != nil {
				return op.Error
			}
		}
		return nil
	}}
}

func byCommand(t *testing.T, host string) way {
	bin := cluster.Binary(t)
	return way{"command", func(v *verb.Verb) bool { return v.Command != "" }, func(t *testing.T, v *verb.Verb, a verb.Args) error {
		args := strings.Fields(v.Command)
		for _, asJSON := range []bool{false, true} {
			if asJSON && v.Changes() {
				continue // once is enough
			}
			line := append([]string{}, args...)
			if asJSON {
				line = append(line, "--json")
			}
			for name, x := range a {
				if contains(v.Positional, name) {
					continue
				}
				if list, ok := x.([]string); ok {
					for _, s := range list {
						line = append(line, "--"+name+"="+s)
					}
					continue
				}
				line = append(line, fmt.Sprintf("--%s=%v", strings.ReplaceAll(name, "_", "-"), x))
			}
			for _, name := range v.Positional {
				if list, ok := a[name].([]string); ok {
					line = append(line, list...)
				} else {
					line = append(line, fmt.Sprint(a[name]))
				}
			}
			cmd := exec.CommandContext(t.Context(), bin, line...)
			cmd.Env = append(os.Environ(), "PAMIR_HOST="+host, "PAMIR_CERTS_DIR=", "PAMIR_USER=")
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			err := cmd.Run()
			t.Logf("$ pamir %s\n%s%s", strings.Join(line, " "), stderr.String(), stdout.String())
			if err != nil {
				return fmt.Errorf("%s", stderr.String())
			}
			require.NotEmpty(t, stdout.String())
			require.Equal(t, asJSON, json.Valid(stdout.Bytes()), "%s", stdout.String())
		}
		return nil
	}}
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

func inSQL(conn *pgx.Conn) way {
	return way{"sql", func(v *verb.Verb) bool { return v.Function != nil || v.Relation != "" }, func(t *testing.T, v *verb.Verb, a verb.Args) error {
		ctx := t.Context()
		if v.Relation != "" {
			rows, err := conn.Query(ctx, "TABLE pamir."+v.Relation)
			if err != nil {
				return err
			}
			rows.Close()
			want := 0
			for _, c := range v.Columns {
				if c.Type != "" {
					want++
				}
			}
			require.Len(t, rows.FieldDescriptions(), want)
			return rows.Err()
		}
		if v.Function.Returns == verb.Rows {
			_, err := conn.Exec(ctx, "SELECT * FROM pamir."+v.Name+"()")
			return err
		}
		var params []string
		if v.Function.AnyKey {
			params = append(params, "'"+a.Text("table")+"'")
			params = append(params, a.Texts("values")...)
		} else {
			for _, p := range v.Params {
				if x, ok := a[p.Name]; ok {
					params = append(params, fmt.Sprint(x))
				} else if p.Kind != verb.Bool {
					params = append(params, "NULL")
				}
			}
		}
		var out any
		if err := conn.QueryRow(ctx, "SELECT pamir."+v.Name+"("+strings.Join(params, ", ")+")").Scan(&out); err != nil {
			return err
		}
		if v.Function.Returns != verb.Begun {
			return nil
		}
		for {
			var state string
			var problem *string
			if err := conn.QueryRow(ctx, "SELECT state, error FROM pamir.operations WHERE id = $1", out).Scan(&state, &problem); err != nil {
				return err
			}
			switch state {
			case "succeeded", "canceled":
				return nil
			case "failed":
				return fmt.Errorf("%s", *problem)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}}
}

func connect(t *testing.T, n *node.Node) *pgx.Conn {
	_, addr, _ := n.Addresses()
	c, err := pgx.Connect(t.Context(), "postgres://root@"+addr+"/defaultdb?sslmode=disable")
	require.NoError(t, err)
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}
