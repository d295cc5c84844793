package certs

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"
)

func readCertificates(path string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseCertificates(path, data)
}

func parseCertificates(path string, data []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s holds no certificate", path)
	}
	return out, nil
}

// readSecret reads a file that holds a private key, if nobody but its owner may (root's may be readable by its group).
func readSecret(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if open := st.Mode().Perm() & 0o077; open != 0 && !(open == 0o040 && ownedByRoot(st)) {
		return nil, fmt.Errorf("%s may be read by others than its owner (mode %04o): a private key wants mode 0600", path, st.Mode().Perm())
	}
	return os.ReadFile(path)
}

func readKey(path string) (crypto.Signer, error) {
	data, err := readSecret(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s holds no key", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		if key, ecErr := x509.ParseECPrivateKey(block.Bytes); ecErr == nil {
			return key, nil
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	s, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: a key of type %T cannot sign", path, key)
	}
	return s, nil
}

// pair loads a certificate with its key. raw is what was read, for comparison.
func pair(certFile, keyFile string) (cert tls.Certificate, raw []byte, err error) {
	certPEM, err := os.ReadFile(certFile)
	if err != nil {
		return cert, nil, err
	}
	keyPEM, err := readSecret(keyFile)
	if err != nil {
		return cert, nil, err
	}
	if cert, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		return cert, nil, fmt.Errorf("%s and %s: %w", certFile, keyFile, err)
	}
	if cert.Leaf == nil {
		if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return cert, nil, fmt.Errorf("%s: %w", certFile, err)
		}
	}
	return cert, append(certPEM, keyPEM...), nil
}

// purpose says what a certificate is for: "node", "client", or "" if it does not say.
func purpose(c *x509.Certificate) string {
	for _, u := range c.URIs {
		switch u.String() {
		case nodeURI:
			return "node"
		case clientURI:
			return "client"
		}
	}
	return ""
}

// loaded is what a node has read from its directory.
type loaded struct {
	raw   []byte // all files, to see whether anything has changed
	roots *x509.CertPool
	cas   []*x509.Certificate
	node  tls.Certificate
}

func load(dir string) (*loaded, error) {
	l, err := read(dir)
	if err == nil {
		err = l.check(dir)
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

func read(dir string) (*loaded, error) {
	caPEM, err := os.ReadFile(filepath.Join(dir, CAFile))
	if err != nil {
		return nil, err
	}
	l := &loaded{roots: x509.NewCertPool()}
	if l.cas, err = parseCertificates(filepath.Join(dir, CAFile), caPEM); err != nil {
		return nil, err
	}
	for _, c := range l.cas {
		l.roots.AddCert(c)
	}
	var nodeRaw []byte
	if l.node, nodeRaw, err = pair(filepath.Join(dir, NodeFile), filepath.Join(dir, NodeKeyFile)); err != nil {
		return nil, err
	}
	l.raw = slices.Concat(caPEM, nodeRaw)
	return l, nil
}

// check reports why what was read is of no use to a node.
func (l *loaded) check(dir string) error {
	if purpose(l.node.Leaf) != "node" {
		return fmt.Errorf("%s is not a node's certificate: it lacks the URI %s", filepath.Join(dir, NodeFile), nodeURI)
	}
	if err := l.verifyNode(l.node.Leaf, "", x509.ExtKeyUsageServerAuth); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(dir, NodeFile), err)
	}
	return nil
}

// verifyNode checks a node's certificate; host is empty for one that dials us.
func (l *loaded) verifyNode(leaf *x509.Certificate, host string, usage x509.ExtKeyUsage, rest ...*x509.Certificate) error {
	opts := x509.VerifyOptions{Roots: l.roots, DNSName: host, KeyUsages: []x509.ExtKeyUsage{usage}, Intermediates: x509.NewCertPool()}
	for _, c := range rest {
		opts.Intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(opts); err != nil {
		return explain(leaf, err)
	}
	if purpose(leaf) != "node" {
		return fmt.Errorf("the certificate of %q is not a node's", leaf.Subject.CommonName)
	}
	return nil
}

// explain says of a certificate that was refused what an operator needs to know.
func explain(leaf *x509.Certificate, err error) error {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	who := fmt.Sprintf("the certificate of %q, issued by %q, serial %x", leaf.Subject.CommonName, leaf.Issuer.CommonName, leaf.SerialNumber)
	switch {
	case expired(err):
		return &refusal{fmt.Sprintf("%s is valid from %s to %s only", who, leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339)), err}
	case errors.As(err, &unknown):
		return &refusal{fmt.Sprintf("%s is of an authority that is not in %s", who, CAFile), err}
	case errors.As(err, &host):
		return fmt.Errorf("%s is not for this host: %w", who, err)
	}
	return fmt.Errorf("%s: %w", who, err)
}

