package liveness

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// A store knows when most others did not support it. One other that is gone is nothing to it, nor is one that it had nothing to do with for a while.
func TestUnsupported(t *testing.T) {
	w := newWorld()
	for s := range kv.StoreID(3) {
		w.start(s + 1)
	}
	pass := func(beats int, reach func(from, to kv.StoreID) bool) {
		for range beats {
			w.now += 300
			for s := kv.StoreID(1); s <= 3; s++ {
				if w.machines[s] != nil {
					w.beat(new(strings.Builder), s, func(to kv.StoreID) bool { return w.machines[to] != nil && reach(s, to) })
				}
			}
		}
	}
	all := func(kv.StoreID, kv.StoreID) bool { return true }
	never := func(ids ...kv.StoreID) {
		t.Helper()
		for _, s := range ids {
			require.True(t, w.machines[s].Unsupported().IsEmpty(), "store %d", s)
		}
	}
	pass(20, all)
	never(1, 2, 3)

	pass(20, func(from, to kv.StoreID) bool { return from != 1 && to != 1 })
	pass(20, all)
	never(2, 3)
	at := w.machines[1].Unsupported()
	require.False(t, at.IsEmpty())
	require.Less(t, at.WallTime, (w.now-15*300)*ms, "it is again")

	w.start(2) // at once
	pass(20, all)
	never(2, 3)
	require.Equal(t, at, w.machines[1].Unsupported())

	w.machines[3].SetPeers(nil) // it gave its replicas away
	pass(20, all)
	w.machines[3].SetPeers([]Peer{{2, 2}})
	pass(20, all)
	never(2, 3)
}
