package txn

import (
	"context"
	"math/rand/v2"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// fakeStore is the dumb twin of a whole cluster's ranges: one map, one mutex, every rule of package kv
// spelled out, with splits, stale descriptors, lost requests, lost replies and late duplicates.
type fakeStore struct {
	wanted bool // what Prepare answers

	clock *hlc.Clock

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced whenever a waiter might go on
	bounds   []keys.Key    // sorted starts of the ranges after the first
	known    []keys.Key    // what Ranges believes
	versions map[string][]fakeVersion
	prepared map[string]*fakeLock
	held     map[string]map[kv.TxnID]kv.LockStrength
	reads    []fakeRead
	floor    hlc.Timestamp // everything was read up to here
	records  map[kv.TxnID]*kv.TxnRecord
	commits  map[int]map[kv.TxnID]outcome // by range (index by start key hash)
	gc       hlc.Timestamp                // what is older may have been collected
	waits    map[kv.TxnID][]kv.TxnMeta
	rng      *rand.Rand
	late     atomic.Int64 // copies under way

	// faults
	loseRequest, loseReply, duplicate float64
	onSend                            func(req *kv.BatchRequest) error // before evaluation, without the mutex
	recover                           func(ctx context.Context, holder kv.TxnMeta, key keys.Key) (kv.TxnStatus, hlc.Timestamp, error)
	query                             func(holder kv.TxnMeta) bool // does its gateway know it?
	after                             func(holder kv.TxnMeta) hlc.Timestamp
	mutant                            string // a planted bug
	sent                              map[string]int
}

type fakeVersion struct {
	ts      hlc.Timestamp
	deleted bool
	value   []byte
}

type fakeLock struct {
	meta    kv.TxnMeta
	ts      hlc.Timestamp
	deleted bool
	value   []byte
	// of an open lock: the writes by number, and up to where they were taken back
	open   map[int32]fakeVersion
	undone int32
}

// before returns the latest write of an open lock with a number below seq.
func (l *fakeLock) before(seq int32) (v fakeVersion, at int32, ok bool) {
	for s, w := range l.open {
		if s < seq && s > at {
			v, at, ok = w, s, true
		}
	}
	return v, at, ok
}

type fakeRead struct {
	span keys.Span
	ts   hlc.Timestamp
	txn  kv.TxnID
}

func newFakeStore(bounds ...string) *fakeStore {
	s := &fakeStore{
		clock: hlc.NewClock(nil, time.Millisecond), changed: make(chan struct{}),
		versions: map[string][]fakeVersion{}, prepared: map[string]*fakeLock{},
		held: map[string]map[kv.TxnID]kv.LockStrength{}, records: map[kv.TxnID]*kv.TxnRecord{},
		commits: map[int]map[kv.TxnID]outcome{}, waits: map[kv.TxnID][]kv.TxnMeta{},
		rng: rand.New(rand.NewPCG(1, 1)), sent: map[string]int{},
	}
	for _, b := range bounds {
		s.bounds = append(s.bounds, keys.Key(b))
	}
	s.known = slices.Clone(s.bounds)
	return s
}

func rangeOf(bounds []keys.Key, k keys.Key) int {
	return sort.Search(len(bounds), func(i int) bool { return k.Less(bounds[i]) })
}

// split cuts a range; Ranges goes on believing the old bounds until a batch is refused.
func (s *fakeStore) split(at string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := keys.Key(at)
	i := rangeOf(s.bounds, k)
	if i > 0 && s.bounds[i-1].Equal(k) {
		return
	}
	s.bounds = slices.Insert(s.bounds, i, k)
	next := map[int]map[kv.TxnID]outcome{}
	for r, m := range s.commits {
		if r >= i+1 {
			next[r+1] = m
		} else {
			next[r] = m
		}
	}
	if m := s.commits[i]; m != nil { // both halves remember
		c := map[kv.TxnID]outcome{}
		for id, o := range m {
			c[id] = o
		}
		next[i+1] = c
	}
	s.commits = next
	s.wake()
}

// waitLate waits until all copies have arrived.
func (s *fakeStore) waitLate() {
	for s.late.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
}

// collect removes the ABORTED records, and raises the GC threshold above what they were written at.
func (s *fakeStore) collect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gc = s.clock.Now()
	for id, rec := range s.records {
		if rec.Status == kv.TxnAborted {
			delete(s.records, id)
		}
	}
}

