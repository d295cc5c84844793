package txn

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sort"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// committedTxn is what one committed transaction saw and did.
type committedTxn struct {
	ts     hlc.Timestamp
	reads  map[string]string
	writes map[string]string
}

// history collects committed transactions and checks that running them one by one, in the order of
// their commit timestamps, gives every one of them what it saw.
type history struct {
	mu   sync.Mutex
	txns []committedTxn
}

func (h *history) add(c committedTxn) {
	h.mu.Lock()
	h.txns = append(h.txns, c)
	h.mu.Unlock()
}

func (h *history) check(t testing.TB, final map[string]string) {
	t.Helper()
	sort.SliceStable(h.txns, func(i, j int) bool {
		a, b := h.txns[i], h.txns[j]
		if a.ts != b.ts {
			return a.ts.Less(b.ts)
		}
		return len(a.writes) > 0 && len(b.writes) == 0 // a reader at ts sees what was committed at ts
	})
	state := map[string]string{}
	for _, x := range h.txns {
		for k, v := range x.reads {
			require.Equal(t, state[k], v, "key %s read by a transaction committed at %s", k, x.ts)
		}
		for k, v := range x.writes {
			state[k] = v
		}
	}
	for k, v := range state {
		require.Equal(t, v, final[k], "final value of %s", k)
	}
}

// bank moves money between accounts in all ways there are and audits it, under faults. Every client
// retries as the SQL layer would.
func bank(t *testing.T, c *Coordinator, s *fakeStore, seed uint64, clients, rounds, accounts int, unknownOK bool) *history {
	var h history
	names := make([]string, accounts)
	x := c.Begin(bg, Options{})
	init := committedTxn{writes: map[string]string{}}
	for i := range names {
		names[i] = fmt.Sprintf("%c%02d", 'a'+byte(i*26/accounts), i)
		require.NoError(t, x.Put(k(names[i]), []byte("100")))
		init.writes[names[i]] = "100"
	}
	for {
		ts, err := x.Commit(bg)
		if err == nil {
			init.ts = ts
			break
		}
		require.True(t, x.Retryable(err), "%v", err)
		require.NoError(t, x.Restart(bg, err))
		for _, n := range names {
			require.NoError(t, x.Put(k(n), []byte("100")))
		}
	}
	h.add(init)

	type doubt struct {
		id kv.TxnID
		c  committedTxn
	}
	var mu sync.Mutex
	var doubts []doubt
	var wg sync.WaitGroup
	for cl := range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := rand.New(rand.NewPCG(seed, uint64(cl)))
			for range rounds {
				x := c.Begin(bg, Options{})
				a, b, kind := rng.IntN(accounts), rng.IntN(accounts), rng.IntN(4)
				for attempt := 0; ; attempt++ {
					ctx, cancel := context.Background(), func() {}
					if unknownOK && rng.IntN(3) == 0 {
						ctx, cancel = context.WithTimeout(ctx, time.Duration(rng.IntN(1500))*time.Microsecond)
					}
					rec, err := oneTransfer(x, names, a, b, kind, rng)
					if err == nil {
						rec.ts, err = x.Commit(ctx)
					}
					cancel()
					if err == nil {
						h.add(rec)
						break
					}
					if kv.HasCode(err, kv.CodeUnknownOutcome) {
						if !unknownOK {
							t.Errorf("unknown outcome though the client waited")
						}
						mu.Lock()
						doubts = append(doubts, doubt{x.ID(), rec})
						mu.Unlock()
						break
					}
					if kv.HasCode(err, kv.CodeDeadlock) || kv.HasCode(err, kv.CodeCanceled) {
						x.Rollback(bg)
						x = c.Begin(bg, Options{})
						continue
					}
					if !x.Retryable(err) {
						t.Errorf("not retryable: %v", err)
						break
					}
					if err := x.Restart(bg, err); err != nil {
						t.Error(err)
						break
					}
				}
				x.Rollback(bg)
			}
		}()
	}
	wg.Wait()
	for _, d := range doubts {
		require.Eventually(t, func() bool { st, _ := c.Outcome(d.id); return st != kv.TxnUnknown }, 10*time.Second, time.Millisecond)
		if st, ts := c.Outcome(d.id); st == kv.TxnCommitted {
			d.c.ts = ts
			h.add(d.c)
		}
	}
	return &h
}

