package sql

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/txn"
)

const (
	// leftTimeout bounds the time for one prepared transaction, leftFailures how many may fail at one look, which goes over them in another order each time.
	leftTimeout  = time.Minute
	leftFailures = 3
)

// forgetPrepared removes the names of prepared transactions that somebody has decided who did not come to removing them: its node died, or could not reach what it had to for
// longer than it went on without its client. Who decides removes the name itself, and is told that it was not there if somebody else has; so that is done only for
// those that had been decided at the last look, too (before; it returns those of this one).
func (srv *Server) forgetPrepared(ctx context.Context, before []preparedRow) (decided []preparedRow, _ error) {
	rows, err := srv.preparedTransactions(ctx)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	d, err := srv.decider()
	if err != nil {
		return nil, err
	}
	rand.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	var failed []error
	for i := range rows {
		r := &rows[i]
		if !r.Ready || r.Meta.ID.IsZero() {
			continue // being prepared, perhaps: to ask for its record would end that
		}
		left, err := srv.leftPrepared(ctx, d, r, slices.ContainsFunc(before, r.same))
		if left {
			decided = append(decided, *r)
		}
		if err == nil {
			continue
		}
		if failed = append(failed, err); len(failed) == leftFailures || ctx.Err() != nil {
			break
		}
	}
	return decided, errors.Join(failed...)
}

// leftPrepared reports whether a transaction has been decided and still has its name, which it may remove.
func (srv *Server) leftPrepared(ctx context.Context, d txn.Decider, r *preparedRow, remove bool) (left bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, leftTimeout)
	defer cancel()
	status, _, err := d.PreparedStatus(ctx, r.Meta)
	if err != nil || status != kv.TxnCommitted && status != kv.TxnAborted {
		return false, err
	}
	if !remove {
		return true, nil
	}
	_, err = srv.finishPrepared(ctx, r, status == kv.TxnCommitted)
	switch {
	case pgerr.Code(err) == pgerr.UndefinedObject:
		return false, nil // another node was faster
	case err != nil:
		return true, err
	}
	srv.cfg.Log.Info("the name of a prepared transaction that had been finished is removed; who finished it did not come to that", "gid", r.GID)
	return false, nil
}

// same reports whether it is the row of the same transaction.
func (r *preparedRow) same(o preparedRow) bool {
	return o.GID == r.GID && o.Meta.ID == r.Meta.ID && o.At.Equal(r.At)
}
