package exec

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/parse"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/rowenc"
	"github.com/pamirdb/pamir/sql/types"
	"github.com/pamirdb/pamir/txn"
)

// Foreign keys at the end of a statement: the queue of References is worked off in order, in batches.
//
// Why no orphan can commit, at any isolation level: whoever writes a reference reads the referenced key under a lock, and whoever takes a key away
// reads where its references would be, as firm reads (txn.ScanOptions.Firm). Both kinds are validated at commit, so of two transactions
// that do not know of each other the later one fails. The locks (KEY SHARE against the row locks of UPDATE and DELETE) only make it wait
// instead; they may be lost with their leader.

// keysAtOnce bounds the keys of one look-up.
const keysAtOnce = 1024

// work takes what is due off the queue. all: deferred checks, too.
func (r *References) work(ctx context.Context, rt *Runtime, all bool) (err error) {
	r.running = true
	defer func() { r.running = false }()
	stepped := false
	var kept []*keyGroup
	for i := 0; i < len(r.groups); i++ { // it grows while it is worked off
		g := r.groups[i]
		child, fk, err := g.find(rt.Catalog)
		if err != nil {
			return err
		}
		if fk == nil {
			r.close(g)
			continue // the constraint has been dropped since
		}
		actual := g.action == 0 || g.action == 'a' // RESTRICT and actions are never deferred
		if !all && (g.late || actual && r.deferred(fk)) {
			kept = append(kept, g)
			continue
		}
		r.close(g)
		if !stepped { // from here on the statement's own rows are to be seen, and under READ COMMITTED those of others
			stepped = true
			if err := rt.Txn.StepStatement(ctx); err != nil {
				return err
			}
		}
		if err := r.settle(ctx, rt, g, child, fk); err != nil {
			return err
		}
		if rt.Savepoint && actual && !all && fk.Deferrable {
			g.late = true // a return to the savepoint may undo what made it good
			kept = append(kept, g)
		}
	}
	clear(r.groups)
	r.groups = append(r.groups[:0], kept...)
	if len(kept) == 0 {
		r.bytes = 0
	}
	return nil
}

// find resolves a group's constraint; fk is nil if it is not there any more.
func (g *keyGroup) find(cat catalog.Snapshot) (*catalog.Table, *catalog.ForeignKey, error) {
	t, ok := cat.TableByID(g.child)
	if !ok {
		return nil, nil, nil
	}
	for i := range t.ForeignKeys {
		if t.ForeignKeys[i].OID == g.key {
			return t, &t.ForeignKeys[i], nil
		}
	}
	return nil, nil, nil
}

