//go:build !pamir_seeded

package sim

// seeded tells whether this program was built with the changed runtime.
const seeded = false

func setSeed(uint64) {}

func seedState() uint64 { return 0 }
