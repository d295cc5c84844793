package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/pamirdb/pamir/internal/admin"
	"github.com/pamirdb/pamir/internal/certs"
)

// adminClient asks the nodes of a cluster over HTTP.
type adminClient struct {
	asked    *asked
	scheme   string
	hosts    []string
	http     *http.Client
	password string
	key      string // makes what it asks for idempotent, if not empty
	retryFor time.Duration
	patience time.Duration // before it says that it tries again
}

const (
	// askTimeout bounds one request; askAgainFor is how long one that reaches nobody is tried again, if that is harmless.
	askTimeout  = 90 * time.Second
	askAgainFor = 30 * time.Second
	maxAnswer   = 256 << 20
)

func fromEnv(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

func newAdminClient(q *asked) (*adminClient, error) {
	c := &adminClient{asked: q, scheme: "http", retryFor: askAgainFor, patience: 2 * time.Second}
	for _, h := range splitList(q.host) {
		if rest, ok := strings.CutPrefix(h, "https://"); ok {
			h, c.scheme = rest, "https"
		}
		h = strings.TrimSuffix(strings.TrimPrefix(h, "http://"), "/")
		if _, _, err := net.SplitHostPort(h); err != nil {
			return nil, fmt.Errorf("--host %q: %w", h, err)
		}
		c.hosts = append(c.hosts, h)
	}
	if len(c.hosts) == 0 {
		return nil, errors.New("--host names no node")
	}
	tr := &http.Transport{DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, TLSHandshakeTimeout: 5 * time.Second, ForceAttemptHTTP2: true}
	if q.certsDir != "" {
		c.scheme = "https"
		cfg, err := certs.Client(q.certsDir, q.user)
		if errors.Is(err, fs.ErrNotExist) {
			if cfg, err = certs.Authority(q.certsDir); err == nil {
				c.password, err = askPassword(q.user)
			}
		}
		if err != nil {
			return nil, err
		}
		tr.TLSClientConfig = cfg
	} else if c.scheme == "https" {
		var err error
		if c.password, err = askPassword(q.user); err != nil {
			return nil, err
		}
		tr.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12} // of an authority that this machine knows
	}
	c.http = &http.Client{Transport: tr, Timeout: askTimeout}
	return c, nil
}

// askPassword takes a password from the environment or the terminal.
func askPassword(user string) (string, error) {
	if p := os.Getenv("PAMIR_PASSWORD"); p != "" {
		return p, nil
	}
	in := int(os.Stdin.Fd())
	if !term.IsTerminal(in) {
		return "", fmt.Errorf("%s has no certificate in --certs-dir, and PAMIR_PASSWORD is not set", user)
	}
	fmt.Fprintf(os.Stderr, "Password of %s: ", user)
	b, err := term.ReadPassword(in)
	fmt.Fprintln(os.Stderr)
	return string(b), err
}

// ask sends a request to the first host that answers. What changes nothing, or has a key, is sent again when the answer is lost.
func (c *adminClient) ask(ctx context.Context, method, path string, query url.Values, body []byte) ([]byte, error) {
	again := method == http.MethodGet || c.key != ""
	began, told := time.Now(), false
	for {
		// Of several hosts that do not help, one that says why tells more than those that are not there.
		var last error
		for _, h := range c.hosts {
			answer, err := c.askHost(ctx, h, method, path, query, body)
			if err == nil || !passing(err) {
				return answer, err
			}
			if last == nil || errors.Is(last, syscall.ECONNREFUSED) || !errors.Is(err, syscall.ECONNREFUSED) {
				last = err
			}
			if ctx.Err() != nil || !again && !errors.Is(err, syscall.ECONNREFUSED) {
				return nil, err
			}
		}
		// A host that refuses connections is not there, most likely by mistake: nobody wants to wait for that.
		if errors.Is(last, syscall.ECONNREFUSED) || !again || time.Since(began) > c.retryFor {
			return nil, last
		}
		if !told && time.Since(began) > c.patience {
			told = true
			fmt.Fprintf(c.asked.said, "no answer yet, it is asked for %s longer: %v\n", (c.retryFor - time.Since(began)).Round(time.Second), last)
		}
		select {
		case <-time.After(300 * time.Millisecond):
		case <-ctx.Done():
			return nil, last
		}
	}
}

// errAnswered marks an answer that is not the API's.
var errAnswered = errors.New("not the API")

type answered struct{ what string }

func (a *answered) Error() string { return a.what }
func (a *answered) Unwrap() error { return errAnswered }

