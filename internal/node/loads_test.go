package node

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/range/store"
)

// A range is left alone only if nothing about it has changed and nothing that was asked of it is still remembered.
func TestLoadAtRest(t *testing.T) {
	desc := &kv.RangeDescriptor{RangeID: 7}
	load := store.Load{Requests: 5, Writes: 4, WriteBytes: 3, CPU: 2}
	h := ledHere{desc: desc, term: 3, load: load, stats: kv.Stats{Bytes: 9}, since: time.Unix(1, 0)}
	same := store.RangeLoad{Descriptor: desc, Term: 3, Load: load, Stats: kv.Stats{Bytes: 9}}
	require.True(t, h.still(&same))
	for name, change := range map[string]func(h *ledHere, r *store.RangeLoad){
		"descriptor":       func(_ *ledHere, r *store.RangeLoad) { r.Descriptor = &kv.RangeDescriptor{RangeID: 7} },
		"term":             func(_ *ledHere, r *store.RangeLoad) { r.Term++ },
		"size":             func(_ *ledHere, r *store.RangeLoad) { r.Stats.Bytes++ },
		"requests":         func(_ *ledHere, r *store.RangeLoad) { r.Load.Requests++ },
		"writes":           func(_ *ledHere, r *store.RangeLoad) { r.Load.Writes++ },
		"bytes":            func(_ *ledHere, r *store.RangeLoad) { r.Load.WriteBytes++ },
		"time":             func(_ *ledHere, r *store.RangeLoad) { r.Load.CPU++ },
		"who asked":        func(_ *ledHere, r *store.RangeLoad) { r.Load.Sources = []store.SourceCount{{Node: 1, Requests: 1}} },
		"who asked before": func(h *ledHere, _ *store.RangeLoad) { h.load.Sources = []store.SourceCount{{Node: 1, Requests: 1}} },
		"requests fade":    func(h *ledHere, _ *store.RangeLoad) { h.rates.Requests = 0.1 },
		"writes fade":      func(h *ledHere, _ *store.RangeLoad) { h.rates.Writes = 0.1 },
		"bytes fade":       func(h *ledHere, _ *store.RangeLoad) { h.rates.WriteBytes = 0.1 },
		"time fades":       func(h *ledHere, _ *store.RangeLoad) { h.rates.CPU = 0.1 },
		"gateways fade":    func(h *ledHere, _ *store.RangeLoad) { h.rates.From = []GatewayRate{{Node: 1, Requests: 0.1}} },
	} {
		h, r := h, same
		change(&h, &r)
		require.False(t, h.still(&r), name)
	}
}
