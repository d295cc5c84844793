package main

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/internal/admin"
	"github.com/pamirdb/pamir/internal/certs"
)

// Of several hosts, the one that says why it cannot answer is heard, not the one that is not there; and it is asked again.
func TestTheHostThatSaysWhyIsHeard(t *testing.T) {
	times := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		times++
		admin.WriteProblem(w, admin.NewProblem(admin.CodeUnavailable, "no other node answers"))
	}))
	defer srv.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, gone.Close())
	c, err := newAdminClient(&asked{host: srv.Listener.Addr().String() + "," + gone.Addr().String()})
	require.NoError(t, err)
	c.retryFor = time.Nanosecond
	_, err = c.ask(t.Context(), http.MethodGet, "/api/v1/nodes", nil, nil)
	require.EqualError(t, err, "no other node answers")
	require.Positive(t, times)

	c.hosts = c.hosts[1:]
	_, err = c.ask(t.Context(), http.MethodGet, "/api/v1/nodes", nil, nil)
	require.ErrorContains(t, err, "no node listens at")
}

// A certificate that a node does not accept, and one that we do not, end the asking at once, and it is said whose it was.
func TestCertificatesThatAreRefused(t *testing.T) {
	authority := func(user string) string {
		dir := filepath.Join(t.TempDir(), "certs")
		require.NoError(t, certs.CreateCA(dir, "", certs.CALifetime))
		require.NoError(t, certs.CreateNode(dir, "", []string{"127.0.0.1"}, certs.NodeLifetime))
		require.NoError(t, certs.CreateClient(dir, "", user, certs.ClientLifetime))
		return dir
	}
	mine, foreign := authority("root"), authority("root")
	store, err := certs.Open(mine)
	require.NoError(t, err)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("somebody was let in") }))
	srv.TLS, srv.Config.ErrorLog = store.HTTPServer(), log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	host := srv.Listener.Addr().String()

	c, err := newAdminClient(&asked{host: host, user: "root", certsDir: foreign})
	require.NoError(t, err)
	_, err = c.ask(t.Context(), http.MethodGet, "/api/v1/nodes", nil, nil)
	require.EqualError(t, err, host+": its certificate is of an authority that is not in ca.crt of --certs-dir "+foreign)

	tr := c.http.Transport.(*http.Transport)
	right, err := certs.Authority(mine)
	require.NoError(t, err)
	tr.TLSClientConfig.RootCAs = right.RootCAs
	_, err = c.ask(t.Context(), http.MethodGet, "/api/v1/nodes", nil, nil)
	require.ErrorContains(t, err, "does not accept the certificate of root in --certs-dir "+foreign+", or is a node's --rpc-addr")
}