func (r *References) settle(ctx context.Context, rt *Runtime, g *keyGroup, child *catalog.Table, fk *catalog.ForeignKey) error {
	parent, ok := rt.Catalog.TableByID(fk.RefTable)
	if !ok {
		return pgerr.New(pgerr.InternalError, "the table that constraint \"%s\" refers to is not in the catalog", fk.Name)
	}
	for at := 0; at < len(g.keys); at += keysAtOnce {
		to := min(at+keysAtOnce, len(g.keys))
		ks := g.keys[at:to]
		var err error
		switch g.action {
		case 0:
			err = checkNew(ctx, rt, child, parent, fk, ks)
		case 'a', 'r':
			err = checkGone(ctx, rt, child, parent, fk, ks, g.action == 'a')
		case 'c':
			if g.update {
				err = r.follow(ctx, rt, child, fk, ks, g.news[at:to])
			} else {
				err = r.act(ctx, rt, child, fk, g, ks)
			}
		case 'd':
			if err = r.act(ctx, rt, child, fk, g, ks); err == nil {
				// The default may be the very value that has gone: such rows did not change.
				err = checkGone(ctx, rt, child, parent, fk, ks, true)
			}
		default:
			err = r.act(ctx, rt, child, fk, g, ks)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// relieve looks new values up before the statement ends, if there are many. Those that are not there wait for the end: the statement may add them.
func (r *References) relieve(ctx context.Context, rt *Runtime) error {
	if r == nil || r.running {
		return nil
	}
	for _, g := range r.groups {
		if g.action != 0 || g.late || len(g.keys) < relieveKeys {
			continue
		}
		_, fk, err := g.find(rt.Catalog)
		if err != nil {
			return err
		}
		if fk == nil || r.deferred(fk) {
			continue
		}
		parent, ok := rt.Catalog.TableByID(fk.RefTable)
		if !ok {
			continue // settle says so
		}
		var left [][]types.Datum
		for at := 0; at < len(g.keys); at += keysAtOnce {
			ks := g.keys[at:min(at+keysAtOnce, len(g.keys))]
			there, err := present(ctx, rt, parent, fk, ks)
			if err != nil {
				return err
			}
			for i := range ks {
				if !there[i] {
					left = append(left, ks[i])
				}
			}
		}
		g.keys = left
		r.bytes /= 2 // what is in seen stays
		if len(g.seen) > 16*relieveKeys {
			g.seen, r.bytes = map[string]struct{}{}, 0
		}
		if len(left) >= relieveKeys/2 { // nearly nothing is there: do not collect all of it
			child, _, err := g.find(rt.Catalog)
			if err != nil {
				return err
			}
			if fk.RefTable != child.ID {
				return notPresent(rt.Catalog, child, fk).WithDetail("%s", keyDetail(child, fk.Columns, left[0], "is not present in table \""+parent.Name+"\"."))
			}
		}
	}
	return nil
}

// present reads referenced keys, and locks them against being taken away.
func present(ctx context.Context, rt *Runtime, parent *catalog.Table, fk *catalog.ForeignKey, ks [][]types.Datum) ([]bool, error) {
	var ix *catalog.Index
	for i := range parent.Indexes {
		if parent.Indexes[i].ID == fk.RefIndex {
			ix = &parent.Indexes[i]
		}
	}
	if ix == nil {
		return nil, pgerr.New(pgerr.InternalError, "the index that constraint \"%s\" rests on is not there", fk.Name)
	}
	x, err := rowenc.ForIndex(parent, ix)
	if err != nil {
		return nil, err
	}
	columns := positions(parent, fk.RefColumns)
	row := make(rowenc.Row, len(parent.Columns))
	look := make([]keys.Key, len(ks))
	for i, k := range ks {
		for j, c := range columns {
			row[c] = k[j]
		}
		if look[i], _, err = x.AppendKey(nil, row); err != nil {
			return nil, err
		}
	}
	vals, err := rt.Txn.GetMany(ctx, look, txn.ScanOptions{Latest: true, Lock: kv.LockKeyShare, Existence: true})
	if err != nil {
		return nil, err
	}
	out := make([]bool, len(ks))
	for i, v := range vals {
		out[i] = v != nil
	}
	return out, nil
}

// checkNew checks values that rows of the child have got.
func checkNew(ctx context.Context, rt *Runtime, child, parent *catalog.Table, fk *catalog.ForeignKey, ks [][]types.Datum) error {
	there, err := present(ctx, rt, parent, fk, ks)
	if err != nil {
		return err
	}
	for i, k := range ks {
		if there[i] {
			continue
		}
		// The row may have gone again.
		used, err := firstReferenced(ctx, rt, child, fk, [][]types.Datum{k})
		if err != nil {
			return err
		}
		if used >= 0 {
			return notPresent(rt.Catalog, child, fk).WithDetail("%s", keyDetail(child, fk.Columns, k, "is not present in table \""+parent.Name+"\"."))
		}
	}
	return nil
}

// checkGone checks that nothing refers to values that the parent has lost. again: unless another row has them now.
func checkGone(ctx context.Context, rt *Runtime, child, parent *catalog.Table, fk *catalog.ForeignKey, ks [][]types.Datum, again bool) error {
	ks = slices.Clone(ks)
	for len(ks) > 0 {
		i, err := firstReferenced(ctx, rt, child, fk, ks)
		if err != nil || i < 0 {
			return err
		}
		if again {
			there, err := present(ctx, rt, parent, fk, ks[i:i+1])
			if err != nil {
				return err
			}
			if there[0] {
				ks = slices.Delete(ks, i, i+1)
				continue
			}
		}
		// The row that refers to it may be about to go: whoever deletes or changes it has it locked.
		switch still, err := stillReferenced(ctx, rt, child, fk, ks[i]); {
		case err != nil:
			return err
		case !still:
			continue
		}
		e := pgerr.New(pgerr.ForeignKeyViolation, "update or delete on table \"%s\" violates foreign key constraint \"%s\" on table \"%s\"", parent.Name, fk.Name, child.Name)
		e.Schema, e.Table, e.Constraint = schemaName(rt.Catalog, child), child.Name, fk.Name
		return e.WithDetail("%s", keyDetail(parent, fk.RefColumns, ks[i], "is still referenced from table \""+child.Name+"\"."))
	}
	return nil
}

func notPresent(cat catalog.Snapshot, child *catalog.Table, fk *catalog.ForeignKey) *pgerr.Error {
	e := pgerr.New(pgerr.ForeignKeyViolation, "insert or update on table \"%s\" violates foreign key constraint \"%s\"", child.Name, fk.Name)
	e.Schema, e.Table, e.Constraint = schemaName(cat, child), child.Name, fk.Name
	return e
}

func keyDetail(t *catalog.Table, columns []catalog.ColumnID, key []types.Datum, what string) string {
	var names, vals []string
	for i, id := range columns {
		c := &t.Columns[t.ColumnByID(id)]
		names, vals = append(names, c.Name), append(vals, datumText(c.Type, key[i]))
	}
	return "Key (" + strings.Join(names, ", ") + ")=(" + strings.Join(vals, ", ") + ") " + what
}

// referencingIndex finds an index of the child that leads to rows by the key's columns.
func referencingIndex(child *catalog.Table, fk *catalog.ForeignKey) *catalog.Index {
	for i := range child.Indexes {
		ix := &child.Indexes[i]
		if ix.State != catalog.Public || ix.Predicate != "" || len(ix.Columns) < len(fk.Columns) {
			continue
		}
		ok := true
		for _, ic := range ix.Columns[:len(fk.Columns)] {
			ok = ok && slices.Contains(fk.Columns, ic.Column)
		}
		if ok {
			return ix
		}
	}
	return nil
}

// firstReferenced returns one of the keys that rows of the child have, or -1. What it has read must hold at commit.
func firstReferenced(ctx context.Context, rt *Runtime, child *catalog.Table, fk *catalog.ForeignKey, ks [][]types.Datum) (int, error) {
	ix := referencingIndex(child, fk)
	if ix == nil {
		return scanReferenced(ctx, rt, child, fk, ks)
	}
	x, err := rowenc.ForIndex(child, ix)
	if err != nil {
		return -1, err
	}
	spans := make([]keys.Span, len(ks))
	for i, k := range ks {
		p := append(make(keys.Key, 0, len(x.Prefix())+16), x.Prefix()...)
		for c := range fk.Columns {
			if p, err = x.AppendColumn(p, c, k[slices.Index(fk.Columns, ix.Columns[c].Column)]); err != nil {
				return -1, err
			}
		}
		spans[i] = keys.Span{Start: p, End: p.PrefixEnd()}
	}
	sc := rt.Txn.Scan(ctx, normalise(slices.Clone(spans)), txn.ScanOptions{Latest: true, Firm: true, MaxRows: 1})
	defer sc.Close()
	for {
		page, ok, err := sc.Next(ctx)
		if err != nil || !ok {
			return -1, err
		}
		key, _, ok, err := page.Rows.Next()
		if err != nil {
			return -1, err
		}
		if !ok {
			continue
		}
		for i := range spans {
			if bytes.HasPrefix(key, spans[i].Start) {
				return i, nil
			}
		}
		return -1, pgerr.New(pgerr.InternalError, "index \"%s\" gave an entry that was not asked for", ix.Name)
	}
}

// scanReferenced is firstReferenced without an index: one pass over the child.
func scanReferenced(ctx context.Context, rt *Runtime, child *catalog.Table, fk *catalog.ForeignKey, ks [][]types.Datum) (int, error) {
	var list, conds []string
	var params []types.Datum
	var hints []types.OID
	for i, id := range fk.Columns {
		col := &child.Columns[child.ColumnByID(id)]
		list = append(list, QuoteIdent(col.Name))
		conds = append(conds, QuoteIdent(col.Name)+" = ANY ($"+strconv.Itoa(i+1)+")")
		var elems []types.Datum
		for _, k := range ks {
			elems = append(elems, k[i])
		}
		params = append(params, types.NewArray(types.MakeArray1(col.Type.OID, elems)))
		hints = append(hints, types.ArrayOf(col.Type.OID))
	}
	pl, err := buildSQL(rt, "SELECT "+strings.Join(list, ", ")+" FROM "+qualifiedName(rt.Catalog, child)+" WHERE "+strings.Join(conds, " AND "), hints)
	if err != nil {
		return -1, err
	}
	found := -1
	err = runSQL(ctx, rt, pl, params, func(b *types.Batch) (bool, error) {
		for i := range b.Len() {
			row := b.Row(i)
			for n, k := range ks {
				same := true
				for c := range k {
					t := child.Columns[child.ColumnByID(fk.Columns[c])].Type.OID
					have, err := rowenc.AppendOrdered(nil, t, b.Cols[c].Get(row), false)
					if err != nil {
						return false, err
					}
					want, err := rowenc.AppendOrdered(nil, t, k[c], false)
					if err != nil {
						return false, err
					}
					same = same && bytes.Equal(have, want)
				}
				if same {
					found = n
					return false, nil
				}
			}
		}
		return true, nil
	})
	return found, err
}

// stillReferenced reports whether there is a row of the child with the key, once nobody is about to delete or change the row.
func stillReferenced(ctx context.Context, rt *Runtime, child *catalog.Table, fk *catalog.ForeignKey, key []types.Datum) (bool, error) {
	where, hints := keyCondition(child, fk, 0)
	pl, err := buildSQL(rt, "SELECT FROM "+qualifiedName(rt.Catalog, child)+where+" LIMIT 1 FOR KEY SHARE", hints)
	if err != nil {
		return false, err
	}
	found := false
	err = runSQL(ctx, rt, pl, key, func(b *types.Batch) (bool, error) {
		found = found || b.Len() > 0
		return !found, nil
	})
	return found, err
}

// actionPlan is what the plan of an action depends on.
type actionPlan struct {
	child   *catalog.Table
	version uint64
	sql     string
}

// act is ON DELETE CASCADE, and SET NULL and SET DEFAULT of both kinds.
func (r *References) act(ctx context.Context, rt *Runtime, child *catalog.Table, fk *catalog.ForeignKey, g *keyGroup, ks [][]types.Datum) error {
	table := qualifiedName(rt.Catalog, child)
	head := "DELETE FROM " + table
	if g.action != 'c' {
		set := fk.Columns
		if !g.update && len(fk.DeleteColumns) > 0 {
			set = fk.DeleteColumns
		}
		value := " = NULL"
		if g.action == 'd' {
			value = " = DEFAULT"
		}
		var list []string
		for _, id := range set {
			list = append(list, QuoteIdent(child.Columns[child.ColumnByID(id)].Name)+value)
		}
		head = "UPDATE " + table + " SET " + strings.Join(list, ", ")
	}
	if len(fk.Columns) == 1 {
		col := &child.Columns[child.ColumnByID(fk.Columns[0])]
		if array := types.ArrayOf(col.Type.OID); array != 0 {
			elems := make([]types.Datum, len(ks))
			for i := range ks {
				elems[i] = ks[i][0]
			}
			return r.run(ctx, rt, child, head+" WHERE "+QuoteIdent(col.Name)+" = ANY ($1)", []types.OID{array},
				[]types.Datum{types.NewArray(types.MakeArray1(col.Type.OID, elems))})
		}
	}
	where, hints := keyCondition(child, fk, 0)
	for _, k := range ks {
		if err := r.run(ctx, rt, child, head+where, hints, k); err != nil {
			return err
		}
	}
	return nil
}

// follow is ON UPDATE CASCADE.
func (r *References) follow(ctx context.Context, rt *Runtime, child *catalog.Table, fk *catalog.ForeignKey, ks, news [][]types.Datum) error {
	var list []string
	var hints []types.OID
	for i, id := range fk.Columns {
		col := &child.Columns[child.ColumnByID(id)]
		list = append(list, QuoteIdent(col.Name)+" = $"+strconv.Itoa(i+1))
		hints = append(hints, col.Type.OID)
	}
	where, more := keyCondition(child, fk, len(list))
	sql := "UPDATE " + qualifiedName(rt.Catalog, child) + " SET " + strings.Join(list, ", ") + where
	for i := range ks {
		params := append(slices.Clone(news[i]), ks[i]...)
		for c, id := range fk.Columns { // parameters are taken as they are: what does not fit has to be said
			col := &child.Columns[child.ColumnByID(id)]
			if err := fits(col.Type.OID, news[i][c]); err != nil {
				return err
			}
		}
		if err := r.run(ctx, rt, child, sql, append(slices.Clone(hints), more...), params); err != nil {
			return err
		}
	}
	return nil
}

// fits reports integers that are beyond the referencing column's type.
func fits(t types.OID, d types.Datum) error {
	switch {
	case d.Null:
	case t == types.Int2OID && d.I != int64(int16(d.I)):
		return pgerr.New(pgerr.NumericValueOutOfRange, "smallint out of range")
	case t == types.Int4OID && d.I != int64(int32(d.I)):
		return pgerr.New(pgerr.NumericValueOutOfRange, "integer out of range")
	}
	return nil
}

func keyCondition(child *catalog.Table, fk *catalog.ForeignKey, from int) (string, []types.OID) {
	var conds []string
	var hints []types.OID
	for i, id := range fk.Columns {
		col := &child.Columns[child.ColumnByID(id)]
		conds = append(conds, QuoteIdent(col.Name)+" = $"+strconv.Itoa(from+i+1))
		hints = append(hints, col.Type.OID)
	}
	return " WHERE " + strings.Join(conds, " AND "), hints
}

// maxActionPlans bounds the plans that a session keeps for actions.
const maxActionPlans = 128

// run is one statement of an action. What it does to other foreign keys goes into the queue.
func (r *References) run(ctx context.Context, rt *Runtime, child *catalog.Table, sql string, hints []types.OID, params []types.Datum) error {
	key := actionPlan{child, rt.Catalog.Version(), sql}
	pl := r.plans[key]
	if pl == nil {
		var err error
		if pl, err = buildSQL(rt, sql, hints); err != nil {
			return err
		}
		if r.plans == nil || len(r.plans) >= maxActionPlans {
			r.plans = map[actionPlan]*plan.Statement{}
		}
		r.plans[key] = pl
	}
	catalog.Rely(rt.Catalog, pl.Uses)
	if err := rt.Txn.StepStatement(ctx); err != nil {
		return err
	}
	if err := runSQL(ctx, rt, pl, params, func(*types.Batch) (bool, error) { return true, nil }); err != nil {
		return err
	}
	return rt.Txn.StepStatement(ctx)
}

func qualifiedName(cat catalog.Snapshot, t *catalog.Table) string {
	return QuoteIdent(schemaName(cat, t)) + "." + QuoteIdent(t.Name)
}

func buildSQL(rt *Runtime, sql string, hints []types.OID) (*plan.Statement, error) {
	st, err := parse.One(sql)
	if err != nil {
		return nil, err
	}
	return plan.Build(rt.Catalog, &plan.Env{SearchPath: []string{"public"}, ParamTypes: hints, Params: len(hints)}, st.Statement)
}

// runSQL runs a statement inside another one; its reads are firm. take returns false to stop.
func runSQL(ctx context.Context, rt *Runtime, pl *plan.Statement, params []types.Datum, take func(*types.Batch) (bool, error)) error {
	sub := *rt
	sub.Params, sub.Implicit, sub.Stats, sub.Firm = params, false, nil, true
	cur, err := Start(ctx, &sub, pl)
	if err != nil {
		return err
	}
	defer cur.Close()
	for {
		b, err := cur.Next(ctx)
		if err != nil || b == nil {
			return err
		}
		if more, err := take(b); err != nil || !more {
			return err
		}
	}
}
