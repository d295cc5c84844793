package exec

import (
	"context"

	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/rowenc"
	"github.com/pamirdb/pamir/sql/types"
)

// References is what a transaction has to see to because of foreign keys: keys that must be there, and keys that have gone
// and may still be referred to. Writers of rows add to it, the end of the statement or the commit works it off (foreign_key.go).
//
// What is kept is the values of keys, not the rows. A key is in order if the referenced table has it or no row refers to it, whoever put it here and whatever
// has happened since; so looking at a key once too often does no harm, and what a savepoint took back need not be taken out (Undo).
//
// A session has one, which outlives its transactions. It is used by one statement at a time.
type References struct {
	groups []*keyGroup
	open   map[groupID]*keyGroup
	bytes  int
	// all and named are what SET CONSTRAINTS said.
	all   *bool
	named map[uint32]bool
	// running: the queue is being worked off; the statements that this takes add to it and leave it alone.
	running bool
	plans   map[actionPlan]*plan.Statement
}

// groupID tells which keys are seen to together.
type groupID struct {
	child catalog.TableID
	key   uint32 // OID of the foreign key
	// action: 0 for values that rows of the referencing table have got, otherwise what is to be done about values that the referenced table
	// has lost (ForeignKey.OnDelete).
	action byte
	update bool // they were lost by an UPDATE
}

// keyGroup is a list of values of one foreign key, each once, in the order of its columns.
type keyGroup struct {
	groupID
	keys [][]types.Datum
	// news are the values that took their places (ON UPDATE CASCADE).
	news [][]types.Datum
	seen map[string]struct{}
	// late: to be looked at by the commit, whatever the constraint's mode.
	late bool
}

const (
	// maxReferenceBytes bounds what a transaction remembers of keys.
	maxReferenceBytes = 256 << 20
	// relieveKeys is how many new values wait before they are looked up without waiting for the statement's end.
	relieveKeys = 4096
)

// Reset forgets everything: the transaction has ended, or begins again.
func (r *References) Reset() {
	if len(r.groups) > 0 {
		clear(r.groups)
		r.groups = r.groups[:0]
	}
	r.open, r.bytes = nil, 0
}

// End is Reset, and the end of what SET CONSTRAINTS said.
func (r *References) End() {
	r.Reset()
	r.all, r.named = nil, nil
}

// Undo is called after a return to a savepoint. Whether what is in the queue was taken back is not known; it is looked at by
// the commit. Actions turn into checks: their rows may be there again.
func (r *References) Undo() {
	for _, g := range r.groups {
		g.late = true
		if g.action != 0 {
			g.action, g.news = 'a', nil
		}
	}
	r.open = nil
}

// Pending reports whether a commit has anything to look at.
func (r *References) Pending() bool { return len(r.groups) > 0 }

// SetAll is SET CONSTRAINTS ALL, SetNamed that of one constraint.
func (r *References) SetAll(deferred bool) { r.all, r.named = &deferred, nil }

// SetNamed: see SetAll.
func (r *References) SetNamed(oid uint32, deferred bool) {
	if r.named == nil {
		r.named = map[uint32]bool{}
	}
	r.named[oid] = deferred
}

// deferred reports whether checks of a key wait for the commit.
func (r *References) deferred(fk *catalog.ForeignKey) bool {
	if !fk.Deferrable {
		return false
	}
	if d, ok := r.named[fk.OID]; ok {
		return d
	}
	if r.all != nil {
		return *r.all
	}
	return fk.Deferred
}

// add puts a key into the queue. values may refer to memory that is used again.
func (r *References) add(id groupID, t *catalog.Table, columns []int, values, became rowenc.Row) error {
	var inline [64]byte
	enc := inline[:0]
	for _, c := range columns {
		var err error
		if enc, err = rowenc.AppendValue(enc, t.Columns[c].Type.OID, values[c]); err != nil {
			return err
		}
		enc = append(enc, 0xfe)
	}
	g := r.open[id]
	if g == nil {
		g = &keyGroup{groupID: id, seen: map[string]struct{}{}}
		if r.open == nil {
			r.open = map[groupID]*keyGroup{}
		}
		r.open[id] = g
		r.groups = append(r.groups, g)
	}
	if _, ok := g.seen[string(enc)]; ok && became == nil {
		return nil
	}
	g.seen[string(enc)] = struct{}{}
	take := func(row rowenc.Row) []types.Datum {
		key := make([]types.Datum, len(columns))
		for i, c := range columns {
			key[i] = row[c].Clone()
		}
		return key
	}
	g.keys = append(g.keys, take(values))
	if became != nil {
		g.news = append(g.news, take(became))
	}
	if r.bytes += 2*len(enc) + 100*len(columns); r.bytes > maxReferenceBytes {
		return pgerr.New(pgerr.OutOfMemory, "too many foreign key values wait to be checked").
			WithHint("Change fewer rows in one transaction.")
	}
	return nil
}

// close takes a group out of the queue.
func (r *References) close(g *keyGroup) {
	if r.open[g.groupID] == g {
		delete(r.open, g.groupID)
	}
}

// outward is a foreign key of the table that a rowWriter writes, inward one that refers to it. columns are positions in that table.
type (
	outward struct {
		fk      *catalog.ForeignKey
		columns []int
	}
	inward struct {
		child   catalog.TableID
		fk      *catalog.ForeignKey
		columns []int
	}
)

