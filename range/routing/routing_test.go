package routing

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// world is a cluster of which only addressing is real: every node holds all it
// should, leads what it is told to, and answers a Get with its own id.
type world struct {
	mu     sync.Mutex
	clock  *hlc.Clock
	ranges []kv.RangeDescriptor // sorted, covering everything
	leader map[kv.RangeID]kv.NodeID
	dead   map[kv.NodeID]bool
	// lose makes the next n answers of a node get lost after it has executed the batch.
	lose     map[kv.NodeID]int
	metaLag  []kv.RangeDescriptor // what meta says; nil: the truth
	executed map[string]int
	sends    int
	asked    kv.NodeID // last
	closed   bool      // follower reads are possible
	relay    map[kv.NodeID]*Sender
}

func replicas(nodes ...kv.NodeID) []kv.Replica {
	var rs []kv.Replica
	for _, n := range nodes {
		rs = append(rs, kv.Replica{NodeID: n, StoreID: kv.StoreID(n), ReplicaID: kv.ReplicaID(n)})
	}
	return rs
}

func newWorld() *world {
	return &world{
		clock: hlc.NewClock(nil, time.Second),
		ranges: []kv.RangeDescriptor{
			{RangeID: 1, StartKey: keys.Min, EndKey: keys.TableMin, Replicas: replicas(1, 2, 3), Generation: 1},
			{RangeID: 2, StartKey: keys.TableMin, EndKey: keys.Max, Replicas: replicas(1, 2, 3), Generation: 1},
		},
		leader: map[kv.RangeID]kv.NodeID{1: 1, 2: 1}, dead: map[kv.NodeID]bool{}, lose: map[kv.NodeID]int{}, executed: map[string]int{},
	}
}

func (w *world) split(key keys.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.ranges {
		if d := &w.ranges[i]; d.Contains(key) && !d.StartKey.Equal(key) {
			right := *d
			right.RangeID = kv.RangeID(len(w.ranges) + 1)
			right.StartKey = key
			d.EndKey = key
			d.Generation++
			right.Generation = d.Generation
			w.leader[right.RangeID] = w.leader[d.RangeID]
			w.ranges = slices.Insert(w.ranges, i+1, right)
			return
		}
	}
}

func (w *world) Meta() *kv.RangeDescriptor {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ranges[0].Clone()
}
func (w *world) SetMeta(*kv.RangeDescriptor) {}
func (w *world) Alive(n kv.NodeID) bool      { w.mu.Lock(); defer w.mu.Unlock(); return !w.dead[n] }
func (w *world) at(n kv.NodeID) Local        { return worldNode{w, n} }
func (n worldNode) Send(ctx context.Context, b *kv.BatchRequest) (*kv.BatchResponse, error) {
	return n.w.Send(ctx, n.id, b)
}

// Relay is what a node does with a batch for somebody else: its own sender delivers it.
func (w *world) Relay(ctx context.Context, via kv.NodeID, b *kv.BatchRequest) (*kv.BatchResponse, error) {
	if w.relay[via] == nil {
		return nil, kv.Errorf(kv.CodeUnavailable, "dead")
	}
	return w.relay[via].Relayed(ctx, b)
}

type worldNode struct {
	w  *world
	id kv.NodeID
}

