package store

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// A split counts its right side while it is written, and the count is exact in the end.
func TestSplitCountsUnderWrites(t *testing.T) {
	rows, size := 2000, 100
	if mib, err := strconv.Atoi(os.Getenv("PAMIR_SPLIT_MIB")); err == nil { // to measure
		rows, size = mib*1000, 1000
	}
	c := newCluster(t, 1, testKnobs)
	ctx := c.ctx(300 * time.Second)
	s, _ := c.waitLeader(kv.FirstUserRange)
	value := make([]byte, size)
	for i := 0; i < rows; {
		var b kv.Rows
		from := i
		for ; i < rows && i < from+1000; i++ {
			b.Append(key(i), value)
		}
		_, err := c.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{
			&kv.BulkWrite{Span: keys.Span{Start: key(from), End: key(i)}, TS: s.clock.Now(), Rows: b},
		}})
		require.NoError(t, err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	worst := make([]time.Duration, 4)
	for w := range worst {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				select {
				case <-stop:
					return
				default:
				}
				i := rand.IntN(rows)
				var q kv.Request = &kv.Put{Key: key(i), Value: []byte(fmt.Sprint(i))}
				if i%5 == 0 {
					q = &kv.Delete{Key: key(i)}
				}
				begun := time.Now()
				_, err := c.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{q}})
				worst[w] = max(worst[w], time.Since(begun))
				if err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	time.Sleep(50 * time.Millisecond)
	begun := time.Now()
	_, err := c.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.AdminSplit{Key: key(rows / 3)}}})
	took := time.Since(begun)
	close(stop)
	wg.Wait()
	require.NoError(t, err)
	t.Logf("%d rows of %d bytes: the split took %v, of which the range stood still for %v; the longest a writer waited all the while: %v",
		rows, size, took, time.Duration(s.metrics.SplitStallNanos.Load()), worst)
	for _, st := range s.Ranges() {
		want, err := mvcc.ComputeStats(ctx, s.eng.DB(), st.Descriptor)
		require.NoError(t, err)
		require.Equal(t, want, st.Stats, "range %d", st.RangeID)
	}
}

// The snapshot that a replica is being sent because it was behind comes second to the log: the replica applies a split meanwhile, whose right
// side lies under the snapshot. That is no reason to stop.
func TestSplitUnderOwnSnapshot(t *testing.T) { synctest.Test(t, testSplitUnderOwnSnapshot) }

func testSplitUnderOwnSnapshot(t *testing.T) {
	c := newCluster(t, 3, testKnobs)
	ctx := c.ctx(30 * time.Second)
	c.upReplicate(2, 3)
	lead, st := c.waitLeader(kv.FirstUserRange)
	for i := range 20 {
		require.NoError(t, c.put(ctx, i, "v"))
	}
	behind := c.up(lead.id.NodeID%3 + 1)
	require.NoError(t, behind.reserve(st.Descriptor), "a snapshot begins to come")
	right := c.split(ctx, 10)
	require.Eventually(t, func() bool {
		r := behind.replica(right)
		return r != nil && r.Desc() != nil
	}, 20*time.Second, 5*time.Millisecond, "the split has happened there, too")
	_, now := c.waitLeader(right)
	other, taken := behind.receivingFor(now.Descriptor)
	require.False(t, taken, "the keys of the right side are kept for a snapshot of range %d", other)
	behind.unreserve(st.RangeID)
	c.checkReplicas(ctx)
}
