package ddl_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/ddl"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/internal/memtxn"
	"github.com/pamirdb/pamir/sql/parse"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
	"github.com/pamirdb/pamir/txn"
)

// session is a session as small as it can be, over a store in memory.
type session struct {
	store  *memtxn.Store
	cat    *catalog.Store
	tx     txn.Txn
	out    *strings.Builder
	tmp    string
	memory int64
	bulk   bool
}

var path = []string{"public"}

func newSession(t testing.TB) *session {
	s := &session{store: memtxn.New(), tmp: t.TempDir(), bulk: true}
	s.cat = catalog.NewStore(catalog.Options{Counters: s.store})
	if err := s.cat.Bootstrap(context.Background(), s.store); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *session) runtime(snap catalog.Snapshot, implicit bool) *exec.Runtime {
	rt := &exec.Runtime{Txn: s.tx, Catalog: snap, Ctx: &builtin.Context{TxnStart: 1, StmtStart: 1}, TempDir: s.tmp, Implicit: implicit}
	if s.bulk {
		rt.Bulk = s.store
	}
	if s.memory > 0 {
		rt.Memory = exec.NewBudget(s.memory, nil)
	}
	return rt
}

// run executes a script; every statement outside of BEGIN is a transaction.
func (s *session) run(sql string) string {
	s.out = &strings.Builder{}
	stmts, err := parse.Parse(sql)
	if err != nil {
		s.fail(err)
	}
	for _, st := range stmts {
		if !s.one(st.Statement) {
			break
		}
	}
	return s.out.String()
}

func (s *session) fail(err error) {
	e, ok := pgerr.As(err)
	if !ok {
		fmt.Fprintf(s.out, "UNCLASSIFIED ERROR: %v\n", err)
		return
	}
	fmt.Fprintf(s.out, "ERROR %s: %s\n", e.Code, e.Message)
	if e.Detail != "" {
		fmt.Fprintf(s.out, "DETAIL: %s\n", e.Detail)
	}
}

func (s *session) one(st ast.Statement) bool {
	ctx := context.Background()
	if t, ok := st.(*ast.Transaction); ok {
		switch t.Kind {
		case ast.Begin:
			s.tx = s.store.Begin(ctx, txn.Options{})
		case ast.Commit:
			_, err := s.tx.Commit(ctx)
			s.tx = nil
			if err != nil {
				s.fail(exec.Translate(err, nil))
				return false
			}
		case ast.Rollback:
			s.tx.Rollback(ctx)
			s.tx = nil
		}
		return true
	}
	implicit := s.tx == nil
	if implicit {
		s.tx = s.store.Begin(ctx, txn.Options{})
	}
	tag, snap, err := s.statement(ctx, st, implicit)
	if implicit {
		if err == nil {
			if _, err = s.tx.Commit(ctx); err != nil {
				err = exec.Translate(err, snap)
			}
		}
		s.tx = nil
	}
	if err != nil {
		s.fail(err)
		return false
	}
	if tag != "" {
		fmt.Fprintln(s.out, tag)
	}
	return true
}

func (s *session) statement(ctx context.Context, st ast.Statement, implicit bool) (string, catalog.Snapshot, error) {
	if err := s.tx.StepStatement(ctx); err != nil {
		return "", nil, err
	}
	snap, err := s.cat.Snapshot(ctx, s.tx)
	if err != nil {
		return "", nil, err
	}
	rt := s.runtime(snap, implicit)
	if ddl.Handles(st) {
		tag, err := ddl.Execute(ctx, &ddl.Env{Store: s.cat, Runtime: rt, SearchPath: path, User: "root", Notice: func(e *pgerr.Error) {
			fmt.Fprintf(s.out, "%s: %s\n", e.Severity, e.Message)
		}}, st)
		return tag, snap, err
	}
	pl, err := plan.Build(snap, &plan.Env{SearchPath: path, User: "root", Database: "defaultdb"}, st)
	if err != nil {
		return "", snap, err
	}
	cur, err := exec.Start(ctx, rt, pl)
	if err != nil {
		return "", snap, err
	}
	defer cur.Close()
	rows := 0
	for {
		b, err := cur.Next(ctx)
		if err != nil {
			return "", snap, err
		}
		if b == nil {
			break
		}
		for i := range b.Len() {
			rows++
			var vals []string
			for _, c := range b.Cols {
				if c.IsNull(b.Row(i)) {
					vals = append(vals, "NULL")
				} else {
					vals = append(vals, string(types.AppendText(nil, c.Type, c, b.Row(i), types.DefaultEnv)))
				}
			}
			fmt.Fprintln(s.out, strings.Join(vals, " | "))
		}
	}
	tag := pl.Tag
	if tag != "SELECT" || rows == 0 {
		tag += " " + fmt.Sprint(cur.RowsAffected())
	} else {
		tag = ""
	}
	return tag, snap, nil
}

func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := newSession(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "sql":
				return s.run(d.Input)
			case "pages": // scans come in pages of so many rows, and programs through their wire form
				d.ScanArgs(t, "rows", &s.store.Cut)
				s.store.Wire = exec.Decoder{}
				return ""
			case "memory":
				d.ScanArgs(t, "bytes", &s.memory)
				return ""
			case "bulk":
				d.ScanArgs(t, "on", &s.bulk)
				return ""
			}
			t.Fatalf("unknown command %s", d.Cmd)
			return ""
		})
		if s.tx != nil {
			t.Error("a transaction was left open")
		}
	})
}
