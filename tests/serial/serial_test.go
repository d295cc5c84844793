package serial

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/tests/cluster"
	"github.com/pamirdb/pamir/txn"
)

var bg = context.Background()

// committed is what one committed transaction saw and did.
type committed struct {
	ts     hlc.Timestamp
	what   string // for people: who it was
	reads  map[int]int
	writes map[int]int
}

type history struct {
	mu   sync.Mutex
	txns []committed
}

func (h *history) add(c committed) {
	h.mu.Lock()
	h.txns = append(h.txns, c)
	h.mu.Unlock()
}

// check returns the first transaction that did not see what the serial order says. Several may have committed at one timestamp: one that writes other
// rows than it read, and read what another wrote at that very timestamp. Some order of those must do.
func (h *history) check() error {
	sort.SliceStable(h.txns, func(i, j int) bool { return h.txns[i].ts.Less(h.txns[j].ts) })
	state := map[int]int{}
	for n := 0; n < len(h.txns); {
		end := n + 1
		for end < len(h.txns) && h.txns[end].ts == h.txns[n].ts {
			end++
		}
		if err := h.place(state, n, end); err != nil {
			return err
		}
		n = end
	}
	return nil
}

// place puts the transactions from n to end, which have one timestamp, into an order that the state allows, and into the state.
func (h *history) place(state map[int]int, n, end int) (err error) {
	if n == end {
		return nil
	}
	for i := n; i < end; i++ {
		h.txns[n], h.txns[i] = h.txns[i], h.txns[n]
		e := h.fits(state, n)
		if e == nil {
			next := maps.Clone(state)
			maps.Copy(next, h.txns[n].writes)
			if e = h.place(next, n+1, end); e == nil {
				maps.Copy(state, next)
				return nil
			}
		}
		h.txns[n], h.txns[i] = h.txns[i], h.txns[n]
		err = e
	}
	return err
}

func (h *history) fits(state map[int]int, n int) error {
	x := h.txns[n]
	for k, v := range x.reads {
		if state[k] != v {
			return fmt.Errorf("transaction %d of %d, committed at %s, read %d at key %d where there was %d: %s, %v, %v; the key's history around it:%s",
				n, len(h.txns), x.ts, v, k, state[k], x.what, x.reads, x.writes, h.around(k, n))
		}
	}
	return nil
}

// around lists who read and wrote a key a little before and after transaction n.
func (h *history) around(key, n int) (out string) {
	for i := max(0, n-200); i < min(len(h.txns), n+50); i++ {
		x := h.txns[i]
		r, read := x.reads[key]
		w, wrote := x.writes[key]
		if read || wrote {
			out += fmt.Sprintf("\n%d: %s read %d (%t) wrote %d (%t): %s", i, x.ts, r, read, w, wrote, x.what)
		}
	}
	return out
}

const (
	table = 9999 // of nobody's catalog
	rows  = 24
	start = 100
)

func row(i int) keys.Key { return append(keys.Index(table, 1), byte(i)) }

func decode(k keys.Key, v []byte) (int, int) {
	n, err := strconv.Atoi(string(v))
	if err != nil {
		panic(err)
	}
	return int(k[len(k)-1]), n
}

// client runs transactions at one gateway until stop.
type client struct {
	id   int
	g    txn.Gateway
	h    *history
	rng  *rand.Rand
	t    *testing.T
	n    *atomic.Int64
	many *atomic.Int64 // restarts
}

func (c *client) run(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		x := c.g.Begin(bg, txn.Options{})
		began, restarts := time.Now(), ""
		kind, a, b := c.rng.IntN(5), c.rng.IntN(rows), c.rng.IntN(rows)
		for {
			rec, err := c.once(x, kind, a, b)
			if err == nil {
				if rec.ts, err = x.Commit(bg); err == nil {
					rec.what = fmt.Sprintf("client %d, kind %d, %s, begun %s before its end at %s, again for%s", c.id, kind, x.ID(), time.Since(began),
						time.Now().UTC().Format("05.000000"), restarts)
					c.h.add(rec)
					c.n.Add(1)
					break
				}
			}
			if kv.HasCode(err, kv.CodeDeadlock) {
				break
			}
			if !x.Retryable(err) {
				c.t.Errorf("%v", err)
				break
			}
			c.many.Add(1)
			restarts += fmt.Sprintf(" [%v]", err)
			if err := x.Restart(bg, err); err != nil {
				c.t.Errorf("restart: %v", err)
				break
			}
		}
		x.Rollback(bg)
	}
}

// once does the work of one attempt.
func (c *client) once(x txn.Txn, kind, a, b int) (committed, error) {
	rec := committed{reads: map[int]int{}, writes: map[int]int{}}
	get := func(i int, o txn.ScanOptions) (int, error) {
		v, ok, err := x.Get(bg, row(i), o)
		if err != nil {
			return 0, err
		}
		if !ok {
			return 0, fmt.Errorf("row %d is not there", i)
		}
		_, n := decode(row(i), v)
		rec.reads[i] = n
		return n, nil
	}
	put := func(i, v int) {
		rec.writes[i] = v
		if err := x.Put(row(i), strconv.AppendInt(nil, int64(v), 10)); err != nil {
			c.t.Error(err)
		}
	}
	o := txn.ScanOptions{}
	switch kind {
	case 0, 1, 2: // a transfer: without locks, with locks in order, with locks in any order
		if kind > 0 {
			o.Lock = kv.LockNoKeyUpdate
		}
		if kind == 1 {
			a, b = min(a, b), max(a, b)
		}
		va, err := get(a, o)
		if err != nil {
			return rec, err
		}
		vb, err := get(b, o)
		if err != nil || a == b {
			return rec, err
		}
		n := c.rng.IntN(10)
		put(a, va-n)
		put(b, vb+n)
	default: // an audit; of kind 4 moves one unit towards the mean, which makes write skew visible
		o.TargetBytes, o.Reverse, o.Parallel = int64(c.rng.IntN(200)), c.rng.IntN(2) == 0, c.rng.IntN(2) == 0
		s := x.Scan(bg, []keys.Span{{Start: row(0), End: row(rows)}}, o)
		defer s.Close()
		sum := 0
		for {
			p, ok, err := s.Next(bg)
			if err != nil {
				return rec, err
			}
			if !ok {
				break
			}
			for {
				k, v, ok, err := p.Rows.Next()
				if err != nil {
					return rec, err
				}
				if !ok {
					break
				}
				i, n := decode(k, v)
				rec.reads[i] = n
				sum += n
			}
		}
		if sum != rows*start {
			c.t.Errorf("an audit found %d in %d rows", sum, len(rec.reads))
		}
		if kind == 4 && a != b && rec.reads[a] > rec.reads[b] {
			put(a, rec.reads[a]-1)
			put(b, rec.reads[b]+1)
		}
	}
	return rec, nil
}

