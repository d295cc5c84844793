package sql

import (
	"context"
	"time"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// runPrepare is SQL's PREPARE.
func (s *Session) runPrepare(ctx context.Context, st *ast.Prepare) error {
	if s.stmts[st.Name] != nil {
		return pgerr.New(pgerr.DuplicatePreparedStatement, "prepared statement \"%s\" already exists", st.Name)
	}
	if !planned(st.Query) {
		return pgerr.Unsupported("PREPARE of "+commandName(st.Query), "")
	}
	hints := make([]types.OID, len(st.Types))
	for i, tn := range st.Types {
		t, err := plan.ResolveType(tn)
		if err != nil {
			return err
		}
		hints[i] = t.OID
	}
	p := &prepared{name: st.Name, text: st.Text, stmt: ast.Stmt{Statement: st.Query, Text: st.Text, Start: -1, Params: len(hints)}, hints: hints, sql: true, made: time.Now()}
	if err := s.analyze(ctx, p); err != nil {
		return err
	}
	p.described = true
	s.stmts[st.Name] = p
	return nil
}

// runExecute is SQL's EXECUTE: the prepared statement runs in place of this one.
func (s *Session) runExecute(ctx context.Context, p *portal, st *ast.Execute, maxRows int, final bool) error {
	q := s.stmts[st.Name]
	if q == nil {
		return pgerr.New(pgerr.InvalidSQLStatementName, "prepared statement \"%s\" does not exist", st.Name)
	}
	if q.plan == nil {
		return pgerr.Unsupported("EXECUTE of "+commandName(q.stmt.Statement), "")
	}
	params, err := s.executeArgs(ctx, q, st.Args)
	if err != nil {
		return s.translate(err)
	}
	sub := &portal{stmt: q, params: params}
	if p.shape != nil && len(p.shape.Formats) == len(q.fields) {
		sub.shape = &RowShape{Fields: q.plan.Columns, Formats: p.shape.Formats, Text: s.effects.env}
	}
	p.state = portalDone
	q.generic++
	from := s.client.Position()
	attempt := 1
	for {
		err = s.runPortal(ctx, sub, 0, final && s.log.len() == 0)
		if err == nil && final {
			err = s.commitLast(ctx, from)
		}
		if err == nil {
			break
		}
		sub.stop()
		if !s.retryable(err, attempt) || !s.cut(from) {
			return err
		}
		if err = s.again(ctx, err, &attempt); err != nil {
			return err
		}
		from = s.client.Position()
		sub.rewind()
	}
	if final {
		s.finishImplicit()
		s.client.Complete(sub.tag)
		return nil
	}
	s.client.Complete(sub.tag)
	s.logEntry(sub, from)
	return nil
}

// executeArgs computes the arguments of EXECUTE.
func (s *Session) executeArgs(ctx context.Context, q *prepared, args []ast.Expr) ([]types.Datum, error) {
	if len(args) != len(q.params) {
		return nil, pgerr.New(pgerr.SyntaxError, "wrong number of parameters for prepared statement \"%s\"", q.name).
			WithDetail("Expected %d parameters but got %d.", len(q.params), len(args))
	}
	if len(args) == 0 {
		return nil, nil
	}
	sel := &ast.Select{}
	for _, a := range args {
		sel.Targets = append(sel.Targets, &ast.Target{Expr: a})
	}
	if err := s.ensureTxn(ctx); err != nil {
		return nil, err
	}
	if _, err := s.snapshot(ctx); err != nil {
		return nil, err
	}
	pl, err := plan.Build(s.snap, s.planEnv(nil, 0), sel)
	if err != nil {
		return nil, err
	}
	if err := s.allow(pl); err != nil {
		return nil, err
	}
	p := &portal{stmt: &prepared{plan: pl}}
	p.rt = s.runtime(p)
	cur, err := exec.Start(ctx, &p.rt, pl)
	if err != nil {
		return nil, err
	}
	defer cur.Close()
	b, err := cur.Next(ctx)
	if err != nil {
		return nil, err
	}
	if b == nil || b.Len() != 1 {
		return nil, pgerr.New(pgerr.InternalError, "arguments of EXECUTE gave no row")
	}
	out := make([]types.Datum, len(args))
	for i := range args {
		d := b.Cols[i].Get(b.Row(0)).Clone()
		from, to := pl.Columns[i].Type, q.params[i]
		if from.OID != to.OID && !d.Null {
			// Like an assignment; through the text form, which all types have.
			text := types.AppendDatumText(nil, from, d, s.effects.env)
			if d, err = types.ParseText(to, text, s.effects.env); err != nil {
				if e, ok := pgerr.As(err); ok {
					e.At(args[i].Position())
				}
				return nil, err
			}
		}
		out[i] = d
	}
	return out, nil
}
