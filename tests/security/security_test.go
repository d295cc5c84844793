package security

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/internal/certs"
	"github.com/pamirdb/pamir/internal/node"
	"github.com/pamirdb/pamir/tests/cluster"
)

// makeCerts makes an authority, a node's certificate for this machine, and users'.
func makeCerts(t *testing.T, users ...string) string {
	dir := filepath.Join(t.TempDir(), "certs")
	require.NoError(t, certs.CreateCA(dir, "", certs.CALifetime))
	require.NoError(t, certs.CreateNode(dir, "", []string{"localhost", "127.0.0.1"}, certs.NodeLifetime))
	for _, u := range users {
		require.NoError(t, certs.CreateClient(dir, "", u, certs.ClientLifetime))
	}
	return dir
}

func startSecure(t *testing.T, n int, dir string) *cluster.Local {
	return cluster.StartLocal(t, n, func(_ int, c *node.Config) { c.CertsDir = dir })
}

func sqlPort(t *testing.T, n *node.Node) string {
	_, addr, _ := n.Addresses()
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	return port
}

// connect opens a connection with a connection string's parameters.
func connect(t *testing.T, n *node.Node, params string) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, "host=localhost port="+sqlPort(t, n)+" dbname=defaultdb "+params)
	if err == nil {
		t.Cleanup(func() { c.Close(context.Background()) })
	}
	return c, err
}

func as(dir, user string) string {
	return fmt.Sprintf("user=%s sslmode=verify-full sslrootcert=%s sslcert=%s sslkey=%s", user, filepath.Join(dir, certs.CAFile),
		filepath.Join(dir, certs.ClientFile(user)), filepath.Join(dir, certs.ClientKeyFile(user)))
}

func run(t *testing.T, c *pgx.Conn, stmts ...string) {
	t.Helper()
	for _, s := range stmts {
		_, err := c.Exec(t.Context(), s)
		require.NoError(t, err, s)
	}
}

func refused(t *testing.T, err error, code, message string) {
	t.Helper()
	require.Error(t, err)
	pe := (*pgconn.PgError)(nil)
	require.ErrorAs(t, err, &pe)
	require.Equal(t, code, pe.Code, pe.Message)
	require.Contains(t, pe.Message, message)
}

