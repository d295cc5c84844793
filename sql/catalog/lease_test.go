package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/internal/memtxn"
	"github.com/pamirdb/pamir/txn"
)

// gatedSender is a gateway's way to the store, which can be shut.
type gatedSender struct {
	*memtxn.Store
	shut  atomic.Bool
	split atomic.Bool // in the version table
	knows atomic.Bool // that it is split
}

// splitAt is where the version table is split.
var splitAt = idKey(versionTable, rowGateway)

func (g *gatedSender) Ranges(ctx context.Context, spans []keys.Span, reverse bool) ([]kv.Part, error) {
	if len(spans) == 1 && spans[0].Contains(splitAt) && g.knows.Load() {
		return []kv.Part{{RangeID: 1, Spans: []keys.Span{{Start: spans[0].Start, End: splitAt}}},
			{RangeID: 2, Spans: []keys.Span{{Start: splitAt, End: spans[0].End}}}}, nil
	}
	return g.Store.Ranges(ctx, spans, reverse)
}

func (g *gatedSender) pass(ctx context.Context) error {
	for g.shut.Load() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// Begin implements txn.Gateway, for what a gateway does for itself.
func (g *gatedSender) Begin(ctx context.Context, opts txn.Options) txn.Txn {
	return &gatedTxn{Txn: g.Store.Begin(ctx, opts).(*memtxn.Txn), gate: g}
}

// gatedTxn is one whose commit has to pass the gate.
type gatedTxn struct {
	*memtxn.Txn
	gate *gatedSender
}

func (t *gatedTxn) Commit(ctx context.Context) (hlc.Timestamp, error) {
	if err := t.gate.pass(ctx); err != nil {
		return hlc.Timestamp{}, err
	}
	return t.Txn.Commit(ctx)
}

func (g *gatedSender) Send(ctx context.Context, req *kv.BatchRequest) (*kv.BatchResponse, error) {
	if err := g.pass(ctx); err != nil {
		return nil, err
	}
	if scan, ok := req.Requests[0].(*kv.Scan); ok && g.split.Load() {
		for _, s := range scan.Spans {
			if s.Contains(splitAt) && !s.Start.Equal(splitAt) {
				g.knows.Store(true)
				return nil, kv.Errorf(kv.CodeRangeMismatch, "the batch lies in several ranges")
			}
		}
	}
	return g.Store.Send(ctx, req)
}

type cluster struct {
	mem    *memtxn.Store
	stores []*Store
	gates  []*gatedSender
	deaf   atomic.Bool // nobody hears what is told
	heard  atomic.Int64
	stop   func(i int) // ends a store
	stops  []context.CancelFunc
	again  func(i int)          // starts another process of a node, which takes the place of the former in stores and gates
	slow   func() time.Duration // how long the commit of a schema change takes; nil for no time
}

// tell is a Tell.
func (c *cluster) tell(_ context.Context, node int32) error {
	if c.deaf.Load() {
		return errors.New("not heard")
	}
	c.heard.Add(1)
	c.stores[node-1].Look()
	return nil
}

func newCluster(t *testing.T, n int, times leaseTimes) *cluster {
	return newLosingCluster(t, n, times, nil)
}

func newLosingCluster(t *testing.T, n int, times leaseTimes, lost Lost) *cluster {
	c := &cluster{mem: memtxn.New(), stores: make([]*Store, n)}
	ctx, cancel := context.WithCancel(context.Background())
	var ended []<-chan struct{}
	c.stop = func(i int) {
		c.stops[i]()
		<-ended[i]
	}
	c.again = func(i int) {
		s := NewStore(Options{Counters: c.mem})
		s.times, c.stores[i] = times, s
		if i == 0 {
			require.NoError(t, s.Bootstrap(ctx, c.mem))
		}
		g := &gatedSender{Store: c.mem}
		own, stop := context.WithCancel(ctx)
		c.stops[i], c.gates[i] = stop, g
		ended = append(ended, s.Start(own, g, g, int32(i+1), c.tell, lost, slog.New(slog.DiscardHandler)))
	}
	c.stops, c.gates = make([]context.CancelFunc, n), make([]*gatedSender, n)
	for i := range n {
		c.again(i)
	}
	t.Cleanup(func() {
		cancel()
		for _, e := range ended {
			<-e
		}
	})
	for _, s := range c.stores {
		require.Eventually(t, func() bool { return s.holder.Load().current.Load() != nil }, 5*time.Second, time.Millisecond)
	}
	return c
}

// change commits a schema change at gateway i: it raises the descriptor's version.
func (c *cluster) change(ctx context.Context, i int) (version uint64, at hlc.Timestamp, err error) {
	s := c.stores[i]
	t := c.mem.Begin(ctx, txn.Options{})
	w, err := s.Writer(ctx, t, nil)
	if err != nil {
		return 0, at, err
	}
	old, ok := w.Snapshot().TableByID(FirstObjectID)
	if !ok {
		err = w.CreateTable(ctx, &Table{ID: FirstObjectID, Schema: PublicSchema, Name: "t", Version: 1})
	} else {
		n := *old
		n.NextIndex++
		err = w.ReplaceTable(ctx, old, &n)
		version = n.Version
	}
	if err != nil {
		return 0, at, err
	}
	end, err := s.BeforeCommit(ctx, t, &Uses{}, true)
	if err != nil {
		return 0, at, err
	}
	if c.slow != nil {
		time.Sleep(c.slow())
	}
	at, err = t.Commit(ctx)
	end()
	return version, at, err
}

type used struct {
	version uint64
	at      hlc.Timestamp
}

// write commits a transaction that relies on the descriptor; it dawdles between planning and commit.
func (c *cluster) write(ctx context.Context, i, n int) (u used, err error) {
	s := c.stores[i]
	t := c.mem.Begin(ctx, txn.Options{})
	snap, err := s.Snapshot(ctx, t)
	if err != nil {
		return u, err
	}
	var uses Uses
	uses.Seen(snap, t.ReadTimestamp(), RootRole)
	tab, ok := uses.Watch(snap).TableByID(FirstObjectID)
	if !ok {
		return u, fmt.Errorf("no table")
	}
	u.version = tab.Version
	time.Sleep(time.Duration(1+rand.IntN(3000)) * time.Microsecond)
	if err := t.Put(keys.Index(500, uint64(i*1_000_000+n)), []byte("x")); err != nil {
		return u, err
	}
	end, err := s.BeforeCommit(ctx, t, &uses, false)
	if err != nil {
		return u, err
	}
	u.at, err = t.Commit(ctx)
	end()
	return u, err
}

// run lets gateways write and change at the same time and returns how often a commit used a version that did not
// hold at its timestamp.
func (c *cluster) run(t *testing.T, d time.Duration, pause bool) (wrong, writes, changes int) {
	ctx := context.Background()
	for {
		_, _, err := c.change(ctx, 0)
		if err == nil {
			break
		}
		require.Equal(t, kv.RetryTxn, kv.AsError(err).Code.Class(), "%v", err)
	}
	for _, s := range c.stores { // everybody has heard of it
		require.Eventually(t, func() bool {
			l := s.holder.Load().current.Load()
			return l != nil && len(l.snap.tables) > 0
		}, 5*time.Second, time.Millisecond)
	}
	var mu sync.Mutex
	var history, ws []used
	var wg sync.WaitGroup
	stop := time.Now().Add(d)
	for i := range c.stores {
		for k := range 2 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for n := 0; time.Now().Before(stop); n++ {
					u, err := c.write(ctx, i, n*2+k)
					if err != nil {
						require.Equal(t, kv.RetryTxn, kv.AsError(err).Code.Class(), "%v", err)
						continue
					}
					mu.Lock()
					ws = append(ws, u)
					mu.Unlock()
				}
			}()
		}
	}
	wg.Add(1)
	go func() {
		defer wg.Done()
		for n := 0; time.Now().Before(stop); n++ {
			gate := c.gates[(n+1)%len(c.gates)]
			if pause && n%3 == 2 {
				gate.shut.Store(true)
			}
			v, at, err := c.change(ctx, n%len(c.stores))
			gate.shut.Store(false)
			if err != nil {
				require.Equal(t, kv.RetryTxn, kv.AsError(err).Code.Class(), "%v", err)
				continue
			}
			mu.Lock()
			history = append(history, used{v, at})
			mu.Unlock()
			time.Sleep(time.Duration(rand.IntN(4000)) * time.Microsecond)
		}
	}()
	wg.Wait()
	slices.SortFunc(history, func(a, b used) int { return a.at.Compare(b.at) })
	for _, u := range ws {
		holds := uint64(1)
		for _, h := range history {
			if h.at.LessEq(u.at) {
				holds = h.version
			}
		}
		if holds != u.version {
			wrong++
		}
	}
	return wrong, len(ws), len(history)
}

