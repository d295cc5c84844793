package txn

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// newSmall is newTest with room for so few writes that every few of them are sent ahead.
func newSmall(t testing.TB, room int64, bounds ...string) (*Coordinator, *fakeStore) {
	c, s := newTest(t, bounds...)
	c.cfg.MaxBufferBytes = room
	return c, s
}

func sends(s *fakeStore) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent["ahead"]
}

func room(t testing.TB, x Txn) {
	t.Helper()
	require.NoError(t, x.(Buffered).MakeRoom(bg))
}

func fillRows(t testing.TB, x Txn, prefix string, n int, value string) {
	t.Helper()
	for i := range n {
		require.NoError(t, x.Put(k(fmt.Sprintf("%s%02d", prefix, i)), []byte(value)))
		room(t, x)
	}
}

func TestSentAhead(t *testing.T) {
	c, s := newSmall(t, 1000, "b", "m")
	put(t, c, "a00", "old", "z", "old")
	x := c.Begin(bg, Options{})
	fillRows(t, x, "a", 20, "new")
	fillRows(t, x, "z", 20, "new")
	require.Greater(t, sends(s), 3, "nothing was sent ahead")
	require.True(t, x.HasWrites())
	require.Less(t, x.(*txn).buf.memory(), int64(1000))

	require.Equal(t, "old", get(t, x, "a00"), "a statement does not see what it writes, wherever it is")
	v, ok, err := x.Get(bg, k("a00"), ScanOptions{Latest: true})
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "new", string(v))
	require.NoError(t, x.StepStatement(bg))
	require.Equal(t, "new", get(t, x, "a00"))
	vs, err := x.GetMany(bg, []keys.Key{k("a01"), k("nothing"), k("z19")}, ScanOptions{})
	require.NoError(t, err)
	require.Equal(t, [][]byte{[]byte("new"), nil, []byte("new")}, vs)
	require.Equal(t, "a00=new a01=new", all(t, x, ScanOptions{}, span("a", "a02")))
	require.Equal(t, "a01=new a00=new", all(t, x, ScanOptions{Reverse: true}, span("a", "a02")))

	// Somebody else sees nothing of it, and does not wait.
	y := c.Begin(bg, Options{})
	require.Equal(t, "a00=old z=old", all(t, y, ScanOptions{}, span("a", "zz")))
	commit(t, y)

	commit(t, x)
	require.EqualValues(t, 1, c.Metrics().CommitsOpen.Load())
	settled(t, c, s)
	z := c.Begin(bg, Options{})
	require.Equal(t, "new", get(t, z, "a19"))
	require.Equal(t, "new", get(t, z, "z00"))
	z.Rollback(bg)
	require.Empty(t, s.records, "the record goes when the locks are gone")
}

func TestSentAheadRolledBack(t *testing.T) {
	c, s := newSmall(t, 500, "b")
	put(t, c, "a00", "old")
	x := c.Begin(bg, Options{})
	fillRows(t, x, "a", 20, "new")
	fillRows(t, x, "c", 20, "new")
	x.Rollback(bg)
	settled(t, c, s)
	y := c.Begin(bg, Options{})
	require.Equal(t, "a00=old", all(t, y, ScanOptions{}, span("a", "zz")))
	y.Rollback(bg)
}

func TestSentAheadSavepoints(t *testing.T) {
	story := func(t *testing.T, mutant string) (read, committed string) {
		c, s := newSmall(t, 300, "b")
		s.mutant = mutant
		put(t, c, "a00", "old")
		x := c.Begin(bg, Options{})
		fillRows(t, x, "a", 4, "one")
		require.NoError(t, x.StepStatement(bg))
		m := x.Savepoint()
		require.NoError(t, x.StepStatement(bg))
		fillRows(t, x, "a", 6, "two")
		require.NoError(t, x.Delete(k("a02")))
		fillRows(t, x, "c", 4, "two")
		require.NoError(t, x.(*txn).sendAhead(bg, true))
		x.RollbackTo(m)
		require.NoError(t, x.StepStatement(bg))
		read = all(t, x, ScanOptions{}, span("a", "d"))
		if mutant != "" {
			x.Rollback(bg)
			return read, ""
		}
		// What was taken back may be written again, by an INSERT, too.
		require.NoError(t, x.Insert(k("c01"), []byte("three")))
		require.NoError(t, x.(*txn).sendAhead(bg, true))
		commit(t, x)
		settled(t, c, s)
		y := c.Begin(bg, Options{})
		defer y.Rollback(bg)
		return read, all(t, y, ScanOptions{}, span("a", "d"))
	}
	read, committed := story(t, "")
	require.Equal(t, "a00=one a01=one a02=one a03=one", read)
	require.Equal(t, "a00=one a01=one a02=one a03=one c01=three", committed)

	wrong, _ := story(t, "undo forgets")
	require.NotEqual(t, read, wrong, "a planted bug was not found")
}

