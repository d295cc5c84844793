package exec

import (
	"encoding/binary"
	"encoding/json"
	"sync"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/rowenc"
	"github.com/pamirdb/pamir/sql/types"
)

// template is what a scan does beside the data, without the values of one execution. Processors are made
// from it and come back to it.
type template struct {
	spec   *rowenc.Spec
	filter expr.Expr
	agg    *plan.PartialAgg
	out    []types.Type // of the result
	pool   sync.Pool
}

func newTemplate(spec *rowenc.Spec, filter expr.Expr, agg *plan.PartialAgg) *template {
	t := &template{spec: spec, filter: filter, agg: agg, out: spec.Types()}
	if agg != nil {
		t.out = nil
		for _, e := range agg.GroupBy {
			t.out = append(t.out, e.Type())
		}
		for range agg.Calls {
			t.out = append(t.out, types.Of(types.ByteaOID))
		}
	}
	return t
}

// Pushdown is a scan's program with the values of one execution: decode, filter, then project or aggregate.
type Pushdown struct {
	t      *template
	params []types.Datum
	outer  []types.Datum
	ctx    *builtin.Context
	// limit stops each piece after so many rows; 0 = none.
	limit int64
	// exact: Row must tell for each row whether it passed, because rows are counted or locked by it.
	exact bool
}

var _ kv.Pushdown = (*Pushdown)(nil)

// NewProcessor implements kv.Pushdown.
func (p *Pushdown) NewProcessor() kv.Processor {
	x, ok := p.t.pool.Get().(*processor)
	if !ok {
		x = newProcessor(p.t)
	}
	x.start(p)
	return x
}

// processor runs a Pushdown over the rows of one piece.
type processor struct {
	t      *template
	p      *Pushdown
	broken error // the program cannot be compiled here
	dec    *rowenc.Decoder
	filter *expr.Program
	agg    *aggregator
	er     expr.Runtime

	batch *types.Batch // being filled
	sel   []int32
	one   [1]int32

	plain int // rows counted and not decoded
	out   []*types.Batch
	kept  int64
	bytes int64
	done  bool
}

func newProcessor(t *template) *processor {
	x := &processor{t: t, sel: []int32{}, dec: t.spec.NewDecoder(false)}
	if x.filter, x.broken = compileOpt(t.filter); x.broken == nil && t.agg != nil {
		x.agg, x.broken = newAggregator(t.agg.GroupBy, t.agg.Calls)
	}
	return x
}

func (x *processor) start(p *Pushdown) {
	x.p = p
	x.er = expr.Runtime{Ctx: p.ctx, Params: p.params, Outer: p.outer}
	x.plain, x.out, x.kept, x.bytes, x.done = 0, nil, 0, 0, false
	if x.agg != nil {
		x.agg.reset()
	}
	switch {
	case x.batch == nil:
		x.batch = x.t.spec.NewBatch(16)
	default:
		x.batch.Reset()
	}
}

// Row implements kv.Processor.
func (x *processor) Row(key, value []byte) (bool, error) {
	if x.agg != nil && x.agg.plain && x.filter == nil {
		if x.broken != nil {
			return false, pushdownError(x.broken)
		}
		x.plain++
		return true, nil
	}
	if x.broken != nil {
		return false, pushdownError(x.broken)
	}
	b := x.batch
	if err := x.dec.Decode(key, value, b.Cols); err != nil {
		return false, pushdownError(err)
	}
	b.N++
	if x.p.exact && x.filter != nil {
		x.one[0] = int32(b.N - 1)
		sel, err := x.filter.FilterSel(&x.er, &types.Batch{N: b.N, Cols: b.Cols, Sel: x.one[:]}, x.sel[:0])
		if err != nil {
			return false, pushdownError(err)
		}
		if len(sel) == 0 {
			truncate(b, b.N-1)
			return false, nil
		}
	}
	if b.N >= types.BatchSize || (x.p.limit > 0 && x.kept+int64(b.N) >= x.p.limit) {
		if err := x.flush(); err != nil {
			return false, err
		}
	}
	return true, nil
}

// truncate drops the rows from n on.
func truncate(b *types.Batch, n int) {
	for _, c := range b.Cols {
		nulls := c.HasNulls
		c.Resize(n)
		c.HasNulls = nulls
	}
	b.N = n
}

// flush filters the collected rows and hands them on.
func (x *processor) flush() error {
	b := x.batch
	if b.N == 0 {
		return nil
	}
	if x.filter != nil && !x.p.exact {
		sel, err := x.filter.FilterSel(&x.er, b, x.sel[:0])
		if err != nil {
			return pushdownError(err)
		}
		x.sel = sel
		if len(sel) == 0 {
			b.Reset()
			return nil
		}
		if len(sel) < b.N {
			b.Sel = sel
		}
	}
	if x.agg != nil {
		err := x.agg.add(&x.er, b)
		b.Reset()
		if err != nil {
			return pushdownError(err)
		}
		x.bytes = 0
		if x.agg.table != nil {
			x.bytes = x.agg.memory()
		}
		return nil
	}
	n := int64(b.Len())
	if b.Sel != nil {
		small := types.NewBatch(x.t.out, len(b.Sel))
		appendBatch(small, b)
		b.Reset()
		b = small
	} else {
		x.batch = x.t.spec.NewBatch(min(types.BatchSize, 4*b.N))
	}
	x.out = append(x.out, b)
	x.kept += n
	for _, c := range b.Cols {
		x.bytes += n * width(c)
		for _, v := range c.Bytes {
			x.bytes += int64(len(v))
		}
	}
	if x.p.limit > 0 && x.kept >= x.p.limit {
		x.done = true
	}
	return nil
}

