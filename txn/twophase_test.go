package txn

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// prepared prepares a transaction that writes a, c (other range) and reads b.
func prepared(t *testing.T, c *Coordinator, val string) (Prepared, kv.TxnMeta) {
	t.Helper()
	x := c.Begin(bg, Options{})
	get(t, x, "b")
	require.NoError(t, x.Put(k("a"), []byte(val)))
	require.NoError(t, x.Put(k("c"), []byte(val)))
	var announced kv.TxnMeta
	p, err := x.(TwoPhase).PrepareCommit(bg, func(m kv.TxnMeta) error { announced = m; return nil })
	require.NoError(t, err)
	require.Equal(t, announced, p.Meta)
	require.False(t, p.Empty())
	x.Rollback(bg) // the session ends: nothing happens
	return p, announced
}

// Recovery leaves a prepared transaction alone, and its locks; whoever knows it decides it, once.
func TestPreparedTransactionWaitsForItsDecision(t *testing.T) {
	for _, decide := range []bool{true, false} {
		c, s := newTest(t, "b", "c")
		put(t, c, "a", "1", "b", "1", "c", "1")
		p, meta := prepared(t, c, "2")
		for _, a := range c.Active() {
			require.NotEqual(t, meta.ID, a.Meta.ID, "the gateway has forgotten it")
		}
		for range 3 {
			st, ts, err := c.Recover(bg, meta, k("a"))
			require.NoError(t, err)
			require.Equal(t, kv.TxnPrepared, st)
			require.Equal(t, p.CommitTS, ts)
		}
		locks := func() (n int) {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, l := range s.prepared {
				if l.meta.ID == meta.ID {
					n++
				}
			}
			return n
		}
		require.Equal(t, 2, locks())
		st, err := c.Decide(bg, meta, decide)
		require.NoError(t, err)
		want := map[bool]kv.TxnStatus{true: kv.TxnCommitted, false: kv.TxnAborted}[decide]
		require.Equal(t, want, st)
		st, err = c.Decide(bg, meta, !decide)
		require.NoError(t, err)
		require.Equal(t, want, st, "the first decision holds")
		require.Zero(t, locks())
		x := c.Begin(bg, Options{})
		require.Equal(t, map[bool]string{true: "2", false: "1"}[decide], get(t, x, "a"))
		require.Equal(t, map[bool]string{true: "2", false: "1"}[decide], get(t, x, "c"))
		x.Rollback(bg)
		if decide {
			s.mu.Lock()
			require.Equal(t, p.CommitTS, s.versions["a"][len(s.versions["a"])-1].ts, "it commits as of its prepare, when its reads were true")
			s.mu.Unlock()
		}
		require.NoError(t, c.Forget(bg, meta))
		settled(t, c, s)
		if decide {
			require.Nil(t, s.records[meta.ID])
		}
	}
}

// Recovery that comes before the record wins: the prepare fails, and nothing is left.
func TestRecoveryBeatsAPrepare(t *testing.T) {
	c, s := newTest(t, "b", "c")
	put(t, c, "a", "1", "b", "1", "c", "1")
	x := c.Begin(bg, Options{})
	require.NoError(t, x.Put(k("a"), []byte("2")))
	require.NoError(t, x.Put(k("c"), []byte("2")))
	_, err := x.(TwoPhase).PrepareCommit(bg, func(m kv.TxnMeta) error {
		st, _, err := c.Recover(bg, m, k("a"))
		require.Equal(t, kv.TxnAborted, st)
		return err
	})
	require.True(t, kv.HasCode(err, kv.CodeTxnAborted), "%v", err)
	require.True(t, x.Retryable(err))
	require.NoError(t, x.Restart(bg, err))
	x.Rollback(bg)
	settled(t, c, s)
	require.Empty(t, s.prepared)
}

func TestPreparedReadsAreValidated(t *testing.T) {
	c, s := newTest(t, "b", "c")
	put(t, c, "a", "1", "b", "1", "c", "1")
	x := c.Begin(bg, Options{})
	require.Equal(t, "1", get(t, x, "b"))
	put(t, c, "b", "2")
	require.NoError(t, x.Put(k("a"), []byte("2")))
	require.NoError(t, x.Put(k("b"), []byte("3")))
	_, err := x.(TwoPhase).PrepareCommit(bg, func(kv.TxnMeta) error { return nil })
	require.True(t, x.Retryable(err), "%v", err)
	x.Rollback(bg)
	settled(t, c, s)
	require.Empty(t, s.prepared)

	y := c.Begin(bg, Options{})
	get(t, y, "b")
	p, err := y.(TwoPhase).PrepareCommit(bg, func(kv.TxnMeta) error { return nil })
	require.NoError(t, err)
	require.True(t, p.Empty(), "nothing to decide")
}
