package plan

import (
	"slices"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/role"
)

// A locking clause is about base tables, which can be far below the query that has the clause: behind views and subqueries. Locks
// are taken as high as that lets every row that is given back be a locked one, and no more rows be locked than PostgreSQL would: below the nearest
// LIMIT, since rows that SKIP LOCKED leaves out do not count. Whatever stands between keeps the keys of the tables (expose).

// locked is a base table whose rows a locking clause can lock.
type locked struct {
	scan *scanRel
	at   *lockRel
	// between are the projections on the way from scan to at.
	between []*projectRel
}

// lockable refuses FOR UPDATE and its kin of what has no rows of a table; before the rules of GROUP BY are looked at, as in PostgreSQL.
func (b *binder) lockable(q *query, s *ast.Select) {
	if len(s.Locking) == 0 {
		return
	}
	name := LockName(s.Locking[0].Strength)
	b.denyLock(s.Distinct, name, "DISTINCT clause")
	b.denyLock(len(s.GroupBy) > 0, name, "GROUP BY clause")
	b.denyLock(s.Having != nil, name, "HAVING clause")
	b.denyLock(len(q.aggs) > 0, name, "aggregate functions")
	b.denyLock(len(q.wins) > 0, name, "window functions")
	b.denyLock(len(q.srfs) > 0, name, "set-returning functions in the target list")
}

// locking binds FOR UPDATE and its kin.
func (b *binder) locking(q *query, s *ast.Select, r rel) rel {
	if len(s.Locking) == 0 {
		return r
	}
	name := LockName(s.Locking[0].Strength)
	if s.Values != nil {
		b.throw(pgerr.New(pgerr.FeatureNotSupported, "%s cannot be applied to VALUES", name))
	}
	b.denyLock(s.SetOp != 0, name, "UNION/INTERSECT/EXCEPT")
	out := &lockRel{in: r}
	found := findLocked(nil, r, out, nil)
	for _, l := range s.Locking {
		if len(l.Of) == 0 {
			for _, it := range q.items {
				b.denySequence(it)
			}
			b.lockBelow(r, l, found)
		}
		for _, of := range l.Of {
			b.lockBelow(b.lockedItem(q, l, of), l, found)
		}
	}
	if !slices.ContainsFunc(found, func(f locked) bool { return len(f.at.scans) > 0 }) {
		return r
	}
	b.writes = true
	return out
}

func (b *binder) denyLock(bad bool, name, what string) {
	if bad {
		b.throw(pgerr.New(pgerr.FeatureNotSupported, "%s is not allowed with %s", name, what))
	}
}

func (b *binder) denySequence(it *nsItem) {
	if it.kind == seqItem {
		b.throw(pgerr.New(pgerr.WrongObjectType, "cannot lock rows in sequence \"%s\"", it.name))
	}
}

// lockedItem is what one name of OF stands for.
func (b *binder) lockedItem(q *query, l *ast.Locking, of *ast.TableName) rel {
	name := LockName(l.Strength)
	if of.Schema != "" || of.Catalog != "" {
		b.fail(of.Pos, pgerr.SyntaxError, "%s must specify unqualified relation names", name)
	}
	var it *nsItem
	for _, x := range q.items {
		if x.relVisible && x.name == of.Name {
			it = x
		}
	}
	if it == nil {
		b.fail(of.Pos, pgerr.UndefinedTable, "relation \"%s\" in %s clause not found in FROM clause", of.Name, name)
	}
	b.denySequence(it)
	switch it.kind {
	case joinItem:
		b.fail(of.Pos, pgerr.FeatureNotSupported, "%s cannot be applied to a join", name)
	case funcItem:
		b.fail(of.Pos, pgerr.FeatureNotSupported, "%s cannot be applied to a function", name)
	case withItem:
		b.fail(of.Pos, pgerr.FeatureNotSupported, "%s cannot be applied to a WITH query", name)
	}
	if it.scan != nil {
		return it.scan
	}
	return it.rel
}