// An earlier statement's open scan sees the state of its statement, although the keys were written again and sent ahead.
func TestSentAheadUnderAnOpenScan(t *testing.T) {
	c, s := newSmall(t, 1)
	x := c.Begin(bg, Options{})
	fillRows(t, x, "a", 4, "one")
	require.NoError(t, x.StepStatement(bg))
	sc := x.Scan(bg, []keys.Span{span("a", "b")}, ScanOptions{TargetBytes: 1})
	p, ok, err := sc.Next(bg)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, 1, p.Rows.Count)
	fillRows(t, x, "a", 4, "two")
	require.NoError(t, x.StepStatement(bg))
	fillRows(t, x, "a", 4, "three")
	n := 1
	for {
		p, ok, err := sc.Next(bg)
		require.NoError(t, err)
		if !ok {
			break
		}
		_, v, _, _ := p.Rows.Next()
		require.Equal(t, "one", string(v))
		n++
	}
	require.Equal(t, 4, n)
	sc.Close()
	commit(t, x)
	settled(t, c, s)
}

func TestSentAheadInsertMeetsItself(t *testing.T) {
	c, s := newSmall(t, 1)
	x := c.Begin(bg, Options{})
	require.NoError(t, x.Insert(k("a"), []byte("1")))
	room(t, x)
	require.NoError(t, x.Insert(k("a"), []byte("2")))
	err := x.(Buffered).MakeRoom(bg)
	require.True(t, kv.HasCode(err, kv.CodeConditionFailed), "%v", err)
	x.Rollback(bg)
	settled(t, c, s)
}

// Whoever dies with open locks leaves locks without a record: recovery aborts.
func TestSentAheadAbandoned(t *testing.T) {
	c, s := newSmall(t, 1)
	put(t, c, "a00", "old")
	x := c.Begin(bg, Options{})
	fillRows(t, x, "a", 6, "new")
	c.unregister(x.ID()) // as if the gateway had died
	w := c.Begin(bg, Options{})
	require.NoError(t, w.Put(k("a00"), []byte("other")))
	commit(t, w)
	_, err := x.Commit(bg)
	require.Error(t, err)
	require.Equal(t, kv.RetryTxn, kv.AsError(err).Code.Class())
	settled(t, c, s)
	y := c.Begin(bg, Options{})
	require.Equal(t, "a00=other", all(t, y, ScanOptions{}, span("a", "b")))
	y.Rollback(bg)
}

// A gateway that was taken for dead goes on, and commits when nobody remembers any more that it was aborted: its record is not there,
// so it is. It learns of that when it sends more ahead, or when it commits.
func TestSentAheadAbandonedLongAgo(t *testing.T) {
	for _, more := range []bool{false, true} {
		t.Run(fmt.Sprintf("more %v", more), func(t *testing.T) {
			c, s := newSmall(t, 1)
			put(t, c, "a00", "old")
			x := c.Begin(bg, Options{})
			fillRows(t, x, "a", 6, "new")
			c.unregister(x.ID()) // as if it was cut off
			w := c.Begin(bg, Options{})
			require.NoError(t, w.Put(k("a00"), []byte("other")))
			commit(t, w)
			s.collect()
			if more {
				require.NoError(t, x.Put(k("b"), []byte("new")))
				err := x.(Buffered).MakeRoom(bg)
				require.True(t, kv.HasCode(err, kv.CodeTxnAborted), "%v", err)
				x.Rollback(bg)
			} else {
				_, err := x.Commit(bg)
				require.True(t, kv.HasCode(err, kv.CodeTxnAborted), "%v", err)
			}
			settled(t, c, s)
			y := c.Begin(bg, Options{})
			require.Equal(t, "a00=other", all(t, y, ScanOptions{}, span("a", "c")))
			y.Rollback(bg)
		})
	}
}