// Done implements kv.Processor.
func (x *processor) Done() bool { return x.done }

// Bytes implements kv.Processor.
func (x *processor) Bytes() int64 {
	if x.agg != nil {
		return x.bytes
	}
	return x.bytes + int64(x.batch.N*len(x.batch.Cols))*16
}

// Finish implements kv.Processor.
func (x *processor) Finish() (kv.Result, error) {
	if x.broken != nil {
		return nil, pushdownError(x.broken)
	}
	if x.plain > 0 {
		if err := x.agg.count(x.er.Ctx, x.plain); err != nil {
			return nil, pushdownError(err)
		}
	}
	if err := x.flush(); err != nil {
		return nil, err
	}
	if x.agg != nil {
		for lo := 0; lo < x.agg.size(); lo += types.BatchSize {
			b := types.NewBatch(x.t.out, 0)
			if err := x.agg.partial(lo, min(lo+types.BatchSize, x.agg.size()), b); err != nil {
				return nil, pushdownError(err)
			}
			x.out = append(x.out, b)
		}
	}
	return &Result{batches: x.out}, nil
}

// Close implements kv.Processor.
func (x *processor) Close() {
	x.p, x.out = nil, nil
	x.er = expr.Runtime{}
	x.t.pool.Put(x)
}

// Result of a Pushdown: batches of rows, or of groups with partial states.
type Result struct{ batches []*types.Batch }

// RowCount is how many rows there are, for bounds that span ranges (package txn asks).
func (r *Result) RowCount() int64 {
	var n int64
	for _, b := range r.batches {
		n += int64(b.Len())
	}
	return n
}

