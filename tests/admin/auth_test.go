package admin

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/internal/admin"
	"github.com/pamirdb/pamir/internal/certs"
	"github.com/pamirdb/pamir/internal/node"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/verb"
	"github.com/pamirdb/pamir/tests/cluster"
)

// Every verb, asked by everybody: who shows nothing hears 401, who is nobody 403, a viewer may look, an operator may move.
func TestWhoMay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	require.NoError(t, certs.CreateCA(dir, "", certs.CALifetime))
	require.NoError(t, certs.CreateNode(dir, "", []string{"localhost", "127.0.0.1"}, certs.NodeLifetime))
	for _, u := range []string{"root", "viewer", "operator"} {
		require.NoError(t, certs.CreateClient(dir, "", u, certs.ClientLifetime))
	}
	l := cluster.StartLocal(t, 1, func(_ int, c *node.Config) { c.CertsDir = dir })
	_, _, web := l.Nodes[0].Addresses()
	ctx := t.Context()
	srv := l.Nodes[0].SQL()
	for _, s := range []string{"CREATE ROLE nobody LOGIN PASSWORD 'n'", "CREATE ROLE viewer LOGIN PASSWORD 'v'", "CREATE ROLE operator LOGIN PASSWORD 'o'",
		"GRANT pamir_viewer TO viewer", "GRANT pamir_operator TO operator"} {
		require.NoError(t, srv.ExecAs(ctx, "root", s))
	}
	as := func(user, password string, cert bool) *api {
		cfg, err := certs.Authority(dir)
		require.NoError(t, err)
		if cert {
			cfg, err = certs.Client(dir, user)
			require.NoError(t, err)
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg}}
		t.Cleanup(client.CloseIdleConnections)
		return &api{t, "https://" + web, func(r *http.Request) (*http.Response, error) {
			if password != "" {
				r.SetBasicAuth(user, password)
			}
			return client.Do(r)
		}}
	}
	for _, who := range []struct {
		name      string
		h         *api
		look, act int // 0: may
		code      string
	}{
		{"without anything", as("", "", false), 401, 401, admin.CodeNotAuthenticated},
		{"nobody's password", as("nobody", "n", false), 403, 403, admin.CodeForbidden},
		{"a viewer's password", as("viewer", "v", false), 0, 403, admin.CodeForbidden},
		{"a viewer's certificate", as("viewer", "", true), 0, 403, admin.CodeForbidden},
		{"an operator's password", as("operator", "o", false), 0, 0, ""},
		{"an operator's certificate", as("operator", "", true), 0, 0, ""},
		{"root's certificate", as("root", "", true), 0, 0, ""},
	} {
		t.Run(who.name, func(t *testing.T) {
			for i := range verb.Table {
				v := &verb.Table[i]
				// With arguments that are refused wherever there are any: it is about who, not about what.
				path := strings.NewReplacer("{node_id}", "99", "{range_id}", "9999", "{operation_id}", "9999", "{option}", "nix").Replace(v.Path)
				r := who.h.send(v.Method, path, "")
				want := who.look
				if v.Changes() {
					want = who.act
				}
				if want == 0 {
					require.NotContains(t, []int{401, 403}, r.status, "%s: %s", v.Name, r.body)
					continue
				}
				require.Equal(t, want, r.status, "%s: %s", v.Name, r.body)
				var p admin.Problem
				require.NoError(t, json.Unmarshal(r.body, &p))
				require.Equal(t, who.code, p.Code)
				require.Equal(t, want == 401, r.header.Get("WWW-Authenticate") != "")
			}
		})
	}
	t.Run("in SQL, who may not look is told what it takes", func(t *testing.T) {
		for _, q := range []string{"TABLE pamir.nodes", "SELECT count(*) FROM pamir.ranges", "COPY (SELECT 1 FROM pamir.stores) TO STDOUT", "SELECT * FROM pamir.plan()"} {
			require.NoError(t, srv.ExecAs(ctx, "viewer", q), q)
			e, ok := pgerr.As(srv.ExecAs(ctx, "nobody", q))
			require.True(t, ok, q)
			require.Equal(t, pgerr.InsufficientPrivilege, e.Code)
			require.Equal(t, `The role must be a member of "pamir_viewer".`, e.Hint, q)
		}
	})
	t.Run("a wrong password", func(t *testing.T) {
		require.Equal(t, 401, as("operator", "x", false).send("GET", "/nodes", "").status)
	})
	t.Run("who may not log in is told so, not that a role is missing", func(t *testing.T) {
		require.NoError(t, srv.ExecAs(ctx, "root", "CREATE ROLE asleep PASSWORD 'a'"))
		require.NoError(t, srv.ExecAs(ctx, "root", "GRANT pamir_operator TO asleep"))
		r := as("asleep", "a", false).send("GET", "/nodes", "")
		require.Equal(t, 403, r.status)
		require.Contains(t, string(r.body), "not permitted to log in")
	})
	t.Run("another authority", func(t *testing.T) {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}}
		_, err := client.Get("https://" + web + admin.Prefix + "/nodes")
		require.ErrorContains(t, err, "unknown authority")
	})
	t.Run("operations name who began them", func(t *testing.T) {
		r := as("operator", "o", false).send("POST", "/placement/resume", "")
		require.Equal(t, 200, r.status)
		require.Contains(t, string(r.body), `"user": "operator"`)
	})
	t.Run("in SQL", func(t *testing.T) {
		for user, want := range map[string][2]string{"nobody": {"permission denied", "permission denied"}, "viewer": {"", "permission denied"}, "operator": {"", ""}} {
			for i, s := range []string{"TABLE pamir.stores; SELECT * FROM pamir.plan()", "SELECT pamir.pause_rebalancing()"} {
				if err := srv.ExecAs(ctx, user, s); want[i] == "" {
					require.NoError(t, err, "%s: %s", user, s)
				} else {
					require.ErrorContains(t, err, want[i], "%s: %s", user, s)
				}
			}
		}
		// A table's rule is its owner's.
		require.NoError(t, srv.ExecAs(ctx, "root", "CREATE TABLE t (a int8 PRIMARY KEY)"))
		r := as("operator", "o", false).send("PUT", "/rules/gc_ttl", `{"value": "2h", "of": "table t"}`)
		require.Contains(t, string(r.body), "must be owner of table t")
		require.Contains(t, string(r.body), `"code": "forbidden"`)
	})
	t.Run("by command", func(t *testing.T) {
		run := func(env ...string) (string, error) {
			cmd := exec.CommandContext(ctx, cluster.Binary(t), "node", "list", "--host", web)
			cmd.Env = append(os.Environ(), "PAMIR_USER=", "PAMIR_PASSWORD=", "PAMIR_CERTS_DIR=")
			cmd.Env = append(cmd.Env, env...)
			out, err := cmd.CombinedOutput()
			return string(out), err
		}
		out, err := run("PAMIR_CERTS_DIR=" + dir)
		require.NoError(t, err, out)
		require.Contains(t, out, "member")
		alone := t.TempDir() // the authority, and nobody's certificate
		ca, err := os.ReadFile(filepath.Join(dir, certs.CAFile))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(alone, certs.CAFile), ca, 0o600))
		out, err = run("PAMIR_CERTS_DIR="+alone, "PAMIR_USER=viewer", "PAMIR_PASSWORD=v")
		require.NoError(t, err, out)
		require.Contains(t, out, "member")
		out, err = run("PAMIR_CERTS_DIR="+alone, "PAMIR_USER=viewer", "PAMIR_PASSWORD=wrong")
		require.Error(t, err)
		require.Contains(t, out, "password authentication failed")
		out, err = run("PAMIR_CERTS_DIR="+alone, "PAMIR_USER=viewer")
		require.Error(t, err)
		require.Contains(t, out, "PAMIR_PASSWORD is not set")
		out, err = run()
		require.Error(t, err)
		require.Contains(t, out, "--certs-dir is needed")
	})
}
