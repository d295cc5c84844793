package plan

import (
	"sync/atomic"
	"time"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/expr"
)

// KeyRead is kept for a SELECT that does nothing but read rows of one table by a unique key, without locking them. Transactions that read so
// and then write what they have read are the commonest that collide: of two that have read the same row one has to fail, and its client has been
// shown what is not true any more. Where that happens, the reads had better lock, and the second transaction wait for the first.
//
// It is the one thing in a Statement that changes: all sessions that share the plan share what was learned with it.
type KeyRead struct {
	Table catalog.TableID
	// until is when reads need not lock any more, in Unix nanoseconds.
	until atomic.Int64
	// times is how often they have had to.
	times atomic.Int32
	// locking is the plan that locks, once it was made.
	locking atomic.Pointer[Statement]
}

// How long reads lock after a collision: longer each time, because each costs some client an error.
const (
	lockFirst = time.Minute
	lockMost  = 24 * time.Hour
)

// Collided says that a transaction has failed for having read by this plan what it then wrote.
func (k *KeyRead) Collided(now time.Time) {
	until := k.until.Load()
	if until > now.UnixNano() {
		return // known; it was read before that was
	}
	d := lockFirst << min(k.times.Load(), 16)
	if k.until.CompareAndSwap(until, now.Add(min(d, lockMost)).UnixNano()) {
		k.times.Add(1)
	}
}

// Locks reports whether reads should lock.
func (k *KeyRead) Locks(now time.Time) bool { return k.until.Load() > now.UnixNano() }

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
				if len(s.Eq) < len(n.Index.Columns) || s.IsNull != nil {
					return nil
				}
				keys += s.keys()
			}
			if keys > maxKeys {
				return nil
			}
			return &KeyRead{Table: n.Table.ID}
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
