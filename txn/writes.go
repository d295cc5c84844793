package txn

import (
	"github.com/tidwall/btree"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// writeBuffer holds the writes of a transaction until commit. Every write of a key is kept until no
// savepoint and no statement boundary needs the earlier one any more.
type writeBuffer struct {
	tree *btree.BTreeG[*bufferedKey] // nil until the first write
	log  []*bufferedKey              // in the order of writing, for RollbackTo
	seq  int32                       // of the next write: raised by statements, savepoints, and sending ahead
	stmt int32                       // seq at the beginning of the running statement, which sees what is below
	size int64                       // bytes of keys and values, of all versions
}

type bufferedKey struct {
	key      keys.Key
	versions []bufferedWrite // oldest first; never empty while in the tree
}

type bufferedWrite struct {
	seq     int32
	deleted bool
	insert  bool // must not exist before
	value   []byte
}

func (b *writeBuffer) empty() bool { return b.tree == nil || b.tree.Len() == 0 }

func (b *writeBuffer) find(key keys.Key) *bufferedKey {
	if b.tree == nil {
		return nil
	}
	k, _ := b.tree.Get(&bufferedKey{key: key})
	return k
}

func (b *writeBuffer) write(key keys.Key, w bufferedWrite) {
	if b.tree == nil {
		b.tree = newTree()
	}
	w.seq = b.seq
	k := b.find(key)
	if k == nil {
		k = &bufferedKey{key: key}
		b.tree.Set(k)
		b.size += int64(len(key))
	}
	b.size += int64(len(w.value))
	if n := len(k.versions); n > 0 {
		last := &k.versions[n-1]
		if last.seq == w.seq { // nobody can ask for the earlier one
			b.size -= int64(len(last.value))
			last.deleted, last.value = w.deleted, w.value // insert stays: the first write of the key decides it
			return
		}
	}
	k.versions = append(k.versions, w)
	b.log = append(b.log, k)
}

// visible returns the write that a reader sees: the newest of an earlier statement, or with latest the newest of all.
func (k *bufferedKey) visible(seq int32, latest bool) *bufferedWrite {
	for i := len(k.versions) - 1; i >= 0; i-- {
		if latest || k.versions[i].seq < seq {
			return &k.versions[i]
		}
	}
	return nil
}

// step begins a statement.
func (b *writeBuffer) step() {
	b.seq++
	b.stmt = b.seq
}

// savepoint returns the number of the first write after it.
func (b *writeBuffer) savepoint() int32 {
	b.seq++
	return b.seq
}

// rollbackTo forgets the writes since the savepoint. Their numbers are not used again.
func (b *writeBuffer) rollbackTo(mark int32) {
	for len(b.log) > 0 {
		k := b.log[len(b.log)-1]
		if k.versions[len(k.versions)-1].seq < mark {
			break
		}
		b.log[len(b.log)-1] = nil
		b.log = b.log[:len(b.log)-1]
		last := len(k.versions) - 1
		b.size -= int64(len(k.versions[last].value))
		k.versions = k.versions[:last]
		if last == 0 {
			b.size -= int64(len(k.key))
			b.tree.Delete(k)
		}
	}
	b.seq++
}

// versionMemory is about what a write takes in memory besides its key and value.
const versionMemory = 160

// memory is about how much the buffer takes.
func (b *writeBuffer) memory() int64 { return b.size + int64(len(b.log))*versionMemory }

// drop forgets the keys for which gone is true: they have been sent ahead.
func (b *writeBuffer) drop(gone func(keys.Key) bool) {
	b.seq++ // what is written to the same keys from now on goes on top
	old := b.log
	b.tree, b.log, b.size = nil, nil, 0
	for _, k := range old {
		if gone(k.key) {
			continue
		}
		if b.find(k.key) == nil {
			if b.tree == nil {
				b.tree = newTree()
			}
			b.tree.Set(k)
			b.size += int64(len(k.key))
			for i := range k.versions {
				b.size += int64(len(k.versions[i].value))
			}
		}
		b.log = append(b.log, k)
	}
}

func newTree() *btree.BTreeG[*bufferedKey] {
	return btree.NewBTreeGOptions(func(x, y *bufferedKey) bool { return x.key.Less(y.key) }, btree.Options{NoLocks: true, Degree: 32})
}

// final returns the writes to commit, in key order. locked tells for which keys the
// transaction holds a lock since before it wrote: their absence need not be asserted again.
func (b *writeBuffer) final(locked func(keys.Key) bool) []kv.Write {
	if b.empty() {
		return nil
	}
	out := make([]kv.Write, 0, b.tree.Len())
	b.tree.Scan(func(k *bufferedKey) bool {
		last := &k.versions[len(k.versions)-1]
		out = append(out, kv.Write{
			Key: k.key, Deleted: last.deleted, Value: last.value,
			MustNotExist: k.versions[0].insert && !locked(k.key),
		})
		return true
	})
	return out
}

// overlayRow is one own write as a scan sees it.
type overlayRow struct {
	key     keys.Key
	deleted bool
	value   []byte
}

// overlay returns the visible writes within span, in key order (or backwards).
func (b *writeBuffer) overlay(span keys.Span, latest, reverse bool) []overlayRow {
	if b.empty() {
		return nil
	}
	var out []overlayRow
	b.tree.Ascend(&bufferedKey{key: span.Start}, func(k *bufferedKey) bool {
		if !span.Contains(k.key) {
			return false
		}
		if w := k.visible(b.stmt, latest); w != nil {
			out = append(out, overlayRow{k.key, w.deleted, w.value})
		}
		return true
	})
	if reverse {
		for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
			out[i], out[j] = out[j], out[i]
		}
	}
	return out
}
