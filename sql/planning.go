package sql

import (
	"context"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/pgcatalog"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// plan returns the plan of p's statement for the catalog as the transaction sees it.
func (s *Session) plan(p *prepared, hints []types.OID) (*plan.Statement, error) {
	key := planKey{text: p.text, start: p.stmt.Start, version: s.snap.Version(), path: s.effects.pathKey, hints: hintKey(hints), values: p.values}
	shared := s.epoch == 0 && (p.peek == nil || p.peeked == s.snap.Version()) // with other statistics the values may be of another class
	if shared {
		if pl := s.srv.plans.get(key); pl != nil {
			s.srv.metrics.PlanHits.Add(1)
			return pl, nil
		}
	}
	s.srv.metrics.PlanMisses.Add(1)
	st, params := p.stmt.Statement, p.stmt.Params
	cur, _ := currentOf(st)
	if cur != nil {
		params = max(params, len(hints))
		var err error
		if st, hints, err = s.byKey(st, hints, params); err != nil {
			return nil, err
		}
	}
	env := s.planEnv(hints, max(params, len(hints)))
	env.Peek = p.peek
	pl, err := plan.Build(s.snap, env, st)
	if err != nil {
		return nil, err
	}
	if cur != nil {
		pl.Params = pl.Params[:params]
	}
	if s.epoch == 0 {
		w := pl.Uses.Watch(s.snap)
		for _, n := range s.effects.searchPath {
			w.Schema(n) // those that the user may not use the planner does not hear of
		}
		if shared {
			s.srv.plans.put(key, pl)
		}
	}
	return pl, nil
}

func (s *Session) planEnv(hints []types.OID, params int) *plan.Env {
	return &plan.Env{SearchPath: s.usablePath(), Schema: s.allowSchema, User: s.user, Database: s.database, ParamTypes: hints, Params: params}
}

// snapshot makes the transaction's view of the catalog ready.
func (s *Session) snapshot(ctx context.Context) (catalog.Snapshot, error) {
	if err := s.ensureTxn(ctx); err != nil {
		return nil, err
	}
	if s.snap == nil {
		snap, err := s.srv.cfg.Catalog.Snapshot(ctx, s.tx)
		if err != nil && !s.opts.ReadAsOf.IsEmpty() && pgerr.Code(err) == pgerr.CannotConnectNow {
			return nil, pgerr.New(pgerr.SnapshotTooOld, "snapshot too old").WithDetail("This database did not exist then.")
		}
		if err != nil {
			return nil, s.translate(err)
		}
		s.watch(s.srv.overlay(snap, s.epoch != 0))
		s.known, s.knownAccess = snap.Roles(), snap.Access()
	}
	if s.epoch == 0 && s.askedBy != s.user { // SET ROLE
		s.uses.As(s.user)
		s.askedBy = s.user
	}
	return s.snap, nil
}

// watch makes a snapshot the one that statements go by. From its first own change of the catalog on, a transaction relies on what nobody else can change.
func (s *Session) watch(o *pgcatalog.Overlay) {
	if s.epoch != 0 {
		s.snap = o
		return
	}
	s.uses.Seen(o, s.tx.ReadTimestamp(), s.user)
	s.askedBy = s.user
	if u, ok := s.watched.(catalog.Underlying); !ok || u.Underlying() != catalog.Snapshot(o) {
		s.watched = s.uses.Watch(o)
	}
	s.snap = s.watched
}

// relation finds a table by name along the search path.
func (s *Session) relation(ctx context.Context, t *ast.TableName) (*catalog.Table, error) {
	snap, err := s.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	if t.Schema != "" {
		if sc, ok := snap.Schema(t.Schema); ok {
			if err := s.allowSchema(sc); err != nil {
				return nil, err
			}
		}
		if tab, ok := snap.Table(t.Schema, t.Name); ok {
			return tab, nil
		}
		if _, ok := snap.Schema(t.Schema); !ok {
			return nil, pgerr.New(pgerr.UndefinedTable, "relation \"%s.%s\" does not exist", t.Schema, t.Name).At(t.Pos)
		}
		return nil, pgerr.New(pgerr.UndefinedTable, "relation \"%s.%s\" does not exist", t.Schema, t.Name).At(t.Pos)
	}
	implicit := true
	for _, sc := range s.effects.searchPath {
		if sc == "pg_catalog" {
			implicit = false
		}
	}
	if implicit {
		if tab, ok := snap.Table("pg_catalog", t.Name); ok {
			return tab, nil
		}
	}
	for _, sc := range s.usablePath() {
		if tab, ok := snap.Table(sc, t.Name); ok {
			return tab, nil
		}
	}
	return nil, pgerr.New(pgerr.UndefinedTable, "relation \"%s\" does not exist", t.Name).At(t.Pos)
}
