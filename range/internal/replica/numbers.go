package replica

import (
	"sync"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
)

// maxNumbers bounds the sequences that a replica remembers. One that is forgotten loses the numbers that were taken ahead.
const maxNumbers = 1024

// numbers implements eval.Numbers.
type numbers struct {
	mu   sync.Mutex
	last map[string]number
}

type number struct {
	ts   hlc.Timestamp
	last int64
}

func (n *numbers) Last(key keys.Key, ts hlc.Timestamp) (int64, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	x, ok := n.last[string(key)]
	return x.last, ok && x.ts == ts
}

func (n *numbers) Took(key keys.Key, ts hlc.Timestamp, last int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.last[string(key)]; !ok && len(n.last) >= maxNumbers {
		for k := range n.last {
			delete(n.last, k)
			break
		}
	}
	if n.last == nil {
		n.last = map[string]number{}
	}
	n.last[string(key)] = number{ts, last}
}
