package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"
)

// watchEvery is how often a node looks whether its files have changed.
const watchEvery = 2 * time.Second

// Store is a node's certificates. It is safe for concurrent use.
type Store struct {
	dir string
	now atomic.Pointer[loaded]
}

// Open loads a node's certificates from a directory.
func Open(dir string) (*Store, error) {
	s := &Store{dir: dir}
	l, err := load(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("certificates: %w (a node needs %s, %s and %s; pamir cert makes them)", err, CAFile, NodeFile, NodeKeyFile)
		}
		return nil, fmt.Errorf("certificates: %w", err)
	}
	s.now.Store(l)
	return s, nil
}

// Reload reads the files again. If they are bad, what was loaded stays in use.
func (s *Store) Reload() (changed bool, err error) {
	l, err := load(s.dir)
	if err != nil {
		return false, fmt.Errorf("certificates: %w", err)
	}
	if l.same(s.now.Load()) {
		return false, nil
	}
	s.now.Store(l)
	return true, nil
}

// Watch reloads when files change, and at every signal of again, until ctx ends. Errors are logged once as long as they stay the same.
func (s *Store) Watch(ctx context.Context, again <-chan struct{}, log *slog.Logger) {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	last := ""
	for {
		asked := false
		select {
		case <-ctx.Done():
			return
		case <-again:
			asked = true
		case <-t.C:
		}
		changed, err := s.Reload()
		switch {
		case err != nil:
			if asked || err.Error() != last {
				log.Error("certificates are not reloaded; those loaded before stay in use", "err", err)
			}
			last = err.Error()
			continue
		case changed:
			log.Info("certificates reloaded", "dir", s.dir, "node_expires", s.Expiry().UTC().Format(time.RFC3339))
		case asked:
			log.Info("certificates have not changed", "dir", s.dir)
		}
		last = ""
	}
}

// Expiry is when the first of the node's certificate and its authority ends.
func (s *Store) Expiry() time.Time {
	l := s.now.Load()
	end := l.node.Leaf.NotAfter
	// Of several authorities the newest counts: the others are on their way out.
	var ca time.Time
	for _, c := range l.cas {
		if c.NotAfter.After(ca) {
			ca = c.NotAfter
		}
	}
	if ca.Before(end) {
		return ca
	}
	return end
}

// FitsHost reports why nodes that dial this one at a host would refuse its certificate; nil if they would not.
func (s *Store) FitsHost(host string) error {
	l := s.now.Load()
	return l.verifyNode(l.node.Leaf, host, x509.ExtKeyUsageServerAuth)
}

// Dir is the directory.
func (s *Store) Dir() string { return s.dir }

// NodeServer is for the port between nodes: whoever connects must be a node.
func (s *Store) NodeServer() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			l := s.now.Load()
			return &tls.Config{
				MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{l.node}, ClientAuth: tls.RequireAnyClientCert,
				NextProtos: []string{"h2"}, SessionTicketsDisabled: true,
				VerifyConnection: func(cs tls.ConnectionState) error {
					return l.verifyNode(cs.PeerCertificates[0], "", x509.ExtKeyUsageClientAuth, cs.PeerCertificates[1:]...)
				},
			}, nil
		},
	}
}

// NodeClient is for dialling nodes, as a node.
func (s *Store) NodeClient() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			l := s.now.Load()
			return &l.node, nil
		},
		// The roots can change under a config that gRPC keeps for ever, so the verification is our own, and complete.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			l := s.now.Load()
			return l.verifyNode(cs.PeerCertificates[0], cs.ServerName, x509.ExtKeyUsageServerAuth, cs.PeerCertificates[1:]...)
		},
	}
}

// Clients is for one connection of a SQL or HTTP client: the certificate is Certificates[0]. A client need not have a certificate; if it has one, it must be good.
func (s *Store) Clients() *tls.Config {
	l := s.now.Load()
	return &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{l.node},
		ClientCAs: l.roots, ClientAuth: tls.VerifyClientCertIfGiven, SessionTicketsDisabled: true,
	}
}

// HTTPServer is Clients for a listener.
func (s *Store) HTTPServer() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			c := s.Clients()
			c.NextProtos = []string{"h2", "http/1.1"}
			return c, nil
		},
	}
}

// User is the name in a verified client certificate; empty for a node's, which is nobody's.
func User(leaf *x509.Certificate) string {
	if purpose(leaf) == "node" {
		return ""
	}
	return leaf.Subject.CommonName
}

// Client is how an operator's command talks to a node: as user, with the certificate from dir.
func Client(dir, user string) (*tls.Config, error) {
	cfg, err := Authority(dir)
	if err != nil {
		return nil, err
	}
	cert, _, err := pair(filepath.Join(dir, ClientFile(user)), filepath.Join(dir, ClientKeyFile(user)))
	if err != nil {
		return nil, fmt.Errorf("%w (make it with pamir cert create-client %s)", err, user)
	}
	// A node would only say that it does not like it.
	if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: cfg.RootCAs, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil && expired(err) {
		return nil, fmt.Errorf("%s: %s (make a new one with pamir cert create-client %s)", filepath.Join(dir, ClientFile(user)), problem(cert.Leaf, err), user)
	}
	cfg.Certificates = []tls.Certificate{cert}
	return cfg, nil
}

// Authority is how somebody talks to a node who has no certificate, but a password: it has to be a node of the authority in dir.
func Authority(dir string) (*tls.Config, error) {
	cas, err := readCertificates(filepath.Join(dir, CAFile))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	for _, c := range cas {
		roots.AddCert(c)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}, nil
}
