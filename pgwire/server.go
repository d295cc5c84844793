package pgwire

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pamirdb/pamir/sql"
	"github.com/pamirdb/pamir/sql/pgerr"
)

// Config of a Server. Open is required.
type Config struct {
	// Open makes the session of an authenticated connection.
	Open func(args sql.SessionArgs, client sql.Client) (Session, error)
	// Admit says on what terms a client is let in, or refuses it (with a *pgerr.Error); nil trusts everybody that Open accepts.
	Admit func(context.Context, AuthRequest) (*sql.Terms, error)
	// TLS, if not nil, is offered to clients that ask. It is called for each connection; the first and only certificate must have its Leaf.
	TLS func() *tls.Config
	// ExplainTLS, if not nil, says better for the log why a handshake has failed.
	ExplainTLS func(error) error
	// MaxConnections bounds sessions (default 1000).
	MaxConnections int
	// MaxMessage bounds a message's body (default 256 MiB).
	MaxMessage int
	// NewPID gives connections their process ids; nil counts.
	NewPID func() int32
	// CancelElsewhere passes a cancel request on that names no connection of this server: a load balancer may have sent it to any node.
	// The receiver checks the key (Server.Cancel). nil: such a request is dropped.
	CancelElsewhere func(pid int32, key []byte)
	// CutOff returns why clients are better served elsewhere, or nil: new ones are refused with it, and whoever is told that the database cannot
	// be reached (57P03) is told this instead, for good, so that it connects anew. nil: never.
	CutOff func() *pgerr.Error
	// AuthTimeout bounds everything before ReadyForQuery (default 1 min).
	AuthTimeout time.Duration
	Log         *slog.Logger
}

// Server accepts connections. Make it with New.
type Server struct {
	cfg      Config
	log      *slog.Logger
	draining atomic.Bool
	nextPID  atomic.Int32
	metrics  Metrics
	failures failures
	// stopping is closed when the server drains; guarded by mu, replaced by Resume.
	stopping chan struct{}

	wg    sync.WaitGroup
	mu    sync.Mutex
	lis   map[net.Listener]struct{}
	conns map[*conn]struct{}
	pids  map[int32]*conn
	open  int // connections that hold a place
}

// Metrics of a server, to be read at any time.
type Metrics struct {
	Connections   atomic.Int64 // open now
	Accepted      atomic.Int64
	Refused       atomic.Int64 // failed before ReadyForQuery
	Handshakes    atomic.Int64 // of TLS, failed
	AuthFailures  atomic.Int64 // wrong passwords
	Messages      atomic.Int64
	BytesIn       atomic.Int64
	BytesOut      atomic.Int64
	Malformed     atomic.Int64
	Panics        atomic.Int64
	CancelRequest atomic.Int64
}

// New makes a server. Call Serve with one or more listeners, and Close in the end.
func New(cfg Config) *Server {
	if cfg.MaxConnections <= 0 {
		cfg.MaxConnections = 1000
	}
	if cfg.MaxMessage <= 0 {
		cfg.MaxMessage = DefaultMaxMessage
	}
	if cfg.AuthTimeout <= 0 {
		cfg.AuthTimeout = time.Minute
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Server{cfg: cfg, log: cfg.Log, lis: map[net.Listener]struct{}{}, conns: map[*conn]struct{}{}, pids: map[int32]*conn{}, stopping: make(chan struct{})}
}

// Metrics returns the counters.
func (s *Server) Metrics() *Metrics { return &s.metrics }

// cutOff: see Config.
func (s *Server) cutOff() *pgerr.Error {
	if s.cfg.CutOff == nil {
		return nil
	}
	return s.cfg.CutOff()
}

// Serve accepts connections until the listener fails or the server drains; then it returns nil. Connections go on.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.draining.Load() {
		s.mu.Unlock()
		return l.Close()
	}
	s.lis[l] = struct{}{}
	s.wg.Add(1)
	s.mu.Unlock()
	defer s.wg.Done()
	defer func() {
		s.mu.Lock()
		delete(s.lis, l)
		s.mu.Unlock()
		_ = l.Close() // closed already if we are draining
	}()
	delay := time.Duration(0)
	for {
		nc, err := l.Accept()
		if err != nil {
			if s.draining.Load() {
				return nil
			}
			var ne net.Error
			if errors.As(err, &ne) && !errors.Is(err, net.ErrClosed) {
				// Out of descriptors or memory: back off, serve those that are in.
				delay = min(max(2*delay, 5*time.Millisecond), time.Second)
				s.log.Warn("accept failed", "error", err, "retry_in", delay)
				time.Sleep(delay)
				continue
			}
			return err
		}
		delay = 0
		s.start(nc)
	}
}

