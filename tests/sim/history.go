package sim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/tests/checkers"
	"github.com/pamirdb/pamir/txn"
)

// workload is a part of the table and what clients do there.
type workload struct {
	letter byte
	keys   int64
}

var (
	registers = workload{'r', 4}
	bank      = workload{'b', 8}
	lists     = workload{'l', 6}
	sets      = workload{'s', 400}
	workloads = []workload{registers, bank, lists, sets}
)

// addTimed adds a transaction with all that it read and wrote.
func (h *history) addTimed(o *op) {
	t := o.timed
	t.Span, t.At = o.span, o.at
	if t.Outcome == checkers.Failed {
		return
	}
	if t.Outcome == checkers.OK && len(t.Writes) == 0 {
		t.At = o.tx.ReadTimestamp()
	}
	h.mu.Lock()
	h.timed = append(h.timed, t)
	h.mu.Unlock()
}

// readVersions reads every version of every key that a transaction may have written, from the leaders, latest first.
func (h *history) readVersions(ctx context.Context, w *world) error {
	rows := map[string]bool{}
	for _, t := range h.timed {
		for k := range t.Writes {
			rows[k] = true
		}
	}
	var leaders []*life
	var spans []keys.Span
	var ids []kv.RangeID
	for _, id := range w.ranges() {
		if l, st := w.leader(id); l != nil {
			leaders, spans, ids = append(leaders, l), append(spans, st.Descriptor.Span()), append(ids, id)
		}
	}
	h.versions, h.complete = map[string][]checkers.Version{}, hlc.Timestamp{}
	for _, k := range slices.Sorted(maps.Keys(rows)) {
		i := slices.IndexFunc(spans, func(s keys.Span) bool { return s.Contains(keys.Key(k)) })
		if i < 0 {
			return errNoLeader
		}
		var vs []checkers.Version
		for ts := leaders[i].clock.Now(); ; {
			resp, err := leaders[i].store.Send(ctx, &kv.BatchRequest{RangeID: ids[i], Timestamp: ts, Requests: []kv.Request{&kv.Get{Key: keys.Key(k)}}})
			if kv.HasCode(err, kv.CodeReadBelowGC) {
				break
			}
			if err != nil {
				return err
			}
			v := resp.Responses[0].(*kv.GetResponse)
			if !v.Exists {
				break
			}
			vs = append(vs, checkers.Version{TS: v.TS, Value: string(v.Value)})
			ts = v.TS.Prev()
		}
		slices.Reverse(vs)
		h.versions[k] = vs
		w.trace.count("checked: versions", int64(len(vs)))
	}
	for _, l := range leaders {
		h.complete = h.complete.Forward(l.clock.Now().Add(-w.o.GCAfter))
	}
	h.restoreCollected()
	return nil
}

// restoreCollected adds the versions that have been collected since, if it is known of all that was written whether and when it was committed.
func (h *history) restoreCollected() {
	for _, t := range h.timed {
		if t.Outcome == checkers.Unknown && len(t.Writes) > 0 {
			return
		}
	}
	for _, t := range h.timed {
		if !t.At.LessEq(h.complete) {
			continue
		}
		for k, v := range t.Writes {
			vs := h.versions[k]
			if n, ok := slices.BinarySearchFunc(vs, t.At, func(v checkers.Version, ts hlc.Timestamp) int { return v.TS.Compare(ts) }); !ok {
				h.versions[k] = slices.Insert(vs, n, checkers.Version{TS: t.At, Value: v})
			}
		}
	}
	h.complete = hlc.Timestamp{}
}

const startBalance = 100

// history is what the clients asked and were told.
type history struct {
	mu    sync.Mutex
	lists []checkers.ListTxn
	regs  []checkers.RegisterOp
	bank  []checkers.BankRead
	adds  []checkers.SetAdd
	sets  []checkers.SetRead
	loads []checkers.Load
	// Reads of all loads, and reads of the past of them.
	loadReads, loadsPast []checkers.SetRead
	snaps                []snapshot
	timed                []checkers.TimedTxn
	// versions is all that the rows have ever been, complete from the timestamp on.
	versions  map[string][]checkers.Version
	complete  hlc.Timestamp
	wrong     []string // snapshots that changed
	next      int64    // the last number handed out: values are unique
	queue     []queueOp
	lastPlace int64 // in the queue
}

