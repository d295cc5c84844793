package sql

import (
	"context"
	"strconv"
	"time"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/pgcatalog"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// portal is a statement bound to parameters, and its execution.
type portal struct {
	name   string
	stmt   *prepared
	params []types.Datum
	buf    []byte // holds the bytes that params refer to
	shape  *RowShape
	rt     exec.Runtime

	state  portalState
	cursor exec.Cursor
	// batch is what the cursor gave last, and pos how much of it has been sent.
	batch *types.Batch
	pos   int
	sent  int64
	tag   []byte

	// store holds the rows of a cursor that must outlive what it reads from (cursor.go).
	store *exec.Kept
	// read is how many rows of store the client of a portal of the protocol has been given.
	read int64
	// decl is set for DECLAREd cursors.
	decl *declared
	// level is how many savepoints stood when it was made: it goes when the transaction goes back to an older one.
	level int
	// logged: the replay log refers to it, so its memory is not reused.
	logged bool
	// shows: its rows are shown while more of them are read, so they cannot be taken back.
	shows bool
	// last: the transaction ends with this statement (of utility statements).
	last bool
	made time.Time
}

type portalState uint8

const (
	portalNew portalState = iota
	portalRunning
	portalDone
)

// Bind makes a portal of a prepared statement. It copies what it keeps of the slices.
func (s *Session) Bind(name, stmt []byte, paramFormats []int16, params [][]byte, resultFormats []int16) (err error) {
	defer func() {
		if err != nil {
			s.failed(err)
		}
	}()
	s.refreshSettings()
	p, err := s.statement(stmt)
	if err != nil {
		return err
	}
	if len(params) != len(p.params) {
		return pgerr.New(pgerr.ProtocolViolation, "bind message supplies %d parameters, but prepared statement \"%s\" requires %d",
			len(params), p.name, len(p.params))
	}
	if len(paramFormats) > 1 && len(paramFormats) != len(params) {
		return pgerr.New(pgerr.ProtocolViolation, "bind message has %d parameter formats but %d parameters", len(paramFormats), len(params))
	}
	if s.block == blockFailed && p.stmt.Statement != nil && !mayRunFailed(p.stmt.Statement) {
		return errFailedBlock()
	}
	po, err := s.newPortal(name)
	if err != nil {
		return err
	}
	po.stmt = p
	if err := s.bindParams(po, paramFormats, params); err != nil {
		s.dropPortal(po)
		return err
	}
	if po.shape, err = s.shapeFor(p, resultFormats); err != nil {
		s.dropPortal(po)
		return err
	}
	return nil
}

// newPortal registers an empty portal under a name; one under the empty name replaces the last.
func (s *Session) newPortal(name []byte) (*portal, error) {
	if len(name) == 0 {
		if s.portal0 != nil {
			s.dropPortal(s.portal0)
		}
	} else if s.portals[string(name)] != nil {
		return nil, pgerr.New(pgerr.DuplicateCursor, "cursor \"%s\" already exists", name)
	}
	var po *portal
	if n := len(s.spare); n > 0 {
		po, s.spare = s.spare[n-1], s.spare[:n-1]
		// A command may have marked its portal after the transaction it ended had dropped it.
		*po = portal{params: po.params[:0], buf: po.buf[:0], tag: po.tag[:0]}
	} else {
		po = &portal{}
	}
	po.level = len(s.saves)
	if len(name) == 0 {
		s.portal0 = po
		return po, nil
	}
	po.name = string(name)
	po.made = time.Now()
	s.portals[po.name] = po
	return po, nil
}

func (s *Session) portal(name []byte) (*portal, error) {
	if len(name) == 0 {
		if s.portal0 == nil {
			return nil, pgerr.New(pgerr.InvalidCursorName, "portal \"\" does not exist")
		}
		return s.portal0, nil
	}
	p := s.portals[string(name)]
	if p == nil {
		return nil, pgerr.New(pgerr.InvalidCursorName, "portal \"%s\" does not exist", name)
	}
	return p, nil
}

// bindParams converts the parameters.
func (s *Session) bindParams(po *portal, formats []int16, params [][]byte) error {
	n := 0
	for _, b := range params {
		n += len(b)
	}
	if cap(po.buf) < n {
		po.buf = make([]byte, 0, max(n, 64))
	}
	buf := po.buf[:0]
	po.params = po.params[:0]
	env := s.effects.env
	for i, b := range params {
		if b == nil {
			po.params = append(po.params, types.NullDatum)
			continue
		}
		at := len(buf)
		buf = append(buf, b...)
		b = buf[at:len(buf):len(buf)]
		var f int16
		switch len(formats) {
		case 0:
		case 1:
			f = formats[0]
		default:
			f = formats[i]
		}
		t := po.stmt.params[i]
		var d types.Datum
		var err error
		switch f {
		case 0:
			if err = types.CheckText(b); err == nil {
				d, err = types.ParseText(t, b, env)
			}
		case 1:
			if types.IsString(t.OID) {
				err = types.CheckText(b)
			}
			if err == nil {
				d, err = types.ParseBinary(t, b)
			}
		default:
			err = pgerr.New(pgerr.InvalidParameterValue, "unsupported format code: %d", f)
		}
		if err != nil {
			return err
		}
		po.params = append(po.params, d)
	}
	po.buf = buf
	return nil
}

// rewind makes a portal ready to run from its start.
func (p *portal) rewind() {
	p.stop()
	p.state, p.batch, p.pos, p.sent, p.store, p.read = portalNew, nil, 0, 0, nil, 0
}

// stop closes the cursor.
func (p *portal) stop() {
	if p.cursor != nil {
		p.cursor.Close()
		p.cursor = nil
	}
	p.batch = nil
	if p.store != nil {
		p.store.Close()
		p.store = nil
	}
}

// dropPortal closes a portal and takes it out of the session.
func (s *Session) dropPortal(p *portal) {
	p.stop()
	if p == s.portal0 {
		s.portal0 = nil
	} else if s.portals[p.name] == p {
		delete(s.portals, p.name)
	}
	if !p.logged && len(s.spare) < 4 && cap(p.buf) <= 4<<10 && p.decl == nil {
		s.spare = append(s.spare, p)
	}
}

// closePortals closes what ends with the transaction: all portals, except held cursors unless all.
func (s *Session) closePortals(all bool) {
	if s.portal0 != nil {
		s.dropPortal(s.portal0)
	}
	for _, p := range s.portals {
		if !all && p.decl != nil && p.decl.held {
			continue
		}
		s.dropPortal(p)
	}
	s.one.stop()
}

// dropPortalsSince closes what was made since n savepoints stood, which is undone. Older ones are read on: what has been written
// since they began to read, they do not see (settlePortals comes before the next statement that could show them any of it).
func (s *Session) dropPortalsSince(n int) {
	if p := s.portal0; p != nil && p.level >= n {
		s.dropPortal(p)
	}
	for _, p := range s.portals {
		if p.level >= n && (p.decl == nil || !p.decl.held) {
			s.dropPortal(p)
		}
	}
	s.one.stop()
}

// Execute runs a portal for at most maxRows rows (0: all).
func (s *Session) Execute(name []byte, maxRows int) error {
	p, err := s.portal(name)
	if err != nil {
		s.failed(err)
		return err
	}
	return s.execute(p, maxRows, s.block == blockIdle && maxRows == 0 && s.client.Final())
}

// Sync ends a pipeline and with it the implicit transaction.
func (s *Session) Sync() error {
	defer s.setIdle()
	if s.block != blockIdle {
		s.reportSettings()
		return nil
	}
	if s.tx == nil && s.settings.Settled() && s.fnctx.TxnStart == 0 {
		s.reportSettings()
		return nil
	}
	ctx, err := s.begin()
	if err != nil {
		return err
	}
	defer s.finish()
	if err = s.commitImplicit(ctx); err != nil {
		err = s.visible(err)
		s.failed(err)
	}
	s.reportSettings()
	return err
}

// execute runs a portal, in the transaction that is open or in an implicit one. final: the statement is the last of its
// implicit transaction, whose commit then comes before its completion is reported.
func (s *Session) execute(p *portal, maxRows int, final bool) (err error) {
	start := time.Now()
	st := p.stmt.stmt.Statement
	if st == nil {
		s.client.Empty()
		return nil
	}
	if s.plain != "" {
		s.setActive(s.plain, start)
	} else {
		s.setActive(p.stmt.text, start)
	}
	ctx, err := s.begin()
	if err != nil {
		return err
	}
	begun := false
	defer func() {
		s.finish()
		if err != nil {
			if begun && (p == s.portal0 || s.portals[p.name] == p) {
				s.dropPortal(p)
			}
			err = s.visible(err)
			s.failed(err)
		}
		s.srv.metrics.observe(time.Since(start))
	}()
	if s.block == blockFailed && !mayRunFailed(st) {
		return errFailedBlock()
	}
	begun = true
	s.noteTxnStart(start)
	s.fnctx.StmtStart = pgMicros(start)
	if u := utilityOf(st); u != nil {
		return s.runUtility(ctx, p, u, maxRows, final)
	}
	switch p.state {
	case portalDone:
		if !returnsRows(p.stmt) {
			return pgerr.New(pgerr.ObjectNotInPrerequisiteState, "portal \"%s\" cannot be run", p.name)
		}
		s.client.Complete(append(s.tag[:0], "SELECT 0"...))
		return nil
	case portalRunning:
		final = false
	}
	resumed := p.state == portalRunning
	from := s.client.Position()
	attempt := 1
	s.fixFirst = false
	var mark statementMark
	if s.opts.Isolation == kv.ReadCommitted && s.block == blockOpen && s.tx != nil {
		mark = statementMark{s.tx.Savepoint(), s.adv.OfAttempt()}
	}
	for {
		err = s.runPortal(ctx, p, maxRows, final && s.log.len() == 0)
		if err == nil && final {
			err = s.commitLast(ctx, from)
		}
		if err == nil {
			break
		}
		s.learn(err, p.stmt.plan)
		if resumed {
			s.whyNot = resultsSent
			return err
		}
		if s.statementAgain(ctx, err, mark, from, attempt) {
			attempt++
			p.rewind()
			continue
		}
		if !s.retryable(err, attempt) || !s.cut(from) {
			return err
		}
		p.rewind() // before the replay, which would else settle the failed portal like an open cursor and fail with it
		if err = s.again(ctx, err, &attempt); err != nil {
			return err
		}
		from = s.client.Position()
	}
	if final {
		tag := p.tag
		s.finishImplicit()
		s.client.Complete(tag)
		return nil
	}
	if p.state == portalRunning {
		s.client.Suspended()
		s.log.bar("a portal had been read in part")
		return nil
	}
	s.client.Complete(p.tag)
	if resumed {
		s.log.bar("a portal had been read in part")
		return nil
	}
	s.noteWrite(p)
	s.logEntry(p, from)
	return nil
}

// commitLast commits an implicit transaction after its last statement, whose output began at from. If that fails, rows that
// never came to be are taken back, as far as they have not been sent.
func (s *Session) commitLast(ctx context.Context, from int64) error {
	err := s.commitTx(ctx)
	if err != nil {
		s.client.Cut(from)
	}
	return err
}

// finishImplicit forgets an implicit transaction that has committed.
func (s *Session) finishImplicit() {
	// The portal of the statement ends here, but its tag is still to be sent: take it along.
	s.closePortals(false)
	s.clearTxn(true)
}

// runPortal runs a planned portal's statement: rows go to the client, the tag stays in the portal.
func (s *Session) runPortal(ctx context.Context, p *portal, maxRows int, whole bool) error {
	if p.state == portalNew {
		p.shows = maxRows > 0
		if err := s.start(ctx, p, whole); err != nil {
			return s.translate(err)
		}
	}
	p.state = portalRunning
	sent := int64(0)
	rows := returnsRows(p.stmt) || len(p.shape.Fields) > 0
	for {
		if p.batch == nil {
			b, err := s.nextBatch(ctx, p)
			if err != nil {
				return s.translate(err)
			}
			if b == nil {
				break
			}
			p.batch, p.pos = b, 0
		}
		n := p.batch.Len() - p.pos
		if maxRows > 0 && int64(n) > int64(maxRows)-sent {
			n = int(int64(maxRows) - sent)
		}
		if rows {
			if err := s.client.Rows(p.shape, p.batch, p.pos, p.pos+n); err != nil {
				return s.translate(err)
			}
			if err := s.client.Err(); err != nil {
				return &pgerr.Error{Severity: "FATAL", Code: "08006", Message: "connection to client lost", Cause: err}
			}
		}
		p.pos += n
		sent += int64(n)
		if p.pos == p.batch.Len() {
			p.batch = nil
		}
		if maxRows > 0 && sent == int64(maxRows) {
			p.sent += sent
			return nil // suspended, even if nothing is left: PostgreSQL does the same
		}
	}
	p.sent += sent
	affected := sent
	if p.cursor != nil && p.stmt.plan.Tag != "SELECT" {
		affected = p.cursor.RowsAffected()
	}
	p.stop()
	p.state = portalDone
	p.tag = append(p.tag[:0], p.stmt.plan.Tag...)
	p.tag = append(p.tag, ' ')
	p.tag = strconv.AppendInt(p.tag, affected, 10)
	return nil
}

func (s *Session) nextBatch(ctx context.Context, p *portal) (*types.Batch, error) {
	if p.store != nil {
		b, err := p.store.Next(p.read)
		if b != nil {
			p.read += int64(b.Len())
			p.store.Forget(p.read - int64(b.Len()))
		}
		return b, err
	}
	return p.cursor.Next(ctx)
}

// start begins the execution of a portal's statement.
func (s *Session) start(ctx context.Context, p *portal, whole bool) error {
	if err := s.ensureTxn(ctx); err != nil {
		return err
	}
	first := !s.txUsed
	if first {
		s.freeReads = s.freeReads[:0]
	}
	if err := s.step(ctx); err != nil {
		return err
	}
	s.mayFix = first || s.opts.Isolation == kv.ReadCommitted || s.block == blockIdle && !s.log.barred
	if p.shows || s.fixFirst || s.opts.ReadOnly && s.block == blockOpen && s.opts.Isolation != kv.ReadCommitted {
		if err := s.fixSnapshot(ctx); err != nil {
			return err
		}
	}
	if err := s.revalidate(ctx, p.stmt); err != nil {
		return err
	}
	pl := p.stmt.plan
	if p.stmt.allowed != pl {
		if err := s.allow(pl); err != nil {
			return err
		}
		p.stmt.allowed = pl
	}
	if pl.KeyRead != nil {
		var err error
		if pl, err = s.lockedRead(ctx, p, pl); err != nil {
			return err
		}
	}
	switch {
	case p.shape == nil:
		var err error
		if p.shape, err = s.shapeFor(p.stmt, nil); err != nil {
			return err
		}
	case p.shape.Text != s.effects.env:
		p.shape = &RowShape{Fields: p.shape.Fields, Formats: p.shape.Formats, Text: s.effects.env}
	}
	if !pl.ReadOnly {
		if s.readOnly() {
			return pgerr.New(pgerr.ReadOnlySQLTransaction, "cannot execute %s in a read-only transaction", readOnlyName(p.stmt))
		}
		if err := s.willWrite(ctx); err != nil {
			return err
		}
	}
	p.rt = s.runtime(p)
	p.rt.Implicit = whole
	p.rt.Passing = s.opts.Isolation != kv.Serializable
	if cur, _ := currentOf(p.stmt.stmt.Statement); cur != nil {
		key, err := s.currentKey(p.stmt.stmt.Statement)
		if err != nil {
			return err
		}
		p.rt.Params = append(p.rt.Params[:len(p.rt.Params):len(p.rt.Params)], key...)
	}
	var err error
	p.cursor, err = exec.Start(ctx, &p.rt, pl)
	return err
}

// runtime is what p's statement runs in.
func (s *Session) runtime(p *portal) exec.Runtime {
	fn := &s.fnctx
	if p.shows { // its scans may go on while later statements change the session's
		own := s.fnctx
		fn = &own
	}
	return exec.Runtime{Txn: s.tx, Catalog: s.snap, Ctx: fn, Params: p.params, Virtual: pgcatalog.Tables{},
		TempDir: s.srv.cfg.TempDir, Bulk: s.srv.cfg.Bulk, Node: s.srv.cfg.Node, Savepoint: len(s.saves) > 0, References: &s.refs, Wrote: s.srv.noted, Memory: exec.NewBudget(s.effects.memory, s.srv.cfg.Memory)}
}

func readOnlyName(p *prepared) string {
	if sel, ok := p.stmt.Statement.(*ast.Select); ok && len(sel.Locking) > 0 {
		return "SELECT " + plan.LockName(sel.Locking[0].Strength)
	}
	if p.plan.Tag == "SELECT" {
		return "SELECT" // which changes data in WITH
	}
	return commandName(p.stmt.Statement)
}
