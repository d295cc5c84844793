package node

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/range/transport"
)

// A node that stops waits for others only if the whole cluster stops, and not for those that are gone, or have nothing left to do.
func TestLeavers(t *testing.T) {
	const self, dead = 1, 9
	at := func(id kv.NodeID, draining, drained bool) transport.Entry {
		return transport.Entry{NodeID: id, Draining: draining, Drained: drained}
	}
	me := at(self, true, true)
	for _, c := range []struct {
		what          string
		others        []transport.Entry
		company, busy bool
		all           bool
	}{
		{"it is alone", nil, false, false, true},
		{"the others go on", []transport.Entry{at(2, false, false), at(3, false, false)}, false, false, false},
		{"one goes on", []transport.Entry{at(2, true, false), at(3, false, false)}, false, false, false},
		{"all stop, and are busy", []transport.Entry{at(2, true, false), at(3, true, false)}, true, true, true},
		{"all stop, and one is busy", []transport.Entry{at(2, true, true), at(3, true, false)}, true, true, true},
		{"all stop, and have ended", []transport.Entry{at(2, true, true), at(3, true, true)}, true, false, true},
		{"what an undrained node said before", []transport.Entry{at(2, false, true)}, false, false, false},
		{"one is dead, and one stops", []transport.Entry{at(2, true, false), at(dead, false, false)}, true, true, false},
		{"one has been stopped, and one stops", []transport.Entry{at(2, true, true), at(dead, true, false)}, true, false, true},
		{"the other is dead", []transport.Entry{at(dead, false, false)}, false, false, false},
	} {
		es := append([]transport.Entry{me}, c.others...)
		company, busy := leavers(es, self, func(id kv.NodeID) bool { return id != dead })
		require.Equal(t, c.company, company, c.what)
		require.Equal(t, c.busy, busy, c.what)
		require.Equal(t, c.all, allDraining(es, self), c.what)
	}
}
