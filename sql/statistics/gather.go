package statistics

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/job"
	"github.com/pamirdb/pamir/txn"
)

// Config of a Gatherer. Gateway, Catalog and Log are required.
type Config struct {
	Gateway txn.Gateway
	Catalog *catalog.Store
	// Database is the database's name.
	Database string
	// Memory bounds what all statements of the node use together; nil: no bound. TempDir is where reading may spill; empty: it may not.
	Memory  *exec.Budget
	TempDir string
	// Node is this node's number.
	Node int32
	Log  *slog.Logger
}

// Gatherer keeps the planner's statistics up to date, as autovacuum does in PostgreSQL. Each node counts the rows that its sessions write. When those of a table
// are many beside what the table held when it was last analyzed, by whatever node, the node analyzes it: all of it, at one timestamp, with
// pauses. So a table is analyzed by the node that writes it, no node has to know what others do, and at worst two do the same work.
//
// What is counted is lost with the process. A node that has just been started therefore analyzes tables without statistics whoever wrote them.
//
// Note and Analyze may be called by any goroutine, Run and Once by one.
type Gatherer struct {
	cfg   Config
	wrote sync.Map // catalog.TableID -> *atomic.Int64

	// Of the goroutine that runs.
	first bool // nothing was looked at before
	of    map[catalog.TableID]*looked
}

// looked is what a table was like when the gatherer last looked.
type looked struct {
	at    time.Time // of its statistics
	wrote int64     // rows, as counted here
	after time.Time // it is not analyzed before
}

const (
	// A table is analyzed anew after leastWritten rows and a share of writtenShare of all have been written.
	leastWritten = 50
	writtenShare = 0.2
	// tableRest is the time, as a multiple of what reading the table took, in which it is not read again: 2 % of a core at most are spent on one.
	tableRest = 50
	// batchPause is the pause after each batch, as a multiple of what it took, and longestPause the longest.
	batchPause   = 3
	longestPause = 100 * time.Millisecond
	// tableTimeout bounds the reading of one table. What is larger is left to who asks for it by ANALYZE.
	tableTimeout = 20 * time.Minute
)

// New makes a Gatherer. It owns no goroutine.
func New(cfg Config) *Gatherer {
	return &Gatherer{cfg: cfg, first: true, of: map[catalog.TableID]*looked{}}
}

// Note counts rows that a statement has written, or tried to: those of a transaction that is rolled back count, too.
func (g *Gatherer) Note(t *catalog.Table, rows int64) {
	n, ok := g.wrote.Load(t.ID)
	if !ok {
		n, _ = g.wrote.LoadOrStore(t.ID, new(atomic.Int64))
	}
	n.(*atomic.Int64).Add(rows)
}

func (g *Gatherer) written(id catalog.TableID) *atomic.Int64 {
	if n, ok := g.wrote.Load(id); ok {
		return n.(*atomic.Int64)
	}
	return new(atomic.Int64)
}

// Run analyzes tables of which much has changed, until ctx ends. It looks again after a time about every.
func (g *Gatherer) Run(ctx context.Context, every time.Duration) {
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(every/2 + rand.N(every)): // not all nodes at once
		}
		err := g.Once(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			g.cfg.Log.Info("tables cannot be analyzed now", "err", err)
		}
		failing = err != nil
	}
}

// Once looks, and analyzes what is due.
func (g *Gatherer) Once(ctx context.Context) error {
	snap, err := g.snapshot(ctx)
	if err != nil {
		return err
	}
	there := map[catalog.TableID]bool{}
	for _, t := range snap.Tables() {
		there[t.ID] = true
		if !g.due(t, snap.Stats(t.ID), time.Now()) {
			continue
		}
		began := time.Now()
		err := g.refresh(ctx, t)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		took := time.Since(began)
		if err != nil {
			took = max(took, time.Minute)
			g.cfg.Log.Info("a table could not be analyzed", "table", t.Name, "err", err)
		}
		g.of[t.ID].after = time.Now().Add(tableRest * took)
	}
	g.first = false
	for id := range g.of {
		if !there[id] {
			delete(g.of, id)
			g.wrote.Delete(id)
		}
	}
	return nil
}

func (g *Gatherer) snapshot(ctx context.Context) (snap catalog.Snapshot, err error) {
	err = job.Apart(ctx, g.cfg.Gateway, txn.Options{ReadOnly: true}, func(tx txn.Txn) error {
		snap, err = g.cfg.Catalog.Snapshot(ctx, tx)
		return err
	})
	return snap, err
}

// due decides whether a table is to be analyzed now.
func (g *Gatherer) due(t *catalog.Table, st catalog.TableStats, now time.Time) bool {
	if t.Virtual || t.Kind != 'r' || t.Name == "" {
		return false
	}
	n, l := g.written(t.ID), g.of[t.ID]
	if l == nil {
		l = &looked{at: st.At}
		g.of[t.ID] = l
	}
	if !l.at.Equal(st.At) { // somebody has analyzed it, after what was written up to the last look, and perhaps before the rest
		l.at = st.At
		n.Add(-l.wrote)
	}
	l.wrote = n.Load()
	switch {
	case now.Before(l.after):
		return false
	case st.Rows < 0:
		return g.first || l.wrote > 0
	}
	return float64(l.wrote) >= leastWritten+writtenShare*st.Rows
}

// refresh brings one table's statistics up to date. What is written meanwhile counts for the next time.
func (g *Gatherer) refresh(ctx context.Context, t *catalog.Table) error {
	n := g.written(t.ID)
	before := n.Load()
	ctx, cancel := context.WithTimeout(ctx, tableTimeout)
	defer cancel()
	stats, err := g.analyze(ctx, t, true)
	if err != nil {
		return err
	}
	l := g.of[t.ID]
	l.at, l.wrote = stats.At, n.Add(-before)
	return nil
}