var testTimes = leaseTimes{lease: 60 * time.Millisecond, poll: 5 * time.Millisecond, retry: 5 * time.Millisecond, frozen: time.Millisecond, marker: time.Second}

func TestNoCommitCrossesSchemaChange(t *testing.T) {
	for _, pause := range []bool{false, true} {
		t.Run(fmt.Sprint("pause=", pause), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 3, testTimes)
				wrong, writes, changes := c.run(t, 2*time.Second, pause)
				t.Logf("%d writes, %d changes", writes, changes)
				require.Zero(t, wrong)
				require.Greater(t, writes, 100)
				require.Greater(t, changes, 5)
			})
		})
	}
}

// Gateways that look only when they are told acknowledge a change; those that are not told find it when they poll. No lease runs out here.
func TestChangesAreToldOrFound(t *testing.T) {
	const long = time.Hour
	times := leaseTimes{lease: long, poll: long, retry: time.Millisecond, frozen: time.Millisecond, marker: long}
	t.Run("told", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, 3, times)
			for i := range 6 {
				_, _, err := c.change(t.Context(), i%3)
				require.NoError(t, err)
			}
			require.NotZero(t, c.heard.Load())
		})
	})
	t.Run("neither", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, 3, times)
			c.deaf.Store(true)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_, _, err := c.change(ctx, 0)
			require.ErrorIs(t, err, context.DeadlineExceeded, "the change must wait")
		})
	})
	t.Run("found", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			times := times
			times.poll = 5 * time.Millisecond
			c := newCluster(t, 3, times)
			c.deaf.Store(true)
			_, _, err := c.change(t.Context(), 0)
			require.NoError(t, err)
			require.Zero(t, c.heard.Load())
		})
	})
}

