package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func authority(t *testing.T) string {
	dir := filepath.Join(t.TempDir(), "certs")
	require.NoError(t, CreateCA(dir, "", CALifetime))
	return dir
}

func nodeDir(t *testing.T) string {
	dir := authority(t)
	require.NoError(t, CreateNode(dir, "", []string{"localhost", "127.0.0.1"}, NodeLifetime))
	return dir
}

func TestFilesAreNewAndKeysPrivate(t *testing.T) {
	dir := nodeDir(t)
	require.NoError(t, CreateClient(dir, "", "alice", ClientLifetime))
	for _, f := range []string{CAKeyFile, NodeKeyFile, ClientKeyFile("alice")} {
		st, err := os.Stat(filepath.Join(dir, f))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), st.Mode().Perm(), f)
	}
	before, err := os.ReadFile(filepath.Join(dir, NodeFile))
	require.NoError(t, err)
	require.ErrorContains(t, CreateCA(dir, "", CALifetime), "not overwritten")
	require.ErrorContains(t, CreateNode(dir, "", []string{"localhost"}, NodeLifetime), "not overwritten")
	require.ErrorContains(t, CreateClient(dir, "", "alice", ClientLifetime), "not overwritten")
	after, err := os.ReadFile(filepath.Join(dir, NodeFile))
	require.NoError(t, err)
	require.Equal(t, before, after)

	require.ErrorContains(t, CreateClient(dir, "", "../alice", ClientLifetime), "cannot be the name")
	require.ErrorContains(t, CreateClient(dir, "", "bob", 2*CALifetime), "shorter lifetime")
	require.ErrorContains(t, CreateNode(t.TempDir(), "", []string{"localhost"}, NodeLifetime), "create-ca")
	require.ErrorContains(t, CreateNode(dir, "", []string{"a b"}, NodeLifetime), "neither")

	entries, err := List(dir)
	require.NoError(t, err)
	require.Len(t, entries, 3)
	for i, want := range []string{"ca", "node", "client"} {
		require.Equal(t, want, entries[i].For)
		require.True(t, entries[i].HasKey)
		require.Empty(t, entries[i].Problem)
	}
	require.NoError(t, os.Chmod(filepath.Join(dir, NodeKeyFile), 0o644))
	_, err = Open(dir)
	require.ErrorContains(t, err, "read by others")
}

// shake makes a handshake and returns what each side says of it; TLS 1.3's client hears of its refusal with its first read.
func shake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	done := make(chan error, 1)
	go func() {
		nc, err := ln.Accept()
		if err != nil {
			done <- err
			return
		}
		defer nc.Close()
		c := tls.Server(nc, server)
		if err = c.Handshake(); err == nil {
			_, err = c.Write([]byte{1})
		}
		done <- err
	}()
	c, err := tls.Dial("tcp", ln.Addr().String(), client)
	if err == nil {
		_, err = c.Read(make([]byte, 1))
		c.Close()
	}
	return <-done, err
}

func TestNodes(t *testing.T) {
	dir := nodeDir(t)
	s, err := Open(dir)
	require.NoError(t, err)
	dial := func(s *Store, host string) *tls.Config { c := s.NodeClient(); c.ServerName = host; return c }

	se, ce := shake(t, s.NodeServer(), dial(s, "127.0.0.1"))
	require.NoError(t, errors.Join(se, ce))

	_, ce = shake(t, s.NodeServer(), dial(s, "elsewhere"))
	require.ErrorContains(t, ce, "not for this host")

	// Of another authority: each refuses the other.
	foreign, err := Open(nodeDir(t))
	require.NoError(t, err)
	_, ce = shake(t, s.NodeServer(), dial(foreign, "127.0.0.1"))
	require.ErrorContains(t, ce, "authority that is not in ca.crt")
	lax := dial(foreign, "127.0.0.1")
	lax.VerifyConnection = nil
	se, ce = shake(t, s.NodeServer(), lax)
	require.ErrorContains(t, se, "authority that is not in ca.crt")
	require.Error(t, ce)

	// A user's certificate of the same authority opens nothing here, even for the user "node".
	require.NoError(t, CreateClient(dir, "", "node", ClientLifetime))
	user, err := Client(dir, "node")
	require.NoError(t, err)
	user.ServerName = "127.0.0.1"
	se, ce = shake(t, s.NodeServer(), user)
	require.Error(t, se)
	require.Error(t, ce)

	// Without a certificate.
	se, _ = shake(t, s.NodeServer(), &tls.Config{InsecureSkipVerify: true})
	require.Error(t, se)

	// Expired.
	old := authority(t)
	require.NoError(t, CreateNode(old, "", []string{"127.0.0.1"}, time.Millisecond))
	time.Sleep(5 * time.Millisecond) // past its end
	_, err = Open(old)
	require.ErrorContains(t, err, "valid from")
	entries, err := List(old)
	require.NoError(t, err)
	require.Contains(t, entries[1].Problem, "has expired at 20")
}

