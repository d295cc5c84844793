package store

import (
	"log/slog"
	"sync"
	"time"

	"github.com/pamirdb/pamir/range/kv"
)

// withdrawals are the stores that this one has ceased to support, for the log: a line for each time, when it is known what it was. One that is over
// within a second was a busy machine.
type withdrawals struct {
	mu    sync.Mutex
	since map[kv.StoreID]withdrawal // guarded by mu
}

type withdrawal struct {
	from   time.Time
	warned bool
}

// shortWithdrawal is how long one may last without being worth a warning.
const shortWithdrawal = time.Second

func (w *withdrawals) begin(st kv.StoreID, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.since == nil {
		w.since = map[kv.StoreID]withdrawal{}
	}
	if _, ok := w.since[st]; !ok {
		w.since[st] = withdrawal{from: now}
	}
}

// report writes what has become of them. epoch returns that of the support for a store, 0 for none; peer is whether the two have a range in common: who has none any more has merely ceased to ask.
func (w *withdrawals) report(log *slog.Logger, now time.Time, epoch func(kv.StoreID) uint64, peer func(kv.StoreID) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for st, x := range w.since {
		lasted := now.Sub(x.from)
		switch {
		case epoch(st) == 0 && !x.warned && lasted >= shortWithdrawal && !peer(st):
		case epoch(st) == 0:
			if !x.warned && lasted >= shortWithdrawal {
				log.Warn("support withdrawn: what the store leads gets other leaders", "from", int(st), "ago", lasted.Round(time.Millisecond))
				w.since[st] = withdrawal{from: x.from, warned: true}
			}
			continue
		case x.warned:
			log.Info("supported again", "store", int(st), "after", lasted.Round(time.Millisecond))
		default:
			log.Info("support was withdrawn for a moment", "from", int(st), "lasted", lasted.Round(time.Millisecond))
		}
		delete(w.since, st)
	}
}