func (w *world) Send(ctx context.Context, to kv.NodeID, b *kv.BatchRequest) (*kv.BatchResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sends++
	w.asked = to
	if w.dead[to] {
		return nil, kv.Errorf(kv.CodeUnavailable, "dead")
	}
	var d *kv.RangeDescriptor
	for i := range w.ranges {
		if w.ranges[i].RangeID == b.RangeID {
			d = &w.ranges[i]
		}
	}
	if d == nil {
		return nil, kv.Errorf(kv.CodeRangeNotFound, "r%d", b.RangeID)
	}
	if _, ok := d.ReplicaOn(kv.StoreID(to)); !ok {
		return nil, kv.Errorf(kv.CodeRangeNotFound, "r%d is not on n%d", b.RangeID, to)
	}
	if !inside(b, d) {
		e := kv.Errorf(kv.CodeRangeMismatch, "r%d", b.RangeID)
		for _, x := range w.ranges {
			if !b.EachSpan(func(s keys.Span) bool { return !s.Overlaps(x.Span()) }) || x.RangeID == d.RangeID {
				e.Descriptors = append(e.Descriptors, *x.Clone())
			}
		}
		return nil, e
	}
	if l := w.leader[d.RangeID]; l != to && !(b.AnyReplica && w.closed) {
		if b.AnyReplica {
			return nil, kv.Errorf(kv.CodeNotClosed, "")
		}
		r, _ := d.ReplicaOn(kv.StoreID(l))
		return nil, &kv.Error{Code: kv.CodeNotLeader, Leader: r, Descriptors: []kv.RangeDescriptor{*d.Clone()}}
	}
	resp := &kv.BatchResponse{ServedBy: to, Now: w.clock.Now()}
	for _, q := range b.Requests {
		switch q := q.(type) {
		case *kv.Get:
			resp.Responses = append(resp.Responses, &kv.GetResponse{Value: q.Key})
		case *kv.Scan:
			truth := w.ranges
			if w.metaLag != nil {
				truth = w.metaLag
			}
			sr := &kv.ScanResponse{}
			for i := range truth {
				if k := keys.Meta(truth[i].EndKey); q.Spans[0].Contains(k) {
					if int64(sr.Rows.Count) == b.MaxRows {
						sr.Resume = []keys.Span{{Start: k, End: q.Spans[0].End}}
						break
					}
					sr.Rows.Append(k, truth[i].AppendWire(nil))
				}
			}
			resp.Responses = append(resp.Responses, sr)
		case *kv.Put:
			w.executed[string(q.Key)]++
			resp.Responses = append(resp.Responses, &kv.PutResponse{})
		case *kv.CommitSingleRange:
			w.executed[string(q.Writes[0].Key)] = 1 // idempotent
			resp.Responses = append(resp.Responses, &kv.CommitSingleRangeResponse{})
		}
	}
	if w.lose[to] > 0 {
		w.lose[to]--
		return nil, kv.Errorf(kv.CodeUnknownOutcome, "lost")
	}
	return resp, nil
}

func (w *world) sender(node kv.NodeID) *Sender {
	return New(Config{Node: node, Clock: w.clock, Local: w.at(node), Remote: w, Hints: w, GiveUp: 300 * time.Millisecond})
}

func key(i int) keys.Key { return append(keys.Table(100), fmt.Sprintf("%04d", i)...) }

func getReq(k keys.Key) *kv.BatchRequest {
	return &kv.BatchRequest{Requests: []kv.Request{&kv.Get{Key: k}}}
}

func TestFollowsTheLeader(t *testing.T) { synctest.Test(t, testFollowsTheLeader) }

func testFollowsTheLeader(t *testing.T) {
	w := newWorld()
	s := w.sender(3)
	for _, l := range []kv.NodeID{1, 2, 3, 1} {
		w.leader[2] = l
		resp, err := s.Send(t.Context(), getReq(key(1)))
		require.NoError(t, err)
		require.Equal(t, l, resp.ServedBy)
		w.sends = 0
		_, err = s.Send(t.Context(), getReq(key(2)))
		require.NoError(t, err)
		require.Equal(t, 1, w.sends, "a known leader is asked directly")
	}
	w.dead[1] = true
	w.leader[2] = 2
	w.leader[1] = 3
	resp, err := s.Send(t.Context(), getReq(key(1)))
	require.NoError(t, err)
	require.EqualValues(t, 2, resp.ServedBy)
}

func TestLearnsOfSplits(t *testing.T) { synctest.Test(t, testLearnsOfSplits) }

func testLearnsOfSplits(t *testing.T) {
	w := newWorld()
	s := w.sender(1)
	_, err := s.Send(t.Context(), getReq(key(1)))
	require.NoError(t, err)
	for i := 1; i < 60; i++ {
		w.split(key(i * 10))
		_, err := s.Send(t.Context(), getReq(key(i*10+5)))
		require.NoError(t, err)
	}
	require.Len(t, s.Cached(), 61)

	// A batch that has come to lie in two ranges is the caller's to cut.
	w.split(key(1000))
	_, err = s.Send(t.Context(), &kv.BatchRequest{Requests: []kv.Request{&kv.Get{Key: key(999)}, &kv.Get{Key: key(1001)}}})
	require.True(t, kv.HasCode(err, kv.CodeRangeMismatch), err)

	// Another gateway learns all from the meta range, a few look-ups for many ranges.
	s2 := w.sender(2)
	for _, reverse := range []bool{false, true} {
		parts, err := s2.Ranges(t.Context(), []keys.Span{{Start: key(5)}, {Start: key(7), End: key(95)}, {Start: key(3), End: key(4)}}, reverse)
		require.NoError(t, err)
		require.Len(t, parts, 11)
		if reverse {
			require.Equal(t, []keys.Span{{Start: key(90), End: key(95)}}, parts[1].Spans)
			require.Equal(t, []keys.Span{{Start: key(7), End: key(10)}, {Start: key(3), End: key(4)}}, parts[10].Spans)
		} else {
			require.Equal(t, []keys.Span{{Start: key(5)}, {Start: key(7), End: key(10)}}, parts[0].Spans)
			require.Equal(t, []keys.Span{{Start: key(90), End: key(95)}}, parts[9].Spans)
		}
	}
	all, err := s2.AllRanges(t.Context())
	require.NoError(t, err)
	require.Len(t, all, len(w.ranges))
}