// findLocked appends to out the tables that rows of r come from one by one. Every LIMIT on the way gets a place for locks below it.
func findLocked(out []locked, r rel, at *lockRel, between []*projectRel) []locked {
	switch r := r.(type) {
	case *scanRel:
		return append(out, locked{r, at, slices.Clone(between)})
	case *projectRel:
		return findLocked(out, r.in, at, append(between, r))
	case *limitRel:
		below, ok := r.in.(*lockRel)
		if !ok {
			below = &lockRel{in: r.in}
			r.in = below
		}
		return findLocked(out, below.in, below, nil)
	case *lockRel:
		return findLocked(out, r.in, r, nil)
	case *filterRel, *joinRel, *sortRel, *withRel:
		for _, in := range inputs(r) {
			out = findLocked(out, in, at, between)
		}
	}
	return out
}

// lockBelow locks the rows of tables that rows of r come from. It refuses what has no such rows; functions, VALUES and WITH
// queries are left alone, as in PostgreSQL.
func (b *binder) lockBelow(r rel, l *ast.Locking, found []locked) {
	name := LockName(l.Strength)
	switch r := r.(type) {
	case *scanRel:
		i := slices.IndexFunc(found, func(f locked) bool { return f.scan == r })
		if i < 0 {
			b.throw(internal("no way to lock rows of %q", r.table.Name))
		}
		if r.table.Virtual {
			return
		}
		found[i].expose(b)
		found[i].at.add(r, lockStrength(l.Strength), lockWait(l.Wait))
		if r.need != nil && !b.env.locksUnasked {
			r.need.Privs |= role.Update
		}
	case *aggRel:
		b.denyLock(len(r.groups) > 0, name, "GROUP BY clause")
		b.denyLock(true, name, "aggregate functions")
	case *distinctRel:
		b.denyLock(true, name, "DISTINCT clause")
	case *windowRel:
		b.denyLock(true, name, "window functions")
	case *setRel:
		b.denyLock(true, name, "UNION/INTERSECT/EXCEPT")
	case *projectRel:
		b.denyLock(r.set, name, "set-returning functions in the target list")
		if r.view != nil && !b.env.locksUnasked {
			r.view.Privs |= role.Update
		}
		b.lockBelow(r.in, l, found)
	case *filterRel, *joinRel, *sortRel, *limitRel, *lockRel, *withRel:
		for _, in := range inputs(r) {
			b.lockBelow(in, l, found)
		}
	}
}

// expose lets the key of the table through to where its rows are locked.
func (f locked) expose(b *binder) {
	for _, p := range f.between {
		have := setOf(p.outs()...)
		for _, id := range keyColumns(f.scan) {
			if !have.has(id) {
				p.items = append(p.items, projItem{id, b.col(id)})
			}
		}
	}
}

func (l *lockRel) add(s *scanRel, strength kv.LockStrength, wait kv.WaitPolicy) {
	for i, o := range l.scans {
		if o == s {
			l.strength[i] = max(l.strength[i], strength)
			if l.wait[i] != kv.WaitError && wait != kv.WaitBlock { // NOWAIT goes before SKIP LOCKED
				l.wait[i] = wait
			}
			return
		}
	}
	l.scans, l.strength, l.wait = append(l.scans, s), append(l.strength, strength), append(l.wait, wait)
}

// LockName is a locking clause as it is written.
func LockName(s ast.LockStrength) string {
	switch s {
	case ast.ForKeyShare:
		return "FOR KEY SHARE"
	case ast.ForShare:
		return "FOR SHARE"
	case ast.ForNoKeyUpdate:
		return "FOR NO KEY UPDATE"
	}
	return "FOR UPDATE"
}

func lockStrength(s ast.LockStrength) kv.LockStrength {
	switch s {
	case ast.ForKeyShare:
		return kv.LockKeyShare
	case ast.ForShare:
		return kv.LockShare
	case ast.ForNoKeyUpdate:
		return kv.LockNoKeyUpdate
	}
	return kv.LockUpdate
}

func lockWait(w byte) kv.WaitPolicy {
	switch w {
	case 's':
		return kv.WaitSkip
	case 'n':
		return kv.WaitError
	}
	return kv.WaitBlock
}