func TestPsql(t *testing.T) {
	psql, err := exec.LookPath("psql")
	if err != nil {
		t.Skip("there is no psql here")
	}
	dir := makeCerts(t, "root", "alice")
	l := startSecure(t, 1, dir)
	root, err := connect(t, l.Nodes[0], as(dir, "root"))
	require.NoError(t, err)
	run(t, root, "CREATE ROLE alice LOGIN PASSWORD 'Zürich'", "CREATE ROLE bob LOGIN", "CREATE ROLE late LOGIN PASSWORD 'x' VALID UNTIL '2001-01-01'",
		"CREATE ROLE nologin PASSWORD 'x'")

	var encryption string
	require.NoError(t, root.QueryRow(t.Context(), "SELECT concat_ws(' ', ssl, version, bits > 0, cipher <> '', client_dn, client_serial > 0, issuer_dn) FROM pg_stat_ssl WHERE pid = pg_backend_pid()").Scan(&encryption))
	require.Equal(t, "t TLSv1.3 t t /O=Pamir/CN=root t /O=Pamir/CN=Pamir CA", encryption)

	foreign := makeCerts(t, "root")
	require.NoError(t, certs.CreateClient(dir, "", "bob", time.Millisecond))
	time.Sleep(5 * time.Millisecond) // past bob's end

	ask := func(params string, env ...string) string {
		cmd := exec.Command(psql, "-X", "-w", "-At", "-c", "SELECT 'hello ' || current_user", "host=localhost port="+sqlPort(t, l.Nodes[0])+" dbname=defaultdb connect_timeout=20 "+params)
		cmd.Env = append(os.Environ(), env...)
		cmd.Env = append(cmd.Env, "HOME="+t.TempDir(), "PGUSER=", "LC_ALL=C")
		out, _ := cmd.CombinedOutput() // what it says is what counts
		return string(out)
	}
	files := func(dir, user string) string {
		return fmt.Sprintf(" sslcert=%s sslkey=%s", filepath.Join(dir, certs.ClientFile(user)), filepath.Join(dir, certs.ClientKeyFile(user)))
	}
	full := "sslmode=verify-full sslrootcert=" + filepath.Join(dir, certs.CAFile)
	for _, c := range []struct{ what, params, password, want string }{
		{"certificate", full + " user=root" + files(dir, "root"), "", "hello root"},
		{"password", full + " user=alice", "Zürich", "hello alice"},
		{"password without verification", "sslmode=require user=alice", "Zürich", "hello alice"},
		{"channel binding", full + " channel_binding=require user=alice", "Zürich", "hello alice"},
		{"no channel binding", full + " channel_binding=disable user=alice", "Zürich", "hello alice"},
		{"prefer takes TLS", "sslmode=prefer user=alice", "Zürich", "hello alice"},
		{"no TLS", "sslmode=disable user=alice", "Zürich", "no pamir.hba entry"},
		{"wrong password", full + " user=alice", "Zurich", `password authentication failed for user "alice"`},
		{"unknown user", full + " user=nobody", "x", `password authentication failed for user "nobody"`},
		{"no password set", full + " user=bob", "x", `password authentication failed for user "bob"`},
		{"password has expired", full + " user=late", "x", `password authentication failed for user "late"`},
		{"may not log in", full + " user=nologin", "x", `role "nologin" is not permitted to log in`},
		{"another's certificate", full + " user=root" + files(dir, "alice"), "", `certificate authentication failed for user "root"`},
		{"foreign certificate", full + " user=root" + files(foreign, "root"), "", "unknown ca"},
		{"expired certificate", full + " user=bob" + files(dir, "bob"), "", "expired"},
		{"node's certificate", full + " user=root sslcert=" + filepath.Join(dir, certs.NodeFile) + " sslkey=" + filepath.Join(dir, certs.NodeKeyFile), "", "certificate authentication failed"},
		{"foreign server", "user=root sslmode=verify-full sslrootcert=" + filepath.Join(foreign, certs.CAFile), "", "certificate verify failed"},
	} {
		out := ask(c.params, "PGPASSWORD="+c.password)
		require.Contains(t, out, c.want, c.what)
		if !strings.HasPrefix(c.want, "hello") {
			require.NotContains(t, out, "hello", c.what)
		}
	}
}

func TestRules(t *testing.T) {
	dir := makeCerts(t, "root", "alice")
	l := startSecure(t, 1, dir)
	n := l.Nodes[0]
	root, err := connect(t, n, as(dir, "root"))
	require.NoError(t, err)
	run(t, root, "CREATE ROLE staff", "CREATE ROLE alice LOGIN PASSWORD 'a' IN ROLE staff", "CREATE ROLE bob LOGIN PASSWORD 'b' CONNECTION LIMIT 1")

	_, err = root.Exec(t.Context(), "ALTER SYSTEM SET pamir.hba = E'host all all all md5\\n\\nhostssl all all all trust'")
	pe := (*pgconn.PgError)(nil)
	require.ErrorAs(t, err, &pe)
	require.Equal(t, "22023", pe.Code)
	require.Contains(t, pe.Detail, "line 1: md5 is not supported")
	require.Contains(t, pe.Detail, "line 3: trust is for loopback addresses only")

	run(t, root, `ALTER SYSTEM SET pamir.hba = E'hostssl all +staff 127.0.0.0/8 cert\nhostssl all bob all scram-sha-256\nhost all all all reject'`)
	_, err = connect(t, n, as(dir, "alice"))
	require.NoError(t, err)
	_, err = connect(t, n, "user=alice password=a sslmode=require")
	refused(t, err, "28000", "requires a valid client certificate")
	_, err = connect(t, n, "user=carol password=a sslmode=require")
	refused(t, err, "28000", "pamir.hba rejects")
	bob, err := connect(t, n, "user=bob password=b sslmode=require")
	require.NoError(t, err)
	_, err = connect(t, n, "user=bob password=b sslmode=require")
	refused(t, err, "53300", "too many connections for role")
	run(t, root, "REVOKE CONNECT ON DATABASE defaultdb FROM PUBLIC")
	require.NoError(t, bob.Close(t.Context()))
	require.Eventually(t, func() bool {
		_, err = connect(t, n, "user=bob password=b sslmode=require")
		pe := (*pgconn.PgError)(nil)
		return errors.As(err, &pe) && pe.Code == "42501"
	}, 20*time.Second, 20*time.Millisecond, "%v", err)

	// A list that lets nobody in does not lock root out, and the setting is the superuser's.
	run(t, root, `ALTER SYSTEM SET pamir.hba = 'host all all all reject'`)
	again, err := connect(t, n, as(dir, "root"))
	require.NoError(t, err)
	var rules int
	require.NoError(t, again.QueryRow(t.Context(), "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method = 'reject' AND error IS NULL").Scan(&rules))
	require.Equal(t, 1, rules)
	run(t, again, "ALTER SYSTEM RESET pamir.hba", "SET ROLE alice")
	_, err = again.Exec(t.Context(), "ALTER SYSTEM SET pamir.hba = ''")
	refused(t, err, "42501", "permission denied to set parameter")
}