func TestOutcomes(t *testing.T) { synctest.Test(t, testOutcomes) }

func testOutcomes(t *testing.T) {
	w := newWorld()
	s := w.sender(2)
	// A read is repeated.
	w.lose[1] = 3
	_, err := s.Send(t.Context(), getReq(key(1)))
	require.NoError(t, err)
	// A commit is repeated: the range recognises it.
	w.lose[1] = 3
	commit := &kv.BatchRequest{Txn: &kv.TxnMeta{}, Requests: []kv.Request{&kv.CommitSingleRange{Writes: []kv.Write{{Key: key(2)}}}}}
	_, err = s.Send(t.Context(), commit)
	require.NoError(t, err)
	require.True(t, commit.Repeated())
	once := &kv.BatchRequest{Txn: &kv.TxnMeta{}, Requests: []kv.Request{&kv.CommitSingleRange{Writes: []kv.Write{{Key: key(2)}}}}}
	_, err = s.Send(t.Context(), once)
	require.NoError(t, err)
	require.False(t, once.Repeated())
	// A blind write is not.
	w.lose[1] = 1
	_, err = s.Send(t.Context(), &kv.BatchRequest{Requests: []kv.Request{&kv.Put{Key: key(3)}}})
	require.True(t, kv.HasCode(err, kv.CodeUnknownOutcome), err)
	require.Equal(t, 1, w.executed[string(key(3))])
	// If no second answer ever comes, the caller is told that it is not known.
	w.lose[1] = 1 << 30
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = s.Send(ctx, commit)
	require.True(t, kv.HasCode(err, kv.CodeUnknownOutcome), err)
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = s.Send(ctx, getReq(key(1)))
	require.True(t, kv.HasCode(err, kv.CodeCanceled), err)
	// Everybody is dead: give up in time.
	w.dead = map[kv.NodeID]bool{1: true, 2: true, 3: true}
	_, err = s.Send(t.Context(), getReq(key(1)))
	require.True(t, kv.HasCode(err, kv.CodeUnavailable), err)
	_, err = w.sender(1).Ranges(t.Context(), []keys.Span{{Start: key(1)}}, false)
	require.True(t, kv.HasCode(err, kv.CodeUnavailable), err)
}

func TestMovedRange(t *testing.T) { synctest.Test(t, testMovedRange) }

func testMovedRange(t *testing.T) {
	w := newWorld()
	s := w.sender(1)
	_, err := s.Send(t.Context(), getReq(key(1)))
	require.NoError(t, err)
	// The range moves to other nodes altogether; meta lags, then catches up.
	w.mu.Lock()
	w.metaLag = slices.Clone(w.ranges)
	w.ranges[1].Replicas = replicas(4, 5, 6)
	w.ranges[1].Generation = 9
	w.leader[2] = 5
	w.mu.Unlock()
	go func() {
		time.Sleep(50 * time.Millisecond)
		w.mu.Lock()
		w.metaLag = nil
		w.mu.Unlock()
	}()
	resp, err := s.Send(t.Context(), getReq(key(1)))
	require.NoError(t, err)
	require.EqualValues(t, 5, resp.ServedBy)
}

// A batch that names its range and no key finds it where it has moved, and hears soon that it is not there any more.
func TestMovedRangeByID(t *testing.T) { synctest.Test(t, testMovedRangeByID) }

