package cluster

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Three processes: ranges replicate themselves, leaders spread, a node that is killed comes back, and
// one that is told to stop leaves in good order.
func TestThreeProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	c := Start(t, 3)
	for i := range 3 {
		id, err := c.NodeID(i)
		require.NoError(t, err)
		require.EqualValues(t, i+1, id)
	}
	i, err := c.NodeWithMostLeaders()
	require.NoError(t, err)
	c.Kill(i)
	other := (i + 1) % 3
	start := time.Now()
	c.eventually("the others lead everything", func() error {
		_, err := c.Get(other, "/ready")
		return err
	})
	t.Logf("ready again %s after the kill", time.Since(start).Round(time.Millisecond))
	c.Restart(i)
	c.WaitReady(i)
	c.WaitReplicated()

	c.Pause(other)
	c.WaitReady(i)
	c.Resume(other)
	c.WaitReady()

	require.Zero(t, c.Stop(i), "a drained node exits with 0")
	c.WaitReady(other)
	c.Restart(i)
	c.WaitReady(i)
	c.eventually("peers found again", func() error {
		if n := c.Metrics(i)["pamir_rpc_peers_alive"]; n != 2 {
			return fmt.Errorf("%v peers", n)
		}
		return nil
	})

	c.KillAll()
	for i := range 3 {
		c.Restart(i)
	}
	c.WaitReady()
	c.WaitReplicated()
	require.True(t, c.Running(0))
	c.signal(0, syscall.SIGKILL, time.Second)
	require.False(t, c.Running(0))
}
