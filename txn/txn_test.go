package txn

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var bg = context.Background()

func newTest(t testing.TB, bounds ...string) (*Coordinator, *fakeStore) {
	s := newFakeStore(bounds...)
	c := New(Config{Sender: s, Clock: s.clock, Node: 1, Incarnation: 7})
	s.recover = c.Recover
	s.query = func(m kv.TxnMeta) bool {
		st, _ := c.QueryHolder(bg, m.Gateway, m.Incarnation, m.ID, true)
		return st.Alive
	}
	s.after = func(m kv.TxnMeta) hlc.Timestamp {
		st, _ := c.QueryHolder(bg, m.Gateway, m.Incarnation, m.ID, false)
		return st.After
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(bg, 10*time.Second)
		defer cancel()
		c.Close(ctx)
		s.waitLate()
	})
	return c, s
}

func k(s string) keys.Key { return keys.Key(s) }

func commit(t testing.TB, x Txn) hlc.Timestamp {
	t.Helper()
	ts, err := x.Commit(bg)
	require.NoError(t, err)
	return ts
}

func get(t testing.TB, x Txn, key string) string {
	t.Helper()
	v, ok, err := x.Get(bg, k(key), ScanOptions{})
	require.NoError(t, err)
	if !ok {
		return "-"
	}
	return string(v)
}

// put commits key=value pairs in one transaction.
func put(t testing.TB, c *Coordinator, kvs ...string) hlc.Timestamp {
	t.Helper()
	x := c.Begin(bg, Options{})
	for i := 0; i < len(kvs); i += 2 {
		require.NoError(t, x.Put(k(kvs[i]), []byte(kvs[i+1])))
	}
	return commit(t, x)
}

func all(t testing.TB, x Txn, opts ScanOptions, spans ...keys.Span) string {
	t.Helper()
	sc := x.Scan(bg, spans, opts)
	defer sc.Close()
	var out []string
	for {
		p, ok, err := sc.Next(bg)
		require.NoError(t, err)
		if !ok {
			return strings.Join(out, " ")
		}
		if p.Result != nil {
			out = append(out, p.Result.(*testResult).rows...)
			continue
		}
		for {
			key, v, ok, err := p.Rows.Next()
			require.NoError(t, err)
			if !ok {
				break
			}
			out = append(out, string(key)+"="+string(v))
		}
	}
}

func span(a, b string) keys.Span { return keys.Span{Start: k(a), End: k(b)} }

func settled(t testing.TB, c *Coordinator, s *fakeStore) {
	t.Helper()
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.prepared) == 0 && len(s.held) == 0 && len(c.Active()) == 0
	}, 10*time.Second, time.Millisecond, "locks or transactions are left")
	c.forgetNow()
}

func TestOwnWritesByStatement(t *testing.T) {
	c, _ := newTest(t)
	put(t, c, "a", "1")
	x := c.Begin(bg, Options{})
	require.NoError(t, x.Put(k("a"), []byte("2")))
	require.Equal(t, "1", get(t, x, "a"), "a statement does not see what it writes")
	v, _, err := x.Get(bg, k("a"), ScanOptions{Latest: true})
	require.NoError(t, err)
	require.Equal(t, "2", string(v))
	require.NoError(t, x.StepStatement(bg))
	require.Equal(t, "2", get(t, x, "a"))
	m := x.Savepoint()
	require.NoError(t, x.Delete(k("a")))
	require.NoError(t, x.Put(k("b"), []byte("9")))
	require.NoError(t, x.StepStatement(bg))
	require.Equal(t, "-", get(t, x, "a"))
	x.RollbackTo(m)
	require.Equal(t, "2", get(t, x, "a"))
	require.Equal(t, "-", get(t, x, "b"))
	require.True(t, x.HasWrites())
	var told hlc.Timestamp
	x.OnCommit(func(ts hlc.Timestamp) { told = ts })
	ts := commit(t, x)
	require.Equal(t, ts, told)
	require.EqualValues(t, 2, c.Metrics().CommitsSingleRange.Load())
	_, err = x.Commit(bg)
	require.Error(t, err)
	x.Rollback(bg)
	y := c.Begin(bg, Options{})
	require.Equal(t, "2", get(t, y, "a"))
	require.False(t, y.HasWrites())
	commit(t, y)
	require.EqualValues(t, 1, c.Metrics().CommitsReadOnly.Load())
}

