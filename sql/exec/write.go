package exec

import (
	"bytes"
	"context"
	"slices"
	"strings"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/rowenc"
	"github.com/pamirdb/pamir/sql/types"
	"github.com/pamirdb/pamir/txn"
)

// rowWriter writes rows of one table with their index entries, and checks their constraints. It belongs to one
// statement at a time.
type rowWriter struct {
	table  *catalog.Table
	tab    *rowenc.Table
	second []*rowenc.Index // written
	dying  []*rowenc.Index // only deleted from
	// partial are those of second and dying that do not hold every row; nil if all do.
	partial map[*rowenc.Index]*predicate
	checks  []checkProgram
	// rowid is the position of the hidden key column, -1 if the table has a primary key.
	rowid int
	// out are the table's foreign keys, in those that refer to it (references.go).
	out     []outward
	in      []inward
	inKnown bool

	rt  *Runtime
	er  *expr.Runtime
	sel []int32
	mem chunk
	// Uniqueness of a statement's own rows, where the reads before could not see them. The first keys wait in first until
	// a second row comes: most statements write one.
	first []keys.Key
	seen  map[string]struct{}
	acct  account
	wrote int64 // rows
	// claimed counts the entries locked: see claim.
	claimed int
}

type checkProgram struct {
	name string
	cond *expr.Program
}

func newRowWriter(t *catalog.Table, checks []plan.CheckExpr) (*rowWriter, error) {
	tab, err := rowenc.ForTable(t)
	if err != nil {
		return nil, err
	}
	w := &rowWriter{table: t, tab: tab, rowid: -1, sel: []int32{}, out: outwardKeys(t)}
	for _, x := range tab.Secondary {
		if x.Desc.State == catalog.DeleteOnly {
			w.dying = append(w.dying, x)
		} else {
			w.second = append(w.second, x)
		}
		p, err := newPredicate(t, x.Desc)
		if err != nil {
			return nil, err
		}
		if p != nil {
			if w.partial == nil {
				w.partial = map[*rowenc.Index]*predicate{}
			}
			w.partial[x] = p
		}
	}
	for i := range t.Columns {
		if t.Columns[i].Hidden && !t.Columns[i].Dropped {
			w.rowid = i
		}
	}
	for _, c := range checks {
		p, err := expr.Compile(c.Cond)
		if err != nil {
			return nil, err
		}
		w.checks = append(w.checks, checkProgram{c.Name, p})
	}
	return w, nil
}

func (w *rowWriter) begin(rt *Runtime, er *expr.Runtime, budget *Budget) {
	w.rt, w.er = rt, er
	w.in, w.inKnown = nil, false
	w.first, w.seen = nil, nil
	w.claimed = 0
	w.acct = account{b: budget}
}

func (w *rowWriter) end() {
	if w.wrote > 0 && w.rt.Wrote != nil {
		w.rt.Wrote(w.table, w.wrote)
	}
	w.wrote = 0
	w.acct.close()
	w.rt, w.er, w.first, w.seen = nil, nil, nil, nil
	w.mem = chunk{}
}

// chunk hands out memory for keys and values: the transaction keeps them, so it is never used again.
type chunk struct {
	buf  []byte
	size int
}

// room returns an empty slice to append to.
func (c *chunk) room() []byte {
	if cap(c.buf)-len(c.buf) < 64 {
		c.size = min(max(2*c.size, 192), 64<<10)
		c.buf = make([]byte, 0, c.size)
	}
	return c.buf[len(c.buf):]
}

// keep takes what was appended to room out of the chunk.
func (c *chunk) keep(b []byte) []byte {
	if n := len(c.buf); len(b) > 0 && cap(c.buf)-n >= len(b) && &c.buf[:n+1][n] == &b[0] {
		c.buf = c.buf[:n+len(b)]
	}
	return b[:len(b):len(b)]
}

// entry encodes a row's entry in an index; key is nil if it has none.
func (w *rowWriter) entry(x *rowenc.Index, row rowenc.Row) (key keys.Key, val []byte, distinct bool, err error) {
	if ok, err := w.has(x, row); err != nil || !ok {
		return nil, nil, false, err
	}
	k, distinct, err := x.AppendKey(w.mem.room(), row)
	if err != nil {
		return nil, nil, false, err
	}
	k = w.mem.keep(k)
	v, err := x.AppendTuple(w.mem.room(), row, distinct)
	if err != nil {
		return nil, nil, false, err
	}
	return k, w.mem.keep(v), distinct, nil
}