func notTheAPI(format string, args ...any) error { return &answered{fmt.Sprintf(format, args...)} }

// passing reports whether an error may be gone at the next attempt, or at the next host.
func passing(err error) bool {
	var p *admin.Problem
	if errors.As(err, &p) {
		return p.Code == admin.CodeUnavailable || p.Code == admin.CodeTooMany
	}
	var cert *tls.CertificateVerificationError
	return !errors.Is(err, errAnswered) && !errors.As(err, &cert) && !refusedMe(err)
}

// refusedMe reports whether the node has ended the handshake: it does not like what it was shown, and will not at the next attempt.
func refusedMe(err error) bool { return strings.Contains(err.Error(), "remote error: tls:") }

func (c *adminClient) askHost(ctx context.Context, host, method, path string, query url.Values, body []byte) ([]byte, error) {
	u := c.scheme + "://" + host + path
	if len(query) > 0 {
		u += "?" + query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, u, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if len(body) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" && method != http.MethodGet {
		r.Header.Set(admin.KeyHeader, c.key)
	}
	if c.password != "" {
		r.SetBasicAuth(c.asked.user, c.password)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		if ue := (*url.Error)(nil); errors.As(err, &ue) {
			err = ue.Err
		}
		return nil, c.explain(host, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 300 {
		return answer, nil
	}
	var p admin.Problem
	if json.Unmarshal(answer, &p) != nil || p.Code == "" {
		if strings.Contains(string(answer), "HTTP request to an HTTPS server") {
			return nil, notTheAPI("%s speaks TLS only: the cluster has certificates, so --certs-dir is needed", host)
		}
		return nil, notTheAPI("%s answers %s: %.300s (that is not the admin API of a node)", host, resp.Status, bytes.TrimSpace(answer))
	}
	return nil, &p
}

// explain adds what is most likely wrong.
func (c *adminClient) explain(host string, err error) error {
	switch s := err.Error(); {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no node listens at %s: give --host, or set PAMIR_HOST, to a node's --http-addr (%w)", host, err)
	case strings.Contains(s, "HTTP response to HTTPS") || strings.Contains(s, "first record does not look like"):
		return notTheAPI("%s does not speak TLS: the cluster has no certificates, so --certs-dir is not to be given", host)
	case strings.Contains(s, "malformed HTTP"):
		return notTheAPI("%s does not speak HTTP: --host, or PAMIR_HOST, is a node's --http-addr, not that for SQL or for other nodes", host)
	case expired(err):
		return notTheAPI("%s: its certificate, or the authority's, has expired, or this machine's clock is wrong: make a new one for that node (pamir cert create-node); it is taken up without a restart", host)
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return notTheAPI("%s: its certificate is of an authority that is not in %s of --certs-dir %s", host, certs.CAFile, c.asked.certsDir)
	case refusedMe(err):
		return fmt.Errorf("%s does not accept the certificate of %s in --certs-dir %s, or is a node's --rpc-addr, which takes those of nodes only: %w", host, c.asked.user, c.asked.certsDir, err)
	}
	return fmt.Errorf("%s: %w", host, err)
}

// expired reports whether a certificate was refused because of its dates.
func expired(err error) bool {
	var invalid x509.CertificateInvalidError
	return errors.As(err, &invalid) && invalid.Reason == x509.Expired
}

// wait shows an operation's progress until its end, brings op up to date and returns the last answer. An interrupt ends the waiting, not the operation.
func (c *adminClient) wait(cmd *cobra.Command, op *admin.Operation) (answer []byte, err error) {
	show := newProgress(cmd.ErrOrStderr())
	defer show.end()
	path := fmt.Sprintf("%s/operations/%d", admin.Prefix, op.ID)
	ctx := cmd.Context()
	for !op.State.Over() {
		show.operation(op)
		answer, err = c.ask(ctx, http.MethodGet, path, url.Values{"wait": {"1"}}, nil)
		switch {
		case ctx.Err() != nil:
			show.end()
			fmt.Fprintf(cmd.ErrOrStderr(), "Operation %d goes on.\n  pamir operation show %d      how far it is\n  pamir operation cancel %d    undo it\n", op.ID, op.ID, op.ID)
			return nil, errDetached
		case err != nil:
			return nil, fmt.Errorf("operation %d was begun, and it is not known how far it is: %w", op.ID, err)
		}
		next := admin.Operation{}
		if err := json.Unmarshal(answer, &next); err != nil {
			return nil, fmt.Errorf("the answer is not understood: %w", err)
		}
		*op = next
	}
	return answer, nil
}
