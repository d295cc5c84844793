package store

import (
	"math/bits"
	"sync"
	"time"

	"github.com/pamirdb/pamir/range/internal/replica"
)

// careLists hold the replicas that need something of a loop: see replica.Care. A replica is on a list at most once, so that a list is
// no longer than there are replicas; a loop's round costs what it visits, whatever the number of ranges.
type careLists [replica.Cares]careList

type careList struct {
	mu   sync.Mutex
	list []*replica.Replica // guarded by mu
	// spare is the array of the round before.
	spare []*replica.Replica // guarded by mu
}

// add puts r on the lists of c, on none of which it is.
func (l *careLists) add(r *replica.Replica, c replica.Care) {
	for c != 0 {
		i := bits.TrailingZeros32(uint32(c))
		c &^= 1 << i
		l[i].mu.Lock()
		l[i].list = append(l[i].list, r)
		l[i].mu.Unlock()
	}
}

// keepSpare bounds the empty array that a list keeps for its next round.
const keepSpare = 1024

// visitEvery visits the list of c now and then, until the store stops.
func (s *Store) visitEvery(every time.Duration, c replica.Care, f func(r *replica.Replica) (again bool)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			return
		}
		s.visit(c, f)
	}
}

// visit calls f for the replicas on the list of c, which leaves those on it for which f says again. f may block; replicas
// may come and go meanwhile. There is one visitor of each list.
func (s *Store) visit(c replica.Care, f func(r *replica.Replica) (again bool)) {
	l := &s.lists[bits.TrailingZeros32(uint32(c))]
	l.mu.Lock()
	round := l.list
	l.list, l.spare = l.spare[:0], nil
	l.mu.Unlock()
	for i, r := range round {
		if s.ctx.Err() != nil {
			return // nobody will visit any more
		}
		round[i] = nil
		r.Visited(c)
		if f(r) {
			r.Need(c)
		}
	}
	if cap(round) <= keepSpare {
		l.mu.Lock()
		l.spare = round
		l.mu.Unlock()
	}
}
