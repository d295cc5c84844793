package exec

import (
	"bytes"
	"io"
	"slices"

	"github.com/pamirdb/pamir/sql/types"
)

// Kept is the rows of a query whose client takes its time: they are added in order and read by their numbers. They are in memory up to a
// quarter of the budget, and beyond in a temporary file, which has no name and so goes with the process at the latest. Whoever makes one closes it.
type Kept struct {
	dir    string
	acct   account
	blocks []keptBlock
	rows   int64
	first  int64 // the first row that is still there
	file   *spillFile
	at     int64 // where the file ends
	buf    []byte
	// loaded is the block of the file that was read last, counted in acct besides what held says.
	loaded *types.Batch
	last   int64 // its first row
	held   int64 // by blocks in memory
}

// keptBlock is some rows: in memory, or in the file.
type keptBlock struct {
	first int64
	n     int
	b     *types.Batch // nil in the file
	size  int64        // in memory; of the wire form in the file
	at    int64
}

// keptBlockBytes is from what size on a block takes no more rows.
const keptBlockBytes = 256 << 10

// NewKept returns an empty store under a budget. Without a dir nothing goes to a file, and what does not fit fails with 53200.
func NewKept(dir string, budget *Budget) *Kept { return &Kept{dir: dir, acct: account{b: budget}} }

// Rows is how many rows have been added.
func (k *Kept) Rows() int64 { return k.rows }

// Close gives back everything. It may be called more than once.
func (k *Kept) Close() {
	k.file.close()
	k.acct.close()
	k.blocks, k.loaded, k.file, k.held = nil, nil, nil, 0
}

// Add copies the counting rows of b from number from on.
func (k *Kept) Add(b *types.Batch, from int) error {
	for from < b.Len() {
		to, size := from, int64(0)
		room := types.BatchSize
		last := len(k.blocks) - 1
		open := last >= 0 && k.blocks[last].b != nil && k.blocks[last].n < types.BatchSize && k.blocks[last].size < keptBlockBytes
		if open {
			room, size = room-k.blocks[last].n, k.blocks[last].size
		}
		was := size
		for to < b.Len() && to-from < room && (to == from || size < keptBlockBytes) {
			size += rowSize(b, b.Row(to))
			to++
		}
		sel := make([]int32, to-from)
		for i := range sel {
			sel[i] = int32(b.Row(from + i))
		}
		rows := &types.Batch{N: b.N, Cols: b.Cols, Sel: sel}
		ok, err := k.room(size - was)
		if err != nil {
			return err
		}
		if !ok { // not even alone
			k.blocks = append(k.blocks, keptBlock{first: k.rows, n: len(sel), b: rows})
			if err := k.spill(len(k.blocks) - 1); err != nil {
				return err
			}
		} else {
			if open = open && k.blocks[last].b != nil; !open { // making room may have written it
				ts := make([]types.Type, len(b.Cols))
				for i, c := range b.Cols {
					ts[i] = c.Type
				}
				k.blocks = append(k.blocks, keptBlock{first: k.rows, b: types.NewBatch(ts, 0)})
				last = len(k.blocks) - 1
			}
			x := &k.blocks[last]
			appendBatch(x.b, rows)
			for _, c := range x.b.Cols { // the bytes of a batch live until the next one
				if c.Repr == types.ReprBytes {
					for i := x.n; i < x.b.N; i++ {
						c.Bytes[i] = bytes.Clone(c.Bytes[i])
					}
				}
			}
			x.n += len(sel)
			x.size += size - was
		}
		k.rows += int64(len(sel))
		from = to
	}
	return nil
}

func rowSize(b *types.Batch, row int) int64 {
	var n int64
	for _, c := range b.Cols {
		n += width(c) + variable(c, row)
	}
	return n
}

// room takes n bytes for rows, and writes to the file what is in the way. ok is false if they do not fit all the same.
func (k *Kept) room(n int64) (ok bool, err error) {
	fits := func() bool {
		if k.dir != "" && k.held+n > k.acct.b.limit/4 || !k.acct.try(k.acct.held+n) {
			return false
		}
		k.held += n
		return true
	}
	if fits() {
		return true, nil
	}
	if k.dir == "" {
		return false, k.acct.set(k.acct.held + n)
	}
	for i := range k.blocks {
		if k.blocks[i].b != nil {
			if err := k.spill(i); err != nil {
				return false, err
			}
		}
	}
	return fits(), nil
}

// spill writes block i to the file.
func (k *Kept) spill(i int) error {
	if k.file == nil {
		f, err := newSpillFile(k.dir)
		if err != nil {
			return err
		}
		k.file = f
	}
	x := &k.blocks[i]
	var err error
	if k.buf, err = appendBatchWire(k.buf[:0], x.b); err != nil {
		return err
	}
	if _, err := k.file.f.WriteAt(k.buf, k.at); err != nil {
		return spillError(err)
	}
	k.held -= x.size
	k.acct.try(k.acct.held - x.size) // less is always possible
	x.b, x.size, x.at = nil, int64(len(k.buf)), k.at
	k.at += x.size
	if cap(k.buf) > keptBlockBytes*2 {
		k.buf = nil
	}
	return nil
}

// Forget gives up the rows before row n (from 0), as far as they fill blocks: a reader that only goes forward does not need them again.
func (k *Kept) Forget(n int64) {
	for len(k.blocks) > 0 && k.blocks[0].first+int64(k.blocks[0].n) <= n {
		x := &k.blocks[0]
		if x.b != nil {
			k.held -= x.size
			k.acct.try(k.acct.held - x.size)
		}
		k.first = x.first + int64(x.n)
		*x = keptBlock{}
		k.blocks = k.blocks[1:]
	}
}

// Row finds row i (from 0): a batch and the place in it. What it returns is valid until the next call of any method. The row must be there,
// and not forgotten.
func (k *Kept) Row(i int64) (*types.Batch, int, error) {
	at, ok := slices.BinarySearchFunc(k.blocks, i, func(x keptBlock, i int64) int {
		switch {
		case x.first+int64(x.n) <= i:
			return -1
		case x.first > i:
			return 1
		}
		return 0
	})
	if !ok {
		return nil, 0, errBatchWire
	}
	x := &k.blocks[at]
	if x.b != nil {
		return x.b, int(i - x.first), nil
	}
	if k.loaded == nil || k.last != x.first {
		buf := make([]byte, x.size)
		if _, err := k.file.f.ReadAt(buf, x.at); err != nil && err != io.EOF {
			return nil, 0, spillError(err)
		}
		b, rest, err := decodeBatchWire(buf)
		if err != nil {
			return nil, 0, err
		}
		if len(rest) != 0 || b.N != x.n {
			return nil, 0, errBatchWire
		}
		k.loaded, k.last = b, x.first
		k.acct.note(k.held + batchSize(b))
	}
	return k.loaded, int(i - x.first), nil
}

// Next returns the rows from row i on that come in one piece; nil at the end.
func (k *Kept) Next(i int64) (*types.Batch, error) {
	if i >= k.rows {
		return nil, nil
	}
	b, at, err := k.Row(i)
	if err != nil {
		return nil, err
	}
	if at == 0 {
		return b, nil
	}
	sel := make([]int32, b.N-at)
	for j := range sel {
		sel[j] = int32(at + j)
	}
	return &types.Batch{N: b.N, Cols: b.Cols, Sel: sel}, nil
}