// A promise to a reader is kept, and a promise is given only until the commit timestamp is chosen.
func TestSentAheadPromise(t *testing.T) {
	c, s := newSmall(t, 1)
	put(t, c, "a00", "old")
	x := c.Begin(bg, Options{})
	fillRows(t, x, "a", 3, "new")
	st, err := c.QueryHolder(bg, 1, 7, x.ID(), false)
	require.NoError(t, err)
	require.True(t, c.Clock().Now().Less(st.After))
	ts := commit(t, x)
	require.True(t, st.After.Less(ts), "committed at %s after the promise of %s", ts, st.After)
	require.True(t, ts.LessEq(c.Clock().Now()))
	settled(t, c, s)

	c.register(kv.TxnMeta{ID: kv.TxnID{9}}, 0)
	c.setOpen(kv.TxnID{9})
	at := c.closeOpen(kv.TxnID{9}, c.Clock().Now())
	time.Sleep(time.Millisecond)
	st, err = c.QueryHolder(bg, 1, 7, kv.TxnID{9}, false)
	require.NoError(t, err)
	require.Equal(t, at.Prev(), st.After)
	c.unregister(kv.TxnID{9})
}

// What a request that was never answered leaves behind may come to life after a return to a savepoint: locks may, a record is as it should be.
func TestSentAheadUnanswered(t *testing.T) {
	for _, record := range []bool{false, true} {
		t.Run(fmt.Sprintf("record %v", record), func(t *testing.T) {
			c, s := newSmall(t, 1<<30)
			x := c.Begin(bg, Options{})
			require.NoError(t, x.Put(k("a"), []byte("1")))
			m := x.Savepoint()
			require.NoError(t, x.StepStatement(bg))
			require.NoError(t, x.Put(k("b"), []byte("2")))
			ctx, cancel := context.WithCancel(bg)
			defer cancel()
			s.intercept(func(req *kv.BatchRequest) error {
				if _, ok := req.Requests[0].(*kv.StageTxn); ok != record {
					return nil
				}
				cancel()
				return kv.Errorf(kv.CodeUnknownOutcome, "injected")
			})
			err := x.(*txn).sendAhead(ctx, true)
			require.True(t, kv.HasCode(err, kv.CodeCanceled), "it has not begun to commit, so its outcome is known: %v", err)
			s.intercept(nil)
			x.RollbackTo(m)
			_, err = x.Commit(bg)
			require.Equal(t, !record, kv.HasCode(err, kv.CodeTxnAborted), "%v", err)
			if record {
				require.NoError(t, err)
			}
			settled(t, c, s)
		})
	}
}

// A sending fails, and what it should have sent is taken back to a savepoint; what was written before that stays in the buffer, with the numbers that it had. It
// must not be taken for late copies of what was taken back.
func TestSentAheadAgainAfterReturn(t *testing.T) {
	c, s := newSmall(t, 1<<30)
	put(t, c, "z", "old")
	x := c.Begin(bg, Options{})
	require.NoError(t, x.Put(k("a"), []byte("one")))
	require.NoError(t, x.Put(k("b"), []byte("one")))
	require.NoError(t, x.(*txn).sendAhead(bg, true))
	require.NoError(t, x.StepStatement(bg))
	require.NoError(t, x.Put(k("a"), []byte("two")))
	require.NoError(t, x.Delete(k("b")))
	require.NoError(t, x.StepStatement(bg))
	m := x.Savepoint()
	require.NoError(t, x.Put(k("a"), []byte("three")))
	require.NoError(t, x.Put(k("c"), []byte("three")))
	s.intercept(func(req *kv.BatchRequest) error {
		if _, ok := req.Requests[0].(*kv.Prepare); ok {
			return kv.Errorf(kv.CodeLockNotAvailable, "injected")
		}
		return nil
	})
	require.Error(t, x.(*txn).sendAhead(bg, true))
	s.intercept(nil)
	x.RollbackTo(m)
	require.NoError(t, x.StepStatement(bg))
	require.NoError(t, x.Insert(k("c"), []byte("four")))
	require.Equal(t, "a=two z=old", all(t, x, ScanOptions{}, span("a", "zz")))
	commit(t, x)
	settled(t, c, s)
	y := c.Begin(bg, Options{})
	defer y.Rollback(bg)
	require.Equal(t, "a=two c=four z=old", all(t, y, ScanOptions{}, span("a", "zz")))
}

