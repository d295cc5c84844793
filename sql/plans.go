package sql

import (
	"sync"

	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// planCache shares plans between sessions. Plans are immutable.
type planCache struct {
	mu    sync.Mutex
	plans map[planKey]*plan.Statement
	bytes int
	// histories outlive the plans: a schema change, of whatever, does not make what was learned of a statement untrue.
	histories map[historyKey]*plan.KeyHistory
}

// historyKey is a statement that reads a table by key. The table is there because of search paths.
type historyKey struct {
	text  string
	start int
	table catalog.TableID
}

// planKey is everything a plan depends on.
type planKey struct {
	text    string
	start   int // of the statement in the text
	version uint64
	path    string // search path and user
	hints   string
	values  string // classes of parameter values that it is for, see plan.Peek
}

const (
	maxPlans     = 4096
	maxPlanBytes = 8 << 20
)

func newPlanCache() *planCache {
	return &planCache{plans: map[planKey]*plan.Statement{}, histories: map[historyKey]*plan.KeyHistory{}}
}

func (c *planCache) get(k planKey) *plan.Statement {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.plans[k]
}

// put makes p the plan for k. Nobody else has p yet.
func (c *planCache) put(k planKey, p *plan.Statement) {
	if len(k.text) > 16<<10 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.plans) >= maxPlans || c.bytes > maxPlanBytes {
		// Every schema change leaves plans behind that nobody asks for again: start over now and then.
		clear(c.plans)
		c.bytes = 0
	}
	if r := p.KeyRead; r != nil {
		k := historyKey{k.text, k.start, r.Table}
		if h := c.histories[k]; h != nil {
			r.KeyHistory = h
		} else {
			if len(c.histories) >= maxPlans {
				clear(c.histories)
			}
			c.histories[k] = r.KeyHistory
		}
	}
	c.plans[k] = p
	c.bytes += len(k.text)
}

func hintKey(hints []types.OID) string {
	b := make([]byte, 0, 4*len(hints))
	for _, h := range hints {
		b = append(b, byte(h>>24), byte(h>>16), byte(h>>8), byte(h))
	}
	return string(b)
}
