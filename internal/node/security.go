package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/credentials"

	"github.com/pamirdb/pamir/internal/admin"
	"github.com/pamirdb/pamir/internal/certs"
	"github.com/pamirdb/pamir/pgwire"
	"github.com/pamirdb/pamir/sql"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/role"
)

// loadCerts loads the node's certificates, if it has any, and keeps them fresh.
func (n *Node) loadCerts() error {
	if n.cfg.CertsDir == "" {
		if n.cfg.Insecure {
			n.log.Warn("INSECURE: no certificates. Whoever reaches this node's ports can read and write everything.")
		} else {
			n.log.Warn("no certificates: listening on loopback only, and everybody on this machine may read and write everything")
		}
		return nil
	}
	s, err := certs.Open(n.cfg.CertsDir)
	if err != nil {
		return err
	}
	n.certs = s
	n.log.Info("certificates loaded", "dir", s.Dir(), "expire", s.Expiry().UTC().Format(time.RFC3339))
	if err := n.dialable(); err != nil {
		n.log.Warn("certificates", "err", err)
	}
	n.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "pamir_certificates_expire_timestamp_seconds",
		Help: "When the first of the node's certificate and its authority ends."}, func() float64 { return float64(s.Expiry().Unix()) }))
	n.background(func(ctx context.Context) { s.Watch(ctx, n.reload, n.log) })
	return nil
}

// dialable reports why other nodes could not dial this one, though it can dial them: its certificate is not for the host that they are told.
func (n *Node) dialable() error {
	if n.certs == nil {
		return nil
	}
	host, _, err := net.SplitHostPort(n.rpcAddr)
	if err == nil {
		err = n.certs.FitsHost(host)
	}
	if err != nil {
		return fmt.Errorf("other nodes could not dial this one at %s (--rpc-addr or --advertise-rpc-addr): %w", n.rpcAddr, err)
	}
	return nil
}

// ReloadCertificates looks at the certificate files again; they are watched anyway.
func (n *Node) ReloadCertificates() {
	if n.certs == nil {
		n.log.Info("there are no certificates to reload")
		return
	}
	select {
	case n.reload <- struct{}{}:
	default: // it is about to
	}
}

// securityNotice says in one line how safe the node is.
func (n *Node) securityNotice() string {
	switch {
	case n.certs != nil:
		return "TLS; nodes, operators and clients show who they are"
	case n.cfg.Insecure:
		return "INSECURE: no certificates; whoever reaches this node can read and write everything"
	}
	return "no certificates: loopback only, everybody on this machine can read and write everything"
}

// nodeCreds are the credentials between nodes; nil without certificates.
func (n *Node) nodeCreds() (server, client credentials.TransportCredentials) {
	if n.certs == nil {
		return nil, nil
	}
	return &watchedCreds{credentials.NewTLS(n.certs.NodeServer()), n.log, new(atomic.Int64)}, credentials.NewTLS(n.certs.NodeClient())
}

// watchedCreds logs who was refused and why: the other side hears little more than that it was.
type watchedCreds struct {
	credentials.TransportCredentials
	log  *slog.Logger
	last *atomic.Int64
}

// reportEvery bounds the log lines that strangers can cause.
const reportEvery = time.Second

// ServerHandshake implements credentials.TransportCredentials.
func (r *watchedCreds) ServerHandshake(nc net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, info, err := r.TransportCredentials.ServerHandshake(nc)
	if err != nil && !errors.Is(err, io.EOF) {
		now, last := time.Now().UnixNano(), r.last.Load()
		if now-last > int64(reportEvery) && r.last.CompareAndSwap(last, now) {
			r.log.Warn("a connection on the port between nodes was refused", "remote", nc.RemoteAddr(), "err", err)
		}
	}
	return c, info, err
}

// Clone implements credentials.TransportCredentials.
func (r *watchedCreds) Clone() credentials.TransportCredentials {
	return &watchedCreds{r.TransportCredentials.Clone(), r.log, r.last}
}

// refusedByTLS reports whether an error between nodes is about certificates: asking again does not help.
func refusedByTLS(err error) bool {
	s := err.Error()
	return strings.Contains(s, "authentication handshake failed") && !strings.Contains(s, "EOF") && !strings.Contains(s, "deadline") &&
		!strings.Contains(s, "connection reset") || strings.Contains(s, "remote error: tls:")
}

// secureWire adds TLS and the rules of who may connect to the SQL front end.
func (n *Node) secureWire(cfg *pgwire.Config, srv *sql.Server) {
	if n.certs != nil {
		cfg.TLS, cfg.ExplainTLS = n.certs.Clients, explainTLS
	}
	cfg.Admit = func(ctx context.Context, r pgwire.AuthRequest) (*sql.Terms, error) {
		return srv.Admit(ctx, arrival(r.User, r.Database, r.Remote, r.TLS, r.Certificate))
	}
}

// explainTLS says for the log why a client's handshake failed. OpenSSL refuses certificates in plain text even when keys are agreed upon, which looks like noise.
func explainTLS(err error) error {
	if strings.Contains(err.Error(), "bad record MAC") {
		return fmt.Errorf("%w (most likely the client does not trust this node's certificate)", err)
	}
	return certs.Explain(err)
}

