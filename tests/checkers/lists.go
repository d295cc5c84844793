package checkers

import (
	"fmt"
	"sort"
)

// ListOp is a read of a list, or an append to one. Elements are unique within their list.
type ListOp struct {
	Key    int64
	Append bool
	Value  int64   // appended
	List   []int64 // read
}

// ListTxn is a transaction on lists. Reads that were not answered are left out; of a transaction that is
// not known to have failed, appends that may have been sent are not.
type ListTxn struct {
	Span
	Ops []ListOp
}

// element is one value of one list.
type element struct{ key, value int64 }

// written says who appended an element.
type written struct {
	txn   int32
	final bool // the transaction's last append to this key
}

// lists is the state of one check.
type lists struct {
	h         []ListTxn
	r         Report
	writers   map[element]written
	committed []bool
	order     map[int64][]int64 // the longest read of each key
	place     map[element]int   // in order
	edges     []edge
	seen      map[string]bool // cycles reported
}

// CheckLists reports every anomaly of the history. The error is for a history that cannot be judged: an
// element that two operations appended.
func CheckLists(h []ListTxn) (Report, error) {
	c := &lists{h: h, writers: map[element]written{}, committed: make([]bool, len(h)), order: map[int64][]int64{},
		place: map[element]int{}, seen: map[string]bool{}}
	c.r.Checked = len(h)
	if err := c.index(); err != nil {
		return c.r, err
	}
	c.commit()
	c.versions()
	for i := range h {
		if c.committed[i] {
			c.reads(int32(i))
		}
	}
	c.writes()
	c.sessions()
	c.realTime()
	c.r.Edges = len(c.edges)
	c.cycles()
	return c.r, nil
}

// index notes the writer of each element.
func (c *lists) index() error {
	for i, t := range c.h {
		last := map[int64]int64{}
		for _, o := range t.Ops {
			if !o.Append {
				continue
			}
			e := element{o.Key, o.Value}
			if w, ok := c.writers[e]; ok {
				return fmt.Errorf("checkers: %d is appended to list %d by T%d and by T%d", o.Value, o.Key, w.txn, i)
			}
			c.writers[e] = written{txn: int32(i)}
			last[o.Key] = o.Value
		}
		for k, v := range last {
			c.writers[element{k, v}] = written{int32(i), true}
		}
	}
	return nil
}

// commit finds the transactions that did commit: those that were acknowledged, and those without an answer of which a
// committed one has read something.
func (c *lists) commit() {
	var todo []int32
	for i, t := range c.h {
		if t.Outcome == OK {
			c.committed[i] = true
			todo = append(todo, int32(i))
		}
	}
	for len(todo) > 0 {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, o := range c.h[i].Ops {
			for _, v := range o.List {
				if w, ok := c.writers[element{o.Key, v}]; ok && !c.committed[w.txn] && c.h[w.txn].Outcome == Unknown {
					c.committed[w.txn] = true
					todo = append(todo, w.txn)
				}
			}
		}
	}
}

// versions takes the longest read of each key as the order of its versions.
func (c *lists) versions() {
	for i, t := range c.h {
		if !c.committed[i] {
			continue
		}
		for _, o := range t.Ops {
			if have, ok := c.order[o.Key]; !o.Append && (!ok || len(o.List) > len(have)) {
				c.order[o.Key] = o.List
			}
		}
	}
	for k, l := range c.order {
		for i, v := range l {
			e := element{k, v}
			if _, twice := c.place[e]; twice {
				c.r.add(Duplicate, c.whoWrote(e), "%d is in list %d twice: %v", v, k, l)
				continue
			}
			c.place[e] = i
			w, ok := c.writers[e]
			switch {
			case !ok:
				c.r.add(Unexpected, nil, "%d is in list %d, and nobody appended it: %v", v, k, l)
			case !c.committed[w.txn]:
				c.r.add(G1a, []int{int(w.txn)}, "%d is in list %d: it was appended by %s", v, k, c.name(w.txn))
			}
		}
	}
}

