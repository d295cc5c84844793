package builtin_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/parse"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

var regenerate = flag.String("postgres", "", "address of a PostgreSQL 15 to write the answers of testdata/*.corpus anew from (host=... user=...)")

// The corpora have an expression on each line and, behind " => ", what PostgreSQL 15 answers: text, NULL as <null>, an
// error as "!SQLSTATE message". Lines with # are comments; the expression of a line "@zone" is the session's time zone.
func TestCorpora(t *testing.T) {
	files, err := filepath.Glob("testdata/*.corpus")
	if err != nil || len(files) == 0 {
		t.Fatal("no corpora", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".corpus"), func(t *testing.T) {
			if *regenerate != "" {
				answerAnew(t, f)
			}
			zone := "UTC"
			for n, line := range readLines(t, f) {
				if z, ok := strings.CutPrefix(line, "@"); ok {
					zone = z
					continue
				}
				if line == "" || line[0] == '#' {
					continue
				}
				query, want, ok := strings.Cut(line, " => ")
				if !ok {
					t.Errorf("line %d has no answer: %s", n+1, line)
					continue
				}
				if got := ask(query, zone); got != want {
					t.Errorf("%s:%d: %s\n got %s\nwant %s", f, n+1, query, got, want)
				}
			}
		})
	}
}

func readLines(t *testing.T, name string) []string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var lines []string
	for s := bufio.NewScanner(f); s.Scan(); {
		lines = append(lines, s.Text())
	}
	return lines
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", "\\n") }

// ask computes an expression through parser, planner and executor.
func ask(query, zone string) string {
	d, t, err := evaluate("select "+query, zone)
	if err != nil {
		msg := err.Error()
		if e, ok := pgerr.As(err); ok {
			msg = e.Message
		}
		return oneLine("!" + pgerr.Code(err) + " " + msg)
	}
	if d.Null {
		return "<null>"
	}
	return oneLine(string(types.AppendDatumText(nil, t, d, environment(zone))))
}

func environment(zone string) *types.TextEnv {
	env := *types.DefaultEnv
	env.Location, _ = types.FindZone(zone)
	return &env
}

func evaluate(sql, zone string) (d types.Datum, t types.Type, err error) {
	stmt, err := parse.One(sql)
	if err != nil {
		return d, t, err
	}
	cat := catalog.NewSnapshot(1, nil, nil, nil)
	p, err := plan.Build(cat, &plan.Env{SearchPath: []string{"public"}, User: "u", Database: "d"}, stmt.Statement)
	if err != nil {
		return d, t, err
	}
	now := types.FromTime(time.Now())
	rt := &exec.Runtime{Catalog: cat, Ctx: &builtin.Context{TxnStart: now, StmtStart: now, Env: environment(zone)}}
	ctx := context.Background()
	c, err := exec.Start(ctx, rt, p)
	if err != nil {
		return d, t, err
	}
	defer c.Close()
	d = types.NullDatum
	for {
		b, err := c.Next(ctx)
		if err != nil || b == nil {
			return d, p.Columns[0].Type, err
		}
		if b.Len() > 0 && d.Null {
			d = b.Cols[0].Get(b.Row(0)).Clone()
		}
	}
}

// answerAnew writes a corpus with PostgreSQL's answers.
func answerAnew(t *testing.T, name string) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgconn.Connect(ctx, *regenerate)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	run := func(sql string) string {
		rs, err := conn.Exec(ctx, sql).ReadAll()
		var pe *pgconn.PgError
		if errors.As(err, &pe) {
			return oneLine("!" + pe.Code + " " + pe.Message)
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(rs) == 0 || len(rs[0].Rows) == 0 || rs[0].Rows[0][0] == nil {
			return "<null>"
		}
		return oneLine(string(rs[0].Rows[0][0]))
	}
	run("set timezone = 'UTC'")
	var out strings.Builder
	for _, line := range readLines(t, name) {
		if z, ok := strings.CutPrefix(line, "@"); ok {
			run("set timezone = '" + z + "'")
		} else if line != "" && line[0] != '#' {
			query, _, _ := strings.Cut(line, " => ")
			line = query + " => " + run("select "+query)
		}
		out.WriteString(line + "\n")
	}
	if err := os.WriteFile(name, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