func arrival(user, database string, remote net.Addr, secure bool, cert *x509.Certificate) *sql.Arrival {
	a := &sql.Arrival{User: user, Database: database, TLS: secure}
	if t, ok := remote.(*net.TCPAddr); ok {
		a.Addr, _ = netip.AddrFromSlice(t.IP)
	}
	if cert != nil {
		a.Certificate, a.CertUser = true, certs.User(cert)
	}
	return a
}

type userKey struct{}

// UserOf is who makes a request, as guard found out.
func UserOf(ctx context.Context) string {
	u, _ := ctx.Value(userKey{}).(string)
	return u
}

// guard lets requests through to h by whoever may make them: the health of a node is for everybody, looking for members of pamir_viewer, and
// changing things (and profiles) for members of pamir_operator. Users show a client certificate or, by HTTP's basic authentication, a password.
// Without certificates everybody is root.
func (n *Node) guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		changes := r.Method != http.MethodGet && r.Method != http.MethodHead
		if changes && foreignOrigin(r) {
			refuse(w, r, admin.CodeForbidden, "a page of another origin may not ask this")
			return
		}
		if n.certs == nil {
			if !n.cfg.Insecure && !localHost(r.Host) {
				// A name that resolves to loopback today: a web page's way around the browser's same-origin rule.
				refuse(w, r, admin.CodeForbidden, "this node has no certificates and answers to localhost only")
				return
			}
			h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, role.Root)))
			return
		}
		if r.URL.Path == "/health" || r.URL.Path == "/ready" {
			h.ServeHTTP(w, r)
			return
		}
		need := role.Viewer
		if changes || strings.HasPrefix(r.URL.Path, "/debug/") {
			need = role.Operator
		}
		user, err := n.identifyRequest(r, need)
		if err != nil {
			e, _ := pgerr.As(err)
			switch {
			case e == nil:
				refuse(w, r, admin.CodeUnavailable, err.Error())
			case e.Code == pgerr.CannotConnectNow:
				refuse(w, r, admin.CodeUnavailable, e.Message)
			case e.Code == pgerr.InsufficientPrivilege:
				refuse(w, r, admin.CodeForbidden, e.Message)
			default:
				w.Header().Set("WWW-Authenticate", `Basic realm="pamir", charset="UTF-8"`)
				refuse(w, r, admin.CodeNotAuthenticated, e.Message)
			}
			return
		}
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, user)))
	})
}

// refuse answers the API's clients as the API does, and people in plain text.
func refuse(w http.ResponseWriter, r *http.Request, code, detail string) {
	p := admin.NewProblem(code, "%s", detail)
	if r.URL.Path == admin.Prefix || strings.HasPrefix(r.URL.Path, admin.Prefix+"/") {
		admin.WriteProblem(w, p)
		return
	}
	http.Error(w, detail, p.Status)
}

// identifyRequest finds out who makes a request, and whether that is a member of a role.
func (n *Node) identifyRequest(r *http.Request, need string) (string, error) {
	var cert *x509.Certificate
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		cert = r.TLS.VerifiedChains[0][0]
	}
	user, password, basic := r.BasicAuth()
	if !basic {
		if cert == nil {
			return "", pgerr.New(pgerr.InvalidAuthorization, "a client certificate or a password is required")
		}
		user = certs.User(cert)
	}
	if cert != nil && certs.User(cert) == role.Root && user == role.Root {
		return user, nil // even while nobody knows the roles
	}
	serving := n.serving.Load()
	if serving == nil {
		return "", errors.New("starting: users are not known yet")
	}
	users := serving.sql
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	var remote net.Addr
	if a, err := net.ResolveTCPAddr("tcp", r.RemoteAddr); err == nil { // an address, never a name
		remote = a
	}
	if err := users.CheckPassword(ctx, arrival(user, sql.DefaultDatabase, remote, true, cert), password); err != nil {
		if pgerr.Code(err) == pgerr.InvalidPassword {
			n.log.Info("http: authentication failed", "remote", r.RemoteAddr, "user", user)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
		return "", err
	}
	if err := users.MayUse(ctx, user, need); err != nil {
		return "", err
	}
	return user, nil
}

// foreignOrigin reports whether a browser says that a page of another origin makes the request.
func foreignOrigin(r *http.Request) bool {
	o := r.Header.Get("Origin")
	if o == "" {
		return false
	}
	u, err := url.Parse(o)
	return err != nil || u.Host != r.Host
}

func localHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" || host == "" {
		return true
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}

// secureHTTP wraps the listener of HTTP in TLS, if there are certificates.
func (n *Node) secureHTTP(ln net.Listener) net.Listener {
	if n.certs == nil {
		return ln
	}
	return tls.NewListener(ln, n.certs.HTTPServer())
}

// httpFront is the page that says what there is.
func (n *Node) httpFront(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "Pamir %s\n\nsecurity  %s\n\n/health /ready /metrics\n%s/cluster %[3]s/nodes %[3]s/ranges %[3]s/placement\n%[3]s/openapi.json\n", n.cfg.Build, n.securityNotice(), admin.Prefix)
}