func TestOneRoundOverRanges(t *testing.T) {
	c, s := newTest(t, "g", "p")
	put(t, c, "a", "1", "h", "2", "q", "3", "r", "4")
	require.EqualValues(t, 1, c.Metrics().CommitsOneRound.Load())
	x := c.Begin(bg, Options{})
	require.Equal(t, "a=1 h=2 q=3 r=4", all(t, x, ScanOptions{}, span("a", "z")))
	require.Equal(t, "r=4 q=3 h=2 a=1", all(t, x, ScanOptions{Reverse: true}, span("a", "z")))
	vs, err := x.GetMany(bg, []keys.Key{k("r"), k("x"), k("a"), k("r")}, ScanOptions{})
	require.NoError(t, err)
	require.Equal(t, [][]byte{[]byte("4"), nil, []byte("1"), []byte("4")}, vs)
	settled(t, c, s)
	require.Empty(t, s.records)
}

func TestInsertMeetsRow(t *testing.T) {
	c, s := newTest(t, "m")
	put(t, c, "a", "1")
	for _, other := range []string{"b", "x"} {
		x := c.Begin(bg, Options{})
		require.NoError(t, x.Insert(k("a"), []byte("2")))
		require.NoError(t, x.Put(k(other), []byte("2")))
		_, err := x.Commit(bg)
		require.True(t, kv.HasCode(err, kv.CodeConditionFailed), "%v", err)
		require.Equal(t, "1", string(kv.AsError(err).Value))
		require.False(t, x.Retryable(err))
		x.Rollback(bg)
	}
	settled(t, c, s)
	y := c.Begin(bg, Options{})
	require.Equal(t, "a=1", all(t, y, ScanOptions{}, span("a", "z")))
	// A row deleted before by the same transaction may be inserted again.
	z := c.Begin(bg, Options{})
	require.NoError(t, z.Delete(k("a")))
	require.NoError(t, z.StepStatement(bg))
	require.NoError(t, z.Insert(k("a"), []byte("5")))
	commit(t, z)
}

func TestLostUpdateAndWriteSkew(t *testing.T) {
	c, _ := newTest(t, "m")
	put(t, c, "a", "1", "x", "1")
	// Both read both and write one: only one may commit.
	t1, t2 := c.Begin(bg, Options{}), c.Begin(bg, Options{})
	for _, x := range []Txn{t1, t2} {
		require.Equal(t, "a=1 x=1", all(t, x, ScanOptions{}, span("a", "z")))
	}
	require.NoError(t, t1.Put(k("a"), []byte("0")))
	require.NoError(t, t2.Put(k("x"), []byte("0")))
	commit(t, t1)
	_, err := t2.Commit(bg)
	require.True(t, t2.Retryable(err), "%v", err)
	require.NoError(t, t2.Restart(bg, err))
	require.Equal(t, "a=0 x=1", all(t, t2, ScanOptions{}, span("a", "z")))
	require.NoError(t, t2.Put(k("x"), []byte("0")))
	commit(t, t2)
	require.EqualValues(t, 1, c.Metrics().RestartsRefresh.Load()+c.Metrics().RestartsWriteTooOld.Load())

	// Under REPEATABLE READ write skew is allowed, a lost update is not.
	t1, t2 = c.Begin(bg, Options{Isolation: kv.RepeatableRead}), c.Begin(bg, Options{Isolation: kv.RepeatableRead})
	get(t, t1, "x")
	get(t, t2, "a")
	require.NoError(t, t1.Put(k("a"), []byte("2")))
	require.NoError(t, t2.Put(k("x"), []byte("2")))
	commit(t, t1)
	commit(t, t2)
	t1 = c.Begin(bg, Options{Isolation: kv.RepeatableRead})
	require.Equal(t, "2", get(t, t1, "a"))
	put(t, c, "a", "3")
	_, _, err = t1.Get(bg, k("a"), ScanOptions{Lock: kv.LockNoKeyUpdate})
	require.True(t, t1.Retryable(err), "%v", err)
	t1.Rollback(bg)
}

