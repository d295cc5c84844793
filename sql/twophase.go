package sql

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/txn"
)

// PREPARE TRANSACTION, COMMIT PREPARED and ROLLBACK PREPARED.
//
// What is prepared lies in the ranges, as locks and a record (package txn); a row of the system key space says under which name. The
// row is written before anything else, and marked when all is prepared, so nothing of a transaction whose node dies in between is
// lost sight of: whoever meets such a row asks the record.

// preparedRow is the row of a name.
type preparedRow struct {
	GID      string
	Meta     kv.TxnMeta
	Owner    string
	Database string
	At       time.Time
	Xid      int64
	// Ready: everything is prepared. Before that only the record knows.
	Ready bool
}

const preparedPrefix = "prepared/"

func preparedKey(gid string) keys.Key { return keys.System(preparedPrefix + gid) }

const maxGID = 200

// changePrepared runs f on the row of a name (nil: there is none) and stores what it returns (nil: removes it).
func (srv *Server) changePrepared(ctx context.Context, gid string, f func(tx txn.Txn, row *preparedRow) (*preparedRow, error)) error {
	key := preparedKey(gid)
	return srv.inSystem(ctx, txn.Options{}, func(tx txn.Txn) error {
		b, ok, err := tx.Get(ctx, key, txn.ScanOptions{Lock: kv.LockUpdate, Latest: true})
		if err != nil {
			return err
		}
		var row *preparedRow
		if ok {
			row = &preparedRow{}
			if err := json.Unmarshal(b, row); err != nil {
				return pgerr.New(pgerr.DataCorrupted, "the record of prepared transaction \"%s\" is corrupt", gid)
			}
		}
		next, err := f(tx, row)
		switch {
		case err != nil || next == row:
			return err
		case next == nil:
			return tx.Delete(key)
		}
		if b, err = json.Marshal(next); err != nil {
			return err
		}
		return tx.Put(key, b)
	})
}

// preparedRows lists all rows.
func (srv *Server) preparedTransactions(ctx context.Context) ([]preparedRow, error) {
	var rows []preparedRow
	err := srv.inSystem(ctx, txn.Options{ReadOnly: true}, func(tx txn.Txn) error {
		rows = rows[:0]
		return eachSystemRow(ctx, tx, keys.System(preparedPrefix), func(k keys.Key, v []byte) error {
			var r preparedRow
			if err := json.Unmarshal(v, &r); err != nil {
				return pgerr.New(pgerr.DataCorrupted, "the record of a prepared transaction is corrupt")
			}
			rows = append(rows, r)
			return nil
		})
	})
	return rows, err
}

func (srv *Server) decider() (txn.Decider, error) {
	if d, ok := srv.cfg.Gateway.(txn.Decider); ok {
		return d, nil
	}
	return nil, pgerr.Unsupported("PREPARE TRANSACTION", "")
}

// mayPrepare says why the transaction cannot be prepared.
func (s *Session) mayPrepare(gid string) error {
	limit, _ := strconv.Atoi(s.settings.Get("max_prepared_transactions"))
	if len(gid) >= maxGID {
		return pgerr.New(pgerr.InvalidParameterValue, "transaction identifier \"%s\" is too long", gid)
	}
	if limit == 0 {
		return pgerr.New(pgerr.ObjectNotInPrerequisiteState, "prepared transactions are disabled").WithHint("Set max_prepared_transactions to a nonzero value.")
	}
	if s.epoch != 0 {
		return pgerr.New(pgerr.FeatureNotSupported, "cannot PREPARE a transaction that has changed the schema")
	}
	if s.exported {
		return pgerr.New(pgerr.FeatureNotSupported, "cannot PREPARE a transaction that has exported snapshots")
	}
	if s.adv.OfTxn() > 0 {
		return pgerr.New(pgerr.FeatureNotSupported, "cannot PREPARE a transaction that holds advisory locks of its own").
			WithHint("Use advisory locks of the session.")
	}
	for _, p := range s.portals {
		if p.decl != nil && p.decl.hold && !p.decl.held {
			return pgerr.New(pgerr.FeatureNotSupported, "cannot PREPARE a transaction that has created a cursor WITH HOLD")
		}
	}
	rows, err := s.srv.preparedTransactions(s.ctx)
	if err != nil {
		return s.translate(err)
	}
	if len(rows) >= limit {
		return pgerr.New("53400", "maximum number of prepared transactions reached").
			WithHint("Increase max_prepared_transactions (currently %d).", limit)
	}
	return nil
}

