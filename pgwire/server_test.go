package pgwire

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/sql"
	"github.com/pamirdb/pamir/sql/pgerr"
)

func (h *harness) connect(extra string) *pgconn.PgConn {
	h.t.Helper()
	c, err := h.dial(extra)
	require.NoError(h.t, err)
	h.t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func (h *harness) dial(extra string) (*pgconn.PgConn, error) {
	host, port, _ := net.SplitHostPort(h.addr)
	return pgconn.Connect(h.ctx(), fmt.Sprintf("host=%s port=%s user=root dbname=d sslmode=disable %s", host, port, extra))
}

func pgError(t *testing.T, err error) *pgconn.PgError {
	t.Helper()
	var e *pgconn.PgError
	require.True(t, errors.As(err, &e), "%v", err)
	return e
}

func TestSimpleQuery(t *testing.T) {
	h := start(t, nil)
	c := h.connect("")
	require.Equal(t, "15.0", c.ParameterStatus("server_version"))
	res, err := c.Exec(h.ctx(), "rows 4; notice").ReadAll()
	require.NoError(t, err)
	require.Len(t, res, 2)
	require.Equal(t, "SELECT 4", res[0].CommandTag.String())
	require.Equal(t, "n", res[0].FieldDescriptions[0].Name)
	require.EqualValues(t, 23, res[0].FieldDescriptions[0].DataTypeOID)
	require.EqualValues(t, 4, res[0].FieldDescriptions[0].DataTypeSize)
	require.Equal(t, "row 1", string(res[0].Rows[1][1]))
	require.Nil(t, res[0].Rows[2][1])

	_, err = c.Exec(h.ctx(), "fail").ReadAll()
	e := pgError(t, err)
	require.Equal(t, "42P01", e.Code)
	require.EqualValues(t, 3, e.Position)
	require.Equal(t, "d", e.Detail)
	require.Equal(t, "h", e.Hint)
	require.Equal(t, byte('I'), c.TxStatus())

	_, err = c.Exec(h.ctx(), "begin; fail").ReadAll()
	require.Error(t, err)
	require.Equal(t, byte('E'), c.TxStatus())
	_, err = c.Exec(h.ctx(), "end").ReadAll()
	require.NoError(t, err)
	require.Equal(t, byte('I'), c.TxStatus())
}

func TestExtendedQuery(t *testing.T) {
	h := start(t, nil)
	c := h.connect("")
	sd, err := c.Prepare(h.ctx(), "s", "rows $1", nil)
	require.NoError(t, err)
	require.Len(t, sd.ParamOIDs, 1)
	require.Len(t, sd.Fields, 2)
	r := c.ExecPrepared(h.ctx(), "s", [][]byte{[]byte("3")}, nil, []int16{1, 0}).Read()
	require.NoError(t, r.Err)
	require.Equal(t, []byte{0, 0, 0, 2}, r.Rows[2][0])
	r = c.ExecPrepared(h.ctx(), "nope", nil, nil, nil).Read()
	require.Equal(t, "26000", pgError(t, r.Err).Code)
	r = c.ExecPrepared(h.ctx(), "s", [][]byte{[]byte("100000")}, nil, nil).Read()
	require.NoError(t, r.Err)
	require.Len(t, r.Rows, 100000)
}

// raw is a client that speaks messages.
type raw struct {
	t  *testing.T
	nc net.Conn
	f  *pgproto3.Frontend
}

func (h *harness) raw() *raw {
	nc, err := net.Dial("tcp", h.addr)
	require.NoError(h.t, err)
	h.t.Cleanup(func() { _ = nc.Close() })
	require.NoError(h.t, nc.SetDeadline(time.Now().Add(20*time.Second)))
	r := &raw{t: h.t, nc: nc, f: pgproto3.NewFrontend(nc, nc)}
	return r
}

func (r *raw) startup(version uint32, params map[string]string) {
	r.f.Send(&pgproto3.StartupMessage{ProtocolVersion: version, Parameters: params})
	require.NoError(r.t, r.f.Flush())
}

func (r *raw) send(ms ...pgproto3.FrontendMessage) {
	for _, m := range ms {
		r.f.Send(m)
	}
	require.NoError(r.t, r.f.Flush())
}

// until reads messages up to one like last ("ReadyForQuery") and returns their names.
func (r *raw) until(last string) []string {
	r.t.Helper()
	var got []string
	for {
		m, err := r.f.Receive()
		require.NoError(r.t, err, "after %v", got)
		name := strings.TrimPrefix(fmt.Sprintf("%T", m), "*pgproto3.")
		switch m := m.(type) {
		case *pgproto3.ErrorResponse:
			name += " " + m.Severity + " " + m.Code
		case *pgproto3.CommandComplete:
			name += " " + string(m.CommandTag)
		case *pgproto3.ReadyForQuery:
			name += " " + string(m.TxStatus)
		}
		got = append(got, name)
		if strings.HasPrefix(name, last) {
			return got
		}
	}
}

func (r *raw) login() {
	r.startup(pgproto3.ProtocolVersion30, map[string]string{"user": "root", "database": "d"})
	r.until("ReadyForQuery")
}

func (r *raw) eof() {
	r.t.Helper()
	_, err := r.f.Receive()
	require.Error(r.t, err)
}

func TestPortalLimit(t *testing.T) {
	h := start(t, nil)
	r := h.raw()
	r.login()
	r.send(&pgproto3.Parse{Query: "rows 5"}, &pgproto3.Bind{DestinationPortal: "p"}, &pgproto3.Execute{Portal: "p", MaxRows: 2},
		&pgproto3.Execute{Portal: "p", MaxRows: 2}, &pgproto3.Execute{Portal: "p", MaxRows: 2}, &pgproto3.Close{ObjectType: 'P', Name: "p"}, &pgproto3.Sync{})
	require.Equal(t, []string{"ParseComplete", "BindComplete", "DataRow", "DataRow", "PortalSuspended", "DataRow", "DataRow", "PortalSuspended",
		"DataRow", "CommandComplete SELECT 1", "CloseComplete", "ReadyForQuery I"}, r.until("Ready"))
}

func TestSkipUntilSync(t *testing.T) {
	h := start(t, nil)
	r := h.raw()
	r.login()
	r.send(&pgproto3.Bind{PreparedStatement: "x"}, &pgproto3.Execute{}, &pgproto3.Parse{Query: "rows 1"}, &pgproto3.Sync{},
		&pgproto3.Parse{Query: "rows 1"}, &pgproto3.Describe{ObjectType: 'S'}, &pgproto3.Sync{})
	require.Equal(t, []string{"ErrorResponse ERROR 26000", "ReadyForQuery I"}, r.until("Ready"))
	require.Equal(t, []string{"ParseComplete", "ParameterDescription", "RowDescription", "ReadyForQuery I"}, r.until("Ready"))
	// Flush makes the server answer without Sync.
	r.send(&pgproto3.Parse{Query: "rows 1"}, &pgproto3.Flush{})
	require.Equal(t, []string{"ParseComplete"}, r.until("ParseComplete"))
	r.send(&pgproto3.Sync{})
	r.until("Ready")
	// The function call protocol is refused, and the connection goes on.
	r.send(&pgproto3.FunctionCall{Function: 1})
	require.Equal(t, []string{"ErrorResponse ERROR 0A000", "ReadyForQuery I"}, r.until("Ready"))
}

func TestMalformedBody(t *testing.T) {
	h := start(t, nil)
	r := h.raw()
	r.login()
	// A Bind whose body ends early: the length is right, so the stream goes on.
	_, err := r.nc.Write([]byte{'B', 0, 0, 0, 7, 'a', 0, 'b', 'S', 0, 0, 0, 4})
	require.NoError(t, err)
	require.Equal(t, []string{"ErrorResponse ERROR 08P01", "ReadyForQuery I"}, r.until("Ready"))
	r.send(&pgproto3.Query{String: "rows 1"})
	r.until("Ready")
	// An unknown type, or a bad length, does not.
	for _, b := range [][]byte{{'~', 0, 0, 0, 4}, {'Q', 0, 0, 0, 1}, {'Q', 0xff, 0xff, 0xff, 0xff}, {'Q', 0x7f, 0xff, 0xff, 0xff}} {
		r := h.raw()
		r.login()
		_, err := r.nc.Write(b)
		require.NoError(t, err)
		require.Equal(t, []string{"ErrorResponse FATAL 08P01"}, r.until("Error"))
		r.eof()
	}
}

func TestCopy(t *testing.T) {
	h := start(t, nil)
	c := h.connect("")
	tag, err := c.CopyFrom(h.ctx(), bytes.NewReader(make([]byte, 1<<20)), "copyin")
	require.NoError(t, err)
	require.EqualValues(t, 1<<20, tag.RowsAffected())
	var out bytes.Buffer
	_, err = c.CopyTo(h.ctx(), &out, "copyout")
	require.NoError(t, err)
	require.Equal(t, "a\nb\n", out.String())

	r := h.raw()
	r.login()
	r.send(&pgproto3.Query{String: "copyin"})
	r.until("CopyInResponse")
	r.send(&pgproto3.CopyData{Data: []byte("x")}, &pgproto3.CopyFail{Message: "changed my mind"})
	require.Equal(t, []string{"ErrorResponse ERROR 57014", "ReadyForQuery I"}, r.until("Ready"))
	// In the extended protocol a failed COPY's data is discarded up to Sync.
	r.send(&pgproto3.Parse{Query: "copyin"}, &pgproto3.Bind{}, &pgproto3.Execute{})
	r.until("CopyInResponse")
	r.send(&pgproto3.CopyFail{Message: "no"}, &pgproto3.CopyData{Data: []byte("late")}, &pgproto3.Sync{})
	require.Equal(t, []string{"ErrorResponse ERROR 57014", "ReadyForQuery I"}, r.until("Ready"))
	// Anything else in the middle ends the connection.
	r.send(&pgproto3.Query{String: "copyin"})
	r.until("CopyInResponse")
	r.send(&pgproto3.Query{String: "rows 1"})
	require.Equal(t, []string{"ErrorResponse FATAL 08P01"}, r.until("Error"))
}

func TestCancel(t *testing.T) {
	h := start(t, nil)
	for _, extra := range []string{"", "max_protocol_version=3.2"} {
		c := h.connect(extra)
		before := h.sleeping.Load()
		go func() {
			for h.sleeping.Load() == before { // what comes before the statement cancels nothing
				time.Sleep(time.Millisecond)
			}
			_ = c.CancelRequest(context.Background())
		}()
		_, err := c.Exec(h.ctx(), "sleep").ReadAll()
		require.Equal(t, "57014", pgError(t, err).Code)
		_, err = c.Exec(h.ctx(), "rows 1").ReadAll()
		require.NoError(t, err)
	}
	// A wrong key does nothing; neither does a short one.
	h.srv.cancel([]byte{0, 0, 0, 1, 0, 0, 0, 0})
	h.srv.cancel([]byte{0, 0})
}

func TestStartupRefusals(t *testing.T) {
	h := start(t, nil)
	_, err := h.dial("user=nobody")
	require.Equal(t, "28000", pgError(t, err).Code)
	_, err = h.dial("replication=database")
	require.Equal(t, "0A000", pgError(t, err).Code)

	r := h.raw()
	_, err = r.nc.Write([]byte{0, 0, 0, 9, 0, 2, 0, 0, 0})
	require.NoError(t, err)
	require.Equal(t, []string{"ErrorResponse FATAL 0A000"}, r.until("Error"))
	for _, b := range [][]byte{{0, 0, 0, 3}, {0, 0, 0x40, 0}, {0, 0, 0, 12, 0, 3, 0, 0, 'u', 's', 'e', 'r'}, {0, 0, 0, 9, 0, 3, 0, 0, 0}} {
		r := h.raw()
		_, err := r.nc.Write(append(b, make([]byte, 8)...))
		require.NoError(t, err)
		require.Contains(t, r.until("Error")[0], "FATAL")
		r.eof()
	}
}

func TestProtocolNegotiation(t *testing.T) {
	h := start(t, nil)
	key := func(version uint32, params map[string]string, want string) int {
		r := h.raw()
		params["user"] = "root"
		// pgproto3 does not send what it does not know: write the packet by hand.
		b := []byte{0, 0, 0, 0, byte(version >> 24), byte(version >> 16), byte(version >> 8), byte(version)}
		for k, v := range params {
			b = append(b, k...)
			b = append(b, 0)
			b = append(b, v...)
			b = append(b, 0)
		}
		b = append(b, 0)
		b[3] = byte(len(b))
		_, err := r.nc.Write(b)
		require.NoError(t, err)
		first, n := "", 0
		for {
			m, err := r.f.Receive()
			require.NoError(t, err)
			if first == "" {
				first = fmt.Sprintf("%T", m)
				if v, ok := m.(*pgproto3.NegotiateProtocolVersion); ok {
					first += fmt.Sprintf(" %d %v", v.NewestMinorProtocol, v.UnrecognizedOptions)
				}
			}
			if k, ok := m.(*pgproto3.BackendKeyData); ok {
				n = len(k.SecretKey)
			}
			if _, ok := m.(*pgproto3.ReadyForQuery); ok {
				break
			}
		}
		require.Equal(t, want, first)
		return n
	}
	require.Equal(t, 4, key(3<<16, map[string]string{}, "*pgproto3.AuthenticationOk"))
	require.Equal(t, 32, key(3<<16|2, map[string]string{}, "*pgproto3.AuthenticationOk"))
	require.Equal(t, 32, key(3<<16|99, map[string]string{}, "*pgproto3.NegotiateProtocolVersion 196610 []"))
	require.Equal(t, 4, key(3<<16, map[string]string{"_pq_.x": "1"}, "*pgproto3.NegotiateProtocolVersion 196608 [_pq_.x]"))
}

func TestSSLAndGSSRequests(t *testing.T) {
	h := start(t, nil)
	r := h.raw()
	for _, code := range []byte{48, 47} { // GSSENC, SSL
		_, err := r.nc.Write([]byte{0, 0, 0, 8, 4, 210, 22, code})
		require.NoError(t, err)
		var b [1]byte
		_, err = io.ReadFull(r.nc, b[:])
		require.NoError(t, err)
		require.Equal(t, byte('N'), b[0])
	}
	r.login()
}

func TestTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	require.NoError(t, err)
	sawTLS := false
	h := start(t, func(c *Config) {
		c.TLS = func() *tls.Config {
			return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
		}
		c.Admit = func(_ context.Context, r AuthRequest) (*sql.Terms, error) { sawTLS = r.TLS; return &sql.Terms{}, nil }
	})
	c := h.connect("sslmode=require")
	_, err = c.Exec(h.ctx(), "rows 10").ReadAll()
	require.NoError(t, err)
	require.True(t, sawTLS)
}

