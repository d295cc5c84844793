package exec

import (
	"bytes"
	"context"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/rowenc"
	"github.com/pamirdb/pamir/sql/types"
	"github.com/pamirdb/pamir/txn"
)

// A scan asks for an eighth of its budget at a time, between these bounds.
const (
	minPageBytes = 32 << 10
	pageBytes    = 1 << 20
	// firstEntryBytes are a hundred entries or so: often only the first few rows are wanted, in the order of an index.
	firstEntryBytes = 4 << 10
)

// scan reads an index. How depends on what the execution's constraints turn out to be:
//
//	get     every span is one row: the keys are read directly, in pieces of at most a batch
//	pieces  otherwise the spans are scanned, with the program beside the data
//
// and, if the index does not hold all columns (or rows must be locked, which is done in the primary index), the rows are
// fetched from the primary index for each batch of entries.
type scan struct {
	in    *instance
	n     *plan.Scan
	tab   *rowenc.Table
	index *rowenc.Index
	spans *spanBuilder
	// fetch: entries of a secondary index lead to rows of the primary one. loose: with SKIP LOCKED they only say where to look, see lockedRows.
	fetch, loose bool
	// portable: the filter and the aggregates mean the same beside the data.
	portable bool
	// beside: filter and aggregation run beside the data; otherwise filter and agg here do.
	beside bool
	filter *expr.Program
	local  *template // of the work on rows that are at the gateway
	tmpl   *template // of the pushdown
	limit  *expr.Program
	offset *expr.Program
	dec    *rowenc.Decoder // of rows at the gateway; aliases them
	single *types.Batch

	// per execution
	points  []keys.Key
	at      int
	scanner txn.Scanner
	queue   []*types.Batch
	taken   int // rows of the queue's first batch that have been shown
	proc    *processor
	rows    kv.Rows
	entries []entry
	left    int64 // rows still wanted, -1 = all
	skip    int64 // entries to leave out before that
	opts    txn.ScanOptions
	acct    account
	sel     []int32
	out     types.Batch
	done    bool
	chunk   int
	late    bool // see filtersFirst
	passed  []passedRow
}

type entry struct{ key, value []byte }

func newScan(in *instance, n *plan.Scan) (operator, error) {
	s := &scan{in: in, n: n, sel: []int32{}}
	var err error
	if s.tab, err = rowenc.ForTable(n.Table); err != nil {
		return nil, err
	}
	if s.index, err = rowenc.ForIndex(n.Table, n.Index); err != nil {
		return nil, err
	}
	if s.spans, err = newSpanBuilder(s.index, n.Spans); err != nil {
		return nil, err
	}
	if s.limit, err = compileOpt(n.Limit); err != nil {
		return nil, err
	}
	if s.offset, err = compileOpt(n.Offset); err != nil {
		return nil, err
	}
	s.fetch = !n.Index.Primary && (n.Lock != kv.LockNone || !rowenc.Decodable(s.index, n.Columns))
	s.loose = s.fetch && n.Lock != kv.LockNone && n.Wait == kv.WaitSkip
	from := s.index
	if s.fetch {
		from = s.tab.Primary
	}
	spec, err := rowenc.NewSpec(from, n.Columns)
	if err != nil {
		return nil, err
	}
	s.dec = spec.NewDecoder(true)
	s.local = newTemplate(spec, n.Filter, n.Agg)
	s.portable = s.isPortable()
	s.beside = !s.fetch && s.portable
	if s.beside {
		s.tmpl = s.local
	}
	if n.Agg == nil {
		s.filter, err = compileOpt(n.Filter)
	}
	s.single = spec.NewBatch(1)
	return s, err
}