// key is that of the row's entry in an index; nil if it has none.
func (w *rowWriter) key(x *rowenc.Index, row rowenc.Row) (keys.Key, bool, error) {
	if ok, err := w.has(x, row); err != nil || !ok {
		return nil, false, err
	}
	k, distinct, err := x.AppendKey(w.mem.room(), row)
	if err != nil {
		return nil, false, err
	}
	return w.mem.keep(k), distinct, nil
}

// check tests NOT NULL and CHECK constraints of a batch of whole rows.
func (w *rowWriter) check(b *types.Batch) error {
	for c := range w.table.Columns {
		col := &w.table.Columns[c]
		v := b.Cols[c]
		if !col.NotNull || col.Dropped || col.Hidden || !v.HasNulls {
			continue
		}
		for i := range b.Len() {
			if row := b.Row(i); v.Nulls[row] {
				e := pgerr.New(pgerr.NotNullViolation, "null value in column \"%s\" of relation \"%s\" violates not-null constraint",
					col.Name, w.table.Name).WithDetail("%s", w.failing(b, row))
				e.Schema, e.Table, e.Column = schemaName(w.rt.Catalog, w.table), w.table.Name, col.Name
				return e
			}
		}
	}
	for _, c := range w.checks {
		v, err := c.cond.Eval(w.er, b)
		if err != nil {
			return err
		}
		for i := range b.Len() {
			if row := b.Row(i); !v.IsNull(row) && v.Ints[row] == 0 {
				e := pgerr.New(pgerr.CheckViolation, "new row for relation \"%s\" violates check constraint \"%s\"",
					w.table.Name, c.name).WithDetail("%s", w.failing(b, row))
				e.Schema, e.Table, e.Constraint = schemaName(w.rt.Catalog, w.table), w.table.Name, c.name
				return e
			}
		}
	}
	return nil
}

// failing describes a row for an error's detail as PostgreSQL does: values are cut at 64 bytes.
func (w *rowWriter) failing(b *types.Batch, row int) string {
	var sb strings.Builder
	sb.WriteString("Failing row contains (")
	first := true
	for c := range w.table.Columns {
		col := &w.table.Columns[c]
		if col.Dropped || col.Hidden {
			continue
		}
		if !first {
			sb.WriteString(", ")
		}
		first = false
		if b.Cols[c].IsNull(row) {
			sb.WriteString("null")
			continue
		}
		s := types.AppendText(nil, col.Type, b.Cols[c], row, types.DefaultEnv)
		if len(s) > 64 {
			n := 64
			for n > 0 && s[n]&0xc0 == 0x80 { // not inside a character
				n--
			}
			s = append(s[:n:n], "..."...)
		}
		sb.Write(s)
	}
	sb.WriteString(").")
	return sb.String()
}

// unique returns the error for a row whose values exist already.
func (w *rowWriter) unique(x *rowenc.Index, row rowenc.Row) error {
	e := pgerr.New(pgerr.UniqueViolation, "duplicate key value violates unique constraint \"%s\"", x.Desc.Name)
	e.Schema, e.Table, e.Constraint = schemaName(w.rt.Catalog, w.table), w.table.Name, x.Desc.Name
	var names, vals []string
	for _, c := range x.Desc.Columns {
		pos := w.table.ColumnByID(c.Column)
		names = append(names, QuoteIdent(w.table.Columns[pos].Name))
		vals = append(vals, datumText(w.table.Columns[pos].Type, row[pos]))
	}
	return e.WithDetail("Key (%s)=(%s) already exists.", strings.Join(names, ", "), strings.Join(vals, ", "))
}