// refusal is why a certificate was refused, in words that leave nothing to add of what crypto/x509 says of the same.
type refusal struct {
	why string
	err error
}

func (r *refusal) Error() string { return r.why }
func (r *refusal) Unwrap() error { return r.err }

// Explain says of a failed handshake whose certificate it was that was refused, and why, if it was one.
func Explain(err error) error {
	var refused *tls.CertificateVerificationError
	if !errors.As(err, &refused) || len(refused.UnverifiedCertificates) == 0 {
		return err
	}
	return explain(refused.UnverifiedCertificates[0], refused.Err)
}

// Entry describes a certificate file.
type Entry struct {
	File     string
	For      string // "ca", "node", "client", or "?"
	Name     string
	Hosts    []string
	NotAfter time.Time
	HasKey   bool
	Problem  string // empty if it verifies
}

// List describes the certificates in a directory.
func List(dir string) ([]Entry, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if cas, err := readCertificates(filepath.Join(dir, CAFile)); err == nil {
		for _, c := range cas {
			roots.AddCert(c)
		}
	}
	var out []Entry
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".crt") {
			continue
		}
		path := filepath.Join(dir, f.Name())
		cs, err := readCertificates(path)
		if err != nil {
			out = append(out, Entry{File: f.Name(), For: "?", Problem: err.Error()})
			continue
		}
		keyFile := strings.TrimSuffix(path, ".crt") + ".key"
		for i, c := range cs {
			if i > 0 && !c.IsCA {
				continue // the chain of the first
			}
			e := Entry{File: f.Name(), For: purpose(c), Name: c.Subject.CommonName, Hosts: slices.Clone(c.DNSNames), NotAfter: c.NotAfter}
			for _, ip := range c.IPAddresses {
				e.Hosts = append(e.Hosts, ip.String())
			}
			if c.IsCA {
				e.For = "ca"
			} else if e.For == "" {
				e.For = "?"
			}
			if _, err := os.Stat(keyFile); err == nil {
				key, err := readKey(keyFile)
				switch {
				case err != nil:
					e.Problem = err.Error()
				case matching([]*x509.Certificate{c}, key) == nil && !(c.IsCA && matching(cs, key) != nil):
					e.Problem = "the key does not belong to the certificate"
				default:
					e.HasKey = true
				}
			}
			if _, err := c.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil && e.Problem == "" {
				e.Problem = problem(c, err)
			}
			if now := time.Now(); e.Problem == "" && nearness(c, now) == endsSoon {
				e.Problem = endText(c, now)
			}
			out = append(out, e)
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return order(out[i]) < order(out[j]) })
	return out, nil
}

func expired(err error) bool {
	var invalid x509.CertificateInvalidError
	return errors.As(err, &invalid) && invalid.Reason == x509.Expired
}

// problem is explain for a line that says already whose certificate it is.
func problem(c *x509.Certificate, err error) string {
	var unknown x509.UnknownAuthorityError
	now := time.Now()
	switch {
	case expired(err) && now.Before(c.NotBefore):
		return "is not valid before " + c.NotBefore.UTC().Format(time.RFC3339)
	case expired(err):
		return "has expired at " + c.NotAfter.UTC().Format(time.RFC3339)
	case errors.As(err, &unknown):
		return "is of an authority that is not in " + CAFile
	}
	return err.Error()
}

func order(e Entry) string {
	return map[string]string{"ca": "0", "node": "1", "client": "2"}[e.For] + e.File
}

// same reports whether two loads read the same bytes.
func (l *loaded) same(o *loaded) bool { return bytes.Equal(l.raw, o.raw) }