func TestPanicEndsOnlyItsConnection(t *testing.T) {
	h := start(t, nil)
	a, b := h.connect(""), h.connect("")
	_, err := a.Exec(h.ctx(), "panic").ReadAll()
	require.Equal(t, "XX000", pgError(t, err).Code)
	_, err = b.Exec(h.ctx(), "rows 1").ReadAll()
	require.NoError(t, err)
	require.EqualValues(t, 1, h.srv.Metrics().Panics.Load())
}

func TestTooManyConnections(t *testing.T) {
	h := start(t, func(c *Config) { c.MaxConnections = 2 })
	a := h.connect("")
	h.connect("")
	_, err := h.dial("")
	require.Equal(t, "53300", pgError(t, err).Code)
	require.NoError(t, a.Close(h.ctx()))
	require.Eventually(t, func() bool {
		c, err := h.dial("")
		if err != nil {
			return false
		}
		return c.Close(h.ctx()) == nil
	}, 5*time.Second, 10*time.Millisecond)
}

func TestIdleTimeout(t *testing.T) {
	h := start(t, nil)
	open := h.srv.cfg.Open
	h.srv.cfg.Open = func(a sql.SessionArgs, c sql.Client) (Session, error) {
		s, err := open(a, c)
		s.(*fakeSession).idle = 50 * time.Millisecond
		return s, err
	}
	r := h.raw()
	r.login()
	require.Equal(t, []string{"ErrorResponse FATAL 57P05"}, r.until("Error"))
	r.eof()
}

