package sql

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/pgerr"
)

// A wait inside that is given up is not the client's doing, and the client is not told that it has cancelled its statement.
func TestGivenUpIsNotCancelled(t *testing.T) {
	given := kv.Errorf(kv.CodeCanceled, "context deadline exceeded (last: not the leader)")
	s := &Session{ctx: t.Context()}
	err := s.translate(given)
	require.Equal(t, pgerr.CannotConnectNow, pgerr.Code(err), "%v", err)
	e, ok := pgerr.As(err)
	require.True(t, ok)
	require.Equal(t, "context deadline exceeded (last: not the leader).", e.Detail)

	ctx, cancel := context.WithCancelCause(t.Context())
	s = &Session{ctx: ctx}
	cancel(errUserCancel)
	require.Equal(t, errUserCancel, s.translate(given))
}