// TestAheadTwin runs random transactions with room for hardly anything, over ranges that split and with requests lost
// and repeated, against a map.
func TestAheadTwin(t *testing.T) {
	for seed := range uint64(40) {
		require.NoError(t, aheadRun(seed, ""), "seed %d", seed)
	}
}

// The twin finds a write sent ahead that a return to a savepoint forgets.
func TestAheadTwinFindsMutants(t *testing.T) {
	for seed := range uint64(300) {
		if aheadRun(seed, "undo forgets") != nil {
			return
		}
	}
	t.Fatal("a planted bug was not found")
}

// A copy of what was sent ahead comes when it has been taken back: it changes nothing.
func TestSentAheadLateCopy(t *testing.T) {
	for _, mutant := range []string{"", "late copies count"} {
		c, s := newSmall(t, 1<<30)
		s.mutant = mutant
		x := c.Begin(bg, Options{})
		require.NoError(t, x.Put(k("a"), []byte("one")))
		require.NoError(t, x.StepStatement(bg))
		m := x.Savepoint()
		require.NoError(t, x.StepStatement(bg))
		require.NoError(t, x.Put(k("a"), []byte("two")))
		require.NoError(t, x.Put(k("b"), []byte("two")))
		var copies []*kv.BatchRequest
		s.intercept(func(req *kv.BatchRequest) error {
			if _, ok := req.Requests[0].(*kv.Prepare); ok {
				copies = append(copies, req.ForNode(1))
			}
			return nil
		})
		require.NoError(t, x.(*txn).sendAhead(bg, true))
		s.intercept(nil)
		require.NotEmpty(t, copies)
		x.RollbackTo(m)
		require.NoError(t, x.StepStatement(bg))
		require.Equal(t, "a=one", all(t, x, ScanOptions{}, span("a", "c")))
		for _, req := range copies {
			_, err := s.serve(bg, req)
			require.NoError(t, err)
		}
		got := all(t, x, ScanOptions{}, span("a", "c"))
		if mutant != "" {
			require.NotEqual(t, "a=one", got, "a planted bug was not found")
			x.Rollback(bg)
			continue
		}
		require.Equal(t, "a=one", got)
		commit(t, x)
		settled(t, c, s)
		y := c.Begin(bg, Options{})
		require.Equal(t, "a=one", all(t, y, ScanOptions{}, span("a", "c")))
		y.Rollback(bg)
	}
}

// aheadModel is what the transaction should see.
type aheadModel struct {
	seen  map[string]string // by reads: up to the last statement boundary
	now   map[string]string
	marks []aheadMark
}

type aheadMark struct {
	mark Mark
	now  map[string]string
}

