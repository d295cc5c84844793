package exec

import (
	"context"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/rowenc"
	"github.com/pamirdb/pamir/sql/types"
	"github.com/pamirdb/pamir/txn"
)

// lockRows locks the rows that a query yields, table by table (FOR UPDATE over joins).
type lockRows struct {
	in      *instance
	n       *plan.LockRows
	src     operator
	primary []*rowenc.Index
	keyPos  [][]int // positions in Table.Columns of the key columns
	row     []rowenc.Row
	out     types.Batch
	sel     []int32
}

func newLockRows(in *instance, n *plan.LockRows) (operator, error) {
	src, err := in.build(n.Input)
	if err != nil {
		return nil, err
	}
	l := &lockRows{in: in, n: n, src: src, sel: []int32{}}
	for _, t := range n.Targets {
		p := t.Table.Primary()
		if p == nil || len(p.Columns) != len(t.KeyCols) {
			return nil, pgerr.New(pgerr.InternalError, "rows of %q cannot be locked by %d columns", t.Table.Name, len(t.KeyCols))
		}
		x, err := rowenc.ForIndex(t.Table, p)
		if err != nil {
			return nil, err
		}
		var pos []int
		for _, c := range p.Columns {
			pos = append(pos, t.Table.ColumnByID(c.Column))
		}
		l.primary = append(l.primary, x)
		l.keyPos = append(l.keyPos, pos)
		l.row = append(l.row, make(rowenc.Row, len(t.Table.Columns)))
	}
	return l, nil
}

func (l *lockRows) open(ctx context.Context) error { return l.src.open(ctx) }
func (l *lockRows) close()                         { l.src.close() }

func (l *lockRows) next(ctx context.Context) (*types.Batch, error) {
	for {
		b, err := l.src.next(ctx)
		if err != nil || b == nil {
			return nil, err
		}
		skip := make([]bool, b.N)
		for t := range l.n.Targets {
			if err := l.lock(ctx, t, b, skip); err != nil {
				return nil, err
			}
		}
		l.sel = l.sel[:0]
		for i := range b.Len() {
			if row := b.Row(i); !skip[row] {
				l.sel = append(l.sel, int32(row))
			}
		}
		if len(l.sel) > 0 {
			l.out = types.Batch{N: b.N, Cols: b.Cols, Sel: l.sel}
			return &l.out, nil
		}
	}
}

func (l *lockRows) lock(ctx context.Context, t int, b *types.Batch, skip []bool) error {
	target := &l.n.Targets[t]
	var ks []keys.Key
	var rows []int
	for i := range b.Len() {
		row := b.Row(i)
		if skip[row] {
			continue
		}
		null := false
		for c, col := range target.KeyCols {
			d := b.Cols[col].Get(row)
			null = null || d.Null
			l.row[t][l.keyPos[t][c]] = d
		}
		if null { // the nullable side of an outer join has no row here
			continue
		}
		k, _, err := l.primary[t].AppendKey(nil, l.row[t])
		if err != nil {
			return err
		}
		ks, rows = append(ks, k), append(rows, row)
	}
	if len(ks) == 0 {
		return nil
	}
	vals, err := l.in.rt.Txn.GetMany(ctx, ks, txn.ScanOptions{Lock: target.Strength, Wait: target.Wait})
	if err != nil {
		return err
	}
	if target.Wait == kv.WaitSkip {
		for i, v := range vals {
			if v == nil {
				skip[rows[i]] = true
			}
		}
	}
	return nil
}
