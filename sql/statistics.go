package sql

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/job"
	"github.com/pamirdb/pamir/txn"
)

// gatherer keeps the planner's statistics up to date, as autovacuum does in PostgreSQL. Each node counts the rows that its sessions write. When those of a table
// are many beside what the table held when it was last analyzed, by whatever node, the node analyzes it: all of it, at one timestamp, with
// pauses. So a table is analyzed by the node that writes it, no node has to know what others do, and at worst two do the same work.
//
// What is counted is lost with the process. A node that has just been started therefore analyzes tables without statistics whoever wrote them.
type gatherer struct {
	srv   *Server
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
	// gatherRest is the time, as a multiple of what reading the table took, in which it is not read again: 2 % of a core at most are spent on one.
	gatherRest = 50
	// gatherPause is the pause after each batch, as a multiple of what it took, and longestPause the longest.
	gatherPause  = 3
	longestPause = 100 * time.Millisecond
	// gatherTimeout bounds the reading of one table. What is larger is left to who asks for it by ANALYZE.
	gatherTimeout = 20 * time.Minute
	// gatherSettle bounds how long ANALYZE waits for its statistics to be what the next statement is planned by.
	gatherSettle = 2 * time.Second
)

func newGatherer(srv *Server) *gatherer {
	return &gatherer{srv: srv, first: true, of: map[catalog.TableID]*looked{}}
}

// note counts rows that a statement has written, or tried to: those of a transaction that is rolled back count, too.
func (g *gatherer) note(t *catalog.Table, rows int64) {
	n, ok := g.wrote.Load(t.ID)
	if !ok {
		n, _ = g.wrote.LoadOrStore(t.ID, new(atomic.Int64))
	}
	n.(*atomic.Int64).Add(rows)
}

func (g *gatherer) written(id catalog.TableID) *atomic.Int64 {
	if n, ok := g.wrote.Load(id); ok {
		return n.(*atomic.Int64)
	}
	return new(atomic.Int64)
}

// GatherStatistics analyzes tables of which much has changed, until ctx ends. It looks again after a time about every.
func (srv *Server) GatherStatistics(ctx context.Context, every time.Duration) {
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(every/2 + rand.N(every)): // not all nodes at once
		}
		err := srv.gather.once(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			srv.cfg.Log.Info("tables cannot be analyzed now", "err", err)
		}
		failing = err != nil
	}
}

// once analyzes what is due.
func (g *gatherer) once(ctx context.Context) error {
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
		err := g.analyze(ctx, t)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		took := time.Since(began)
		if err != nil {
			took = max(took, time.Minute)
			g.srv.cfg.Log.Info("a table could not be analyzed", "table", t.Name, "err", err)
		}
		g.of[t.ID].after = time.Now().Add(gatherRest * took)
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

func (g *gatherer) snapshot(ctx context.Context) (snap catalog.Snapshot, err error) {
	err = job.Apart(ctx, g.srv.cfg.Gateway, txn.Options{ReadOnly: true}, func(tx txn.Txn) error {
		snap, err = g.srv.cfg.Catalog.Snapshot(ctx, tx)
		return err
	})
	return snap, err
}

// due decides whether a table is to be analyzed now.
func (g *gatherer) due(t *catalog.Table, st catalog.TableStats, now time.Time) bool {
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

// analyze brings one table's statistics up to date. What is written meanwhile counts for the next time.
func (g *gatherer) analyze(ctx context.Context, t *catalog.Table) error {
	n := g.written(t.ID)
	before := n.Load()
	ctx, cancel := context.WithTimeout(ctx, gatherTimeout)
	defer cancel()
	stats, _, err := g.srv.analyzeTable(ctx, t, true)
	if err != nil {
		return err
	}
	l := g.of[t.ID]
	l.at, l.wrote = stats.At, n.Add(-before)
	return nil
}
