package store

import (
	"context"
	"errors"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/internal/replica"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

const (
	// finishedRecords is how many left over records one collection of a range sees to; the next goes on.
	finishedRecords = 100
	// finishTimeout bounds for how long one of them is waited for (committed ones are finished all the same: txn.Coordinator.FinishRecord), finishFailures how many may fail until the next collection, which goes on behind them.
	finishTimeout  = 10 * time.Second
	finishFailures = 3
)

// finishRecords sees to the records of transactions from before threshold that were left: by a gateway that died, by a recovery, which leaves the
// record for that gateway, or by a late copy of a message. The threshold is well below that of the range: gateways that were cut off are to find
// COMMITTED ones, even if their transactions were old when they were decided. It begins at *from, and leaves there where to go
// on: records that cannot be finished now hold up no others. left reports whether some are left for the next collection.
func (s *Store) finishRecords(r *replica.Replica, threshold hlc.Timestamp, from *keys.Key) (left bool, err error) {
	d := r.Desc()
	if d == nil || s.cfg.FinishRecord == nil {
		return false, nil
	}
	recs, err := mvcc.LeftRecords(s.eng.DB(), d.Span(), *from, threshold, finishedRecords)
	if err != nil {
		return true, err
	}
	if *from = nil; len(recs) == finishedRecords {
		*from = afterRecord(&recs[len(recs)-1])
	}
	var failed []error
	for i := range recs {
		ctx, cancel := context.WithTimeout(s.ctx, finishTimeout)
		done, err := s.finishRecord(ctx, &recs[i])
		cancel()
		if err != nil {
			failed = append(failed, err)
			if len(failed) == finishFailures || s.ctx.Err() != nil {
				*from = afterRecord(&recs[i])
				break
			}
		}
		if done {
			s.metrics.Collected.Add(1)
		}
	}
	rest, err := mvcc.LeftRecords(s.eng.DB(), d.Span(), nil, hlc.Max, 1) // too young yet, or in spite of us
	// What has been resolved here hides older versions, and the collection that is over has not seen them.
	return len(recs) > 0 || len(rest) > 0 || err != nil, errors.Join(append(failed, err)...)
}

func afterRecord(rec *kv.TxnRecord) keys.Key {
	return keys.TxnRecord(rec.Meta.Anchor, rec.Meta.ID).Next()
}

// finishRecord removes a COMMITTED record, and its locks before it. One that says OPEN or STAGING is decided if its gateway does not know the transaction
// any more, and goes as ABORTED or COMMITTED later. A gateway out of reach is asked again at the next collection.
func (s *Store) finishRecord(ctx context.Context, rec *kv.TxnRecord) (done bool, err error) {
	if rec.Status == kv.TxnCommitted {
		err = s.cfg.FinishRecord(ctx, *rec)
		return err == nil, err
	}
	if s.cfg.Holders == nil || s.cfg.Recoverer == nil {
		return false, nil
	}
	m := &rec.Meta
	st, err := s.cfg.Holders.QueryHolder(ctx, m.Gateway, m.Incarnation, m.ID, false)
	if err != nil || st.Alive {
		return false, err
	}
	_, _, err = s.cfg.Recoverer.Recover(ctx, *m, m.Anchor)
	return false, err
}
