package sim

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pamirdb/pamir/hlc"
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

const startBalance = 100

// history is what the clients asked and were told.
type history struct {
	mu    sync.Mutex
	lists []checkers.ListTxn
	regs  []checkers.RegisterOp
	bank  []checkers.BankRead
	adds  []checkers.SetAdd
	sets  []checkers.SetRead
	snaps []snapshot
	wrong []string // snapshots that changed
	next  int64    // the last number handed out: values are unique
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
	for i := range bank.keys {
		if err := tx.Put(key(bank.letter, i), number(startBalance)); err != nil {
			return err
		}
	}
	_, err := tx.Commit(ctx)
	return err
}

// finalProcess reads at the end.
const finalProcess = 1_000_000

// end reads everything once more.
func (h *history) end(ctx context.Context, w *world) error {
	c := &client{w: w, process: finalProcess, rng: w.rng('e')}
	for _, wl := range workloads {
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
		for _, k := range []checkers.Kind{checkers.G0, checkers.G1c, checkers.GSingle, checkers.GNonadjacent, checkers.G2Item} {
			allowed = allowed.And(k + "-process") // a session that goes from one gateway to another
		}
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
	w.trace.count("checked: snapshots", int64(len(h.snaps)))
	out = append(out, h.wrong...)
	return strings.Join(out, "\n")
}

// Values of rows.

func number(n int64) []byte { return strconv.AppendInt(nil, n, 10) }

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
