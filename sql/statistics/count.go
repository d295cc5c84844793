package statistics

import (
	"context"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/job"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
	"github.com/pamirdb/pamir/txn"
)

// memory bounds what the reading of one table uses.
const memory = 64 << 20

// Analyze counts a table now, and writes down what it has found. Gateways that look at the catalog at written or later (catalog.Store.Await) plan
// by it.
func (g *Gatherer) Analyze(ctx context.Context, t *catalog.Table) (stats catalog.TableStats, written hlc.Timestamp, err error) {
	if stats, err = g.analyze(ctx, t, false); err != nil {
		return stats, written, err
	}
	return stats, g.cfg.Gateway.Clock().Now(), nil
}

// analyze counts and writes down. gently: with pauses, unasked.
func (g *Gatherer) analyze(ctx context.Context, t *catalog.Table, gently bool) (stats catalog.TableStats, err error) {
	err = job.Apart(ctx, g.cfg.Gateway, txn.Options{ReadOnly: true}, func(tx txn.Txn) (err error) {
		stats, err = g.count(ctx, tx, t, gently)
		return err
	})
	if err != nil {
		return stats, err
	}
	stats.At, stats.Auto = time.Now().UTC(), gently
	return stats, job.Apart(ctx, g.cfg.Gateway, txn.Options{}, func(tx txn.Txn) error {
		w, err := g.cfg.Catalog.Writer(ctx, tx, nil)
		if err != nil {
			return err
		}
		now, ok := w.Snapshot().TableByID(t.ID)
		if !ok || now.DataID != t.DataID {
			return nil // dropped or emptied meanwhile
		}
		return w.PutStats(t.ID, stats)
	})
}

// rest waits for some times as long as something took.
func rest(ctx context.Context, took time.Duration) error {
	select {
	case <-time.After(min(batchPause*took, longestPause)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// count counts rows, and distinct and common values of each column.
func (g *Gatherer) count(ctx context.Context, tx txn.Txn, t *catalog.Table, gently bool) (catalog.TableStats, error) {
	var stats catalog.TableStats
	snap, err := g.cfg.Catalog.Snapshot(ctx, tx)
	if err != nil {
		return stats, err
	}
	sc, ok := snap.SchemaByID(t.Schema)
	if !ok {
		return stats, nil
	}
	if now, ok := snap.TableByID(t.ID); !ok || now.Name != t.Name {
		return stats, nil
	}
	all := &ast.Select{From: []ast.TableExpr{&ast.TableName{Schema: sc.Name, Name: t.Name, Only: true}}}
	var ids []catalog.ColumnID
	eachVisible(t, func(c *catalog.Column) {
		all.Targets = append(all.Targets, &ast.Target{Expr: &ast.ColumnRef{Names: []string{c.Name}}})
		ids = append(ids, c.ID)
	})
	pl, err := plan.Build(snap, &plan.Env{User: catalog.RootRole, Database: g.cfg.Database}, all)
	if err != nil {
		return stats, err
	}
	rt := &exec.Runtime{Txn: tx, Catalog: snap, Ctx: &builtin.Context{}, TempDir: g.cfg.TempDir, Node: g.cfg.Node, Memory: exec.NewBudget(memory, g.cfg.Memory)}
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
