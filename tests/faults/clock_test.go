package faults

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/tests/cluster"
)

// TestClockJumps sets the clock of the node that leads most ranges an hour ahead, and back, and an hour behind, and right again, under
// TPC-B. The node says that it is not ready and why, the others go on, and it comes back by itself without having exited.
func TestClockJumps(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short: it takes half a minute")
	}
	c, l, stop := underLoad(t, cluster.WithClocks())
	time.Sleep(time.Second)
	until := func(what string, f func() error) {
		t.Helper()
		var err error
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if err = f(); err == nil {
				return
			}
		}
		t.Fatalf("%s: %v", what, err)
	}
	victim, err := c.NodeWithMostLeaders()
	require.NoError(t, err)
	for _, jump := range []time.Duration{time.Hour, -time.Hour, 400 * time.Millisecond} {
		begun := time.Now()
		c.SetClock(victim, jump)
		until("the node is not ready", func() error {
			_, err := c.Get(victim, "/ready")
			if err == nil {
				return fmt.Errorf("it is ready with a clock off by %s", jump)
			}
			if !strings.Contains(err.Error(), "clock") {
				return fmt.Errorf("it does not say why: %w", err)
			}
			return nil
		})
		for i := range c.Size() {
			if i != victim {
				c.WaitReady(i)
			}
		}
		if jump < time.Second {
			time.Sleep(5 * time.Second) // the others see that it is ahead, and do not take that over from one another
			for i := range c.Size() {
				for j := range c.Size() {
					id, err := c.NodeID(j)
					require.NoError(t, err)
					for _, line := range strings.Split(c.Logs(i, 1000), "\n") {
						require.False(t, i != victim && j != victim && strings.Contains(line, "clock reading of a peer") && strings.Contains(line, fmt.Sprintf(" node=%d ", id)), line)
					}
				}
			}
		}
		t.Logf("clock of node %d off by %s: longest stall of a client %s, at another node %s", victim+1, jump, l.LongestStall(begun, time.Now()), l.LongestStallElsewhere(victim, begun, time.Now()))
		require.True(t, c.Running(victim), "it must not exit")
		c.SetClock(victim, 0)
		c.WaitReady(victim)
	}
	stop()
	report(t, l)
	verify(t, c, l)
}
