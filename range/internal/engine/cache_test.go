package engine

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// TestCacheHoldsBlocksBesideMemtables: memtables of full size, in use and kept for reuse, leave room for blocks.
func TestCacheHoldsBlocksBesideMemtables(t *testing.T) {
	e, err := Open(Config{Dir: t.TempDir(), CacheBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	rng := rand.NewChaCha8([32]byte{1, 2})
	key := func(i int) []byte { return append(fmt.Appendf(nil, "k%08d", i), 0) }
	value := make([]byte, 1<<10)
	const n = 4 << 10
	for range 5 * 16 { // memtables grow to 16 MiB, and are flushed several times
		b := e.DB().NewBatch()
		for i := range 1 << 10 {
			if _, err := rng.Read(value); err != nil {
				t.Fatal(err)
			}
			if err := b.Set(key(i%n), value, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Commit(pebble.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.DB().Flush(); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		for i := range 1 << 10 {
			_, c, err := e.DB().Get(key(i))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	// What it holds at this moment says nothing: a compaction that has just ended takes the blocks of its inputs away.
	if m := e.DB().Metrics(); m.BlockCache.Hits < 2*m.BlockCache.Misses {
		t.Fatalf("the cache holds %d bytes: %d hits, %d misses", m.BlockCache.Size, m.BlockCache.Hits, m.BlockCache.Misses)
	}
}