func testMovedRangeByID(t *testing.T) {
	w := newWorld()
	w.split(key(5))
	s := w.sender(1)
	byID := func() (*kv.BatchResponse, error) { return s.Send(t.Context(), &kv.BatchRequest{RangeID: 3}) }
	_, err := byID()
	require.NoError(t, err)
	w.mu.Lock()
	w.ranges[2].Replicas = replicas(4, 5, 6)
	w.ranges[2].Generation = 9
	w.leader[3] = 5
	w.mu.Unlock()
	resp, err := byID()
	require.NoError(t, err)
	require.EqualValues(t, 5, resp.ServedBy)
	// The meta range is behind: it says what was before the split. That proves nothing.
	w.mu.Lock()
	truth := slices.Clone(w.ranges)
	w.ranges[2].Replicas, w.leader[3] = replicas(1, 2, 3), 1
	w.metaLag = slices.Clone(w.ranges[:2])
	w.metaLag[1].EndKey = keys.Max
	w.metaLag[1].Generation = 1
	w.mu.Unlock()
	_, err = byID()
	require.True(t, kv.HasCode(err, kv.CodeUnavailable), "%v", err)
	// It has been merged away.
	w.mu.Lock()
	w.metaLag, w.ranges = nil, truth[:2]
	w.ranges[1].EndKey = keys.Max
	w.ranges[1].Generation = 10
	w.mu.Unlock()
	s = w.sender(1)
	s.Learn(truth[2])
	_, err = byID()
	require.True(t, kv.HasCode(err, kv.CodeRangeMismatch), "%v", err)
	require.Contains(t, err.Error(), "there is no range 3 any more")
}

// The meta range has moved, and the cached descriptor names dead nodes only: gossip says where it is now.
func TestMovedMetaRange(t *testing.T) { synctest.Test(t, testMovedMetaRange) }

func testMovedMetaRange(t *testing.T) {
	w := newWorld()
	w.ranges[0].Replicas = replicas(1)
	s := w.sender(2)
	_, err := s.Send(t.Context(), getReq(keys.System("x")))
	require.NoError(t, err)
	w.ranges[0].Replicas, w.ranges[0].Generation = replicas(1, 2, 3), 5
	w.dead[1], w.leader[1] = true, 3
	resp, err := s.Send(t.Context(), getReq(keys.System("x")))
	require.NoError(t, err)
	require.EqualValues(t, 3, resp.ServedBy)
}

func TestFollowerReads(t *testing.T) { synctest.Test(t, testFollowerReads) }

func testFollowerReads(t *testing.T) {
	w := newWorld()
	w.closed = true
	s := w.sender(3)
	req := getReq(key(1))
	req.AnyReplica = true
	resp, err := s.Send(t.Context(), req)
	require.NoError(t, err)
	require.EqualValues(t, 3, resp.ServedBy)
	w.closed = false
	resp, err = s.Send(t.Context(), req)
	require.NoError(t, err)
	require.EqualValues(t, 1, resp.ServedBy)
}

// Many gateways read while ranges split and leaders move: every answer arrives.
func TestUnderChange(t *testing.T) {
	w := newWorld()
	ctx, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer stop()
	var wg sync.WaitGroup
	for n := range 3 {
		s := w.sender(kv.NodeID(n + 1))
		s.cfg.GiveUp = time.Minute // the machine may be busy
		for range 3 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for ctx.Err() == nil {
					k := key(rand.IntN(1000))
					resp, err := s.Send(t.Context(), getReq(k))
					if err != nil || !keys.Key(resp.Responses[0].(*kv.GetResponse).Value).Equal(k) {
						t.Errorf("%s: %v", keys.Pretty(k), err)
						return
					}
				}
			}()
		}
	}
	for ctx.Err() == nil {
		w.split(key(rand.IntN(1000)))
		w.mu.Lock()
		w.leader[kv.RangeID(rand.IntN(len(w.ranges))+1)] = kv.NodeID(rand.IntN(3) + 1)
		w.mu.Unlock()
		time.Sleep(2 * time.Millisecond)
	}
	wg.Wait()
}

