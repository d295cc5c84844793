package sql

import (
	"context"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/job"
	"github.com/pamirdb/pamir/sql/parse"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
	"github.com/pamirdb/pamir/txn"
)

// analyzeTable reads all of a table at one timestamp and writes its statistics, at ts. gently: with pauses.
func (srv *Server) analyzeTable(ctx context.Context, t *catalog.Table, gently bool) (stats catalog.TableStats, ts hlc.Timestamp, err error) {
	err = job.Apart(ctx, srv.cfg.Gateway, txn.Options{ReadOnly: true}, func(tx txn.Txn) (err error) {
		stats, err = srv.countTable(ctx, tx, t, gently)
		return err
	})
	if err != nil {
		return stats, ts, err
	}
	stats.At, stats.Auto = time.Now().UTC(), gently
	err = job.Apart(ctx, srv.cfg.Gateway, txn.Options{}, func(tx txn.Txn) error {
		w, err := srv.cfg.Catalog.Writer(ctx, tx, nil)
		if err != nil {
			return err
		}
		now, ok := w.Snapshot().TableByID(t.ID)
		if !ok || now.DataID != t.DataID {
			return nil // dropped or emptied meanwhile
		}
		return w.PutStats(t.ID, stats)
	})
	return stats, srv.cfg.Gateway.Clock().Now(), err
}

// rest waits for some times as long as something took.
func rest(ctx context.Context, took time.Duration) error {
	select {
	case <-time.After(min(gatherPause*took, longestPause)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// countTable counts rows, and distinct values per column.
func (srv *Server) countTable(ctx context.Context, tx txn.Txn, t *catalog.Table, gently bool) (catalog.TableStats, error) {
	var stats catalog.TableStats
	snap, err := srv.cfg.Catalog.Snapshot(ctx, tx)
	if err != nil {
		return stats, err
	}
	o := srv.overlay(snap, false)
	sc, ok := o.SchemaByID(t.Schema)
	if !ok {
		return stats, nil
	}
	if now, ok := o.TableByID(t.ID); !ok || now.Name != t.Name {
		return stats, nil
	}
	var names []string
	var ids []catalog.ColumnID
	eachVisible(t, func(c *catalog.Column) {
		names = append(names, c.Name)
		ids = append(ids, c.ID)
	})
	stmt, err := parse.One(selectOf(sc.Name, t.Name, names))
	if err != nil {
		return stats, err
	}
	pl, err := plan.Build(o, &plan.Env{User: RootRole, Database: srv.cfg.Database}, stmt.Statement)
	if err != nil {
		return stats, err
	}
	rt := &exec.Runtime{Txn: tx, Catalog: o, Ctx: &builtin.Context{}, TempDir: srv.cfg.TempDir, Node: srv.cfg.Node, Memory: exec.NewBudget(jobMemory, srv.cfg.Memory)}
	cur, err := exec.Start(ctx, rt, pl)
	if err != nil {
		return stats, err
	}
	defer cur.Close()
	sketches := make([]sketch, len(ids))
	some := newSample(len(ids))
	var hashes []uint64
	began := time.Now()
	for {
		b, err := cur.Next(ctx)
		if err != nil {
			return stats, err
		}
		if b == nil {
			break
		}
		if gently {
			if err := rest(ctx, time.Since(began)); err != nil {
				return stats, err
			}
			began = time.Now()
		}
		stats.Rows += float64(b.Len())
		if cap(hashes) < b.N {
			hashes = make([]uint64, b.N)
		}
		rows := some.choose(b.Len())
		for j, v := range b.Cols {
			h := hashes[:b.N]
			clear(h)
			types.HashVec(v, b.N, b.Sel, h)
			for i := range b.Len() {
				if r := b.Row(i); !v.IsNull(r) {
					sketches[j].add(h[r])
				}
			}
			for _, i := range rows {
				if r := b.Row(i); !v.IsNull(r) {
					some.add(j, h[r])
				}
			}
		}
		some.thin()
	}
	stats.Distinct = make(map[catalog.ColumnID]float64, len(ids))
	stats.Common = map[catalog.ColumnID][]catalog.CommonValue{}
	for j, id := range ids {
		stats.Distinct[id] = min(sketches[j].estimate(), stats.Rows)
		if common := some.common(j); len(common) > 0 {
			stats.Common[id] = common
		}
	}
	return stats, nil
}

func eachVisible(t *catalog.Table, f func(c *catalog.Column)) {
	for i := range t.Columns {
		c := &t.Columns[i]
		if !c.Dropped && !c.Hidden && c.State == catalog.Public {
			f(c)
		}
	}
}
