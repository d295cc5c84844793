package cluster

import (
	"fmt"
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Two connections from one local port to two places are told apart.
func TestSharedLocalPort(t *testing.T) {
	dial := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if cerr := c.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
		}); cerr != nil {
			return cerr
		}
		return err
	}}
	var port int
	for range 2 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer ln.Close()
		dial.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}
		c, err := dial.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		defer c.Close()
		port = c.LocalAddr().(*net.TCPAddr).Port
		raw, err := c.(*net.TCPConn).SyscallConn()
		require.NoError(t, err)
		var st syscall.Stat_t
		require.NoError(t, raw.Control(func(fd uintptr) { err = syscall.Fstat(int(fd), &st) }))
		require.NoError(t, err)
		inode, err := socketInode(port, ln.Addr().(*net.TCPAddr).Port)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(st.Ino), inode)
	}
}
