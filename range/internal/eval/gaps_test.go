package eval

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// queue is a table that is written at one end, taken from at the other, and now and then anywhere.
type queue struct {
	*world
	t    *testing.T
	rng  *rand.Rand
	ids  uint64
	next int
	held map[string]kv.TxnMeta // prepared locks

	gaps, skipped int
}

const queueKeys = 60

func (q *queue) key(i int) keys.Key { return name(fmt.Sprintf("q%02d", i)) }

func (q *queue) txn() *kv.TxnMeta {
	q.ids++
	m := &kv.TxnMeta{ReadTS: hlc.Timestamp{WallTime: q.phys}, UncertaintyLimit: hlc.Timestamp{WallTime: q.phys + q.rng.Int64N(30)}, Anchor: q.key(0)}
	binary.BigEndian.PutUint64(m.ID[:], q.ids)
	return m
}

// span is from the beginning of the queue or anywhere, to its end or anywhere.
func (q *queue) span() keys.Span {
	from, to := 0, queueKeys
	if q.rng.IntN(3) == 0 {
		from = q.rng.IntN(queueKeys)
	}
	if q.rng.IntN(3) == 0 {
		to = from + 1 + q.rng.IntN(queueKeys-from)
	}
	return keys.Span{Start: q.key(from), End: q.key(to)}
}

// both evaluates a request with gaps and, before that, without, and compares.
func (q *queue) both(req *kv.BatchRequest) error {
	twin := *q.env
	twin.Gaps, twin.TSCache, twin.Locks = nil, &readLog{}, &heldLocks{held: map[string][]heldLock{}}
	req.RangeID = twin.Desc.RangeID
	want, eff, werr := Evaluate(q.t.Context(), &twin, req)
	require.Nil(q.t, eff)
	reads := len(q.reads.all)
	if s, ok := req.Requests[0].(*kv.Scan); ok && q.env.Gaps.Past(s.Spans[0].Start, req.Txn.ReadTS, q.env.Gaps.Now()).Compare(s.Spans[0].Start) > 0 {
		q.skipped++
	}
	got, _, err := Evaluate(q.t.Context(), q.env, req)
	q.locks.held = map[string][]heldLock{}
	if fmt.Sprint(werr) != fmt.Sprint(err) {
		return fmt.Errorf("%T of %v at %v: %v, and without gaps %v", req.Requests[0], req.Requests[0], req.Txn.ReadTS, err, werr)
	}
	if err != nil {
		return nil
	}
	want.Now, got.Now = hlc.Timestamp{}, hlc.Timestamp{}
	if fmt.Sprintf("%+v", want.Responses[0]) != fmt.Sprintf("%+v", got.Responses[0]) {
		return fmt.Errorf("%v at %v: %+v, and without gaps %+v", req.Requests[0], req.Txn.ReadTS, got.Responses[0], want.Responses[0])
	}
	remembered := func(l *readLog) string { // not how often the clock was asked in between
		for i := range l.all {
			l.all[i].ts.Logical = 0
		}
		return fmt.Sprint(l.all)
	}
	require.Equal(q.t, remembered(twin.TSCache.(*readLog)), remembered(&readLog{all: slices.Clone(q.reads.all[reads:])}), "what is remembered as read")
	return nil
}

