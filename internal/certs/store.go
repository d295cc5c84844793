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
	// version counts what has been loaded.
	version atomic.Int64
	unread  atomic.Pointer[string] // what Reload has found last
}

// Version changes when other certificates are in use.
func (s *Store) Version() int64 { return s.version.Load() }

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

// Reload reads the files again. If they are bad, what was loaded stays in use, and Unread says so until they are good.
func (s *Store) Reload() (changed bool, err error) {
	defer func() {
		text := ""
		if err != nil {
			text = err.Error()
		}
		s.unread.Store(&text)
	}()
	l, err := read(s.dir)
	if err == nil && l.same(s.now.Load()) {
		return false, nil // even if it has ended meanwhile: there is nothing newer
	}
	if err == nil {
		err = l.check(s.dir)
	}
	if err != nil {
		return false, fmt.Errorf("certificates: %w", err)
	}
	s.now.Store(l)
	s.version.Add(1)
	return true, nil
}

// Watch reloads when files change, and at every signal of again, until ctx ends. Errors are logged once as long as they stay the same. That the certificates end soon is
// logged every day, and that they have ended every ten minutes.
func (s *Store) Watch(ctx context.Context, again <-chan struct{}, log *slog.Logger) {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	last := ""
	var warned time.Time
	was := sound
	for {
		asked := false
		now, text := s.ending(time.Now())
		switch {
		case now == sound:
		case now == was && time.Since(warned) < remindAfter[now]:
		case now == ended:
			log.Error("certificates: "+text+"; nodes and clients refuse new connections with it", "dir", s.dir)
			warned = time.Now()
		default:
			log.Warn("certificates: "+text, "dir", s.dir)
			warned = time.Now()
		}
		was = now
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
		case last != "":
			log.Info("certificates can be read again, and are those in use", "dir", s.dir)
		case asked:
			log.Info("certificates have not changed", "dir", s.dir)
		}
		last = ""
	}
}

// Unread says why the files cannot be used that are there now; empty if they can, or nobody has looked since they were loaded.
func (s *Store) Unread() string {
	if t := s.unread.Load(); t != nil {
		return *t
	}
	return ""
}

// Expiry is when the first of the node's certificate and its authority ends.
func (s *Store) Expiry() time.Time {
	first, _ := s.first()
	return first.NotAfter
}

// first returns that of the node's certificate and its authority's that ends first, and whose it is.
func (s *Store) first() (c *x509.Certificate, whose string) {
	l := s.now.Load()
	// Of several authorities the newest counts: the others are on their way out.
	ca := l.cas[0]
	for _, o := range l.cas {
		if o.NotAfter.After(ca.NotAfter) {
			ca = o
		}
	}
	if ca.NotAfter.Before(l.node.Leaf.NotAfter) {
		return ca, "the authority (" + CAFile + ")"
	}
	return l.node.Leaf, "the node's certificate (" + NodeFile + ")"
}

// end is how near the end of a certificate is.
type end int

const (
	sound end = iota // it has long enough
	endsSoon
	ended
)

// remindAfter is the pause between two words about the same.
var remindAfter = map[end]time.Duration{endsSoon: 24 * time.Hour, ended: 10 * time.Minute}

// soonAt is when somebody should be told that a certificate ends: 30 days before, or when only a fifth of its life is left if that is later. Those that are made anew every week are not
// complained about.
func soonAt(c *x509.Certificate) time.Time {
	return c.NotAfter.Add(-min(30*24*time.Hour, c.NotAfter.Sub(c.NotBefore)/5))
}

func nearness(c *x509.Certificate, now time.Time) end {
	switch {
	case now.After(c.NotAfter):
		return ended
	case now.After(soonAt(c)):
		return endsSoon
	}
	return sound
}

// Ending says of the first of the node's certificate and its authority that it ends soon, or has ended; nothing if neither.
func (s *Store) Ending(now time.Time) string {
	_, text := s.ending(now)
	return text
}

func (s *Store) ending(now time.Time) (how end, text string) {
	c, whose := s.first()
	if how = nearness(c, now); how != sound {
		text = whose + " " + endText(c, now)
	}
	return how, text
}

// endText says when a certificate ends, or ended.
func endText(c *x509.Certificate, now time.Time) string {
	at, left := c.NotAfter.UTC().Format("2006-01-02 15:04 UTC"), c.NotAfter.Sub(now)
	switch {
	case left < 0:
		return "has ended at " + at
	case left < 2*time.Minute:
		return fmt.Sprintf("ends at %s, in %s", at, left.Round(time.Second))
	case left < 48*time.Hour:
		return fmt.Sprintf("ends at %s, in %s", at, left.Round(time.Minute))
	}
	return fmt.Sprintf("ends at %s, in %d days", at, int(left/(24*time.Hour)))
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
