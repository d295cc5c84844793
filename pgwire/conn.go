package pgwire

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// conn is one connection. Its goroutine owns everything except what is under mu and the atomics.
type conn struct {
	srv *Server
	r   *reader
	w   writer
	pid int32
	key []byte
	tls bool
	// cert is the certificate that was shown to the client, peer the client's own, verified.
	cert, peer *x509.Certificate
	// over: there was no place left; the client is told so once it has introduced itself.
	over bool
	// skip: discard everything up to Sync.
	skip bool
	// idle: the goroutine waits for the first byte of a message.
	idle bool
	// pending: there were messages of the extended protocol since the last ReadyForQuery; what they did may not be committed yet.
	pending bool
	// lingers: the client is told something that it must not miss.
	lingers bool
	// messages not yet added to the server's counter.
	messages int64

	bind   bindMessage
	params []types.OID

	forced atomic.Bool // terminate has been called

	mu   sync.Mutex
	net  net.Conn // replaced once, by TLS
	sess Session
}

// Reasons for the end of a connection.
var (
	errTerminated = pgerr.New(pgerr.AdminShutdown, "terminating connection due to administrator command")
	errIdle       = errors.New("idle for too long")
)

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{srv: s, net: nc}
	c.r = newReader((*source)(c))
	c.w.dst = (*sink)(c)
	return c
}

func (c *conn) remote() string {
	if a := c.net.RemoteAddr(); a != nil {
		return a.String()
	}
	return ""
}

func (c *conn) setNet(nc net.Conn) {
	c.mu.Lock()
	c.net = nc
	c.mu.Unlock()
}

func (c *conn) setSession(s Session) {
	c.mu.Lock()
	c.sess = s
	c.mu.Unlock()
}

func (c *conn) session() Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sess
}

// wake makes a blocked read look at the flags again. From any goroutine.
func (c *conn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.net.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed socket
}

// terminate ends the connection whatever it does. From any goroutine.
func (c *conn) terminate() {
	c.forced.Store(true)
	if s := c.session(); s != nil {
		s.Terminate()
	}
	c.wake()
	// A client that does not read must not keep the session, and its locks, either.
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.net.SetWriteDeadline(time.Now().Add(lingerFor)) // fails only on a closed socket
}

func (c *conn) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.net.Close()
}

// serve is the life of the connection.
func (c *conn) serve() {
	defer c.finish()
	defer func() {
		if p := recover(); p != nil {
			c.srv.metrics.Panics.Add(1)
			c.srv.log.Error("panic under a connection", "remote", c.remote(), "panic", p, "stack", string(debug.Stack()))
			c.fatal(pgerr.New(pgerr.InternalError, "internal error: %v", p))
		}
	}()
	if err := c.open(); err != nil {
		c.srv.metrics.Refused.Add(1)
		c.end(err)
		return
	}
	c.end(c.loop())
}

// finish releases everything.
func (c *conn) finish() {
	defer c.hangUp()
	c.srv.metrics.Messages.Add(c.messages)
	if c.sess != nil {
		defer func() {
			if p := recover(); p != nil {
				c.srv.metrics.Panics.Add(1)
				c.srv.log.Error("panic while closing a session", "panic", p, "stack", string(debug.Stack()))
			}
		}()
		c.sess.Close()
	}
	if c.lingers && c.w.err == nil {
		c.linger()
	}
}