func (s *fakeStore) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Ranges implements Sender.
func (s *fakeStore) Ranges(_ context.Context, spans []keys.Span, reverse bool) ([]kv.Part, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var parts []kv.Part
	add := func(r int, sp keys.Span) {
		id := kv.RangeID(r + 1)
		if n := len(parts); n > 0 && parts[n-1].RangeID == id {
			parts[n-1].Spans = append(parts[n-1].Spans, sp)
			return
		}
		parts = append(parts, kv.Part{RangeID: id, Spans: []keys.Span{sp}})
	}
	for _, sp := range spans {
		if sp.IsPoint() {
			add(rangeOf(s.known, sp.Start), sp)
			continue
		}
		var pieces []keys.Span
		for start := sp.Start; start.Less(sp.End); {
			end := sp.End
			if r := rangeOf(s.known, start); r < len(s.known) && s.known[r].Less(end) {
				end = s.known[r]
			}
			pieces = append(pieces, keys.Span{Start: start, End: end})
			start = end
		}
		if reverse {
			slices.Reverse(pieces)
		}
		for _, p := range pieces {
			add(rangeOf(s.known, p.Start), p)
		}
	}
	return parts, nil
}

func (s *fakeStore) chance(p float64) bool {
	if p == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rng.Float64() < p
}

// intercept has f called with every request from now on; what the background still does among them.
func (s *fakeStore) intercept(f func(*kv.BatchRequest) error) {
	s.mu.Lock()
	s.onSend = f
	s.mu.Unlock()
}

// Send implements Sender.
func (s *fakeStore) Send(ctx context.Context, req *kv.BatchRequest) (*kv.BatchResponse, error) {
	if ctx.Err() != nil {
		return nil, kv.Errorf(kv.CodeCanceled, "%v", ctx.Err())
	}
	s.mu.Lock()
	onSend := s.onSend
	s.mu.Unlock()
	if onSend != nil {
		if err := onSend(req); err != nil {
			return nil, err
		}
	}
	req = req.ForNode(1)
	writes := false
	for _, r := range req.Requests {
		switch r.(type) {
		case *kv.Get, *kv.Scan, *kv.Refresh:
		default:
			writes = true
		}
	}
	unknown := kv.Errorf(kv.CodeUnknownOutcome, "injected")
	if writes && s.chance(s.duplicate) { // a copy that arrives later
		s.late.Add(1)
		go func() {
			defer s.late.Add(-1)
			time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
			_, _ = s.serve(context.Background(), req)
		}()
		return nil, unknown
	}
	if writes && s.chance(s.loseRequest) {
		return nil, unknown
	}
	resp, err := s.serve(ctx, req)
	if writes && s.chance(s.loseReply) {
		return nil, unknown
	}
	return resp, err
}

type fakeConflict struct {
	key    keys.Key
	holder kv.TxnMeta
	repl   bool
}

