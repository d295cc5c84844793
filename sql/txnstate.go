package sql

import (
	"context"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/setting"
	"github.com/pamirdb/pamir/txn"
)

// blockState is where the session stands with its transaction block.
//
//	idle      no block; a transaction, if there is one, is implicit and ends with the message or at Sync
//	open      inside BEGIN ... COMMIT
//	failed    an error happened inside; only the end of the block, or a return to a savepoint, is accepted
type blockState uint8

const (
	blockIdle blockState = iota
	blockOpen
	blockFailed
)

// txnSettings are the transaction_* settings: of the running transaction, as BEGIN and SET TRANSACTION gave them.
type txnSettings struct {
	isolation  string
	readOnly   bool
	deferrable bool
	snapshot   hlc.Timestamp // SET TRANSACTION SNAPSHOT
	set        bool          // the values are this transaction's; otherwise the session's defaults hold
}

// savepoint of a block.
type savepoint struct {
	name     string
	mark     txn.Mark
	settings int
	log      int
	advisory int
	// opts are what SET TRANSACTION had said: they come back when the savepoint goes, either way.
	opts txnSettings
}

// Status is the transaction status of ReadyForQuery.
func (s *Session) Status() byte {
	switch s.block {
	case blockOpen:
		return 'T'
	case blockFailed:
		return 'E'
	}
	return 'I'
}

func (s *Session) defaults() txnSettings {
	c := &s.settings
	return txnSettings{
		isolation:  c.Get("default_transaction_isolation"),
		readOnly:   c.Get("default_transaction_read_only") == "on",
		deferrable: c.Get("default_transaction_deferrable") == "on",
	}
}

func (s *Session) txnOptions() txnSettings {
	if s.setOpts.set {
		return s.setOpts
	}
	return s.defaults()
}

// txnSetting is SHOW transaction_isolation and its like.
func (s *Session) txnSetting(name string) string {
	t := s.txnOptions()
	switch name {
	case "transaction_isolation":
		return t.isolation
	case "transaction_read_only":
		return setting.OnOff(s.readOnly())
	}
	return setting.OnOff(t.deferrable)
}

// applyTxnOptions changes the current transaction's options, as BEGIN and SET TRANSACTION do.
func (s *Session) applyTxnOptions(opts []ast.Option) error {
	t := s.txnOptions()
	t.set = true
	sub := len(s.saves) > 0
	for _, o := range opts {
		switch o.Name {
		case "transaction_isolation":
			if s.txUsed && o.Text != t.isolation {
				return pgerr.New(pgerr.ActiveSQLTransaction, "SET TRANSACTION ISOLATION LEVEL must be called before any query")
			}
			if sub && o.Text != t.isolation {
				return pgerr.New(pgerr.ActiveSQLTransaction, "SET TRANSACTION ISOLATION LEVEL must not be called in a subtransaction")
			}
			t.isolation = o.Text
		case "transaction_read_only":
			ro, _ := setting.ParseBool(o.Text)
			if !ro && t.readOnly && sub {
				return pgerr.New(pgerr.ActiveSQLTransaction, "cannot set transaction read-write mode inside a read-only transaction")
			}
			if !ro && t.readOnly && s.txUsed {
				return pgerr.New(pgerr.ActiveSQLTransaction, "transaction read-write mode must be set before any query")
			}
			t.readOnly = ro
		case "transaction_deferrable":
			if sub {
				return pgerr.New(pgerr.ActiveSQLTransaction, "SET TRANSACTION [NOT] DEFERRABLE cannot be called within a subtransaction")
			}
			if s.txUsed {
				return pgerr.New(pgerr.ActiveSQLTransaction, "SET TRANSACTION [NOT] DEFERRABLE must be called before any query")
			}
			t.deferrable, _ = setting.ParseBool(o.Text)
		}
	}
	s.setOpts = t
	return nil
}

// startTxn notes the beginning of a transaction: its time, and the options it will run with. The ranges
// hear of it only with its first read.
func (s *Session) noteTxnStart(now time.Time) {
	if s.fnctx.TxnStart == 0 {
		s.fnctx.TxnStart = pgMicros(now)
	}
}