// start gives a connection its goroutine, or closes it if there are far too many.
func (s *Server) start(nc net.Conn) {
	s.metrics.Accepted.Add(1)
	c := newConn(s, nc)
	s.mu.Lock()
	c.over = s.open >= s.cfg.MaxConnections
	// Refusals are served too (the client wants to read why), but not without bound.
	if s.draining.Load() || len(s.conns) >= s.cfg.MaxConnections+64 {
		s.mu.Unlock()
		s.metrics.Refused.Add(1)
		_ = nc.Close()
		return
	}
	if !c.over {
		s.open++
	}
	s.conns[c] = struct{}{}
	for {
		if s.cfg.NewPID != nil {
			c.pid = s.cfg.NewPID()
		} else {
			c.pid = s.nextPID.Add(1) & 0x7fffffff
		}
		if _, taken := s.pids[c.pid]; !taken && c.pid != 0 {
			break
		}
	}
	s.wg.Add(1)
	s.mu.Unlock()
	s.metrics.Connections.Add(1)
	go func() {
		defer s.wg.Done()
		c.serve()
		s.mu.Lock()
		delete(s.conns, c)
		if s.pids[c.pid] == c {
			delete(s.pids, c.pid)
		}
		if !c.over {
			s.open--
		}
		s.mu.Unlock()
		s.metrics.Connections.Add(-1)
	}()
}

// listen makes a connection reachable by cancel requests.
func (s *Server) listen(c *conn) {
	s.mu.Lock()
	s.pids[c.pid] = c
	s.mu.Unlock()
}

// cancel serves a CancelRequest's body: process id and key. Nothing is ever answered.
func (s *Server) cancel(body []byte) {
	s.metrics.CancelRequest.Add(1)
	if len(body) < 4+keyLength30 || len(body) > 4+256 {
		return
	}
	pid, key := int32(binary.BigEndian.Uint32(body)), body[4:]
	if !s.Cancel(pid, key) && s.cfg.CancelElsewhere != nil {
		s.cfg.CancelElsewhere(pid, key)
	}
}

// Cancel interrupts what a connection runs, if the key is its own. It reports whether the connection is one of this server's.
func (s *Server) Cancel(pid int32, key []byte) (here bool) {
	s.mu.Lock()
	c := s.pids[pid]
	s.mu.Unlock()
	if c == nil {
		return false
	}
	if subtle.ConstantTimeCompare(c.key, key) == 1 {
		c.session().Cancel()
	}
	return true
}

// Drain stops accepting, ends idle connections, and lets transactions that are open finish until
// ctx ends; then it ends them, too. It returns when no connection is left.
func (s *Server) Drain(ctx context.Context) {
	s.mu.Lock()
	if !s.draining.Swap(true) {
		close(s.stopping)
	}
	for l := range s.lis {
		_ = l.Close() // Serve reports
	}
	for c := range s.conns {
		c.wake()
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	select {
	case <-done:
		return
	case <-ctx.Done():
	}
	s.each(func(c *conn) { c.terminate() })
	// A connection whose client does not read hangs in a write: take its socket away.
	select {
	case <-done:
		return
	case <-time.After(time.Second):
	}
	s.each(func(c *conn) { c.hangUp() })
	<-done
}

// Close ends everything at once.
func (s *Server) Close() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.Drain(ctx)
}

func (s *Server) each(f func(*conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		f(c)
	}
}
