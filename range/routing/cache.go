package routing

import (
	"bytes"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// entry is a cached descriptor and who was last known to lead it. desc is immutable.
type entry struct {
	desc *kv.RangeDescriptor
	// leader is 1 + the index in desc.Replicas; 0 if not known.
	leader atomic.Int32
}

// setLeader notes who leads; false if it is no voter of the descriptor.
func (e *entry) setLeader(store kv.StoreID) bool {
	for i, r := range e.desc.Replicas {
		if r.StoreID == store && (r.VotesOld() || r.VotesNew()) {
			if l := int32(i + 1); e.leader.Load() != l { // do not dirty a shared cache line for nothing
				e.leader.Store(l)
			}
			return true
		}
	}
	return false
}

// cache holds descriptors that do not overlap, sorted by key. A sorted slice is
// searched without allocation and is read far more often than it is changed.
type cache struct {
	max int

	mu   sync.RWMutex
	list []*entry              // by EndKey; guarded by mu
	byID map[kv.RangeID]*entry // guarded by mu
}

func newCache(max int) *cache { return &cache{max: max, byID: map[kv.RangeID]*entry{}} }

// find returns the entry whose range contains k, or nil.
func (c *cache) find(k keys.Key) *entry {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if i := c.after(k); i < len(c.list) && !k.Less(c.list[i].desc.StartKey) {
		return c.list[i]
	}
	return nil
}

// findBefore returns the entry whose range contains the keys just before end, or nil.
func (c *cache) findBefore(end keys.Key) *entry {
	c.mu.RLock()
	defer c.mu.RUnlock()
	i := sort.Search(len(c.list), func(i int) bool { return bytes.Compare(c.list[i].desc.EndKey, end) >= 0 })
	if i < len(c.list) && c.list[i].desc.StartKey.Less(end) {
		return c.list[i]
	}
	return nil
}

// after returns the index of the first entry that ends after k. The caller holds mu.
func (c *cache) after(k keys.Key) int {
	lo, hi := 0, len(c.list)
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		if bytes.Compare(c.list[m].desc.EndKey, k) > 0 {
			hi = m
		} else {
			lo = m + 1
		}
	}
	return lo
}

func (c *cache) findID(id kv.RangeID) *entry {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.byID[id]
}

// insert takes in a descriptor, unless it overlaps one of a higher generation or is known already.
func (c *cache) insert(d *kv.RangeDescriptor) bool {
	if !d.StartKey.Less(d.EndKey) || len(d.Replicas) == 0 {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.byID[d.RangeID]; old != nil && old.desc.Generation >= d.Generation {
		return false
	}
	lo := c.after(d.StartKey)
	hi := lo
	for hi < len(c.list) && c.list[hi].desc.StartKey.Less(d.EndKey) {
		if c.list[hi].desc.Generation > d.Generation {
			return false
		}
		hi++
	}
	e := &entry{desc: d.Clone()}
	if old := c.byID[d.RangeID]; old != nil {
		if l := old.leader.Load(); l > 0 {
			e.setLeader(old.desc.Replicas[l-1].StoreID)
		}
		// A range that shrank or grew may lie outside [lo, hi) only if it did not overlap its former self.
		if i := c.after(old.desc.StartKey); i < len(c.list) && c.list[i] == old && (i < lo || i >= hi) {
			c.removeAt(i)
			if i < lo {
				lo, hi = lo-1, hi-1
			}
		}
	}
	for _, o := range c.list[lo:hi] {
		delete(c.byID, o.desc.RangeID)
	}
	switch hi - lo {
	case 0:
		c.list = append(c.list, nil)
		copy(c.list[lo+1:], c.list[lo:])
	default:
		c.list = append(c.list[:lo+1], c.list[hi:]...)
	}
	c.list[lo] = e
	c.byID[d.RangeID] = e
	for id, victim := range c.byID { // any but the newest: map order is as good as random
		if len(c.list) <= c.max {
			break
		}
		if id != d.RangeID {
			c.removeAt(c.after(victim.desc.StartKey))
		}
	}
	return true
}

// removeAt removes the entry at i. The caller holds mu.
func (c *cache) removeAt(i int) {
	delete(c.byID, c.list[i].desc.RangeID)
	copy(c.list[i:], c.list[i+1:])
	c.list[len(c.list)-1] = nil
	c.list = c.list[:len(c.list)-1]
}

// evict removes e if it is still cached.
func (c *cache) evict(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := c.after(e.desc.StartKey); i < len(c.list) && c.list[i] == e {
		c.removeAt(i)
	}
}

func (c *cache) len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.list)
}

// all returns the cached descriptors in key order.
func (c *cache) all() []*kv.RangeDescriptor {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := make([]*kv.RangeDescriptor, len(c.list))
	for i, e := range c.list {
		out[i] = e.desc
	}
	return out
}
