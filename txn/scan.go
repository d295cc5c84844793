package txn

import (
	"context"
	"sync"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

const (
	// defaultPageBytes is the page size where the caller names none.
	defaultPageBytes = 1 << 20
	// parallelScans is how many ranges one Parallel scan reads at a time.
	parallelScans = 8
)

// rowCounter may be implemented by results of pushed-down programs that return rows, so that
// MaxRows can be kept across ranges.
type rowCounter interface{ RowCount() int64 }

// Scan implements Txn.
func (t *txn) Scan(ctx context.Context, spans []keys.Span, opts ScanOptions) Scanner {
	if opts.TargetBytes <= 0 {
		opts.TargetBytes = defaultPageBytes
	}
	if most := t.c.cfg.ScanBytes; most > 0 {
		opts.TargetBytes = min(opts.TargetBytes, most)
	}
	if opts.FirstBytes <= 0 {
		opts.FirstBytes = opts.TargetBytes
	}
	t.mu.Lock()
	seq := t.buf.stmt
	if t.openScans == 0 {
		t.oldestScan = seq
	}
	t.openScans++
	t.mu.Unlock()
	return &scanner{t: t, opts: opts, spans: spans, seq: seq, left: opts.MaxRows, target: min(opts.FirstBytes, opts.TargetBytes), counted: true}
}

// scanner reads one range after the other.
type scanner struct {
	t     *txn
	opts  ScanOptions
	spans []keys.Span // until the first Next
	seq   int32       // statement whose earlier writes are visible
	left  int64       // of MaxRows; 0 = no bound
	// target is the size of the next page. Ranges that are read at the same time grow theirs each.
	target int64
	begun  bool
	ended  bool
	// counted in txn.openScans
	counted bool

	todo []kv.Part
	par  *parallelScan
}

// Next implements Scanner.
func (s *scanner) Next(ctx context.Context) (Page, bool, error) {
	if s.ended {
		return Page{}, false, nil
	}
	if !s.begun {
		s.begun = true
		parts, err := s.t.c.cfg.Sender.Ranges(ctx, s.spans, s.opts.Reverse)
		if err != nil {
			s.ended = true
			return Page{}, false, asError(ctx, err)
		}
		s.todo = parts
		if s.opts.Parallel && len(parts) > 1 && s.opts.Lock == kv.LockNone {
			s.par = startParallel(ctx, s)
		}
	}
	if s.par != nil {
		p, ok, err := s.par.next(ctx)
		s.ended = s.ended || !ok
		return p, ok, err
	}
	for len(s.todo) > 0 {
		page, rest, stop, err := s.page(ctx, s.todo[0].Spans, s.left)
		if err != nil {
			if kv.HasCode(err, kv.CodeRangeMismatch) {
				if err = s.recut(ctx); err == nil {
					continue
				}
			}
			s.ended = true
			return Page{}, false, err
		}
		if len(rest) > 0 {
			s.todo[0].Spans = rest
		} else {
			s.todo = s.todo[1:]
		}
		n := page.count()
		if s.left > 0 {
			if s.left -= n; s.left <= 0 {
				stop = true
			}
		}
		if stop {
			s.todo = nil
		}
		if n != 0 || page.Result != nil {
			return page, true, nil
		}
	}
	s.ended = true
	return Page{}, false, nil
}

func (p Page) count() int64 {
	if p.Result != nil {
		if c, ok := p.Result.(rowCounter); ok {
			return c.RowCount()
		}
		return 0
	}
	return int64(p.Rows.Count)
}

// recut finds the ranges of the first part again after a split.
func (s *scanner) recut(ctx context.Context) error {
	parts, err := s.t.c.cfg.Sender.Ranges(ctx, s.todo[0].Spans, s.opts.Reverse)
	if err != nil {
		return asError(ctx, err)
	}
	s.todo = append(append([]kv.Part(nil), parts...), s.todo[1:]...)
	return nil
}

// Close implements Scanner.
func (s *scanner) Close() {
	s.ended = true
	s.todo = nil
	if s.par != nil {
		s.par.close()
	}
	if s.counted {
		s.counted = false
		s.t.mu.Lock()
		s.t.openScans--
		s.t.mu.Unlock()
	}
}

// page reads the next page of spans, which lie in one range. Spans without own writes go to the
// range as they are, as many as there are in a row; one with own writes goes alone and without the
// program, which then runs here over the merged rows.
func (s *scanner) page(ctx context.Context, spans []keys.Span, max int64) (p Page, rest []keys.Span, stop bool, err error) {
	t := s.t
	t.mu.Lock()
	var own []overlayRow
	n := 0
	if t.buf.empty() {
		n = len(spans)
	} else {
		for n < len(spans) {
			rows := t.buf.overlayAt(s.seq, spans[n], s.opts.Latest, s.opts.Reverse)
			if len(rows) > 0 {
				if n == 0 {
					own = rows
				}
				break
			}
			n++
		}
	}
	t.mu.Unlock()
	if len(own) == 0 {
		resp, err := s.read(ctx, spans[:n], s.opts.Pushdown, max)
		if err != nil {
			return Page{}, nil, false, err
		}
		rest = append(append(rest, resp.Resume...), spans[n:]...)
		if s.opts.Pushdown == nil {
			return Page{Rows: resp.Rows}, rest, false, nil
		}
		return Page{Result: resp.Result}, rest, false, nil
	}

	// A point that the transaction has written itself: nothing to ask for, but for a stronger lock.
	var raw kv.Rows
	span := spans[0]
	rest = spans[1:]
	if span.IsPoint() {
		locked, err := t.strengthen(ctx, span.Start, s.opts)
		if err != nil {
			return Page{}, nil, false, err
		}
		if !locked {
			own = nil
		}
	} else {
		if s.opts.Pushdown != nil {
			max = 0 // rows that the program drops must not count
		}
		resp, err := s.read(ctx, spans[:1], nil, max)
		if err != nil {
			return Page{}, nil, false, err
		}
		raw = resp.Rows
		if len(resp.Resume) > 0 {
			rest = append(append([]keys.Span(nil), resp.Resume...), rest...)
			own = ownBefore(own, resp.Resume[0], s.opts.Reverse)
		}
	}
	return s.merge(raw, own, rest, max)
}

// ownBefore cuts off the own rows that lie in what is left to scan.
func ownBefore(own []overlayRow, resume keys.Span, reverse bool) []overlayRow {
	for i := range own {
		if reverse && own[i].key.Less(resume.EndKey()) || !reverse && !own[i].key.Less(resume.Start) {
			return own[:i]
		}
	}
	return own
}

// merge puts own rows over raw ones and runs the program, if there is one.
func (s *scanner) merge(raw kv.Rows, own []overlayRow, rest []keys.Span, max int64) (p Page, _ []keys.Span, stop bool, err error) {
	var proc kv.Processor
	if s.opts.Pushdown != nil {
		proc = s.opts.Pushdown.NewProcessor()
		defer proc.Close()
	}
	var out kv.Rows
	emit := func(key keys.Key, value []byte) error {
		if proc == nil {
			out.Append(key, value)
			return nil
		}
		_, err := proc.Row(key, value)
		if err != nil && !isKV(err) {
			err = kv.Errorf(kv.CodePushdown, "%v", err)
		}
		return err
	}
	full := func() bool { return proc != nil && proc.Done() }
	for !full() {
		k, v, ok, err := raw.Next()
		if err != nil {
			return Page{}, nil, false, kv.AsError(err)
		}
		for len(own) > 0 && !full() {
			c := -1
			if ok {
				c = own[0].key.Compare(k)
				if s.opts.Reverse {
					c = -c
				}
			}
			if c > 0 {
				break
			}
			if !own[0].deleted {
				if err := emit(own[0].key, own[0].value); err != nil {
					return Page{}, nil, false, err
				}
			}
			own = own[1:]
			if c == 0 {
				k = nil
				break
			}
		}
		if !ok {
			break
		}
		if k != nil && !full() {
			if err := emit(k, v); err != nil {
				return Page{}, nil, false, err
			}
		}
	}
	if proc == nil {
		if max > 0 && int64(out.Count) > max {
			out, rest = firstRows(out, max), nil // more than asked for: the caller stops here
		}
		return Page{Rows: out}, rest, false, nil
	}
	stop = proc.Done()
	res, err := proc.Finish()
	if err != nil {
		if !isKV(err) {
			err = kv.Errorf(kv.CodePushdown, "%v", err)
		}
		return Page{}, nil, false, err
	}
	return Page{Result: res}, rest, stop, nil
}

func firstRows(rows kv.Rows, n int64) kv.Rows {
	var out kv.Rows
	for ; n > 0; n-- {
		k, v, ok, err := rows.Next()
		if !ok || err != nil {
			break // rows were made by Append just now
		}
		out.Append(k, v)
	}
	return out
}

// read sends one Scan and records what it covered.
func (s *scanner) read(ctx context.Context, spans []keys.Span, push kv.Pushdown, max int64) (*kv.ScanResponse, error) {
	t := s.t
	if err := t.c.failRead(); err != nil {
		return nil, err
	}
	for n := 0; ; n++ {
		p := &scanRead{scan: kv.Scan{Spans: spans, Reverse: s.opts.Reverse, Lock: s.opts.Lock, Pushdown: push, Loose: s.opts.Loose}}
		p.reqs[0] = &p.scan
		p.req.Requests = p.reqs[:]
		p.req.MaxRows, p.req.TargetBytes = max, s.target
		at, err := t.stampScan(ctx, p, &s.opts)
		if err != nil {
			return nil, err
		}
		if p.req.OwnSeq > 0 && !s.opts.Latest {
			p.req.OwnSeq = s.seq + 1 // of the statement that began the scan
		}
		resp, err := t.send(ctx, &p.req)
		if err != nil {
			err := t.moveFor(ctx, err, at, n)
			t.scanDone(at, err)
			if err != nil {
				t.mayHold(s.opts.Lock, nil, spans)
				return nil, err
			}
			continue
		}
		got, ok := resp.Responses[0].(*kv.ScanResponse)
		if !ok {
			err := kv.Errorf(kv.CodeInternal, "the answer to a Scan is a %T", resp.Responses[0])
			t.scanDone(at, err)
			return nil, err
		}
		r := readDone{at: readAt(resp, at), strength: s.opts.Lock, firm: s.opts.Firm, lockedKeys: got.Locked}
		if t.c.cfg.PlantedSkippedRead || !s.opts.Loose && (s.opts.Wait != kv.WaitSkip || s.opts.Lock == kv.LockNone) {
			// What SKIP LOCKED leaves out it has not read, so it has not read the span either.
			r.spans = covered(spans, got.Resume, s.opts.Reverse)
		}
		err = t.done(ctx, r)
		t.scanDone(at, err)
		s.target = min(4*s.target, s.opts.TargetBytes)
		return got, err
	}
}

type scanRead struct {
	req  kv.BatchRequest
	meta kv.TxnMeta
	scan kv.Scan
	reqs [1]kv.Request
}

// covered returns what a scan of spans has read when resume is left.
func covered(spans, resume []keys.Span, reverse bool) []keys.Span {
	if len(resume) == 0 {
		return spans
	}
	n := len(spans) - len(resume)
	if n < 0 {
		return spans // not what the contract says; too much is safe
	}
	out := spans[:n:n]
	whole, left := spans[n], resume[0]
	if reverse {
		if left.EndKey().Less(whole.EndKey()) {
			out = append(out, keys.Span{Start: left.EndKey(), End: whole.EndKey()})
		}
	} else if whole.Start.Less(left.Start) {
		out = append(out, keys.Span{Start: whole.Start, End: left.Start})
	}
	return out
}

// overlayAt is overlay as of an earlier statement.
func (b *writeBuffer) overlayAt(seq int32, span keys.Span, latest, reverse bool) []overlayRow {
	cur := b.stmt
	b.stmt = seq
	rows := b.overlay(span, latest, reverse)
	b.stmt = cur
	return rows
}

// parallelScan reads several ranges at a time and hands pages over in any order.
type parallelScan struct {
	s      *scanner
	cancel context.CancelFunc
	pages  chan parallelPage
	once   sync.Once
	wg     sync.WaitGroup
}

type parallelPage struct {
	page Page
	err  error
}

func startParallel(ctx context.Context, s *scanner) *parallelScan {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &parallelScan{s: s, cancel: cancel, pages: make(chan parallelPage, parallelScans)}
	work := make(chan kv.Part, len(s.todo))
	for _, part := range s.todo {
		work <- part
	}
	close(work)
	workers := min(parallelScans, len(s.todo))
	s.todo = nil
	var running sync.WaitGroup
	for range workers {
		running.Add(1)
		go func() {
			defer running.Done()
			for part := range work {
				if !p.part(ctx, part) {
					return
				}
			}
		}()
	}
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		running.Wait()
		close(p.pages)
	}()
	return p
}

