package exec

import (
	"context"

	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// setOp is INTERSECT and EXCEPT: the rows of the right side are counted in a table in memory, and the left side streams
// past it.
type setOp struct {
	in          *instance
	n           *plan.SetOp
	left, right operator
	table       *groupTable
	counts      []int64
	groups      []int32
	acct        account
	sel         []int32
	out         types.Batch
	state       int
	ts          []types.Type
}

func newSetOp(in *instance, n *plan.SetOp) (operator, error) {
	ops, err := in.buildAll(n.Left, n.Right)
	if err != nil {
		return nil, err
	}
	s := &setOp{in: in, n: n, left: ops[0], right: ops[1], ts: fieldTypes(n.Left.Fields()), sel: []int32{}}
	switch n.Op {
	case 'u':
		both := &appendOp{srcs: ops}
		if n.All {
			return both, nil
		}
		return newDistinctOver(in, &plan.Distinct{}, both, fieldTypes(n.Left.Fields())), nil
	case 'i', 'e':
	default:
		return nil, pgerr.New(pgerr.InternalError, "set operation %q", n.Op)
	}
	s.table = newGroupTable(s.ts)
	return s, nil
}

func (s *setOp) open(ctx context.Context) error {
	s.table.reset()
	s.counts = s.counts[:0]
	s.acct.close()
	s.acct.b = s.in.budget
	s.state = joinBuild
	return nil
}

func (s *setOp) close() {
	s.table.reset()
	s.acct.close()
	s.left.close()
	s.right.close()
}

func (s *setOp) find(b *types.Batch) []int32 {
	if cap(s.groups) < b.N {
		s.groups = make([]int32, max(b.N, types.BatchSize))
	}
	g := s.groups[:b.N]
	s.table.find(b.Cols[:len(s.ts)], b.N, b.Sel, g)
	for len(s.counts) < s.table.n {
		s.counts = append(s.counts, 0)
	}
	return g
}

func (s *setOp) grow() error { return s.acct.set(s.table.memory() + int64(cap(s.counts))*8) }

func (s *setOp) next(ctx context.Context) (*types.Batch, error) {
	if s.state == joinBuild {
		if err := s.right.open(ctx); err != nil {
			return nil, err
		}
		err := drain(ctx, s.right, func(b *types.Batch) error {
			g := s.find(b)
			for i := range b.Len() {
				s.counts[g[b.Row(i)]]++
			}
			return s.grow()
		})
		if err != nil {
			return nil, err
		}
		s.right.close()
		if err := s.left.open(ctx); err != nil {
			return nil, err
		}
		s.state = joinProbe
	}
	for s.state != joinDone {
		b, err := s.left.next(ctx)
		if err != nil {
			return nil, err
		}
		if b == nil {
			s.left.close()
			s.state = joinDone
			break
		}
		if err := s.choose(b); err != nil {
			return nil, err
		}
		if len(s.sel) > 0 {
			s.out = types.Batch{N: b.N, Cols: b.Cols, Sel: s.sel}
			return &s.out, nil
		}
	}
	return nil, nil
}

// choose puts the rows to show into sel. A count of -1 means "shown, not again".
func (s *setOp) choose(b *types.Batch) error {
	g := s.find(b)
	s.sel = s.sel[:0]
	for i := range b.Len() {
		row := b.Row(i)
		c := &s.counts[g[row]]
		show := false
		switch {
		case s.n.Op == 'e' && !s.n.All:
			show = *c == 0
			*c = -1
		case s.n.Op == 'e':
			if show = *c == 0; !show {
				*c--
			}
		case s.n.All:
			if show = *c > 0; show {
				*c--
			}
		default:
			show = *c > 0
			*c = -1
		}
		if show {
			s.sel = append(s.sel, int32(row))
		}
	}
	return s.grow()
}

// cteState is a WITH query while its body runs.
type cteState struct {
	n     *plan.CTE
	in    *instance
	input operator
	step  operator
	store *rowStore
	seen  *groupTable
	acct  account
	// work is what the recursive term reads while it runs.
	work   *rowStore
	filled bool
	dml    bool
}

func (c *cteState) close() {
	c.store.close()
	c.input.close()
	if c.step != nil {
		c.step.close()
	}
	if c.work != nil {
		c.work.close()
		c.work = nil
	}
	if c.seen != nil {
		c.seen.reset()
	}
	c.acct.close()
	c.filled = false
}

// cte runs its body with the rows of its input at hand.
type cte struct {
	c    *cteState
	body operator
}

func newCTE(in *instance, n *plan.CTE) (operator, error) {
	c := &cteState{n: n, in: in}
	var err error
	if c.input, err = in.build(n.Input); err != nil {
		return nil, err
	}
	_, c.dml = unwrap(c.input).(writer)
	ts := fieldTypes(n.Input.Fields())
	c.store = newRowStore(in, ts)
	if in.ctes == nil {
		in.ctes = map[int]*cteState{}
	}
	in.ctes[n.ID] = c
	if n.Recursive {
		if n.Dedup {
			c.seen = newGroupTable(ts)
		}
		if c.step, err = in.build(n.Step); err != nil {
			return nil, err
		}
	}
	body, err := in.build(n.Body)
	return &cte{c: c, body: body}, err
}

func (o *cte) open(ctx context.Context) error {
	o.c.close()
	o.c.store.acct.b, o.c.acct.b = o.c.in.budget, o.c.in.budget
	return o.body.open(ctx)
}

func (o *cte) next(ctx context.Context) (*types.Batch, error) {
	b, err := o.body.next(ctx)
	if err == nil && b == nil && o.c.dml {
		err = o.c.fill(ctx) // what changes rows runs whether or not anybody looks
	}
	return b, err
}

func (o *cte) close() { o.body.close(); o.c.close() }

func (o *cte) affected() int64 {
	if w, ok := o.body.(writer); ok {
		return w.affected()
	}
	return 0
}

func (c *cteState) fill(ctx context.Context) error {
	if c.filled {
		return nil
	}
	c.filled = true
	if err := c.input.open(ctx); err != nil {
		return err
	}
	if !c.n.Recursive {
		err := drain(ctx, c.input, c.store.add)
		c.input.close()
		return err
	}
	next := newRowStore(c.in, c.store.ts)
	next.reset()
	if err := c.collect(ctx, c.input, next); err != nil {
		next.close()
		return err
	}
	c.input.close()
	for next.rows > 0 {
		c.work, next = next, newRowStore(c.in, c.store.ts)
		next.reset()
		err := c.step.open(ctx)
		if err == nil {
			err = c.collect(ctx, c.step, next)
		}
		c.step.close()
		c.work.close()
		c.work = nil
		if err != nil {
			next.close()
			return err
		}
	}
	next.close()
	return nil
}

// collect adds the rows of one term that are new to the result and to the next working table.
func (c *cteState) collect(ctx context.Context, src operator, next *rowStore) error {
	return drain(ctx, src, func(b *types.Batch) error {
		if c.seen != nil {
			groups := make([]int32, b.N)
			known := int32(c.seen.n)
			c.seen.find(b.Cols[:len(c.store.ts)], b.N, b.Sel, groups)
			sel := make([]int32, 0, b.Len())
			for i := range b.Len() {
				row := b.Row(i)
				if groups[row] >= known {
					known = groups[row] + 1
					sel = append(sel, int32(row))
				}
			}
			if len(sel) == 0 {
				return nil
			}
			b = &types.Batch{N: b.N, Cols: b.Cols, Sel: sel}
			if err := c.acct.set(c.seen.memory()); err != nil {
				return err
			}
		}
		if err := c.store.add(b); err != nil {
			return err
		}
		return next.add(b)
	})
}

// cteScan reads a CTE's rows, or the working table inside its recursive term.
type cteScan struct {
	in *instance
	id int
	rr *rowReader
}

func newCTEScan(in *instance, n *plan.CTEScan) (operator, error) {
	return &cteScan{in: in, id: n.ID}, nil
}

func (s *cteScan) open(ctx context.Context) error {
	c := s.in.ctes[s.id]
	if c == nil {
		return pgerr.New(pgerr.InternalError, "no CTE %d", s.id)
	}
	var err error
	if c.work != nil {
		s.rr, err = c.work.reader()
		return err
	}
	if err = c.fill(ctx); err == nil {
		s.rr, err = c.store.reader()
	}
	return err
}

func (s *cteScan) next(context.Context) (*types.Batch, error) { return s.rr.next() }
func (s *cteScan) close()                                     {}
