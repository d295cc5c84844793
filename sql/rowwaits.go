package sql

import (
	"slices"
	"time"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// rowWait is one key at which a transaction waits.
type rowWait struct {
	waiter  kv.TxnID
	key     keys.Key
	holders []kv.TxnID
	since   time.Time // zero if nobody knows
}

// rowWaits are the waits for locks of rows: those that gateways know of, and those that only the lock tables show, of transactions that
// hold nothing themselves (a read that waits for a prepared write).
func rowWaits(all []NodeActivity) []rowWait {
	type at struct {
		txn kv.TxnID
		key string
	}
	var out []rowWait
	seen := map[at]bool{}
	for i := range all {
		for _, t := range all[i].Txns {
			for _, w := range t.Waits {
				seen[at{t.ID, string(w.Key)}] = true
				out = append(out, rowWait{t.ID, w.Key, w.Holders, w.Since})
			}
		}
	}
	for i := range all {
		locks := all[i].Locks
		for _, l := range locks {
			if l.Granted || l.Txn.IsZero() || seen[at{l.Txn, string(l.Key)}] {
				continue
			}
			seen[at{l.Txn, string(l.Key)}] = true
			w := rowWait{waiter: l.Txn, key: l.Key}
			for _, h := range locks {
				if h.Granted && h.Txn != l.Txn && h.Key.Equal(l.Key) && !h.Txn.IsZero() {
					w.holders = append(w.holders, h.Txn)
				}
			}
			if len(w.holders) > 0 { // else it is about to go on
				out = append(out, w)
			}
		}
	}
	return out
}

// prepared are the prepared transactions that hold locks, by id. Their ids name the sessions that prepared them, which have nothing to do with them
// any more, and may be gone or wait for something else by now.
func (s *Session) prepared(all []NodeActivity) map[kv.TxnID]*preparedRow {
	if !slices.ContainsFunc(all, func(a NodeActivity) bool {
		return slices.ContainsFunc(a.Locks, func(l LockActivity) bool { return l.Granted && l.Prepared })
	}) {
		return nil
	}
	rows, err := s.srv.preparedTransactions(s.ctx)
	if err != nil {
		s.warn("01000", "prepared transactions could not be read: %v", s.translate(err))
		return nil
	}
	out := map[kv.TxnID]*preparedRow{}
	for i := range rows {
		if rows[i].Ready && !rows[i].Meta.ID.IsZero() {
			out[rows[i].Meta.ID] = &rows[i]
		}
	}
	return out
}

// rowBlockers says for each session that waits for the lock of a row which sessions it waits for; 0 stands for a transaction without a
// session, such as a prepared one.
func (s *Session) rowBlockers(all []NodeActivity) map[int32][]int32 {
	return rowBlockers(all, s.prepared(all))
}

func rowBlockers(all []NodeActivity, prepared map[kv.TxnID]*preparedRow) map[int32][]int32 {
	out := map[int32][]int32{}
	for _, w := range rowWaits(all) {
		pid := w.waiter.Session()
		for _, h := range w.holders {
			by := sessionOf(h, prepared)
			if pid != 0 && by != pid && !slices.Contains(out[pid], by) {
				out[pid] = append(out[pid], by)
			}
		}
	}
	return out
}

// sessionOf is the session that runs a transaction, 0 if there is none.
func sessionOf(id kv.TxnID, prepared map[kv.TxnID]*preparedRow) int32 {
	if prepared[id] != nil {
		return 0
	}
	return id.Session()
}