// The cache against a list that is searched from front to back.
func TestCacheTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCache(1000)
		var twin []kv.RangeDescriptor
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			a, b := rapid.IntRange(0, 20).Draw(t, "a"), rapid.IntRange(0, 20).Draw(t, "b")
			if a == b {
				continue
			}
			d := kv.RangeDescriptor{RangeID: kv.RangeID(rapid.IntRange(1, 6).Draw(t, "id")), StartKey: key(min(a, b)), EndKey: key(max(a, b)),
				Generation: int64(rapid.IntRange(1, 10).Draw(t, "gen")), Replicas: replicas(1, 2)}
			c.insert(&d)
			ok := !slices.ContainsFunc(twin, func(o kv.RangeDescriptor) bool {
				return o.RangeID == d.RangeID && o.Generation >= d.Generation || o.Span().Overlaps(d.Span()) && o.Generation > d.Generation
			})
			if ok {
				twin = slices.DeleteFunc(twin, func(o kv.RangeDescriptor) bool {
					return o.RangeID == d.RangeID || o.Span().Overlaps(d.Span())
				})
				twin = append(twin, d)
				sort.Slice(twin, func(i, j int) bool { return twin[i].StartKey.Less(twin[j].StartKey) })
			}
			var got []kv.RangeDescriptor
			for _, g := range c.all() {
				got = append(got, *g)
			}
			require.Equal(t, len(twin), len(c.byID))
			require.Equal(t, twin, got)
			k := key(rapid.IntRange(0, 21).Draw(t, "k"))
			var want, before kv.RangeID
			for _, o := range twin {
				if o.Contains(k) {
					want = o.RangeID
				}
				if o.StartKey.Less(k) && !o.EndKey.Less(k) {
					before = o.RangeID
				}
			}
			id := func(e *entry) kv.RangeID {
				if e == nil {
					return 0
				}
				return e.desc.RangeID
			}
			require.Equal(t, want, id(c.find(k)))
			require.Equal(t, before, id(c.findBefore(k)))
		}
	})
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache(10)
	for i := range 100 {
		c.insert(&kv.RangeDescriptor{RangeID: kv.RangeID(i + 1), StartKey: key(i), EndKey: key(i + 1), Replicas: replicas(1), Generation: 1})
		require.NotNil(t, c.find(key(i)))
	}
	require.Equal(t, 10, c.len())
	require.Len(t, c.byID, 10)
}

func BenchmarkSendLocal(b *testing.B) {
	w := newWorld()
	s := w.sender(1)
	for i := range 500 {
		w.split(key(i))
	}
	req := getReq(key(250))
	_, err := s.Send(context.Background(), req)
	require.NoError(b, err)
	s.cfg.Local = nop{}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if _, err := s.Send(context.Background(), req); err != nil {
			b.Fatal(err)
		}
	}
}

type nop struct{}

func (nop) Send(context.Context, *kv.BatchRequest) (*kv.BatchResponse, error) { return nil, nil }

// Reads of the past go to the replica that is nearest, wherever the leader is; among those that are equally far, to the leader.
func TestNearestReplica(t *testing.T) {
	w := newWorld()
	w.closed = true
	w.ranges[1].Replicas = replicas(2, 3, 4)
	w.leader[2] = 2
	rtt := map[kv.NodeID]time.Duration{2: 90 * time.Millisecond, 3: 800 * time.Microsecond, 4: 160 * time.Millisecond}
	s := New(Config{Node: 5, Clock: w.clock, Local: w.at(5), Remote: w, Hints: w, GiveUp: 300 * time.Millisecond,
		RTT: func(n kv.NodeID) time.Duration { return rtt[n] }})
	key := keys.TableMin.Next()
	read := func(any bool) *kv.BatchRequest {
		return &kv.BatchRequest{AnyReplica: any, Requests: []kv.Request{&kv.Get{Key: key}}}
	}
	asked := func(any bool) kv.NodeID {
		t.Helper()
		w.mu.Lock()
		w.asked = 0
		w.mu.Unlock()
		_, err := s.Send(context.Background(), read(any))
		require.NoError(t, err)
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.asked
	}
	require.EqualValues(t, 2, asked(false))
	for range 20 {
		require.EqualValues(t, 3, asked(true))
	}
	rtt[3] = 80 * time.Millisecond
	for range 20 {
		require.EqualValues(t, 2, asked(true), "the leader is hardly farther, and knows everything")
	}
	w.mu.Lock()
	w.dead[2] = true
	w.mu.Unlock()
	for range 20 {
		require.EqualValues(t, 3, asked(true), "not the farthest")
	}
}

// behind is a node whose replica has yet to apply a merge: it answers all reads of the past from before it, and nothing passes while it does.
type behind struct {
	*world
	answers int
}

func (b *behind) Send(ctx context.Context, req *kv.BatchRequest) (*kv.BatchResponse, error) {
	if req.AnyReplica && req.RangeID == 2 {
		b.answers++
		left := b.world.ranges[1]
		left.Generation, left.EndKey = 0, key(5)
		return nil, &kv.Error{Code: kv.CodeRangeMismatch, Message: "outside", Descriptors: []kv.RangeDescriptor{left}}
	}
	return b.world.Send(ctx, 3, req)
}

// A follower that does not know of a merge yet is not asked over and over: the leader knows.
func TestFollowerBehind(t *testing.T) {
	w := newWorld()
	local := &behind{world: w}
	s := New(Config{Node: 3, Clock: w.clock, Local: local, Remote: w, Hints: w})
	req := getReq(key(7))
	req.AnyReplica = true
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := s.Send(ctx, req)
	require.NoError(t, err)
	require.LessOrEqual(t, local.answers, 2)
}
