package differential

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A model of what transactions may be told at each isolation level, over tables that map a key to two integers, one of which can be NULL. It knows nothing of locks: it looks for an
// order of the commits, and for snapshots, that explain all answers of committed transactions and what the tables hold at the end.

// rowKey names a row.
type rowKey struct {
	table string
	k     int
}

// rowValue is what a row holds beside its key: v, and w, which is a reference or unique (none for NULL).
type rowValue struct{ v, w int }

const none = -1 << 30

// contents are the rows that are there.
type contents map[rowKey]rowValue

// valid says whether references lead somewhere and what is unique is so: table c has references (w) to table a, and b has w unique.
func (c contents) valid() bool {
	seen := map[int]bool{}
	for k, r := range c {
		if r.w == none {
			continue
		}
		switch k.table {
		case "b":
			if seen[r.w] {
				return false
			}
			seen[r.w] = true
		case "c":
			if _, ok := c[rowKey{"a", r.w}]; !ok {
				return false
			}
		}
	}
	return true
}

// view is what a statement sees: a state of the tables with the transaction's own changes (nil: removed) over it.
type view struct {
	base contents
	own  map[rowKey]*rowValue
	// touched are the rows that were written or locked: what others must not have done to them.
	touched map[rowKey]deed
	cursors map[string]*standing
	// emptied are tables that the transaction has truncated, whatever was in them.
	emptied map[string]bool
}

func newView(base contents) *view {
	return &view{base: base, own: map[rowKey]*rowValue{}, touched: map[rowKey]deed{}, cursors: map[string]*standing{}, emptied: map[string]bool{}}
}

// over is the same over another state, and nothing touched yet.
func (v *view) over(base contents) *view {
	return &view{base: base, own: maps.Clone(v.own), touched: map[rowKey]deed{}, cursors: maps.Clone(v.cursors), emptied: maps.Clone(v.emptied)}
}

// deed is what is done to a row.
type deed int

const (
	removed deed = iota + 1 // or made
	changed
)

func (v *view) get(k rowKey) (rowValue, bool) {
	if r, ok := v.own[k]; ok {
		if r == nil {
			return rowValue{}, false
		}
		return *r, true
	}
	if v.emptied[k.table] {
		return rowValue{}, false
	}
	r, ok := v.base[k]
	return r, ok
}

func (v *view) truncate(table string) {
	v.emptied[table] = true
	for k := range v.own {
		if k.table == table {
			v.own[k] = nil
		}
	}
}

func (v *view) put(k rowKey, r rowValue) {
	v.own[k], v.touched[k] = &r, changed
}

func (v *view) remove(k rowKey) { v.own[k], v.touched[k] = nil, changed }

// rows returns the keys of a table's rows for which cond holds, in order.
func (v *view) rows(table string, cond func(k int, r rowValue) bool) (out []int) {
	for k := range keyDomain {
		if r, ok := v.get(rowKey{table, k}); ok && cond(k, r) {
			out = append(out, k)
		}
	}
	return out
}

// outcome is what became of a statement, and when: times count the events of a history.
type outcome struct {
	st         *stmt
	start, end int
	*answer
}

// deal is a transaction of a history.
type deal struct {
	session   int
	level     string
	outcomes  []outcome
	committed bool
	// first is when its first statement that sees data began; commit and end are when the commit began and was acknowledged.
	first, commit, end int
	begun              int // BEGIN, or its only statement
	// upTo, if it reads the past, is when that had been chosen. What had not begun by then it does not see, nor what exporter has done: the one who exported its snapshot.
	upTo     int
	exporter *deal
}

// explain looks for an order of the transactions in which everything is as the levels say. It returns the longest explanation's lack if there is none.
func explain(init contents, deals []*deal, final contents) (ok bool, why string) {
	var todo []*deal
	for _, d := range deals {
		if d.committed && len(d.outcomes) > 0 {
			todo = append(todo, d)
		}
	}
	s := &search{final: final, deals: todo, placed: make([]bool, len(todo)), states: []contents{init}, budget: 2_000_000, best: -1}
	if s.place() {
		return true, ""
	}
	if s.budget <= 0 {
		return true, "gave up"
	}
	return false, s.why
}

type search struct {
	final  contents
	deals  []*deal
	placed []bool
	order  []*deal
	states []contents        // states[i] is after i commits
	writes []map[rowKey]deed // of the i-th commit
	budget int
	best   int
	why    string
}

func (s *search) fail(format string, args ...any) bool {
	if len(s.order) > s.best {
		s.best, s.why = len(s.order), fmt.Sprintf(format, args...)
	}
	return false
}

// place puts one more transaction behind those that have their places.
func (s *search) place() bool {
	if s.budget--; s.budget <= 0 {
		return false
	}
	if len(s.order) == len(s.deals) {
		last := s.states[len(s.states)-1]
		if !equalContents(last, s.final) {
			return s.fail("the tables would hold %s", describe(last))
		}
		return true
	}
	for i, d := range s.deals {
		if s.placed[i] || !s.mayBeNext(d) {
			continue
		}
		s.placed[i] = true
		s.order = append(s.order, d)
		if s.run(d, 0, newView(nil), nil, nil, -1) {
			return true
		}
		s.order = s.order[:len(s.order)-1]
		s.placed[i] = false
	}
	return false
}