func positions(t *catalog.Table, ids []catalog.ColumnID) []int {
	out := make([]int, len(ids))
	for i, id := range ids {
		out[i] = t.ColumnByID(id)
	}
	return out
}

func outwardKeys(t *catalog.Table) []outward {
	var out []outward
	for i := range t.ForeignKeys {
		fk := &t.ForeignKeys[i]
		out = append(out, outward{fk, positions(t, fk.Columns)})
	}
	return out
}

// inwardKeys finds the foreign keys that refer to the table.
func (w *rowWriter) inwardKeys() ([]inward, error) {
	if w.inKnown || len(w.table.ReferencedBy) == 0 {
		return w.in, nil
	}
	w.in = nil
	for _, id := range w.table.ReferencedBy {
		child := w.table
		if id != w.table.ID {
			var ok bool
			if child, ok = w.rt.Catalog.TableByID(id); !ok {
				return nil, pgerr.New(pgerr.InternalError, "table %d, which refers to table \"%s\", is not in the catalog", id, w.table.Name)
			}
		}
		for i := range child.ForeignKeys {
			if fk := &child.ForeignKeys[i]; fk.RefTable == w.table.ID {
				w.in = append(w.in, inward{id, fk, positions(w.table, fk.RefColumns)})
			}
		}
	}
	w.inKnown = true
	return w.in, nil
}

func (w *rowWriter) references() (*References, error) {
	if w.rt.References == nil {
		return nil, pgerr.New(pgerr.InternalError, "rows of table \"%s\" are written where foreign keys cannot be checked", w.table.Name)
	}
	return w.rt.References, nil
}

// refer notes the keys that a new row refers to. With set, only those of keys that have one of these columns.
func (w *rowWriter) refer(row rowenc.Row, set []int) error {
	for i := range w.out {
		k := &w.out[i]
		if set != nil && !anyOf(k.columns, set) {
			continue
		}
		nulls := 0
		for _, c := range k.columns {
			if row[c].Null {
				nulls++
			}
		}
		if nulls > 0 {
			if k.fk.Full && nulls < len(k.columns) {
				return notPresent(w.rt.Catalog, w.table, k.fk).WithDetail("MATCH FULL does not allow mixing of null and nonnull key values.")
			}
			continue
		}
		r, err := w.references()
		if err != nil {
			return err
		}
		if err := r.add(groupID{child: w.table.ID, key: k.fk.OID}, w.table, k.columns, row, nil); err != nil {
			return err
		}
	}
	return nil
}

// changed notes what an UPDATE does to foreign keys on either side.
func (w *rowWriter) changed(before, after rowenc.Row, set []int) error {
	if len(w.out) > 0 {
		var differ []int
		for _, c := range set {
			same, err := w.same(c, before, after)
			if err != nil {
				return err
			}
			if !same {
				differ = append(differ, c)
			}
		}
		if differ != nil {
			if err := w.refer(after, differ); err != nil {
				return err
			}
		}
	}
	in, err := w.inwardKeys()
	if err != nil {
		return err
	}
	for i := range in {
		k := &in[i]
		if !anyOf(k.columns, set) {
			continue
		}
		same := true
		for _, c := range k.columns {
			eq, err := w.same(c, before, after)
			if err != nil {
				return err
			}
			same = same && eq
		}
		if same {
			continue
		}
		if err := w.lose(k, k.fk.OnUpdate, before, after); err != nil {
			return err
		}
	}
	return nil
}

// gone notes that a row's keys are not there any more.
func (w *rowWriter) gone(row rowenc.Row) error {
	in, err := w.inwardKeys()
	if err != nil {
		return err
	}
	for i := range in {
		if err := w.lose(&in[i], in[i].fk.OnDelete, row, nil); err != nil {
			return err
		}
	}
	return nil
}

func (w *rowWriter) lose(k *inward, action byte, before, after rowenc.Row) error {
	for _, c := range k.columns {
		if before[c].Null {
			return nil // nothing refers to it
		}
	}
	r, err := w.references()
	if err != nil {
		return err
	}
	if action != 'c' {
		return r.add(groupID{child: k.child, key: k.fk.OID, action: action, update: after != nil}, w.table, k.columns, before, nil)
	}
	return r.add(groupID{child: k.child, key: k.fk.OID, action: action, update: after != nil}, w.table, k.columns, before, after)
}

func (w *rowWriter) same(c int, before, after rowenc.Row) (bool, error) {
	if before[c].Null || after[c].Null {
		return before[c].Null && after[c].Null, nil
	}
	a, err := rowenc.AppendValue(nil, w.table.Columns[c].Type.OID, before[c])
	if err != nil {
		return false, err
	}
	b, err := rowenc.AppendValue(nil, w.table.Columns[c].Type.OID, after[c])
	return string(a) == string(b), err
}

func anyOf(columns, set []int) bool {
	for _, c := range columns {
		for _, s := range set {
			if c == s {
				return true
			}
		}
	}
	return false
}

// endStatement works off what the statement has left to see to.
func endStatement(ctx context.Context, rt *Runtime) error {
	r := rt.References
	if r == nil || r.running || len(r.groups) == 0 {
		return nil
	}
	return r.work(ctx, rt, false)
}

// Commit sees to everything that is left. rt is that of a statement of its own.
func (r *References) Commit(ctx context.Context, rt *Runtime) error {
	return translate(rt, r.work(ctx, rt, true))
}

// Finish sees to what is not deferred (any more).
func (r *References) Finish(ctx context.Context, rt *Runtime) error {
	return translate(rt, endStatement(ctx, rt))
}
