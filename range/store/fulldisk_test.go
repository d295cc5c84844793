package store

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// sized is a file system that says how much of its disk of 100 GiB is free.
type sized struct {
	vfs.FS
	free *atomic.Int64 // MiB
}

func (f sized) GetDiskUsage(string) (vfs.DiskUsage, error) {
	const all = 100 << 30
	free := uint64(f.free.Load()) << 20
	return vfs.DiskUsage{AvailBytes: free, UsedBytes: all - free, TotalBytes: all}, nil
}

// A follower whose disk is full misses entries and holds nobody up, and has them when there is room. A leader whose disk is full refuses what fills it, and
// not what makes room, until that would fill it, too.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const plenty, half, quarter = 50 << 10, 200, 63 // MiB; the reserve is 256
		var free [4]atomic.Int64
		c := newClusterWith(t, 3, testKnobs, func(cfg *Config) {
			f := &free[cfg.Transport.(*link).node.id]
			f.Store(plenty)
			cfg.FS = sized{cfg.FS, f}
		})
		c.upReplicate(2, 3)
		ctx := c.ctx(60 * time.Second)
		require.NoError(t, c.put(ctx, 1, "a"))
		leader, st := c.waitLeader(kv.FirstUserRange)
		follower := 1 + st.Replica.NodeID%3
		set := func(id kv.NodeID, mib int64) {
			free[id].Store(mib)
			time.Sleep(1100 * time.Millisecond) // the disk is measured once a second
		}
		c.untilQuiet()
		set(follower, quarter)
		for i := range 20 {
			require.NoError(t, c.put(ctx, i, "b"))
		}
		time.Sleep(5 * time.Second)
		behind := c.up(follower).replica(kv.FirstUserRange)
		require.Less(t, behind.Applied().AppliedIndex, leader.replica(kv.FirstUserRange).Applied().AppliedIndex)
		require.Empty(t, behind.Status().Stopped)
		set(follower, plenty)
		time.Sleep(5 * time.Second)
		c.checkReplicas(ctx)

		set(st.Replica.NodeID, half)
		send := func(q kv.Request) error {
			_, err := leader.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{q}})
			return err
		}
		put := &kv.Put{Key: key(30), Value: []byte("c")}
		require.True(t, kv.HasCode(send(put), kv.CodeDiskFull))
		require.NoError(t, send(&kv.Delete{Key: key(1)}))
		set(st.Replica.NodeID, quarter)
		require.True(t, kv.HasCode(send(&kv.Delete{Key: key(2)}), kv.CodeDiskFull))
		v, err := c.get(ctx, 2)
		require.NoError(t, err)
		require.Equal(t, "b", v)
		set(st.Replica.NodeID, plenty)
		require.NoError(t, send(put))
		c.checkReplicas(ctx)
	})
}
