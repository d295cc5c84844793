package sql

import (
	"context"
	"strings"
	"time"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/setting"
	"github.com/pamirdb/pamir/sql/types"
)

// explainOptions reads EXPLAIN's options.
func explainOptions(st *ast.Explain) (o plan.ExplainOptions, err error) {
	o.Costs = true
	timing, summary := (*bool)(nil), (*bool)(nil)
	for i := range st.Options {
		op := &st.Options[i]
		on := true
		if op.HasValue && op.Name != "format" {
			var ok bool
			if on, ok = setting.ParseBool(op.Text); !ok {
				return o, pgerr.New(pgerr.SyntaxError, "%s requires a Boolean value", op.Name)
			}
		}
		switch op.Name {
		case "analyze":
			o.Analyze = on
		case "verbose":
			o.Verbose = on
		case "costs":
			o.Costs = on
		case "timing":
			timing = &on
		case "summary":
			summary = &on
		case "buffers", "settings", "wal":
			// What they would show is not kept per statement.
		case "format":
			switch strings.ToLower(op.Text) {
			case "text":
			case "json":
				o.JSON = true
			case "xml", "yaml":
				return o, pgerr.Unsupported("EXPLAIN in format "+op.Text, "Use TEXT or JSON.")
			default:
				return o, pgerr.New(pgerr.InvalidParameterValue, "unrecognized value for EXPLAIN option \"format\": \"%s\"", op.Text).At(op.Pos)
			}
		default:
			return o, pgerr.New(pgerr.SyntaxError, "unrecognized EXPLAIN option \"%s\"", op.Name).At(op.Pos)
		}
	}
	o.Timing, o.Summary = o.Analyze, o.Analyze
	if timing != nil {
		if *timing && !o.Analyze {
			return o, pgerr.New(pgerr.InvalidParameterValue, "EXPLAIN option TIMING requires ANALYZE")
		}
		o.Timing = *timing
	}
	if summary != nil {
		o.Summary = *summary
	}
	return o, nil
}

func explainFields(st *ast.Explain) []plan.Field {
	f := textField("QUERY PLAN")
	if o, err := explainOptions(st); err == nil && o.JSON {
		f.Type = types.Of(types.JSONOID)
	}
	return []plan.Field{f}
}

// runExplain is EXPLAIN. With ANALYZE the statement runs and its rows are thrown away.
func (s *Session) runExplain(ctx context.Context, p *portal, st *ast.Explain) error {
	o, err := explainOptions(st)
	if err != nil {
		return err
	}
	begin := time.Now()
	q := &prepared{text: p.stmt.text, stmt: ast.Stmt{Statement: st.Query, Start: -1, Params: p.stmt.stmt.Params}, hints: oidsOf(p.stmt.params)}
	params := p.params
	if ex, ok := st.Query.(*ast.Execute); ok {
		target := s.stmts[ex.Name]
		if target == nil {
			return pgerr.New(pgerr.InvalidSQLStatementName, "prepared statement \"%s\" does not exist", ex.Name)
		}
		if params, err = s.executeArgs(ctx, target, ex.Args); err != nil {
			return err
		}
		q = target
	}
	if !planned(q.stmt.Statement) {
		return pgerr.Unsupported("EXPLAIN of "+commandName(q.stmt.Statement), "")
	}
	if err := s.ensureTxn(ctx); err != nil {
		return err
	}
	if err := s.step(ctx); err != nil {
		return err
	}
	if err := s.revalidate(ctx, q); err != nil {
		return err
	}
	if err := s.allow(q.plan); err != nil {
		return err
	}
	o.Planning = time.Since(begin)
	if o.Analyze {
		sub := &portal{stmt: q, params: params}
		stats := exec.NewStats()
		begin = time.Now()
		if err := s.runAnalyzed(ctx, sub, stats); err != nil {
			return err
		}
		o.Execution = time.Since(begin)
		o.Run = func(n plan.Node) (plan.RunStats, bool) {
			r := stats.Of(n)
			if r == nil {
				return plan.RunStats{}, false
			}
			return plan.RunStats{Rows: r.Rows, Loops: 1, Time: r.Time, Requests: r.Pieces, KVRows: r.KVRows, KVBytes: r.KVBytes, Memory: r.Memory, Spilled: r.Spilled}, true
		}
	}
	lines := plan.Explain(q.plan, o)
	if o.JSON {
		lines = []string{strings.Join(lines, "\n")}
	}
	rows := make([][]string, len(lines))
	for i, l := range lines {
		rows[i] = []string{l}
	}
	return s.sendText(p, rows)
}

func (s *Session) runAnalyzed(ctx context.Context, p *portal, stats *exec.Stats) error {
	pl := p.stmt.plan
	if !pl.ReadOnly {
		if s.readOnly() {
			return pgerr.New(pgerr.ReadOnlySQLTransaction, "cannot execute %s in a read-only transaction", readOnlyName(p.stmt))
		}
		if err := s.willWrite(ctx); err != nil {
			return err
		}
	}
	p.rt = s.runtime(p)
	p.rt.Stats = stats
	cur, err := exec.Start(ctx, &p.rt, pl)
	if err != nil {
		return err
	}
	defer cur.Close()
	for {
		b, err := cur.Next(ctx)
		if err != nil || b == nil {
			return err
		}
	}
}

func oidsOf(ts []types.Type) []types.OID {
	out := make([]types.OID, len(ts))
	for i, t := range ts {
		out[i] = t.OID
	}
	return out
}
