package store

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// A checksum does not wait for a replica that is removed meanwhile: nobody answers for it.
func TestChecksumOfARemovedReplica(t *testing.T) { synctest.Test(t, testChecksumOfARemovedReplica) }

func testChecksumOfARemovedReplica(t *testing.T) {
	c := newCluster(t, 3, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(60 * time.Second)
	require.NoError(t, c.put(ctx, 5, "a"))
	s, _ := c.waitLeader(kv.FirstUserRange)
	gone := kv.NodeID(1)
	for gone == s.id.NodeID {
		gone++
	}
	dropped := make(chan struct{}, 100)
	c.setFilter(func(m *RaftMessage) bool {
		if m.ChecksumID != 0 && m.From.NodeID == gone {
			dropped <- struct{}{}
			return true
		}
		return false
	})
	type answer struct {
		resp *kv.BatchResponse
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		resp, err := s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{&kv.Checksum{}}})
		done <- answer{resp, err}
	}()
	<-dropped
	select {
	case a := <-done:
		t.Fatalf("it did not wait for the third replica: %+v", a)
	default:
	}
	c.changeReplicas(ctx, kv.FirstUserRange, nil, []kv.NodeID{gone})
	select {
	case a := <-done:
		require.NoError(t, a.err)
		require.Len(t, a.resp.Responses[0].(*kv.ChecksumResponse).ByStore, 2)
	case <-time.After(checksumWait / 2):
		t.Fatal("it waits for a replica that is not there any more")
	}
}

// sums asks the leader of the first range for checksums and returns how many there are, and how long it took.
func (c *cluster) sums() (int, time.Duration) {
	c.t.Helper()
	began := time.Now()
	resp, err := c.waitLeaderStore().Send(c.ctx(5*time.Minute), &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{&kv.Checksum{}}})
	require.NoError(c.t, err)
	return len(resp.Responses[0].(*kv.ChecksumResponse).ByStore), time.Since(began)
}

// A replica that is silent, or is heard and hears nobody, is not waited for beyond a few seconds, and not at all if that is known.
func TestChecksumOfASilentReplica(t *testing.T) {
	for name, silence := range map[string]func(c *cluster, id kv.NodeID){
		"dead": func(c *cluster, id kv.NodeID) { c.nodes[id].crash() },
		"deaf": func(c *cluster, id kv.NodeID) {
			for other := range c.nodes {
				if other != id {
					c.sever(other, id, true)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClusterWith(t, 3, Knobs{MemTableBytes: 4 << 20}, productionClock)
				c.upReplicate(2, 3)
				c.checkReplicas(c.ctx(time.Minute))
				n, took := c.sums()
				require.Equal(t, 3, n)
				require.Less(t, took, checksumAsk)
				gone := kv.NodeID(1)
				if c.waitLeaderStore().id.NodeID == gone {
					gone = 2
				}
				silence(c, gone)
				n, took = c.sums()
				require.Equal(t, 2, n)
				require.Less(t, took, 2*checksumSilence)
				if name == "dead" {
					n, took = c.sums()
					require.Equal(t, 2, n)
					require.Less(t, took, checksumLook, "it is known to be silent")
				}
			})
		})
	}
}

// A replica that gets past the command by a snapshot, or whose answer is lost, has an answer soon: it is asked what it knows.
func TestChecksumOfAReplicaThatHasLostIt(t *testing.T) {
	run := func(name string, f func(t *testing.T, c *cluster, other kv.NodeID)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClusterWith(t, 3, Knobs{MemTableBytes: 4 << 20, LogTruncateBytes: 4 << 10, LogMaxBytes: 8 << 10}, productionClock)
				c.upReplicate(2, 3)
				c.checkReplicas(c.ctx(time.Minute))
				other := kv.NodeID(1)
				if c.waitLeaderStore().id.NodeID == other {
					other = 2
				}
				f(t, c, other)
			})
		})
	}
	run("answer", func(t *testing.T, c *cluster, other kv.NodeID) {
		lost := 0
		c.setFilter(func(m *RaftMessage) bool {
			if m.ChecksumID == 0 || m.From.NodeID != other || lost == 2 {
				return false
			}
			lost++
			return true
		})
		n, took := c.sums()
		require.Equal(t, 3, n)
		require.Less(t, took, 2*checksumAsk)
	})
	run("snapshot", func(t *testing.T, c *cluster, other kv.NodeID) {
		before := c.up(other).metrics.SnapshotsIn.Load()
		c.setFilter(func(m *RaftMessage) bool { return m.To.NodeID == other && m.Raft != nil && len(m.Raft.Entries) > 0 })
		type answer struct {
			n    int
			took time.Duration
		}
		done := make(chan answer, 1)
		go func() {
			n, took := c.sums()
			done <- answer{n, took}
		}()
		time.Sleep(checksumAsk + checksumLook)
		require.Empty(t, done, "it is behind, and may still have it")
		for i := range 300 {
			require.NoError(t, c.put(c.ctx(time.Minute), i, strings.Repeat("y", 1000)))
		}
		for _, st := c.waitLeader(kv.FirstUserRange); st.FirstIndex < 200; _, st = c.waitLeader(kv.FirstUserRange) {
			time.Sleep(checksumLook)
		}
		c.setFilter(nil)
		a := <-done
		require.Equal(t, 3, a.n)
		require.Greater(t, c.up(other).metrics.SnapshotsIn.Load(), before, "or the test shows nothing")
		require.Less(t, a.took, 10*time.Second)
	})
}
