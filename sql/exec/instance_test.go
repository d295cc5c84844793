package exec

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// failing is an operator that fails when it is opened, or when it is asked for rows.
type failing struct{ atOpen, atNext error }

func (f failing) open(context.Context) error                 { return f.atOpen }
func (f failing) next(context.Context) (*types.Batch, error) { return nil, f.atNext }
func (f failing) close()                                     {}

// An instance that has failed, in whatever state that left its operators, is not what the next execution of the plan runs.
func TestFailedInstanceIsNotUsedAgain(t *testing.T) {
	boom := errors.New("boom")
	for _, f := range []failing{{atOpen: boom}, {atNext: boom}} {
		stmt := &plan.Statement{ReadOnly: true}
		for range 20 { // a sync.Pool may forget what it is given
			stmt.Instances.Put(&instance{stmt: stmt, root: f})
			c, err := start(context.Background(), &Runtime{}, stmt)
			if err == nil {
				_, err = c.Next(context.Background())
				require.Error(t, err)
				c.Close()
			}
			require.Error(t, err)
			require.Nil(t, stmt.Instances.Get())
		}
	}
}
