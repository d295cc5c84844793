package differential

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// Statements of interleaved transactions: each knows its text, and whether an answer to it fits what it saw.

// keyDomain: keys are below it; few, so that transactions meet.
const keyDomain = 5

// stmt is a statement.
type stmt struct {
	kind string // of controls: begin, commit, rollback, savepoint, rollback to, release
	text string
	// check says why the answer cannot be, given what was seen; "" if it can. It makes the statement's changes in the view.
	check func(v *view, a *answer, level string) string
	how   int    // it is sent
	rows  string // of COPY FROM
	name  string // of the cursor, prepared transaction, note or lock that it is about
}

func (st *stmt) control() bool { return st.check == nil }

func control(kind, text string) *stmt { return &stmt{kind: kind, text: text} }

// predicate is a WHERE clause.
type predicate struct {
	text string
	of   func(k int, r rowValue) bool
}

func drawPredicate(r *rand.Rand) predicate {
	n, m := r.IntN(keyDomain), r.IntN(keyDomain)
	switch d := r.IntN(16); {
	case d < 5:
		return predicate{fmt.Sprintf("k = %d", n), func(k int, _ rowValue) bool { return k == n }}
	case d < 8:
		return predicate{fmt.Sprintf("v = %d", n), func(_ int, x rowValue) bool { return x.v == n }}
	case d == 8:
		return predicate{"v % 2 = 0", func(_ int, x rowValue) bool { return x.v%2 == 0 }}
	case d == 9:
		return predicate{fmt.Sprintf("w = %d", n), func(_ int, x rowValue) bool { return x.w == n }}
	case d == 10:
		return predicate{"w is null", func(_ int, x rowValue) bool { return x.w == none }}
	case d == 11:
		return predicate{fmt.Sprintf("6 / (v + 1) > %d", n), func(_ int, x rowValue) bool { return 6/(x.v+1) > n }}
	case d == 12:
		return predicate{fmt.Sprintf("k in (%d, %d)", n, m), func(k int, _ rowValue) bool { return k == n || k == m }}
	case d == 13:
		return predicate{fmt.Sprintf("k >= %d", n), func(k int, _ rowValue) bool { return k >= n }}
	case d == 14:
		return predicate{fmt.Sprintf("v >= %d", n), func(_ int, x rowValue) bool { return x.v >= n }}
	}
	return predicate{"true", func(int, rowValue) bool { return true }}
}

func intOrNull(w int) string {
	if w == none {
		return null
	}
	return strconv.Itoa(w)
}

// rowsOf are the rows that a statement returns which shows k, v and w.
func rowsOf(v *view, table string, ks []int) [][]string {
	out := [][]string{}
	for _, k := range ks {
		r, _ := v.get(rowKey{table, k})
		out = append(out, []string{strconv.Itoa(k), strconv.Itoa(r.v), intOrNull(r.w)})
	}
	return out
}

func sameRows(a, b [][]string) bool {
	return slices.EqualFunc(a, b, func(x, y []string) bool { return slices.Equal(x, y) })
}

// expect compares an answer with rows and a tag.
func expect(a *answer, rows [][]string, tag string) string {
	got := slices.Clone(a.rows)
	slices.SortFunc(got, func(x, y []string) int { return slices.Compare(x, y) }) // RETURNING comes in any order; keys have one digit
	if a.tag != tag || rows != nil && !sameRows(got, rows) {
		return "it had to be " + brief(&answer{tag: tag, rows: rows})
	}
	return ""
}

// refused judges an error. Only SERIALIZABLE has to be right about whether there is a reason for it in what was seen: the others may know of later commits.
func refused(a *answer, level, state, why string) (verdict string, over bool) {
	if a.state == "" {
		if state != "" && level == "serializable" {
			return why, true
		}
		return "", false
	}
	if level == "serializable" && a.state != state && strings.HasPrefix(a.state, "23") {
		return "nothing that was seen is in the way", true
	}
	return "", true
}