// Three nodes find each other by their certificates; who has others is told why not.
func TestNodes(t *testing.T) {
	dir := makeCerts(t, "root")
	l := startSecure(t, 3, dir)
	root, err := connect(t, l.Nodes[2], as(dir, "root"))
	require.NoError(t, err)
	run(t, root, "CREATE TABLE t (a int PRIMARY KEY)", "INSERT INTO t VALUES (1)")

	quiet := slog.New(slog.DiscardHandler)
	join := func(certsDir string, within time.Duration) error {
		rpc, _, _ := l.Nodes[0].Addresses()
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		n, err := node.Start(ctx, node.Config{StoreDir: filepath.Join(t.TempDir(), "store"), RPCAddr: "127.0.0.1:0", Join: []string{rpc}, CertsDir: certsDir, Log: quiet})
		if err == nil {
			n.Stop()
		}
		return err
	}
	require.ErrorContains(t, join(makeCerts(t), time.Minute), "authority that is not in ca.crt")
	elsewhere := makeCerts(t)
	for _, f := range []string{certs.CAFile, certs.CAKeyFile} {
		b, err := os.ReadFile(filepath.Join(dir, f))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(elsewhere, f), b, 0o600))
	}
	for _, f := range []string{certs.NodeFile, certs.NodeKeyFile} {
		require.NoError(t, os.Remove(filepath.Join(elsewhere, f)))
	}
	require.NoError(t, certs.CreateNode(elsewhere, "", []string{"elsewhere.example"}, certs.NodeLifetime))
	require.ErrorContains(t, join(elsewhere, time.Minute), "other nodes could not dial this one at 127.0.0.1:")
	require.Error(t, join("", 4*time.Second), "without certificates: it goes on asking")
	expired := filepath.Join(t.TempDir(), "expired")
	require.NoError(t, certs.CreateCA(expired, "", certs.CALifetime))
	require.NoError(t, certs.CreateNode(expired, "", []string{"127.0.0.1"}, time.Millisecond))
	time.Sleep(5 * time.Millisecond) // past its end
	require.ErrorContains(t, join(expired, time.Minute), "valid from")
}

