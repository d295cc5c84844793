package differential

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// What takes longer than a batch: COPY, changes of whole tables, changes of the schema of tables with rows, cursors that stay open while other things happen, and reads of the past.

// long runs one of these, outside of a block.
func (p *program) long() {
	t := pick(p.r, p.g.tables...)
	switch d := p.r.IntN(12); {
	case d < 2:
		p.copyOut(t)
	case d < 4:
		p.copyIn(t)
	case d < 6:
		p.changes(p.g.sweep(t))
	case d == 6:
		p.addColumn(t)
	case d == 7:
		p.truncate(t)
	case d < 10:
		p.remember()
	default:
		p.recall()
	}
}

// copyOut compares what COPY TO writes, line by line.
func (p *program) copyOut(t *table) {
	what := t.name
	cmp := &comparison{}
	if q := p.g.top(); p.r.IntN(2) == 0 {
		text, _ := q.text(false)
		what = "(" + text + ")"
		cmp.limited = q.limited && !q.total
	}
	stmt := "copy " + what + " to stdout" + pick(p.r, "", " with (format csv)", " with (format csv, header, force_quote *)")
	p.note(stmt)
	p.sum.statements["COPY TO"]++
	if p.open {
		p.quiet("savepoint g")
		defer p.quiet("rollback to g; release g")
	}
	pg, pamir := p.pg.copyOut(p.ctx, stmt), p.pamir.copyOut(p.ctx, stmt)
	if d := p.equal(pg, pamir, cmp); d != "" {
		p.differs(stmt, d)
	}
}

