package pgwire

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"hash"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/xdg-go/scram"

	"github.com/pamirdb/pamir/sql"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/role"
)

// AuthRequest is who asks to come in.
type AuthRequest struct {
	User, Database string
	Remote         net.Addr
	TLS            bool
	// Certificate is what the client has shown and TLS has verified; nil if it has shown none.
	Certificate *x509.Certificate
}

// Authentication codes of message R.
const (
	authOK           = 0
	authSASL         = 10
	authSASLContinue = 11
	authSASLFinal    = 12
)

const (
	mechanism     = "SCRAM-SHA-256"
	mechanismPlus = "SCRAM-SHA-256-PLUS"
)

// authenticate admits the client or returns the error that it is told.
func (c *conn) authenticate(args *sql.SessionArgs) error {
	cfg := &c.srv.cfg
	if cfg.Admit == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), cfg.AuthTimeout)
	defer cancel()
	req := AuthRequest{User: args.User, Database: args.Database, Remote: c.net.RemoteAddr(), TLS: c.tls, Certificate: c.peer}
	terms, err := cfg.Admit(ctx, req)
	if err != nil {
		attrs := []any{"remote", c.remote(), "user", args.User, "database", args.Database, "err", err}
		if c.peer != nil { // the client is not told whose certificate it has shown
			attrs = append(attrs, "certificate", c.peer.Subject.CommonName)
		}
		c.srv.log.Info("connection refused", attrs...)
		return err
	}
	if terms.Password == nil {
		return nil
	}
	err = c.scram(terms.Password)
	source := sourceOf(req.Remote)
	if err == nil {
		c.srv.failures.forget(source)
		return nil
	}
	if _, said := pgerr.As(err); said {
		return err
	}
	if _, refused := err.(errProof); !refused {
		return err // the client went away, or speaks another protocol
	}
	c.srv.metrics.AuthFailures.Add(1)
	c.srv.log.Info("authentication failed", "remote", c.remote(), "user", args.User, "reason", terms.Why, "err", err)
	if !c.pause(c.srv.failures.delay(source)) {
		return errDone
	}
	return terms.Failure
}

// errProof says that a client has not shown that it knows the password.
type errProof struct{ cause error }

func (e errProof) Error() string { return e.cause.Error() }

// scram runs the exchange of RFC 5802 and 7677, with channel binding (tls-server-end-point) if there is TLS.
func (c *conn) scram(v *role.Verifier) error {
	server, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) {
		// The name in the exchange is ignored, as in PostgreSQL: that of the startup packet counts.
		return scram.StoredCredentials{KeyFactors: scram.KeyFactors{Salt: string(v.Salt), Iters: v.Iterations}, StoredKey: v.StoredKey, ServerKey: v.ServerKey}, nil
	})
	if err != nil {
		return err
	}
	binding := endpointBinding(c.cert)
	at := c.w.begin('R')
	c.w.int32(authSASL)
	if binding != nil {
		c.w.string(mechanismPlus)
	}
	c.w.string(mechanism)
	c.w.buf = append(c.w.buf, 0)
	c.w.end(at)
	body, err := c.passwordMessage()
	if err != nil {
		return err
	}
	d := decoder{b: body}
	name, n := string(d.cstring()), d.int32()
	if d.err != nil || n < -1 || int(n) > len(d.b) {
		return protocolErrorf("malformed SASLInitialResponse")
	}
	first := ""
	if n > 0 {
		first = string(d.b[:n])
		d.b = d.b[n:]
	}
	if d.end() != nil {
		return protocolErrorf("malformed SASLInitialResponse")
	}
	var talk *scram.ServerConversation
	bound := strings.HasPrefix(first, "p=")
	switch {
	case name == mechanismPlus && binding != nil:
		if !bound && first != "" {
			return protocolErrorf("malformed SCRAM message: The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel binding data.")
		}
		talk = server.NewConversationWithChannelBindingRequired(*binding)
	case name == mechanism && bound:
		return protocolErrorf("malformed SCRAM message: The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding data.")
	case name == mechanism && binding != nil:
		talk = server.NewConversationWithChannelBinding(*binding)
	case name == mechanism:
		talk = server.NewConversation()
	default:
		return protocolErrorf("client selected an invalid SASL authentication mechanism")
	}
	if first == "" {
		// The client waits for an empty challenge.
		if first, err = c.challenge(authSASLContinue, ""); err != nil {
			return err
		}
	}
	reply, err := talk.Step(first)
	if err != nil {
		return malformed(err)
	}
	final, err := c.challenge(authSASLContinue, reply)
	if err != nil {
		return err
	}
	if reply, err = talk.Step(final); err != nil || !talk.Valid() {
		if err == nil {
			err = pgerr.New(pgerr.InternalError, "the exchange is not complete")
		}
		return errProof{err}
	}
	at = c.w.begin('R')
	c.w.int32(authSASLFinal)
	c.w.buf = append(c.w.buf, reply...)
	c.w.end(at)
	return nil
}

