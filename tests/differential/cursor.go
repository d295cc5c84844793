package differential

// cursor reads a query piece by piece, in both directions.
func (p *program) cursor() {
	q := p.g.top()
	for range 20 {
		if q.total {
			break
		}
		q = p.g.top()
	}
	if !q.total {
		return
	}
	own := !p.open
	if own {
		p.both("begin")
		p.open = true
	} else {
		p.quiet("savepoint g")
	}
	text, _ := q.text(false)
	scroll := p.r.IntN(2) == 0
	declare := "declare cur " + map[bool]string{true: "scroll", false: "no scroll"}[scroll] + " cursor for " + text
	p.note(declare)
	p.sum.statements["DECLARE"]++
	cmp := &comparison{kinds: q.kinds, total: true}
	pg, pamir := p.ask(declare)
	switch d := p.equal(pg, pamir, cmp); {
	case d != "":
		p.differs(declare, d)
	case pg.state == "" && pamir.state == "":
		for range 1 + p.r.IntN(8) {
			how := pick(p.r, "3", "1", "40", "next", "all", "5", "1100")
			if scroll && p.r.IntN(2) == 0 {
				how = pick(p.r, "backward 2", "prior", "first", "last", "absolute 5", "absolute -3", "relative -2", "backward all", "relative 0", "absolute 0", "backward 2000")
			}
			fetch := pick(p.r, "fetch ", "fetch ", "fetch ", "move ") + how + " from cur"
			p.note(fetch)
			pg, pamir := p.ask(fetch)
			p.sum.statements["FETCH"]++
			if d := p.equal(pg, pamir, cmp); d != "" {
				p.differs(fetch, d+"\n"+declare+p.explain(text))
				break
			}
			if pg.state != "" || pamir.state != "" {
				break
			}
		}
	}
	if own {
		p.quiet("rollback")
		p.open = false
	} else {
		p.quiet("rollback to g; release g")
	}
}

// openCursor opens a cursor within a block, which stays open.
func (p *program) openCursor() {
	q := p.g.top()
	for range 20 {
		if q.total {
			break
		}
		q = p.g.top()
	}
	if !q.total {
		return
	}
	c := &cursor{name: p.g.name("c"), scroll: p.r.IntN(2) == 0, cmp: &comparison{kinds: q.kinds, total: true}}
	text, _ := q.text(false)
	c.declare = "declare " + c.name + map[bool]string{true: " scroll", false: " no scroll"}[c.scroll] + " cursor for " + text
	p.note(c.declare)
	p.sum.statements["DECLARE, left open"]++
	pg, pamir := p.ask(c.declare)
	if d := p.equal(pg, pamir, c.cmp); d != "" {
		p.differs(c.declare, d)
	}
	p.unequal(pg, pamir)
	if pg.state == "" && pamir.state == "" {
		p.cursors = append(p.cursors, c)
	}
}

type cursor struct {
	name, declare string
	scroll        bool
	cmp           *comparison
}

// fetch reads on in a cursor that was opened before.
func (p *program) fetch() {
	if len(p.cursors) == 0 {
		return
	}
	c := pick(p.r, p.cursors...)
	how := pick(p.r, "1", "7", "40", "next", "300", "all")
	if c.scroll && p.r.IntN(2) == 0 {
		how = pick(p.r, "backward 5", "prior", "first", "last", "absolute 20", "absolute -3", "relative -2", "backward all", "backward 300")
	}
	stmt := "fetch " + how + " from " + c.name
	p.note(stmt)
	p.sum.statements["FETCH, later"]++
	pg, pamir := p.ask(stmt)
	if d := p.equal(pg, pamir, c.cmp); d != "" {
		p.differs(stmt, d+"\n"+c.declare)
	}
	p.unequal(pg, pamir)
}

// unequal ends the program if only one of the two is in a failed block now.
func (p *program) unequal(pg, pamir *answer) {
	if pg.state != pamir.state {
		p.diverged = true
	}
}