func (q *queue) step() error {
	q.phys += q.rng.Int64N(10)
	switch q.rng.IntN(12) {
	case 0, 1: // at the end, or anywhere
		i := q.next
		if q.next = (q.next + 1) % queueKeys; q.rng.IntN(4) == 0 {
			i = q.rng.IntN(queueKeys)
		}
		return q.write(i, false)
	case 2, 3, 4: // from the beginning, or anywhere
		r := mvcc.NewReader(q.e.DB())
		s := r.Scan(keys.Span{Start: q.key(0), End: q.key(queueKeys)}, false, hlc.Max, mvcc.Window{})
		i := q.rng.IntN(queueKeys)
		if s.Next() && q.rng.IntN(4) > 0 {
			_, err := fmt.Sscanf(unname(s.Key()), "q%d", &i)
			require.NoError(q.t, err)
		}
		require.NoError(q.t, r.Close())
		return q.write(i, true)
	case 5: // a lock goes
		for k, m := range q.held {
			delete(q.held, k)
			_, _, err := q.do(&kv.BatchRequest{Txn: &m, Requests: []kv.Request{&kv.EndTxn{Commit: q.rng.IntN(2) == 0, CommitTS: hlc.Timestamp{WallTime: q.phys + 100}, Local: []keys.Key{keys.Key(k)}}}})
			return err
		}
	case 6:
		if q.rng.IntN(4) > 0 {
			return nil
		}
		threshold := hlc.Timestamp{WallTime: q.phys - 50}
		for _, collect := range []bool{false, true} {
			if _, _, err := q.do(&kv.BatchRequest{Requests: []kv.Request{&kv.GC{Threshold: threshold, Collect: collect}}}); err != nil {
				return err
			}
		}
	case 7:
		m := q.txn()
		from := hlc.Timestamp{WallTime: q.phys - q.rng.Int64N(20)}
		return q.both(&kv.BatchRequest{Txn: m, Requests: []kv.Request{&kv.Refresh{Spans: []keys.Span{q.span()}, From: from, To: m.ReadTS}}})
	default:
		m := q.txn()
		r := &kv.Scan{Spans: []keys.Span{q.span()}, Reverse: q.rng.IntN(8) == 0}
		req := &kv.BatchRequest{Txn: m, Requests: []kv.Request{r}, MaxRows: q.rng.Int64N(3)}
		if q.rng.IntN(2) == 0 {
			r.Lock, req.Wait = kv.LockUpdate, kv.WaitSkip
			req.Wait = []kv.WaitPolicy{kv.WaitSkip, kv.WaitBlock}[q.rng.IntN(2)]
			q.env.Undecided = map[kv.TxnID]struct{}{}
			for _, h := range q.held {
				q.env.Undecided[h.ID] = struct{}{}
			}
		} else {
			r.Loose = q.rng.IntN(2) == 0
		}
		if q.rng.IntN(4) == 0 {
			m.ReadTS.WallTime -= q.rng.Int64N(40)
		}
		req.CanMoveReadTS = q.rng.IntN(2) == 0
		return q.both(req)
	}
	return nil
}

// write inserts or deletes a row, at once or by a lock that stays for a while.
func (q *queue) write(i int, deleted bool) error {
	m, k := q.txn(), q.key(i)
	m.UncertaintyLimit = m.ReadTS
	wr := kv.Write{Key: k, Deleted: deleted}
	if !deleted {
		wr.Value = fmt.Append(nil, q.ids)
	}
	var r kv.Request = &kv.CommitSingleRange{Writes: []kv.Write{wr}}
	prepare := q.rng.IntN(4) == 0
	if prepare {
		r = &kv.Prepare{Writes: []kv.Write{wr}, StageTS: m.ReadTS}
	}
	_, _, err := q.do(&kv.BatchRequest{Txn: m, Requests: []kv.Request{r}})
	if _, conflict := err.(*ConflictError); conflict {
		return nil
	}
	if err == nil && prepare {
		q.held[string(k)] = *m
	}
	return err
}

