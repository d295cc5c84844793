package plan

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/types"
)

// KeyRead is kept for a SELECT that does nothing but read rows of one table by a unique key, without locking them. Transactions that read so
// and then write what they have read are the commonest that collide: of two that have read the same row one has to fail, and its client has been
// shown what is not true any more. Where that happens, the reads had better lock, and the second transaction wait for the first.
type KeyRead struct {
	Table catalog.TableID
	// KeyHistory is what was learned of the statement. It is the one thing in a Statement that changes: all sessions share it, and it may outlive the plan.
	*KeyHistory
	// key is the one row that is read, if it is one.
	key *rowKey
	// locking is the plan that locks, once it was made.
	locking atomic.Pointer[Statement]
}

// KeyHistory is what the blocks that have read by a KeyRead did then. Its zero value is that of a statement that nobody has used.
type KeyHistory struct {
	// uses counts the blocks that have read so, and those that then wrote the row: two halves of 32 bits.
	uses atomic.Uint64
	// until is when reads need not lock any more, in Unix nanoseconds.
	until atomic.Int64
	// times is how often they have had to.
	times atomic.Int32
	first firstReads
}

// How long reads lock after a collision: longer each time, because each costs some client an error.
const (
	lockFirst = time.Minute
	lockMost  = 24 * time.Hour
)

// Collided says that a transaction has failed for having read so what it then wrote.
func (k *KeyHistory) Collided(now time.Time) {
	until := k.until.Load()
	if until > now.UnixNano() {
		return // known; it was read before that was
	}
	d := lockFirst << min(k.times.Load(), 16)
	if k.until.CompareAndSwap(until, now.Add(min(d, lockMost)).UnixNano()) {
		k.times.Add(1)
	}
}

// Locks reports whether reads should lock: a collision is not long ago, or most blocks write what they have read, so that it would only be a matter of time.
func (k *KeyHistory) Locks(now time.Time) bool {
	reads, writes := split(k.uses.Load())
	return 2*writes > reads || k.until.Load() > now.UnixNano()
}

// maxUses is when older uses begin to count for less.
const maxUses = 64

func split(uses uint64) (reads, writes uint64) { return uses >> 32, uses & (1<<32 - 1) }

// Used says that a block has read so, and whether it wrote the row that it had read.
func (k *KeyHistory) Used(wrote bool) {
	for {
		old := k.uses.Load()
		reads, writes := split(old)
		if reads >= maxUses {
			reads, writes = reads/2, writes/2
		}
		reads++
		if wrote {
			writes++
		}
		if k.uses.CompareAndSwap(old, reads<<32|writes) {
			return
		}
	}
}

// rowKey is the key of one row, as parameters and constants.
type rowKey struct {
	index  *catalog.Index
	values []expr.Expr
}

// oneRow returns the key of the row that a scan reads; nil if that may be several, or is not known before the statement runs.
func oneRow(n *Scan) *rowKey {
	if !n.Index.Unique || len(n.Spans) != 1 {
		return nil
	}
	s := &n.Spans[0]
	if s.InArray || s.IsNull != nil || len(s.Eq) < len(n.Index.Columns) {
		return nil
	}
	for _, e := range s.Eq {
		switch e.(type) {
		case *expr.Param, *expr.Const:
		default:
			return nil
		}
	}
	return &rowKey{n.Index, s.Eq}
}

// written returns the key of the row that an UPDATE or DELETE writes, if it is one.
func written(root Node) *rowKey {
	switch n := root.(type) {
	case *Update:
		root = n.Input
	case *Delete:
		root = n.Input
	default:
		return nil
	}
	for {
		switch n := root.(type) {
		case *Project:
			root = n.Input
		case *Filter:
			root = n.Input
		case *Scan:
			return oneRow(n)
		default:
			return nil
		}
	}
}