// The version table may be split like any other.
func TestVersionTableInTwoRanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2, leaseTimes{lease: time.Hour, poll: time.Second, retry: time.Millisecond, frozen: time.Millisecond, marker: time.Hour})
		for _, g := range c.gates {
			g.split.Store(true)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for i := range 4 {
			_, _, err := c.change(ctx, i%2)
			require.NoError(t, err)
		}
	})
}

// A schema change does not wait for a gateway that has stopped.
func TestStoppedGatewayIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, leaseTimes{lease: time.Hour, poll: time.Second, retry: time.Millisecond, frozen: time.Millisecond, marker: time.Hour})
		c.stop(2)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for i := range 4 {
			_, _, err := c.change(ctx, i%2)
			require.NoError(t, err)
		}
	})
}

// The test above would notice a schema change that does not wait.
func TestPlantedBugIsCaught(t *testing.T) { synctest.Test(t, testPlantedBugIsCaught) }

func testPlantedBugIsCaught(t *testing.T) {
	times := testTimes
	times.plantedBug = true
	for range 5 {
		c := newCluster(t, 3, times)
		if wrong, _, _ := c.run(t, time.Second, false); wrong > 0 {
			return
		}
	}
	t.Fatal("schema changes that do not wait for leases went unnoticed")
}

// Under a lease a transaction reads nothing of the catalog.
func TestLeaseReadsNothing(t *testing.T) { synctest.Test(t, testLeaseReadsNothing) }

func testLeaseReadsNothing(t *testing.T) {
	c := newCluster(t, 1, leaseTimes{lease: time.Hour, poll: 5 * time.Millisecond, retry: 5 * time.Millisecond, frozen: time.Millisecond, marker: time.Second})
	_, _, err := c.change(context.Background(), 0)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		l := c.stores[0].holder.Load().current.Load()
		return l != nil && len(l.snap.tables) > 0
	}, 5*time.Second, time.Millisecond)
	gets := c.mem.Gets
	_, err = c.write(context.Background(), 0, 1)
	require.NoError(t, err)
	require.Equal(t, gets, c.mem.Gets)
}