func (s *fakeStore) serve(ctx context.Context, req *kv.BatchRequest) (*kv.BatchResponse, error) {
	start := time.Now()
	for {
		s.mu.Lock()
		resp, conflict, err := s.evaluate(req)
		if conflict == nil {
			if req.Txn != nil {
				delete(s.waits, req.Txn.ID)
			}
			s.mu.Unlock()
			return resp, err
		}
		if req.Wait == kv.WaitError {
			s.mu.Unlock()
			return nil, &kv.Error{Code: kv.CodeLockNotAvailable, Key: conflict.key}
		}
		if req.Txn != nil {
			s.waits[req.Txn.ID] = []kv.TxnMeta{conflict.holder}
			if cycle := s.cycle(req.Txn.ID); len(cycle) > 0 && slices.MaxFunc(cycle, func(a, b kv.TxnID) int { return slices.Compare(a[:], b[:]) }) == req.Txn.ID {
				delete(s.waits, req.Txn.ID)
				s.mu.Unlock()
				return nil, kv.Errorf(kv.CodeDeadlock, "fake deadlock")
			}
		}
		changed := s.changed
		s.mu.Unlock()
		if conflict.repl && s.recover != nil && time.Since(start) > 2*time.Millisecond && (s.query == nil || !s.query(conflict.holder)) {
			if st, at, err := s.recover(ctx, conflict.holder, conflict.key); err == nil {
				m := conflict.holder
				_, _ = s.serve(ctx, &kv.BatchRequest{Txn: &m, Requests: []kv.Request{&kv.ResolveLocks{
					Commit: st == kv.TxnCommitted, CommitTS: at, Keys: []keys.Key{conflict.key}}}})
			}
		}
		if !conflict.repl && s.query != nil && time.Since(start) > 2*time.Millisecond && !s.query(conflict.holder) {
			s.mu.Lock() // the release got lost; the gateway does not know the holder any more
			for k := range s.held {
				s.drop(conflict.holder.ID, k)
			}
			s.mu.Unlock()
		}
		select {
		case <-changed:
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			return nil, kv.Errorf(kv.CodeCanceled, "%v", ctx.Err())
		}
	}
}

func (s *fakeStore) cycle(id kv.TxnID) []kv.TxnID {
	var path []kv.TxnID
	for at := id; len(path) < 50; {
		path = append(path, at)
		next := s.waits[at]
		if len(next) == 0 {
			return nil
		}
		if at = next[0].ID; at == id {
			return path
		}
		if slices.Contains(path, at) {
			return nil
		}
	}
	return nil
}

// outside reports whether the batch has keys in several ranges, and learns the bounds then.
func (s *fakeStore) outside(req *kv.BatchRequest) bool {
	r := -1
	bad := false
	see := func(sp keys.Span) {
		a := rangeOf(s.bounds, sp.Start)
		b := a
		if !sp.IsPoint() {
			b = sort.Search(len(s.bounds), func(i int) bool { return !s.bounds[i].Less(sp.End) })
		}
		if a != b || (r >= 0 && r != a) {
			bad = true
		}
		r = a
	}
	ks := func(l []keys.Key) {
		for _, k := range l {
			see(keys.Span{Start: k})
		}
	}
	ws := func(l []kv.Write) {
		for _, w := range l {
			see(keys.Span{Start: w.Key})
		}
	}
	rs := func(l []kv.ReadSpan) {
		for _, r := range l {
			see(r.Span)
		}
	}
	sps := func(l []keys.Span) {
		for _, sp := range l {
			see(sp)
		}
	}
	for _, q := range req.Requests {
		switch q := q.(type) {
		case *kv.Get:
			see(keys.Span{Start: q.Key})
		case *kv.Scan:
			sps(q.Spans)
		case *kv.Refresh:
			sps(q.Spans)
		case *kv.CommitSingleRange:
			ws(q.Writes)
			rs(q.Refreshes)
		case *kv.Prepare:
			ws(q.Writes)
			rs(q.Refreshes)
		case *kv.StageTxn, *kv.RecoverTxn:
			see(keys.Span{Start: req.Txn.Anchor})
		case *kv.EndTxn:
			see(keys.Span{Start: req.Txn.Anchor})
			ks(q.Local)
		case *kv.ForgetTxns:
			for _, r := range q.Records {
				see(keys.Span{Start: r.Anchor})
			}
		case *kv.ResolveLocks:
			ks(q.Keys)
		case *kv.ResolveSpan:
			see(q.Span)
		case *kv.UndoSpan:
			see(q.Span)
		case *kv.ReleaseLocks:
			ks(q.Keys)
		case *kv.QueryPrepared:
			ks(q.Keys)
		case *kv.QueryCommit:
			see(keys.Span{Start: q.Key})
		}
	}
	if bad {
		s.known = slices.Clone(s.bounds)
	}
	return bad
}
