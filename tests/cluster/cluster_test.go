package cluster

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
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

// Three processes with a network between them that can be cut, and clocks that can be moved.
func TestCutProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	c := Start(t, 3, WithNetwork(), WithClocks())
	require.NoError(t, c.Exec(0, "create table t (a int primary key)"))

	client := c.Open(2)
	_, err := client.Exec("select * from t")
	require.NoError(t, err)
	sentAway := func(err error) error {
		if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Severity == "FATAL" && pg.Code == "57P03" && strings.Contains(pg.Hint, "another node") {
			return nil
		}
		return fmt.Errorf("%v", err)
	}
	c.Net.Isolate(2)
	_, err = client.Exec("select * from t") // begun before the node knows
	require.NoError(t, sentAway(err))
	require.NoError(t, sentAway(c.Exec(2, "select * from t")))
	c.eventually("the others lead everything", func() error {
		return c.Exec(0, "insert into t select coalesce(max(a), 0) + 1 from t")
	})
	c.eventually("the lonely node knows", func() error {
		if _, err := c.Get(2, "/ready"); err == nil {
			return errors.New("it says that it is ready")
		}
		return nil
	})
	c.Net.Heal()
	c.WaitReady()

	c.Net.Cut(0, 1) // node 1 is heard and does not hear
	c.eventually("through the third", func() error {
		return c.Exec(2, "insert into t select coalesce(max(a), 0) + 1 from t")
	})
	c.Net.Heal()
	c.WaitReady()

	c.SetClock(1, 100*time.Millisecond) // within the bound
	for i := range 3 {
		require.NoError(t, c.Exec(i, "insert into t select coalesce(max(a), 0) + 1 from t"))
	}
}
