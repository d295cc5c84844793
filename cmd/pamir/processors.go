package main

import (
	"os"
	"runtime"
)

// background is how many goroutines of a node may compute for long: two compactions, a flush, and a large write that is being applied.
const background = 4

// spread lets more goroutines run at a time than there are processors, and returns how many of those there are.
//
// Go lets a goroutine compute for 10 ms before others get its place; on a small machine compactions have all places, and a small transaction, which is woken up a dozen times on three
// nodes, waits each time. Threads are taken turns with by the operating system, which lets one that has slept go first. So background work has places of its own.
// Who sets GOMAXPROCS has his own plan. See docs/decisions/0017-more-threads-than-processors.md.
func spread() (cores int) {
	cores = runtime.GOMAXPROCS(0)
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(cores + background)
	}
	return cores
}