// insert writes the counting rows of a batch of whole rows, which have passed check.
func (w *rowWriter) insert(ctx context.Context, b *types.Batch) error {
	if w.rowid >= 0 {
		w.fillRowIDs(b)
	}
	n := b.Len()
	w.wrote += int64(n)
	row := make(rowenc.Row, len(b.Cols))
	if w.rt.Implicit {
		for i := range n {
			loadRow(row, b, b.Row(i))
			if err := w.refer(row, nil); err != nil {
				return err
			}
			if err := w.insertBlind(row); err != nil {
				return err
			}
		}
		return nil
	}
	// Look first, for all rows at once; what the batch itself repeats is found by seen.
	type pending struct {
		x    *rowenc.Index
		row  int
		key  keys.Key
		val  []byte
		must bool
	}
	todo := make([]pending, 0, n*(1+len(w.second)))
	var look []keys.Key
	opts := latestLocked
	for i := range n {
		loadRow(row, b, b.Row(i))
		if err := w.refer(row, nil); err != nil {
			return err
		}
		for j := -1; j < len(w.second); j++ {
			x := w.tab.Primary
			if j >= 0 {
				x = w.second[j]
			}
			key, val, distinct, err := w.entry(x, row)
			if err != nil {
				return err
			}
			if key == nil {
				continue
			}
			must := distinct && !(j < 0 && w.rowid >= 0)
			todo = append(todo, pending{x, b.Row(i), key, val, must})
			if must {
				look, opts.IfAbsent = append(look, key), append(opts.IfAbsent, true)
			}
		}
	}
	var found [][]byte
	if len(look) > 0 {
		var err error
		if found, err = w.rt.Txn.GetMany(ctx, look, opts); err != nil {
			return err
		}
	}
	var own map[string]struct{}
	if n > 1 && len(look) > 0 {
		own = make(map[string]struct{}, len(look))
	}
	at := 0
	for i := range todo {
		p := &todo[i]
		if p.must {
			exists := found[at] != nil
			at++
			if own != nil && !exists {
				_, exists = own[string(p.key)]
				own[string(p.key)] = struct{}{}
			}
			if exists {
				loadRow(row, b, p.row)
				return w.unique(p.x, row)
			}
		}
		if err := w.put(p.x, p.key, p.val, p.must); err != nil {
			return err
		}
	}
	return nil
}

// put buffers a new entry. Distinct keys are asserted not to exist; so are generated row ids, which
// two nodes could make twice only if their node numbers were mistaken.
func (w *rowWriter) put(x *rowenc.Index, key keys.Key, val []byte, distinct bool) error {
	if distinct || x.Desc.Primary {
		return w.rt.Txn.Insert(key, val)
	}
	return w.rt.Txn.Put(key, val)
}

// insertBlind writes a row without looking: the commit finds keys that exist.
func (w *rowWriter) insertBlind(row rowenc.Row) error {
	for j := -1; j < len(w.second); j++ {
		x := w.tab.Primary
		if j >= 0 {
			x = w.second[j]
		}
		key, val, distinct, err := w.entry(x, row)
		if err != nil {
			return err
		}
		if key == nil {
			continue
		}
		if distinct && !(j < 0 && w.rowid >= 0) {
			dup, err := w.repeated(key)
			if err != nil {
				return err
			}
			if dup {
				return w.unique(x, row)
			}
		}
		if err := w.put(x, key, val, distinct); err != nil {
			return err
		}
	}
	return nil
}

// maxSeen is how many keys of a statement are remembered. Beyond, the transaction's buffer is asked; and what has left it, being sent
// ahead, meets the new row at its range (see txn.Buffered).
const maxSeen = 1 << 16

// makeRoom lets the transaction send ahead what its memory does not hold any more. Whoever writes in bulk calls it now and then.
func makeRoom(ctx context.Context, rt *Runtime) error {
	if b, ok := rt.Txn.(txn.Buffered); ok {
		return b.MakeRoom(ctx)
	}
	return nil
}

// repeated reports whether the statement has written the key before.
func (w *rowWriter) repeated(key keys.Key) (bool, error) {
	if w.seen == nil {
		if len(w.first) <= len(w.second) {
			for _, k := range w.first {
				if bytes.Equal(k, key) {
					return true, nil
				}
			}
			w.first = append(w.first, key)
			return false, nil
		}
		w.seen = make(map[string]struct{}, 64)
		for _, k := range w.first {
			w.seen[string(k)] = struct{}{}
		}
	}
	if _, ok := w.seen[string(key)]; ok {
		return true, nil
	}
	if len(w.seen) >= maxSeen {
		if b, ok := w.rt.Txn.(txn.Buffered); ok {
			return b.Wrote(key), nil
		}
	}
	w.seen[string(key)] = struct{}{}
	return false, w.acct.add(int64(len(key)) + 48)
}

// loadRow copies a row of a batch of whole rows.
func loadRow(row rowenc.Row, b *types.Batch, at int) {
	for c, v := range b.Cols {
		row[c] = v.Get(at)
	}
}