// check holds every gap against what is there.
func (q *queue) check() error {
	r := mvcc.NewReader(q.e.DB())
	defer func() { require.NoError(q.t, r.Close()) }()
	var before keys.Key
	for _, x := range q.env.Gaps.all {
		q.gaps++
		if !x.start.Less(x.end) || x.start.Less(before) {
			return fmt.Errorf("gap from %s to %s, after one to %s", unname(x.start), unname(x.end), unname(before))
		}
		before = x.end
		for i := range queueKeys {
			k := q.key(i)
			if !(keys.Span{Start: x.start, End: x.end}).Contains(k) {
				continue
			}
			v, ok, err := r.Newest(k)
			require.NoError(q.t, err)
			l, err := r.Lock(k)
			require.NoError(q.t, err)
			if ok && (!v.Deleted || x.last.Less(v.TS)) || l != nil {
				return fmt.Errorf("in the gap from %s to %s, at %v, %s has %+v and lock %v", unname(x.start), unname(x.end), x.last, unname(k), v, l)
			}
		}
	}
	return nil
}

func work(t *testing.T, seed uint64, plant Planted) (*queue, error) {
	w := newWorld(t)
	defer w.close()
	w.env.Planted = plant
	q := &queue{world: w, t: t, rng: rand.New(rand.NewPCG(seed, 7)), held: map[string]kv.TxnMeta{}}
	for n := range 300 {
		if err := q.step(); err != nil {
			return q, fmt.Errorf("step %d: %w", n, err)
		}
		if plant.GapStays {
			continue // what is read must show it
		}
		if err := q.check(); err != nil {
			return q, fmt.Errorf("after step %d: %w", n, err)
		}
	}
	return q, nil
}

// Reads and refreshes find with gaps what they find without, and every gap is one.
func TestGaps(t *testing.T) {
	seeds, gaps, skipped := 10, 0, 0
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		q, err := work(t, uint64(seed), Planted{})
		require.NoError(t, err, "seed %d", seed)
		gaps, skipped = gaps+q.gaps, skipped+q.skipped
	}
	require.Greater(t, gaps, 30*seeds)
	require.Greater(t, skipped, 10*seeds)
}

// A gap that is not cut hides a row, and the comparison sees that.
func TestGapsMutant(t *testing.T) {
	for seed := range uint64(30) {
		if _, err := work(t, seed, Planted{GapStays: true}); err != nil {
			t.Logf("seed %d: %v", seed, err)
			return
		}
	}
	t.Fatal("nobody noticed")
}

// A gap is for those who began after it was noted, and read after its tombstones.
func TestGapsAndTime(t *testing.T) {
	at := func(n int64) hlc.Timestamp { return hlc.Timestamp{WallTime: n} }
	span := func(a, b string) keys.Span { return keys.Span{Start: name(a), End: name(b)} }
	past := func(g *Gaps, k string, ts int64) string { return unname(g.Past(name(k), at(ts), g.Now())) }
	var g Gaps
	before := g.Now()
	g.Note(span("b", "d"), fewGone-1, at(5))
	require.Zero(t, g.Now(), "too few")
	g.Note(span("b", "d"), fewGone, at(5))
	require.Equal(t, "b", unname(g.Past(name("b"), at(5), before)))
	require.Equal(t, "d", past(&g, "b", 5))
	require.Equal(t, "b", past(&g, "b", 4))
	require.Equal(t, "a", past(&g, "a", 9))
	require.Equal(t, "d", past(&g, "c", 9))
	g.Note(span("d", "f"), fewGone, at(7))
	require.Equal(t, "d", past(&g, "b", 6))
	require.Equal(t, "f", past(&g, "b", 7))
	g.Wrote(name("f"))
	require.Equal(t, "f", past(&g, "b", 7))
	g.Wrote(name("e"))
	require.Equal(t, "e", past(&g, "b", 7))
	g.Note(span("c", "h"), fewGone, at(8)) // over the first two, in part
	require.Equal(t, "d", past(&g, "b", 7))
	require.Equal(t, "h", past(&g, "b", 8))
	g.Wrote(name("b"))
	require.Equal(t, "b", past(&g, "b", 8))
	require.Equal(t, "h", past(&g, "d", 8))
	for i := range 3 * maxGaps {
		g.Note(span(fmt.Sprintf("k%04d", i), fmt.Sprintf("k%04d", i+1)), fewGone, at(int64(10+i)))
		require.LessOrEqual(t, len(g.all), maxGaps)
	}
	require.Equal(t, fmt.Sprintf("k%04d", 3*maxGaps), past(&g, "k0000", 1000))
	for i := range 3 * maxGaps { // none has a neighbour
		g.Note(span(fmt.Sprintf("m%04d", i), fmt.Sprintf("m%04da", i)), fewGone, at(int64(10+i)))
		require.LessOrEqual(t, len(g.all), maxGaps)
	}
}