// ReadBefore reports whether the row that an UPDATE or DELETE writes with its parameters is the one that k has read with other ones. It is not if that is not known.
func (s *Statement) ReadBefore(params []types.Datum, k *KeyRead, read []types.Datum) bool {
	w, r := s.Writes, k.key
	if w == nil || r == nil || w.index.ID != r.index.ID || len(w.values) != len(r.values) || s.Target() != k.Table {
		return false
	}
	for i := range w.values {
		a, at, ok := valueOf(w.values[i], params)
		b, bt, known := valueOf(r.values[i], read)
		if !ok || !known || at != bt || a.Null || b.Null || types.Compare(at, a, b) != 0 {
			return false
		}
	}
	return true
}

// Row returns a hash of the key of the row that is read with params; false if that is not one row.
func (k *KeyRead) Row(params []types.Datum) (uint64, bool) {
	if k.key == nil {
		return 0, false
	}
	var h uint64
	for _, e := range k.key.values {
		v, t, ok := valueOf(e, params)
		if !ok || v.Null {
			return 0, false
		}
		h = types.Hash(h, t, v)
	}
	return h, true
}

func valueOf(e expr.Expr, params []types.Datum) (types.Datum, types.OID, bool) {
	switch e := e.(type) {
	case *expr.Const:
		return e.Value, e.T.OID, true
	case *expr.Param:
		if e.Index < len(params) {
			return params[e.Index], e.T.OID, true
		}
	}
	return types.Datum{}, 0, false
}

// Locking returns the plan that locks what it reads; build makes it the first time.
func (k *KeyRead) Locking(build func() (*Statement, error)) (*Statement, error) {
	if l := k.locking.Load(); l != nil {
		return l, nil
	}
	l, err := build()
	if err == nil {
		k.locking.Store(l)
	}
	return l, err
}

// maxKeys bounds the rows that a read may lock unasked.
const maxKeys = 16

// keyRead returns the KeyRead of a plan; nil if it is none.
func keyRead(root Node) *KeyRead {
	for {
		switch n := root.(type) {
		case *Project:
			for _, e := range n.Exprs {
				if isSetCall(e) {
					return nil
				}
			}
			root = n.Input
		case *Limit: // as object mappers write where they mean one row
			root = n.Input
		case *Sort:
			root = n.Input
		case *Scan:
			if n.Lock != kv.LockNone || n.Agg != nil || !n.Index.Unique || len(n.Spans) == 0 {
				return nil
			}
			keys := 0
			for i := range n.Spans {
				s := &n.Spans[i]
				if len(s.Eq) < len(n.Index.Columns) || s.IsNull != nil || slices.ContainsFunc(s.Eq, hasSubplan) {
					return nil
				}
				keys += s.keys()
			}
			if keys > maxKeys {
				return nil
			}
			return &KeyRead{Table: n.Table.ID, KeyHistory: &KeyHistory{}, key: oneRow(n)}
		default:
			return nil
		}
	}
}

// keys is how many keys a span of equalities stands for, more than maxKeys if that is not known.
func (s *ScanSpan) keys() int {
	if !s.InArray {
		return 1
	}
	switch a := s.Eq[len(s.Eq)-1].(type) {
	case *expr.ArrayCtor:
		return len(a.Elems)
	case *expr.Const:
		if a.Value.Null {
			return 0
		}
		return len(a.Value.Array().Elems)
	}
	return maxKeys + 1
}

// Target is the table that a plan writes to; 0 if it writes to none.
func (s *Statement) Target() catalog.TableID {
	switch n := s.Root.(type) {
	case *Insert:
		return n.Table.ID
	case *Update:
		return n.Table.ID
	case *Delete:
		return n.Table.ID
	}
	return 0
}

// BuildLocking plans a SELECT like Build, but that it locks the rows it returns as FOR NO KEY UPDATE does, whatever the user may. It is for
// statements with a KeyRead.
func BuildLocking(cat catalog.Snapshot, env *Env, stmt *ast.Select) (*Statement, error) {
	own, e := *stmt, *env
	own.Locking = []*ast.Locking{{Strength: ast.ForNoKeyUpdate}}
	e.locksUnasked = true
	return Build(cat, &e, &own)
}