// What was found loosely may change before the commit; what was made sure of afterwards may not.
func TestLooseReads(t *testing.T) {
	c, _ := newTest(t, "m")
	put(t, c, "a", "1", "x", "1")
	for _, sure := range []bool{false, true} {
		x := c.Begin(bg, Options{})
		require.Contains(t, all(t, x, ScanOptions{Loose: true}, span("a", "n")), "a=")
		if sure {
			get(t, x, "a")
		}
		require.NoError(t, x.Put(k("x"), []byte("2")))
		put(t, c, "a", "3", "x", "3") // so that x commits after it
		_, err := x.Commit(bg)
		require.Equal(t, sure, err != nil && x.Retryable(err), "%v", err)
		x.Rollback(bg)
	}
}

// Pages begin small for who may want only a few rows, and grow.
func TestPagesGrow(t *testing.T) {
	c, s := newTest(t)
	var kvs []string
	for i := range 200 {
		kvs = append(kvs, fmt.Sprintf("a%03d", i), "123456")
	}
	put(t, c, kvs...)
	var sizes []int64
	s.onSend = func(req *kv.BatchRequest) error {
		if _, ok := req.Requests[0].(*kv.Scan); ok {
			sizes = append(sizes, req.TargetBytes)
		}
		return nil
	}
	x := c.Begin(bg, Options{ReadOnly: true})
	require.Len(t, strings.Fields(all(t, x, ScanOptions{FirstBytes: 20, TargetBytes: 500}, span("a", "b"))), 200)
	require.Equal(t, []int64{20, 80, 320, 500, 500, 500}, sizes[:6])
	sizes = nil
	all(t, x, ScanOptions{TargetBytes: 500}, span("a", "b"))
	require.EqualValues(t, 500, sizes[0])
	x.Rollback(bg)
}

func TestReadCommittedSnapshots(t *testing.T) {
	c, _ := newTest(t)
	put(t, c, "a", "1")
	x := c.Begin(bg, Options{Isolation: kv.ReadCommitted})
	require.Equal(t, "1", get(t, x, "a"))
	put(t, c, "a", "2")
	require.Equal(t, "1", get(t, x, "a"), "the statement keeps its snapshot")
	require.NoError(t, x.StepStatement(bg))
	require.Equal(t, "2", get(t, x, "a"))
	require.NoError(t, x.Put(k("a"), []byte("3")))
	put(t, c, "a", "4")
	commit(t, x) // a blind write goes above
	require.Equal(t, "3", get(t, c.Begin(bg, Options{}), "a"))
}

