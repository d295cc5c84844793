package pgwire

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pamirdb/pamir/sql"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// fakeSession understands a handful of statements:
//
//	rows N       N rows of (int4, text)
//	begin, end   a block
//	fail         an error
//	panic        a panic
//	sleep        waits for Cancel or Terminate
//	doubt        waits for Cancel or Terminate, and does not know then whether it has committed
//	copyin       counts the bytes of a COPY
//	notice       a notice and no rows
//	<empty>
type fakeSession struct {
	client     sql.Client
	status     byte
	stmts      map[string]string
	portals    map[string]*fakePortal
	stop       chan error
	idle       time.Duration
	closed     *atomic.Int32
	sleeping   *atomic.Int32
	syncs      int
	terminated atomic.Bool
}

type fakePortal struct {
	text  string
	at    int
	shape *sql.RowShape
}

func newFake(c sql.Client, closed, sleeping *atomic.Int32) *fakeSession {
	return &fakeSession{client: c, status: 'I', stmts: map[string]string{}, portals: map[string]*fakePortal{}, stop: make(chan error, 1),
		closed: closed, sleeping: sleeping}
}

var fakeFields = []plan.Field{{Name: "n", Type: types.Of(types.Int4OID)}, {Name: "t", Type: types.Of(types.TextOID)}}

func (f *fakeSession) shape(text string, formats []int16) *sql.RowShape {
	if !strings.HasPrefix(text, "rows") {
		return nil
	}
	r := &sql.RowShape{Fields: fakeFields, Formats: []int16{0, 0}, Text: types.DefaultEnv}
	for i := range r.Formats {
		if len(formats) == 1 {
			r.Formats[i] = formats[0]
		} else if len(formats) == 2 {
			r.Formats[i] = formats[i]
		}
	}
	return r
}

func (f *fakeSession) run(p *fakePortal, limit int) error {
	word, arg, _ := strings.Cut(p.text, " ")
	switch word {
	case "":
		f.client.Empty()
		return nil
	case "rows":
		n, err := strconv.Atoi(arg)
		if err != nil {
			return pgerr.New(pgerr.SyntaxError, "no number").At(6)
		}
		sent := 0
		for p.at < n {
			if limit > 0 && sent == limit {
				f.client.Suspended()
				return nil
			}
			b := types.NewBatch([]types.Type{fakeFields[0].Type, fakeFields[1].Type}, 1)
			b.N = 1
			b.Cols[0].AppendDatum(types.NewInt(int64(p.at)))
			if p.at%3 == 2 {
				b.Cols[1].AppendNull()
			} else {
				b.Cols[1].AppendDatum(types.NewString("row " + strconv.Itoa(p.at)))
			}
			if err := f.client.Rows(p.shape, b, 0, 1); err != nil {
				return err
			}
			p.at++
			sent++
		}
		f.client.Complete([]byte("SELECT " + strconv.Itoa(sent)))
	case "begin":
		f.status = 'T'
		f.client.Complete([]byte("BEGIN"))
	case "end":
		f.status = 'I'
		f.client.Complete([]byte("COMMIT"))
	case "fail":
		return pgerr.New(pgerr.UndefinedTable, "no such thing").At(3).WithDetail("d").WithHint("h")
	case "unreachable":
		return pgerr.New(pgerr.CannotConnectNow, "part of the database cannot be reached")
	case "panic":
		panic("planted")
	case "sleep", "doubt":
		f.sleeping.Add(1)
		select {
		case err := <-f.stop:
			if word == "doubt" {
				err = pgerr.New(pgerr.StatementCompletionUnknown, "it is not known whether the transaction committed")
			}
			return err
		case <-time.After(30 * time.Second):
			return errors.New("nobody canceled")
		}
	case "notice":
		f.client.Notice(&pgerr.Error{Severity: "WARNING", Code: "01000", Message: "mind"})
		f.client.Complete([]byte("NOTICE"))
	case "copyin":
		f.client.CopyIn(false, 1)
		n := 0
		for {
			b, err := f.client.CopyData()
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
			n += len(b)
		}
		f.client.Complete([]byte("COPY " + strconv.Itoa(n)))
	case "copyout":
		f.client.CopyOut(false, 1)
		f.client.CopyRow([]byte("a\n"))
		f.client.CopyRow([]byte("b\n"))
		f.client.CopyDone()
		f.client.Complete([]byte("COPY 2"))
	default:
		return pgerr.New(pgerr.SyntaxError, "what is %q", p.text)
	}
	return nil
}

func (f *fakeSession) check(err error) error {
	if err != nil {
		f.Fail()
	}
	return err
}