// mayBeNext: who was acknowledged before d began comes before it.
func (s *search) mayBeNext(d *deal) bool {
	for i, o := range s.deals {
		if !s.placed[i] && o != d && o.end < d.first {
			return false
		}
	}
	return true
}

// savepoint keeps what is to come back.
type savepoint struct {
	v     *view
	locks []held
}

// held is a row that was written or locked as it was in states[at].
type held struct {
	k  rowKey
	at int
	// not is what others must not have done to it since: removed, or changed it in any way.
	not deed
}

// run explains the statements of d from the i-th on; d is the last of s.order. snapshot is the number of commits that it sees, where that is one for all.
func (s *search) run(d *deal, i int, v *view, locks []held, saved []savepoint, snapshot int) bool {
	if s.budget--; s.budget <= 0 {
		return false
	}
	pos := len(s.order) - 1
	if i == len(d.outcomes) {
		for _, h := range locks { // nobody may have changed meanwhile what was written or locked
			for n := h.at; n < pos; n++ {
				if w := s.writes[n][h.k]; w != 0 && w <= h.not {
					return s.fail("%s: %v was changed by another transaction between snapshot and commit", d.name(), h.k)
				}
			}
		}
		next, wrote := maps.Clone(s.states[pos]), map[rowKey]deed{}
		for k := range next {
			if v.emptied[k.table] {
				wrote[k] = removed
				delete(next, k)
			}
		}
		for k, r := range v.own {
			_, there := s.states[pos][k]
			switch {
			case r != nil && there:
				wrote[k], next[k] = changed, *r
			case r != nil:
				wrote[k], next[k] = removed, *r
			case there:
				wrote[k] = removed
				delete(next, k)
			}
		}
		if !next.valid() {
			return s.fail("%s would break a constraint", d.name())
		}
		s.states, s.writes = append(s.states, next), append(s.writes, wrote)
		if s.place() {
			return true
		}
		s.states, s.writes = s.states[:len(s.states)-1], s.writes[:len(s.writes)-1]
		return false
	}
	o := d.outcomes[i]
	switch o.st.kind {
	case "savepoint":
		return s.run(d, i+1, v, locks, append(slices.Clip(saved), savepoint{v, locks}), snapshot)
	case "rollback to":
		if len(saved) == 0 {
			return s.run(d, i+1, v, locks, saved, snapshot)
		}
		last := saved[len(saved)-1]
		back := last.v.over(nil)
		for name := range back.cursors { // they stay where they are now
			back.cursors[name] = v.cursors[name]
		}
		return s.run(d, i+1, back, last.locks, saved, snapshot)
	case "release":
		return s.run(d, i+1, v, locks, saved[:max(0, len(saved)-1)], snapshot)
	}
	lo, hi := pos, pos
	switch {
	case o.st.kind == kindFetch: // shows what its cursor found
	case d.level == "read committed":
		lo, hi = s.between(o.start, o.end, pos)
	case d.level == "repeatable read" && snapshot < 0:
		if lo, _ = s.between(d.first, d.end, pos); d.upTo > 0 {
			for hi = lo; hi < pos && s.order[hi].begun < d.upTo && s.order[hi] != d.exporter; hi++ {
			}
		}
	case snapshot >= 0:
		lo, hi = snapshot, snapshot
	}
	for at := hi; at >= lo; at-- {
		w := v.over(s.states[at])
		if why := o.st.check(w, o.answer, d.level); why != "" {
			s.fail("%s: %s answered %s, but %s", d.name(), o.st.text, brief(o.answer), why)
			continue
		}
		more := slices.Clone(locks)
		for k, not := range w.touched {
			more = append(more, held{k, at, not})
		}
		if o.st.kind == kindFetch {
			at = snapshot
		}
		if s.run(d, i+1, w, more, saved, at) {
			return true
		}
	}
	return false
}

// between returns which numbers of commits a snapshot that was taken between start and end may have seen.
func (s *search) between(start, end, pos int) (lo, hi int) {
	for i, o := range s.order[:pos] {
		if o.end < start {
			lo = i + 1
		}
	}
	for hi = lo; hi < pos && s.order[hi].commit < end; hi++ {
	}
	return lo, hi
}

func (d *deal) name() string {
	return fmt.Sprintf("session %d's transaction (%s, events %d to %d)", d.session+1, d.level, d.first, d.end)
}

func brief(a *answer) string {
	if a.state != "" {
		return a.state
	}
	var rows []string
	for _, r := range a.rows {
		rows = append(rows, show(strings.Join(r, "\x01")))
	}
	return a.tag + " " + strings.Join(rows, " ")
}

func equalContents(a, b contents) bool {
	if len(a) != len(b) {
		return false
	}
	for k, r := range a {
		if o, ok := b[k]; !ok || o != r {
			return false
		}
	}
	return true
}

func describe(c contents) string {
	var out []string
	for k, r := range c {
		w := fmt.Sprint(r.w)
		if r.w == none {
			w = "NULL"
		}
		out = append(out, fmt.Sprintf("%s(%d, %d, %s)", k.table, k.k, r.v, w))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}