// pgEpoch is 2000-01-01 UTC.
var pgEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

func pgMicros(t time.Time) int64 { return t.UnixMicro() - pgEpoch }

// ensureTxn makes the transaction ready for a statement that reads or writes.
func (s *Session) ensureTxn(ctx context.Context) error {
	if s.doomed != nil {
		return s.doomed
	}
	if s.tx == nil {
		if err := s.awaitClock(ctx); err != nil {
			return err
		}
		o := txn.Options{LockTimeout: s.effects.lockTimeout, Session: s.pid}
		t := s.txnOptions()
		switch t.isolation {
		case "serializable":
			o.Isolation = kv.Serializable
		case "repeatable read":
			o.Isolation = kv.RepeatableRead
		default:
			o.Isolation = kv.ReadCommitted
		}
		o.ReadOnly = t.readOnly
		if !t.snapshot.IsEmpty() {
			o.ReadAsOf, o.ReadOnly = t.snapshot, true
		} else if as := s.settings.Get("pamir.read_as_of"); as != "" {
			ts, err := s.readAsOf(as)
			if err != nil {
				return err
			}
			o.ReadAsOf, o.ReadOnly = ts, true
		}
		s.opts = o
		s.tx = s.srv.cfg.Gateway.Begin(ctx, o)
		s.txUsed = false
		s.snap = nil
	}
	return nil
}

// awaitClock waits until this node may say what time it is: a snapshot is about to be taken, and with it the catalog's version.
func (s *Session) awaitClock(ctx context.Context) error {
	if a, ok := s.srv.cfg.Gateway.(txn.ClockAwaiter); ok {
		return exec.Translate(a.AwaitClock(ctx), nil)
	}
	return nil
}

// step marks a statement boundary in a transaction that has run statements before.
func (s *Session) step(ctx context.Context) error {
	if !s.pinned.IsEmpty() {
		if err := s.pin(ctx); err != nil {
			return err
		}
	}
	if s.txUsed {
		if s.opts.Isolation == kv.ReadCommitted {
			if err := s.awaitClock(ctx); err != nil {
				return err
			}
		}
		if s.opts.Isolation == kv.ReadCommitted || s.txWrote {
			if err := s.settlePortals(ctx); err != nil {
				return err
			}
		}
		if err := s.tx.StepStatement(ctx); err != nil {
			return err
		}
		if s.opts.Isolation == kv.ReadCommitted {
			s.snap = nil
			if !s.tx.HasWrites() {
				s.uses.Reset() // what has only been read had its own snapshot
			}
		}
	}
	s.txUsed = true
	return nil
}

// willWrite notes that the statement which begins may write. What foreign keys and changes of the schema do within it takes steps of its own, after which cursors
// would see what it has written: they are read to their ends before.
func (s *Session) willWrite(ctx context.Context) error {
	if s.txWrote {
		return nil // step has done so
	}
	s.txWrote = true
	return s.settlePortals(ctx)
}

// alone reports whether the statement is an implicit transaction of its own, so that what holds to the end of a transaction would have no effect.
func (s *Session) alone() bool { return s.block == blockIdle && !s.several }

// outsideBlock refuses a statement that commits by itself, or undoes nothing, where others could be rolled back with it: in a block, in a simple-query
// message with other statements, and in a pipeline after statements that have used the implicit transaction.
func (s *Session) outsideBlock(what string) error {
	if s.block != blockIdle || s.several || s.tx != nil && s.txUsed {
		return pgerr.New(pgerr.ActiveSQLTransaction, "%s cannot run inside a transaction block", what)
	}
	return nil
}

// readOnly reports whether the transaction may not write.
func (s *Session) readOnly() bool {
	if s.txnOptions().readOnly {
		return true
	}
	if s.tx == nil {
		return s.settings.Get("pamir.read_as_of") != ""
	}
	return s.opts.ReadOnly
}

