package sql

import (
	"context"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
)

type DDL interface{}

func (s *Session) runDDL(ctx context.Context, st ast.Statement) (string, error) {
	return "", pgerr.Unsupported(st.Tag(), "")
}
func explainFields(st *ast.Explain) []plan.Field { return []plan.Field{textField("QUERY PLAN")} }
func (s *Session) runExplain(ctx context.Context, p *portal, st *ast.Explain) error {
	return pgerr.Unsupported(st.Tag(), "")
}
func (s *Session) runVacuum(ctx context.Context, st *ast.Vacuum) error {
	return pgerr.Unsupported(st.Tag(), "")
}
func (s *Session) readAsOf(v string) (hlc.Timestamp, error) {
	return hlc.Timestamp{}, pgerr.Unsupported("pamir.read_as_of", "")
}
func checkReadAsOf(s *Session, v string) (string, error) { return v, nil }
