package exec

import (
	"math/rand/v2"
	"sync"
	"time"
)

// Row ids of tables without a primary key rise with time, so such a table reads back in the order of its inserts:
//
//	48 bits   time in units of 8 µs since 2020-01-01, counted on when there are more rows than time
//	15 bits   node
//
// The sign bit stays 0. Two nodes never make the same id as long as their numbers differ (modulo 32768); that they do is
// nevertheless checked when the row commits.
const rowIDEpoch = 1577836800000000 // µs

var rowIDs struct {
	sync.Mutex
	last   int64
	random int64
}

func nextRowID(node int32) int64 {
	now := (time.Now().UnixMicro() - rowIDEpoch) / 8
	rowIDs.Lock()
	if rowIDs.random == 0 {
		rowIDs.random = 1 + rand.Int64N(1<<15-1)
	}
	if now <= rowIDs.last {
		now = rowIDs.last + 1
	}
	rowIDs.last = now
	n := int64(node) & (1<<15 - 1)
	if node == 0 {
		n = rowIDs.random
	}
	rowIDs.Unlock()
	return now<<15 | n
}
