package pgwire

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/sql"
)

// deafConn says when the server begins to write.
type deafConn struct {
	net.Conn
	writes chan struct{}
}

func (c *deafConn) Write(p []byte) (int, error) {
	select {
	case c.writes <- struct{}{}:
	default:
	}
	return c.Conn.Write(p)
}

// TestTerminateDeafClient: a client that does not read its results cannot keep its session, and what that has locked, when it is terminated.
func TestTerminateDeafClient(t *testing.T) {
	var hangUp func()
	h := start(t, func(c *Config) {
		open := c.Open
		c.Open = func(args sql.SessionArgs, cl sql.Client) (Session, error) {
			hangUp = args.HangUp
			return open(args, cl)
		}
	})
	client, server := net.Pipe() // holds nothing: a write waits for its reader
	require.NoError(t, client.SetDeadline(time.Now().Add(20*time.Second)))
	deaf := &deafConn{Conn: server, writes: make(chan struct{}, 1)}
	h.srv.start(deaf)
	r := &raw{t: t, nc: client, f: pgproto3.NewFrontend(client, client)}
	r.startup(pgproto3.ProtocolVersion30, map[string]string{"user": "root"})
	for {
		m, err := r.f.Receive()
		require.NoError(t, err)
		if _, ok := m.(*pgproto3.ReadyForQuery); ok {
			break
		}
	}
	for len(deaf.writes) > 0 {
		<-deaf.writes
	}
	r.send(&pgproto3.Query{String: "rows 10000"})
	<-deaf.writes
	hangUp()
	require.Eventually(t, func() bool { return h.closed.Load() == 1 }, 10*time.Second, time.Millisecond)
	_, err := io.Copy(io.Discard, client)
	require.NoError(t, err, "the server has hung up")
}
