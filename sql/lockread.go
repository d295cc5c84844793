package sql

import (
	"context"
	"slices"
	"time"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// Reads that lock, because those of other transactions have collided (plan.KeyRead). An object mapper reads a row, shows it to its program, and
// writes it back; two that do so at once cannot both be right, and by the time that comes out, the second has shown its program a row that is not
// true any more: the server cannot run it again, and the client gets 40001. So where most blocks write the row that they have read, the read takes a
// lock, and the second transaction waits before it has seen anything. Where that is not seen (the row is written by another key), the read locks for a
// while once it has failed.

// maxFreeReads bounds the plans that a block is known to have read by without locks.
const maxFreeReads = 32

// lockedRead returns the plan by which the portal reads: pl, or its like that locks.
func (s *Session) lockedRead(ctx context.Context, p *portal, pl *plan.Statement) (*plan.Statement, error) {
	if s.block != blockOpen || !s.effects.lockReads || !s.validatesReads() || s.epoch != 0 {
		return pl, nil
	}
	k := pl.KeyRead
	mine, waited, err := s.awaitFirst(ctx, k, p.params)
	if err != nil {
		return nil, err
	}
	if mine && s.log.cause == nil {
		return pl, nil // as before
	}
	// A lock is on the newest version, and moves the snapshot there. What the block has read without one would have to be the same still: a block that has begun so goes on so.
	// Not so if it has waited, since what the other one has written is newer than the snapshot; nor if others wait until the block has ended, and so leave what it has read as it is.
	if !waited && (slices.Contains(s.freeReads, k.KeyHistory) || !k.Waits() && s.isFirst(k.KeyHistory)) {
		return pl, nil
	}
	if !k.Locks(time.Now()) {
		if !mine && len(s.freeReads) < maxFreeReads {
			s.freeReads = append(s.freeReads, k.KeyHistory)
		}
		return pl, nil
	}
	sel, ok := p.stmt.stmt.Statement.(*ast.Select)
	if !ok {
		return pl, nil
	}
	locking, err := k.Locking(func() (*plan.Statement, error) {
		return plan.BuildLocking(s.snap, s.planEnv(p.stmt.typesToPlan(), p.stmt.stmt.Params), sel)
	})
	if err != nil {
		return nil, err
	}
	s.srv.metrics.ReadsLocked.Add(1)
	return locking, nil
}

// isFirst reports whether the transaction has read by the statement before anything was known of it.
func (s *Session) isFirst(k *plan.KeyHistory) bool {
	return slices.ContainsFunc(s.firstReads, func(r *plan.FirstRead) bool { return r.By(k) })
}

// firstWait is how long a block waits for one that has read the same row before anything was known of the statement.
const firstWait = 250 * time.Millisecond

// awaitFirst waits for a block of this node that has read the same row by the same statement, if that was before it was known what such blocks do, and reports
// whether it has. mine: this block is such a one itself.
func (s *Session) awaitFirst(ctx context.Context, k *plan.KeyRead, params []types.Datum) (mine, waited bool, err error) {
	row, ok := k.Row(params)
	if !ok {
		return false, false, nil
	}
	if slices.ContainsFunc(s.firstReads, func(r *plan.FirstRead) bool { return r.By(k.KeyHistory) && r.Of(row) }) {
		return true, false, nil
	}
	var late <-chan time.Time
	for {
		r, other := k.First(row, s.pid)
		if r != nil {
			s.firstReads = append(s.firstReads, r)
		}
		if other == nil {
			return r != nil, waited, nil
		}
		if late == nil {
			d := firstWait
			if t := s.effects.lockTimeout; t > 0 {
				d = min(d, t)
			}
			t := time.NewTimer(d)
			defer t.Stop()
			late = t.C
			s.srv.metrics.FirstReadWaits.Add(1)
			defer s.showFirstRead(0)
		}
		s.showFirstRead(other.Session())
		select {
		case <-other.Ended():
			waited = true
		case <-late:
			k.InVain() // a person, perhaps, who types
			return false, waited, nil
		case <-ctx.Done():
			return false, waited, s.translate(ctx.Err())
		}
	}
}

// showFirstRead shows others which session the read waits for; 0: none.
func (s *Session) showFirstRead(pid int32) {
	s.mu.Lock()
	s.info.FirstRead = pid
	s.mu.Unlock()
}

// endFirst lets those go on who wait for what the transaction has read.
func (s *Session) endFirst() {
	for _, r := range s.firstReads {
		r.End()
	}
	clear(s.firstReads)
	s.firstReads = s.firstReads[:0]
}

// validatesReads reports whether the transaction fails if what it has read has changed when it writes.
func (s *Session) validatesReads() bool {
	return !s.readOnly() && s.opts.Isolation != kv.ReadCommitted && s.opts.ReadAsOf.IsEmpty()
}

// learn takes note of why a transaction block has failed: of reads by key from tables that it writes to. last is the statement at hand, if there is one.
func (s *Session) learn(err error, last *plan.Statement) {
	if err == nil || s.block != blockOpen || !s.effects.lockReads || !s.validatesReads() || !staleRead(err) {
		return
	}
	writes := func(k *plan.KeyRead) bool {
		if last != nil && last.Target() == k.Table {
			return true
		}
		for i := range s.log.entries {
			if pl := s.log.entries[i].portal.stmt.plan; pl != nil && pl.Target() == k.Table {
				return true
			}
		}
		return false
	}
	now := time.Now()
	for i := range s.log.entries {
		if pl := s.log.entries[i].portal.stmt.plan; pl != nil && pl.KeyRead != nil && writes(pl.KeyRead) {
			pl.KeyRead.Collided(now)
		}
	}
}

// noteWrite takes note of the reads by key of the row that the statement has written. It is called before the statement is logged.
func (s *Session) noteWrite(p *portal) {
	pl := p.stmt.plan
	if pl == nil || pl.Writes == nil || s.block != blockOpen || !s.validatesReads() {
		return
	}
	for i := range s.log.entries {
		e := &s.log.entries[i]
		if read := e.portal.stmt.plan; !e.counted && read != nil && read.KeyRead != nil && pl.ReadBefore(p.params, read.KeyRead, e.portal.params) {
			e.counted = true
			read.KeyRead.Used(true)
		}
	}
}

// noteReads takes note, at the end of a block that has not failed, of the reads by key of rows that it has not written.
func (s *Session) noteReads() {
	if s.block != blockOpen || s.tx == nil || !s.validatesReads() {
		return
	}
	for i := range s.log.entries {
		e := &s.log.entries[i]
		if pl := e.portal.stmt.plan; !e.counted && pl != nil && pl.KeyRead != nil {
			e.counted = true
			pl.KeyRead.Used(false)
		}
	}
}

// staleRead reports whether a transaction fails because something that it has read has changed.
func staleRead(err error) bool {
	return kv.HasCode(err, kv.CodeWriteTooOld) || kv.HasCode(err, kv.CodeRefreshFailed) || kv.HasCode(err, kv.CodeUncertain)
}
