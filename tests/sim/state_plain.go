//go:build !pamir_seeded

package sim

func setSeed(uint64) {}

func seedState() uint64 { return 0 }
