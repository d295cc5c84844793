package sessions

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// cancelRequests: a load balancer sends them to any node. What they name is interrupted wherever it is, if the key is right.
func cancelRequests(t *testing.T, s *suite) {
	b := s.connect(t, 2)
	key := b.PgConn().SecretKey()
	wrong := append([]byte(nil), key...)
	wrong[0] ^= 1
	ask := func(node int, pid int32, key []byte) {
		t.Helper()
		_, addr, _ := s.Nodes[node].Addresses()
		nc, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer nc.Close()
		msg := binary.BigEndian.AppendUint32(nil, uint32(12+len(key)))
		msg = binary.BigEndian.AppendUint32(msg, 80877102)
		msg = binary.BigEndian.AppendUint32(msg, uint32(pid))
		_, err = nc.Write(append(msg, key...))
		require.NoError(t, err)
		require.NoError(t, nc.SetReadDeadline(time.Now().Add(30*time.Second)))
		rest, err := io.ReadAll(nc) // the server hangs up when it has passed the request on
		require.NoError(t, err)
		require.Empty(t, rest)
	}
	watch := s.connect(t, 1)
	for node := range s.Nodes {
		ch := b.later("select pg_sleep(60)")
		watch.eventually("select exists (select from pg_stat_activity where pid = $1 and query like '%pg_sleep%' and state = 'active')", b.pid())
		for other := range s.Nodes {
			ask(other, b.pid(), wrong)
			ask(other, b.pid()+1<<20, key) // of a node that is not there
		}
		require.True(t, one[bool](watch, "select exists (select from pg_stat_activity where pid = $1 and state = 'active')", b.pid()))
		ask(node, b.pid(), key)
		b.code("57014", <-ch, "cancelled by way of another node")
		require.Equal(t, 1, one[int](b, "select 1"))
	}
}