func TestDrain(t *testing.T) {
	h := start(t, nil)
	idle, inTxn, stuck := h.raw(), h.raw(), h.raw()
	for _, r := range []*raw{idle, inTxn, stuck} {
		r.login()
	}
	inTxn.send(&pgproto3.Query{String: "begin"})
	inTxn.until("Ready")
	stuck.send(&pgproto3.Query{String: "sleep"})
	require.Eventually(t, func() bool { return h.sleeping.Load() == 1 }, 10*time.Second, time.Millisecond)

	done := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { h.srv.Drain(ctx); close(done) }()
	require.Equal(t, []string{"ErrorResponse FATAL 57P01"}, idle.until("Error"))
	idle.eof()
	// The transaction may finish.
	inTxn.send(&pgproto3.Query{String: "rows 1"})
	inTxn.until("ReadyForQuery T")
	inTxn.send(&pgproto3.Query{String: "end"})
	require.Equal(t, "ErrorResponse FATAL 57P01", inTxn.until("Error")[2])
	inTxn.eof()
	// New connections are not accepted.
	_, err := net.DialTimeout("tcp", h.addr, time.Second)
	require.Error(t, err)
	select {
	case <-done:
		t.Fatal("drained with a statement running")
	case <-time.After(50 * time.Millisecond):
	}
	cancel()
	require.Equal(t, []string{"ErrorResponse FATAL 57P01"}, stuck.until("Error"))
	<-done
}

