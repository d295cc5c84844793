package checkers

import (
	"fmt"
	"slices"
	"strings"
)

// tries bounds the searches for examples in one component.
const tries = 64

// cycles looks for cycles: of dependencies alone, with the order of processes, with real time.
func (c *lists) cycles() {
	if len(c.edges) == 0 {
		return
	}
	g := newGraph(len(c.h), c.edges)
	s := newSearch(g)
	extra := edgeKind(0)
	for _, newest := range []edgeKind{0, so, rt} {
		extra |= newest
		whole, size := g.components(ww | wr | rw | extra)
		if len(size) == g.nodes {
			continue // no component has two members
		}
		// A cycle of a stronger class passes through its own kind of edge, or it was found before; so it does through the newest.
		through := func(k edgeKind) edgeKind {
			if newest != 0 {
				return newest
			}
			return k
		}
		c.inComponents(g, s, ww|extra, through(ww))
		c.inComponents(g, s, ww|wr|extra, through(wr))
		c.single(g, s, ww|wr|extra, whole)
		c.nonadjacent(g, ww|wr|extra)
		c.inComponents(g, s, ww|wr|rw|extra, through(rw))
	}
}

// inComponents reports cycles of masked edges through edges of one kind.
func (c *lists) inComponents(g *graph, s *search, mask, start edgeKind) {
	of, size := g.components(mask)
	if len(size) == g.nodes {
		return
	}
	tried := map[int32]int{}
	best := map[int32][]edge{}
	for _, e := range g.edges {
		comp := of[e.from]
		if e.kind&start == 0 || of[e.to] != comp || tried[comp] >= tries {
			continue
		}
		tried[comp]++
		if p := s.path(e.to, e.from, mask, func(n int32) bool { return of[n] == comp }); p != nil {
			if cy := append([]edge{e}, p...); best[comp] == nil || len(cy) < len(best[comp]) {
				best[comp] = cy
			}
		}
	}
	for _, cy := range best {
		c.report(cy)
	}
}

// single reports cycles with one rw edge, all of them: for each rw edge there must be no way back over other edges.
// The order of those makes most searches end at once.
func (c *lists) single(g *graph, s *search, mask edgeKind, whole []int32) {
	of, size := g.components(mask)
	place := g.order(mask, of, size, func(n int32) int64 { return c.h[n].Invoke })
	for _, e := range g.edges {
		if e.kind != rw || whole[e.from] != whole[e.to] || place[e.to] > place[e.from] {
			continue
		}
		last := place[e.from]
		if p := s.path(e.to, e.from, mask, func(n int32) bool { return place[n] <= last && whole[n] == whole[e.from] }); p != nil {
			c.report(append([]edge{e}, p...))
		}
	}
}

// nonadjacent reports cycles in which no two rw edges follow each other. Each transaction becomes two nodes, n if it was not reached by an
// rw edge and n+nodes if it was; from the latter no rw edge goes on. A cycle there is one that no snapshot explains.
func (c *lists) nonadjacent(g *graph, mask edgeKind) {
	n := int32(g.nodes)
	var edges []edge
	for _, e := range g.edges {
		switch {
		case e.kind == rw:
			e.to += n
			edges = append(edges, e)
		case e.kind&mask != 0:
			edges = append(edges, e)
			e.from += n
			edges = append(edges, e)
		}
	}
	g2 := newGraph(2*g.nodes, edges)
	of, size := g2.components(rw | mask)
	if len(size) == g2.nodes {
		return
	}
	s := newSearch(g2)
	tried := map[int32]int{}
	for _, e := range g2.edges {
		comp := of[e.from]
		if e.kind != rw || of[e.to] != comp || tried[comp] >= tries {
			continue
		}
		tried[comp]++
		if p := s.path(e.to, e.from, rw|mask, func(n int32) bool { return of[n] == comp }); p != nil {
			cy := append([]edge{e}, p...)
			for i := range cy {
				cy[i].from %= n
				cy[i].to %= n
			}
			c.report(cy)
		}
	}
}

// classify names a cycle by its edges.
func classify(cy []edge) Kind {
	var all edgeKind
	count, adjacent := 0, false
	for i, e := range cy {
		all |= e.kind
		if e.kind == rw {
			count++
			adjacent = adjacent || len(cy) > 1 && cy[(i+1)%len(cy)].kind == rw
		}
	}
	var k Kind
	switch {
	case count == 1:
		k = GSingle
	case adjacent:
		k = G2Item
	case count > 1:
		k = GNonadjacent
	case all&wr != 0:
		k = G1c
	default:
		k = G0
	}
	switch {
	case all&rt != 0:
		k += realtime
	case all&so != 0:
		k += process
	}
	return k
}

// report adds a cycle that was not reported yet.
func (c *lists) report(cy []edge) {
	k := classify(cy)
	var ops []int
	for _, e := range cy {
		ops = append(ops, int(e.from))
	}
	sorted := slices.Clone(ops)
	slices.Sort(sorted)
	id := fmt.Sprint(k, sorted)
	if c.seen[id] {
		return
	}
	c.seen[id] = true
	if c.r.Count[k] >= examples {
		c.r.Count[k]++ // no text for what is not kept
		return
	}
	var b strings.Builder
	for _, t := range ops {
		fmt.Fprintf(&b, "T%d → ", t)
	}
	fmt.Fprintf(&b, "T%d", ops[0])
	shown := map[int]bool{}
	for _, t := range ops {
		if !shown[t] {
			shown[t] = true
			b.WriteString("\n    " + c.name(int32(t)))
		}
	}
	for _, e := range cy {
		b.WriteString("\n    " + c.reason(e))
	}
	c.r.add(k, ops, "%s", b.String())
}

// reason explains an edge.
func (c *lists) reason(e edge) string {
	head := fmt.Sprintf("T%d –%s→ T%d: ", e.from, e.kind, e.to)
	switch e.kind {
	case ww:
		return head + fmt.Sprintf("T%d appended %d to list %d, after an element of T%d", e.to, e.value, e.key, e.from)
	case wr:
		return head + fmt.Sprintf("T%d read %d, T%d's, as the last element of list %d", e.to, e.value, e.from, e.key)
	case rw:
		return head + fmt.Sprintf("T%d read list %d without %d, which T%d appended", e.from, e.key, e.value, e.to)
	case so:
		return head + fmt.Sprintf("both of process %d, in this order", c.h[e.from].Process)
	default:
		return head + fmt.Sprintf("T%d was acknowledged %.6f s before T%d began", e.from, float64(c.h[e.to].Invoke-c.h[e.from].Complete)/1e9, e.to)
	}
}

// shownElements is how much of a long list is printed.
const shownElements = 12

// name describes a transaction in a line.
func (c *lists) name(t int32) string {
	var b strings.Builder
	fmt.Fprintf(&b, "T%d (%s):", t, c.h[t].Span)
	for _, o := range c.h[t].Ops {
		if o.Append {
			fmt.Fprintf(&b, " append(%d, %d)", o.Key, o.Value)
			continue
		}
		l := o.List
		dots := ""
		if len(l) > shownElements {
			l, dots = l[len(l)-shownElements:], "... "
		}
		fmt.Fprintf(&b, " read(%d) = %s%v", o.Key, dots, l)
	}
	return b.String()
}