// A commit that takes longer than a lease lasts succeeds at its second attempt, which relies on no lease.
func TestCommitLongerThanALease(t *testing.T) { synctest.Test(t, testCommitLongerThanALease) }

func testCommitLongerThanALease(t *testing.T) {
	times := leaseTimes{lease: 5 * time.Second, poll: time.Second, retry: 5 * time.Millisecond, frozen: time.Millisecond, marker: time.Second, patience: time.Second}
	c := newCluster(t, 1, times)
	ctx := context.Background()
	_, _, err := c.change(ctx, 0)
	require.NoError(t, err)
	s := c.stores[0]
	require.Eventually(t, func() bool {
		l := s.holder.Load().current.Load()
		return l != nil && len(l.snap.tables) > 0
	}, 5*time.Second, time.Millisecond)
	x := c.mem.Begin(ctx, txn.Options{})
	commit := func() error {
		snap, err := s.Snapshot(ctx, x)
		require.NoError(t, err)
		var uses Uses
		uses.Seen(snap, x.ReadTimestamp(), RootRole)
		uses.Watch(snap).TableByID(FirstObjectID)
		require.NoError(t, x.Put(keys.Index(500, 1), []byte("x")))
		end, err := s.BeforeCommit(ctx, x, &uses, false)
		require.NoError(t, err)
		defer end()
		time.Sleep(2 * times.lease)
		_, err = x.Commit(ctx)
		return err
	}
	err = commit()
	require.True(t, kv.HasCode(err, kv.CodeRefreshFailed), "%v", err)
	require.NoError(t, x.Restart(ctx, err))
	require.NoError(t, commit())
}

// A schema change that is announced again, by a transaction that was restarted and has its id still, is acknowledged anew: what is left of the first time, or comes late, says
// nothing of leases that were granted since.
func TestChangeIsAnnouncedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2, defaultTimes)
		tx := c.mem.Begin(t.Context(), txn.Options{})
		s, h := c.stores[0], c.stores[0].holder.Load()
		var before kv.TxnID
		began := time.Now()
		for range 2 {
			end, err := s.BeforeCommit(t.Context(), tx, &Uses{}, true)
			require.NoError(t, err)
			st, err := h.look(t.Context())
			require.NoError(t, err)
			require.Len(t, st.markers, 1)
			before = st.markers[0]
			end()
		}
		require.Less(t, time.Since(began), time.Second, "who has acknowledged it once does so again")

		require.NoError(t, h.put(t.Context(), ackKey(before, c.stores[1].holder.Load().self), nil))
		time.Sleep(2 * defaultTimes.poll)
		require.NotNil(t, c.stores[1].holder.Load().current.Load())
		c.gates[1].shut.Store(true)
		defer c.gates[1].shut.Store(false)
		ctx, cancel := context.WithTimeout(t.Context(), defaultTimes.lease/2)
		defer cancel()
		_, err := s.BeforeCommit(ctx, tx, &Uses{}, true)
		require.ErrorIs(t, err, context.DeadlineExceeded, "it has to wait for a gateway that has not acknowledged it")
	})
}

// Statistics are seen by who waits for them, though nobody is told.
func TestAwait(t *testing.T) { synctest.Test(t, testAwait) }

func testAwait(t *testing.T) {
	c := newCluster(t, 2, defaultTimes)
	ctx := t.Context()
	_, _, err := c.change(ctx, 0)
	require.NoError(t, err)
	time.Sleep(5 * time.Second)
	tx := c.mem.Begin(ctx, txn.Options{})
	w, err := c.stores[0].Writer(ctx, tx, nil)
	require.NoError(t, err)
	require.NoError(t, w.PutStats(FirstObjectID, TableStats{Rows: 7}))
	at, err := tx.Commit(ctx)
	require.NoError(t, err)
	rows := func() float64 {
		tx := c.mem.Begin(ctx, txn.Options{ReadOnly: true})
		defer tx.Rollback(ctx)
		snap, err := c.stores[1].Snapshot(ctx, tx)
		require.NoError(t, err)
		return snap.Stats(FirstObjectID).Rows
	}
	require.Equal(t, -1.0, rows(), "it has not looked yet")
	c.stores[1].Await(ctx, at)
	require.Equal(t, 7.0, rows())
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c.stores[1].Await(short, hlc.Max)
	require.Error(t, short.Err(), "it waits no longer than it may")
}