func TestSerializableUnderSplitsAndTransfers(t *testing.T) {
	l := cluster.StartLocal(t, 3, nil)
	g := l.Nodes[0].Gateway()
	x := g.Begin(bg, txn.Options{})
	var h history
	init := committed{writes: map[int]int{}}
	for i := range rows {
		init.writes[i] = start
		require.NoError(t, x.Put(row(i), []byte(strconv.Itoa(start))))
	}
	var err error
	init.ts, err = x.Commit(bg)
	require.NoError(t, err)
	h.add(init)

	var n, restarts atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for c := range 9 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			cl := &client{id: c, g: l.Nodes[c%3].Gateway(), h: &h, rng: rand.New(rand.NewPCG(uint64(c), 1)), t: t, n: &n, many: &restarts}
			cl.run(stop)
		}()
	}
	admin := func(req kv.Request, id kv.RangeID) error {
		ctx, cancel := context.WithTimeout(bg, time.Minute)
		defer cancel()
		_, err := l.Nodes[0].Sender().Send(ctx, &kv.BatchRequest{RangeID: id, Requests: []kv.Request{req}})
		return err
	}
	moved := 0
	for i := range 10 {
		time.Sleep(250 * time.Millisecond)
		require.NoError(t, admin(&kv.AdminSplit{Key: row(2 * i)}, 0))
		parts, err := l.Nodes[0].Sender().Ranges(bg, []keys.Span{{Start: row(2 * i)}}, false)
		require.NoError(t, err)
		err = admin(&kv.AdminTransferLeader{Target: kv.StoreID(1 + i%3)}, parts[0].RangeID)
		if err == nil {
			moved++ // a transfer may fail: that is for other tests
		}
		t.Logf("%s split at %d, range %d moved to %d: %v", time.Now().UTC().Format("05.000000"), 2*i, parts[0].RangeID, 1+i%3, err)
	}
	close(stop)
	wg.Wait()
	require.NoError(t, h.check())
	for i := range rows {
		v, ok, err := g.Begin(bg, txn.Options{}).Get(bg, row(i), txn.ScanOptions{})
		require.NoError(t, err)
		require.True(t, ok)
		_ = v
	}
	t.Logf("%d transactions, %d restarts, %d leaders moved", n.Load(), restarts.Load(), moved)
	for i, nd := range l.Nodes {
		if c, ok := nd.Gateway().(*txn.Coordinator); ok {
			m := c.Metrics()
			t.Logf("node %d: read-only %d, single range %d, one round %d, two rounds %d, refreshes %d (%d failed), recoveries %d, unknown %d", i+1,
				m.CommitsReadOnly.Load(), m.CommitsSingleRange.Load(), m.CommitsOneRound.Load(), m.CommitsTwoRounds.Load(),
				m.RefreshesOK.Load(), m.RefreshesFailed.Load(), m.Recoveries.Load(), m.UnknownOutcomes.Load())
		}
	}
}

// A history that is not serializable must be found out.
func TestCheckFindsWriteSkew(t *testing.T) {
	at := func(n int64) hlc.Timestamp { return hlc.Timestamp{WallTime: n} }
	h := history{txns: []committed{
		{ts: at(1), writes: map[int]int{1: 1, 2: 1}},
		{ts: at(2), reads: map[int]int{1: 1, 2: 1}, writes: map[int]int{1: 0}},
		{ts: at(3), reads: map[int]int{1: 1, 2: 1}, writes: map[int]int{2: 0}},
	}}
	require.ErrorContains(t, h.check(), "read 1 at key 1 where there was 0")
	// At one timestamp, whoever is listed first: the second has read what the first wrote, and writes another row; the third reads both.
	one := history{txns: []committed{
		{ts: at(2), reads: map[int]int{1: 5, 2: 6}},
		{ts: at(2), reads: map[int]int{1: 5}, writes: map[int]int{2: 6}},
		{ts: at(2), reads: map[int]int{1: 1}, writes: map[int]int{1: 5}},
		{ts: at(1), writes: map[int]int{1: 1, 2: 1}},
	}}
	require.NoError(t, one.check())
	// Two that have not seen each other: no order does.
	skew := history{txns: []committed{
		{ts: at(1), writes: map[int]int{1: 1, 2: 1}},
		{ts: at(2), reads: map[int]int{1: 1}, writes: map[int]int{2: 0}},
		{ts: at(2), reads: map[int]int{2: 1}, writes: map[int]int{1: 0}},
	}}
	require.ErrorContains(t, skew.check(), "where there was 0")
}