// fillRowIDs gives every row its hidden key.
func (w *rowWriter) fillRowIDs(b *types.Batch) {
	v := b.Cols[w.rowid]
	for i := range b.Len() {
		row := b.Row(i)
		if v.IsNull(row) {
			v.Set(row, types.NewInt(nextRowID(w.rt.Node)))
		}
	}
	v.ClearNulls()
}

// touches reports whether an index holds any of the columns, or whether a row has an entry depends on one.
func (w *rowWriter) touches(x *rowenc.Index, set []int) bool {
	if p := w.partial[x]; p != nil && p.reads(set) {
		return true
	}
	for _, c := range set {
		id := w.table.Columns[c].ID
		has := func(cols []catalog.IndexColumn) bool {
			return slices.ContainsFunc(cols, func(ic catalog.IndexColumn) bool { return ic.Column == id })
		}
		if has(x.Desc.Columns) || has(w.tab.Primary.Desc.Columns) || slices.Contains(x.Desc.Include, id) {
			return true
		}
	}
	return false
}

// update replaces a row. set lists the columns that may differ. What the row gives up in unique indexes has been claimed (claims.go).
func (w *rowWriter) update(ctx context.Context, before, after rowenc.Row, set []int) error {
	w.wrote++
	if len(w.out) > 0 || len(w.table.ReferencedBy) > 0 {
		if err := w.changed(before, after, set); err != nil {
			return err
		}
	}
	p := w.tab.Primary
	key, val, _, err := w.entry(p, after)
	if err != nil {
		return err
	}
	moved := false
	if w.touches(p, set) {
		old, _, err := w.key(p, before)
		if err != nil {
			return err
		}
		if moved = !bytes.Equal(old, key); moved {
			if err := w.mustBeFree(ctx, p, key, after); err != nil {
				return err
			}
			if err := w.rt.Txn.Delete(old); err != nil {
				return err
			}
			if err := w.rt.Txn.Insert(key, val); err != nil {
				return err
			}
		}
	}
	if !moved {
		if err := w.rt.Txn.Put(key, val); err != nil {
			return err
		}
	}
	for _, x := range w.second {
		if w.touches(x, set) {
			if err := w.updateEntry(ctx, x, before, after); err != nil {
				return err
			}
		}
	}
	for _, x := range w.dying {
		if w.touches(x, set) {
			if err := w.deleteEntry(x, before); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *rowWriter) updateEntry(ctx context.Context, x *rowenc.Index, before, after rowenc.Row) error {
	ok, ov, _, err := w.entry(x, before)
	if err != nil {
		return err
	}
	nk, nv, distinct, err := w.entry(x, after)
	if err != nil {
		return err
	}
	if bytes.Equal(ok, nk) {
		if ok == nil {
			return nil
		}
		if bytes.Equal(ov, nv) && x.Desc.State == catalog.Public {
			return nil
		}
		return w.rt.Txn.Put(nk, nv)
	}
	if distinct {
		if err := w.mustBeFree(ctx, x, nk, after); err != nil {
			return err
		}
	}
	if ok != nil {
		if err := w.rt.Txn.Delete(ok); err != nil {
			return err
		}
	}
	if nk == nil {
		return nil
	}
	return w.put(x, nk, nv, distinct)
}

// mustBeFree fails if a row has the key now, this statement's own rows included.
func (w *rowWriter) mustBeFree(ctx context.Context, x *rowenc.Index, key keys.Key, row rowenc.Row) error {
	opts := latestLocked
	opts.IfAbsent = []bool{true}
	_, exists, err := w.rt.Txn.Get(ctx, key, opts)
	if err != nil {
		return err
	}
	if exists {
		return w.unique(x, row)
	}
	return nil
}

func (w *rowWriter) deleteEntry(x *rowenc.Index, row rowenc.Row) error {
	k, _, err := w.key(x, row)
	if err != nil || k == nil {
		return err
	}
	return w.rt.Txn.Delete(k)
}

// delete removes a row, whose entries in unique indexes have been claimed.
func (w *rowWriter) delete(row rowenc.Row) error {
	w.wrote++
	if len(w.table.ReferencedBy) > 0 {
		if err := w.gone(row); err != nil {
			return err
		}
	}
	if err := w.deleteEntry(w.tab.Primary, row); err != nil {
		return err
	}
	for _, xs := range [2][]*rowenc.Index{w.second, w.dying} {
		for _, x := range xs {
			if err := w.deleteEntry(x, row); err != nil {
				return err
			}
		}
	}
	return nil
}
