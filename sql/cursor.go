package sql

import (
	"context"
	"strconv"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
)

// declared is what makes a portal a cursor.
type declared struct {
	text   string // of DECLARE, as it was sent
	hold   bool   // WITH HOLD
	held   bool   // its transaction has committed; its rows are in the store
	scroll bool
	binary bool
	// failed: reading it has failed, and it cannot be read on.
	failed bool
	// at is the current position: 0 before the first row, n on row n, count+1 after the last.
	at int64
	// end is the number of rows once known, -1 before.
	end int64
}

// newStore is where p's rows are kept.
func (s *Session) newStore(p *portal) *exec.Kept { return exec.NewKept(s.srv.cfg.TempDir, p.rt.Memory) }

// settle reads the rest of a portal's rows and keeps them, so that statements after it cannot change them.
func (s *Session) settle(ctx context.Context, p *portal) error {
	if p.cursor == nil {
		return nil
	}
	err := s.readRest(ctx, p)
	// The statement that meets this may be a small one, and have nothing to do with the cursor. What does not fit into memory is a single row,
	// or what the query itself needs.
	if e, ok := pgerr.As(err); ok && e.Code == pgerr.OutOfMemory && p.decl != nil {
		return pgerr.New(pgerr.OutOfMemory, "the rows of cursor \"%s\" that have not been fetched do not fit into memory", p.name).WithDetail("%s", e.Detail).
			WithHint("They are kept when its transaction writes, when it runs other statements at READ COMMITTED, and at COMMIT for WITH HOLD. Fetch all before, make the cursor's query smaller, or raise pamir.statement_memory.")
	}
	return err
}

func (s *Session) readRest(ctx context.Context, p *portal) error {
	if p.store == nil {
		p.store = s.newStore(p)
	}
	if p.batch != nil && p.decl == nil {
		if err := p.store.Add(p.batch, p.pos); err != nil {
			return err
		}
	}
	p.batch = nil
	for {
		b, err := p.cursor.Next(ctx)
		if err != nil {
			return err
		}
		if b == nil {
			break
		}
		if err := p.store.Add(b, 0); err != nil {
			return err
		}
	}
	p.cursor.Close()
	p.cursor = nil
	if p.decl != nil {
		p.decl.end = p.store.Rows()
	}
	return nil
}

