package sql

import (
	"context"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/pgerr"
)

// runVacuum is VACUUM and ANALYZE.
func (s *Session) runVacuum(ctx context.Context, st *ast.Vacuum) error {
	if !st.Analyze && s.block == blockOpen {
		return pgerr.New(pgerr.ActiveSQLTransaction, "VACUUM cannot run inside a transaction block")
	}
	for _, t := range st.Tables {
		if _, err := s.relation(ctx, t.Table); err != nil {
			return err
		}
	}
	if !st.Analyze {
		s.notice(&pgerr.Error{Severity: "NOTICE", Message: "VACUUM does nothing here", Detail: "Old versions are removed in the background once they are past the retention time."})
	}
	return nil
}