func TestClients(t *testing.T) { synctest.Test(t, testClients) } // certificates end at whole seconds: by the clock of the machine one of a second may end at once

func testClients(t *testing.T) {
	dir := nodeDir(t)
	s, err := Open(dir)
	require.NoError(t, err)
	require.NoError(t, CreateClient(dir, "", "alice", ClientLifetime))
	alice, err := Client(dir, "alice")
	require.NoError(t, err)
	alice.ServerName = "localhost"
	server := s.Clients()
	name := ""
	server.VerifyConnection = func(cs tls.ConnectionState) error {
		if len(cs.VerifiedChains) > 0 {
			name = User(cs.PeerCertificates[0])
		}
		return nil
	}
	se, ce := shake(t, server, alice)
	require.NoError(t, errors.Join(se, ce))
	require.Equal(t, "alice", name)

	anonymous := alice.Clone()
	anonymous.Certificates = nil
	name = ""
	se, ce = shake(t, server, anonymous)
	require.NoError(t, errors.Join(se, ce))
	require.Empty(t, name)

	other := nodeDir(t)
	require.NoError(t, CreateClient(other, "", "alice", ClientLifetime))
	foreign, err := Client(other, "alice")
	require.NoError(t, err)
	foreign.ServerName, foreign.RootCAs = "localhost", alice.RootCAs
	se, _ = shake(t, server, foreign)
	require.ErrorContains(t, se, "unknown authority")
	require.ErrorContains(t, Explain(se), `the certificate of "alice", issued by "Pamir CA"`)
	require.ErrorContains(t, Explain(se), "is of an authority that is not in ca.crt")
	require.Equal(t, os.ErrClosed, Explain(os.ErrClosed))

	// Expired: a command says so itself; a node that is shown it knows whose it is.
	require.NoError(t, CreateClient(dir, "", "bob", time.Second))
	bob, err := Client(dir, "bob")
	require.NoError(t, err)
	bob.ServerName = "localhost"
	time.Sleep(time.Until(bob.Certificates[0].Leaf.NotAfter) + time.Millisecond)
	se, _ = shake(t, server, bob)
	require.ErrorContains(t, Explain(se), `the certificate of "bob", issued by "Pamir CA"`)
	require.ErrorContains(t, Explain(se), "is valid from")
	_, err = Client(dir, "bob")
	require.ErrorContains(t, err, "client.bob.crt: has expired at 20")
}

// That certificates end is said in time, and again when they have; not of those that are made anew every week. What has ended and is not replaced is no failed reload.
func TestEnding(t *testing.T) { synctest.Test(t, testEnding) } // see TestClients