// prepareTransaction is PREPARE TRANSACTION. The tag is ROLLBACK if there was nothing that could be prepared.
func (s *Session) prepareTransaction(ctx context.Context, gid string) (string, error) {
	switch s.block {
	case blockIdle:
		s.warn(pgerr.NoActiveSQLTransaction, "there is no transaction in progress")
		return "ROLLBACK", nil
	case blockFailed:
		s.abort(blockIdle)
		return "ROLLBACK", nil
	}
	_, err := s.srv.decider()
	if err == nil {
		err = s.mayPrepare(gid)
	}
	if err == nil {
		err = s.ensureTxn(ctx)
	}
	if err != nil {
		s.abort(blockIdle)
		return "", err
	}
	err = s.prepareTx(ctx, gid)
	for attempt := 1; err != nil && s.retryable(err, attempt); attempt++ {
		if err = s.restart(ctx, err, attempt); err == nil {
			err = s.replay(ctx, false)
		}
		if err == nil {
			err = s.prepareTx(ctx, gid)
		}
	}
	if err != nil {
		s.abort(blockIdle)
		return "", err
	}
	s.closePortals(false)
	s.xactPrepared()
	s.clearTxn(true)
	s.block = blockIdle
	return "PREPARE TRANSACTION", nil
}

// prepareTx makes one attempt.
func (s *Session) prepareTx(ctx context.Context, gid string) error {
	if s.doomed != nil {
		return s.doomed
	}
	two, ok := s.tx.(txn.TwoPhase)
	if !ok {
		return pgerr.Unsupported("PREPARE TRANSACTION", "")
	}
	if s.tx.HasWrites() {
		s.assignXactID()
		if err := s.recordXact(); err != nil {
			return s.translate(err)
		}
	}
	if err := s.checkReferences(ctx, true); err != nil {
		return s.translate(err)
	}
	row := preparedRow{GID: gid, Owner: s.user, Database: s.database, At: time.Now(), Xid: s.xid}
	announced := false
	announce := func(m kv.TxnMeta) error {
		row.Meta = m
		err := s.srv.changePrepared(ctx, gid, func(tx txn.Txn, old *preparedRow) (*preparedRow, error) {
			if old != nil && !(announced && old.At.Equal(row.At)) {
				return nil, pgerr.New(pgerr.DuplicateObject, "transaction identifier \"%s\" is already in use", gid)
			}
			return &row, nil
		})
		announced = announced || err == nil
		return err
	}
	// As a commit does: what the transaction was planned with must hold when it is prepared.
	end, err := s.srv.cfg.Catalog.BeforeCommit(ctx, s.tx, &s.uses, false)
	if err != nil {
		return s.translate(err)
	}
	_, err = two.PrepareCommit(ctx, announce)
	end()
	if err == nil {
		ready := row
		ready.Ready = true
		err = s.srv.changePrepared(ctx, gid, func(_ txn.Txn, old *preparedRow) (*preparedRow, error) {
			if old == nil || old.Meta.ID != row.Meta.ID {
				return old, kv.Errorf(kv.CodeTxnAborted, "the transaction was finished while it was being prepared")
			}
			return &ready, nil
		})
		if err == nil {
			return nil
		}
		// Prepared, and not marked so: take it back. If that cannot be done either, the row tells of it.
		if _, derr := s.srv.finishPrepared(context.WithoutCancel(ctx), &row, false); derr != nil {
			return unsurePrepared(gid, err)
		}
		return s.translate(err)
	}
	if kv.HasCode(err, kv.CodeUnknownOutcome) {
		return unsurePrepared(gid, err)
	}
	if announced {
		cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if _, derr := s.srv.dropPrepared(cctx, &row); derr != nil {
			s.srv.cfg.Log.Warn("the name of a transaction that was not prepared stays in use until somebody asks for it", "gid", gid, "err", derr)
		}
	}
	return s.translate(s.fencedXact(err))
}

// dropPrepared removes the row of a name, and reports whether it was still that of this transaction.
func (srv *Server) dropPrepared(ctx context.Context, row *preparedRow) (was bool, _ error) {
	return srv.lookPrepared(ctx, row, true)
}

