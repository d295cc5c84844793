package exec

import (
	"bytes"
	"context"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/rowenc"
	"github.com/pamirdb/pamir/sql/types"
)

// upsert is INSERT ... ON CONFLICT, row by row: whether a row conflicts depends on the rows before it.
type upsert struct {
	*modify
	n        *plan.Insert
	full     *types.Batch
	arbiters []*rowenc.Index
	others   []*rowenc.Index // unique, but not asked to arbitrate
	set      []int
	ps       programs
	where    *expr.Program
	decoder  *rowenc.Decoder
	// written are primary keys of rows that the statement has inserted or updated.
	written map[string]struct{}
	pair    types.Batch
	old     *types.Batch
	shown   *types.Batch
}

func newUpsert(m *modify, n *plan.Insert) (operator, error) {
	o := &upsert{modify: m, n: n, full: types.NewBatch(allColumns(n.Table), 0)}
	all := append([]*rowenc.Index{m.w.tab.Primary}, m.w.second...)
	for _, x := range all {
		if !x.Desc.Unique && !x.Desc.Primary {
			continue
		}
		if n.Conflict.Index == nil || n.Conflict.Index.ID == x.Desc.ID {
			o.arbiters = append(o.arbiters, x)
		} else {
			o.others = append(o.others, x)
		}
	}
	if len(o.arbiters) == 0 && n.Conflict.Index != nil {
		return nil, pgerr.New(pgerr.InternalError, "index %q cannot arbitrate", n.Conflict.Index.Name)
	}
	for _, s := range n.Conflict.Update {
		p, err := expr.Compile(s.Value)
		if err != nil {
			return nil, err
		}
		o.set, o.ps = append(o.set, s.Column), append(o.ps, p)
	}
	var err error
	if o.where, err = compileOpt(n.Conflict.Where); err != nil {
		return nil, err
	}
	cols := make([]int, 0, len(n.Table.Columns))
	for i := range n.Table.Columns {
		if !n.Table.Columns[i].Dropped {
			cols = append(cols, i)
		}
	}
	o.old = types.NewBatch(allColumns(n.Table), 1)
	o.shown = types.NewBatch(allColumns(n.Table), 1)
	spec, err := rowenc.NewSpec(m.w.tab.Primary, cols)
	if err != nil {
		return nil, err
	}
	o.decoder = spec.NewDecoder(true)
	m.take = o.rows
	m.before = func() { o.written = nil }
	return o, nil
}

func (o *upsert) rows(ctx context.Context, b *types.Batch) error {
	wholeRows(o.full, b, o.n.Columns)
	if err := o.w.check(o.full); err != nil {
		return err
	}
	if o.w.rowid >= 0 {
		o.w.fillRowIDs(o.full)
	}
	row := make(rowenc.Row, len(o.full.Cols))
	for i := range o.full.N {
		loadRow(row, o.full, i)
		if err := o.row(ctx, row, i); err != nil {
			return err
		}
	}
	return nil
}

// lookup reads the keys of a row in some indexes; it returns the first index with an entry. loose: what is found is read again before anything is
// made of it.
func (o *upsert) lookup(ctx context.Context, xs []*rowenc.Index, row rowenc.Row, loose bool) (x *rowenc.Index, key keys.Key, val []byte, err error) {
	opts := latestLocked
	opts.Loose = loose
	var ks []keys.Key
	var of []*rowenc.Index
	for _, x := range xs {
		k, distinct, err := o.w.key(x, row)
		if err != nil {
			return nil, nil, nil, err
		}
		if distinct {
			ks, of = append(ks, k), append(of, x)
			opts.IfAbsent = append(opts.IfAbsent, !x.Desc.Primary || o.n.Conflict.Update == nil)
		}
	}
	if len(ks) == 0 {
		return nil, nil, nil, nil
	}
	vals, err := o.in.rt.Txn.GetMany(ctx, ks, opts)
	if err != nil {
		return nil, nil, nil, err
	}
	for i, v := range vals {
		if v != nil {
			return of[i], ks[i], v, nil
		}
	}
	return nil, nil, nil, nil
}

// maxLookups is how often a row is looked for that others keep taking away between the look at the index and the lock on the row.
const maxLookups = 20

