package exec

import (
	"bytes"
	"context"
	"slices"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/rowenc"
	"github.com/pamirdb/pamir/sql/types"
	"github.com/pamirdb/pamir/txn"
)

// lockRows locks the rows that a query yields, table by table (FOR UPDATE over joins), and no more of them than are wanted: where some are skipped
// others are locked in their places, in the order in which they come.
type lockRows struct {
	in      *instance
	n       *plan.LockRows
	src     operator
	primary []*rowenc.Index
	keyPos  [][]int // positions in Table.Columns of the key columns
	row     []rowenc.Row
	reread  []rereading       // of the tables whose rows have been peeked at
	changed []map[string]bool // keys of each table's rows that are locked and were not as seen
	second  bool              // the input is read again, for those
	limit   *expr.Program
	left    int64        // how many rows are wanted yet, -1 for all
	from    *types.Batch // its rows before at are done with
	at      int
	skip    []bool
	out     types.Batch
	sel     []int32
}

func newLockRows(in *instance, n *plan.LockRows) (operator, error) {
	src, err := in.build(n.Input)
	if err != nil {
		return nil, err
	}
	l := &lockRows{in: in, n: n, src: src, sel: []int32{}}
	if l.limit, err = compileOpt(n.Limit); err != nil {
		return nil, err
	}
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
		g, err := newRereading(x, t.Seen)
		if err != nil {
			return nil, err
		}
		l.reread = append(l.reread, g)
	}
	return l, nil
}

func (l *lockRows) open(ctx context.Context) error {
	l.from, l.left, l.second = nil, -1, false
	l.changed = make([]map[string]bool, len(l.n.Targets))
	if l.limit != nil {
		n, ok, err := rowCount(&l.in.er, l.limit, "LIMIT", "2201W")
		if err != nil {
			return err
		}
		if ok {
			l.left = n
		}
	}
	return l.src.open(ctx)
}

func (l *lockRows) close() { l.src.close() }

func (l *lockRows) next(ctx context.Context) (*types.Batch, error) {
	for l.left != 0 {
		if l.from == nil {
			b, err := l.src.next(ctx)
			if err != nil {
				return nil, err
			}
			if b == nil {
				if again, err := l.secondLook(ctx); err != nil || !again {
					return nil, err
				}
				continue
			}
			l.from, l.at = b, 0
		}
		b := l.wanted()
		if l.at == l.from.Len() {
			l.from = nil
		}
		if cap(l.skip) < b.N {
			l.skip = make([]bool, b.N)
		}
		l.skip = l.skip[:b.N]
		clear(l.skip)
		if l.second {
			if err := l.unchanged(b, l.skip); err != nil {
				return nil, err
			}
		}
		for t := range l.n.Targets {
			if err := l.lock(ctx, t, b, l.skip); err != nil {
				return nil, err
			}
		}
		kept := l.sel[:0]
		for i := range b.Len() {
			if row := b.Row(i); !l.skip[row] {
				kept = append(kept, int32(row))
			}
		}
		if len(kept) > 0 {
			if l.left >= 0 {
				l.left -= int64(len(kept))
			}
			l.out.Sel = kept
			return &l.out, nil
		}
	}
	return nil, nil
}

// wanted returns the next rows of l.from, as many as are wanted yet.
func (l *lockRows) wanted() *types.Batch {
	to := l.from.Len()
	if l.left >= 0 {
		to = int(min(int64(to), int64(l.at)+l.left))
	}
	l.sel = l.sel[:0]
	for ; l.at < to; l.at++ {
		l.sel = append(l.sel, int32(l.from.Row(l.at)))
	}
	l.out = types.Batch{N: l.from.N, Cols: l.from.Cols, Sel: l.sel}
	return &l.out
}

