package pgwire

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/pamirdb/pamir/sql"
	"github.com/pamirdb/pamir/sql/pgerr"
)

// Codes in place of a protocol version.
const (
	codeCancel = 80877102
	codeSSL    = 80877103
	codeGSSEnc = 80877104
)

const (
	newestMinor = 2
	// key lengths of BackendKeyData, by protocol.
	keyLength30 = 4
	keyLength32 = 32
)

// startupPacket is what came before the first message.
type startupPacket struct {
	minor  int
	params []sql.Setting
	// unknown lists protocol options (_pq_.*) that we do not know.
	unknown []string
}

func (p *startupPacket) get(name string) string {
	for i := range p.params {
		if p.params[i].Name == name {
			return p.params[i].Value
		}
	}
	return ""
}

// readPacket reads one length-prefixed packet of the startup phase, exactly: what follows it may be a TLS
// handshake, and bytes read ahead of that must not be taken for part of the secured stream.
func readPacket(r io.Reader) (code uint32, body []byte, err error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := int(int32(binary.BigEndian.Uint32(head[:4])))
	if n < 8 || n > maxAuthMessage {
		return 0, nil, protocolErrorf("invalid length of startup packet")
	}
	body = make([]byte, n-8)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, nil, err
	}
	return binary.BigEndian.Uint32(head[4:]), body, nil
}

func parseStartup(code uint32, body []byte) (*startupPacket, error) {
	if code>>16 != 3 {
		return nil, &pgerr.Error{Code: pgerr.FeatureNotSupported, Message: fmt.Sprintf(
			"unsupported frontend protocol %d.%d: server supports 3.0 to 3.%d", code>>16, code&0xffff, newestMinor)}
	}
	p := &startupPacket{minor: int(code & 0xffff)}
	d := decoder{b: body}
	for {
		name := d.cstring()
		if d.err != nil {
			return nil, errBadStartup
		}
		if len(name) == 0 {
			break
		}
		value := d.cstring()
		if d.err != nil {
			return nil, errBadStartup
		}
		if strings.HasPrefix(string(name), "_pq_.") {
			p.unknown = append(p.unknown, string(name))
			continue
		}
		p.params = append(p.params, sql.Setting{Name: string(name), Value: string(value)})
	}
	if d.end() != nil {
		return nil, errBadStartup
	}
	return p, nil
}

var errBadStartup = pgerr.New(pgerr.ProtocolViolation, "invalid startup packet layout: expected terminator as last byte")

// errDone ends a connection that has nothing more to say (cancel request, probe).
var errDone = errors.New("done")

// startup negotiates up to the startup packet. It may replace c.net by a TLS connection.
func (c *conn) startup() (*startupPacket, error) {
	for range 3 { // GSSENC, SSL, startup: no client needs more
		code, body, err := readPacket(c.net)
		if err != nil {
			var pe *protocolError
			if errors.As(err, &pe) {
				return nil, err
			}
			return nil, errDone // a probe that connects and goes away
		}
		switch code {
		case codeCancel:
			c.srv.cancel(body)
			return nil, errDone
		case codeGSSEnc:
			if _, err := c.net.Write([]byte{'N'}); err != nil {
				return nil, errDone
			}
		case codeSSL:
			if err := c.startTLS(); err != nil {
				return nil, err
			}
		default:
			return parseStartup(code, body)
		}
	}
	return nil, protocolErrorf("too many negotiation packets")
}

func (c *conn) startTLS() error {
	if c.srv.cfg.TLS == nil || c.tls {
		if _, err := c.net.Write([]byte{'N'}); err != nil {
			return errDone
		}
		return nil
	}
	if _, err := c.net.Write([]byte{'S'}); err != nil {
		return errDone
	}
	cfg := c.srv.cfg.TLS()
	t := tls.Server(c.net, cfg)
	if err := t.Handshake(); err != nil {
		c.srv.metrics.Handshakes.Add(1)
		if explain := c.srv.cfg.ExplainTLS; explain != nil {
			err = explain(err)
		}
		c.srv.log.Info("TLS handshake failed", "remote", c.remote(), "err", err)
		return errDone
	}
	if len(cfg.Certificates) == 1 {
		c.cert = cfg.Certificates[0].Leaf
	}
	if chains := t.ConnectionState().VerifiedChains; len(chains) > 0 {
		c.peer = chains[0][0]
	}
	c.setNet(t)
	c.tls = true
	return nil
}

// open negotiates, authenticates and opens the session. On success the client has been told
// everything up to ReadyForQuery.
func (c *conn) open() error {
	timeout := c.srv.cfg.AuthTimeout
	_ = c.net.SetDeadline(time.Now().Add(timeout))
	packet, err := c.startup()
	if err != nil {
		return err
	}
	minor := packet.minor
	if minor > newestMinor {
		minor = newestMinor
	}
	if minor == 1 {
		minor = 0 // never assigned
	}
	if packet.minor > newestMinor || len(packet.unknown) > 0 {
		at := c.w.begin('v')
		c.w.int32(3<<16 | int32(minor))
		c.w.int32(int32(len(packet.unknown)))
		for _, name := range packet.unknown {
			c.w.string(name)
		}
		c.w.end(at)
	}
	args := sql.SessionArgs{
		User:     packet.get("user"),
		Database: packet.get("database"),
		PID:      c.pid,
		Remote:   c.remote(),
		HangUp:   c.terminate,

		Encryption: c.encryption(),
	}
	if args.User == "" {
		return pgerr.New(pgerr.InvalidAuthorization, "no PostgreSQL user name specified in startup packet")
	}
	if args.Database == "" {
		args.Database = args.User
	}
	switch packet.get("replication") {
	case "", "0", "off", "false", "no":
	default:
		return pgerr.New(pgerr.FeatureNotSupported, "physical and logical replication connections are not supported")
	}
	for _, p := range packet.params {
		switch p.Name {
		case "user", "database", "replication":
		default:
			args.Settings = append(args.Settings, p)
		}
	}
	if c.over {
		return pgerr.New(pgerr.TooManyConnections, "sorry, too many clients already")
	}
	if c.srv.draining.Load() {
		return pgerr.New(pgerr.CannotConnectNow, "the database system is shutting down")
	}
	if e := c.srv.cutOff(); e != nil {
		return e
	}
	if err := c.authenticate(&args); err != nil {
		return err
	}
	sess, err := c.srv.cfg.Open(args, c)
	if err != nil {
		return err
	}
	c.setSession(sess)
	at := c.w.begin('R')
	c.w.int32(authOK)
	c.w.end(at)
	sess.Parameters(c.Parameter)
	c.key = newKey(minor)
	at = c.w.begin('K')
	c.w.int32(c.pid)
	c.w.buf = append(c.w.buf, c.key...)
	c.w.end(at)
	c.srv.listen(c)
	c.ready()
	c.r.max = c.srv.cfg.MaxMessage
	_ = c.net.SetDeadline(time.Time{})
	return nil
}

func newKey(minor int) []byte {
	n := keyLength30
	if minor >= 2 {
		n = keyLength32
	}
	key := make([]byte, n)
	rand.Read(key) // never fails
	return key
}
