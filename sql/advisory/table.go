package advisory

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/txn"
)

// Table is all advisory locks of the cluster at a moment.
type Table struct{ locks map[Tag]queue }

// Holding is one mode in which a session holds a lock, or waits for it.
type Holding struct {
	Tag     Tag
	PID     int32
	Shared  bool
	Granted bool
}

// Table reads all locks.
func (l *Locks) Table(ctx context.Context) (Table, error) {
	var t Table
	prefix := keys.System(lockPrefix)
	err := l.cfg.Store.Run(ctx, txn.Options{ReadOnly: true}, func(tx txn.Txn) error {
		t.locks = map[Tag]queue{}
		return l.cfg.Store.Each(ctx, tx, prefix, func(k keys.Key, v []byte) error {
			tag, err := tagOfRow(k)
			if err != nil {
				return err
			}
			q, err := decode(v)
			if err != nil {
				return err
			}
			if q, err = l.living(ctx, tx, q); err == nil && len(q) > 0 {
				t.locks[tag] = q
			}
			return err
		})
	})
	return t, err
}

// Holdings lists who holds and who waits, by lock, in the order of the queues.
func (t Table) Holdings() (hs []Holding) {
	for _, tag := range slices.SortedFunc(maps.Keys(t.locks), func(a, b Tag) int {
		return cmp.Or(cmp.Compare(a.Sub, b.Sub), cmp.Compare(uint64(a.Key), uint64(b.Key)))
	}) {
		for _, e := range t.locks[tag] {
			for _, m := range []byte{holdsShared, holdsExclusive, waitsShared, waitsExclusive} {
				if e.modes&m != 0 {
					hs = append(hs, Holding{tag, e.pid, m == holdsShared || m == waitsShared, m&holds != 0})
				}
			}
		}
	}
	return hs
}

// AddWaits adds who waits for whom to a graph.
func (t Table) AddWaits(graph map[int32][]int32) {
	for _, q := range t.locks {
		for i, e := range q {
			if e.wants() == 0 {
				continue
			}
			hard, soft := q.blockers(i)
			for _, by := range append(hard, soft...) {
				if !slices.Contains(graph[e.pid], by) {
					graph[e.pid] = append(graph[e.pid], by)
				}
			}
		}
	}
}

// wait is what a session waits for.
type wait struct {
	tag    Tag
	shared bool
	// soft: no holder is in its way, only some who wait before it.
	soft bool
}

func (t Table) waits() map[int32]wait {
	ws := map[int32]wait{}
	for tag, q := range t.locks {
		for i, e := range q {
			if w := e.wants(); w != 0 {
				hard, _ := q.blockers(i)
				ws[e.pid] = wait{tag, w == holdsShared, len(hard) == 0}
			}
		}
	}
	return ws
}

// verdict says who ends a deadlock: one whom only the order of a queue keeps waiting goes ahead of it, without harm to anybody; if there is none,
// one gives up. Of several it is the one with the highest process id, as every node finds.
func verdict(cycle []int32, ws map[int32]wait) (pid int32, jumps bool) {
	for _, p := range cycle {
		w, ok := ws[p]
		if ok && (w.soft && !jumps || w.soft == jumps && p > pid) {
			pid, jumps = p, w.soft
		}
	}
	return pid, jumps
}

// describe is the detail of the error, beginning with the one who gives up.
func describe(cycle []int32, ws map[int32]wait) string {
	var b strings.Builder
	for i, pid := range cycle {
		if i > 0 {
			b.WriteByte('\n')
		}
		what := "a row lock"
		if w, ok := ws[pid]; ok {
			mode := "ExclusiveLock"
			if w.shared {
				mode = "ShareLock"
			}
			what = mode + " on " + w.tag.String()
		}
		fmt.Fprintf(&b, "Process %d waits for %s; blocked by process %d.", pid, what, cycle[(i+1)%len(cycle)])
	}
	return b.String()
}

// cycleThrough finds a cycle of the graph through a node, which comes first; nil if there is none.
func cycleThrough(graph map[int32][]int32, from int32) []int32 {
	seen := map[int32]bool{}
	var path []int32
	var walk func(int32) bool
	walk = func(n int32) bool {
		path = append(path, n)
		for _, m := range graph[n] {
			if m == from {
				return true
			}
			if !seen[m] {
				seen[m] = true
				if walk(m) {
					return true
				}
			}
		}
		path = path[:len(path)-1]
		return false
	}
	if walk(from) {
		return path
	}
	return nil
}
