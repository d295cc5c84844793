package node

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/internal/certs"
)

// waiting is a log that hears of a node that waits.
type waiting struct {
	io.Writer
	heard chan string
}

func (w waiting) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "waiting for the cluster to join") {
		select {
		case w.heard <- string(b):
		default:
		}
	}
	return len(b), nil
}

// joining starts a node with an empty store, and returns what it says while it waits, or why it does not.
func joining(t *testing.T, change func(*Config)) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w := waiting{heard: make(chan string, 1)}
	cfg := Config{StoreDir: t.TempDir(), RPCAddr: "127.0.0.1:0", Log: slog.New(slog.NewTextHandler(w, nil))}
	change(&cfg)
	failed := make(chan error, 1)
	go func() {
		n, err := Start(ctx, cfg)
		if err == nil {
			n.Stop()
			err = errors.New("it has started")
		}
		failed <- err
	}()
	select {
	case line := <-w.heard:
		cancel()
		require.ErrorIs(t, <-failed, context.Canceled)
		return line, nil
	case err := <-failed:
		return "", err
	}
}

// Who gives --join the wrong address is told what is there.
func TestJoinAtTheWrongAddress(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	line, err := joining(t, func(c *Config) { c.Join = []string{web.Listener.Addr().String()} })
	require.NoError(t, err)
	require.Contains(t, line, "HTTP is spoken there: --join names the --rpc-addr of nodes")

	// Of several addresses each one is spoken of, and an address is that which was given.
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	line, err = joining(t, func(c *Config) { c.Join = []string{closed.Addr().String(), web.Listener.Addr().String()} })
	require.NoError(t, err)
	require.Contains(t, line, closed.Addr().String()+": dial tcp")
	require.Contains(t, line, web.Listener.Addr().String()+": HTTP is spoken there")
	require.NotContains(t, line, "passthrough")

	line, err = joining(t, func(c *Config) {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		c.RPCAddr = free.Addr().String()
		c.Join = []string{c.RPCAddr}
		require.NoError(t, free.Close())
	})
	require.NoError(t, err)
	require.Contains(t, line, "a new cluster begins with one node that is started without --join")

	// What speaks no TLS, as the port for SQL at first, is no question of certificates.
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer plain.Close()
	go func() {
		for {
			c, err := plain.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("E\x00\x00\x00\x10what is this?"))
			_ = c.Close()
		}
	}()
	dir := t.TempDir()
	require.NoError(t, certs.CreateCA(dir, "", 24*time.Hour))
	require.NoError(t, certs.CreateNode(dir, "", []string{"127.0.0.1"}, time.Hour))
	_, err = joining(t, func(c *Config) { c.CertsDir, c.Join = dir, []string{plain.Addr().String()} })
	require.ErrorContains(t, err, "no TLS is spoken there: --join names the --rpc-addr of nodes")
	require.NotContains(t, err.Error(), "do not fit")

	for _, bad := range []string{"foo", "foo:", ":7433"} {
		_, err = joining(t, func(c *Config) { c.Join = []string{bad} })
		require.ErrorContains(t, err, "it takes HOST:PORT", bad)
	}
}