func (o *upsert) row(ctx context.Context, row rowenc.Row, at int) error {
	var x *rowenc.Index
	var key keys.Key
	var val []byte
	for n := 0; ; n++ {
		var err error
		if x, key, val, err = o.lookup(ctx, o.arbiters, row, o.n.Conflict.Update != nil); err != nil {
			return err
		}
		if x == nil {
			return o.insertRow(ctx, row, at)
		}
		if o.n.Conflict.Update == nil {
			return nil
		}
		if x.Desc.Primary {
			break
		}
		entry := key
		if key, err = x.PrimaryKeyOf(nil, o.w.tab.Primary, entry, val); err != nil {
			return err
		}
		var exists bool
		if val, exists, err = o.in.rt.Txn.Get(ctx, key, latestLocked); err != nil {
			return err
		}
		if exists {
			same, err := o.leadsTo(x, entry, key, val)
			if err != nil {
				return err
			}
			if same {
				break
			}
		}
		if n == maxLookups {
			return pgerr.New(pgerr.DataCorrupted, "index \"%s\" of table \"%s\" has an entry without a row", x.Desc.Name, o.n.Table.Name)
		}
	}
	if _, again := o.written[string(key)]; again {
		return pgerr.New(pgerr.CardinalityViolation, "ON CONFLICT DO UPDATE command cannot affect row a second time").
			WithHint("Ensure that no rows proposed for insertion within the same command have duplicate constrained values.")
	}
	return o.updateRow(ctx, key, val, at)
}

// leadsTo reports whether the row, which is locked, has the entry that led to it: it may have got another value, or gone and come again, meanwhile.
func (o *upsert) leadsTo(x *rowenc.Index, entry, key keys.Key, val []byte) (bool, error) {
	if err := o.load(key, val); err != nil {
		return false, err
	}
	row := make(rowenc.Row, len(o.old.Cols))
	loadRow(row, o.old, 0)
	now, _, err := o.w.key(x, row)
	return bytes.Equal(now, entry), err
}

func (o *upsert) insertRow(ctx context.Context, row rowenc.Row, at int) error {
	if x, _, _, err := o.lookup(ctx, o.others, row, false); err != nil {
		return err
	} else if x != nil {
		return o.w.unique(x, row)
	}
	if err := o.w.refer(row, nil); err != nil {
		return err
	}
	for j := -1; j < len(o.w.second); j++ {
		x := o.w.tab.Primary
		if j >= 0 {
			x = o.w.second[j]
		}
		key, val, distinct, err := o.w.entry(x, row)
		if err != nil {
			return err
		}
		if key == nil {
			continue
		}
		if j < 0 {
			if err := o.note(key); err != nil {
				return err
			}
		}
		if err := o.w.put(x, key, val, distinct); err != nil {
			return err
		}
	}
	o.count++
	return o.returning(&types.Batch{N: o.full.N, Cols: o.full.Cols, Sel: []int32{int32(at)}})
}

func (o *upsert) note(key keys.Key) error {
	if o.n.Conflict.Update == nil {
		return nil
	}
	if o.written == nil {
		o.written = map[string]struct{}{}
	}
	o.written[string(key)] = struct{}{}
	return o.w.acct.add(int64(len(key)) + 48)
}

// load decodes a row into old.
func (o *upsert) load(key keys.Key, val []byte) error {
	t := o.n.Table
	o.old.Reset()
	live := make([]*types.Vec, 0, len(t.Columns))
	for c := range t.Columns {
		if t.Columns[c].Dropped {
			o.old.Cols[c].AppendNull()
		} else {
			live = append(live, o.old.Cols[c])
		}
	}
	if err := o.decoder.Decode(key, val, live); err != nil {
		return err
	}
	o.old.N = 1
	return nil
}

// updateRow applies SET to the existing row; expressions see it and then the row that was proposed.
func (o *upsert) updateRow(ctx context.Context, key keys.Key, val []byte, at int) error {
	t := o.n.Table
	if err := o.load(key, val); err != nil {
		return err
	}
	o.pair = types.Batch{N: 1, Cols: append(append(o.pair.Cols[:0], o.old.Cols...), make([]*types.Vec, len(t.Columns))...)}
	for c := range t.Columns {
		v := types.NewVec(t.Columns[c].Type, 1)
		v.AppendFrom(o.full.Cols[c], at)
		o.pair.Cols[len(t.Columns)+c] = v
	}
	if o.where != nil {
		sel, err := o.where.FilterSel(&o.in.er, &o.pair, []int32{})
		if err != nil || len(sel) == 0 {
			return err
		}
	}
	before := make(rowenc.Row, len(t.Columns))
	loadRow(before, o.old, 0)
	after := append(rowenc.Row(nil), before...)
	for i, p := range o.ps {
		d, err := p.EvalRow(&o.in.er, &o.pair, 0)
		if err != nil {
			return err
		}
		after[o.set[i]] = d
	}
	o.shown.Reset()
	for c := range t.Columns {
		o.shown.Cols[c].AppendDatum(after[c])
	}
	o.shown.N = 1
	if err := o.w.check(o.shown); err != nil {
		return err
	}
	if o.w.claims(o.set) {
		ks, err := o.w.lost(nil, before, after)
		if err != nil {
			return err
		}
		if err := o.w.claim(ctx, ks); err != nil {
			return err
		}
	}
	if err := o.w.update(ctx, before, after, o.set); err != nil {
		return err
	}
	newKey, _, err := o.w.key(o.w.tab.Primary, after)
	if err != nil {
		return err
	}
	if err := o.note(newKey); err != nil {
		return err
	}
	o.count++
	return o.returning(o.shown)
}