// isPortable reports whether filter and aggregates mean the same beside the data: nothing in them may ask for the
// session or run a subquery.
func (s *scan) isPortable() bool {
	ok := true
	check := func(e expr.Expr) {
		if e == nil {
			return
		}
		if expr.Volatility(e) != 'i' {
			ok = false
		}
		expr.Walk(e, func(e expr.Expr) bool {
			if _, sub := e.(*expr.Subplan); sub {
				ok = false
			}
			return ok
		})
	}
	check(s.n.Filter)
	if a := s.n.Agg; a != nil {
		for _, e := range a.GroupBy {
			check(e)
		}
		for i := range a.Calls {
			for _, e := range a.Calls[i].Args {
				check(e)
			}
			check(a.Calls[i].Filter)
		}
	}
	return ok
}

func (s *scan) open(ctx context.Context) error {
	if err := s.begin(); err != nil {
		return err
	}
	spans, points, err := s.spans.build(&s.in.er, s.n.Reverse)
	if err != nil {
		return err
	}
	return s.run(ctx, spans, points)
}

// openSpans is open with spans from elsewhere, disjoint and in order; each is one row's key if points.
func (s *scan) openSpans(ctx context.Context, spans []keys.Span, points bool) error {
	if err := s.begin(); err != nil {
		return err
	}
	if !points {
		return s.run(ctx, spans, nil)
	}
	ks := make([]keys.Key, len(spans))
	for i := range spans {
		ks[i] = spans[i].Start
	}
	return s.run(ctx, nil, ks)
}

func (s *scan) begin() error {
	s.close()
	s.acct.b = s.in.budget
	s.done, s.at, s.left, s.skip, s.chunk = false, 0, -1, 0, 16
	s.late, s.passed = s.filtersFirst(), s.passed[:0]
	s.opts = txn.ScanOptions{Reverse: s.n.Reverse, Lock: s.n.Lock, Wait: s.n.Wait, Firm: s.in.rt.Firm, Loose: s.n.Peek, TargetBytes: min(pageBytes, max(s.in.budget.limit/8, minPageBytes))}
	if s.limit != nil {
		n, ok, err := rowCount(&s.in.er, s.limit, "LIMIT", "2201W")
		if err != nil {
			return err
		}
		if ok {
			s.left = n
		}
	}
	if s.offset != nil {
		n, _, err := rowCount(&s.in.er, s.offset, "OFFSET", "2201X")
		if err != nil {
			return err
		}
		s.skip = n
	}
	return nil
}

func (s *scan) run(ctx context.Context, spans []keys.Span, points []keys.Key) error {
	if (s.left == 0 || len(spans) == 0 && len(points) == 0) && s.n.Agg == nil {
		s.done = true
		return nil
	}
	if len(spans) == 0 && s.late && s.beside && !s.n.Reverse {
		spans = make([]keys.Span, len(points)) // the locks are taken where the filter is
		for i, k := range points {
			spans[i].Start = k
		}
	}
	if len(spans) == 0 {
		s.points = points
		s.startLocal()
		return nil
	}
	opts := s.opts
	opts.Parallel = !s.n.Ordered && s.left < 0 && opts.Lock == kv.LockNone
	if s.fetch {
		opts.Lock, opts.Wait, opts.Loose = kv.LockNone, kv.WaitBlock, s.loose || s.n.Peek // the rows are locked, not the entries
	} else if s.late && !s.beside {
		opts.Lock, opts.Wait, opts.Loose = kv.LockNone, kv.WaitBlock, true
	}
	if s.fetch || s.n.Few {
		opts.FirstBytes = firstEntryBytes
	}
	if s.beside {
		p := &Pushdown{t: s.tmpl, params: s.in.er.Params, outer: s.in.er.Outer, ctx: s.in.er.Ctx}
		if s.n.Agg == nil {
			p.exact = s.n.Filter != nil && (s.left >= 0 || opts.Lock != kv.LockNone)
			if s.left >= 0 {
				p.limit, opts.MaxRows = s.left, s.left
			}
		}
		opts.Pushdown = p
	} else {
		s.startLocal()
		if s.left >= 0 && s.n.Filter == nil && !s.fetch {
			opts.MaxRows = s.left
		}
	}
	s.scanner = s.in.rt.Txn.Scan(ctx, spans, opts)
	return nil
}

