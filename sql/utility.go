package sql

import (
	"context"
	"strconv"
	"strings"

	"github.com/pamirdb/pamir/sql/access"
	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/role"
	"github.com/pamirdb/pamir/sql/setting"
	"github.com/pamirdb/pamir/sql/types"
)

// utilityOf returns a statement that does not go through the planner, or nil.
func utilityOf(st ast.Statement) ast.Statement {
	if planned(st) {
		return nil
	}
	return st
}

func textField(name string) plan.Field {
	return plan.Field{Name: name, Type: types.Of(types.TextOID)}
}

// utilityFields are the columns of a utility statement's result; nil if it has none.
func (s *Session) utilityFields(ctx context.Context, p *prepared) ([]plan.Field, error) {
	switch st := p.stmt.Statement.(type) {
	case *ast.Show:
		if strings.EqualFold(st.Name, "all") {
			return []plan.Field{textField("name"), textField("setting"), textField("description")}, nil
		}
		if d := setting.Find(st.Name); d != nil {
			return []plan.Field{textField(d.Name)}, nil
		}
		if _, ok := s.settings.Lookup(st.Name); ok {
			return []plan.Field{textField(st.Name)}, nil
		}
		return nil, setting.Unrecognized(st.Name)
	case *ast.Explain:
		return explainFields(st), nil
	case *ast.Execute:
		q := s.stmts[st.Name]
		if q == nil {
			return nil, pgerr.New(pgerr.InvalidSQLStatementName, "prepared statement \"%s\" does not exist", st.Name)
		}
		return q.fields, nil
	case *ast.Fetch:
		if c := s.portals[st.Cursor]; c != nil && !st.Move {
			return c.shape.Fields, nil
		}
	}
	return nil, nil
}

// runUtility runs a statement that has no plan and reports its completion.
func (s *Session) runUtility(ctx context.Context, p *portal, st ast.Statement, maxRows int, final bool) error {
	if p.state == portalDone && len(p.shape.Fields) == 0 {
		return pgerr.New(pgerr.ObjectNotInPrerequisiteState, "portal \"%s\" cannot be run", p.name)
	}
	if p.shape == nil || p.stmt.fields == nil {
		fields, err := s.utilityFields(ctx, p.stmt)
		if err != nil {
			return err
		}
		p.stmt.fields = fields
	}
	from := s.client.Position()
	switch st := st.(type) {
	case *ast.Transaction:
		return s.runTransaction(ctx, p, st)
	case *ast.Execute:
		return s.runExecute(ctx, p, st, maxRows, final)
	}
	p.last = final
	replayable := replaysUtility(st)
	attempt := 1
	for {
		tag, err := s.utility(ctx, p, st)
		if err == nil && final {
			err = s.commitTx(ctx)
		}
		if err == nil {
			p.state = portalDone
			p.tag = append(p.tag[:0], tag...)
			break
		}
		err = placed(s.translate(err), p.stmt)
		if !replayable {
			s.whyNot = withArticle(st) + " cannot be run again"
			return err
		}
		if !s.retryable(err, attempt) || !s.cut(from) {
			return err
		}
		if err = s.again(ctx, err, &attempt); err != nil {
			return err
		}
		from = s.client.Position()
		p.state = portalNew
	}
	tag := p.tag
	if final {
		s.finishImplicit()
	} else if s.tx != nil && s.txUsed {
		switch {
		case replayable:
			s.logUtility(p, from)
		case !passive(st):
			s.log.bar(withArticle(st) + " cannot be run again")
		}
	}
	s.client.Complete(tag)
	s.refreshSettings()
	return nil
}

// passive statements have no effect on the transaction's data: a replay passes them by.
func passive(st ast.Statement) bool {
	switch st.(type) {
	case *ast.Set, *ast.Show, *ast.Prepare, *ast.Deallocate, *ast.Discard, *ast.Unlisten, *ast.ClosePortal, *ast.Checkpoint:
		return true
	}
	return false
}

// replaysUtility reports whether a utility statement can be run again in a new attempt of its transaction.
func replaysUtility(st ast.Statement) bool {
	switch st := st.(type) {
	case *ast.Copy:
		return !st.From
	case *ast.DeclareCursor, *ast.Fetch, *ast.Execute, *ast.Vacuum:
		return false
	}
	return !passive(st)
}

// logUtility keeps a data-changing utility statement (DDL, EXPLAIN ANALYZE) for replays. Replays of schema changes run
// through the general path only when nothing has been sent; in a block they bar the log.
func (s *Session) logUtility(p *portal, _ int64) {
	s.log.bar(withArticle(p.stmt.stmt.Statement) + " in a transaction block is not run again")
}

