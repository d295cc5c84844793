package sql

import (
	"context"
	"strings"
	"time"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/parse"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// prepared is a parsed statement with its plan. It belongs to one session; the plan may be shared.
type prepared struct {
	name string
	text string
	stmt ast.Stmt // Statement nil: an empty query
	// hints are the parameter types the client gave (0: unspecified); params those it was told.
	hints  []types.OID
	params []types.Type
	// peek are values that the plan is made for, of the classes values in the catalog of version peeked; see plan.Peek. nil: for any.
	peek   []types.Datum
	values string
	peeked uint64
	// plan is nil for utility statements.
	plan *plan.Statement
	// allowed is the plan that the user was found to be allowed to run.
	allowed *plan.Statement
	pathKey string
	// epoch is the session's when the plan was made.
	epoch int
	// fields are the columns of the result. What has been prepared keeps them (described), whatever becomes of the tables.
	fields    []plan.Field
	described bool
	// text0 is the shape of results all in text, shared by portals as long as nothing it depends on changes.
	shape   *RowShape
	formats []int16
	// sql: made by PREPARE; SQL's DEALLOCATE and the protocol's Close act on both kinds.
	sql  bool
	made time.Time
	// generic counts executions.
	generic int
}

// planned reports whether a statement goes through the planner.
func planned(st ast.Statement) bool {
	switch st.(type) {
	case *ast.Select, *ast.Insert, *ast.Update, *ast.Delete:
		return true
	}
	return false
}

// mayRunFailed reports whether a statement is accepted in a failed block.
func mayRunFailed(st ast.Statement) bool {
	t, ok := st.(*ast.Transaction)
	if !ok {
		return false
	}
	switch t.Kind {
	case ast.Commit, ast.Rollback, ast.RollbackTo, ast.PrepareTransaction:
		return true
	}
	return false
}

func errFailedBlock() error {
	return pgerr.New(pgerr.InFailedSQLTransaction, "current transaction is aborted, commands ignored until end of transaction block")
}

// Parse prepares a statement under a name; the empty name is the unnamed statement.
func (s *Session) Parse(name, text string, hints []types.OID) (err error) {
	ctx, err := s.begin()
	if err != nil {
		return err
	}
	defer s.finish()
	defer func() {
		if err != nil {
			s.failed(err)
		}
	}()
	if name == "" {
		s.unnamed = nil
	} else if s.stmts[name] != nil {
		return pgerr.New(pgerr.DuplicatePreparedStatement, "prepared statement \"%s\" already exists", name)
	}
	p, err := s.prepare(ctx, name, text, hints)
	if err != nil {
		return err
	}
	if name == "" {
		s.unnamed = p
	} else {
		s.stmts[name] = p
	}
	return nil
}

func (s *Session) prepare(ctx context.Context, name, text string, hints []types.OID) (*prepared, error) {
	stmt, err := parse.One(text)
	if err != nil {
		return nil, err
	}
	p := &prepared{name: name, text: text, stmt: stmt, hints: append([]types.OID(nil), hints...)}
	if name != "" {
		p.made = time.Now()
	}
	err = s.analyze(ctx, p)
	p.described = true
	return p, err
}

// analyze infers a statement's parameters and columns, and makes its plan.
func (s *Session) analyze(ctx context.Context, p *prepared) error {
	st := p.stmt.Statement
	if st == nil {
		return nil
	}
	if s.block == blockFailed && !mayRunFailed(st) {
		return errFailedBlock()
	}
	if !planned(st) {
		params := p.stmt.Params
		if _, ok := st.(*ast.Prepare); ok {
			params = 0 // they are those of the statement inside
		}
		for range params {
			p.params = append(p.params, types.Of(types.TextOID))
		}
		for i, h := range p.hints {
			if i < len(p.params) && h != 0 {
				p.params[i] = types.Of(h)
			}
		}
		var err error
		p.fields, err = s.utilityFields(ctx, p)
		return err
	}
	if err := s.revalidate(ctx, p); err != nil {
		return err
	}
	p.params = p.plan.Params
	p.fields = p.plan.Columns
	return nil
}

// revalidate makes sure that p's plan is good for the catalog as the transaction sees it.
func (s *Session) revalidate(ctx context.Context, p *prepared) error {
	if _, err := s.snapshot(ctx); err != nil {
		return err
	}
	if p.plan != nil && p.plan.CatalogVersion == s.snap.Version() && p.pathKey == s.effects.pathKey && p.epoch == s.epoch {
		s.relyOn(p.plan)
		return nil
	}
	pl, err := s.plan(p, p.typesToPlan())
	if err != nil {
		return err
	}
	if p.described && !sameFields(p.fields, pl.Columns) {
		return pgerr.New(pgerr.FeatureNotSupported, "cached plan must not change result type")
	}
	p.plan, p.pathKey, p.epoch = pl, s.effects.pathKey, s.epoch
	p.shape = nil
	s.relyOn(pl)
	return nil
}

// relyOn notes that the transaction uses a plan.
func (s *Session) relyOn(pl *plan.Statement) {
	if s.epoch == 0 {
		s.uses.Add(pl.Uses)
	}
}

// typesToPlan are the types of the parameters, 0 where they are to be inferred. Once told, they stay.
func (p *prepared) typesToPlan() []types.OID {
	if p.params == nil {
		return p.hints
	}
	out := make([]types.OID, len(p.params))
	for i, t := range p.params {
		out[i] = t.OID
	}
	return out
}

func sameFields(a, b []plan.Field) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Name != b[i].Name || a[i].Type != b[i].Type {
			return false
		}
	}
	return true
}