// startLocal prepares for aggregating here what is not aggregated beside the data.
func (s *scan) startLocal() {
	if s.n.Agg == nil {
		return
	}
	p := &Pushdown{t: s.local, params: s.in.er.Params, outer: s.in.er.Outer, ctx: s.in.er.Ctx}
	s.proc = p.NewProcessor().(*processor)
	s.proc.er = s.in.er // here subqueries and the session can be asked
}

func (s *scan) close() {
	if s.scanner != nil {
		s.scanner.Close()
		s.scanner = nil
	}
	if s.proc != nil {
		s.proc.Close()
		s.proc = nil
	}
	s.acct.close()
	s.points, s.queue, s.taken, s.rows, s.entries = nil, nil, 0, kv.Rows{}, s.entries[:0]
	s.done = true
}

func (s *scan) next(ctx context.Context) (*types.Batch, error) {
	for !s.done {
		if len(s.queue) > 0 {
			b := s.fromQueue()
			if b.Len() == 0 {
				continue
			}
			return s.count(b), nil
		}
		b, err := s.more(ctx)
		if err != nil {
			return nil, err
		}
		if b != nil && b.Len() > 0 {
			return s.count(b), nil
		}
	}
	return nil, nil
}

// fromQueue takes a batch off the queue, or, where most likely only a few rows are wanted, the next few of its rows: whoever takes them may read others for each.
func (s *scan) fromQueue() *types.Batch {
	b := s.queue[0]
	from, to := s.taken, b.Len()
	if s.n.Few && to-from > s.chunk {
		to = from + s.chunk
		s.chunk = min(2*s.chunk, types.BatchSize)
		s.taken = to
	} else {
		s.queue, s.taken = s.queue[1:], 0
	}
	if from == 0 && to == b.Len() {
		return b
	}
	s.sel = s.sel[:0]
	for i := from; i < to; i++ {
		s.sel = append(s.sel, int32(b.Row(i)))
	}
	s.out = types.Batch{N: b.N, Cols: b.Cols, Sel: s.sel}
	return &s.out
}

// count ends the scan after the rows that are wanted.
func (s *scan) count(b *types.Batch) *types.Batch {
	if s.left >= 0 && s.n.Agg == nil {
		if s.left -= int64(b.Len()); s.left <= 0 {
			s.done = true // the Limit above cuts what is too much
		}
	}
	return b
}

// more reads on. It returns a batch, or nil after having filled the queue or set done.
func (s *scan) more(ctx context.Context) (*types.Batch, error) {
	if len(s.passed) > 0 {
		return s.lockPassed(ctx)
	}
	if s.points != nil {
		return s.get(ctx)
	}
	if s.rows.Count > 0 {
		return s.decodeRows(ctx)
	}
	if s.scanner == nil {
		return s.finishLocal()
	}
	page, ok, err := s.scanner.Next(ctx)
	if err != nil {
		return nil, err
	}
	if !ok {
		s.scanner.Close()
		s.scanner = nil
		return s.finishLocal()
	}
	if st := s.in.stats(s.n); st != nil {
		st.Pieces++
		st.KVRows += int64(page.Rows.Count)
		st.KVBytes += int64(len(page.Rows.Data))
	}
	if page.Result != nil {
		r, ok := page.Result.(*Result)
		if !ok {
			return nil, pgerr.New(pgerr.InternalError, "scan returned %T", page.Result)
		}
		s.queue = r.batches
		s.acct.note(batchesSize(r.batches))
		return nil, nil
	}
	s.rows = page.Rows
	if page.Rows.Count > 0 && s.beside && s.proc == nil && s.n.Agg != nil {
		s.startLocal() // the transaction handed raw rows: its own writes were among them
	}
	s.acct.note(int64(len(page.Rows.Data)))
	return nil, nil
}