// part reads one part to its end. False: stop.
func (p *parallelScan) part(ctx context.Context, part kv.Part) bool {
	sub := &scanner{t: p.s.t, opts: p.s.opts, seq: p.s.seq, begun: true, left: p.s.opts.MaxRows, target: p.s.target, todo: []kv.Part{part}}
	for {
		page, ok, err := sub.Next(ctx)
		if err == nil && !ok {
			return ctx.Err() == nil
		}
		select {
		case p.pages <- parallelPage{page, err}:
		case <-ctx.Done():
			return false
		}
		if err != nil {
			return false
		}
	}
}

func (p *parallelScan) next(ctx context.Context) (Page, bool, error) {
	select {
	case r, ok := <-p.pages:
		if !ok || r.err != nil {
			p.close()
			return Page{}, false, r.err
		}
		if s := p.s; s.left > 0 {
			if n := r.page.count(); n >= s.left {
				if r.page.Result == nil {
					r.page.Rows = firstRows(r.page.Rows, s.left)
				}
				s.ended = true
				p.close()
				return r.page, true, nil
			} else {
				s.left -= n
			}
		}
		return r.page, true, nil
	case <-ctx.Done():
		p.close()
		return Page{}, false, kv.Errorf(kv.CodeCanceled, "%v", ctx.Err())
	}
}

// close stops the workers and waits for them.
func (p *parallelScan) close() {
	p.once.Do(func() {
		p.cancel()
		p.wg.Wait()
	})
}

// EachRow calls f with the rows of a span that a transaction sees, in key order, page by page. Keys and values belong to f only while it runs.
// If another transaction changes the rows meanwhile, this one does not commit.
func EachRow(ctx context.Context, t Txn, span keys.Span, f func(k keys.Key, v []byte) error) error {
	sc := t.Scan(ctx, []keys.Span{span}, ScanOptions{})
	defer sc.Close()
	for {
		page, ok, err := sc.Next(ctx)
		if err != nil || !ok {
			return err
		}
		for {
			k, v, ok, err := page.Rows.Next()
			if err != nil {
				return kv.AsError(err)
			}
			if !ok {
				break
			}
			if err := f(keys.Key(k), v); err != nil {
				return err
			}
		}
	}
}
