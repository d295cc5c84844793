package sql

import (
	"context"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/txn"
)

// Rows of the system key space that the SQL side of the nodes share: advisory locks, prepared transactions, transaction ids.

func (srv *Server) now() int64 { return srv.cfg.Gateway.Clock().Now().WallTime }

// inSystem runs f in a transaction of its own until it succeeds.
func (srv *Server) inSystem(ctx context.Context, opts txn.Options, f func(tx txn.Txn) error) error {
	tx := srv.cfg.Gateway.Begin(ctx, opts)
	for {
		err := f(tx)
		if err == nil {
			if _, err = tx.Commit(ctx); err == nil {
				return nil
			}
		}
		again := tx.Retryable(err) || isDeadlock(err)
		if again && !isDeadlock(err) {
			if err = tx.Restart(ctx, err); err == nil {
				continue
			}
		}
		tx.Rollback(ctx)
		if !again || ctx.Err() != nil {
			return err
		}
		tx = srv.cfg.Gateway.Begin(ctx, opts)
	}
}

// eachSystemRow calls f with every row of the system key space under a prefix.
func eachSystemRow(ctx context.Context, tx txn.Txn, prefix keys.Key, f func(k keys.Key, v []byte) error) error {
	return eachRowIn(ctx, tx, keys.Span{Start: prefix, End: prefix.PrefixEnd()}, 0, f)
}

// eachRowIn calls f with the rows of a span, at most limit of them (0: all).
func eachRowIn(ctx context.Context, tx txn.Txn, span keys.Span, limit int64, f func(k keys.Key, v []byte) error) error {
	sc := tx.Scan(ctx, []keys.Span{span}, txn.ScanOptions{MaxRows: limit})
	defer sc.Close()
	for {
		page, ok, err := sc.Next(ctx)
		if err != nil || !ok {
			return err
		}
		for rows := page.Rows; ; {
			k, v, ok, err := rows.Next()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			if err := f(k, v); err != nil {
				return err
			}
		}
	}
}

// systemRows is advisory.Store.
type systemRows struct{ srv *Server }

func (r systemRows) Run(ctx context.Context, opts txn.Options, f func(tx txn.Txn) error) error {
	return r.srv.inSystem(ctx, opts, f)
}

func (systemRows) Each(ctx context.Context, tx txn.Txn, prefix keys.Key, f func(k keys.Key, v []byte) error) error {
	return eachSystemRow(ctx, tx, prefix, f)
}
