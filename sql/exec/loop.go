package exec

import (
	"context"

	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// loopJoin compares all pairs of rows. The right side is kept in a rowStore and read once per left batch; or, where the left rows' order is to be kept and would not be
// by itself, once per left row.
type loopJoin struct {
	in          *instance
	n           *plan.LoopJoin
	left, right operator
	store       *rowStore
	pair        *pairing
	first       *types.Batch // of the left side, read before the right one, which is not read at all if there is none
	batch       *types.Batch
	reader      *rowReader
	rb          *types.Batch
	row, rrow   int
	rmatch      [][]bool // by right batch
	ri          int
	state       int
	// one row of whole at a time
	single bool
	whole  *types.Batch
	at     int
	one    types.Batch
	oneSel [1]int32
}

func newLoopJoin(in *instance, n *plan.LoopJoin) (operator, error) {
	ops, err := in.buildAll(n.Left, n.Right)
	if err != nil {
		return nil, err
	}
	j := &loopJoin{in: in, n: n, left: ops[0], right: ops[1]}
	rts := fieldTypes(n.Right.Fields())
	j.store = newRowStore(in, rts)
	j.pair, err = newPairing(in, n.Type, fieldTypes(n.Left.Fields()), rts, n.Cond)
	return j, err
}

func (j *loopJoin) open(ctx context.Context) error {
	j.store.reset()
	j.batch, j.reader, j.rb, j.rmatch, j.state, j.whole, j.first = nil, nil, nil, nil, joinBuild, nil, nil
	if j.pair.wantsRight() {
		return j.right.open(ctx)
	}
	return j.left.open(ctx)
}

func (j *loopJoin) close() {
	j.store.close()
	j.rmatch = nil
	j.left.close()
	j.right.close()
}

func (j *loopJoin) next(ctx context.Context) (*types.Batch, error) {
	for {
		switch j.state {
		case joinBuild:
			j.state = joinProbe
			if some, err := j.readRight(ctx); err != nil || !some {
				j.state = joinDone
				return nil, err
			}
			// Semi and anti joins show rows at the end of a left batch, in its order. Of the others, the rows without a partner come last, and
			// partners from a later batch of the right side after all those from the first.
			j.single = j.n.InOrder && !j.pair.onlyL && (j.n.Type == plan.LeftJoin || len(j.store.mem) > 1 || j.store.file != nil)
		case joinProbe:
			out, err := j.probe(ctx)
			if err != nil || out != nil {
				return out, err
			}
		case joinRest:
			b, err := j.reader.next()
			if err != nil {
				return nil, err
			}
			if b == nil {
				j.state = joinDone
				continue
			}
			if out := j.pair.rightRest(b, j.matched(b), 0, b.N); out != nil {
				j.ri++
				return out, nil
			}
			j.ri++
		case joinDone:
			return nil, nil
		}
	}
}

func (j *loopJoin) readRight(ctx context.Context) (some bool, err error) {
	j.first, some, err = j.pair.readRight(ctx, j.left, j.right, j.store.add, func() bool { return j.store.rows == 0 })
	return some, err
}

// matched returns the flags of the current right batch's rows.
func (j *loopJoin) matched(b *types.Batch) []bool {
	if !j.pair.wantsRight() {
		return nil
	}
	if j.ri == len(j.rmatch) {
		j.rmatch = append(j.rmatch, make([]bool, b.N))
	}
	return j.rmatch[j.ri]
}

func (j *loopJoin) nextLeft(ctx context.Context) (*types.Batch, error) {
	left := func() (*types.Batch, error) {
		if b := j.first; b != nil {
			j.first = nil
			return b, nil
		}
		return j.left.next(ctx)
	}
	if !j.single {
		return left()
	}
	if j.whole == nil || j.at == j.whole.Len() {
		var err error
		if j.whole, err = left(); err != nil || j.whole == nil {
			return nil, err
		}
		j.at = 0
	}
	j.oneSel[0] = int32(j.whole.Row(j.at))
	j.at++
	j.one = types.Batch{N: j.whole.N, Cols: j.whole.Cols, Sel: j.oneSel[:]}
	return &j.one, nil
}

func (j *loopJoin) probe(ctx context.Context) (*types.Batch, error) {
	var err error
	if j.batch == nil {
		if j.batch, err = j.nextLeft(ctx); err != nil {
			return nil, err
		}
		if j.batch == nil {
			j.state = joinRest
			if !j.pair.wantsRight() {
				j.state = joinDone
			}
			j.ri = 0
			j.reader, err = j.store.reader()
			return nil, err
		}
		j.pair.begin(j.batch)
		if j.reader, err = j.store.reader(); err != nil {
			return nil, err
		}
		j.rb, j.ri = nil, 0
	}
	if j.rb == nil {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if j.rb, err = j.reader.next(); err != nil {
			return nil, err
		}
		if j.rb == nil {
			out := j.pair.end(j.batch)
			j.batch = nil
			return out, nil
		}
		j.row, j.rrow = 0, 0
	}
	for ; j.row < j.batch.Len(); j.row++ {
		row := j.batch.Row(j.row)
		if j.pair.onlyL && j.pair.lmatch[row] {
			j.rrow = 0
			continue
		}
		for ; j.rrow < j.rb.N; j.rrow++ {
			if len(j.pair.nl) >= types.BatchSize {
				out, err := j.pair.emit(j.batch, j.rb, j.matched(j.rb))
				if err != nil || out != nil {
					return out, err
				}
				if err := ctx.Err(); err != nil {
					return nil, err
				}
			}
			j.pair.add(int32(row), int32(j.rrow))
		}
		j.rrow = 0
	}
	out, err := j.pair.emit(j.batch, j.rb, j.matched(j.rb))
	if err != nil {
		return nil, err
	}
	j.rb = nil
	j.ri++
	return out, nil
}

// lateral runs its right side anew for each left row.
type lateral struct {
	in          *instance
	n           *plan.Lateral
	left, right operator
	args        programs
	pair        *pairing
	batch       *types.Batch
	row         int
	running     bool
	one         types.Batch
	rowSel      [1]int32
}

func newLateral(in *instance, n *plan.Lateral) (operator, error) {
	ops, err := in.buildAll(n.Left, n.Right)
	if err != nil {
		return nil, err
	}
	l := &lateral{in: in, n: n, left: ops[0], right: ops[1]}
	if l.args, err = compileAll(n.Args); err != nil {
		return nil, err
	}
	l.pair, err = newPairing(in, n.Type, fieldTypes(n.Left.Fields()), fieldTypes(n.Right.Fields()), n.Cond)
	return l, err
}

func (l *lateral) open(ctx context.Context) error {
	l.batch, l.row, l.running = nil, 0, false
	return l.left.open(ctx)
}

func (l *lateral) close() { l.left.close(); l.right.close() }

func (l *lateral) next(ctx context.Context) (*types.Batch, error) {
	for {
		if l.batch == nil {
			b, err := l.left.next(ctx)
			if err != nil || b == nil {
				return nil, err
			}
			l.batch, l.row, l.running = b, 0, false
		}
		if l.row == l.batch.Len() {
			l.batch = nil
			continue
		}
		row := l.batch.Row(l.row)
		if !l.running {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			for i, p := range l.args {
				d, err := p.EvalRow(&l.in.er, l.batch, row)
				if err != nil {
					return nil, err
				}
				l.in.er.Outer[l.n.Slot+i] = d
			}
			if err := l.right.open(ctx); err != nil {
				return nil, err
			}
			l.rowSel[0] = int32(row)
			l.one = types.Batch{N: l.batch.N, Cols: l.batch.Cols, Sel: l.rowSel[:]}
			l.pair.begin(&l.one)
			l.running = true
		}
		rb, err := l.right.next(ctx)
		if err != nil {
			return nil, err
		}
		if rb == nil || (l.pair.onlyL && l.pair.lmatch[row]) {
			l.right.close()
			l.running = false
			l.row++
			if out := l.pair.end(&l.one); out != nil {
				return out, nil
			}
			continue
		}
		for i := range rb.Len() {
			l.pair.add(int32(row), int32(rb.Row(i)))
		}
		out, err := l.pair.emit(&l.one, rb, nil)
		if err != nil || out != nil {
			return out, err
		}
	}
}

// projectSet computes expressions of which some are set-returning at the top: each input row yields as many rows as the longest set,
// the others are filled up with NULLs.
type projectSet struct {
	in      *instance
	src     operator
	exprs   []expr.Expr
	scalars programs // nil where a set is
	sets    []setCall
	out     *types.Batch
	batch   *types.Batch
	row     int
	live    bool
}

type setCall struct {
	col   int
	row   []types.Type // the columns, if there are several
	scan  *functionScan
	args  []expr.Expr
	queue *types.Batch
	at    int
	done  bool
}

func newProjectSet(in *instance, n *plan.Project, src operator) (operator, error) {
	p := &projectSet{in: in, src: src, exprs: n.Exprs, scalars: make(programs, len(n.Exprs))}
	ts := make([]types.Type, len(n.Exprs))
	for i, e := range n.Exprs {
		ts[i] = e.Type()
		c, ok := e.(*expr.Call)
		if !ok || !c.Fn.ReturnsSet {
			var err error
			if p.scalars[i], err = expr.Compile(e); err != nil {
				return nil, err
			}
			continue
		}
		fs := &plan.FunctionScan{Fn: c.Fn, Args: c.Args}
		fs.Out = []plan.Field{{Type: c.T}}
		set := setCall{col: i, args: c.Args}
		args := make([]types.Type, len(c.Args))
		for k, a := range c.Args {
			args[k] = a.Type()
		}
		if _, _, columns := builtin.SetReturning(c.Fn, args, c.T); len(columns) > 1 { // what FROM makes columns of is a row here
			set.row, fs.Out = columns, make([]plan.Field, len(columns))
			for k, t := range columns {
				fs.Out[k].Type = t
			}
		}
		op, err := newFunctionScan(in, fs)
		if err != nil {
			return nil, err
		}
		set.scan = op.(*functionScan)
		p.sets = append(p.sets, set)
	}
	p.out = types.NewBatch(ts, 0)
	return p, nil
}

func (p *projectSet) open(ctx context.Context) error {
	p.batch, p.live = nil, false
	return p.src.open(ctx)
}

func (p *projectSet) close() { p.src.close() }

func (p *projectSet) next(ctx context.Context) (*types.Batch, error) {
	p.out.Reset()
	for p.out.N < types.BatchSize {
		if p.batch == nil {
			b, err := p.src.next(ctx)
			if err != nil {
				return nil, err
			}
			if b == nil {
				break
			}
			p.batch, p.row, p.live = b, 0, false
		}
		if p.row == p.batch.Len() {
			p.batch = nil
			if p.out.N > 0 {
				break // the source's batch must not change under values taken from it
			}
			continue
		}
		row := p.batch.Row(p.row)
		if !p.live {
			for i := range p.sets {
				s := &p.sets[i]
				s.queue, s.at, s.done = nil, 0, false
				rows, err := startSet(&p.in.er, s.scan.n.Fn, s.scan.kernel, s.scan.args, s.args, p.batch, row)
				if err != nil {
					return nil, err
				}
				s.scan.rows, s.scan.done = rows, rows == nil
			}
			p.live = true
		}
		more := false
		for i := range p.sets {
			s := &p.sets[i]
			if !s.done && (s.queue == nil || s.at == s.queue.N) {
				b, err := s.scan.next(ctx)
				if err != nil {
					return nil, err
				}
				s.queue, s.at, s.done = b, 0, b == nil
			}
			more = more || !s.done
		}
		if !more {
			p.live = false
			p.row++
			continue
		}
		for i, prog := range p.scalars {
			if prog == nil {
				continue
			}
			d, err := prog.EvalRow(&p.in.er, p.batch, row)
			if err != nil {
				return nil, err
			}
			p.out.Cols[i].AppendDatum(d)
		}
		for i := range p.sets {
			s := &p.sets[i]
			if s.done {
				p.out.Cols[s.col].AppendNull()
				continue
			}
			if s.row == nil {
				p.out.Cols[s.col].AppendFrom(s.queue.Cols[0], s.at)
			} else {
				r := &types.Record{Types: s.row, Fields: make([]types.Datum, len(s.row))}
				for k, v := range s.queue.Cols {
					r.Fields[k] = v.Get(s.at).Clone()
				}
				p.out.Cols[s.col].AppendDatum(types.Datum{A: r})
			}
			s.at++
		}
		p.out.N++
	}
	if p.out.N == 0 {
		return nil, nil
	}
	return p.out, nil
}