func testEnding(t *testing.T) {
	dir := authority(t)
	const day = 24 * time.Hour
	require.NoError(t, CreateNode(dir, "", []string{"localhost"}, 365*day))
	s, err := Open(dir)
	require.NoError(t, err)
	now := time.Now()
	require.Empty(t, s.Ending(now))
	require.Empty(t, s.Ending(now.Add(334*day)))
	require.Regexp(t, `^the node's certificate \(node.crt\) ends at 20\S+ \S+ UTC, in 29 days$`, s.Ending(now.Add(335*day+time.Hour)))
	require.Contains(t, s.Ending(now.Add(366*day)), "the node's certificate (node.crt) has ended at 20")

	short := authority(t)
	require.NoError(t, CreateNode(short, "", []string{"localhost"}, 7*day))
	s, err = Open(short)
	require.NoError(t, err)
	require.Empty(t, s.Ending(now.Add(5*day)))
	require.Contains(t, s.Ending(now.Add(6*day)), "in 24h0m0s")

	old := filepath.Join(t.TempDir(), "old")
	require.NoError(t, CreateCA(old, "", 40*day))
	require.NoError(t, CreateNode(old, "", []string{"localhost"}, 39*day))
	s, err = Open(old)
	require.NoError(t, err)
	require.Empty(t, s.Ending(now))
	require.NoError(t, os.Remove(filepath.Join(old, NodeFile)))
	require.NoError(t, os.Remove(filepath.Join(old, NodeKeyFile)))
	require.NoError(t, CreateNode(old, "", []string{"localhost"}, time.Second))
	_, err = s.Reload()
	require.NoError(t, err)
	entries, err := List(old)
	require.NoError(t, err)
	require.Regexp(t, "^ends at .*, in 1s$", entries[1].Problem)
	time.Sleep(1100 * time.Millisecond) // past its end
	_, err = s.Reload()
	require.NoError(t, err)
	require.Contains(t, s.Ending(time.Now()), "has ended")

	var log bytes.Buffer
	ctx, stop := context.WithCancel(t.Context())
	stop()
	s.Watch(ctx, nil, slog.New(slog.NewTextHandler(&log, nil)))
	require.Contains(t, log.String(), "level=ERROR")
	require.Contains(t, log.String(), "(node.crt) has ended at 20")
}

// Who was told that the files are bad is told that they are good again, also if they are what was loaded before.
func TestWatchSaysThatAllIsWell(t *testing.T) {
	dir := nodeDir(t)
	s, err := Open(dir)
	require.NoError(t, err)
	var out lines
	again := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Watch(ctx, again, slog.New(slog.NewTextHandler(&out, nil)))
	}()
	defer func() { cancel(); <-ended }()
	said := func(what string) {
		again <- struct{}{}
		require.Eventually(t, func() bool { return strings.Contains(out.take(), what) }, 10*time.Second, time.Millisecond, what)
	}
	good, err := os.ReadFile(filepath.Join(dir, NodeFile))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, NodeFile), []byte("garbage"), 0o600))
	said("those loaded before stay in use")
	require.NoError(t, os.WriteFile(filepath.Join(dir, NodeFile), good, 0o600))
	said("certificates can be read again")
	said("certificates have not changed")
}

// lines is a log that can be read while it is written.
type lines struct {
	mu  sync.Mutex
	all strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *lines) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

func TestReload(t *testing.T) {
	dir := nodeDir(t)
	s, err := Open(dir)
	require.NoError(t, err)
	server, first := s.NodeServer(), s.Clients().Certificates[0].Leaf.SerialNumber
	changed, err := s.Reload()
	require.NoError(t, err)
	require.False(t, changed)

	// Half of a pair is refused, and what was loaded stays in use.
	require.NoError(t, os.Remove(filepath.Join(dir, NodeFile)))
	_, err = s.Reload()
	require.Error(t, err)
	require.Contains(t, s.Unread(), NodeFile+": no such file", "an operator is to hear of it before the next restart fails")
	require.Equal(t, first, s.Clients().Certificates[0].Leaf.SerialNumber)
	client := s.NodeClient()
	client.ServerName = "localhost"
	se, ce := shake(t, server, client)
	require.NoError(t, errors.Join(se, ce))

	require.NoError(t, os.Remove(filepath.Join(dir, NodeKeyFile)))
	require.NoError(t, CreateNode(dir, "", []string{"localhost"}, NodeLifetime))
	changed, err = s.Reload()
	require.NoError(t, err)
	require.True(t, changed)
	require.Empty(t, s.Unread())
	require.NotEqual(t, first, s.Clients().Certificates[0].Leaf.SerialNumber)
	se, ce = shake(t, server, client)
	require.NoError(t, errors.Join(se, ce))
}
