package sql

import (
	"slices"
	"time"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/plan"
)

// Reads that lock, because those of other transactions have collided (plan.KeyRead). An object mapper reads a row, shows it to its program, and
// writes it back; two that do so at once cannot both be right, and by the time that comes out, the second has shown its program a row that is not
// true any more: the server cannot run it again, and the client gets 40001. So where most blocks write the row that they have read, the read takes a
// lock, and the second transaction waits before it has seen anything. Where that is not seen (the row is written by another key), the read locks for a
// while once it has failed.

// maxFreeReads bounds the plans that a block is known to have read by without locks.
const maxFreeReads = 32

// lockedRead returns the plan to read by: pl, or its like that locks.
func (s *Session) lockedRead(p *prepared, pl *plan.Statement) (*plan.Statement, error) {
	if s.block != blockOpen || !s.effects.lockReads || !s.validatesReads() || s.epoch != 0 {
		return pl, nil
	}
	// A lock is on the newest version, and moves the snapshot there. What the block has read without one would have to be the same still: a block that has begun so goes on so.
	if slices.Contains(s.freeReads, pl.KeyRead) {
		return pl, nil
	}
	if !pl.KeyRead.Locks(time.Now()) {
		if len(s.freeReads) < maxFreeReads {
			s.freeReads = append(s.freeReads, pl.KeyRead)
		}
		return pl, nil
	}
	sel, ok := p.stmt.Statement.(*ast.Select)
	if !ok {
		return pl, nil
	}
	locking, err := pl.KeyRead.Locking(func() (*plan.Statement, error) {
		return plan.BuildLocking(s.snap, s.planEnv(p.typesToPlan(), p.stmt.Params), sel)
	})
	if err != nil {
		return nil, err
	}
	s.srv.metrics.ReadsLocked.Add(1)
	return locking, nil
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