// aheadRun returns how the store and the map differ.
func aheadRun(seed uint64, mutant string) (err error) {
	r := rand.New(rand.NewPCG(seed, 3))
	s := newFakeStore("d", "g")
	s.rng = rand.New(rand.NewPCG(seed, 4))
	s.mutant = mutant
	c := New(Config{Sender: s, Clock: s.clock, Node: 1, Incarnation: 7, Workers: 4, MaxBufferBytes: 1})
	s.recover = c.Recover
	s.query = func(m kv.TxnMeta) bool {
		st, _ := c.QueryHolder(bg, m.Gateway, m.Incarnation, m.ID, false)
		return st.Alive
	}
	defer func() {
		ctx, cancel := context.WithTimeout(bg, 10*time.Second)
		defer cancel()
		c.Close(ctx)
		s.waitLate()
	}()
	s.duplicate, s.loseReply, s.loseRequest = 0.15, 0.05, 0.05
	committed := map[string]string{}
	show := func(m map[string]string) string {
		var out []string
		for k, v := range m {
			out = append(out, k+"="+v)
		}
		slices.Sort(out)
		return strings.Join(out, " ")
	}
	scan := func(x Txn, opts ScanOptions) (string, error) {
		sc := x.Scan(bg, []keys.Span{span("a", "z")}, opts)
		defer sc.Close()
		var out []string
		for {
			p, ok, err := sc.Next(bg)
			if err != nil || !ok {
				slices.Sort(out)
				return strings.Join(out, " "), err
			}
			for {
				k, v, ok, err := p.Rows.Next()
				if err != nil {
					return "", err
				}
				if !ok {
					break
				}
				out = append(out, string(k)+"="+string(v))
			}
		}
	}
	defer func() { // a planted bug may break the fake's own rules
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	for n := range 3 {
		x := c.Begin(bg, Options{Isolation: kv.Isolation(r.IntN(3))})
		m := aheadModel{seen: maps.Clone(committed), now: maps.Clone(committed)}
		failed := false
		for range 5 + r.IntN(30) {
			key := string(rune('a'+r.IntN(9))) + strconv.Itoa(r.IntN(2))
			switch op := r.IntN(20); {
			case op < 8:
				v := strconv.Itoa(n*1000 + r.IntN(1000))
				if err := x.Put(k(key), []byte(v)); err != nil {
					return err
				}
				m.now[key] = v
			case op < 10:
				if err := x.Delete(k(key)); err != nil {
					return err
				}
				delete(m.now, key)
			case op < 12:
				if err := x.(Buffered).MakeRoom(bg); err != nil {
					return err
				}
			case op < 14:
				if err := x.StepStatement(bg); err != nil {
					return err
				}
				m.seen = maps.Clone(m.now)
			case op < 15:
				if err := x.StepStatement(bg); err != nil {
					return err
				}
				m.seen = maps.Clone(m.now)
				m.marks = append(m.marks, aheadMark{x.Savepoint(), maps.Clone(m.now)})
			case op < 17 && len(m.marks) > 0:
				i := r.IntN(len(m.marks))
				x.RollbackTo(m.marks[i].mark)
				m.now = maps.Clone(m.marks[i].now)
				m.marks = m.marks[:i+1]
				if err := x.StepStatement(bg); err != nil {
					return err
				}
				m.seen = maps.Clone(m.now)
				if r.IntN(2) == 0 {
					if _, err := scan(x, ScanOptions{}); err != nil {
						return err
					}
					s.waitLate()
				}
			case op < 18:
				if r.IntN(4) == 0 {
					s.split(key)
				}
			default:
				opts, want := ScanOptions{TargetBytes: int64(r.IntN(20))}, m.seen
				if r.IntN(2) == 0 {
					opts.Latest, want = true, m.now
				}
				opts.Reverse = r.IntN(2) == 0
				got, err := scan(x, opts)
				if err != nil {
					return err
				}
				if got != show(want) {
					return fmt.Errorf("transaction %d reads %q and should read %q", n, got, show(want))
				}
				v, ok, err := x.Get(bg, k(key), opts)
				if w, there := want[key]; err != nil || ok != there || string(v) != w {
					return fmt.Errorf("transaction %d gets %q=%q, %v %v, and should get %q %v", n, key, v, ok, err, w, there)
				}
			}
		}
		if r.IntN(4) == 0 {
			x.Rollback(bg)
		} else if _, err := x.Commit(bg); err == nil {
			committed = m.now
		} else if failed = kv.AsError(err).Code.Class() == kv.RetryTxn; !failed {
			return fmt.Errorf("commit: %w", err)
		}
		if r.IntN(2) == 0 {
			s.waitLate()
		}
		y := c.Begin(bg, Options{ReadOnly: true})
		got, err := scan(y, ScanOptions{})
		y.Rollback(bg)
		if err != nil {
			return err
		}
		if got != show(committed) {
			return fmt.Errorf("after transaction %d there is %q and should be %q", n, got, show(committed))
		}
	}
	return nil
}