// A node of another cluster with certificates of the same authority finds one of ours at an address that it knew.
func TestAnotherCluster(t *testing.T) {
	dir := makeCerts(t, "root")
	ours := startSecure(t, 2, dir)
	rpc, _, _ := ours.Nodes[1].Addresses()
	_, _, web := ours.Nodes[0].Addresses()
	body := ""
	require.Eventually(t, func() bool {
		_, body = get(t, dir, "root", "https://"+web+"/api/v1/nodes")
		return strings.Contains(body, rpc)
	}, 20*time.Second, 20*time.Millisecond, "the nodes know each other")
	ours.Stop(1, false)
	theirs, err := node.Start(t.Context(), node.Config{StoreDir: filepath.Join(t.TempDir(), "store"), RPCAddr: rpc, CertsDir: dir, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer theirs.Stop()
	defer func() {
		if t.Failed() {
			t.Log(body)
		}
	}()
	require.Eventually(t, func() bool {
		_, body = get(t, dir, "root", "https://"+web+"/api/v1/nodes")
		return strings.Contains(body, "this node belongs to cluster "+theirs.Identity().ClusterID.String())
	}, 30*time.Second, 100*time.Millisecond)
}

// get asks as a user with a certificate; no user: without one.
func get(t *testing.T, dir, user, url string) (int, string) {
	cfg := &tls.Config{InsecureSkipVerify: true}
	if user != "" {
		var err error
		cfg, err = certs.Client(dir, user)
		require.NoError(t, err)
	}
	tr := &http.Transport{TLSClientConfig: cfg}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr, Timeout: 20 * time.Second}).Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(b)
}

func TestHTTP(t *testing.T) {
	dir := makeCerts(t, "root", "looker", "mover", "other")
	l := startSecure(t, 1, dir)
	root, err := connect(t, l.Nodes[0], as(dir, "root"))
	require.NoError(t, err)
	run(t, root, "CREATE ROLE looker LOGIN PASSWORD 'l'", "CREATE ROLE mover LOGIN", "CREATE ROLE other LOGIN", "GRANT pamir_viewer TO looker", "GRANT pamir_operator TO mover")
	_, _, web := l.Nodes[0].Addresses()
	url := "https://" + web
	for _, c := range []struct {
		user, path string
		code       int
	}{
		{"", "/health", 200}, {"", "/metrics", 401}, {"", "/api/v1/status", 401},
		{"other", "/api/v1/status", 403}, {"looker", "/api/v1/status", 200}, {"looker", "/debug/pprof/", 403}, {"mover", "/debug/pprof/", 200}, {"root", "/api/v1/nodes", 200},
	} {
		code, body := get(t, dir, c.user, url+c.path)
		require.Equal(t, c.code, code, "%s as %q: %s", c.path, c.user, body)
	}
	cfg, err := certs.Client(dir, "looker")
	require.NoError(t, err)
	cfg.Certificates = nil
	tr := &http.Transport{TLSClientConfig: cfg}
	defer tr.CloseIdleConnections()
	for password, code := range map[string]int{"l": 200, "wrong": 401} {
		req, err := http.NewRequest(http.MethodGet, url+"/api/v1/status", nil)
		require.NoError(t, err)
		req.SetBasicAuth("looker", password)
		resp, err := (&http.Client{Transport: tr}).Do(req)
		require.NoError(t, err)
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		require.NoError(t, err)
		require.Equal(t, code, resp.StatusCode, "%s", b)
		if code == 200 {
			require.Contains(t, string(b), `"security": "TLS`)
		}
	}
}

// Without certificates the page says so, and a web page elsewhere cannot use the browser of who works on this machine.
func TestInsecureHTTP(t *testing.T) {
	l := cluster.StartLocal(t, 1, nil)
	_, _, web := l.Nodes[0].Addresses()
	_, body := get(t, "", "", "http://"+web+"/")
	require.Contains(t, body, "no certificates")
	for _, edit := range []func(*http.Request){
		func(r *http.Request) { r.Host = "evil.example:80" },
		func(r *http.Request) { r.Method = http.MethodPost; r.Header.Set("Origin", "http://evil.example") },
	} {
		req, err := http.NewRequest(http.MethodGet, "http://"+web+"/api/v1/status", nil)
		require.NoError(t, err)
		edit(req)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, http.StatusForbidden, resp.StatusCode)
	}
	_, err := node.Start(t.Context(), node.Config{StoreDir: t.TempDir(), RPCAddr: "127.0.0.1:0", CertsDir: "x", Insecure: true})
	require.ErrorContains(t, err, "contradict")
}