// lookPrepared reports whether the row of a name is still that of this transaction, and may remove it.
func (srv *Server) lookPrepared(ctx context.Context, row *preparedRow, remove bool) (is bool, _ error) {
	err := srv.changePrepared(ctx, row.GID, func(_ txn.Txn, old *preparedRow) (*preparedRow, error) {
		if is = old != nil && old.Meta.ID == row.Meta.ID && old.At.Equal(row.At); is && remove {
			return nil, nil
		}
		return old, nil
	})
	return is, err
}

// finishPrepared decides, and forgets the name. It returns what the transaction's record says. If the name is gone by then, somebody else has
// finished it, and may have removed the record before it was asked: what it said means nothing, and the error is that there is no such transaction.
func (srv *Server) finishPrepared(ctx context.Context, row *preparedRow, commit bool) (kv.TxnStatus, error) {
	if row.Meta.ID.IsZero() { // there was nothing to write
		status := kv.TxnAborted
		if commit {
			status = kv.TxnCommitted
		}
		was, err := srv.dropPrepared(ctx, row)
		if err == nil && !was {
			err = noPrepared(row.GID)
		}
		return status, err
	}
	d, err := srv.decider()
	if err != nil {
		return kv.TxnUnknown, err
	}
	status, err := d.Decide(ctx, row.Meta, commit)
	if err != nil {
		return status, err
	}
	// If it was decided otherwise, who did so forgets the name: were it gone, they would not know that it was they.
	mine := !row.Ready || (status == kv.TxnCommitted) == commit
	was, err := srv.lookPrepared(ctx, row, mine)
	if err != nil || !was || !mine {
		if err == nil && !was {
			err = noPrepared(row.GID)
		}
		return status, err
	}
	return status, d.Forget(ctx, row.Meta)
}

func noPrepared(gid string) error {
	return pgerr.New(pgerr.UndefinedObject, "prepared transaction with identifier \"%s\" does not exist", gid)
}

// decidePrepared is COMMIT PREPARED and ROLLBACK PREPARED.
func (s *Session) decidePrepared(ctx context.Context, gid string, commit bool) error {
	name := "ROLLBACK PREPARED"
	if commit {
		name = "COMMIT PREPARED"
	}
	if err := s.outsideBlock(name); err != nil {
		return err
	}
	read := func() (row *preparedRow, err error) {
		err = s.srv.changePrepared(ctx, gid, func(_ txn.Txn, r *preparedRow) (*preparedRow, error) { row = r; return r, nil })
		return row, s.translate(exec.Translate(err, nil))
	}
	row, err := read()
	if err != nil {
		return err
	}
	if row == nil {
		return noPrepared(gid)
	}
	if row.Owner != s.user && !s.Superuser() {
		return pgerr.New(pgerr.InsufficientPrivilege, "permission denied to finish prepared transaction").
			WithHint("Must be superuser or the user that prepared the transaction.")
	}
	// From here on it may happen, and who gives up waiting is told whether it has.
	dctx, cancel := outlast(ctx, lastDecision)
	defer cancel()
	status, err := s.srv.finishPrepared(dctx, row, commit)
	switch _, told := pgerr.As(err); {
	case err == nil:
	case told:
		return err
	case status == kv.TxnCommitted || status == kv.TxnAborted || isCanceled(err) || kv.HasCode(err, kv.CodeUnknownOutcome):
		return unfinished(gid, status, err)
	default:
		return s.translate(exec.Translate(err, nil))
	}
	if (status == kv.TxnCommitted) == commit {
		return nil
	}
	if !row.Ready {
		return noPrepared(gid) // its node died before it was prepared
	}
	what, how := "rolled back", "ROLLBACK"
	if status == kv.TxnCommitted {
		what, how = "committed", "COMMIT"
	}
	return pgerr.New(pgerr.ObjectNotInPrerequisiteState, "prepared transaction with identifier \"%s\" has been %s by somebody else", gid, what).
		WithHint("If the name stays, who asked for that has gone before its end: %s PREPARED takes the name away.", how)
}