// AppendWire implements kv.Result.
func (r *Result) AppendWire(dst []byte) ([]byte, error) {
	dst = append(dst, wireVersion)
	dst = binary.AppendUvarint(dst, uint64(len(r.batches)))
	var err error
	for _, b := range r.batches {
		if dst, err = appendBatchWire(dst, b); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

const wireVersion = 1

// AppendWire implements kv.Pushdown.
func (p *Pushdown) AppendWire(dst []byte) ([]byte, error) {
	dst = append(dst, wireVersion)
	var flags byte
	if p.exact {
		flags |= 1
	}
	if p.t.filter != nil {
		flags |= 2
	}
	if p.t.agg != nil {
		flags |= 4
	}
	dst = append(dst, flags)
	dst = binary.AppendUvarint(dst, uint64(p.limit))
	dst = binary.AppendVarint(dst, p.ctx.TxnStart)
	dst = binary.AppendVarint(dst, p.ctx.StmtStart)
	dst = p.t.spec.AppendWire(dst)
	var err error
	send := func(e expr.Expr) {
		if err == nil {
			dst, err = expr.AppendWire(dst, p.constants(e))
		}
	}
	if p.t.filter != nil {
		send(p.t.filter)
	}
	if a := p.t.agg; a != nil {
		dst = binary.AppendUvarint(dst, uint64(len(a.GroupBy)))
		for _, e := range a.GroupBy {
			send(e)
		}
		dst = binary.AppendUvarint(dst, uint64(len(a.Calls)))
		for i := range a.Calls {
			c := &a.Calls[i]
			if c.Distinct || len(c.OrderBy) > 0 {
				return nil, pgerr.New(pgerr.InternalError, "aggregate %s cannot be computed in parts", c.Fn.Name)
			}
			dst = binary.AppendUvarint(dst, uint64(c.Fn.OID))
			dst = binary.AppendUvarint(dst, uint64(c.T.OID))
			dst = binary.AppendVarint(dst, int64(c.T.Mod))
			dst = binary.AppendUvarint(dst, uint64(len(c.Args)))
			for _, e := range c.Args {
				send(e)
			}
			if c.Filter == nil {
				dst = append(dst, 0)
			} else {
				dst = append(dst, 1)
				send(c.Filter)
			}
		}
	}
	return dst, err
}

// constants puts the values of parameters and outer columns into an expression.
func (p *Pushdown) constants(e expr.Expr) expr.Expr {
	return expr.Rewrite(e, func(e expr.Expr) expr.Expr {
		switch e := e.(type) {
		case *expr.Param:
			if e.Index < len(p.params) {
				return &expr.Const{T: e.T, Value: p.params[e.Index]}
			}
		case *expr.Outer:
			if e.Index < len(p.outer) {
				return &expr.Const{T: e.T, Value: p.outer[e.Index]}
			}
		}
		return e
	})
}

// Decoder turns wire forms back into programs and results: the node hands it to the transport.
type Decoder struct{}

var _ kv.PushdownDecoder = Decoder{}

var errPushdownWire = pgerr.New(pgerr.InternalError, "malformed scan program")

// DecodePushdown implements kv.PushdownDecoder.
func (Decoder) DecodePushdown(b []byte) (kv.Pushdown, error) {
	if len(b) < 2 || b[0] != wireVersion || b[1] > 7 {
		return nil, errPushdownWire
	}
	flags := b[1]
	p := &Pushdown{exact: flags&1 != 0, ctx: &builtin.Context{}}
	limit, b, ok := takeUvarint(b[2:])
	if !ok || int64(limit) < 0 {
		return nil, errPushdownWire
	}
	p.limit = int64(limit)
	for _, t := range []*int64{&p.ctx.TxnStart, &p.ctx.StmtStart} {
		v, w := binary.Varint(b)
		if w <= 0 {
			return nil, errPushdownWire
		}
		*t, b = v, b[w:]
	}
	spec, b, err := rowenc.DecodeSpec(b)
	if err != nil {
		return nil, err
	}
	read := func() expr.Expr {
		if err != nil {
			return nil
		}
		var e expr.Expr
		e, b, err = expr.DecodeExpr(b)
		return e
	}
	count := func() int {
		n, rest, ok := takeUvarint(b)
		if err != nil {
			return 0
		}
		if !ok || n > uint64(len(rest)) {
			err = errPushdownWire
			return 0
		}
		b = rest
		return int(n)
	}
	var filter expr.Expr
	if flags&2 != 0 {
		filter = read()
	}
	var agg *plan.PartialAgg
	if flags&4 != 0 {
		agg = &plan.PartialAgg{}
		for range count() {
			agg.GroupBy = append(agg.GroupBy, read())
		}
		for range count() {
			var c plan.AggCall
			oid, rest, ok := takeUvarint(b)
			t, rest, ok2 := takeUvarint(rest)
			mod, w := binary.Varint(rest)
			if err != nil || !ok || !ok2 || w <= 0 {
				return nil, errPushdownWire
			}
			b = rest[w:]
			if c.Fn = builtin.FunctionByOID(uint32(oid)); c.Fn == nil {
				return nil, errPushdownWire
			}
			c.T = types.Type{OID: types.OID(t), Mod: int32(mod)}
			for range count() {
				c.Args = append(c.Args, read())
			}
			if err != nil || len(b) == 0 {
				return nil, errPushdownWire
			}
			has := b[0] == 1
			if b = b[1:]; has {
				c.Filter = read()
			}
			agg.Calls = append(agg.Calls, c)
		}
	}
	if err != nil {
		return nil, err
	}
	if len(b) != 0 {
		return nil, errPushdownWire
	}
	p.t = newTemplate(spec, filter, agg)
	return p, nil
}

// DecodeResult implements kv.PushdownDecoder.
func (Decoder) DecodeResult(b []byte) (kv.Result, error) {
	if len(b) == 0 || b[0] != wireVersion {
		return nil, errBatchWire
	}
	n, b, ok := takeUvarint(b[1:])
	if !ok || n > uint64(len(b)) {
		return nil, errBatchWire
	}
	r := &Result{}
	for range n {
		batch, rest, err := decodeBatchWire(b)
		if err != nil {
			return nil, err
		}
		r.batches, b = append(r.batches, batch), rest
	}
	if len(b) != 0 {
		return nil, errBatchWire
	}
	return r, nil
}

// remoteError is the wire form of a *pgerr.Error, in kv.Error.Detail.
type remoteError struct {
	Code, Message, Detail, Hint, Where          string `json:",omitempty"`
	Schema, Table, Column, DataType, Constraint string `json:",omitempty"`
}

// pushdownError carries an error of the program through the layers of ranges.
func pushdownError(err error) *kv.Error {
	pe, ok := pgerr.As(err)
	if !ok {
		pe = pgerr.New(pgerr.InternalError, "%s", err.Error())
	}
	d, jerr := json.Marshal(remoteError{Code: pe.Code, Message: pe.Message, Detail: pe.Detail, Hint: pe.Hint, Where: pe.Where,
		Schema: pe.Schema, Table: pe.Table, Column: pe.Column, DataType: pe.DataType, Constraint: pe.Constraint})
	if jerr != nil { // strings always marshal
		d = nil
	}
	return &kv.Error{Code: kv.CodePushdown, Message: pe.Message, Detail: d}
}

func fromPushdownError(e *kv.Error) *pgerr.Error {
	var r remoteError
	if err := json.Unmarshal(e.Detail, &r); err != nil || len(r.Code) != 5 {
		return &pgerr.Error{Code: pgerr.InternalError, Message: e.Message, Cause: e}
	}
	return &pgerr.Error{Code: r.Code, Message: r.Message, Detail: r.Detail, Hint: r.Hint, Where: r.Where,
		Schema: r.Schema, Table: r.Table, Column: r.Column, DataType: r.DataType, Constraint: r.Constraint, Cause: e}
}