func (c *lists) whoWrote(e element) []int {
	if w, ok := c.writers[e]; ok {
		return []int{int(w.txn)}
	}
	return nil
}

// reads judges the reads of one transaction and notes what they depend on.
func (c *lists) reads(t int32) {
	own := map[int64][]int64{}
	for _, o := range c.h[t].Ops {
		if o.Append {
			own[o.Key] = append(own[o.Key], o.Value)
			continue
		}
		mine := own[o.Key]
		n := len(o.List) - len(mine)
		ok := n >= 0
		for i := 0; ok && i < len(mine); i++ {
			ok = o.List[n+i] == mine[i]
		}
		for i := 0; ok && i < n; i++ {
			ok = c.writers[element{o.Key, o.List[i]}].txn != t || !c.wrote(o.Key, o.List[i])
		}
		if !ok {
			c.r.add(Internal, []int{int(t)}, "having appended %v to list %d it read %v: %s", mine, o.Key, o.List, c.name(t))
			continue
		}
		// The whole list was judged against the version order where it is the longest; others are to be its beginning.
		order := c.order[o.Key]
		same := true
		for i, v := range o.List {
			if same = order[i] == v; !same {
				break
			}
		}
		if !same {
			c.r.add(Incompatible, []int{int(t)}, "list %d was read as %v and as %v, by %s", o.Key, o.List, order, c.name(t))
			continue
		}
		c.dependsOn(t, o.Key, order, n)
	}
}

func (c *lists) wrote(key, value int64) bool {
	_, ok := c.writers[element{key, value}]
	return ok
}

// dependsOn notes that t has read the first n elements of a list, its own aside.
func (c *lists) dependsOn(t int32, key int64, order []int64, n int) {
	if n > 0 {
		v := order[n-1]
		if w, ok := c.writers[element{key, v}]; ok {
			if !w.final {
				c.r.add(G1b, []int{int(w.txn), int(t)}, "list %d was read as %v by %s, between two appends of %s", key, order[:n], c.name(t), c.name(w.txn))
			}
			if c.committed[w.txn] {
				c.edges = append(c.edges, edge{w.txn, t, wr, key, v})
			}
		}
	}
	if n < len(order) {
		v := order[n]
		if w, ok := c.writers[element{key, v}]; ok && w.txn != t && c.committed[w.txn] {
			c.edges = append(c.edges, edge{t, w.txn, rw, key, v})
		}
	}
}

// unseenEdges bounds the edges from each end of a list to appends that no read has shown.
const unseenEdges = 64

