package sql

import (
	"context"
	"encoding/binary"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/role"
	"github.com/pamirdb/pamir/sql/types"
	"github.com/pamirdb/pamir/txn"
)

// A sequence's state is one row under its data id, changed by transactions of their own: numbers that have been handed out
// are not given back by a rollback. Each trip takes the sequence's CACHE of numbers, and a statement that keeps
// asking takes more and more, as if CACHE were larger; a session uses up what it holds before it asks again.

// seqState is the stored state: the last number handed out, or, if called is false, the next one.
type seqState struct {
	last   int64
	called bool
}

func (st seqState) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(st.last))
	if st.called {
		return append(b, 1)
	}
	return append(b, 0)
}

func decodeSeqState(b []byte) (seqState, error) {
	if len(b) != 9 || b[8] > 1 {
		return seqState{}, pgerr.New(pgerr.DataCorrupted, "the state of a sequence is corrupt")
	}
	return seqState{last: int64(binary.BigEndian.Uint64(b)), called: b[8] == 1}, nil
}

// held are the numbers that a session holds of a sequence: next, next+inc ... left of them.
type held struct {
	data     uint64 // a restart of the sequence replaces it, and what is held is stale
	next     int64
	left     int64
	cur      int64
	hasCur   bool
	lastStmt int64 // StmtStart of the last request
	ahead    int64 // how many to take next time in the same statement
	// What was found to be allowed to whom in which catalog.
	allowed   role.Privilege
	allowedTo string
	allowedBy catalog.Snapshot
}

// maxAhead bounds how many numbers are taken ahead of a cache.
const maxAhead = 256

type sequenceState struct {
	held map[catalog.TableID]*held
	last catalog.TableID // of lastval
}

func (s *Session) sequence(oid uint32, any role.Privilege) (*catalog.Table, *held, error) {
	snap, err := s.snapshot(s.ctx)
	if err != nil {
		return nil, nil, err
	}
	t, ok := snap.TableByID(catalog.TableID(oid))
	if !ok {
		return nil, nil, pgerr.New(pgerr.UndefinedTable, "could not open relation with OID %d", oid)
	}
	if t.Sequence == nil {
		return nil, nil, pgerr.New(pgerr.WrongObjectType, "\"%s\" is not a sequence", t.Name)
	}
	h := s.seqs.held[t.ID]
	if h == nil {
		h = &held{data: t.DataID}
		if s.seqs.held == nil {
			s.seqs.held = map[catalog.TableID]*held{}
		}
		s.seqs.held[t.ID] = h
	}
	if h.data != t.DataID {
		*h = held{data: t.DataID}
	}
	if h.allowed != any || h.allowedTo != s.user || h.allowedBy != snap {
		if err := s.allowSequence(snap, t, any); err != nil {
			return nil, nil, err
		}
		h.allowed, h.allowedTo, h.allowedBy = any, s.user, snap
	}
	return t, h, nil
}

// changeSequence runs f on a sequence's state in a transaction of its own; write says whether to store what f returns.
func (s *Session) changeSequence(ctx context.Context, t *catalog.Table, write bool, f func(seqState) (seqState, error)) error {
	key := keys.Index(t.DataID, 1)
	tx := s.srv.cfg.Gateway.Begin(ctx, txn.Options{ReadOnly: !write, LockTimeout: s.effects.lockTimeout})
	once := func() error {
		o := txn.ScanOptions{Latest: true}
		if write {
			o.Lock = kv.LockUpdate
		}
		b, ok, err := tx.Get(ctx, key, o)
		if err != nil {
			return err
		}
		st := seqState{last: t.Sequence.Start}
		if ok {
			if st, err = decodeSeqState(b); err != nil {
				return err
			}
		}
		if st, err = f(st); err != nil || !write {
			return err
		}
		if err := tx.Put(key, st.encode()); err != nil {
			return err
		}
		_, err = tx.Commit(ctx)
		return err
	}
	for {
		err := once()
		if err == nil && write {
			return nil
		}
		if err == nil || !tx.Retryable(err) {
			tx.Rollback(ctx)
			return exec.Translate(err, nil)
		}
		if err := tx.Restart(ctx, err); err != nil {
			tx.Rollback(ctx)
			return exec.Translate(err, nil)
		}
	}
}

func (s *Session) nextval(oid uint32) (int64, error) {
	t, h, err := s.sequence(oid, role.Usage|role.Update)
	if err != nil {
		return 0, err
	}
	if s.readOnly() {
		return 0, pgerr.New(pgerr.ReadOnlySQLTransaction, "cannot execute nextval() in a read-only transaction")
	}
	q := t.Sequence
	if h.left == 0 {
		want := max(q.Cache, 1)
		if h.lastStmt == s.fnctx.StmtStart && h.hasCur {
			h.ahead = min(max(2*h.ahead, 2), maxAhead)
			want = max(want, h.ahead)
		} else {
			h.ahead = 0
		}
		h.lastStmt = s.fnctx.StmtStart
		err := s.changeSequence(s.ctx, t, true, func(st seqState) (seqState, error) {
			first := st.last
			if st.called {
				var ok bool
				if first, ok = step(q, st.last); !ok {
					return st, exhausted(t)
				}
			}
			last, n := first, int64(1)
			for ; n < want; n++ {
				v, ok := step(q, last)
				if !ok || (v < last) != (q.Increment < 0) { // the end, or around it
					break
				}
				last = v
			}
			h.next, h.left = first, n
			return seqState{last: last, called: true}, nil
		})
		if err != nil {
			h.left = 0
			return 0, err
		}
	}
	v := h.next
	h.next += q.Increment
	h.left--
	h.cur, h.hasCur = v, true
	s.seqs.last = t.ID
	return v, nil
}