// key is the key of a target's row; nil on the nullable side of an outer join, where there may be none.
func (l *lockRows) key(t int, b *types.Batch, row int) (keys.Key, error) {
	for c, col := range l.n.Targets[t].KeyCols {
		d := b.Cols[col].Get(row)
		if d.Null {
			return nil, nil
		}
		l.row[t][l.keyPos[t][c]] = d
	}
	k, _, err := l.primary[t].AppendKey(nil, l.row[t])
	return k, err
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
		k, err := l.key(t, b, row)
		if err != nil {
			return err
		}
		if k != nil {
			ks, rows = append(ks, k), append(rows, row)
		}
	}
	if len(ks) == 0 {
		return nil
	}
	vals, err := l.in.rt.Txn.GetMany(ctx, ks, txn.ScanOptions{Lock: target.Strength, Wait: target.Wait})
	if err != nil {
		return err
	}
	if target.Wait != kv.WaitSkip {
		return nil
	}
	for i, v := range vals {
		if v == nil {
			skip[rows[i]] = true
			continue
		}
		if len(target.Seen) == 0 {
			continue
		}
		same, err := l.reread[t].same(ks[i], v, b, rows[i])
		if err != nil {
			return err
		}
		if !same {
			skip[rows[i]] = true
			if l.changed[t] == nil {
				l.changed[t] = map[string]bool{}
			}
			if !l.second && len(l.changed[t]) < maxChanged {
				l.changed[t][string(ks[i])] = true
			}
		}
	}
	return nil
}

// maxChanged bounds the rows of a table that are looked for again.
const maxChanged = 10_000

// secondLook reads the input again, once, if there were rows that others had changed since it was read: they are locked now, and the snapshot has moved past the
// changes, so that those which still belong to the result are in it.
func (l *lockRows) secondLook(ctx context.Context) (bool, error) {
	if l.second || !slices.ContainsFunc(l.changed, func(m map[string]bool) bool { return len(m) > 0 }) {
		return false, nil
	}
	l.second = true
	l.src.close()
	return true, l.src.open(ctx)
}

// unchanged marks rows that the first look has dealt with.
func (l *lockRows) unchanged(b *types.Batch, skip []bool) error {
	for i := range b.Len() {
		row := b.Row(i)
		skip[row] = true
		for t, m := range l.changed {
			if len(m) == 0 {
				continue
			}
			k, err := l.key(t, b, row)
			if err != nil {
				return err
			}
			if m[string(k)] {
				skip[row] = false
			}
		}
	}
	return nil
}

// rereading compares rows, now that they are locked, with what has been seen of them before. With SKIP LOCKED nothing rests on what the scan has found, so that
// workers who take jobs do not invalidate each other's scans all the time.
type rereading struct {
	seen []plan.SeenCol
	dec  *rowenc.Decoder
	row  *types.Batch
	a, b []byte
}

func newRereading(primary *rowenc.Index, seen []plan.SeenCol) (rereading, error) {
	g := rereading{seen: seen}
	if len(seen) == 0 {
		return g, nil
	}
	ords := make([]int, len(seen))
	for i, c := range seen {
		ords[i] = c.Ord
	}
	spec, err := rowenc.NewSpec(primary, ords)
	if err != nil {
		return g, err
	}
	g.dec, g.row = spec.NewDecoder(true), spec.NewBatch(1)
	return g, nil
}

// same reports whether a row of a batch is what is stored.
func (g *rereading) same(key keys.Key, val []byte, b *types.Batch, row int) (bool, error) {
	g.row.Reset()
	if err := g.dec.Decode(key, val, g.row.Cols); err != nil {
		return false, err
	}
	for i, c := range g.seen {
		x, y := g.row.Cols[i], b.Cols[c.Col]
		if x.IsNull(0) || y.IsNull(row) {
			if x.IsNull(0) != y.IsNull(row) {
				return false, nil
			}
			continue
		}
		var err error
		if g.a, err = types.AppendBinary(g.a[:0], x.Type, x, 0); err != nil {
			return false, err
		}
		if g.b, err = types.AppendBinary(g.b[:0], y.Type, y, row); err != nil {
			return false, err
		}
		if !bytes.Equal(g.a, g.b) {
			return false, nil
		}
	}
	return true, nil
}
