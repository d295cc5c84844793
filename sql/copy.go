package sql

import (
	"context"
	"strconv"
	"strings"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/copyformat"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/parse"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/role"
	"github.com/pamirdb/pamir/sql/types"
)

// runCopy is COPY.
func (s *Session) runCopy(ctx context.Context, p *portal, st *ast.Copy) (string, error) {
	if st.File != "" || st.Program {
		hint := "Use COPY " + map[bool]string{true: "FROM STDIN", false: "TO STDOUT"}[st.From] + "; psql's \\copy does so for a client's files."
		return "", pgerr.Unsupported("COPY with a file of the server", hint)
	}
	o, err := copyformat.ParseOptions(st)
	if err != nil {
		return "", err
	}
	if st.From {
		return s.copyFrom(ctx, p, st, o)
	}
	return s.copyTo(ctx, p, st, o)
}

// copyColumns are the positions of the columns of a COPY.
func copyColumns(t *catalog.Table, names []string) ([]int, error) {
	var all []int
	for i := range t.Columns {
		c := &t.Columns[i]
		if !c.Dropped && !c.Hidden && c.State == catalog.Public {
			all = append(all, i)
		}
	}
	have := func(n string) int {
		for _, i := range all {
			if t.Columns[i].Name == n {
				return i
			}
		}
		return -1
	}
	return copyTargets(names, have, all, t.Name)
}

func (s *Session) copyFrom(ctx context.Context, p *portal, st *ast.Copy, o *copyformat.Options) (string, error) {
	if st.Where != nil {
		return "", pgerr.Unsupported("COPY FROM ... WHERE", "Copy into another table and insert from there.")
	}
	if s.readOnly() {
		return "", pgerr.New(pgerr.ReadOnlySQLTransaction, "cannot execute COPY FROM in a read-only transaction")
	}
	if err := s.ensureTxn(ctx); err != nil {
		return "", err
	}
	if err := s.step(ctx); err != nil {
		return "", err
	}
	t, err := s.relation(ctx, st.Table)
	if err != nil {
		return "", err
	}
	if err := s.allowCopy(t, st.Columns, role.Insert); err != nil {
		return "", err
	}
	if t.Kind == 'v' {
		return "", pgerr.New(pgerr.WrongObjectType, "cannot copy to view \"%s\"", t.Name)
	}
	if t.Kind == 'S' {
		return "", pgerr.New(pgerr.WrongObjectType, "cannot copy to sequence \"%s\"", t.Name)
	}
	if t.Virtual {
		return "", pgerr.New(pgerr.InsufficientPrivilege, "permission denied: \"%s\" is a system catalog", t.Name)
	}
	cols, err := copyColumns(t, st.Columns)
	if err != nil {
		return "", err
	}
	defaults, checks, err := plan.InsertParts(s.snap, s.planEnv(nil, 0), t)
	if err != nil {
		return "", err
	}
	if err := s.willWrite(ctx); err != nil {
		return "", err
	}
	p.rt = s.runtime(p)
	p.rt.Implicit = p.last && !s.tx.HasWrites()
	w, err := exec.NewTableWriter(&p.rt, t, cols, defaults, checks)
	if err != nil {
		return "", err
	}
	defer w.Abort()
	names := make([]string, len(cols))
	ts := make([]types.Type, len(cols))
	for i, c := range cols {
		names[i], ts[i] = t.Columns[c].Name, t.Columns[c].Type
	}
	in, err := copyformat.NewReader(o, t.Name, names, ts, s.effects.env, w)
	if err != nil {
		return "", err
	}
	s.client.CopyIn(o.Format == copyformat.Binary, len(cols))
	n, err := in.Run(ctx, s.client.CopyData)
	if err != nil {
		return "", err
	}
	return "COPY " + strconv.FormatInt(n, 10), nil
}

// allowCopy checks the right to copy columns of a table (all, if none are named).
func (s *Session) allowCopy(t *catalog.Table, columns []string, p role.Privilege) error {
	cols, err := copyColumns(t, columns)
	if err != nil {
		return nil // said later, in its place
	}
	return plan.Check([]plan.Need{{Table: t, Privs: p, Selected: cols, Inserted: cols}}, s.snap.Roles(), s.user)
}

