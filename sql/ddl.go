package sql

import (
	"context"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/ddl"
	"github.com/pamirdb/pamir/sql/pgerr"
)

// runDDL runs a schema change in the session's transaction.
func (s *Session) runDDL(ctx context.Context, of *portal, st ast.Statement) (string, error) {
	if !ddl.Handles(st) {
		return "", pgerr.Unsupported(st.Tag(), "")
	}
	if s.readOnly() {
		return "", pgerr.New(pgerr.ReadOnlySQLTransaction, "cannot execute %s in a read-only transaction", commandName(st))
	}
	if ci, ok := st.(*ast.CreateIndex); ok && ci.Concurrently {
		if err := s.outsideBlock("CREATE INDEX CONCURRENTLY"); err != nil {
			return "", err
		}
	}
	if d, ok := st.(*ast.Drop); ok && d.Kind == "INDEX" && d.Concurrently {
		if err := s.outsideBlock("DROP INDEX CONCURRENTLY"); err != nil {
			return "", err
		}
	}
	if tag, done, err := s.buildOnline(ctx, of, st); done {
		return tag, err
	}
	if err := s.ensureTxn(ctx); err != nil {
		return "", err
	}
	if err := s.step(ctx); err != nil {
		return "", err
	}
	if _, err := s.snapshot(ctx); err != nil {
		return "", err
	}
	if err := s.willWrite(ctx); err != nil {
		return "", err
	}
	p := &portal{}
	p.rt = s.runtime(p)
	env := &ddl.Env{Store: s.srv.cfg.Catalog, Runtime: &p.rt, Uses: &s.uses, SearchPath: s.effects.searchPath, User: s.user, SessionUser: s.sessionUser, Allow: s.allow, Database: s.database, Notice: s.notice,
		SequenceValue: s.sequenceValue, Changing: func(cat catalog.Snapshot) { s.changing = cat }}
	defer func() { s.changing = nil }()
	if cl := s.srv.cfg.Cluster; cl != nil {
		env.CheckRule = cl.CheckRule
	}
	tag, err := ddl.Execute(ctx, env, st)
	// Whatever came of it, the catalog has to be looked at anew.
	s.newEpoch()
	s.snap = nil
	return tag, err
}
