package advisory

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/sql/internal/memtxn"
	"github.com/pamirdb/pamir/txn"
)

// shaky is a store that can be out of reach.
type shaky struct {
	*memtxn.Store
	down bool
}

var errDown = errors.New("out of reach")

func (s *shaky) Run(ctx context.Context, opts txn.Options, f func(tx txn.Txn) error) error {
	if s.down {
		return errDown
	}
	tx := s.Begin(ctx, opts)
	if err := f(tx); err != nil {
		tx.Rollback(ctx)
		return err
	}
	_, err := tx.Commit(ctx)
	return err
}

func (s *shaky) Each(context.Context, txn.Txn, keys.Key, func(k keys.Key, v []byte) error) error {
	return errors.ErrUnsupported
}

// What could not be released is released later, unless the session has taken it again by then.
func TestDebts(t *testing.T) {
	ctx := context.Background()
	st := &shaky{Store: memtxn.New()}
	l := New(Config{Store: st, Clock: st.Clock(), Node: 1, Incarnation: 7, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	var a, b Session
	a.Init(l, 1)
	b.Init(l, 2)
	tag := Tag{1, 1}
	try := func(s *Session, shared bool) bool {
		t.Helper()
		ok, err := s.Take(ctx, tag, shared, false, true, Wait{})
		require.NoError(t, err)
		return ok
	}
	down := func(f func()) {
		st.down = true
		f()
		st.down = false
	}
	require.True(t, try(&a, false))
	down(func() { a.Unlock(ctx, tag, false) })
	require.False(t, a.Holds())
	require.False(t, try(&b, false), "the row still says so")
	require.EqualValues(t, 1, l.present.Load(), "and the lease is kept for it")
	l.repay(ctx)
	require.True(t, try(&b, false))
	b.Unlock(ctx, tag, false)

	require.True(t, try(&a, false))
	down(func() { a.Unlock(ctx, tag, false) })
	require.True(t, try(&a, true), "in a weaker mode")
	l.repay(ctx)
	require.True(t, try(&b, true))
	require.False(t, try(&b, false))

	// A wait that cannot even be taken out of the row.
	down(func() {
		_, err := b.Take(ctx, tag, false, false, false, Wait{})
		require.ErrorIs(t, err, errDown)
	})
	l.repay(ctx)
	b.Unlock(ctx, tag, true)
	a.Close(ctx)
	require.Zero(t, l.present.Load())
	require.Zero(t, st.Len(keys.System(lockPrefix)))
	require.True(t, try(&b, false))
}