// oneTransfer runs one transaction up to its commit.
func oneTransfer(x Txn, names []string, a, b, kind int, rng *rand.Rand) (committedTxn, error) {
	rec := committedTxn{reads: map[string]string{}, writes: map[string]string{}}
	read := func(n string, opts ScanOptions) (int, error) {
		v, _, err := x.Get(bg, k(n), opts)
		if err != nil {
			return 0, err
		}
		rec.reads[n] = string(v)
		return strconv.Atoi(string(v))
	}
	write := func(n string, v int) {
		rec.writes[n] = strconv.Itoa(v)
		_ = x.Put(k(n), []byte(rec.writes[n]))
	}
	if kind == 3 { // audit
		sc := x.Scan(bg, []keys.Span{span("a", "zz")}, ScanOptions{TargetBytes: int64(rng.IntN(60)), Reverse: rng.IntN(2) == 0, Parallel: rng.IntN(3) == 0})
		defer sc.Close()
		sum := 0
		for {
			p, ok, err := sc.Next(bg)
			if err != nil {
				return rec, err
			}
			if !ok {
				break
			}
			for {
				key, v, ok, err := p.Rows.Next()
				if err != nil || !ok {
					break
				}
				n, _ := strconv.Atoi(string(v))
				sum += n
				rec.reads[string(key)] = string(v)
			}
		}
		if rng.IntN(2) == 0 { // an audit that writes what it saw somewhere: write skew would show
			write("zsum"+strconv.Itoa(a), sum)
		}
		return rec, nil
	}
	opts := ScanOptions{}
	if kind == 1 {
		opts.Lock = kv.LockNoKeyUpdate
		a, b = min(a, b), max(a, b)
	}
	va, err := read(names[a], opts)
	if err != nil {
		return rec, err
	}
	if kind == 2 { // all in one account's range
		write(names[a], va)
		return rec, nil
	}
	vb, err := read(names[b], opts)
	if err != nil || a == b {
		return rec, err
	}
	n := rng.IntN(20)
	write(names[a], va-n)
	write(names[b], vb+n)
	return rec, nil
}

func finalState(s *fakeStore) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]string{}
	for key := range s.versions {
		if v, ok := s.newest(k(key)); ok && !v.deleted {
			out[key] = string(v.value)
		}
	}
	return out
}

func checkBank(t *testing.T, s *fakeStore, accounts int) {
	sum, n := 0, 0
	for key, v := range finalState(s) {
		if key[0] == 'z' && len(key) > 4 {
			continue
		}
		x, err := strconv.Atoi(v)
		require.NoError(t, err)
		sum += x
		n++
	}
	require.Equal(t, accounts, n)
	require.Equal(t, 100*accounts, sum)
}

func TestBankIsSerializable(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			c, s := newTest(t, "g", "n", "t")
			s.rng = rand.New(rand.NewPCG(seed, 9))
			if seed%2 == 1 {
				s.loseRequest, s.loseReply, s.duplicate = 0.02, 0.03, 0.02
			}
			stop := make(chan struct{})
			var splitter sync.WaitGroup
			if seed >= 2 {
				splitter.Add(1)
				go func() {
					defer splitter.Done()
					for i := range 12 {
						select {
						case <-stop:
							return
						case <-time.After(3 * time.Millisecond):
							s.split(fmt.Sprintf("%c%02d", 'b'+byte(i*2), i))
						}
					}
				}()
			}
			const accounts = 10
			h := bank(t, c, s, seed, 6, 40, accounts, false)
			close(stop)
			splitter.Wait()
			s.waitLate()
			drain(t, c, s)
			h.check(t, finalState(s))
			checkBank(t, s, accounts)
			m := c.Metrics()
			t.Logf("single %d, one round %d, two rounds %d, refreshes %d/%d, unknown %d, recoveries %d", m.CommitsSingleRange.Load(), m.CommitsOneRound.Load(),
				m.CommitsTwoRounds.Load(), m.RefreshesOK.Load(), m.RefreshesFailed.Load(), m.UnknownOutcomes.Load(), m.Recoveries.Load())
		})
	}
}

