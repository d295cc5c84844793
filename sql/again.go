package sql

import (
	"context"
	"errors"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// again restarts the transaction after err and runs its log, until that succeeds or is given up. If it began with a deadlock, that is what the client is
// told of.
func (s *Session) again(ctx context.Context, err error, attempt *int) error {
	first := err
	for {
		cause := err
		if err = s.restart(ctx, cause, *attempt); err == nil {
			err = s.replay(ctx, s.block == blockIdle)
		}
		*attempt++
		if e, ok := pgerr.As(first); ok && isDeadlock(first) && errors.Is(err, errReplay) {
			told := *e
			told.Hint = "The transaction might succeed if retried. The server ran it again by itself, and its results had changed."
			return &told
		}
		if err == nil || !s.retryable(err, *attempt) {
			return err
		}
	}
}

// logEntry remembers a statement that has run, for replays.
func (s *Session) logEntry(p *portal, from int64) {
	if s.log.barred {
		return
	}
	e := replayEntry{portal: p, from: from, to: s.client.Position()}
	if s.block == blockOpen {
		e.sum, e.summed = s.client.Sum(from)
		if !e.summed {
			s.log.bar(resultsSent)
			return
		}
		pl := p.stmt.plan
		e.past = s.opts.Isolation == kv.ReadCommitted && !s.txWrote && pl != nil && pl.Pure
	}
	if p == &s.one {
		// The portal of simple queries is used again at once: the log gets one of its own.
		q := *p
		q.params = append([]types.Datum(nil), p.params...)
		s.one.buf, s.one.tag, s.one.cursor, s.one.batch = nil, nil, nil, nil
		e.portal = &q
	}
	s.log.add(e)
}