// BenchmarkQueueHead takes the first row of a queue from which as many have been taken before, with all that a transaction does for it.
func BenchmarkQueueHead(b *testing.B) {
	for _, taken := range []int{0, 1_000, 10_000, 100_000} {
		for _, gaps := range []string{"gaps", "none"} {
			b.Run(fmt.Sprintf("%d/%s", taken, gaps), func(b *testing.B) {
				w, ks := benchWorld(b)
				w.env.Desc = &kv.RangeDescriptor{RangeID: 7, StartKey: keys.TableMin, EndKey: keys.TableMax}
				w.env.Gaps = &Gaps{}
				if gaps == "none" {
					w.env.Gaps = nil
				}
				at := int64(1000)
				commit := func(c *kv.CommitSingleRange, ts int64) {
					at++
					m := &kv.TxnMeta{ID: kv.TxnID{3}, ReadTS: hlc.Timestamp{WallTime: ts}}
					binary.BigEndian.PutUint64(m.ID[:], uint64(at))
					_, eff, err := Evaluate(b.Context(), w.env, &kv.BatchRequest{RangeID: 7, Txn: m, Requests: []kv.Request{c}})
					if err != nil {
						b.Fatal(err)
					}
					if err := eff.Batch.Commit(pebble.NoSync); err != nil {
						b.Fatal(err)
					}
					w.env.Stats.Add(eff.Stats)
				}
				for i := range taken {
					commit(&kv.CommitSingleRange{Writes: []kv.Write{{Key: ks[i], Deleted: true}}}, at)
				}
				more := ks[len(ks)-1]
				for i := range 100 { // so that there are some in the largest queue too
					commit(&kv.CommitSingleRange{Writes: []kv.Write{{Key: append(more.Clone(), byte(i)), Value: []byte("x")}}}, at)
				}
				span := keys.Span{Start: keys.Index(104, 1), End: keys.Index(104, 2)}
				b.ReportAllocs()
				for b.Loop() {
					at++
					m := kv.TxnMeta{ReadTS: hlc.Timestamp{WallTime: at}}
					binary.BigEndian.PutUint64(m.ID[:], uint64(at))
					resp, _, err := Evaluate(b.Context(), w.env, &kv.BatchRequest{RangeID: 7, Txn: &m, MaxRows: 1, Wait: kv.WaitSkip,
						Requests: []kv.Request{&kv.Scan{Spans: []keys.Span{span}, Lock: kv.LockUpdate}}})
					if err != nil {
						b.Fatal(err)
					}
					rows := resp.Responses[0].(*kv.ScanResponse).Rows
					k, _, ok, err := rows.Next()
					if err != nil || !ok {
						b.Fatal("no row", err)
					}
					read := keys.Span{Start: span.Start, End: k.Next()}
					c := &kv.CommitSingleRange{Writes: []kv.Write{{Key: k.Clone(), Value: []byte("x")}}, Refreshes: []kv.ReadSpan{{Span: read, At: m.ReadTS}}}
					_, eff, err := Evaluate(b.Context(), w.env, &kv.BatchRequest{RangeID: 7, Txn: &m, Requests: []kv.Request{c}})
					if err != nil {
						b.Fatal(err)
					}
					if err := eff.Batch.Close(); err != nil { // it stays the first
						b.Fatal(err)
					}
					w.locks.held = map[string][]heldLock{}
				}
			})
		}
	}
}
