package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Names of the files in a certificate directory.
const (
	CAFile      = "ca.crt"
	CAKeyFile   = "ca.key"
	NodeFile    = "node.crt"
	NodeKeyFile = "node.key"
)

// What a certificate is for, as a URI among its alternative names.
const (
	nodeURI   = "pamir:node"
	clientURI = "pamir:client"
)

// Default lifetimes.
const (
	CALifetime     = 10 * 365 * 24 * time.Hour
	NodeLifetime   = 5 * 365 * 24 * time.Hour
	ClientLifetime = 365 * 24 * time.Hour
)

// backdate is how far certificates begin in the past: clocks differ.
const backdate = time.Hour

// ClientFile and ClientKeyFile name a user's files.
func ClientFile(user string) string { return "client." + user + ".crt" }

// ClientKeyFile: see ClientFile.
func ClientKeyFile(user string) string { return "client." + user + ".key" }

// CreateCA makes an authority: dir/ca.crt, and its key in keyFile (empty: dir/ca.key).
func CreateCA(dir, keyFile string, lifetime time.Duration) error {
	if lifetime <= 0 {
		return errors.New("the lifetime must be positive")
	}
	if keyFile == "" {
		keyFile = filepath.Join(dir, CAKeyFile)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t, err := template("Pamir CA", lifetime)
	if err != nil {
		return err
	}
	t.IsCA, t.MaxPathLenZero = true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return err
	}
	return writePair(filepath.Join(dir, CAFile), keyFile, der, key)
}

// CreateNode makes a node's certificate for hosts: names and IP addresses that clients and other nodes dial.
func CreateNode(dir, caKey string, hosts []string, lifetime time.Duration) error {
	if len(hosts) == 0 {
		return errors.New("name at least one host or IP address by which others reach the node")
	}
	t, err := template("node", lifetime)
	if err != nil {
		return err
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else if validHost(h) {
			t.DNSNames = append(t.DNSNames, h)
		} else {
			return fmt.Errorf("%q is neither a host name nor an IP address", h)
		}
	}
	t.URIs = []*url.URL{mustURI(nodeURI)}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	return issue(dir, caKey, filepath.Join(dir, NodeFile), filepath.Join(dir, NodeKeyFile), t, lifetime)
}

// CreateClient makes the certificate of a SQL user or operator.
func CreateClient(dir, caKey, user string, lifetime time.Duration) error {
	if user == "" || len(user) > 63 || strings.ContainsAny(user, "/\\\x00") || user == "." || user == ".." {
		return fmt.Errorf("%q cannot be the name of a user's certificate", user)
	}
	t, err := template(user, lifetime)
	if err != nil {
		return err
	}
	t.URIs = []*url.URL{mustURI(clientURI)}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return issue(dir, caKey, filepath.Join(dir, ClientFile(user)), filepath.Join(dir, ClientKeyFile(user)), t, lifetime)
}

func validHost(h string) bool {
	if h == "" || len(h) > 253 {
		return false
	}
	for _, label := range strings.Split(strings.TrimPrefix(h, "*."), ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			return false
		}
	}
	return true
}

func mustURI(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err) // a constant
	}
	return u
}

func template(name string, lifetime time.Duration) (*x509.Certificate, error) {
	if lifetime <= 0 {
		return nil, errors.New("the lifetime must be positive")
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name, Organization: []string{"Pamir"}},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(lifetime), BasicConstraintsValid: true,
	}, nil
}

// issue signs t with the authority of dir and writes it with a new key.
func issue(dir, caKey, certFile, keyFile string, t *x509.Certificate, lifetime time.Duration) error {
	if caKey == "" {
		caKey = filepath.Join(dir, CAKeyFile)
	}
	cas, err := readCertificates(filepath.Join(dir, CAFile))
	if err != nil {
		return fmt.Errorf("%w (make one with pamir cert create-ca)", err)
	}
	signer, err := readKey(caKey)
	if err != nil {
		return err
	}
	ca := matching(cas, signer)
	if ca == nil {
		return fmt.Errorf("%s is not the key of a certificate in %s", caKey, filepath.Join(dir, CAFile))
	}
	if t.NotAfter.After(ca.NotAfter) {
		return fmt.Errorf("the authority ends on %s, before the certificate would (--lifetime %s): choose a shorter lifetime or replace the authority",
			ca.NotAfter.UTC().Format(time.DateOnly), lifetime)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, t, ca, key.Public(), signer)
	if err != nil {
		return err
	}
	return writePair(certFile, keyFile, der, key)
}

// matching returns the certificate that key belongs to.
func matching(cas []*x509.Certificate, key crypto.Signer) *x509.Certificate {
	pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok {
		return nil
	}
	for _, c := range cas {
		if pub.Equal(c.PublicKey) {
			return c
		}
	}
	return nil
}

// writePair writes a key and its certificate; neither may exist. Without the certificate the key is taken back.
func writePair(certFile, keyFile string, der []byte, key *ecdsa.PrivateKey) error {
	for _, f := range []string{certFile, keyFile} {
		if _, err := os.Lstat(f); err == nil {
			return fmt.Errorf("%s exists and is not overwritten: move it away first", f)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writeNew(keyFile, 0o600, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})); err != nil {
		return err
	}
	if err := writeNew(certFile, 0o644, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})); err != nil {
		return errors.Join(err, os.Remove(keyFile))
	}
	return nil
}

func writeNew(path string, mode os.FileMode, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}
