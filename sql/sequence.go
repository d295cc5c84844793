package sql

import (
	"context"
	"strconv"

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

// A sequence's state is one row under its data id (kv.NumberState), outside of transactions: numbers that have been handed out
// are not given back by a rollback. The leader of its range hands them out in order, to whichever node, and writes seldom
// (kv.Increment, eval.Numbers). Each trip takes the sequence's CACHE of numbers, and a statement that keeps
// asking takes more and more, as if CACHE were larger; a session uses up what it holds before it asks again.

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
	if !ok && s.changing != nil { // ALTER TABLE ... ADD COLUMN ... serial
		snap = s.changing
		t, ok = snap.TableByID(catalog.TableID(oid))
	}
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

// takeNumbers takes want numbers of a sequence, or looks at it if want is 0.
func (s *Session) takeNumbers(t *catalog.Table, want int64) (*kv.IncrementResponse, error) {
	q := t.Sequence
	resp, err := s.srv.cfg.Catalog.Counters().Numbers(s.ctx, &kv.Increment{Key: keys.Index(t.DataID, 1), By: want,
		Numbers: &kv.NumberRule{Start: q.First(), By: q.Increment, Min: q.Min, Max: q.Max, Cycle: q.Cycle}}, int64(s.effects.lockTimeout))
	if err != nil {
		return nil, exec.Translate(err, nil)
	}
	return resp, nil
}

// setSequence replaces a sequence's state, in a transaction of its own.
func (s *Session) setSequence(ctx context.Context, t *catalog.Table, st kv.NumberState) error {
	key := keys.Index(t.DataID, 1)
	tx := s.srv.cfg.Gateway.Begin(ctx, txn.Options{LockTimeout: s.effects.lockTimeout})
	for {
		_, _, err := tx.Get(ctx, key, txn.ScanOptions{Latest: true, Lock: kv.LockUpdate})
		if err == nil {
			err = tx.Put(key, st.Append(nil))
		}
		if err == nil {
			_, err = tx.Commit(ctx)
		}
		if err == nil {
			return nil
		}
		if tx.Retryable(err) {
			err = tx.Restart(ctx, err)
			if err == nil {
				continue
			}
		}
		tx.Rollback(ctx)
		return exec.Translate(err, nil)
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
		resp, err := s.takeNumbers(t, want)
		if err != nil {
			return 0, err
		}
		if resp.Count == 0 {
			return 0, exhausted(t)
		}
		h.next, h.left = resp.Value, resp.Count
	}
	v := h.next
	h.next += q.Increment
	h.left--
	h.cur, h.hasCur = v, true
	s.seqs.last = t.ID
	return v, nil
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
	err = s.setSequence(s.ctx, t, kv.NumberState{Last: v, Taken: called})
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
	resp, err := s.takeNumbers(t, 0)
	if err != nil || !resp.Taken {
		return types.NullDatum, err
	}
	return types.NewInt(resp.Value), nil
}

// sequenceValue is the number that a sequence gave last, or will begin with.
func (s *Session) sequenceValue(t *catalog.Table) (int64, error) {
	resp, err := s.takeNumbers(t, 0)
	if err != nil {
		return 0, err
	}
	return resp.Value, nil
}

// sequenceRows are pg_sequences.
func (s *Session) sequenceRows() [][]*string {
	o, err := s.Overlay()
	if err != nil {
		return nil
	}
	num := func(n int64) *string { return str(strconv.FormatInt(n, 10)) }
	var rows [][]*string
	for _, t := range o.Snapshot.Tables() {
		q := t.Sequence
		if q == nil {
			continue
		}
		var last *string
		if s.allowSequence(o, t, role.Usage|role.Select) == nil {
			resp, err := s.takeNumbers(t, 0)
			switch {
			case err != nil:
				s.warn(pgerr.Code(err), "the last value of sequence \"%s\" is missing: %v", t.Name, err)
			case resp.Taken:
				last = num(resp.Value)
			}
		}
		sc, _ := o.SchemaByID(t.Schema)
		rows = append(rows, []*string{str(sc.Name), str(t.Name), str(t.Owner), num(int64(q.Type)), num(q.Start), num(q.Min), num(q.Max),
			num(q.Increment), pgBool(q.Cycle), num(q.Cache), last})
	}
	return rows
}

// SequenceState is what SELECT ... FROM a sequence shows.
func (s *Session) SequenceState(oid uint32) (last int64, called bool, err error) {
	t, _, err := s.sequence(oid, role.Usage|role.Select)
	if err != nil {
		return 0, false, err
	}
	resp, err := s.takeNumbers(t, 0)
	if err != nil {
		return 0, false, err
	}
	return resp.Value, resp.Taken, nil
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
		return types.EachRow(n, sel, row)
	}
}
