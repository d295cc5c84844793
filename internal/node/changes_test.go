package node

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pamirdb/pamir/range/kv"
)

// A new leader has counted nothing yet: what its predecessor knew holds until it has been there for a while, over several changes of
// leader too, and no longer.
func TestNewLeaderKnowsNothingOfClients(t *testing.T) {
	c := newCollected(10 * time.Second)
	c.nodes[1], c.nodes[2] = &reporter{}, &reporter{}
	now := time.Now()
	tell := func(node kv.NodeID, term uint64, led time.Duration, requests float64) {
		d := kv.RangeDescriptor{RangeID: 7, StartKey: []byte{1}, EndKey: []byte{2}, Generation: 1, Replicas: []kv.Replica{{NodeID: 1, StoreID: 1, ReplicaID: 1}, {NodeID: 2, StoreID: 2, ReplicaID: 2}}}
		x := changedRange{Desc: d.AppendWire(nil), Term: term, LedMS: led.Milliseconds(), RangeRates: RangeRates{Requests: requests, From: []GatewayRate{{Node: 1, Requests: requests}}}}
		c.grow(now)
		require.NoError(t, c.take(&changesReport{NodeID: node, StoreID: kv.StoreID(node), Number: 1, Ranges: []changedRange{x}}, now))
	}
	load := func() float64 { return c.ranges[7].load().Requests }
	tell(1, 5, time.Hour, 100)
	require.Equal(t, 100.0, load())
	tell(2, 6, 0, 0)
	require.Equal(t, 100.0, load(), "the new leader has been told of")
	now = now.Add(3 * time.Second)
	tell(2, 6, 3*time.Second, 30)
	require.Equal(t, 100.0, load(), "it begins to see its clients")
	tell(1, 7, 0, 0)
	require.Equal(t, 100.0, load(), "it has lost the range again")
	tell(1, 7, 2*time.Second, 120)
	require.Equal(t, 120.0, load(), "there is more to do than before")
	tell(2, 8, 0, 0)
	require.Equal(t, 120.0, load())
	clear(c.changed)
	now = now.Add(11 * time.Second)
	c.grow(now)
	require.Zero(t, load(), "nobody asks it for anything any more")
	require.True(t, c.changed[7], "the planner is to be told")
	require.Empty(t, c.borrow)
}

// Who led a range before its leader is known through reports that nobody does, and after a leader of a later term has come back.
func TestWhoLedBefore(t *testing.T) {
	c := newCollected(10 * time.Second)
	c.nodes[1], c.nodes[2] = &reporter{}, &reporter{}
	tell := func(node kv.NodeID, term uint64) {
		d := someDesc(7)
		x := changedRange{Desc: d.AppendWire(nil), Term: term}
		require.NoError(t, c.take(&changesReport{NodeID: node, StoreID: kv.StoreID(10 * node), Number: 1, Ranges: []changedRange{x}}, time.Now()))
	}
	tell(1, 5)
	require.Zero(t, c.ranges[7].ledBefore)
	require.NoError(t, c.take(&changesReport{NodeID: 1, StoreID: 10, Number: 2, Gone: []kv.RangeID{7}}, time.Now()))
	require.Zero(t, c.ranges[7].store, "nobody leads it")
	tell(2, 6)
	require.Equal(t, kv.StoreID(10), c.ranges[7].ledBefore)
	tell(2, 7)
	require.Equal(t, kv.StoreID(10), c.ranges[7].ledBefore, "the same leader, elected anew")
	tell(1, 8)
	require.Equal(t, kv.StoreID(20), c.ranges[7].ledBefore)
}

// What others do to a range is known for as long as its leader is at it, and not for longer than there is a leader to tell of it.
func TestChangesOfOthers(t *testing.T) {
	c := newCollected(10 * time.Second)
	c.nodes[1], c.nodes[2] = &reporter{}, &reporter{}
	tell := func(node kv.NodeID, term uint64, changing bool) bool {
		d := someDesc(7)
		x := changedRange{Desc: d.AppendWire(nil), Term: term, Changing: changing}
		require.NoError(t, c.take(&changesReport{NodeID: node, StoreID: kv.StoreID(10 * node), Number: 1, Ranges: []changedRange{x}}, time.Now()))
		return c.ranges[7].beingChanged()
	}
	require.False(t, tell(1, 5, false))
	require.True(t, tell(1, 5, true))
	require.False(t, tell(1, 5, false))
	require.True(t, tell(1, 5, true))
	c.lost(1)
	require.False(t, c.ranges[7].beingChanged(), "who was at it is gone")
	require.False(t, tell(2, 6, false))
	h := &ledHere{desc: &kv.RangeDescriptor{Generation: 1}, term: 1}
	told := toldRange{generation: 1, term: 1}
	require.False(t, told.differs(h, 1))
	h.changing = true
	require.True(t, told.differs(h, 1), "the driver is to be told")
}

// The order of ranges that the driver keeps is what sorting them gives, whatever was cut, merged, listed and taken off the list since it last sorted.
func TestOrderIsKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCollected(time.Second)
		c.nodes[1] = &reporter{}
		now := time.Now()
		key := func(label string) byte { return byte(rapid.IntRange(1, 20).Draw(t, label)) }
		desc := func(gen int64) kv.RangeDescriptor {
			a, b := key("start"), key("end")
			if a >= b {
				b = a + 1
			}
			return kv.RangeDescriptor{RangeID: kv.RangeID(rapid.IntRange(1, 8).Draw(t, "range")), StartKey: []byte{a}, EndKey: []byte{b}, Generation: gen,
				Replicas: []kv.Replica{{NodeID: 1, StoreID: 1, ReplicaID: 1}}}
		}
		for gen := range int64(rapid.IntRange(1, 20).Draw(t, "rounds")) {
			d := desc(gen + 1)
			switch rapid.IntRange(0, 2).Draw(t, "event") {
			case 0:
				require.NoError(t, c.take(&changesReport{NodeID: 1, StoreID: 1, Number: 1, Ranges: []changedRange{{Desc: d.AppendWire(nil), Term: uint64(gen)}}}, now))
			case 1:
				require.NoError(t, c.take(&changesReport{NodeID: 1, StoreID: 1, Number: 1, Gone: []kv.RangeID{d.RangeID}}, now))
			case 2:
				c.list([]kv.RangeDescriptor{d})
			}
			if rapid.Bool().Draw(t, "not looked at") {
				continue
			}
			order := slices.Clone(c.inOrder())
			require.Len(t, order, len(c.ranges))
			require.True(t, slices.IsSortedFunc(order, func(a, b kv.RangeID) int { return c.ranges[a].desc.StartKey.Compare(c.ranges[b].desc.StartKey) }))
			slices.Sort(order)
			require.Len(t, slices.Compact(order), len(c.ranges))
		}
	})
}
