package checkers

import "container/heap"

// edgeKind is a bit, so that a set of kinds is a mask.
type edgeKind uint8

const (
	ww edgeKind = 1 << iota
	wr
	rw
	so
	rt
)

func (k edgeKind) String() string {
	return map[edgeKind]string{ww: "ww", wr: "wr", rw: "rw", so: "so", rt: "rt"}[k]
}

// edge says that from comes before to, and why: after is the element of key's list that the reason hangs on.
type edge struct {
	from, to int32
	kind     edgeKind
	key      int64
	value    int64
}

// graph holds the edges by their origin.
type graph struct {
	nodes int
	first []int32 // first[n]..first[n+1] are the edges of n
	edges []edge
}

func newGraph(nodes int, edges []edge) *graph {
	g := &graph{nodes: nodes, first: make([]int32, nodes+1), edges: make([]edge, len(edges))}
	for _, e := range edges {
		g.first[e.from+1]++
	}
	for i := range nodes {
		g.first[i+1] += g.first[i]
	}
	at := append([]int32(nil), g.first[:nodes]...)
	for _, e := range edges {
		g.edges[at[e.from]] = e
		at[e.from]++
	}
	return g
}

func (g *graph) out(n int32) []edge { return g.edges[g.first[n]:g.first[n+1]] }

// components numbers the strongly connected components of the graph of the masked edges (Tarjan, without recursion).
func (g *graph) components(mask edgeKind) (of []int32, size []int32) {
	of = make([]int32, g.nodes)
	index, low := make([]int32, g.nodes), make([]int32, g.nodes)
	for i := range of {
		of[i] = -1
	}
	var stack []int32
	type frame struct{ node, next int32 }
	var calls []frame
	counter := int32(0)
	for root := range int32(g.nodes) {
		if index[root] != 0 {
			continue
		}
		calls = append(calls, frame{root, g.first[root]})
		counter++
		index[root], low[root] = counter, counter
		stack = append(stack, root)
		for len(calls) > 0 {
			f := &calls[len(calls)-1]
			if f.next < g.first[f.node+1] {
				e := &g.edges[f.next]
				f.next++
				if e.kind&mask == 0 {
					continue
				}
				if index[e.to] == 0 {
					counter++
					index[e.to], low[e.to] = counter, counter
					stack = append(stack, e.to)
					calls = append(calls, frame{e.to, g.first[e.to]})
				} else if of[e.to] < 0 {
					low[f.node] = min(low[f.node], index[e.to])
				}
				continue
			}
			n := f.node
			calls = calls[:len(calls)-1]
			if len(calls) > 0 {
				up := calls[len(calls)-1].node
				low[up] = min(low[up], low[n])
			}
			if low[n] == index[n] {
				id := int32(len(size))
				count := int32(0)
				for {
					top := stack[len(stack)-1]
					stack = stack[:len(stack)-1]
					of[top] = id
					count++
					if top == n {
						break
					}
				}
				size = append(size, count)
			}
		}
	}
	return of, size
}

// order numbers the nodes so that a masked edge never leads to a smaller number; the nodes of one component share one.
// Among the orders that do, it takes one close to time, so that paths that could close a cycle are short.
func (g *graph) order(mask edgeKind, of, size []int32, when func(n int32) int64) []int32 {
	comps := len(size)
	waits := make([]int32, comps)
	members := make([][]int32, comps)
	first := make([]int64, comps)
	for i := range first {
		first[i] = Never
	}
	for n := range int32(g.nodes) {
		c := of[n]
		members[c] = append(members[c], n)
		first[c] = min(first[c], when(n))
		for _, e := range g.out(n) {
			if e.kind&mask != 0 && of[e.to] != c {
				waits[of[e.to]]++
			}
		}
	}
	h := &byTime{when: first}
	for c := range int32(comps) {
		if waits[c] == 0 {
			heap.Push(h, c)
		}
	}
	place := make([]int32, g.nodes)
	for next := int32(0); h.Len() > 0; next++ {
		c := heap.Pop(h).(int32)
		for _, n := range members[c] {
			place[n] = next
			for _, e := range g.out(n) {
				if d := of[e.to]; e.kind&mask != 0 && d != c {
					if waits[d]--; waits[d] == 0 {
						heap.Push(h, d)
					}
				}
			}
		}
	}
	return place
}

type byTime struct {
	comps []int32
	when  []int64
}

func (h *byTime) Len() int           { return len(h.comps) }
func (h *byTime) Less(i, j int) bool { return h.when[h.comps[i]] < h.when[h.comps[j]] }
func (h *byTime) Swap(i, j int)      { h.comps[i], h.comps[j] = h.comps[j], h.comps[i] }
func (h *byTime) Push(x any)         { h.comps = append(h.comps, x.(int32)) }
func (h *byTime) Pop() any {
	c := h.comps[len(h.comps)-1]
	h.comps = h.comps[:len(h.comps)-1]
	return c
}

// search finds shortest paths, many times over one graph.
type search struct {
	g     *graph
	seen  []int32 // the number of the search that has met the node
	via   []edge
	queue []int32
	n     int32
}

func newSearch(g *graph) *search {
	return &search{g: g, seen: make([]int32, g.nodes), via: make([]edge, g.nodes)}
}

// path returns the edges of a shortest path from one node to another over masked edges and nodes that are let in; nil if
// there is none. from may be to: then the path is a cycle.
func (s *search) path(from, to int32, mask edgeKind, in func(n int32) bool) []edge {
	s.n++
	s.queue = append(s.queue[:0], from)
	if from != to {
		s.seen[from] = s.n
	}
	for i := 0; i < len(s.queue); i++ {
		for _, e := range s.g.out(s.queue[i]) {
			if e.kind&mask == 0 || s.seen[e.to] == s.n || !in(e.to) {
				continue
			}
			s.seen[e.to], s.via[e.to] = s.n, e
			if e.to == to {
				var back []edge
				for n := to; ; n = back[len(back)-1].from {
					if len(back) > 0 && n == from {
						break
					}
					back = append(back, s.via[n])
				}
				for a, b := 0, len(back)-1; a < b; a, b = a+1, b-1 {
					back[a], back[b] = back[b], back[a]
				}
				return back
			}
			s.queue = append(s.queue, e.to)
		}
	}
	return nil
}
