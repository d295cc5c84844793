package sql

import (
	"context"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/setting"
	"github.com/pamirdb/pamir/sql/types"
)

// analyzeSettle bounds how long ANALYZE waits for its statistics to be what the next statement is planned by.
const analyzeSettle = 2 * time.Second

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
	var written hlc.Timestamp
	for _, t := range tables {
		if t.Virtual || t.Kind != 'r' || t.Name == "" || !s.mayMaintain(t) {
			continue
		}
		stats, ts, err := s.srv.gather.Analyze(ctx, t)
		if err != nil {
			return s.translate(err)
		}
		written = ts
		if verbose {
			s.notice(&pgerr.Error{Severity: "INFO", Message: "\"" + t.Name + "\": " + types.Text(types.Of(types.Int8OID), types.NewInt(int64(stats.Rows)), types.DefaultEnv) + " rows"})
		}
	}
	wait, cancel := context.WithTimeout(ctx, analyzeSettle)
	defer cancel()
	s.srv.cfg.Catalog.Await(wait, written)
	return ctx.Err()
}
