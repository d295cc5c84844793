package main

import (
	"os"
	"runtime"
	"strconv"
	"strings"
)

// What a node may use when nobody said: an eighth of the memory for cached blocks. Sorts, hash tables and the operating system's file
// cache need the rest, and several nodes may share a machine.
const (
	minCache = 128 << 20
	maxCache = 4 << 30
)

func defaultCache(memory int64) int64 { return min(max(memory/8, minCache), maxCache) }

// memory is what this process may use: the machine's memory or, if that is less, the container's limit. 0 if nobody says.
func memory() int64 {
	total := int64(0)
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		total = parseMeminfo(string(b))
	}
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // the other version of cgroups, or none
		}
		// "max" is no limit, and so is a number beyond the machine's memory.
		if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && n > 0 && (total == 0 || n < total) {
			total = n
		}
	}
	return total
}

// parseMeminfo finds the line "MemTotal: 123 kB".
func parseMeminfo(s string) int64 {
	for line := range strings.Lines(s) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" && f[2] == "kB" {
			if n, err := strconv.ParseInt(f[1], 10, 64); err == nil {
				return n << 10
			}
		}
	}
	return 0
}

// heapFloor is memory that is never touched, so that it costs none; the collector counts it all the same.
var heapFloor []byte

// steadyHeap keeps the collector from running all the time. A node's live heap is small, 10 to 30 MiB, because blocks and
// memtables lie outside of it, and a collector that runs whenever it has doubled runs ten times a second under load. With the floor
// it runs after 128 MiB more garbage; a heap that is large anyway (a sort, a hash join) does not become larger by a multiple.
// Who sets GOGC or GOMEMLIMIT has his own plan.
func steadyHeap() {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		heapFloor = make([]byte, 128<<20)
		runtime.KeepAlive(heapFloor)
	}
}