// New certificates are used by new connections; those that are open go on.
func TestReload(t *testing.T) {
	dir := makeCerts(t, "root")
	l := startSecure(t, 1, dir)
	n := l.Nodes[0]
	before, err := connect(t, n, as(dir, "root"))
	require.NoError(t, err)
	_, _, web := n.Addresses()
	serial := func() string {
		cfg, err := certs.Client(dir, "root")
		require.NoError(t, err)
		c, err := tls.Dial("tcp", web, cfg)
		require.NoError(t, err)
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	old := serial()
	require.NoError(t, os.Remove(filepath.Join(dir, certs.NodeFile)))
	require.NoError(t, os.Remove(filepath.Join(dir, certs.NodeKeyFile)))
	n.ReloadCertificates()
	require.Equal(t, old, serial(), "what was loaded stays in use")
	require.NoError(t, certs.CreateNode(dir, "", []string{"localhost", "127.0.0.1"}, certs.NodeLifetime))
	n.ReloadCertificates()
	require.Eventually(t, func() bool { return serial() != old }, 20*time.Second, 20*time.Millisecond)
	_, err = connect(t, n, as(dir, "root"))
	require.NoError(t, err)
	run(t, before, "SELECT 1")
}

// Certificates of an authority that the other nodes do not know are complained about while the connections that are open still hide it.
func TestReloadedInTheWrongOrder(t *testing.T) {
	dirs := make([]string, 2)
	authority := makeCerts(t, "root")
	for i := range dirs {
		dirs[i] = t.TempDir()
		copyFile(t, filepath.Join(authority, certs.CAFile), filepath.Join(dirs[i], certs.CAFile))
		require.NoError(t, certs.CreateNode(dirs[i], filepath.Join(authority, certs.CAKeyFile), []string{"localhost", "127.0.0.1"}, certs.NodeLifetime))
	}
	l := cluster.StartLocal(t, 2, func(i int, c *node.Config) { c.CertsDir = dirs[i] })
	root, err := connect(t, l.Nodes[0], as(authority, "root"))
	require.NoError(t, err)
	problem := func() (s string) {
		require.NoError(t, root.QueryRow(t.Context(), "SELECT coalesce(max(problems), '') FROM pamir.nodes WHERE node_id = $1", int64(l.Nodes[1].Identity().NodeID)).Scan(&s))
		return s
	}
	other := filepath.Join(t.TempDir(), "other")
	require.NoError(t, certs.CreateCA(other, "", certs.CALifetime))
	renew := func(roots []byte) {
		for _, f := range []string{certs.NodeFile, certs.NodeKeyFile} {
			require.NoError(t, os.Remove(filepath.Join(dirs[1], f)))
		}
		require.NoError(t, os.WriteFile(filepath.Join(dirs[1], certs.CAFile), roots, 0o644))
		require.NoError(t, certs.CreateNode(dirs[1], filepath.Join(other, certs.CAKeyFile), []string{"localhost", "127.0.0.1"}, certs.NodeLifetime))
		l.Nodes[1].ReloadCertificates()
	}
	old, err := os.ReadFile(filepath.Join(authority, certs.CAFile))
	require.NoError(t, err)
	fresh, err := os.ReadFile(filepath.Join(other, certs.CAFile))
	require.NoError(t, err)

	// As the node says itself, or as connecting to it says, where there was no connection at that moment over which it could say anything.
	says := func(itself string) func() bool {
		return func() bool {
			p := problem()
			return strings.Contains(p, itself) || strings.Contains(p, "does not answer") && strings.Contains(p, "is of an authority that is not in ca.crt") ||
				strings.Contains(p, "silent for") && strings.Contains(p, "is of an authority that is not in ca.crt")
		}
	}
	renew(fresh)
	require.Eventually(t, says("this node refuses the certificate of node"), 30*time.Second, 50*time.Millisecond)
	renew(append(append([]byte(nil), old...), fresh...))
	require.Eventually(t, says("refuses this node's certificate"), 30*time.Second, 50*time.Millisecond)
	require.NoError(t, os.WriteFile(filepath.Join(dirs[0], certs.CAFile), append(append([]byte(nil), old...), fresh...), 0o644))
	l.Nodes[0].ReloadCertificates()
	require.Eventually(t, func() bool { return problem() == "" }, 30*time.Second, 50*time.Millisecond)
}

func copyFile(t *testing.T, from, to string) {
	b, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, b, 0o644))
}