// snapshot is what a committed read-only transaction saw, and as of when. Whoever reads as of then, at any later time and on any
// replica, must see the same.
type snapshot struct {
	at   hlc.Timestamp
	w    workload
	row  int64 // of this row only, if not negative
	rows string
	who  string
}

func newHistory() *history { return &history{} }

func (h *history) unique() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next++
	return h.next
}

func (h *history) addSnapshot(s snapshot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.snaps = append(h.snaps, s)
}

// begin writes what must be there before the clients come.
func (h *history) begin(ctx context.Context, w *world) error {
	tx := w.up(1).txns.Begin(ctx, txn.Options{})
	defer tx.Rollback(ctx)
	first := checkers.TimedTxn{Span: checkers.Span{Outcome: checkers.OK}, Writes: map[string]string{}}
	for i := range bank.keys {
		k, v := key(bank.letter, i), balance(startBalance, 0)
		first.Writes[string(k)] = string(v)
		if err := tx.Put(k, v); err != nil {
			return err
		}
	}
	ts, err := tx.Commit(ctx)
	if err == nil {
		first.At = ts
		h.timed = append(h.timed, first)
	}
	return err
}

// finalProcess reads at the end.
const finalProcess = 1_000_000

// end reads everything once more.
func (h *history) end(ctx context.Context, w *world) error {
	c := &client{w: w, process: finalProcess, rng: w.rng('e')}
	for _, wl := range w.workloads() {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		o := c.op(ctx, func(o *op) error { return o.readAll(wl) })
		cancel()
		if o.err != nil {
			return fmt.Errorf("workload %c: %w", wl.letter, o.err)
		}
		c.record(o)
	}
	return nil
}

// check lets the checkers judge.
func (h *history) check(w *world) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	wild := w.o.Profile == "wild" // clocks beyond the bound: reads may be stale in real time, and nothing else
	allowed := checkers.Allowed(checkers.Serializable)
	if wild {
		allowed = allowed.And(checkers.StaleRead, checkers.StaleWrite)
	}
	var out []string
	judge := func(what string, r checkers.Report, err error) {
		w.trace.count("checked: "+what, int64(r.Checked))
		if err != nil {
			out = append(out, fmt.Sprintf("%s: %v", what, err))
		}
		for _, a := range r.Beyond(allowed) {
			out = append(out, fmt.Sprintf("%s: %s", what, a))
		}
	}
	r, err := checkers.CheckLists(h.lists)
	judge("lists", r, err)
	if !wild {
		r, err = checkers.CheckRegisters(h.regs, time.Minute)
		judge("registers", r, err)
	}
	judge("bank", checkers.CheckBank(h.bank, bank.keys*startBalance), nil)
	reads := h.sets
	if wild && len(reads) > 0 {
		reads = reads[len(reads)-1:]
	}
	judge("sets", checkers.CheckSet(h.adds, reads), nil)
	if w.o.Loads > 0 {
		judge("loads", checkers.CheckLoads(h.loads, h.loadReads, h.loadsPast), nil)
	}
	if s := h.judgeQueue(w); s != "" {
		out = append(out, s)
	}
	judge("timestamps", checkers.CheckTimeline(h.versions, h.complete, h.timed), nil)
	w.trace.count("checked: snapshots", int64(len(h.snaps)))
	out = append(out, h.wrong...)
	return strings.Join(out, "\n")
}

// Values of rows.

func number(n int64) []byte { return strconv.AppendInt(nil, n, 10) }

// balance is a balance, and who wrote it: values are unique.
func balance(n, no int64) []byte { return fmt.Appendf(nil, "%d/%d", n, no) }

func parseBalance(b []byte) int64 {
	n, _, _ := strings.Cut(string(b), "/")
	return parseNumber([]byte(n))
}

func parseNumber(b []byte) int64 {
	if len(b) == 0 {
		return 0
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		panic(fmt.Sprintf("a row holds %q", b))
	}
	return n
}

func appendList(b []byte, n int64) []byte {
	out := append([]byte(nil), b...)
	if len(out) > 0 {
		out = append(out, ' ')
	}
	return strconv.AppendInt(out, n, 10)
}

func parseList(b []byte) []int64 {
	var out []int64
	for _, f := range strings.Fields(string(b)) {
		out = append(out, parseNumber([]byte(f)))
	}
	return out
}
