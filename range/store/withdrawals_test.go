package store

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// A store that asks for no support any more since no range is in common is none that has lost it.
func TestWithdrawalsOfPeersOnly(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	peers := map[kv.StoreID]bool{2: true, 3: true}
	none := func(kv.StoreID) uint64 { return 0 }
	var w withdrawals
	begin := time.Now()
	w.begin(2, begin)
	w.begin(3, begin)
	looked := 0
	peer := func(st kv.StoreID) bool { looked++; return peers[st] }
	w.report(log, begin, none, peer)
	require.Zero(t, looked, "it is a walk over all ranges, in the beat")
	later := begin.Add(shortWithdrawal)
	delete(peers, 2) // its last range was moved away
	w.report(log, later, none, peer)
	require.NotContains(t, out.String(), "from=2")
	require.Contains(t, out.String(), "from=3")
	looked = 0
	w.report(log, later, none, peer)
	require.Zero(t, looked, "it is written once")

	out.Reset()
	peers[2] = true
	w.report(log, later, func(kv.StoreID) uint64 { return 1 }, peer)
	require.NotContains(t, out.String(), "store=2", "nothing was said of it")
	require.Contains(t, out.String(), "supported again")
}
