package sql

import (
	"context"
	"math"
	"math/bits"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/parse"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/setting"
	"github.com/pamirdb/pamir/sql/types"
	"github.com/pamirdb/pamir/txn"
)

// runVacuum is VACUUM and ANALYZE. Old versions go by themselves, so VACUUM has nothing to do but
// say so; ANALYZE counts rows and distinct values for the planner.
func (s *Session) runVacuum(ctx context.Context, st *ast.Vacuum) error {
	analyze, verbose := st.Analyze, false
	for _, o := range st.Options {
		on := true
		if o.HasValue {
			on, _ = setting.ParseBool(o.Text)
		}
		switch o.Name {
		case "analyze":
			analyze = on
		case "verbose":
			verbose = on
		}
	}
	if !st.Analyze {
		if err := s.outsideBlock("VACUUM"); err != nil {
			return err
		}
	}
	tables := make([]*catalog.Table, 0, len(st.Tables))
	for _, v := range st.Tables {
		t, err := s.relation(ctx, v.Table)
		if err != nil {
			return err
		}
		for _, c := range v.Columns {
			if t.ColumnByName(c) < 0 {
				return pgerr.New(pgerr.UndefinedColumn, "column \"%s\" of relation \"%s\" does not exist", c, t.Name)
			}
		}
		if !s.mayMaintain(t) {
			what := "vacuum"
			if st.Analyze {
				what = "analyze"
			}
			s.warn("01000", "skipping \"%s\" --- only table or database owner can %s it", t.Name, what)
			continue
		}
		tables = append(tables, t)
	}
	if !st.Analyze && !s.saidVacuum { // once: pgbench and others go through many tables
		s.saidVacuum = true
		s.notice(&pgerr.Error{Severity: "NOTICE", Message: "VACUUM does nothing here", Detail: "Old versions are removed in the background once they are past the retention time."})
	}
	if !analyze {
		return nil
	}
	if len(st.Tables) == 0 {
		snap, err := s.snapshot(ctx)
		if err != nil {
			return err
		}
		tables = snap.Tables()
	}
	if s.epoch != 0 {
		// The statistics are written by transactions of their own, which would wait for this one's schema change for ever.
		s.notice(&pgerr.Error{Severity: "NOTICE", Message: "ANALYZE does nothing in a transaction that has changed the schema"})
		return nil
	}
	for _, t := range tables {
		if t.Virtual || t.Kind != 'r' || t.Name == "" || !s.mayMaintain(t) {
			continue
		}
		stats, err := s.analyzeTable(ctx, t)
		if err != nil {
			return s.translate(err)
		}
		if verbose {
			s.notice(&pgerr.Error{Severity: "INFO", Message: "\"" + t.Name + "\": " + types.Text(types.Of(types.Int8OID), types.NewInt(int64(stats.Rows)), types.DefaultEnv) + " rows"})
		}
	}
	return nil
}

// analyzeTable reads all of a table at one timestamp and writes its statistics.
func (s *Session) analyzeTable(ctx context.Context, t *catalog.Table) (catalog.TableStats, error) {
	var stats catalog.TableStats
	err := s.apart(ctx, txn.Options{ReadOnly: true}, func(tx txn.Txn) error {
		var err error
		stats, err = s.countTable(ctx, tx, t)
		return err
	})
	if err != nil {
		return stats, err
	}
	return stats, s.apart(ctx, txn.Options{}, func(tx txn.Txn) error {
		w, err := s.srv.cfg.Catalog.Writer(ctx, tx)
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

// apart runs f in a transaction of its own, and commits it.
func (s *Session) apart(ctx context.Context, opts txn.Options, f func(txn.Txn) error) error {
	tx := s.srv.cfg.Gateway.Begin(ctx, opts)
	for {
		err := f(tx)
		if err == nil {
			_, err = tx.Commit(ctx)
		}
		if err == nil {
			return nil
		}
		if !tx.Retryable(err) {
			tx.Rollback(ctx)
			return err
		}
		if err := tx.Restart(ctx, err); err != nil {
			tx.Rollback(ctx)
			return err
		}
	}
}

// countTable counts rows, and distinct values per column.
func (s *Session) countTable(ctx context.Context, tx txn.Txn, t *catalog.Table) (catalog.TableStats, error) {
	var stats catalog.TableStats
	snap, err := s.srv.cfg.Catalog.Snapshot(ctx, tx)
	if err != nil {
		return stats, err
	}
	o := s.srv.overlay(snap, false)
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
	pl, err := plan.Build(o, s.planEnv(nil, 0), stmt.Statement)
	if err != nil {
		return stats, err
	}
	p := &portal{}
	rt := s.runtime(p)
	rt.Txn, rt.Catalog = tx, o
	cur, err := exec.Start(ctx, &rt, pl)
	if err != nil {
		return stats, err
	}
	defer cur.Close()
	sketches := make([]sketch, len(ids))
	some := newSample(len(ids))
	var hashes []uint64
	for {
		b, err := cur.Next(ctx)
		if err != nil {
			return stats, err
		}
		if b == nil {
			break
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

// sketch counts distinct values in 4 KiB, within 2 % (HyperLogLog).
type sketch struct {
	regs []uint8
	// few holds the first hashes exactly: most columns that matter have few values.
	few map[uint64]struct{}
}

const (
	sketchBits = 12
	sketchFew  = 1024
)

func (k *sketch) add(h uint64) {
	if k.regs == nil {
		if k.few == nil {
			k.few = map[uint64]struct{}{}
		}
		k.few[h] = struct{}{}
		if len(k.few) <= sketchFew {
			return
		}
		k.regs = make([]uint8, 1<<sketchBits)
		for h := range k.few {
			k.put(h)
		}
		k.few = nil
		return
	}
	k.put(h)
}

func (k *sketch) put(h uint64) {
	// Hash again: the registers want bits that are independent of each other.
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	i := h >> (64 - sketchBits)
	rank := uint8(bits.LeadingZeros64(h<<sketchBits|1<<(sketchBits-1)) + 1)
	k.regs[i] = max(k.regs[i], rank)
}

func (k *sketch) estimate() float64 {
	if k.regs == nil {
		return float64(len(k.few))
	}
	m := float64(len(k.regs))
	sum, zero := 0.0, 0
	for _, r := range k.regs {
		sum += math.Ldexp(1, -int(r))
		if r == 0 {
			zero++
		}
	}
	e := 0.7213 / (1 + 1.079/m) * m * m / sum
	if e <= 2.5*m && zero > 0 {
		return m * math.Log(m/float64(zero))
	}
	return e
}