// writes notes the order of appends, and judges it against real time, with the reads of each list.
func (c *lists) writes() {
	// An acknowledged append that no read shows comes after all that are shown.
	unseen := map[int64][]int32{}
	for i, t := range c.h {
		for _, o := range t.Ops {
			if _, shown := c.place[element{o.Key, o.Value}]; o.Append && !shown && t.Outcome == OK {
				if u := unseen[o.Key]; len(u) == 0 || u[len(u)-1] != int32(i) {
					unseen[o.Key] = append(u, int32(i))
				}
			}
		}
	}
	earliest := map[int64][]int64{} // of each suffix of a list, when the first of its writers had an answer
	for k, l := range c.order {
		e := make([]int64, len(l)+1)
		e[len(l)] = Never
		for i := len(l) - 1; i >= 0; i-- {
			e[i] = e[i+1]
			w, ok := c.writers[element{k, l[i]}]
			if !ok || !c.committed[w.txn] {
				continue
			}
			if end := c.h[w.txn].end(); end < e[i] {
				e[i] = end
			}
			if e[i+1] < c.h[w.txn].Invoke {
				c.r.add(StaleWrite, []int{int(w.txn)}, "to list %d, %d was appended before %v, one of which was acknowledged before %s began", k, l[i], l[i+1:], c.name(w.txn))
			}
			if i+1 < len(l) {
				if next, ok := c.writers[element{k, l[i+1]}]; ok && next.txn != w.txn && c.committed[next.txn] {
					c.edges = append(c.edges, edge{w.txn, next.txn, ww, k, l[i+1]})
				}
			}
		}
		earliest[k] = e
		if len(l) > 0 {
			if w, ok := c.writers[element{k, l[len(l)-1]}]; ok && c.committed[w.txn] {
				c.toUnseen(w.txn, k, unseen[k], ww)
			}
		}
	}
	missed := map[element]bool{}
	for i, t := range c.h {
		if !c.committed[i] {
			continue
		}
		for _, o := range t.Ops {
			if o.Append {
				continue
			}
			if n := len(o.List); n <= len(c.order[o.Key]) && earliest[o.Key][n] < t.Invoke {
				c.r.add(StaleRead, []int{i}, "list %d was read as %v, without all of %v, of which something was acknowledged before the reader began: %s", o.Key, o.List, c.order[o.Key][n:], c.name(int32(i)))
			}
			if len(o.List) == len(c.order[o.Key]) {
				c.toUnseen(int32(i), o.Key, unseen[o.Key], rw)
			}
			for _, u := range unseen[o.Key] {
				if c.h[u].end() < t.Invoke && !missed[element{o.Key, int64(u)}] {
					missed[element{o.Key, int64(u)}] = true
					c.r.add(Lost, []int{int(u), i}, "an append to list %d was acknowledged and is in no read, not in %v by %s; it was by %s", o.Key, o.List, c.name(int32(i)), c.name(u))
				}
			}
		}
	}
}

func (c *lists) toUnseen(from int32, key int64, unseen []int32, k edgeKind) {
	for _, u := range unseen[:min(len(unseen), unseenEdges)] {
		if u != from {
			c.edges = append(c.edges, edge{from: from, to: u, kind: k, key: key, value: c.appended(u, key)})
		}
	}
}

func (c *lists) appended(t int32, key int64) int64 {
	for _, o := range c.h[t].Ops {
		if o.Append && o.Key == key {
			return o.Value
		}
	}
	return 0
}

// byInvoke lists the committed transactions in the order of their beginnings.
func (c *lists) byInvoke() []int32 {
	var ts []int32
	for i := range c.h {
		if c.committed[i] {
			ts = append(ts, int32(i))
		}
	}
	sort.SliceStable(ts, func(a, b int) bool { return c.h[ts[a]].Invoke < c.h[ts[b]].Invoke })
	return ts
}

// sessions links the transactions of each process.
func (c *lists) sessions() {
	last := map[int]int32{}
	for _, t := range c.byInvoke() {
		p := c.h[t].Process
		if before, ok := last[p]; ok && c.h[before].end() <= c.h[t].Invoke {
			c.edges = append(c.edges, edge{from: before, to: t, kind: so})
		}
		last[p] = t
	}
}

// realTime links each transaction to those that had completed before it and are not behind one another: as
// many edges as there are clients, for each.
func (c *lists) realTime() {
	begin := c.byInvoke()
	end := append([]int32(nil), begin...)
	sort.SliceStable(end, func(a, b int) bool { return c.h[end[a]].end() < c.h[end[b]].end() })
	var front []int32
	before := make(map[int32][]int32)
	e := 0
	for _, t := range begin {
		for ; e < len(end) && c.h[end[e]].end() < c.h[t].Invoke; e++ {
			done := end[e]
			behind := before[done]
			delete(before, done)
			kept := front[:0:0]
			for _, f := range front {
				if !contains(behind, f) {
					kept = append(kept, f)
				}
			}
			front = append(kept, done)
		}
		for _, f := range front {
			if c.h[f].Process == c.h[t].Process {
				continue // so already
			}
			c.edges = append(c.edges, edge{from: f, to: t, kind: rt})
		}
		before[t] = front // never changed in place
	}
}

func contains(s []int32, x int32) bool {
	for _, y := range s {
		if x == y {
			return true
		}
	}
	return false
}