// clearTxn forgets the transaction, which has ended; commit tells how.
func (s *Session) clearTxn(commit bool) {
	s.tx = nil
	s.txUsed, s.txWrote, s.epoch = false, false, 0
	s.doomed = nil
	s.snap = nil
	s.uses.Reset()
	s.xactEnded(commit)
	s.pinned, s.exported = hlc.Timestamp{}, false
	s.opts = txn.Options{}
	s.setOpts = txnSettings{}
	s.saves = s.saves[:0]
	s.refs.End()
	s.fnctx.TxnStart = 0
	s.log.reset()
	s.endFirst()
	s.adv.EndTxn(0)
	s.adv.EndAttempt()
	s.settings.End(commit)
	s.refreshSettings()
	if commit {
		s.srv.metrics.Commits.Add(1)
	} else {
		s.srv.metrics.Rollbacks.Add(1)
	}
}

// abort rolls the transaction back and leaves the block in state next.
func (s *Session) abort(next blockState) {
	s.closePortals(false)
	if s.tx != nil {
		// The statement's context may have ended; giving locks back must not depend on it.
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		s.tx.Rollback(ctx)
		cancel()
	}
	opts, start := s.setOpts, s.fnctx.TxnStart
	s.clearTxn(false)
	if next != blockIdle {
		s.setOpts, s.fnctx.TxnStart = opts, start
	}
	s.block = next
}

// failed acts on the transaction after an error: an implicit one is rolled back, a block fails.
func (s *Session) failed(err error) {
	s.srv.metrics.Errors.Add(1)
	switch s.block {
	case blockIdle:
		s.abort(blockIdle)
	case blockOpen:
		if len(s.saves) > 0 && s.tx != nil {
			// There is something to go back to: keep the transaction, with its locks, unless it is beyond use.
			if class(err) == kv.RetryTxn {
				s.doomed = err
			}
			s.dropPortalsSince(len(s.saves))
			s.block = blockFailed
			return
		}
		s.abort(blockFailed)
	}
}

// Fail tells of an error outside the session (a malformed message).
func (s *Session) Fail() { s.failed(nil) }

// beginBlock is BEGIN and START TRANSACTION.
func (s *Session) beginBlock(t *ast.Transaction) error {
	switch s.block {
	case blockOpen, blockFailed:
		s.warn(pgerr.ActiveSQLTransaction, "there is already a transaction in progress")
	default:
		s.block = blockOpen
		s.noteTxnStart(time.Now())
	}
	return s.applyTxnOptions(t.Options)
}

// commitTx commits what there is; the transaction is over if it returns nil.
func (s *Session) commitTx(ctx context.Context) error {
	if s.doomed != nil {
		return s.doomed
	}
	if s.tx == nil {
		return nil
	}
	if err := s.holdPortals(ctx); err != nil {
		return err
	}
	if err := s.checkReferences(ctx, true); err != nil {
		return s.translate(err)
	}
	if err := s.recordXact(); err != nil {
		return s.translate(err)
	}
	end, err := s.srv.cfg.Catalog.BeforeCommit(ctx, s.tx, &s.uses, s.epoch != 0)
	if err == nil {
		_, err = s.tx.Commit(ctx)
		end()
		if err != nil && s.xid != 0 {
			err = s.fencedXact(err)
		}
	}
	if err == nil {
		s.portalsHeld()
	}
	return s.resolvable(s.translate(err))
}

// commitBlock is COMMIT; the tag is ROLLBACK if the block had failed.
func (s *Session) commitBlock(ctx context.Context, t *ast.Transaction) (string, error) {
	switch s.block {
	case blockIdle:
		if t.Chain {
			return "", pgerr.New(pgerr.NoActiveSQLTransaction, "COMMIT AND CHAIN can only be used in transaction blocks")
		}
		s.warn(pgerr.NoActiveSQLTransaction, "there is no transaction in progress")
		return "COMMIT", s.commitImplicit(ctx)
	case blockFailed:
		opts := s.setOpts
		s.abort(blockIdle)
		s.chain(t, opts)
		return "ROLLBACK", nil
	}
	err := s.commitTx(ctx)
	s.learn(err, nil)
	for attempt := 1; err != nil && s.retryable(err, attempt); attempt++ {
		if err = s.restart(ctx, err, attempt); err == nil {
			err = s.replay(ctx, false)
		}
		if err == nil {
			err = s.commitTx(ctx)
		}
	}
	if err != nil {
		s.abort(blockIdle)
		return "", err
	}
	s.noteReads()
	opts := s.setOpts
	s.closePortals(false)
	s.clearTxn(true)
	s.block = blockIdle
	s.chain(t, opts)
	return "COMMIT", nil
}

