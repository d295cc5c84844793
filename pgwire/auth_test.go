package pgwire

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/sql"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/role"
)

// withPassword makes a server whose root has a password, and nobody else one that can be satisfied.
func withPassword(t testing.TB, password string) func(*Config) {
	v, err := role.NewVerifier(password)
	require.NoError(t, err)
	return func(c *Config) {
		c.Admit = func(_ context.Context, r AuthRequest) (*sql.Terms, error) {
			terms := &sql.Terms{Password: v, Failure: pgerr.New(pgerr.InvalidPassword, "password authentication failed for user \"%s\"", r.User)}
			if r.User != "root" {
				terms.Password = role.Mock([]byte("secret"), r.User)
			}
			return terms, nil
		}
	}
}

func TestSCRAM(t *testing.T) {
	h := start(t, withPassword(t, "päss wörd"))
	c := h.connect("password='päss wörd'")
	_, err := c.Exec(h.ctx(), "rows 1").ReadAll()
	require.NoError(t, err)
	_, err = h.dial("password=wrong")
	require.Equal(t, "28P01", pgError(t, err).Code)
	_, err = h.dial("password=wrong user=stranger")
	require.Equal(t, "28P01", pgError(t, err).Code)
	require.EqualValues(t, 2, h.srv.Metrics().AuthFailures.Load())
	require.EqualValues(t, 1, h.opened.Load())
}

// A user that exists and one that does not get challenges of the same form, and the same one each time.
func TestMockChallenge(t *testing.T) {
	h := start(t, withPassword(t, "x"))
	challenge := func(user string) string {
		r := h.raw()
		r.startup(196608, map[string]string{"user": user, "database": "d"})
		m, err := r.f.Receive()
		require.NoError(t, err)
		require.Equal(t, []string{"SCRAM-SHA-256"}, m.(*pgproto3.AuthenticationSASL).AuthMechanisms)
		r.f.Send(&pgproto3.SASLInitialResponse{AuthMechanism: "SCRAM-SHA-256", Data: []byte("n,,n=,r=nonce")})
		require.NoError(t, r.f.Flush())
		m, err = r.f.Receive()
		require.NoError(t, err)
		data := string(m.(*pgproto3.AuthenticationSASLContinue).Data)
		require.Regexp(t, `^r=nonce[^,]{24,},s=[A-Za-z0-9+/]{22}==,i=4096$`, data)
		return data[len(data)-30:]
	}
	require.Equal(t, challenge("ghost"), challenge("ghost"))
	require.NotEqual(t, challenge("ghost"), challenge("spirit"))
	require.Equal(t, challenge("root"), challenge("root"))
}

func TestDelays(t *testing.T) {
	now := time.Unix(1000, 0)
	f := failures{now: func() time.Time { return now }}
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	last := time.Duration(0)
	for range 100 {
		d := f.delay(a)
		require.GreaterOrEqual(t, d, last)
		require.LessOrEqual(t, d, lastDelay)
		last = d
	}
	require.Equal(t, lastDelay, last)
	require.Equal(t, firstDelay, f.delay(b), "one address does not pay for another")
	f.forget(b)
	require.Equal(t, firstDelay, f.delay(b))
	now = now.Add(forgetAfter + 1)
	require.Equal(t, firstDelay, f.delay(a))
	for i := range 3 * maxSources {
		now = now.Add(time.Millisecond)
		f.delay(netip.AddrFrom4([4]byte{byte(i >> 16), byte(i >> 8), byte(i), 1}))
	}
	require.LessOrEqual(t, len(f.by), maxSources)
}

// FuzzAuth feeds arbitrary messages to the exchange: it must neither panic nor hang nor let anybody in.
func FuzzAuth(f *testing.F) {
	f.Add("SCRAM-SHA-256", []byte("n,,n=,r=abc"), []byte("c=biws,r=abc,p=AAAA"))
	f.Add("SCRAM-SHA-256-PLUS", []byte("p=tls-server-end-point,,n=,r=abc"), []byte("c=eSws,r=,p="))
	f.Add("SCRAM-SHA-256", []byte("y,a=x,n=a=2Cb,r=,m=1"), []byte(""))
	f.Add("x", []byte{}, []byte{0xff})
	change := withPassword(f, "x")
	f.Fuzz(func(t *testing.T, mechanism string, first, final []byte) {
		h := start(t, func(c *Config) { change(c); c.AuthTimeout = 5 * time.Second })
		client, server := net.Pipe()
		h.srv.start(server)
		go func() { _, _ = io.Copy(io.Discard, client) }()
		_ = client.SetDeadline(time.Now().Add(10 * time.Second))
		msg := func(body []byte) []byte {
			b := []byte{'p', 0, 0, 0, 0}
			binary.BigEndian.PutUint32(b[1:], uint32(4+len(body)))
			return append(b, body...)
		}
		if _, err := client.Write([]byte("\x00\x00\x00\x13\x00\x03\x00\x00user\x00root\x00\x00")); err != nil {
			t.Fatal(err)
		}
		body := append([]byte(mechanism), 0)
		body = binary.BigEndian.AppendUint32(body, uint32(len(first)))
		_, _ = client.Write(msg(append(body, first...))) // the server may have hung up
		_, _ = client.Write(msg(final))
		_ = client.Close()
		for deadline := time.Now().Add(10 * time.Second); h.srv.Metrics().Connections.Load() > 0; {
			if time.Now().After(deadline) {
				t.Fatal("the connection does not end")
			}
			time.Sleep(100 * time.Microsecond)
		}
		if h.srv.Metrics().Panics.Load() > 0 || h.opened.Load() > 0 {
			t.Fatal("a panic, or a session")
		}
	})
}