func (f *fakeSession) Query(text string) error {
	for _, t := range strings.Split(text, ";") {
		t = strings.TrimSpace(t)
		if f.status == 'E' && t != "end" {
			return pgerr.New(pgerr.InFailedSQLTransaction, "failed")
		}
		p := &fakePortal{text: t, shape: f.shape(t, nil)}
		if p.shape != nil {
			f.client.Describe(p.shape)
		}
		if err := f.run(p, 0); err != nil {
			return f.check(err)
		}
	}
	return nil
}

func (f *fakeSession) Parse(name, text string, params []types.OID) error {
	f.stmts[name] = text
	return nil
}

func (f *fakeSession) Bind(portal, statement []byte, paramFormats []int16, params [][]byte, resultFormats []int16) error {
	t, ok := f.stmts[string(statement)]
	if !ok {
		return f.check(pgerr.New(pgerr.InvalidSQLStatementName, "no statement"))
	}
	if len(params) == 1 {
		t = strings.ReplaceAll(t, "$1", string(params[0]))
	}
	f.portals[string(portal)] = &fakePortal{text: t, shape: f.shape(t, resultFormats)}
	return nil
}

func (f *fakeSession) DescribeStatement(name []byte) ([]types.OID, *sql.RowShape, error) {
	t, ok := f.stmts[string(name)]
	if !ok {
		return nil, nil, f.check(pgerr.New(pgerr.InvalidSQLStatementName, "no statement"))
	}
	var ps []types.OID
	if strings.Contains(t, "$1") {
		ps = []types.OID{types.TextOID}
	}
	return ps, f.shape(t, nil), nil
}

func (f *fakeSession) DescribePortal(name []byte) (*sql.RowShape, error) {
	p := f.portals[string(name)]
	if p == nil {
		return nil, f.check(pgerr.New(pgerr.InvalidCursorName, "no portal"))
	}
	return p.shape, nil
}

func (f *fakeSession) Execute(portal []byte, maxRows int) error {
	p := f.portals[string(portal)]
	if p == nil {
		return f.check(pgerr.New(pgerr.InvalidCursorName, "no portal"))
	}
	return f.check(f.run(p, maxRows))
}

func (f *fakeSession) CloseStatement(name []byte) { delete(f.stmts, string(name)) }
func (f *fakeSession) ClosePortal(name []byte)    { delete(f.portals, string(name)) }
func (f *fakeSession) Sync() error                { f.syncs++; return nil }
func (f *fakeSession) Fail() {
	if f.status == 'T' {
		f.status = 'E'
	}
}
func (f *fakeSession) Status() byte { return f.status }
func (f *fakeSession) IdleTimeout() (time.Duration, *pgerr.Error) {
	return f.idle, &pgerr.Error{Severity: "FATAL", Code: "57P05", Message: "idle"}
}
func (f *fakeSession) Parameters(g func(name, value string)) {
	g("server_version", "15.0")
	g("client_encoding", "UTF8")
	g("standard_conforming_strings", "on")
}
func (f *fakeSession) Cancel() {
	select {
	case f.stop <- pgerr.New(pgerr.QueryCanceled, "canceled"):
	default:
	}
}
func (f *fakeSession) Terminate() { f.terminated.Store(true); f.Cancel() }
func (f *fakeSession) Close()     { f.closed.Add(1) }

// harness is a server on loopback over fake sessions.
type harness struct {
	t      *testing.T
	srv    *Server
	addr   string
	closed atomic.Int32
	opened atomic.Int32
	// sleeping counts the statements "sleep" that have begun.
	sleeping atomic.Int32
}

func start(t *testing.T, change func(*Config)) *harness {
	leaks := goleak.IgnoreCurrent()
	h := &harness{t: t}
	cfg := Config{
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Open: func(args sql.SessionArgs, c sql.Client) (Session, error) {
			if args.User == "nobody" {
				return nil, &pgerr.Error{Severity: "FATAL", Code: pgerr.InvalidAuthorization, Message: `role "nobody" does not exist`}
			}
			h.opened.Add(1)
			return newFake(c, &h.closed, &h.sleeping), nil
		},
	}
	if change != nil {
		change(&cfg)
	}
	h.srv = New(cfg)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	h.addr = l.Addr().String()
	done := make(chan error, 1)
	go func() { done <- h.srv.Serve(l) }()
	t.Cleanup(func() {
		h.srv.Close()
		require.NoError(t, <-done)
		require.Equal(t, h.opened.Load(), h.closed.Load(), "sessions left open")
		require.Zero(t, h.srv.Metrics().Connections.Load())
		goleak.VerifyNone(t, leaks)
	})
	return h
}

func (h *harness) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	h.t.Cleanup(cancel)
	return ctx
}