func drawSelect(r *rand.Rand, table string) *stmt {
	p := drawPredicate(r)
	switch r.IntN(6) {
	case 0:
		return &stmt{kind: "SELECT aggregates", text: fmt.Sprintf("select count(*), coalesce(sum(v), 0) from %s where %s", table, p.text), check: func(v *view, a *answer, _ string) string {
			if a.state != "" {
				return ""
			}
			n, sum := 0, 0
			for _, k := range v.rows(table, p.of) {
				x, _ := v.get(rowKey{table, k})
				n, sum = n+1, sum+x.v
			}
			return expect(a, [][]string{{strconv.Itoa(n), strconv.Itoa(sum)}}, "SELECT 1")
		}}
	case 1:
		other := pick(r, "a", "b", "c")
		return &stmt{kind: "SELECT, join", text: fmt.Sprintf("select x.k, x.v, y.v from %s x join %s y on x.k = y.k order by 1", table, other), check: func(v *view, a *answer, _ string) string {
			if a.state != "" {
				return ""
			}
			rows := [][]string{}
			for _, k := range v.rows(table, func(int, rowValue) bool { return true }) {
				x, _ := v.get(rowKey{table, k})
				if y, ok := v.get(rowKey{other, k}); ok {
					rows = append(rows, []string{strconv.Itoa(k), strconv.Itoa(x.v), strconv.Itoa(y.v)})
				}
			}
			return expect(a, rows, fmt.Sprintf("SELECT %d", len(rows)))
		}}
	}
	return &stmt{kind: "SELECT", text: fmt.Sprintf("select k, v, w from %s where %s order by k", table, p.text), check: func(v *view, a *answer, _ string) string {
		if a.state != "" {
			return ""
		}
		ks := v.rows(table, p.of)
		return expect(a, rowsOf(v, table, ks), fmt.Sprintf("SELECT %d", len(ks)))
	}}
}

func drawLock(r *rand.Rand, table string) *stmt {
	p := drawPredicate(r)
	mode := pick(r, "update", "update", "no key update", "share", "key share")
	wait := pick(r, "", "", "", " nowait", " skip locked")
	not := changed
	if mode == "key share" {
		not = removed
	}
	return &stmt{kind: "SELECT FOR " + strings.ToUpper(mode+wait), text: fmt.Sprintf("select k, v, w from %s where %s order by k for %s%s", table, p.text, mode, wait), check: func(v *view, a *answer, _ string) string {
		if a.state != "" {
			return ""
		}
		ks := v.rows(table, p.of)
		if wait == " skip locked" { // some of them
			ks = slices.DeleteFunc(ks, func(k int) bool {
				return !slices.ContainsFunc(a.rows, func(row []string) bool { return row[0] == strconv.Itoa(k) })
			})
		}
		for _, k := range ks {
			if _, own := v.own[rowKey{table, k}]; !own {
				v.touched[rowKey{table, k}] = not
			}
		}
		return expect(a, rowsOf(v, table, ks), fmt.Sprintf("SELECT %d", len(ks)))
	}}
}

func drawUpdate(r *rand.Rand, table string) *stmt {
	p := drawPredicate(r)
	n := r.IntN(keyDomain)
	set, to := "", func(_ *view, x rowValue) rowValue { return x }
	switch d := r.IntN(8); {
	case d < 3:
		set, to = fmt.Sprintf("v = v + %d", n+1), func(_ *view, x rowValue) rowValue { x.v += n + 1; return x }
	case d == 3:
		set, to = fmt.Sprintf("v = %d", n), func(_ *view, x rowValue) rowValue { x.v = n; return x }
	case d == 4:
		other := pick(r, "a", "b", "c")
		set, to = fmt.Sprintf("v = (select count(*) from %s where v >= %d)", other, n), func(v *view, x rowValue) rowValue {
			x.v = len(v.rows(other, func(_ int, y rowValue) bool { return y.v >= n }))
			return x
		}
	case d == 5:
		set, to = "w = null", func(_ *view, x rowValue) rowValue { x.w = none; return x }
	default:
		set, to = fmt.Sprintf("w = %d", n), func(_ *view, x rowValue) rowValue { x.w = n; return x }
		p = predicate{fmt.Sprintf("k = %d", r.IntN(keyDomain)), nil}
		m, _ := strconv.Atoi(p.text[4:])
		p.of = func(k int, _ rowValue) bool { return k == m }
	}
	text, returning := fmt.Sprintf("update %s set %s where %s", table, set, p.text), r.IntN(2) == 0
	if returning {
		text += " returning k, v, w"
	}
	return &stmt{kind: "UPDATE", text: text, check: func(v *view, a *answer, level string) string {
		ks := v.rows(table, p.of)
		next := map[int]rowValue{}
		for _, k := range ks {
			x, _ := v.get(rowKey{table, k})
			next[k] = to(v, x)
		}
		state := ""
		for _, k := range ks {
			if s := broken(v, table, k, next[k]); s != "" {
				state = s
			}
		}
		if why, over := refused(a, level, state, "it breaks a constraint"); over {
			return why
		}
		for _, k := range ks {
			v.put(rowKey{table, k}, next[k])
		}
		return expectChange(v, table, a, ks, returning, fmt.Sprintf("UPDATE %d", len(ks)))
	}}
}

// broken is the constraint that a new value of a row breaks, as far as can be seen.
func broken(v *view, table string, k int, x rowValue) string {
	if x.w == none {
		return ""
	}
	switch table {
	case "b":
		if len(v.rows("b", func(o int, y rowValue) bool { return o != k && y.w == x.w })) > 0 {
			return "23505"
		}
	case "c":
		if _, ok := v.get(rowKey{"a", x.w}); !ok {
			return "23503"
		}
	}
	return ""
}