func (s *Session) runTransaction(ctx context.Context, p *portal, t *ast.Transaction) error {
	tag := t.Tag()
	switch t.Kind {
	case ast.Begin, ast.StartTransaction:
		if err := s.beginBlock(t); err != nil {
			return err
		}
	case ast.Commit:
		var err error
		if tag, err = s.commitBlock(ctx, t); err != nil {
			return err
		}
	case ast.Rollback:
		if err := s.rollbackBlock(t); err != nil {
			return err
		}
	case ast.Savepoint, ast.Release, ast.RollbackTo:
		if err := s.savepointCommand(ctx, t); err != nil {
			return s.translate(err)
		}
		// A replay would have to make and roll back savepoints at the same places.
		s.log.bar("a savepoint had been set")
	default:
		var err error
		if tag, err = s.runTwoPhase(ctx, t); err != nil {
			return err
		}
	}
	p.state = portalDone
	s.client.Complete([]byte(tag))
	s.refreshSettings()
	return nil
}

// utility runs a statement that is neither planned nor about transactions, and returns its tag.
func (s *Session) utility(ctx context.Context, p *portal, st ast.Statement) (string, error) {
	switch st := st.(type) {
	case *ast.Set:
		return st.Tag(), s.runSet(st)
	case *ast.Show:
		return "SHOW", s.runShow(p, st)
	case *ast.Discard:
		return st.Tag(), s.runDiscard(st)
	case *ast.Explain:
		return "EXPLAIN", s.runExplain(ctx, p, st)
	case *ast.Vacuum:
		return st.Tag(), s.runVacuum(ctx, st)
	case *ast.Prepare:
		return "PREPARE", s.runPrepare(ctx, st)
	case *ast.Deallocate:
		return st.Tag(), s.runDeallocate(st)
	case *ast.DeclareCursor:
		return "DECLARE CURSOR", s.runDeclare(ctx, st, p.stmt.text)
	case *ast.Fetch:
		return s.runFetch(ctx, p, st)
	case *ast.ClosePortal:
		return st.Tag(), s.runClosePortal(st)
	case *ast.Copy:
		return s.runCopy(ctx, p, st)
	case *ast.Lock:
		return st.Tag(), s.runLock(ctx, st)
	case *ast.SetConstraints:
		return st.Tag(), s.runSetConstraints(ctx, st)
	case *ast.Unlisten:
		return st.Tag(), nil // nobody listens
	case *ast.Listen, *ast.Notify:
		return "", unsupportedStatement(st.Tag())
	case *ast.Checkpoint:
		return st.Tag(), nil // what is committed is on disk
	case *ast.CreateDatabase, *ast.DropDatabase:
		return "", pgerr.Unsupported(st.Tag(), "A cluster has one database, \""+s.srv.cfg.Database+"\". Use schemas.")
	case *ast.CreateExtension:
		if st.IfNotExists && st.Name == "plpgsql" {
			return st.Tag(), nil // pg_dump writes it into every dump
		}
		return "", pgerr.Unsupported("extension \""+st.Name+"\"", "")
	case *ast.Reindex:
		s.notice(&pgerr.Error{Severity: "NOTICE", Message: "REINDEX does nothing here", Detail: "Indexes are kept in order by every write; they do not bloat."})
		return st.Tag(), nil
	case *ast.Unsupported:
		return "", unsupportedStatement(st.Name)
	}
	if access.Handles(st) {
		return s.runAccess(ctx, st)
	}
	return s.runDDL(ctx, p, st)
}