// malformed is what a client is told whose first message is refused.
func malformed(err error) error {
	if strings.Contains(err.Error(), "downgrade") {
		return pgerr.New(pgerr.InvalidAuthorization, "SCRAM channel binding negotiation error").
			WithDetail("The client supports SCRAM channel binding but thinks the server does not.  However, this server does support channel binding.")
	}
	return protocolErrorf("malformed SCRAM message")
}

// challenge sends a SASL message and reads the answer.
func (c *conn) challenge(code int32, text string) (string, error) {
	at := c.w.begin('R')
	c.w.int32(code)
	c.w.buf = append(c.w.buf, text...)
	c.w.end(at)
	body, err := c.passwordMessage()
	return string(body), err
}

func (c *conn) passwordMessage() ([]byte, error) {
	c.w.flush()
	typ, body, err := c.r.next()
	if err != nil {
		return nil, err
	}
	if typ != msgPassword {
		return nil, protocolErrorf("expected SASL response, got message type %d", typ)
	}
	return body, nil
}

// endpointBinding is the hash of the server's certificate (RFC 5929, section 4.1); nil without one, or if its signature has no hash.
func endpointBinding(cert *x509.Certificate) *scram.ChannelBinding {
	if cert == nil {
		return nil
	}
	var h hash.Hash
	switch cert.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1, x509.SHA256WithRSA, x509.SHA256WithRSAPSS, x509.ECDSAWithSHA256, x509.DSAWithSHA256:
		h = sha256.New()
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		h = sha512.New384()
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		h = sha512.New()
	default:
		return nil
	}
	h.Write(cert.Raw)
	return &scram.ChannelBinding{Type: scram.ChannelBindingTLSServerEndpoint, Data: h.Sum(nil)}
}

// stopped is closed when the server drains.
func (s *Server) stopped() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

// pause waits, unless the server stops.
func (c *conn) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.srv.stopped():
		return false
	}
}

// Failed attempts are answered the later the more of them came from one address.
const (
	firstDelay  = 50 * time.Millisecond
	lastDelay   = 2 * time.Second
	maxSources  = 4096
	forgetAfter = time.Minute
)

// failures counts failed attempts by address. Its size is bounded: beyond it, addresses that have been quiet longest are forgotten.
type failures struct {
	mu sync.Mutex
	by map[netip.Addr]failure
	// now is the clock; tests set it.
	now func() time.Time
}

type failure struct {
	n    int
	last time.Time
}

func sourceOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		if ip, ok := netip.AddrFromSlice(t.IP); ok {
			return ip.Unmap()
		}
	}
	return netip.Addr{}
}

// delay notes a failure and says how long its answer waits.
func (f *failures) delay(source netip.Addr) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now
	if f.now != nil {
		now = f.now
	}
	at := now()
	if f.by == nil {
		f.by = map[netip.Addr]failure{}
	}
	e := f.by[source]
	if at.Sub(e.last) > forgetAfter {
		e.n = 0
	}
	e.n, e.last = min(e.n+1, 30), at
	if _, known := f.by[source]; !known && len(f.by) >= maxSources {
		oldest, when := source, at
		for k, v := range f.by {
			if !v.last.After(when) {
				oldest, when = k, v.last
			}
		}
		delete(f.by, oldest)
	}
	f.by[source] = e
	if e.n > 6 {
		return lastDelay
	}
	return min(firstDelay<<(e.n-1), lastDelay)
}

func (f *failures) forget(source netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.by, source)
}