// settlePortals settles every portal that is part way through its rows.
func (s *Session) settlePortals(ctx context.Context) error {
	if p := s.portal0; p != nil && p.state == portalRunning {
		if err := s.settle(ctx, p); err != nil {
			return err
		}
	}
	for _, p := range s.portals {
		if p.state == portalRunning {
			if err := s.settle(ctx, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// holdPortals makes the WITH HOLD cursors of the transaction that is about to commit independent of it. Until it has, they go with it.
func (s *Session) holdPortals(ctx context.Context) error {
	for _, p := range s.portals {
		if p.decl == nil || !p.decl.hold || p.decl.held {
			continue
		}
		if err := s.settle(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// portalsHeld leaves the WITH HOLD cursors of the transaction, which has committed, to the session.
func (s *Session) portalsHeld() {
	for _, p := range s.portals {
		if p.decl != nil && p.decl.hold {
			p.decl.held = true
		}
	}
}

// checkDeclare refuses what PostgreSQL refuses.
func checkDeclare(st *ast.DeclareCursor) error {
	sel, ok := st.Query.(*ast.Select)
	if !ok {
		return nil
	}
	if st.Scroll == 'b' {
		return pgerr.New(pgerr.InvalidCursorDefinition, "cannot specify both SCROLL and NO SCROLL")
	}
	if sel.With != nil {
		for _, c := range sel.With.CTEs {
			if _, ok := c.Query.(*ast.Select); !ok {
				return pgerr.New(pgerr.FeatureNotSupported, "DECLARE CURSOR must not contain data-modifying statements in WITH")
			}
		}
	}
	if len(sel.Locking) == 0 {
		return nil
	}
	strength := plan.LockName(sel.Locking[0].Strength)
	switch {
	case st.Hold:
		return pgerr.New(pgerr.FeatureNotSupported, "DECLARE CURSOR WITH HOLD ... %s is not supported", strength).
			WithDetail("Holdable cursors must be READ ONLY.")
	case st.Scroll == 's':
		return pgerr.New(pgerr.FeatureNotSupported, "DECLARE SCROLL CURSOR ... %s is not supported", strength).
			WithDetail("Scrollable cursors must be READ ONLY.")
	case st.Insensitive:
		return pgerr.New(pgerr.InvalidCursorDefinition, "DECLARE INSENSITIVE CURSOR ... %s is not valid", strength).
			WithDetail("Insensitive cursors must be READ ONLY.")
	}
	return nil
}

func (s *Session) runDeclare(ctx context.Context, st *ast.DeclareCursor, text string) error {
	if s.alone() && !st.Hold {
		return pgerr.New(pgerr.NoActiveSQLTransaction, "DECLARE CURSOR can only be used in transaction blocks")
	}
	if err := checkDeclare(st); err != nil {
		return err
	}
	q := &prepared{text: st.Text, stmt: ast.Stmt{Statement: st.Query, Text: st.Text}}
	if err := s.analyze(ctx, q); err != nil {
		return err
	}
	if q.plan == nil || q.plan.Tag != "SELECT" {
		return pgerr.New(pgerr.InvalidObjectDefinition, "DECLARE CURSOR must specify a SELECT")
	}
	p, err := s.newPortal([]byte(st.Name))
	if err != nil {
		return err
	}
	p.stmt, p.shows = q, true
	p.decl = &declared{text: text, hold: st.Hold, scroll: st.Scroll == 's', binary: st.Binary, end: -1}
	var formats []int16
	if st.Binary {
		formats = []int16{1}
	}
	if p.shape, err = s.shapeFor(q, formats); err == nil {
		if err = s.start(ctx, p, false); err == nil {
			p.state = portalRunning
			p.store = s.newStore(p)
			return nil
		}
	}
	s.dropPortal(p)
	return err
}

// fetchRow makes row n (1-based) of a cursor available; ok is false past the end.
func (s *Session) fetchRow(ctx context.Context, p *portal, n int64) (bool, error) {
	for p.store.Rows() < n && p.cursor != nil {
		b, err := p.cursor.Next(ctx)
		if err == nil && b != nil {
			err = p.store.Add(b, 0)
		}
		if err != nil {
			p.decl.failed = true
			p.stop()
			return false, s.translate(err)
		}
		if b == nil {
			p.cursor.Close()
			p.cursor = nil
			p.decl.end = p.store.Rows()
			break
		}
	}
	return n <= p.store.Rows(), nil
}

// runFetch is FETCH and MOVE.
func (s *Session) runFetch(ctx context.Context, p *portal, st *ast.Fetch) (string, error) {
	c := s.portals[st.Cursor]
	if c == nil {
		return "", pgerr.New(pgerr.InvalidCursorName, "cursor \"%s\" does not exist", st.Cursor)
	}
	if c.decl == nil {
		return "", pgerr.Unsupported("FETCH from a portal of the protocol", "Declare a cursor.")
	}
	d := c.decl
	shape := c.shape
	if p.shape != nil && len(p.shape.Formats) == len(shape.Fields) {
		shape = &RowShape{Fields: shape.Fields, Formats: p.shape.Formats, Text: shape.Text} // as Bind asked for
	}
	if !st.Move {
		p.shape = shape
	}
	if d.failed {
		return "", pgerr.New(pgerr.ObjectNotInPrerequisiteState, "portal \"%s\" cannot be run", st.Cursor)
	}
	n := int64(0)
	emit := func(row int64) error {
		n++
		if !d.scroll {
			c.store.Forget(row - 1)
		}
		if st.Move {
			return nil
		}
		b, i, err := c.store.Row(row - 1)
		if err != nil {
			return s.translate(err)
		}
		return s.client.Rows(shape, b, i, i+1)
	}
	backward := func() error {
		if !d.scroll {
			return pgerr.New(pgerr.ObjectNotInPrerequisiteState, "cursor can only scan forward").
				WithHint("Declare it with SCROLL option to enable backward scan.")
		}
		return nil
	}
	dir, count := st.Direction, st.Count
	var err error
	switch dir {
	case 'a', 'r':
		target := count
		if dir == 'r' {
			target = d.at + count
		} else if count < 0 {
			if _, err = s.fetchRow(ctx, c, 1<<62); err != nil {
				return "", err
			}
			target = c.store.Rows() + 1 + count
		}
		if target < d.at {
			if err = backward(); err != nil {
				return "", err
			}
		}
		if target <= 0 {
			d.at = 0
			break
		}
		ok, err := s.fetchRow(ctx, c, target)
		if err != nil {
			return "", err
		}
		if !ok {
			d.at = c.store.Rows() + 1
			break
		}
		d.at = target
		if err := emit(target); err != nil {
			return "", err
		}
	default:
		if count < 0 {
			count = -count
			if dir == 'f' {
				dir = 'b'
			} else {
				dir = 'f'
			}
		}
		if count == 0 && !st.All {
			// FETCH 0: the current row again.
			if d.at > 0 && d.at <= c.store.Rows() {
				if err := emit(d.at); err != nil {
					return "", err
				}
			}
			break
		}
		if dir == 'f' {
			for i := int64(0); st.All || i < count; i++ {
				ok, err := s.fetchRow(ctx, c, d.at+1)
				if err != nil {
					return "", err
				}
				if !ok {
					d.at = c.store.Rows() + 1
					break
				}
				d.at++
				if err := emit(d.at); err != nil {
					return "", err
				}
			}
			break
		}
		if err = backward(); err != nil {
			return "", err
		}
		for i := int64(0); (st.All || i < count) && d.at > 0; i++ {
			d.at--
			if d.at == 0 {
				break
			}
			if err := emit(d.at); err != nil {
				return "", err
			}
		}
	}
	return st.Tag() + " " + strconv.FormatInt(n, 10), nil
}

func (s *Session) runClosePortal(st *ast.ClosePortal) error {
	if st.Name == "" {
		for _, p := range s.portals {
			s.dropPortal(p)
		}
		return nil
	}
	p := s.portals[st.Name]
	if p == nil {
		return pgerr.New(pgerr.InvalidCursorName, "cursor \"%s\" does not exist", st.Name)
	}
	s.dropPortal(p)
	return nil
}
