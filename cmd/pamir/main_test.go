package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/tests/cluster"
)

// start runs "pamir start" until it exits, and returns what it said.
func start(t *testing.T, args ...string) (string, int) {
	binary := cluster.Binary(t) // built outside of the time limit
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, append([]string{"start"}, args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run() // the code says how it went
	require.NoError(t, ctx.Err(), "it should have refused to start:\n%s", out.String())
	return out.String(), cmd.ProcessState.ExitCode()
}

var anywhere = []string{"--rpc-addr", "127.0.0.1:0", "--sql-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"}

func refused(t *testing.T, want string, args ...string) {
	t.Helper()
	out, code := start(t, args...)
	require.Equal(t, 1, code, out)
	require.Contains(t, out, want)
	require.NotContains(t, out, "goroutine ", "a message, not a stack")
}

func TestRefusals(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir := t.TempDir()
	refused(t, "--store", anywhere...)
	refused(t, "spell out --insecure", "--store", dir, "--sql-addr", "0.0.0.0:0")
	refused(t, "not of the form key=value", append(anywhere, "--store", dir, "--locality", "eu")...)
	refused(t, "is not a size", append(anywhere, "--store", dir, "--cache", "lots")...)
	refused(t, "out of range", append(anywhere, "--store", dir, "--max-offset", "1h")...)

	busy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer busy.Close()
	refused(t, "Choose another address", append(anywhere, "--store", dir, "--http-addr", busy.Addr().String())...)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left, "a node that refused to start must leave no store behind")

	other := filepath.Join(dir, "photos")
	require.NoError(t, os.MkdirAll(other, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(other, "cat.jpg"), []byte("meow"), 0o644))
	refused(t, "not a pamir store", append(anywhere, "--store", other)...)
	b, err := os.ReadFile(filepath.Join(other, "cat.jpg"))
	require.NoError(t, err)
	require.Equal(t, "meow", string(b))
}

func TestStores(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	c := cluster.Start(t, 1)
	refused(t, "Another pamir process has this directory open", append(anywhere, "--store", c.Dir(0))...)
	refused(t, "they must be the same", append(anywhere, "--store", filepath.Join(t.TempDir(), "n"), "--join", c.RPCAddr(0), "--max-offset", "400ms")...)
	require.Zero(t, c.Stop(0))

	format := filepath.Join(c.Dir(0), "PAMIR-FORMAT")
	was, err := os.ReadFile(format)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(format, []byte("pamir store format 999\n"), 0o644))
	refused(t, "newer version of pamir", append(anywhere, "--store", c.Dir(0))...)
	require.NoError(t, os.WriteFile(format, []byte("pamir store format 1\n"), 0o644))
	refused(t, "older version of pamir", append(anywhere, "--store", c.Dir(0))...)
	require.NoError(t, os.WriteFile(format, was, 0o644))

	// Nothing of this damaged the store.
	c.Restart(0)
	c.WaitReady(0)
	require.Zero(t, c.Stop(0))

	// The manifest is the table of contents: without it there is nothing to trust.
	manifests, err := filepath.Glob(filepath.Join(c.Dir(0), "MANIFEST-*"))
	require.NoError(t, err)
	require.NotEmpty(t, manifests)
	for _, m := range manifests {
		b, err := os.ReadFile(m)
		require.NoError(t, err)
		for i := range b {
			b[i] ^= 0x5a
		}
		require.NoError(t, os.WriteFile(m, b, 0o644))
	}
	refused(t, "store is damaged", append(anywhere, "--store", c.Dir(0))...)
}

func TestSizes(t *testing.T) {
	for in, want := range map[string]int64{"": 0, "512MiB": 512 << 20, "4GiB": 4 << 30, "1.5g": 3 << 29, "2000MB": 2e9, "1048576": 1 << 20} {
		got, err := parseSize(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
	}
	for _, bad := range []string{"x", "-1GiB", "1PiB", "12", "1000000TiB", "GiB"} {
		_, err := parseSize(bad)
		require.Error(t, err, bad)
	}
}

// The demonstration starts, answers, and stops at ctrl-C.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	binary := cluster.Binary(t) // built outside of the time limit
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "demo", "--no-shell", "--sql-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0")
	out := &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	begin := time.Now()
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool {
		return strings.Contains(out.String(), "Ctrl-C stops the cluster") || cmd.ProcessState != nil
	},
		30*time.Second, 20*time.Millisecond, "%s", out)
	t.Logf("ready after %s", time.Since(begin).Round(time.Millisecond))
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	require.NoError(t, cmd.Wait(), out.String())
	require.Contains(t, out.String(), "postgresql://root@127.0.0.1:")
}

// What is fed to the demonstration is executed, up to the first error, which is its exit status; nothing but results goes to standard output.
func TestDemoFed(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	if _, err := exec.LookPath("psql"); err != nil {
		t.Skip("there is no psql here")
	}
	binary := cluster.Binary(t)
	run := func(in string) (stdout, stderr string, code int) {
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, binary, "demo", "--nodes", "1", "--sql-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0")
		var out, said bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(in), &out, &said
		_ = cmd.Run() // the code says how it went
		require.NoError(t, ctx.Err(), said.String())
		return out.String(), said.String(), cmd.ProcessState.ExitCode()
	}
	out, _, code := run("\\pset format unaligned\n\\pset tuples_only\n\\o\nSELECT count(*) FROM peaks;")
	require.Zero(t, code)
	require.True(t, strings.HasSuffix(out, "\n16\n"), out)
	require.NotContains(t, out, "cluster")
	out, said, code := run("SELECT 'before'; SELECT 1/0; SELECT 'after';")
	require.Equal(t, 1, code)
	require.Contains(t, out, "before")
	require.NotContains(t, out, "after")
	require.Contains(t, said, "division by zero")
}