func (s *Session) copyTo(ctx context.Context, p *portal, st *ast.Copy, o *copyformat.Options) (string, error) {
	q := &prepared{text: p.stmt.text, stmt: ast.Stmt{Statement: st.Query, Start: -1}}
	relation := ""
	if st.Table != nil {
		if err := s.ensureTxn(ctx); err != nil {
			return "", err
		}
		t, err := s.relation(ctx, st.Table)
		if err != nil {
			return "", err
		}
		if err := s.allowCopy(t, st.Columns, role.Select); err != nil {
			return "", err
		}
		switch t.Kind {
		case 'v':
			return "", pgerr.New(pgerr.WrongObjectType, "cannot copy from view \"%s\"", t.Name).WithHint("Try the COPY (SELECT ...) TO variant.")
		case 'S':
			return "", pgerr.New(pgerr.WrongObjectType, "cannot copy from sequence \"%s\"", t.Name)
		}
		cols, err := copyColumns(t, st.Columns)
		if err != nil {
			return "", err
		}
		names := make([]string, len(cols))
		for i, c := range cols {
			names[i] = t.Columns[c].Name
		}
		sc, _ := s.snap.SchemaByID(t.Schema)
		relation = t.Name
		q.text = selectOf(sc.Name, t.Name, names)
		stmt, err := parse.One(q.text)
		if err != nil {
			return "", err
		}
		q.stmt = stmt
	}
	if !planned(q.stmt.Statement) {
		return "", pgerr.Unsupported("COPY of this query", "")
	}
	sub := &portal{stmt: q, shows: true}
	if err := s.start(ctx, sub, false); err != nil {
		return "", err
	}
	defer sub.stop()
	if len(q.plan.Columns) == 0 && q.plan.Tag != "SELECT" {
		return "", pgerr.New(pgerr.FeatureNotSupported, "COPY query must have a RETURNING clause")
	}
	out, err := copyformat.NewWriter(o, q.plan.Columns, s.effects.env, relation)
	if err != nil {
		return "", err
	}
	s.client.CopyOut(o.Format == copyformat.Binary, len(q.plan.Columns))
	if h := out.Header(); h != nil {
		s.client.CopyRow(h)
	}
	n := int64(0)
	for {
		b, err := sub.cursor.Next(ctx)
		if err != nil {
			return "", err
		}
		if b == nil {
			break
		}
		for i := range b.Len() {
			row, err := out.Row(b, b.Row(i))
			if err != nil {
				return "", err
			}
			s.client.CopyRow(row)
			n++
		}
		if err := s.client.Err(); err != nil {
			return "", &pgerr.Error{Severity: "FATAL", Code: "08006", Message: "connection to client lost", Cause: err}
		}
	}
	if t := out.Trailer(); t != nil {
		s.client.CopyRow(t)
	}
	s.client.CopyDone()
	return "COPY " + strconv.FormatInt(n, 10), nil
}

// copyTargets resolves COPY's column list over the table's columns.
func copyTargets(names []string, have func(string) int, all []int, relation string) ([]int, error) {
	if names == nil {
		return all, nil
	}
	var out []int
	for _, n := range names {
		i := have(n)
		if i < 0 {
			return nil, pgerr.New(pgerr.UndefinedColumn, "column \"%s\" of relation \"%s\" does not exist", n, relation)
		}
		for _, o := range out {
			if o == i {
				return nil, pgerr.New(pgerr.DuplicateColumn, "column \"%s\" specified more than once", n)
			}
		}
		out = append(out, i)
	}
	return out, nil
}

// selectOf is the query that reads columns of a table: COPY table TO.
func selectOf(schema, table string, columns []string) string {
	q := make([]string, len(columns))
	for i, c := range columns {
		q[i] = `"` + strings.ReplaceAll(c, `"`, `""`) + `"`
	}
	return "SELECT " + strings.Join(q, ", ") + ` FROM ONLY "` + strings.ReplaceAll(schema, `"`, `""`) + `"."` + strings.ReplaceAll(table, `"`, `""`) + `"`
}