// sendText sends rows of text as the result of a utility statement.
func (s *Session) sendText(p *portal, rows [][]string) error {
	if p.shape == nil {
		p.shape = &RowShape{Fields: p.stmt.fields, Formats: make([]int16, len(p.stmt.fields)), Text: s.effects.env}
	}
	for len(rows) > 0 {
		n := min(len(rows), types.BatchSize)
		b := &types.Batch{N: n, Cols: make([]*types.Vec, len(p.shape.Fields))}
		for j, f := range p.shape.Fields {
			v := types.NewVec(f.Type, n)
			for i := range n {
				v.AppendDatum(types.NewString(rows[i][j]))
			}
			b.Cols[j] = v
		}
		if err := s.client.Rows(p.shape, b, 0, n); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

func (s *Session) runShow(p *portal, st *ast.Show) error {
	if !strings.EqualFold(st.Name, "all") {
		v, ok := s.settings.Lookup(st.Name)
		if !ok {
			return setting.Unrecognized(st.Name)
		}
		return s.sendText(p, [][]string{{v}})
	}
	var rows [][]string
	for _, d := range setting.All() {
		if !d.Hidden {
			rows = append(rows, []string{d.Name, d.Show(s.settings.Value(d)), d.Short})
		}
	}
	for name, v := range s.settings.Custom() {
		rows = append(rows, []string{name, v, ""})
	}
	return s.sendText(p, rows)
}

func (s *Session) runSet(st *ast.Set) error {
	switch st.Kind {
	case ast.ResetAll:
		s.settings.ResetAll()
		return nil
	case ast.ResetOne:
		return s.settings.Reset(st.Name, false)
	case ast.SetMulti:
		switch st.Name {
		case "TRANSACTION":
			if s.alone() {
				s.warn(pgerr.NoActiveSQLTransaction, "SET TRANSACTION can only be used in transaction blocks")
			}
			return s.applyTxnOptions(st.Options)
		case "TRANSACTION SNAPSHOT":
			name, err := s.setValue(st)
			if err != nil {
				return err
			}
			return s.importSnapshot(name)
		case "SESSION CHARACTERISTICS":
			for _, o := range st.Options {
				if err := s.settings.Set("default_"+o.Name, o.Text, false); err != nil {
					return err
				}
			}
			return nil
		}
		return pgerr.Unsupported("SET "+st.Name, "")
	case ast.SetFromCurrent:
		return nil // keeps the value
	}
	if st.Local && s.alone() {
		s.warn(pgerr.NoActiveSQLTransaction, "SET LOCAL can only be used in transaction blocks")
	}
	if st.Kind == ast.SetToDefault {
		return s.settings.Reset(st.Name, st.Local)
	}
	v, err := s.setValue(st)
	if err != nil {
		return err
	}
	return s.settings.Set(st.Name, v, st.Local)
}

// setValue turns SET's arguments into one string.
func (s *Session) setValue(st *ast.Set) (string, error) {
	d := setting.Find(st.Name)
	if len(st.Args) > 1 && (d == nil || !d.List) {
		return "", pgerr.New(pgerr.InvalidParameterValue, "SET %s takes only one argument", st.Name)
	}
	var b strings.Builder
	for i, a := range st.Args {
		if i > 0 {
			b.WriteString(", ")
		}
		switch a := a.(type) {
		case *ast.Literal:
			v := a.Text
			switch a.Kind {
			case ast.IntLiteral:
				v = strconv.Itoa(int(a.Int))
			case ast.BoolLiteral:
				v = strconv.FormatBool(a.Bool)
			}
			if d != nil && d.Quote && a.Kind == ast.StringLiteral {
				v = setting.QuoteIdentifier(v)
			}
			b.WriteString(v)
		case *ast.Cast:
			v, err := s.zoneInterval(a)
			if err != nil {
				return "", err
			}
			b.WriteString(v)
		default:
			return "", pgerr.New(pgerr.InvalidParameterValue, "invalid value for parameter \"%s\"", st.Name)
		}
	}
	return b.String(), nil
}

// zoneInterval is SET TIME ZONE INTERVAL '...' HOUR TO MINUTE: hours east of Greenwich.
func (s *Session) zoneInterval(a *ast.Cast) (string, error) {
	l, ok := a.Arg.(*ast.Literal)
	if !ok {
		return "", pgerr.New(pgerr.SyntaxError, "time zone interval must be HOUR or HOUR TO MINUTE")
	}
	d, err := types.ParseText(types.Of(types.IntervalOID), []byte(l.Text), s.effects.env)
	if err != nil {
		return "", err
	}
	iv := d.Interval()
	if iv.Months != 0 {
		return "", pgerr.New(pgerr.InvalidParameterValue, "invalid value for parameter \"TimeZone\": \"%s\"", l.Text).WithDetail("Cannot specify months in time zone interval.")
	}
	if iv.Days != 0 {
		return "", pgerr.New(pgerr.InvalidParameterValue, "invalid value for parameter \"TimeZone\": \"%s\"", l.Text).WithDetail("Cannot specify days in time zone interval.")
	}
	return strconv.FormatFloat(float64(iv.Micros)/3600e6, 'f', -1, 64), nil
}

func (s *Session) runDiscard(st *ast.Discard) error {
	switch st.What {
	case "ALL":
		if err := s.outsideBlock("DISCARD ALL"); err != nil {
			return err
		}
		s.closePortals(true)
		s.adv.UnlockAll(s.ctx)
		if err := s.settings.Reset("session_authorization", false); err != nil {
			return err
		}
		s.settings.ResetAll()
		clear(s.stmts)
		s.unnamed = nil
		s.texts.init()
	case "PLANS":
		s.texts.init()
	}
	return nil
}

func (s *Session) runDeallocate(st *ast.Deallocate) error {
	if st.Name == "" {
		clear(s.stmts)
		return nil
	}
	if s.stmts[st.Name] == nil {
		return pgerr.New(pgerr.InvalidSQLStatementName, "prepared statement \"%s\" does not exist", st.Name)
	}
	delete(s.stmts, st.Name)
	return nil
}

// runLock accepts the locks that readers and writers hold anyway.
func (s *Session) runLock(ctx context.Context, st *ast.Lock) error {
	if s.alone() {
		return pgerr.New(pgerr.NoActiveSQLTransaction, "LOCK TABLE can only be used in transaction blocks")
	}
	if st.Mode > 3 {
		return pgerr.Unsupported("LOCK TABLE in a mode that excludes writers",
			"Transactions are serializable; lock rows with SELECT ... FOR UPDATE where you want others to wait.")
	}
	for _, t := range st.Tables {
		rel, err := s.relation(ctx, t)
		if err != nil {
			return err
		}
		need := role.Select | role.Insert | role.Update | role.Delete | role.Truncate
		if st.Mode > 1 {
			need = role.Update | role.Delete | role.Truncate | role.Insert
		}
		if s.snap.Roles().Privileges(s.user, rel.Object())&need == 0 {
			return plan.Denied(rel)
		}
	}
	return nil
}
