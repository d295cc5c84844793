//go:build pamir_seeded

package sim

import (
	"runtime"
	_ "unsafe" // for go:linkname
)

// The sampling of allocations draws random numbers, as often as memory is allocated.
func init() { runtime.MemProfileRate = 0 }

// The state of the sequence that the changed runtime draws from; 0 turns it off.
//
//go:linkname runtimeState runtime.sim_state
var runtimeState uint64

func setSeed(seed uint64) { runtimeState = seed*0x9e3779b97f4a7c15 | 1 }

func seedState() uint64 { return runtimeState }