func TestHotRowMovesWithoutError(t *testing.T) {
	c, s := newTest(t, "m")
	put(t, c, "n", "0")
	done := make(chan error, 8)
	for range 8 {
		go func() {
			for range 20 {
				x := c.Begin(bg, Options{})
				v, _, err := x.Get(bg, k("n"), ScanOptions{Lock: kv.LockNoKeyUpdate})
				if err == nil {
					var n int
					fmt.Sscan(string(v), &n)
					_ = x.Put(k("n"), []byte(fmt.Sprint(n+1)))
					_ = x.Put(k("a"+x.ID().String()), nil)
					_, err = x.Commit(bg)
				}
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range 8 {
		require.NoError(t, <-done, "a locked row gives no serialization failure")
	}
	require.Equal(t, "160", get(t, c.Begin(bg, Options{}), "n"))
	settled(t, c, s)
}

func TestRemoteReadsBoundTheCommit(t *testing.T) {
	c, s := newTest(t, "m")
	put(t, c, "a", "1", "x", "1")
	x := c.Begin(bg, Options{})
	require.Equal(t, "1", get(t, x, "x"))
	// Somebody reads a later: the write must go above, and so must the read of x.
	require.Equal(t, "1", get(t, c.Begin(bg, Options{}), "a"))
	require.NoError(t, x.Put(k("a"), []byte("2")))
	commit(t, x)
	require.Positive(t, c.Metrics().RefreshesOK.Load())

	y := c.Begin(bg, Options{})
	require.Equal(t, "1", get(t, y, "x"))
	put(t, c, "x", "2")
	require.Equal(t, "2", get(t, c.Begin(bg, Options{}), "a"))
	require.NoError(t, y.Put(k("a"), []byte("3")))
	_, err := y.Commit(bg)
	require.True(t, kv.HasCode(err, kv.CodeRefreshFailed), "%v", err)
	y.Rollback(bg)
	settled(t, c, s)
}

func TestPushedPrepareTakesTwoRounds(t *testing.T) {
	c, s := newTest(t, "m")
	put(t, c, "a", "1", "c", "1", "x", "1")
	s.split("c") // the read of c is in a range without writes, so the commit aims at the read timestamp
	s.split("d")
	s.mu.Lock()
	s.known = slices.Clone(s.bounds)
	s.mu.Unlock()
	x := c.Begin(bg, Options{})
	require.Equal(t, "1", get(t, x, "c"))
	require.Equal(t, "1", get(t, c.Begin(bg, Options{}), "a"))
	require.NoError(t, x.Put(k("a"), []byte("2")))
	require.NoError(t, x.Put(k("x"), []byte("2")))
	commit(t, x)
	require.EqualValues(t, 1, c.Metrics().CommitsTwoRounds.Load())
	settled(t, c, s)
	require.Equal(t, "a=2 c=1 x=2", all(t, c.Begin(bg, Options{}), ScanOptions{}, span("a", "z")))
}

func TestManyKeysCommitExplicitly(t *testing.T) {
	s := newFakeStore("m")
	c := New(Config{Sender: s, Clock: s.clock, Node: 1, Incarnation: 7, MaxStagedBytes: 100, MaxBatchBytes: 1000, MaxCommitBytes: 1000})
	defer c.Close(bg)
	x := c.Begin(bg, Options{})
	for i := range 100 {
		require.NoError(t, x.Put(k(fmt.Sprintf("%c%03d", 'a'+i%26, i)), []byte("0123456789")))
	}
	commit(t, x)
	require.EqualValues(t, 1, c.Metrics().CommitsExplicit.Load())
	settled(t, c, s)
	require.Empty(t, s.records)
	require.Len(t, strings.Fields(all(t, c.Begin(bg, Options{}), ScanOptions{}, span("a", "zz"))), 100)
	require.Zero(t, s.sent["stage"])
}

func TestRollbackReleasesLocks(t *testing.T) {
	c, s := newTest(t, "m")
	put(t, c, "a", "1")
	x := c.Begin(bg, Options{})
	_, _, err := x.Get(bg, k("a"), ScanOptions{Lock: kv.LockUpdate})
	require.NoError(t, err)
	_, _, err = x.Get(bg, k("z"), ScanOptions{Lock: kv.LockUpdate})
	require.NoError(t, err)
	require.Len(t, c.Active(), 1)
	y := c.Begin(bg, Options{})
	_, _, err = y.Get(bg, k("a"), ScanOptions{Lock: kv.LockUpdate, Wait: kv.WaitError})
	require.True(t, kv.HasCode(err, kv.CodeLockNotAvailable), "%v", err)
	v, err := y.GetMany(bg, []keys.Key{k("a"), k("b")}, ScanOptions{Lock: kv.LockUpdate, Wait: kv.WaitSkip})
	require.NoError(t, err)
	require.Nil(t, v[0])
	y.Rollback(bg)
	x.Rollback(bg)
	settled(t, c, s)
}

func TestRestartKeepsLocks(t *testing.T) {
	c, s := newTest(t)
	put(t, c, "a", "1", "b", "1")
	x := c.Begin(bg, Options{})
	get(t, x, "b")
	_, _, err := x.Get(bg, k("a"), ScanOptions{Lock: kv.LockUpdate})
	require.NoError(t, err)
	put(t, c, "b", "2")
	get(t, c.Begin(bg, Options{}), "c") // pushes the write of c, and with it the read of b
	require.NoError(t, x.Put(k("c"), nil))
	_, err = x.Commit(bg)
	require.True(t, x.Retryable(err))
	id := x.ID()
	require.NoError(t, x.Restart(bg, err))
	require.Equal(t, id, x.ID(), "nothing but locks bears the id")
	require.Contains(t, s.held["a"], id)
	require.False(t, x.HasWrites())
	require.Equal(t, "2", get(t, x, "b"))
	x.Rollback(bg)
	settled(t, c, s)
}

func TestReadOnlyAndPast(t *testing.T) {
	c, _ := newTest(t)
	first := put(t, c, "a", "1")
	put(t, c, "a", "2")
	x := c.Begin(bg, Options{ReadAsOf: first})
	require.Equal(t, "1", get(t, x, "a"))
	require.Error(t, x.Put(k("a"), nil))
	_, _, err := x.Get(bg, k("a"), ScanOptions{Lock: kv.LockShare})
	require.Error(t, err)
	require.Equal(t, first, commit(t, x))
}

// testProgram keeps rows whose value is at least Min, at most Limit of them.
type testProgram struct {
	min   string
	limit int
}

type testProcessor struct {
	p   *testProgram
	res testResult
}

type testResult struct{ rows []string }

func (p *testProgram) NewProcessor() kv.Processor          { return &testProcessor{p: p} }
func (p *testProgram) AppendWire(b []byte) ([]byte, error) { return b, nil }
func (r *testResult) AppendWire(b []byte) ([]byte, error)  { return b, nil }
func (r *testResult) RowCount() int64                      { return int64(len(r.rows)) }
func (q *testProcessor) Done() bool                        { return q.p.limit > 0 && len(q.res.rows) >= q.p.limit }
func (q *testProcessor) Bytes() int64                      { return int64(10 * len(q.res.rows)) }
func (q *testProcessor) Finish() (kv.Result, error)        { return &q.res, nil }
func (q *testProcessor) Close()                            {}
func (q *testProcessor) Row(key, value []byte) (bool, error) {
	if string(value) < q.p.min {
		return false, nil
	}
	q.res.rows = append(q.res.rows, string(key)+"="+string(value))
	return true, nil
}

// Scans over committed rows and own writes, compared with a map: pages, directions, programs, savepoints.
func TestScanTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var bounds []string
		for i := range 8 {
			if rapid.Bool().Draw(t, "split") {
				bounds = append(bounds, fmt.Sprintf("%02d", i*3))
			}
		}
		s := newFakeStore(bounds...)
		c := New(Config{Sender: s, Clock: s.clock, Node: 1, Workers: 2})
		defer c.Close(bg)
		twin := map[string]string{}
		key := func() string { return fmt.Sprintf("%02d", rapid.IntRange(0, 24).Draw(t, "key")) }
		val := func() string { return fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "value")) }
		x := c.Begin(bg, Options{})
		for range rapid.IntRange(0, 15).Draw(t, "rows") {
			a, b := key(), val()
			_ = x.Put(k(a), []byte(b))
			twin[a] = b
		}
		_, err := x.Commit(bg)
		require.NoError(t, err)
		x = c.Begin(bg, Options{})
		type saved struct {
			m    Mark
			twin map[string]string
		}
		var saves []saved
		clone := func() map[string]string {
			m := map[string]string{}
			for k, v := range twin {
				m[k] = v
			}
			return m
		}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "op") {
			case 0, 1:
				a, b := key(), val()
				require.NoError(t, x.Put(k(a), []byte(b)))
				twin[a] = b
			case 2:
				a := key()
				require.NoError(t, x.Delete(k(a)))
				delete(twin, a)
			case 3:
				saves = append(saves, saved{x.Savepoint(), clone()})
			case 4:
				if n := len(saves); n > 0 {
					i := rapid.IntRange(0, n-1).Draw(t, "save")
					x.RollbackTo(saves[i].m)
					twin = saves[i].twin
					saves = saves[:i]
				}
			case 5:
				s.split(key())
			}
			require.NoError(t, x.StepStatement(bg))
			opts := ScanOptions{Reverse: rapid.Bool().Draw(t, "reverse"), TargetBytes: rapid.SampledFrom([]int64{0, 1, 12}).Draw(t, "page"),
				FirstBytes: rapid.SampledFrom([]int64{0, 2}).Draw(t, "first page"), Loose: rapid.Bool().Draw(t, "loose"),
				MaxRows: rapid.SampledFrom([]int64{0, 0, 1, 3}).Draw(t, "max"), Parallel: rapid.Bool().Draw(t, "parallel")}
			min := ""
			if rapid.Bool().Draw(t, "program") {
				min = val()
				opts.Pushdown = &testProgram{min: min}
			}
			var spans []keys.Span
			var want []string
			for range rapid.IntRange(1, 3).Draw(t, "spans") {
				a := key()
				sp := keys.Span{Start: k(a)}
				if rapid.Bool().Draw(t, "interval") {
					sp.End = k(fmt.Sprintf("%02d", rapid.IntRange(0, 24).Draw(t, "end")))
					if !sp.Start.Less(sp.End) {
						continue
					}
				}
				spans = append(spans, sp)
				var in []string
				for kk, v := range twin {
					if sp.Contains(k(kk)) && v >= min {
						in = append(in, kk+"="+v)
					}
				}
				slices.Sort(in)
				if opts.Reverse {
					slices.Reverse(in)
				}
				want = append(want, in...)
			}
			if len(spans) == 0 {
				continue
			}
			got := strings.Fields(scanAll(t, x, opts, spans))
			if opts.Parallel {
				slices.Sort(got)
				slices.Sort(want)
				if opts.MaxRows > 0 {
					require.Len(t, got[:min_(len(got), int(opts.MaxRows))], min_(len(want), int(opts.MaxRows)))
					require.Subset(t, want, got)
					continue
				}
			} else if opts.MaxRows > 0 {
				want = want[:min_(len(want), int(opts.MaxRows))]
				got = got[:min_(len(got), int(opts.MaxRows))] // a program's last page may hold more
			}
			require.Equal(t, strings.Join(want, " "), strings.Join(got, " "))
		}
		_, err = x.Commit(bg)
		require.NoError(t, err)
		y := c.Begin(bg, Options{})
		var want []string
		for kk, v := range twin {
			want = append(want, kk+"="+v)
		}
		slices.Sort(want)
		require.Equal(t, strings.Join(want, " "), scanAll(t, y, ScanOptions{}, []keys.Span{span("0", "9")}))
	})
}

func min_(a, b int) int { return min(a, b) }

func scanAll(t *rapid.T, x Txn, opts ScanOptions, spans []keys.Span) string {
	sc := x.Scan(bg, spans, opts)
	defer sc.Close()
	var out []string
	for {
		p, ok, err := sc.Next(bg)
		require.NoError(t, err)
		if !ok {
			return strings.Join(out, " ")
		}
		if p.Result != nil {
			out = append(out, p.Result.(*testResult).rows...)
			continue
		}
		for {
			key, v, ok, err := p.Rows.Next()
			require.NoError(t, err)
			if !ok {
				break
			}
			out = append(out, string(key)+"="+string(v))
		}
	}
}