// shapeFor returns the shape of results in the formats asked for: none (text), one for all, or one each.
func (s *Session) shapeFor(p *prepared, formats []int16) (*RowShape, error) {
	n := len(p.fields)
	if len(formats) > 1 && len(formats) != n {
		return nil, pgerr.New(pgerr.ProtocolViolation, "bind message has %d result formats but query has %d columns", len(formats), n)
	}
	if p.shape != nil && p.shape.Text == s.effects.env && equalFormats(p.formats, formats) {
		return p.shape, nil
	}
	fs := make([]int16, n)
	for i := range fs {
		switch len(formats) {
		case 0:
		case 1:
			fs[i] = formats[0]
		default:
			fs[i] = formats[i]
		}
		if fs[i] != 0 && fs[i] != 1 {
			return nil, pgerr.New(pgerr.InvalidParameterValue, "unsupported format code: %d", fs[i])
		}
	}
	fields := p.fields
	if p.plan != nil {
		fields = p.plan.Columns
	}
	p.shape = &RowShape{Fields: fields, Formats: fs, Text: s.effects.env}
	p.formats = append(p.formats[:0], formats...)
	return p.shape, nil
}

func equalFormats(a, b []int16) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// statement finds a prepared statement.
func (s *Session) statement(name []byte) (*prepared, error) {
	if len(name) == 0 {
		if s.unnamed == nil {
			return nil, pgerr.New(pgerr.InvalidSQLStatementName, "unnamed prepared statement does not exist")
		}
		return s.unnamed, nil
	}
	p := s.stmts[string(name)]
	if p == nil {
		return nil, pgerr.New(pgerr.InvalidSQLStatementName, "prepared statement \"%s\" does not exist", name)
	}
	return p, nil
}

// DescribeStatement returns parameter types and columns; shape is nil if there will be no rows.
func (s *Session) DescribeStatement(name []byte) ([]types.OID, *RowShape, error) {
	p, err := s.statement(name)
	if err == nil && s.block == blockFailed && len(p.fields) > 0 {
		err = errFailedBlock()
	}
	if err != nil {
		s.failed(err)
		return nil, nil, err
	}
	p.described = true
	oids := make([]types.OID, len(p.params))
	for i, t := range p.params {
		oids[i] = t.OID
	}
	if len(p.fields) == 0 && !returnsRows(p) {
		return oids, nil, nil
	}
	return oids, &RowShape{Fields: p.fields, Formats: make([]int16, len(p.fields)), Text: s.effects.env}, nil
}

// returnsRows tells SELECT without columns, which has rows, from commands.
func returnsRows(p *prepared) bool {
	return p.plan != nil && p.plan.Tag == "SELECT"
}

// DescribePortal returns a portal's columns.
func (s *Session) DescribePortal(name []byte) (*RowShape, error) {
	p, err := s.portal(name)
	if err == nil && s.block == blockFailed && len(p.shape.Fields) > 0 {
		err = errFailedBlock()
	}
	if err != nil {
		s.failed(err)
		return nil, err
	}
	p.stmt.described = true
	if len(p.shape.Fields) == 0 && !returnsRows(p.stmt) {
		return nil, nil
	}
	return p.shape, nil
}

// CloseStatement forgets a prepared statement. Portals made from it stay.
func (s *Session) CloseStatement(name []byte) {
	if len(name) == 0 {
		s.unnamed = nil
		return
	}
	delete(s.stmts, string(name))
}

// ClosePortal forgets a portal.
func (s *Session) ClosePortal(name []byte) {
	if p, err := s.portal(name); err == nil {
		s.dropPortal(p)
	}
}

// textCache keeps statements of the simple protocol by text: the original, or normalised.
type textCache struct {
	byText map[string]*prepared
	bytes  int
}

const (
	maxTexts     = 512
	maxTextBytes = 1 << 20
)

func (c *textCache) init() { c.byText = map[string]*prepared{} }

func (c *textCache) put(text string, p *prepared) {
	if len(text) > 8<<10 {
		return
	}
	if len(c.byText) >= maxTexts || c.bytes > maxTextBytes {
		// Start over: what is hot comes back at the price of a look-up in the shared caches.
		clear(c.byText)
		c.bytes = 0
	}
	c.byText[text] = p
	c.bytes += len(text)
}

// commandName is the name of a statement in messages.
func commandName(st ast.Statement) string { return strings.TrimSpace(st.Tag()) }

// withArticle names a statement in a sentence: an ALTER TABLE, a COPY.
func withArticle(st ast.Statement) string {
	name := commandName(st)
	if name != "" && strings.ContainsRune("AEIOU", rune(name[0])) {
		return "an " + name
	}
	return "a " + name
}
