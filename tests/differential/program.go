package differential

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// program is one seed's run.
type program struct {
	ctx       context.Context
	seed      uint64
	g         *gen
	r         *rand.Rand
	pg, pamir *server
	cut       *cutter
	ids       map[string]uint64 // of tables in Pamir's keys
	sum       *counts
	log       []string // what was run, as SQL
	open      bool     // a transaction block is open
	small     bool     // a small memory budget is set
	budget    string   // sets what a statement may take in Pamir
	report    func(format string, args ...any)
	keep      string
	diverged  bool
	// Of programs on several nodes, whose ranges move (moves), or which are processes and are stopped: the addresses of the nodes, what is remembered of earlier times, and the block's
	// open cursors.
	longer  bool // with statements that take longer than a batch
	moves   *mover
	dsns    []string
	again   int           // how often queries are asked again at the end
	faults  bool          // leaders are lost as well: what fails for that is not compared
	reads   *failingReads // if there are any
	past    []*past
	cursors []*cursor
	frames  bool // most queries have window functions
}

func (p *program) note(s string) { p.log = append(p.log, s+";") }

// both runs a statement that has to do the same on both, and says whether it did.
func (p *program) both(text string) bool {
	p.note(text)
	a, b := p.pg.do(p.ctx, text), p.pamir.do(p.ctx, text)
	if a.state != b.state && p.faults {
		p.sum.lost++
		p.diverged = true
		return false
	}
	if a.state != b.state {
		if b.state == "0A000" {
			p.sum.refused[refusal(b.message)]++
			return false
		}
		p.differs(text, "PostgreSQL: "+a.outcome()+", Pamir: "+b.outcome())
		return false
	}
	return a.state == ""
}

// differs reports a difference. What the two hold is not the same any more if changed.
func (p *program) differs(text, what string) {
	p.sum.differ++
	p.report("DIFFERENCE seed %d, statement %d: %s\n%s;", p.seed, len(p.log), what, text)
	if p.keep != "" {
		name := filepath.Join(p.keep, fmt.Sprintf("seed%d-%d.sql", p.seed, len(p.log)))
		if err := os.WriteFile(name, []byte(strings.Join(p.log, "\n")+"\n"), 0o644); err != nil {
			p.report("%v", err)
		}
	}
}

// run runs the program. It ends early where the two servers do not hold the same any more.
func (p *program) run(steps int) error {
	p.ids = map[string]uint64{}
	schema := "s" + strconv.FormatUint(p.seed, 10)
	for _, s := range []*server{p.pg, p.pamir} {
		if err := s.connect(p.ctx); err != nil {
			return err
		}
		if a := s.do(p.ctx, "set timezone = 'UTC'; drop schema if exists "+schema+" cascade; create schema "+schema+"; set search_path = "+schema); a.state != "" {
			return fmt.Errorf("%s: %s", s.name, a.outcome())
		}
	}
	defer func() {
		for _, s := range []*server{p.pg, p.pamir} {
			if s.connect(p.ctx) == nil {
				_ = s.do(p.ctx, "drop schema "+schema+" cascade") // the next program has another one
			}
		}
	}()
	if a := p.pg.do(p.ctx, "set statement_timeout = '500ms'; set work_mem = '64MB'"); a.state != "" {
		return fmt.Errorf("%s", a.outcome())
	}
	p.budget = "set statement_timeout = '2s'"
	if p.longer {
		p.budget = "set statement_timeout = '20s'"
	}
	if p.r.IntN(5) == 0 {
		p.small = true
		p.budget += "; set pamir.statement_memory = " + pick(p.r, "64", "128", "512")
	}
	p.note("-- " + p.budget)
	if a := p.pamir.do(p.ctx, p.budget); a.state != "" {
		return fmt.Errorf("%s", a.outcome())
	}
	if p.moves != nil && !p.faults {
		p.moves.begin(p.ctx)
		defer p.moves.end()
	}
	if err := p.makeTables(); err != nil || p.diverged {
		return err
	}
	if p.moves != nil && p.faults {
		p.moves.begin(p.ctx)
		defer p.moves.end()
	}
	for range steps {
		if p.longer && p.r.IntN(3) == 0 {
			p.long()
			if p.diverged {
				return nil
			}
		}
		if err := p.hop(schema); err != nil {
			return err
		}
		if err := p.step(); err != nil {
			return err
		}
		if p.diverged {
			return nil
		}
	}
	if p.longer && !p.diverged {
		return p.still(10+steps/3, p.again)
	}
	return nil
}

// hop goes on at another node, now and then.
func (p *program) hop(schema string) error {
	if len(p.dsns) == 0 || p.r.IntN(8) != 0 {
		return nil
	}
	i := p.r.IntN(len(p.dsns))
	p.note(fmt.Sprintf("-- at node %d from here on", i+1))
	p.pamir.dsn = p.dsns[i]
	return p.attach(schema)
}

