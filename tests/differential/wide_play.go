package differential

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// note is what a session has kept for others: a time, or the name of a snapshot, which was taken between two events.
type note struct {
	text       string
	start, end int
	by         *deal
}

// sender prepares to send a session's statement.
func (pl *play) sender(x *actor) func(ctx context.Context) *answer {
	st, srv := pl.p.turns[x.turn].st, &server{c: x.c}
	text := st.text
	if st.kind == kindPast {
		noted := pl.notes[st.name]
		if noted == nil {
			noted = &note{}
		}
		text = pastText(noted.text)
	}
	with, values := parameters(text)
	params := make([][]byte, len(values))
	for i, v := range values {
		params[i] = []byte(v)
	}
	// once runs a statement for what is prepared but once in a session.
	once := func(prepare func(name string) *answer) (string, *answer) {
		key := fmt.Sprint(st.how, with)
		if name := x.prepared[key]; name != "" {
			return name, nil
		}
		name := fmt.Sprintf("p%d", len(x.prepared))
		if a := prepare(name); a.state != "" {
			return name, a
		}
		x.prepared[key] = name
		return name, nil
	}
	return func(ctx context.Context) *answer {
		ctx, cancel := context.WithTimeout(ctx, 2*hang)
		defer cancel()
		switch st.how {
		case unnamed:
			r := srv.c.ExecParams(ctx, with, params, nil, nil, nil).Read()
			if r.Err != nil {
				return failed(ctx, r.Err)
			}
			return answered(r)
		case named:
			name, a := once(func(name string) *answer {
				if _, err := srv.c.Prepare(ctx, name, with, nil); err != nil {
					return failed(ctx, err)
				}
				return &answer{}
			})
			if a != nil {
				return a
			}
			r := srv.c.ExecPrepared(ctx, name, params, nil, nil).Read()
			if r.Err != nil {
				return failed(ctx, r.Err)
			}
			return answered(r)
		case bySQL:
			name, a := once(func(name string) *answer { return srv.do(ctx, "prepare "+name+" as "+with) })
			if a != nil {
				return a
			}
			if len(values) == 0 {
				return srv.do(ctx, "execute "+name)
			}
			return srv.do(ctx, "execute "+name+"("+strings.Join(values, ", ")+")")
		case copyingTo:
			return srv.copyOut(ctx, text)
		case copyingIn:
			return srv.copyIn(ctx, text, st.rows)
		}
		return srv.do(ctx, text)
	}
}

// mayFail: errors that only such a statement can lead to.
func (st *stmt) mayFail(state string) bool {
	if state == "57014" { // statement_timeout
		return true
	}
	switch st.kind {
	case kindFetch, "CURRENT OF":
		return state == "34000" || state == "24000" || state == "55000"
	case kindFinish:
		return state == "42704" || state == "55006"
	case kindPrepare:
		return state == "0A000" || state == "54000" // it has sent ahead what it wrote
	case kindDeclare, "CREATE INDEX", "DROP INDEX", "ADD COLUMN", "DROP COLUMN", "TRUNCATE":
		return state == "0A000" || state == "55006"
	case kindPast:
		return state == "22023" || state == "42704" || state == "0A000" || state == "25001"
	case kindNote:
		return state == "25001" || state == "0A000"
	}
	return false
}

// answeredWide notes answers to what only wide programs have; false if it leaves that to answered.
func (pl *play) answeredWide(x *actor, st *stmt, a *answer, end func(bool)) bool {
	ok := a.state == ""
	fail := func() {
		if x.deal != nil && !ok && a.state != "25P02" {
			x.failed = true
		}
	}
	switch st.kind {
	case "commit", "rollback", "rollback to", kindPrepare:
		x.locks = nil // of some of them it may be too early to say so
	}
	if !ok {
		x.locks = nil // an error gives them back
	}
	switch st.kind {
	case kindNote:
		if ok {
			n := &note{text: a.rows[0][0], start: x.start, end: pl.clock, by: x.deal}
			if x.deal != nil && x.deal.level != "read committed" && x.deal.first > 0 {
				n.start = x.deal.first
			}
			pl.notes[st.name] = n
		}
		fail()
	case kindPast:
		fail()
		n := pl.notes[st.name]
		if x.deal != nil && ok && x.deal.first == 0 { // it may have a snapshot by now
			x.deal.first = x.start
		}
		if n == nil || x.deal == nil || !ok || a.tag == "SELECT 1" || strings.Contains(n.text, ":") && !pl.travels {
			break
		}
		x.deal.first, x.deal.upTo, x.deal.exporter, x.deal.level = n.start, n.end, n.by, "repeatable read"
	case kindAdvisory:
		fail()
		if !ok || x.deal == nil || a.rows[0][0] == "f" {
			break
		}
		n, shared, _ := strings.Cut(st.name, " ")
		for i, o := range pl.actors {
			if o.pending != nil { // it may just be giving it up
				continue
			}
			for _, h := range o.locks {
				if m, also, _ := strings.Cut(h, " "); o != x && m == n && (shared == "false" || also == "false") {
					pl.out.broken = fmt.Sprintf("%s: session %d has the lock", st.text, i+1)
				}
			}
		}
		x.locks = append(x.locks, st.name)
	case kindPrepare:
		if x.deal == nil {
			break
		}
		d := x.deal
		end(false)
		if ok && a.tag == "PREPARE TRANSACTION" {
			pl.prepared[st.name] = d
		}
	case kindFinish:
		d := pl.prepared[st.name]
		if !ok {
			if d != nil && a.state != "40001" {
				pl.out.broken = st.text + ": " + a.outcome()
			}
			break
		}
		delete(pl.prepared, st.name)
		if d == nil {
			pl.out.broken = st.text + ": there is no such transaction"
			break
		}
		d.committed, d.end = strings.HasPrefix(st.text, "commit"), pl.clock
	case kindFetch:
		fail()
		if !ok {
			break
		}
		d := x.cursors[st.name]
		if d == nil || d != x.deal && !d.committed {
			pl.out.broken = st.text + ": the transaction of this cursor has not committed"
			break
		}
		d.outcomes = append(d.outcomes, outcome{st, x.start, pl.clock, a})
	case kindDeclare:
		if ok {
			x.cursors[st.name] = x.deal
		}
		return false
	default:
		return false
	}
	return true
}

// finish ends prepared transactions that nobody has finished, when everybody has nothing to do or waits.
func (pl *play) finish(ctx context.Context, admin *server) {
	if slices.ContainsFunc(pl.actors, func(x *actor) bool { return x.pending != nil && pl.p.turns[x.turn].st.kind == kindFinish }) {
		return
	}
	for gid, d := range pl.prepared {
		if a := admin.do(ctx, "commit prepared '"+gid+"'"); a.state != "" {
			pl.out.broken = "commit prepared '" + gid + "': " + a.outcome()
		}
		pl.clock++
		delete(pl.prepared, gid)
		d.committed, d.end = true, pl.clock
	}
}