// drain waits for the background and then resolves, as a waiter would, what late duplicates have left.
func drain(t *testing.T, c *Coordinator, s *fakeStore) {
	require.Eventually(t, func() bool { return len(c.Active()) == 0 }, 10*time.Second, time.Millisecond)
	for range 100 {
		s.mu.Lock()
		var left []fakeConflict
		for key, l := range s.prepared {
			left = append(left, fakeConflict{k(key), l.meta, true})
		}
		s.mu.Unlock()
		if len(left) == 0 {
			return
		}
		for _, l := range left {
			st, at, err := c.Recover(bg, l.holder, l.key)
			require.NoError(t, err)
			require.NoError(t, c.resolve(bg, l.holder, []keys.Key{l.key}, st == kv.TxnCommitted, at))
		}
	}
	t.Fatal("locks keep appearing")
}

// Clients that leave in the middle of a commit: whatever Outcome says later is what happened.
func TestClientsLeave(t *testing.T) {
	for seed := range uint64(3) {
		c, s := newTest(t, "g", "n", "t")
		s.rng = rand.New(rand.NewPCG(seed, 10))
		s.loseRequest, s.loseReply = 0.05, 0.1
		s.intercept(func(*kv.BatchRequest) error {
			if rand.IntN(4) == 0 {
				time.Sleep(time.Duration(rand.IntN(700)) * time.Microsecond)
			}
			return nil
		})
		const accounts = 8
		h := bank(t, c, s, seed, 5, 30, accounts, true)
		s.waitLate()
		drain(t, c, s)
		h.check(t, finalState(s))
		checkBank(t, s, accounts)
		t.Logf("unknown to clients: %d", c.Metrics().UnknownToClient.Load())
	}
}

// A coordinator that dies at any message leaves nothing that recovery by another does not settle, all or nothing.
func TestCoordinatorDies(t *testing.T) {
	for die := 1; die < 14; die++ {
		s := newFakeStore("g", "n")
		other := New(Config{Sender: s, Clock: s.clock, Node: 2, Incarnation: 1, Workers: 2})
		mortal := &mortalSender{fakeStore: s, left: die}
		c := New(Config{Sender: mortal, Clock: s.clock, Node: 1, Incarnation: 1, Workers: 2})
		x := c.Begin(bg, Options{})
		for _, n := range []string{"a", "h", "p"} {
			require.NoError(t, x.Put(k(n), []byte("new")))
		}
		ctx, cancel := context.WithTimeout(bg, 100*time.Millisecond)
		_, err := x.Commit(ctx)
		cancel()
		gone, cancel := context.WithCancel(bg)
		cancel()
		c.Close(gone)
		s.recover = other.Recover
		y := other.Begin(bg, Options{})
		got := all(t, y, ScanOptions{}, span("a", "z"))
		if err == nil {
			require.Equal(t, "a=new h=new p=new", got, "died after %d messages", die)
		} else {
			require.Contains(t, []string{"", "a=new h=new p=new"}, got)
		}
		other.Close(bg)
		require.Empty(t, s.prepared)
	}
}

// mortalSender stops delivering after some messages: the process behind it has died.
type mortalSender struct {
	*fakeStore
	mu   sync.Mutex
	left int
}

func (m *mortalSender) Send(ctx context.Context, req *kv.BatchRequest) (*kv.BatchResponse, error) {
	m.mu.Lock()
	m.left--
	dead := m.left < 0
	m.mu.Unlock()
	if dead {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return m.fakeStore.Send(ctx, req)
}