// An implicit transaction of the extended protocol is open until Sync, though its status is that of an idle session: a drain lets
// it end. What a client had sent before it read that the connection ends does not take the reason away from it.
func TestDrainBetweenExecuteAndSync(t *testing.T) {
	h := start(t, nil)
	r, busy := h.raw(), h.raw()
	r.login()
	busy.login()
	r.send(&pgproto3.Parse{Query: "rows 1"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Flush{})
	r.until("CommandComplete SELECT 1")
	done := make(chan struct{})
	go func() { h.srv.Drain(h.ctx()); close(done) }()
	require.Eventually(t, func() bool { return h.srv.draining.Load() }, 10*time.Second, time.Millisecond)
	big := &pgproto3.Query{String: "rows 1" + strings.Repeat(" ", 200_000)} // which may still be executed, and answered
	_ = func() error {                                                      // it may be too late to send anything; then there is nothing to be lost either
		b, err := big.Encode(nil)
		require.NoError(t, err)
		_, err = busy.nc.Write(b)
		return err
	}()
	got := busy.until("Error")
	require.Equal(t, "ErrorResponse FATAL 57P01", got[len(got)-1])
	busy.eof()
	time.Sleep(50 * time.Millisecond) // time in which it could be ended wrongly
	r.send(&pgproto3.Sync{})
	require.Equal(t, []string{"ReadyForQuery I", "ErrorResponse FATAL 57P01"}, r.until("Error"))
	r.eof()
	<-done
}

// A client whose connection is ended while it commits is told that the outcome is in doubt, if it is: 57P01 would say that nothing was done.
func TestTerminatedInDoubt(t *testing.T) {
	h := start(t, nil)
	r := h.raw()
	r.login()
	r.send(&pgproto3.Query{String: "doubt"})
	require.Eventually(t, func() bool { return h.sleeping.Load() == 1 }, 10*time.Second, time.Millisecond)
	ctx, cancel := context.WithCancel(h.ctx())
	cancel() // waits for nobody
	go h.srv.Drain(ctx)
	require.Equal(t, []string{"ErrorResponse FATAL 40003"}, r.until("Error"))
	r.eof()
}

func TestPipelineIsOneWrite(t *testing.T) {
	h := start(t, nil)
	r := h.raw()
	r.login()
	var ms []pgproto3.FrontendMessage
	for range 50 {
		ms = append(ms, &pgproto3.Parse{Query: "rows 1"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
	}
	r.send(ms...)
	for range 50 {
		require.Equal(t, []string{"ParseComplete", "BindComplete", "DataRow", "CommandComplete SELECT 1", "ReadyForQuery I"}, r.until("Ready"))
	}
}

// A server that is cut off from its cluster refuses new clients, and ends the connection of one that is told that it cannot be served.
func TestCutOff(t *testing.T) {
	var cut atomic.Bool
	h := start(t, func(cfg *Config) {
		cfg.CutOff = func() *pgerr.Error {
			if !cut.Load() {
				return nil
			}
			return &pgerr.Error{Severity: "FATAL", Code: pgerr.CannotConnectNow, Message: "elsewhere"}
		}
	})
	r := h.raw()
	r.login()
	r.send(&pgproto3.Query{String: "unreachable"})
	require.Contains(t, r.until("Ready")[0], "ErrorResponse ERROR 57P03", "others answer: it may be over soon")
	cut.Store(true)
	_, err := h.dial("")
	require.Equal(t, "57P03", pgError(t, err).Code)
	r.send(&pgproto3.Query{String: "rows 1"})
	r.until("Ready") // what can be served is
	r.send(&pgproto3.Query{String: "unreachable"})
	require.Equal(t, []string{"ErrorResponse FATAL 57P03"}, r.until("Error"))
	r.eof()
	cut.Store(false)
	h.connect("")
}
