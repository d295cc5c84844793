package security

import (
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/internal/certs"
	"github.com/pamirdb/pamir/internal/node"
	"github.com/pamirdb/pamir/tests/cluster"
)

// lines is a log that can be read while it is written.
type lines struct {
	mu sync.Mutex
	b  strings.Builder // guarded by mu
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// with returns the first line that holds text.
func (l *lines) with(text string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		if strings.Contains(line, text) {
			return line
		}
	}
	return ""
}

// Who is refused hears little more than that; the node's log names the certificate.
func TestRefusedCertificatesAreLogged(t *testing.T) {
	dir, foreign := makeCerts(t, "root", "ann"), makeCerts(t, "bob")
	require.NoError(t, certs.CreateClient(dir, "", "old", time.Second))
	var log lines
	l := cluster.StartLocal(t, 1, func(_ int, c *node.Config) {
		c.CertsDir, c.Log = dir, slog.New(slog.NewTextHandler(&log, nil))
	})
	logged := func(text string) string {
		t.Helper()
		require.Eventually(t, func() bool { return log.with(text) != "" }, 20*time.Second, 5*time.Millisecond, text)
		return log.with(text)
	}
	// Another user's certificate.
	_, err := connect(t, l.Nodes[0], strings.Replace(as(dir, "ann"), "user=ann", "user=root", 1))
	refused(t, err, "28000", `certificate authentication failed for user "root"`)
	require.Contains(t, logged("connection refused"), "certificate=ann")

	// One of another authority, and one that has expired: they end in the handshake.
	_, err = connect(t, l.Nodes[0], strings.Replace(as(foreign, "bob"), filepath.Join(foreign, certs.CAFile), filepath.Join(dir, certs.CAFile), 1))
	require.Error(t, err)
	require.Contains(t, logged(`the certificate of \"bob\"`), "is of an authority that is not in ca.crt")

	entries, err := certs.List(dir)
	require.NoError(t, err)
	for _, e := range entries {
		if e.Name == "old" {
			time.Sleep(time.Until(e.NotAfter) + time.Millisecond)
		}
	}
	_, err = connect(t, l.Nodes[0], as(dir, "old"))
	require.Error(t, err)
	require.Contains(t, logged(`the certificate of \"old\"`), "is valid from")

	// A client that does not trust the node.
	_, err = connect(t, l.Nodes[0], "user=ann sslmode=verify-full sslrootcert="+filepath.Join(foreign, certs.CAFile))
	require.Error(t, err)
	logged("bad certificate")
}