// attach connects to Pamir anew.
func (p *program) attach(schema string) error {
	if err := p.pamir.connect(p.ctx); err != nil {
		return err
	}
	if a := p.pamir.do(p.ctx, "set timezone = 'UTC'; set search_path = "+schema+"; "+p.budget); a.state != "" {
		return fmt.Errorf("%s", a.outcome())
	}
	return nil
}

func (p *program) makeTables() error {
	for i := range 2 + p.r.IntN(3) {
		t := newTable(p.r, "t"+strconv.Itoa(i+1), i > 1)
		for _, s := range t.create(p.r, p.g.tables) {
			if !p.both(s) && strings.HasPrefix(s, "create table") {
				return fmt.Errorf("%s", s)
			}
		}
		if p.diverged {
			return nil
		}
		p.g.tables = append(p.g.tables, t)
		a := p.pamir.do(p.ctx, "select '"+t.name+"'::regclass::oid")
		if a.state != "" {
			return fmt.Errorf("%s", a.outcome())
		}
		id, err := strconv.ParseUint(a.rows[0][0], 10, 32)
		if err != nil {
			return err
		}
		p.ids[t.name] = id
		if p.moves != nil {
			p.moves.watch(id)
		}
		if p.r.IntN(6) != 0 {
			if err := p.split(t, 1+p.r.IntN(8)); err != nil {
				return err
			}
		}
		switch p.r.IntN(3) {
		case 0:
			p.both("analyze " + t.name)
		case 1:
			if err := p.mislead(t); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *program) split(t *table, n int) error {
	p.note(fmt.Sprintf("-- %s is cut into ranges at %d keys", t.name, n))
	ctx, cancel := context.WithTimeout(p.ctx, hang)
	defer cancel()
	if p.cut == nil {
		p.splitBySQL(ctx, t, n)
		return nil
	}
	return p.cut.cut(ctx, p.ids[t.name], n, p.open)
}

func (p *program) mislead(t *table) error {
	if p.cut == nil {
		return nil
	}
	p.note("-- statistics of " + t.name + " that are not true")
	ctx, cancel := context.WithTimeout(p.ctx, hang)
	defer cancel()
	return p.cut.mislead(ctx, p.ids[t.name])
}

func (p *program) step() error {
	switch d := p.r.IntN(20); {
	case d < 11:
		p.selects(p.asks())
	case d < 14:
		p.changes(p.g.change())
	case d < 16:
		if p.reads != nil && p.r.IntN(2) == 0 {
			p.replayed()
			return nil
		}
		return p.block()
	case d == 16:
		p.cursor()
	case d == 17:
		return p.split(pick(p.r, p.g.tables...), 1+p.r.IntN(3))
	default:
		t := pick(p.r, p.g.tables...)
		switch p.r.IntN(4) {
		case 0:
			p.both("analyze " + t.name)
		case 1:
			return p.mislead(t)
		case 2:
			if len(t.indexes) > 0 {
				i := p.r.IntN(len(t.indexes))
				p.both("drop index if exists " + t.indexes[i].name)
				t.indexes = append(t.indexes[:i:i], t.indexes[i+1:]...)
			}
		default:
			x := t.newIndex(p.r, 100+p.g.names)
			p.g.names++
			if len(x.cols) > 0 && p.both(t.indexSQL(p.r, x)) {
				t.indexes = append(t.indexes, x)
			}
		}
	}
	return nil
}

// block is a transaction with changes that are read before they are committed, savepoints, and ranges that are cut meanwhile.
func (p *program) block() error {
	p.both("begin isolation level " + pick(p.r, "serializable", "repeatable read", "read committed"))
	p.open = true
	savepoint := false
	p.cursors = nil
	for range 2 + p.r.IntN(8) {
		if p.longer {
			switch p.r.IntN(8) {
			case 0:
				p.openCursor()
			case 1, 2:
				p.fetch()
			case 3:
				p.copyOut(pick(p.r, p.g.tables...))
			case 4:
				p.changes(p.g.sweep(pick(p.r, p.g.tables...)))
			}
			if p.diverged {
				return nil
			}
			if p.pamir.c.TxStatus() == 'E' {
				break
			}
		}
		switch p.r.IntN(12) {
		case 0:
			if p.both("savepoint a") {
				savepoint = true
			}
		case 1:
			if savepoint {
				p.both("rollback to a")
			}
		case 2:
			if err := p.split(pick(p.r, p.g.tables...), 1); err != nil {
				return err
			}
		case 3:
			p.cursor()
		case 4, 5, 6, 7:
			p.changes(p.g.change())
		default:
			p.selects(p.asks())
		}
		if p.diverged {
			return nil
		}
		if p.pamir.c.TxStatus() == 'E' && p.pg.c.TxStatus() == 'E' {
			if !savepoint || p.r.IntN(3) == 0 {
				break
			}
			p.both("rollback to a")
		}
	}
	if p.r.IntN(3) == 0 {
		p.both("rollback")
	} else {
		p.both("commit")
	}
	p.open = false
	for _, t := range p.g.tables {
		p.whole(t)
	}
	return nil
}

// selects runs a query on both and compares.
func (p *program) selects(q *query) {
	cmp := &comparison{kinds: q.kinds, keys: q.keys, total: q.total, limited: q.limited}
	text, _ := q.text(false)
	kind := "SELECT"
	if p.r.IntN(3) == 0 {
		kind = "SELECT, prepared"
	}
	p.note(text)
	p.sum.statements[kind]++
	ask := func() (pg, pamir *answer) {
		if kind == "SELECT" {
			t, _ := q.text(false)
			return p.ask(t)
		}
		return p.prepared(q.text(true))
	}
	p.guarded(ask, cmp, q.tree, true)
	if kind == "SELECT" || p.diverged {
		return
	}
	t, params := q.text(true)
	for range p.r.IntN(4) { // with other values, and in the end with a plan for any
		for _, v := range params {
			if v.kind == kBig { // LIMIT
				continue
			}
			*v = *draw(p.r, v.kind)
		}
		pg, pamir := p.pg.execute(p.ctx, params), p.pamir.execute(p.ctx, params)
		if p.open && (pg.state != "" || pamir.state != "") {
			return
		}
		if pg.state == "26000" || pamir.state == "26000" { // it could not be prepared
			return
		}
		if p.equal(pg, pamir, cmp) == "" {
			continue
		}
		p.differs(t, p.equal(pg, pamir, cmp)+fmt.Sprintf(" with parameters %s", literals(params)))
		return
	}
	if p.reads != nil && !p.open {
		p.executeFailing(t, params, cmp)
	}
}

func (p *program) ask(text string) (pg, pamir *answer) {
	return p.pg.do(p.ctx, text), p.pamir.do(p.ctx, text)
}

// prepared prepares a statement on both, and executes it if both could.
func (p *program) prepared(text string, params []*value) (pg, pamir *answer) {
	pg, pamir = p.pg.prepare(p.ctx, text), p.pamir.prepare(p.ctx, text)
	if pg.state == "" && pamir.state == "" {
		pg, pamir = p.pg.execute(p.ctx, params), p.pamir.execute(p.ctx, params)
	}
	return pg, pamir
}

// equal counts an answer that both gave, or says how they differ.
func (p *program) equal(pg, pamir *answer, cmp *comparison) string {
	switch {
	case pg.state == "57014":
		p.sum.slow++
		return ""
	case p.faults && pg.state == "" && (strings.HasPrefix(pamir.state, "40") || strings.HasPrefix(pamir.state, "08") || strings.HasPrefix(pamir.state, "57") || pamir.state == "lost" || pamir.state == "hang"):
		p.sum.lost++
		p.diverged = true
		return ""
	case pamir.state == "57014":
		p.sum.slower = append(p.sum.slower, fmt.Sprintf("seed %d: %s", p.seed, p.log[len(p.log)-1]))
		return ""
	case pamir.state == "0A000" && pg.state != "0A000":
		p.sum.refused[refusal(pamir.message)]++
		return ""
	case pamir.state == "53200":
		if p.sum.memory++; !p.small {
			p.sum.large = append(p.sum.large, fmt.Sprintf("seed %d: %s: %s", p.seed, pamir.message, p.log[len(p.log)-1]))
		}
		return ""
	}
	d := cmp.differ(pg, pamir)
	if strings.HasPrefix(pg.state, "23") && strings.HasPrefix(pamir.state, "23") {
		d = "" // which of several constraints is found broken first is nobody's business
	}
	if d == "" {
		p.sum.compared++
		p.sum.rows += len(pg.rows)
		if pg.state != "" {
			p.sum.errors[pg.state]++
		}
	}
	return d
}

// guarded asks both, within a savepoint if a transaction is open, so that an error of one of them does not end it; a
// difference is made smaller, if asking again does no harm.
func (p *program) guarded(ask func() (pg, pamir *answer), cmp *comparison, t *tree, again bool) (ok bool) {
	guard := p.open && again
	around := func() (pg, pamir *answer) {
		if guard {
			p.quiet("savepoint g")
		}
		pg, pamir = ask()
		if guard {
			p.quiet("rollback to g; release g")
		}
		return pg, pamir
	}
	began := time.Now()
	pg, pamir := around()
	took := time.Since(began)
	d := p.equal(pg, pamir, cmp)
	if d == "" {
		return pg.state == "" && pamir.state == ""
	}
	text, _ := t.text(false)
	if pamir.state == "XX000" {
		if p.sum.internal[pamir.message]++; p.sum.internal[pamir.message] > 1 {
			p.differs(text, d)
			return false
		}
	}
	if again && pamir.state != "hang" && pamir.state != "lost" {
		quiet := p.sum
		p.sum = newCounts()
		fails := func() bool {
			a, b := around()
			return (a.state == "") == (pg.state == "") && b.state == pamir.state && p.equal(a, b, cmp) != ""
		}
		if fails() {
			t.shrink(int(min(300, 1+20*time.Second/(took+1))), fails)
			a, b := around()
			d = p.equal(a, b, cmp)
		} else {
			d += "\n(not so when asked again)"
		}
		p.sum = quiet
		text, _ = t.text(false)
	}
	d += p.explain(text)
	p.differs(text, d)
	if pamir.state == "hang" || pamir.state == "lost" || !again {
		p.diverged = true
	}
	return false
}

// quiet runs a statement that is no part of the program.
func (p *program) quiet(text string) {
	for _, s := range []*server{p.pg, p.pamir} {
		a := s.do(p.ctx, text)
		if a.state == "lost" && p.faults && s == p.pamir { // a node that is cut off ends its sessions (57P03)
			p.sum.lost++
			p.diverged = true
		} else if a.state != "" {
			p.report("seed %d: %s: %s: %s", p.seed, s.name, text, a.outcome())
		}
	}
}

func (p *program) explain(text string) string {
	if p.pamir.c.TxStatus() == 'E' {
		return ""
	}
	a := p.pamir.do(p.ctx, "explain "+text)
	var b strings.Builder
	for _, r := range a.rows {
		b.WriteString("\n    | " + r[0])
	}
	return b.String()
}

// changes runs a change on both, and compares what it returns and, outside of a block, what the tables hold then.
func (p *program) changes(c *change) {
	text, params := c.text(true)
	kind := c.kind
	one := func(s *server) *answer { return s.do(p.ctx, text) }
	ask := func() (pg, pamir *answer) {
		pg = one(p.pg)
		if p.open {
			return pg, one(p.pamir)
		}
		pamir, failed := p.failing(3, func() *answer { return one(p.pamir) })
		if failed && pamir.state == "40001" { // so much had been sent that the server could not take it back
			p.sum.shown++
			p.diverged = true
			return pg, pg
		}
		return pg, pamir
	}
	if p.r.IntN(3) == 0 {
		kind += ", prepared"
		plain, _ := c.text(false)
		p.note(plain)
		one = func(s *server) *answer {
			if a := s.prepare(p.ctx, text); a.state != "" {
				return a
			}
			return s.execute(p.ctx, params)
		}
	} else {
		text, _ = c.text(false)
		p.note(text)
	}
	p.sum.statements[kind]++
	before := p.sum.refusals()
	ok := p.guarded(ask, &comparison{kinds: c.kinds}, c.tree, false)
	if p.diverged {
		return
	}
	if !ok && (p.sum.refusals() != before || p.pg.c.TxStatus() != p.pamir.c.TxStatus()) {
		p.level(c)
		return
	}
	if !p.open {
		for _, t := range p.g.tables {
			if t == c.table || t.refs != nil {
				p.whole(t)
			}
		}
	}
}

// level goes on after a change that one of the two refused: within a block it is ended, otherwise the program is.
func (p *program) level(*change) {
	if p.open {
		p.quiet("rollback")
		p.quiet("begin")
		return
	}
	p.diverged = true
}

// whole compares all rows of a table, by its rows and by one of its indexes.
func (p *program) whole(t *table) {
	var cols, kindsOf = []string{}, []kind{}
	for _, c := range t.cols {
		cols, kindsOf = append(cols, c.name), append(kindsOf, c.kind)
	}
	keys := make([]string, len(t.key))
	for i, k := range t.key {
		keys[i] = t.cols[k].name
	}
	ask := func(q string, cmp *comparison) {
		pg, pamir := p.ask(q)
		p.sum.statements["whole table"]++
		if d := p.equal(pg, pamir, cmp); d != "" {
			p.differs(q, d+p.explain(q))
			p.diverged = true
		}
	}
	ask(fmt.Sprintf("select %s from %s order by %s", strings.Join(cols, ", "), t.name, strings.Join(keys, ", ")), &comparison{kinds: kindsOf, total: true})
	if len(t.indexes) > 0 && !p.diverged {
		x := pick(p.r, t.indexes...)
		of := names(t, append(append([]int(nil), x.cols...), t.key...))
		where := ""
		if x.where != "" {
			where = " where " + x.condition(t.cols[x.of].name)
		}
		ask(fmt.Sprintf("select %s from %s%s order by %s", of, t.name, where, names(t, x.cols)), &comparison{})
	}
}