func expectChange(v *view, table string, a *answer, ks []int, returning bool, tag string) string {
	if !returning {
		return expect(a, nil, tag)
	}
	return expect(a, rowsOf(v, table, ks), tag)
}

func drawDelete(r *rand.Rand, table, onDelete string) *stmt {
	p := drawPredicate(r)
	return &stmt{kind: "DELETE", text: fmt.Sprintf("delete from %s where %s", table, p.text), check: func(v *view, a *answer, level string) string {
		ks := v.rows(table, p.of)
		refs := referring(v, table, ks)
		state := ""
		if len(refs) > 0 && onDelete == "" {
			state = "23503"
		}
		if why, over := refused(a, level, state, "it breaks a reference"); over {
			return why
		}
		removeRows(v, table, ks, onDelete)
		return expect(a, nil, fmt.Sprintf("DELETE %d", len(ks)))
	}}
}

// referring are the rows of c that refer to those.
func referring(v *view, table string, ks []int) []int {
	if table != "a" {
		return nil
	}
	return v.rows("c", func(_ int, x rowValue) bool { return x.w != none && slices.Contains(ks, x.w) })
}

// removeRows removes rows, and does with those that refer to them what c says.
func removeRows(v *view, table string, ks []int, onDelete string) {
	refs := referring(v, table, ks)
	for _, k := range ks {
		v.remove(rowKey{table, k})
	}
	for _, k := range refs {
		x, _ := v.get(rowKey{"c", k})
		switch onDelete {
		case " on delete cascade":
			v.remove(rowKey{"c", k})
		case " on delete set null":
			v.put(rowKey{"c", k}, rowValue{x.v, none})
		}
	}
}

func drawInsert(r *rand.Rand, table string) *stmt {
	k, x := r.IntN(keyDomain), rowValue{r.IntN(keyDomain), none}
	w := "null"
	if r.IntN(3) != 0 {
		x.w = r.IntN(keyDomain)
		w = strconv.Itoa(x.w)
	}
	text, conflict := fmt.Sprintf("insert into %s values (%d, %d, %s)", table, k, x.v, w), r.IntN(4)
	switch conflict {
	case 0:
		text += " on conflict (k) do nothing"
	case 1:
		text += fmt.Sprintf(" on conflict (k) do update set v = %s.v + excluded.v", table)
	}
	returning := r.IntN(2) == 0
	if returning {
		text += " returning k, v, w"
	}
	kind := []string{"INSERT ON CONFLICT DO NOTHING", "INSERT ON CONFLICT DO UPDATE", "INSERT", "INSERT"}[conflict]
	return &stmt{kind: kind, text: text, check: func(v *view, a *answer, level string) string {
		at := rowKey{table, k}
		old, there := v.get(at)
		state := ""
		switch {
		case there && conflict > 1:
			state = "23505"
		case !there:
			state = broken(v, table, k, x)
		}
		if why, over := refused(a, level, state, "the row is in the way, or what it refers to is missing"); over {
			return why
		}
		switch {
		case !there:
			v.put(at, x)
		case conflict == 0:
			return expectChange(v, table, a, nil, returning, "INSERT 0 0")
		case conflict == 1:
			v.put(at, rowValue{old.v + x.v, old.w})
		default:
			return "the row is there already"
		}
		return expectChange(v, table, a, []int{k}, returning, "INSERT 0 1")
	}}
}

// drawCopyRows is INSERT ... SELECT from one table into another.
func drawInsertSelect(r *rand.Rand, table string) *stmt {
	from, p := pick(r, "a", "b", "c"), drawPredicate(r)
	return &stmt{kind: "INSERT SELECT", text: fmt.Sprintf("insert into %s select k, v, null from %s where %s on conflict (k) do nothing", table, from, p.text), check: func(v *view, a *answer, _ string) string {
		if a.state != "" {
			return ""
		}
		n := 0
		for _, k := range v.rows(from, p.of) {
			x, _ := v.get(rowKey{from, k})
			if _, there := v.get(rowKey{table, k}); !there {
				v.put(rowKey{table, k}, rowValue{x.v, none})
				n++
			}
		}
		return expect(a, nil, fmt.Sprintf("INSERT 0 %d", n))
	}}
}

func drawStmt(r *rand.Rand, onDelete string) *stmt {
	table := pick(r, "a", "a", "a", "b", "c")
	switch d := r.IntN(20); {
	case d < 6:
		return drawSelect(r, table)
	case d < 9:
		return drawLock(r, table)
	case d < 14:
		return drawUpdate(r, table)
	case d < 16:
		return drawDelete(r, table, onDelete)
	case d < 19:
		return drawInsert(r, table)
	}
	return drawInsertSelect(r, table)
}