// copyIn loads rows, some of which may be there already, so that all or none get in.
func (p *program) copyIn(t *table) {
	cols := p.g.written(t)
	var b strings.Builder
	for range pick(p.r, 3, 40, 200, 1500) {
		for i, c := range cols {
			if i > 0 {
				b.WriteByte('\t')
			}
			col := t.cols[c]
			v := draw(p.r, col.kind)
			switch {
			case contains(t.key, c) && col.name == "k":
				v = drawKey(p.r, col.kind, 2_000_000)
			case !col.notNull && !contains(t.key, c) && (t.refs[col.name] != nil || p.r.IntN(6) == 0):
				b.WriteString(`\N`)
				continue
			}
			b.WriteString(strings.ReplaceAll(v.text, `\`, `\\`))
		}
		b.WriteByte('\n')
	}
	stmt := fmt.Sprintf("copy %s (%s) from stdin", t.name, names(t, cols))
	p.note(stmt + ";\n" + b.String() + `\.`)
	p.sum.statements["COPY FROM"]++
	pg, pamir := p.pg.copyIn(p.ctx, stmt, b.String()), p.pamir.copyIn(p.ctx, stmt, b.String())
	d := p.equal(pg, pamir, &comparison{})
	if d != "" || pg.state != pamir.state {
		if d != "" {
			p.differs(stmt, d)
		}
		p.diverged = true
		return
	}
	if !p.open {
		p.whole(t)
	}
}

// sweep changes or removes a large part of a table, or doubles it.
func (g *gen) sweep(t *table) *change {
	me := self(t)
	var set []*tree
	for i, c := range t.cols {
		if !t.unique(i) && t.refs[c.name] == nil && g.one(2) {
			e := g.expr(c.kind, me.cols, 1)
			if c.notNull {
				e = sql("coalesce(", e, ", ", draw(g.r, c.kind), ")")
			}
			set = append(set, sql(c.name, " = ", e))
		}
	}
	switch d := g.r.IntN(4); {
	case d < 3 && len(set) > 0:
		ret, kinds := g.returning(me)
		return &change{sql("update ", t.name, " set ", list(", ", set), ret), "UPDATE of all", t, kinds}
	case d == 0:
		ret, kinds := g.returning(me)
		c := pick(g.r, me.cols...)
		return &change{sql("delete from ", t.name, " where length(", c.text, "::text) % 2 = ", strconv.Itoa(g.r.IntN(2)), ret), "DELETE of half", t, kinds}
	}
	return g.insertSelect(t)
}

// addColumn adds one, often with a default, which all rows then have.
func (p *program) addColumn(t *table) {
	if len(t.cols) > 16 {
		return
	}
	c := column{name: p.g.name("a"), kind: pick(p.r, kInt, kText, kNum, kDate, kInts)}
	stmt := fmt.Sprintf("alter table %s add column %s %s", t.name, c.name, columnTypes[c.kind])
	if p.r.IntN(4) != 0 {
		stmt += " default " + draw(p.r, c.kind).literal()
		if p.r.IntN(2) == 0 {
			stmt += " not null"
			c.notNull = true
		}
	}
	p.sum.statements["ADD COLUMN"]++
	if p.both(stmt) {
		t.cols = append(slices.Clip(t.cols), c)
		p.whole(t)
	}
}

// truncate empties a table, and fills it again or rolls back.
func (p *program) truncate(t *table) {
	p.sum.statements["TRUNCATE"]++
	if !p.both("begin") {
		return
	}
	p.open = true
	if p.both("truncate " + t.name) {
		for range 1 + p.r.IntN(3) {
			p.changes(p.g.insertSelect(t))
			if p.diverged {
				return
			}
		}
		p.whole(t)
	}
	p.both(pick(p.r, "rollback", "rollback", "commit"))
	p.open = false
	for _, t := range p.g.tables {
		p.whole(t)
	}
}

// past is what a query answered, and when that was.
type past struct {
	text, at, snapshot string
	cmp                *comparison
	answer             *answer
}

// remember keeps PostgreSQL's answer to a query, to be asked for in Pamir later.
func (p *program) remember() {
	q := p.g.top()
	text, _ := q.text(false)
	if strings.Contains(text, " for ") && !strings.Contains(text, "from") {
		return
	}
	m := &past{text: text, cmp: &comparison{kinds: q.kinds, keys: q.keys, total: q.total, limited: q.limited}}
	m.answer = p.pg.do(p.ctx, text)
	if m.answer.state != "" {
		return
	}
	at := p.pamir.do(p.ctx, "select clock_timestamp() from pg_sleep(0.002)")
	snapshot := p.pamir.do(p.ctx, "begin isolation level repeatable read read only; select pg_export_snapshot()")
	end := p.pamir.do(p.ctx, "commit")
	if at.state != "" || snapshot.state != "" || end.state != "" {
		p.differs(text, "Pamir: "+at.outcome()+", "+snapshot.outcome()+", "+end.outcome())
		return
	}
	m.at, m.snapshot = at.rows[0][0], snapshot.rows[0][0]
	_ = p.pamir.do(p.ctx, "select pg_sleep(0.002)") // what follows is later, by every clock
	p.note(fmt.Sprintf("-- remembered as of %s, snapshot %s:\n-- %s", m.at, m.snapshot, text))
	p.past = append(p.past, m)
}

// recall asks Pamir for something that was remembered.
func (p *program) recall() {
	if len(p.past) == 0 {
		return
	}
	m := pick(p.r, p.past...)
	p.sum.statements["SELECT of the past"]++
	first := "begin read only; set local pamir.read_as_of = '" + m.at + "'"
	if p.r.IntN(2) == 0 {
		first = "begin isolation level repeatable read read only; set transaction snapshot '" + m.snapshot + "'"
	}
	p.note("-- " + first + "; " + m.text + "; commit")
	a := p.pamir.do(p.ctx, first)
	if a.state == "" {
		a = p.pamir.do(p.ctx, m.text)
	}
	_ = p.pamir.do(p.ctx, "commit")
	if d := p.equal(m.answer, a, m.cmp); d != "" {
		p.differs(first+"; "+m.text, d)
	}
}

// asked is a query with what PostgreSQL answers to it.
type asked struct {
	text   string
	params []*value // nil: it is not prepared
	cmp    *comparison
	answer *answer
}

// still asks the same queries again and again, while the tables stay as they are and their ranges do not.
func (p *program) still(queries, times int) error {
	var all []*asked
	for range 10 * queries {
		if len(all) == queries {
			break
		}
		q := p.g.top()
		a := &asked{cmp: &comparison{kinds: q.kinds, keys: q.keys, total: q.total, limited: q.limited}}
		if p.r.IntN(2) == 0 {
			a.text, a.params = q.text(true)
			if a.answer = p.pg.prepare(p.ctx, a.text); a.answer.state == "" {
				a.answer = p.pg.execute(p.ctx, a.params)
			}
		} else {
			a.text, _ = q.text(false)
			a.answer = p.pg.do(p.ctx, a.text)
		}
		if a.answer.state == "" && len(a.answer.rows) > 0 {
			all = append(all, a)
		}
	}
	schema := "s" + strconv.FormatUint(p.seed, 10)
	for range times {
		for _, a := range all {
			err := p.hop(schema)
			if err == nil && (p.pamir.c == nil || p.pamir.c.IsClosed()) {
				err = p.attach(schema)
			}
			if err != nil {
				if p.faults {
					continue // it is somebody else's turn
				}
				return err
			}
			var pamir *answer
			if a.params == nil {
				pamir = p.pamir.do(p.ctx, a.text)
			} else if pamir = p.pamir.prepare(p.ctx, a.text); pamir.state == "" {
				pamir = p.pamir.execute(p.ctx, a.params)
			}
			p.sum.statements["SELECT, again"]++
			if d := p.equal(a.answer, pamir, a.cmp); d != "" {
				p.differs(a.text, d+"; parameters "+literals(a.params)+p.explain(a.text))
			}
			p.diverged = false
		}
	}
	return nil
}

func (s *server) copyOut(ctx context.Context, stmt string) *answer {
	ctx, cancel := context.WithTimeout(ctx, hang)
	defer cancel()
	var b bytes.Buffer
	tag, err := s.c.CopyTo(ctx, &b, stmt)
	if err != nil {
		return failed(ctx, err)
	}
	a := &answer{tag: tag.String()}
	for l := range strings.Lines(b.String()) {
		a.rows = append(a.rows, []string{strings.TrimSuffix(l, "\n")})
	}
	return a
}

func (s *server) copyIn(ctx context.Context, stmt, rows string) *answer {
	ctx, cancel := context.WithTimeout(ctx, hang)
	defer cancel()
	tag, err := s.c.CopyFrom(ctx, strings.NewReader(rows), stmt)
	if err != nil {
		return failed(ctx, err)
	}
	return &answer{tag: tag.String()}
}