// end says goodbye as err asks for.
func (c *conn) end(err error) {
	var pe *protocolError
	switch {
	case err == nil, errors.Is(err, errDone), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
	case errors.As(err, &pe):
		c.srv.metrics.Malformed.Add(1)
		c.srv.log.Info("protocol violation", "remote", c.remote(), "error", pe.msg)
		c.fatal(pgerr.New(pgerr.ProtocolViolation, "%s", pe.msg))
	default:
		if e, ok := pgerr.As(err); ok {
			c.fatal(e)
			c.lingers = errors.Is(err, errTerminated) || e.Code == pgerr.StatementCompletionUnknown
			return
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && c.sess == nil {
			return // authentication took too long; PostgreSQL says nothing either
		}
		var ne net.Error
		if errors.As(err, &ne) {
			return
		}
		c.fatal(pgerr.New(pgerr.InternalError, "%s", err.Error()))
	}
}

// fatal reports an error as FATAL and sends everything.
func (c *conn) fatal(e *pgerr.Error) {
	c.w.report('E', "FATAL", e)
	_ = c.net.SetWriteDeadline(time.Now().Add(time.Second)) // fails only on a closed socket
	c.w.flush()
}

// linger waits, for a little, until the client has closed its end. A client may have sent its next statement before it read that the
// connection ends; a socket that is closed with something unread is reset, and a reset takes away from the client what it
// has not read yet: the reason, 57P01, which says that nothing of that statement was done.
func (c *conn) linger() {
	half, ok := c.net.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	var buf [4096]byte
	for end := time.Now().Add(lingerFor); time.Now().Before(end); {
		_ = c.net.SetReadDeadline(end) // fails only on a closed socket
		// A deadline that passed earlier than end is that of wake.
		if _, err := c.net.Read(buf[:]); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
	}
}

// lingerFor bounds linger.
const lingerFor = 500 * time.Millisecond

// ready sends ReadyForQuery.
func (c *conn) ready() {
	c.pending = false
	at := c.w.begin('Z')
	c.w.buf = append(c.w.buf, c.sess.Status())
	c.w.end(at)
}

// fail reports an error of a statement. It returns an error if the connection is to end.
func (c *conn) fail(err error) error {
	var be *bodyError
	if errors.As(err, &be) {
		c.srv.metrics.Malformed.Add(1)
		c.sess.Fail()
		err = pgerr.New(pgerr.ProtocolViolation, "%s", be.msg)
	}
	e, ok := pgerr.As(err)
	if !ok {
		e = pgerr.New(pgerr.InternalError, "%s", err.Error())
	}
	if c.forced.Load() {
		if e.Code == pgerr.StatementCompletionUnknown {
			// A commit that may have happened: 57P01 would say that it has not. The connection ends with that, which is all that it needs to be told.
			doubt := *e
			doubt.Severity = "FATAL"
			return &doubt
		}
		return errTerminated
	}
	if e.Severity == "FATAL" {
		return e
	}
	if e.Code == pgerr.CannotConnectNow {
		if elsewhere := c.srv.cutOff(); elsewhere != nil {
			return elsewhere
		}
	}
	c.w.report('E', "ERROR", e)
	return nil
}

// loop serves messages until the connection ends.
func (c *conn) loop() error {
	for {
		c.idle = true
		typ, body, err := c.r.next()
		c.idle = false
		if err != nil {
			if errors.Is(err, errIdle) {
				_, e := c.sess.IdleTimeout()
				return e
			}
			return err
		}
		c.messages++
		if c.messages >= 256 {
			c.srv.metrics.Messages.Add(c.messages)
			c.messages = 0
		}
		if typ == msgTerminate {
			return nil
		}
		if typ == msgSync {
			if err := c.sync(); err != nil {
				return err
			}
			continue
		}
		if c.skip {
			continue
		}
		if typ == msgQuery || typ == msgFunction {
			if err := c.simple(typ, body); err != nil {
				return err
			}
			continue
		}
		c.pending = true
		if err := c.extended(typ, body); err != nil {
			if err := c.fail(err); err != nil {
				return err
			}
			c.skip = true
		}
		if c.w.err != nil {
			return c.w.err
		}
	}
}

func (c *conn) sync() error {
	c.skip = false
	if err := c.sess.Sync(); err != nil {
		if err := c.fail(err); err != nil {
			return err
		}
	}
	c.ready()
	return c.w.err
}

// simple serves Query and FunctionCall: whatever happens, ReadyForQuery follows.
func (c *conn) simple(typ byte, body []byte) error {
	var err error
	if typ == msgFunction {
		c.sess.Fail()
		err = pgerr.Unsupported("the function call protocol", "Call the function in a SELECT.")
	} else {
		d := decoder{b: body}
		text := d.cstring()
		if err = d.end(); err == nil {
			err = c.sess.Query(string(text))
		}
	}
	if err != nil {
		if err := c.fail(err); err != nil {
			return err
		}
	}
	c.ready()
	return c.w.err
}

// extended serves the messages of the extended protocol, except Sync.
func (c *conn) extended(typ byte, body []byte) error {
	d := decoder{b: body}
	switch typ {
	case msgParse:
		name, text := d.cstring(), d.cstring()
		n := d.int16()
		c.params = c.params[:0]
		for range n {
			if d.err != nil {
				break
			}
			c.params = append(c.params, types.OID(uint32(d.int32())))
		}
		if err := d.end(); err != nil {
			return err
		}
		if err := c.sess.Parse(string(name), string(text), c.params); err != nil {
			return err
		}
		c.w.bare('1')
	case msgBind:
		m := &c.bind
		if err := m.decode(body); err != nil {
			return err
		}
		if err := c.sess.Bind(m.portal, m.statement, m.paramFormats, m.params, m.resultFormats); err != nil {
			return err
		}
		c.w.bare('2')
	case msgDescribe:
		kind, name := d.byte(), d.cstring()
		if err := d.end(); err != nil {
			return err
		}
		return c.describe(kind, name)
	case msgExecute:
		portal, limit := d.cstring(), d.int32()
		if err := d.end(); err != nil {
			return err
		}
		if limit < 0 {
			limit = 0
		}
		return c.sess.Execute(portal, int(limit))
	case msgClose:
		kind, name := d.byte(), d.cstring()
		if err := d.end(); err != nil {
			return err
		}
		switch kind {
		case 'S':
			c.sess.CloseStatement(name)
		case 'P':
			c.sess.ClosePortal(name)
		default:
			return &bodyError{fmt.Sprintf("invalid CLOSE message subtype %d", kind)}
		}
		c.w.bare('3')
	case msgFlush:
		c.w.flush()
	case msgCopyData, msgCopyDone, msgCopyFail:
		// What a client had under way when a COPY failed.
	case msgPassword:
		return &bodyError{"unexpected password message"}
	}
	return nil
}

func (c *conn) describe(kind byte, name []byte) error {
	switch kind {
	case 'S':
		params, shape, err := c.sess.DescribeStatement(name)
		if err != nil {
			return err
		}
		at := c.w.begin('t')
		c.w.int16(len(params))
		for _, p := range params {
			c.w.int32(int32(p))
		}
		c.w.end(at)
		c.Describe(shape)
	case 'P':
		shape, err := c.sess.DescribePortal(name)
		if err != nil {
			return err
		}
		c.Describe(shape)
	default:
		return &bodyError{fmt.Sprintf("invalid DESCRIBE message subtype %d", kind)}
	}
	return nil
}

// source is a conn as the reader sees it: it sends what is waiting before it blocks, and turns deadlines into reasons.
type source conn

func (s *source) Read(p []byte) (int, error) {
	c := (*conn)(s)
	c.w.flush()
	if c.w.err != nil {
		return 0, c.w.err
	}
	if c.sess == nil {
		return c.net.Read(p)
	}
	var limit time.Time
	first := c.idle && c.r.buffered() == 0
	if first {
		if d, _ := c.sess.IdleTimeout(); d > 0 {
			limit = time.Now().Add(d)
			_ = c.net.SetReadDeadline(limit)
		}
	}
	for {
		// The flags come after the deadline is set and before the read: wake sets them in the other order, so
		// whichever way the two interleave the read ends.
		if c.forced.Load() || c.srv.draining.Load() && first && !c.pending && c.sess.Status() == 'I' {
			return 0, errTerminated
		}
		n, err := c.net.Read(p)
		if n > 0 || err == nil {
			c.srv.metrics.BytesIn.Add(int64(n))
			if !limit.IsZero() {
				_ = c.net.SetReadDeadline(time.Time{})
				if c.forced.Load() {
					c.wake() // the line above may have undone it
				}
			}
			return n, nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, err
		}
		if !limit.IsZero() && !time.Now().Before(limit) {
			return 0, errIdle
		}
		_ = c.net.SetReadDeadline(limit)
	}
}

// sink is a conn as the writer sees it.
type sink conn

func (s *sink) Write(p []byte) (int, error) {
	c := (*conn)(s)
	n, err := c.net.Write(p)
	c.srv.metrics.BytesOut.Add(int64(n))
	return n, err
}