// step is the number after v; ok is false at the end of a sequence that does not cycle.
func step(q *catalog.Sequence, v int64) (int64, bool) {
	n := v + q.Increment
	over := q.Increment > 0 && (n > q.Max || n < v)
	under := q.Increment < 0 && (n < q.Min || n > v)
	switch {
	case !over && !under:
		return n, true
	case !q.Cycle:
		return 0, false
	case over:
		return q.Min, true
	}
	return q.Max, true
}

func exhausted(t *catalog.Table) error {
	if t.Sequence.Increment > 0 {
		return pgerr.New("2200H", "nextval: reached maximum value of sequence \"%s\" (%d)", t.Name, t.Sequence.Max)
	}
	return pgerr.New("2200H", "nextval: reached minimum value of sequence \"%s\" (%d)", t.Name, t.Sequence.Min)
}

func (s *Session) setval(oid uint32, v int64, called bool) (int64, error) {
	t, h, err := s.sequence(oid, role.Update)
	if err != nil {
		return 0, err
	}
	if s.readOnly() {
		return 0, pgerr.New(pgerr.ReadOnlySQLTransaction, "cannot execute setval() in a read-only transaction")
	}
	if v < t.Sequence.Min || v > t.Sequence.Max {
		return 0, pgerr.New(pgerr.NumericValueOutOfRange, "setval: value %d is out of bounds for sequence \"%s\" (%d..%d)", v, t.Name, t.Sequence.Min, t.Sequence.Max)
	}
	h.left = 0
	err = s.changeSequence(s.ctx, t, true, func(seqState) (seqState, error) { return seqState{last: v, called: called}, nil })
	if err == nil && called {
		h.cur, h.hasCur = v, true
		s.seqs.last = t.ID
	}
	return v, err
}

func (s *Session) currval(oid uint32) (int64, error) {
	t, h, err := s.sequence(oid, role.Usage|role.Select)
	if err != nil {
		return 0, err
	}
	if !h.hasCur {
		return 0, pgerr.New(pgerr.ObjectNotInPrerequisiteState, "currval of sequence \"%s\" is not yet defined in this session", t.Name)
	}
	return h.cur, nil
}

func (s *Session) lastval() (int64, error) {
	h := s.seqs.held[s.seqs.last]
	if h == nil || !h.hasCur {
		return 0, pgerr.New(pgerr.ObjectNotInPrerequisiteState, "lastval is not yet defined in this session")
	}
	return h.cur, nil
}

func (s *Session) sequenceLast(oid uint32) (types.Datum, error) {
	t, _, err := s.sequence(oid, role.Usage|role.Select)
	if err != nil {
		return types.Datum{}, err
	}
	d := types.NullDatum
	err = s.changeSequence(s.ctx, t, false, func(st seqState) (seqState, error) {
		if st.called {
			d = types.NewInt(st.last)
		}
		return st, nil
	})
	return d, err
}

// SequenceState is what SELECT ... FROM a sequence shows.
func (s *Session) SequenceState(oid uint32) (last int64, called bool, err error) {
	t, _, err := s.sequence(oid, role.Usage|role.Select)
	if err != nil {
		return 0, false, err
	}
	err = s.changeSequence(s.ctx, t, false, func(st seqState) (seqState, error) {
		last, called = st.last, st.called
		return st, nil
	})
	return last, called, err
}

func init() {
	number := func(n int64, err error) (types.Datum, error) { return types.NewInt(n), err }
	for source, f := range map[string]func(s *Session, a []types.Datum) (types.Datum, error){
		"nextval_oid": func(s *Session, a []types.Datum) (types.Datum, error) { return number(s.nextval(uint32(a[0].I))) },
		"currval_oid": func(s *Session, a []types.Datum) (types.Datum, error) { return number(s.currval(uint32(a[0].I))) },
		"lastval":     func(s *Session, a []types.Datum) (types.Datum, error) { return number(s.lastval()) },
		"setval_oid": func(s *Session, a []types.Datum) (types.Datum, error) {
			return number(s.setval(uint32(a[0].I), a[1].I, true))
		},
		"setval3_oid": func(s *Session, a []types.Datum) (types.Datum, error) {
			return number(s.setval(uint32(a[0].I), a[1].I, a[2].Bool()))
		},
		"pg_sequence_last_value": func(s *Session, a []types.Datum) (types.Datum, error) { return s.sequenceLast(uint32(a[0].I)) },
	} {
		builtin.RegisterKernel(source, sessionKernel(f))
	}
}

// sessionKernel makes a kernel of a function of the session. The functions are strict.
func sessionKernel(f func(s *Session, args []types.Datum) (types.Datum, error)) builtin.Kernel {
	return func(ctx *builtin.Context, args []*types.Vec, n int, sel []int32, out *types.Vec) error {
		var s *Session
		if ctx != nil {
			s, _ = ctx.Session.(*Session)
		}
		if s == nil {
			return pgerr.New(pgerr.InternalError, "a function of the session ran outside of one")
		}
		a := make([]types.Datum, len(args))
		row := func(i int) error {
			for k := range args {
				a[k] = args[k].Get(i)
			}
			d, err := f(s, a)
			if err != nil {
				return err
			}
			out.Set(i, d)
			return nil
		}
		if sel == nil {
			for i := range n {
				if err := row(i); err != nil {
					return err
				}
			}
			return nil
		}
		for _, i := range sel {
			if err := row(int(i)); err != nil {
				return err
			}
		}
		return nil
	}
}