func batchesSize(bs []*types.Batch) int64 {
	var n int64
	for _, b := range bs {
		for _, c := range b.Cols {
			n += int64(b.N) * width(c)
			for _, v := range c.Bytes {
				n += int64(len(v))
			}
		}
	}
	return n
}

func (s *scan) finishLocal() (*types.Batch, error) {
	s.done = true
	if s.proc == nil {
		return nil, nil
	}
	r, err := s.proc.Finish()
	s.proc.Close()
	s.proc = nil
	if err != nil {
		return nil, err
	}
	s.queue = r.(*Result).batches
	s.done = len(s.queue) == 0
	return nil, nil
}

// decodeRows takes up to a batch of raw rows off the page.
func (s *scan) decodeRows(ctx context.Context) (*types.Batch, error) {
	want := types.BatchSize
	if s.fetch || s.n.Few { // fetching costs a read each: begin small when only the first rows may be wanted
		want = s.chunk
		if s.left >= 0 && s.filter == nil {
			want = int(min(int64(want), max(s.left, 1)))
		}
		want = int(min(int64(want)+s.skip, types.BatchSize))
		s.chunk = min(2*s.chunk, types.BatchSize)
	}
	s.entries = s.entries[:0]
	for len(s.entries) < want {
		k, v, ok, err := s.rows.Next()
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		s.entries = append(s.entries, entry{k, v})
	}
	if s.fetch {
		return s.fetchRows(ctx)
	}
	if s.late && !s.beside {
		return nil, s.keepPassing(s.entries)
	}
	return s.decode(s.entries)
}

// fetchRows reads the rows that entries of a secondary index point to.
func (s *scan) fetchRows(ctx context.Context) (*types.Batch, error) {
	if n := min(s.skip, int64(len(s.entries))); n > 0 {
		s.skip -= n
		s.entries = append(s.entries[:0], s.entries[n:]...)
		if len(s.entries) == 0 {
			return nil, nil
		}
	}
	ks := make([]keys.Key, len(s.entries))
	for i, e := range s.entries {
		var err error
		if ks[i], err = s.index.PrimaryKeyOf(nil, s.tab.Primary, e.key, e.value); err != nil {
			return nil, err
		}
	}
	if s.late {
		return nil, s.preview(ctx, ks)
	}
	if s.loose {
		return s.lockedRows(ctx, ks)
	}
	return s.getRows(ctx, ks, true)
}

// lockedRows locks those of the rows that the entries point to that are free, and keeps those whose entries are still there then.
//
// With SKIP LOCKED nothing rests on which entries there are: workers that take jobs in the order of an index move entries all the time, in the span that all the others have
// just scanned, and if the span had to hold until their commits, only one of them at a time would get anywhere. But a row that has been locked
// may be newer than the entry that led to it, a job that is done by now. So entries are read again after their rows are locked, and from then on hold as any
// other read: only who holds the row's lock can change them.
func (s *scan) lockedRows(ctx context.Context, ks []keys.Key) (*types.Batch, error) {
	vals, err := s.in.rt.Txn.GetMany(ctx, ks, txn.ScanOptions{Lock: s.n.Lock, Wait: s.n.Wait, Firm: s.in.rt.Firm})
	if err != nil {
		return nil, err
	}
	var rows []entry
	var again []keys.Key
	for i, v := range vals {
		if v != nil {
			rows, again = append(rows, entry{ks[i], v}), append(again, keys.Key(s.entries[i].key).Clone())
		}
	}
	s.entries = s.entries[:0]
	if len(rows) == 0 {
		return s.decode(s.entries)
	}
	if vals, err = s.in.rt.Txn.GetMany(ctx, again, txn.ScanOptions{Firm: s.in.rt.Firm}); err != nil {
		return nil, err
	}
	for i, v := range vals {
		if v == nil {
			continue
		}
		k, err := s.index.PrimaryKeyOf(nil, s.tab.Primary, again[i], v)
		if err != nil {
			return nil, err
		}
		if bytes.Equal(k, rows[i].key) {
			s.entries = append(s.entries, rows[i])
		}
	}
	return s.decode(s.entries)
}

