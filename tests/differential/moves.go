package differential

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/pamirdb/pamir/internal/node"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/tests/cluster"
)

// mover splits and merges the ranges of a program's tables, and moves their replicas and leaders, one after the other, while the program's statements run. What it does when
// depends on the machine: a seed has the same program, and not the same moves.
type mover struct {
	nodes []*node.Node
	r     *rand.Rand
	keys  *cutter
	sum   *moved
	cuts  []keys.Key // that may be taken back
	// net, if there is one, is cut around a node now and then, for long enough that what it leads gets other leaders.
	net *cluster.Net

	mu     sync.Mutex
	tables []uint64 // guarded by mu
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// moved counts what movers did, and what was refused (a leader that has moved on meanwhile, and the like).
type moved struct{ did, refused map[string]int }

func newMoved() *moved { return &moved{map[string]int{}, map[string]int{}} }

// watch adds a table to those whose ranges are moved.
func (m *mover) watch(table uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tables = append(m.tables, table)
}

func (m *mover) begin(ctx context.Context) {
	ctx, m.cancel = context.WithCancel(ctx)
	m.done.Go(func() { m.run(ctx) })
}

func (m *mover) end() {
	m.cancel()
	m.done.Wait()
}

// drift says which ranges count prepared locks, or fewer than none, though there is no transaction any more; "" if none does. A range that counts none does not look for any.
func (m *mover) drift(ctx context.Context) (what string) {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		ranges, err := m.nodes[0].Operations().Ranges(ctx)
		what = ""
		for _, r := range ranges {
			if r.Locks != 0 {
				what += fmt.Sprintf("range %d (%s to %s) counts %d prepared locks; ", r.ID, r.Start, r.End, r.Locks)
			}
		}
		if err == nil && what == "" || time.Now().After(deadline) {
			return what
		}
	}
}

func (m *mover) run(ctx context.Context) {
	known, at := map[uint64][]keys.Key{}, time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(m.r.IntN(12)) * time.Millisecond):
		}
		m.mu.Lock()
		tables := slices.Clone(m.tables)
		m.mu.Unlock()
		if len(tables) == 0 {
			continue
		}
		if time.Since(at) > 2*time.Second { // rows and indexes come and go
			clear(known)
			at = time.Now()
		}
		table := pick(m.r, tables...)
		if known[table] == nil {
			all, err := m.keys.keysOf(ctx, table)
			if err != nil || len(all) == 0 {
				continue
			}
			known[table] = all
		}
		what, err := m.move(ctx, pick(m.r, m.nodes...).Operations(), pick(m.r, known[table]...))
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			m.sum.refused[what]++
		default:
			m.sum.did[what]++
		}
	}
}

var errNothing = errors.New("there is nothing to do")

// move does something to the range that has key.
func (m *mover) move(ctx context.Context, op node.Operations, key keys.Key) (what string, err error) {
	ctx, cancel := context.WithTimeout(ctx, hang)
	defer cancel()
	if m.net != nil && m.r.IntN(12) == 0 {
		var all []kv.NodeID
		for _, n := range m.nodes {
			all = append(all, n.Identity().NodeID)
		}
		m.net.Isolate(pick(m.r, all...), all...)
		defer m.net.Heal()
		select {
		case <-time.After(time.Duration(500+m.r.IntN(2500)) * time.Millisecond):
		case <-ctx.Done():
		}
		return "isolate", nil
	}
	d := m.r.IntN(8)
	switch {
	case d < 3 && len(m.cuts) < 30:
		_, _, err = op.Split(ctx, key)
		if err == nil {
			m.cuts = append(m.cuts, key)
		}
		return "split", err
	case d < 5:
		if len(m.cuts) == 0 {
			return "merge", errNothing
		}
		i := m.r.IntN(len(m.cuts))
		key = m.cuts[i]
		m.cuts = slices.Delete(m.cuts, i, i+1)
		_, err = op.Merge(ctx, key)
		return "merge", err
	}
	ranges, err := op.Ranges(ctx)
	if err != nil {
		return "look", err
	}
	i := slices.IndexFunc(ranges, func(v node.RangeView) bool { return v.Span.Contains(key) })
	if i < 0 {
		return "look", errNothing
	}
	g := ranges[i]
	has := map[kv.NodeID]bool{}
	var followers []kv.NodeID
	for _, r := range g.Replicas {
		if has[r.NodeID] = true; r.NodeID != g.LeaderNode {
			followers = append(followers, r.NodeID)
		}
	}
	if len(followers) == 0 {
		return "look", errNothing
	}
	if d < 7 {
		return "transfer", op.TransferLeader(ctx, g.ID, pick(m.r, followers...))
	}
	for _, n := range m.nodes {
		if to := n.Identity().NodeID; !has[to] {
			return "move", op.MoveReplica(ctx, g.ID, pick(m.r, followers...), to)
		}
	}
	return "move", errNothing
}
