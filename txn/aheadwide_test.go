package txn

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// What is sent ahead to many ranges goes to many at a time, also where one chunk is of all of them.
func TestSentAheadOverManyRanges(t *testing.T) { synctest.Test(t, testSentAheadOverManyRanges) }

func testSentAheadOverManyRanges(t *testing.T) {
	const ranges = 64
	c, s, x := sentWide(t, ranges)
	s.intercept(func(req *kv.BatchRequest) error {
		if p, ok := req.Requests[0].(*kv.Prepare); ok && len(p.Writes) == 1 {
			time.Sleep(time.Second)
		}
		return nil
	})
	began := time.Now()
	require.NoError(t, x.sendAhead(bg, true))
	require.Equal(t, ranges/time.Duration(c.cfg.Parallel)*time.Second, time.Since(began))
	s.intercept(nil)
	commit(t, x)
	settled(t, c, s)
}

// One of them is refused: the transaction goes on from a savepoint, because the others have been waited for.
func TestSentAheadRefusedByOneRange(t *testing.T) { synctest.Test(t, testSentAheadRefusedByOneRange) }

func testSentAheadRefusedByOneRange(t *testing.T) {
	c, s, x := sentWide(t, 8)
	m := x.Savepoint()
	require.NoError(t, x.StepStatement(bg))
	require.NoError(t, x.Put(k("0"), nil)) // so that something is taken back
	c.cfg.Sender = refusing{s}
	err := x.sendAhead(bg, true)
	require.True(t, kv.HasCode(err, kv.CodeLockNotAvailable), "%v", err)
	c.cfg.Sender = s
	x.RollbackTo(m)
	commit(t, x)
	settled(t, c, s)
	require.Equal(t, "v", get(t, c.Begin(bg, Options{}), "k00"))
}

// refusing refuses to lay k00; the others take longer, and are not answered to who has left by then.
type refusing struct{ *fakeStore }

func (s refusing) Send(ctx context.Context, req *kv.BatchRequest) (*kv.BatchResponse, error) {
	if p, ok := req.Requests[0].(*kv.Prepare); ok && len(p.Writes) == 1 {
		time.Sleep(time.Second)
		if string(p.Writes[0].Key) == "k00" {
			return nil, kv.Errorf(kv.CodeLockNotAvailable, "injected")
		}
		time.Sleep(time.Second)
		if ctx.Err() != nil {
			return nil, kv.Errorf(kv.CodeUnknownOutcome, "%v", ctx.Err())
		}
	}
	return s.fakeStore.Send(ctx, req)
}

// sentWide returns a transaction with a row in the buffer for each of so many ranges.
func sentWide(t *testing.T, ranges int) (*Coordinator, *fakeStore, *txn) {
	var bounds []string
	for i := range ranges {
		bounds = append(bounds, fmt.Sprintf("k%02d", i))
	}
	c, s := newSmall(t, 1<<30, bounds...)
	s.mu.Lock()
	s.known = nil // the chunk is cut when it is refused
	s.mu.Unlock()
	x := c.Begin(bg, Options{}).(*txn)
	for _, b := range bounds {
		require.NoError(t, x.Put(k(b), []byte("v")))
	}
	return c, s, x
}