// getRows reads rows of the primary index (or entries of a covering one).
func (s *scan) getRows(ctx context.Context, ks []keys.Key, mustExist bool) (*types.Batch, error) {
	opts := txn.ScanOptions{Lock: s.n.Lock, Wait: s.n.Wait, Firm: s.in.rt.Firm, Loose: s.n.Peek}
	vals, err := s.in.rt.Txn.GetMany(ctx, ks, opts)
	if err != nil {
		return nil, err
	}
	s.entries = s.entries[:0]
	for i, v := range vals {
		if v == nil {
			if mustExist && s.n.Wait != kv.WaitSkip && s.n.Lock == kv.LockNone && !s.n.Peek {
				return nil, pgerr.New(pgerr.DataCorrupted, "index \"%s\" of table \"%s\" has an entry without a row",
					s.n.Index.Name, s.n.Table.Name).WithDetail("Key: %s.", keys.Pretty(ks[i]))
			}
			continue
		}
		s.entries = append(s.entries, entry{ks[i], v})
	}
	return s.decode(s.entries)
}

// get reads the next points.
func (s *scan) get(ctx context.Context) (*types.Batch, error) {
	if s.at >= len(s.points) {
		s.points = nil
		return nil, nil // the scanner is nil: more finishes
	}
	if len(s.points) == 1 && !s.fetch && s.proc == nil && !s.late {
		return s.getOne(ctx)
	}
	to := min(s.at+types.BatchSize, len(s.points))
	ks := s.points[s.at:to]
	s.at = to
	if !s.fetch {
		if s.late {
			s.entries = s.entries[:0]
			return nil, s.preview(ctx, ks)
		}
		return s.getRows(ctx, ks, false)
	}
	vals, err := s.in.rt.Txn.GetMany(ctx, ks, txn.ScanOptions{Firm: s.in.rt.Firm, Loose: s.n.Peek})
	if err != nil {
		return nil, err
	}
	s.entries = s.entries[:0]
	for i, v := range vals {
		if v != nil {
			s.entries = append(s.entries, entry{ks[i], v})
		}
	}
	return s.fetchRows(ctx)
}

// getOne is the whole life of a point read: one key, one row, no filter in most cases.
func (s *scan) getOne(ctx context.Context) (*types.Batch, error) {
	s.done = true
	key := s.points[0]
	val, ok, err := s.in.rt.Txn.Get(ctx, key, txn.ScanOptions{Lock: s.n.Lock, Wait: s.n.Wait, Firm: s.in.rt.Firm, Loose: s.n.Peek})
	if err != nil || !ok {
		return nil, err
	}
	s.single.Reset()
	if err := s.dec.Decode(key, val, s.single.Cols); err != nil {
		return nil, err
	}
	s.single.N = 1
	return s.filtered(s.single)
}

// decode turns raw rows into a batch, or feeds the local aggregation.
func (s *scan) decode(es []entry) (*types.Batch, error) {
	if s.proc != nil {
		for i := range es {
			if _, err := s.proc.Row(es[i].key, es[i].value); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}
	b := s.local.spec.NewBatch(len(es))
	for i := range es {
		if err := s.dec.Decode(es[i].key, es[i].value, b.Cols); err != nil {
			return nil, err
		}
	}
	b.N = len(es)
	return s.filtered(b)
}

func (s *scan) filtered(b *types.Batch) (*types.Batch, error) {
	if s.filter == nil || b.N == 0 {
		return b, nil
	}
	var err error
	if s.sel, err = s.filter.FilterSel(&s.in.er, b, s.sel[:0]); err != nil {
		return nil, err
	}
	s.out = types.Batch{N: b.N, Cols: b.Cols, Sel: s.sel}
	return &s.out, nil
}