// chain opens the next block of COMMIT AND CHAIN.
func (s *Session) chain(t *ast.Transaction, opts txnSettings) {
	if t.Chain {
		s.block = blockOpen
		s.setOpts = opts
		s.noteTxnStart(time.Now())
	}
}

// rollbackBlock is ROLLBACK.
func (s *Session) rollbackBlock(t *ast.Transaction) error {
	if s.block == blockIdle {
		if t.Chain {
			return pgerr.New(pgerr.NoActiveSQLTransaction, "ROLLBACK AND CHAIN can only be used in transaction blocks")
		}
		s.warn(pgerr.NoActiveSQLTransaction, "there is no transaction in progress")
		s.abort(blockIdle)
		return nil
	}
	s.noteReads()
	opts := s.setOpts
	s.abort(blockIdle)
	s.chain(t, opts)
	return nil
}

// commitImplicit ends an implicit transaction. Results that have not been sent are cut and made again if it must be retried.
func (s *Session) commitImplicit(ctx context.Context) error {
	if s.block != blockIdle {
		return nil
	}
	err := s.commitTx(ctx)
	for attempt := 1; err != nil && s.retryable(err, attempt); attempt++ {
		if err = s.restart(ctx, err, attempt); err == nil {
			err = s.replay(ctx, true)
		}
		if err == nil {
			err = s.commitTx(ctx)
		}
	}
	if err != nil {
		return err
	}
	s.closePortals(false)
	s.clearTxn(true)
	return nil
}

// newEpoch says that the transaction has changed the catalog, or taken back a change: its version number does not tell
// what the transaction sees from here on, and plans made before are not good.
func (s *Session) newEpoch() {
	s.epochs++
	s.epoch = s.epochs
}

// savepointCommand is SAVEPOINT, RELEASE and ROLLBACK TO.
func (s *Session) savepointCommand(ctx context.Context, t *ast.Transaction) error {
	if s.block == blockIdle {
		what := map[ast.TxnKind]string{ast.Savepoint: "SAVEPOINT", ast.Release: "RELEASE SAVEPOINT", ast.RollbackTo: "ROLLBACK TO SAVEPOINT"}[t.Kind]
		return pgerr.New(pgerr.NoActiveSQLTransaction, "%s can only be used in transaction blocks", what)
	}
	if t.Kind == ast.Savepoint {
		if err := s.ensureTxn(ctx); err != nil {
			return err
		}
		s.saves = append(s.saves, savepoint{t.Name, s.tx.Savepoint(), s.settings.Mark(), s.log.len(), s.adv.OfTxn(), s.setOpts})
		return nil
	}
	i := len(s.saves) - 1
	for i >= 0 && s.saves[i].name != t.Name {
		i--
	}
	if i < 0 {
		return pgerr.New("3B001", "savepoint \"%s\" does not exist", t.Name)
	}
	if t.Kind == ast.Release {
		s.setOpts = s.saves[i].opts
		s.saves = s.saves[:i]
		for _, p := range s.portals {
			p.level = min(p.level, i)
		}
		return nil
	}
	if s.doomed != nil {
		return s.doomed
	}
	p := s.saves[i]
	s.dropPortalsSince(i + 1)
	s.setOpts = p.opts
	s.tx.RollbackTo(p.mark)
	s.refs.Undo()
	s.adv.EndTxn(p.advisory)
	s.settings.RollbackTo(p.settings)
	s.saves = s.saves[:i+1]
	s.snap = nil // the catalog changes made since are gone
	if s.epoch != 0 {
		s.newEpoch()
	}
	s.block = blockOpen
	return nil
}