// unsurePrepared is told to who has asked for a prepare of which nobody says whether it was made.
func unsurePrepared(gid string, cause error) error {
	e := pgerr.New(pgerr.StatementCompletionUnknown, "it is not known whether the transaction is prepared as \"%s\"", gid).
		WithDetail("Reason: %v.", kv.AsError(cause).Message).
		WithHint("pg_prepared_xacts tells. ROLLBACK PREPARED makes sure that it is not, also if the answer is that there is no such name.")
	e.Cause = cause
	return e
}

// unfinished is told to who has asked for a decision that did not come to its end: the name is still there, and can be asked for again.
func unfinished(gid string, status kv.TxnStatus, cause error) error {
	what := "it is not known whether prepared transaction \"%s\" has been finished"
	switch status {
	case kv.TxnCommitted:
		what = "prepared transaction \"%s\" has been committed, but its name could not be removed"
	case kv.TxnAborted:
		what = "prepared transaction \"%s\" has been rolled back, but its name could not be removed"
	}
	e := pgerr.New(pgerr.StatementCompletionUnknown, what, gid).WithDetail("Reason: %v.", cause).
		WithHint("The command can be repeated; if the name does not exist then, it had been finished.")
	e.Cause = cause
	return e
}

// lastDecision is for how long a prepared transaction that is being finished is waited for when its client waits no longer.
const lastDecision = 5 * time.Second

// outlast returns a context that ends a while after ctx.
func outlast(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		t := time.NewTimer(by)
		defer t.Stop()
		select {
		case <-t.C:
		case <-longer.Done():
		}
		cancel()
	})
	return longer, func() { stop(); cancel() }
}

// runningTxns are the transactions that have a session, in the whole cluster.
func (s *Session) runningTxns() map[kv.TxnID]bool {
	running := map[kv.TxnID]bool{}
	for _, a := range s.activity() {
		for _, t := range a.Txns {
			running[t.ID] = true
		}
	}
	return running
}

// undecided reports whether the transaction that has an id is prepared, or being prepared: a client decides it, and nobody knows when.
func (s *Session) undecided(xid int64) (bool, error) {
	rows, err := s.srv.preparedTransactions(s.ctx)
	if err != nil {
		return false, err
	}
	for i := range rows {
		r := &rows[i]
		if r.Xid != xid || r.Meta.ID.IsZero() {
			continue
		}
		if !r.Ready && s.runningTxns()[r.Meta.ID] {
			return true, nil
		}
		d, err := s.srv.decider()
		if err != nil {
			return false, err
		}
		status, _, err := d.PreparedStatus(s.ctx, r.Meta)
		return status == kv.TxnPrepared, err
	}
	return false, nil
}

// preparedXactRows is pg_prepared_xacts.
func (s *Session) preparedXactRows() [][]*string {
	rows, err := s.srv.preparedTransactions(s.ctx)
	if err != nil {
		s.warn("01000", "prepared transactions could not be read: %v", err)
		return nil
	}
	var running map[kv.TxnID]bool
	var out [][]*string
	for i := range rows {
		r := &rows[i]
		if !r.Ready && !r.Meta.ID.IsZero() {
			// Being prepared, or left by a node that died in it: then the record knows.
			if running == nil {
				running = s.runningTxns()
			}
			d, err := s.srv.decider()
			if err != nil || running[r.Meta.ID] {
				continue
			}
			status, _, err := d.PreparedStatus(s.ctx, r.Meta)
			if err == nil && status == kv.TxnAborted {
				_, err = s.srv.dropPrepared(s.ctx, r)
			}
			if err != nil {
				s.warn("01000", "prepared transaction \"%s\" could not be looked at: %v", r.GID, err)
			}
			if status != kv.TxnPrepared {
				continue
			}
		}
		out = append(out, []*string{str(strconv.FormatUint(uint64(uint32(r.Xid)), 10)), str(r.GID), stamp(r.At), str(r.Owner), str(r.Database)})
	}
	slices.SortFunc(out, func(a, b []*string) int { return strings.Compare(*a[1], *b[1]) })
	return out
}

// runTwoPhase runs one of the three commands and returns its tag.
func (s *Session) runTwoPhase(ctx context.Context, t *ast.Transaction) (string, error) {
	switch t.Kind {
	case ast.PrepareTransaction:
		return s.prepareTransaction(ctx, t.Name)
	case ast.CommitPrepared:
		return t.Tag(), s.decidePrepared(ctx, t.Name, true)
	}
	return t.Tag(), s.decidePrepared(ctx, t.Name, false)
}
