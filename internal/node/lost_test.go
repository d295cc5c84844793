package node

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// A range is lost when all its nodes have left, and are silent, and it has seemed so for a while; who has left is not read each time.
func TestLostRanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alive, gone := map[kv.NodeID]bool{1: true}, membership{3: {Done: time.Now()}, 4: {Done: time.Now()}, 5: {}}
		reads, failure := 0, error(nil)
		l := &lostRanges{alive: func(id kv.NodeID) bool { return alive[id] }, read: func(context.Context) (membership, error) {
			reads++
			return gone, failure
		}}
		on := func(id kv.RangeID, nodes ...kv.NodeID) *kv.RangeDescriptor {
			d := &kv.RangeDescriptor{RangeID: id}
			for _, n := range nodes {
				d.Replicas = append(d.Replicas, kv.Replica{NodeID: n})
			}
			return d
		}
		is := func(d *kv.RangeDescriptor) bool { return l.is(t.Context(), d) }
		require.False(t, is(on(7, 1, 3)))
		require.False(t, is(on(kv.MetaRangeID, 3)))
		require.Zero(t, reads, "nothing that is in the way was read")
		for range 20 {
			require.False(t, is(on(7, 3, 4)), "it may just have been moved")
			require.False(t, is(on(8, 3, 5)), "one of them only leaves")
			require.False(t, is(on(9, 3, 6)), "one of them is silent")
			time.Sleep(100 * time.Millisecond)
		}
		require.True(t, is(on(7, 3, 4)))
		require.LessOrEqual(t, reads, 3)
		time.Sleep(lostFor / 2)
		require.True(t, is(on(7, 4)), "it is remembered")
		alive[4] = true
		require.False(t, is(on(7, 3, 4)))
		alive[4] = false
		time.Sleep(2 * time.Second)
		failure = errors.New("the meta range does not answer")
		require.False(t, is(on(7, 3, 4)), "that cannot be read now")
		failure = nil
		require.True(t, is(on(7, 3, 4)))
		delete(gone, 3) // recommissioned
		time.Sleep(2 * time.Second)
		require.False(t, is(on(7, 3, 4)))
		gone[3] = gone[4]
		time.Sleep(2 * time.Second)
		require.False(t, is(on(7, 3, 4)), "it begins anew")
		time.Sleep(2 * time.Minute)
		require.False(t, is(on(10, 3)))
		require.Len(t, l.since, 1)
	})
}

// Where new tables would go, and what is the catalog's, is not unused.
func TestUnused(t *testing.T) {
	a, b := keys.Table(keys.FirstUserTable), keys.Table(keys.FirstUserTable+7)
	for _, c := range []struct {
		span   keys.Span
		tables []string
		unused bool
	}{
		{keys.Span{Start: a, End: b}, nil, true},
		{keys.Span{Start: a, End: b}, []string{"t"}, false},
		{keys.Span{Start: a, End: keys.Max}, nil, false},
		{keys.Span{Start: keys.TableMin, End: b}, nil, false},
	} {
		require.Equal(t, c.unused, unused(c.span, c.tables), "%v", c)
	}
}
