package exec

import (
	"context"

	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
)

func start(context.Context, *Runtime, *plan.Statement) (Cursor, error) {
	return nil, pgerr.Unsupported("this statement", "")
}
