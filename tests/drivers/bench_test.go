package drivers

import (
	"context"
	"encoding/binary"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkPointRead measures a prepared point read as pgbench -S -M prepared sends it, over loopback: Bind, Describe,
// Execute, Sync in one write. The client is a few lines that allocate nothing, so nearly all of the time is the server's.
func BenchmarkPointRead(b *testing.B) {
	conn := benchConn(b)
	conn.simple("create table acc (aid int primary key, bid int, abalance int, filler char(84))")
	var sb strings.Builder
	for i := 0; i < 10; i++ {
		sb.Reset()
		sb.WriteString("insert into acc values ")
		for j := range 1000 {
			if j > 0 {
				sb.WriteByte(',')
			}
			sb.WriteString("(" + strconv.Itoa(i*1000+j) + ", 1, 0, 'x')")
		}
		conn.simple(sb.String())
	}
	conn.prepare("p", "select abalance from acc where aid = $1")
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		conn.execute("p", strconv.Itoa(i*7919%10000))
	}
}

// BenchmarkSimplePointRead is the same as text, a literal in it, by the simple protocol.
func BenchmarkSimplePointRead(b *testing.B) {
	conn := benchConn(b)
	conn.simple("create table acc (aid int primary key, abalance int)")
	for i := range 100 {
		conn.simple("insert into acc values (" + strconv.Itoa(i) + ", 0)")
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		conn.simple("SELECT abalance FROM acc WHERE aid = " + strconv.Itoa(i%100) + ";")
	}
}

// BenchmarkSelectOne is a prepared SELECT 1: the floor of what a statement costs.
func BenchmarkSelectOne(b *testing.B) {
	conn := benchConn(b)
	conn.prepare("p", "select 1")
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		conn.execute("p")
	}
}

// BenchmarkPointUpdate is a prepared UPDATE of one row by its key, committed.
func BenchmarkPointUpdate(b *testing.B) {
	conn := benchConn(b)
	conn.simple("create table acc (aid int primary key, abalance int)")
	for i := range 100 {
		conn.simple("insert into acc values (" + strconv.Itoa(i) + ", 0)")
	}
	conn.prepare("p", "update acc set abalance = abalance + $1 where aid = $2")
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		conn.execute("p", "5", strconv.Itoa(i%100))
	}
}

type wireConn struct {
	t   testing.TB
	nc  net.Conn
	out []byte
	in  []byte
}

func benchConn(b *testing.B) *wireConn {
	dsn := start(b)
	var addr [2]string
	for _, f := range strings.Fields(dsn) {
		if v, ok := strings.CutPrefix(f, "host="); ok {
			addr[0] = v
		}
		if v, ok := strings.CutPrefix(f, "port="); ok {
			addr[1] = v
		}
	}
	var d net.Dialer
	nc, err := d.DialContext(context.Background(), "tcp", net.JoinHostPort(addr[0], addr[1]))
	require.NoError(b, err)
	b.Cleanup(func() { _ = nc.Close() })
	c := &wireConn{t: b, nc: nc, in: make([]byte, 64<<10)}
	body := "\x00\x03\x00\x00user\x00root\x00database\x00defaultdb\x00\x00"
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(4+len(body)))
	c.out = append(c.out, body...)
	c.round()
	return c
}

func (c *wireConn) msg(typ byte, body ...string) {
	n := 4
	for _, b := range body {
		n += len(b)
	}
	c.out = append(c.out, typ)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(n))
	for _, b := range body {
		c.out = append(c.out, b...)
	}
}

// round sends what there is and reads up to ReadyForQuery.
func (c *wireConn) round() {
	_, err := c.nc.Write(c.out)
	require.NoError(c.t, err)
	c.out = c.out[:0]
	n := 0
	for {
		m, err := c.nc.Read(c.in[n:])
		if err != nil {
			c.t.Fatal(err)
		}
		n += m
		// ReadyForQuery is the last message, and six bytes long.
		if n >= 6 && c.in[n-6] == 'Z' && c.in[n-2] == 5 {
			if i := strings.Index(string(c.in[:min(n, 300)]), "\x00SERROR"); i >= 0 || c.in[0] == 'E' {
				c.t.Fatalf("%q", c.in[:n])
			}
			return
		}
		if n == len(c.in) {
			n = copy(c.in, c.in[n-6:])
		}
	}
}

func (c *wireConn) simple(q string) {
	c.msg('Q', q, "\x00")
	c.round()
}

func (c *wireConn) prepare(name, q string) {
	c.msg('P', name, "\x00", q, "\x00\x00\x00")
	c.msg('S')
	c.round()
}

func (c *wireConn) execute(name string, args ...string) {
	at := len(c.out)
	c.out = append(c.out, 'B', 0, 0, 0, 0, 0)
	c.out = append(c.out, name...)
	c.out = append(c.out, 0, 0, 0)
	c.out = binary.BigEndian.AppendUint16(c.out, uint16(len(args)))
	for _, a := range args {
		c.out = binary.BigEndian.AppendUint32(c.out, uint32(len(a)))
		c.out = append(c.out, a...)
	}
	c.out = append(c.out, 0, 0)
	binary.BigEndian.PutUint32(c.out[at+1:], uint32(len(c.out)-at-1))
	c.out = append(c.out, 'D', 0, 0, 0, 6, 'P', 0, 'E', 0, 0, 0, 9, 0, 0, 0, 0, 0, 'S', 0, 0, 0, 4)
	c.round()
}
