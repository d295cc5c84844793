package txn

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// The part of the model that is about records that are collected (row 12 of the table in the package documentation). At some time the GC threshold of
// the anchor's range passes everything that the transaction has staged or commits at. From then on an ABORTED record goes at any time, and a COMMITTED one after
// all that it lists is resolved, whether its coordinator is done with it, dead, or cut off.
//
// Here a message is delivered once, unless the coordinator has sent it again because it was not answered, and knows: that is what it sends
// EndTxn.Staged with an abort for.

type modelAge struct {
	aged      bool
	delivered uint8 // prepares that have arrived, by key
	repeated  bool  // prepares were sent more than once

	sentCommit, sentAbort         uint8 // EndTxn on its way: the timestamp of the commit; 1 an abort without Staged, 2 with it
	commitRepeated, abortRepeated bool

	collecting bool
	done       uint8
	ts         uint8
}

// ageing is what happens by itself.
func (m *modelRules) ageing(s modelState, emit func(string, modelState)) {
	if !s.a.aged {
		d := s
		d.a.aged = true
		emit("the threshold passes", d)
	}
	if !s.a.repeated && !s.c.dead && s.c.phase == preparing {
		d := s
		d.a.repeated = true
		emit("prepares are sent again", d)
	}
	if s.a.commitRepeated {
		d := s
		m.end(&d, true, s.a.sentCommit, true)
		emit("a late copy of the commit", d)
	}
	if s.a.abortRepeated {
		d := s
		m.end(&d, false, 0, s.a.sentAbort == 2)
		emit("a late copy of the abort", d)
	}
	if !s.a.aged {
		return
	}
	if s.rec.status == kv.TxnAborted {
		d := s
		d.rec = modelRecord{}
		emit("the ABORTED record is purged", d)
	}
	all := uint8(1<<m.n - 1)
	switch {
	case !s.a.collecting:
		if s.rec.status == kv.TxnCommitted && (!m.open || s.o.passed) {
			d := s
			d.a.collecting, d.a.done, d.a.ts = true, 0, s.rec.ts
			if m.collectFirst {
				d.rec = modelRecord{}
			}
			emit("collector finds the record", d)
		}
	case s.a.done != all:
		for i := range m.n {
			if s.a.done&(1<<i) == 0 {
				d := s
				d.resolve(i, true, s.a.ts)
				d.a.done |= 1 << i
				emit(fmt.Sprintf("collector resolves %d", i), d)
			}
		}
	default:
		if s.rec.status == kv.TxnCommitted {
			s.rec = modelRecord{}
		}
		s.a.collecting, s.a.done, s.a.ts = false, 0, 0
		emit("collector removes the record", s)
	}
}

// forgotten is evaluation.collected.
func (m *modelRules) forgotten(s *modelState, staged bool) bool {
	if m.open && !s.o.passed {
		return false
	}
	return staged && !m.noStaged && s.a.aged && (s.rec.status == kv.TxnUnknown || s.rec.status == kv.TxnAborted)
}

// end is EndTxn at the record, with the anchor's key as Local.
func (m *modelRules) end(s *modelState, commit bool, ts uint8, staged bool) (forgotten, refused bool) {
	switch {
	case m.forgotten(s, staged):
		return true, false
	case s.rec.status == kv.TxnCommitted:
	case s.rec.status == kv.TxnAborted && commit, m.open && !m.openAnyway && s.rec.status == kv.TxnUnknown && commit:
		return false, true
	case commit:
		s.rec = modelRecord{kv.TxnCommitted, ts}
	default:
		s.rec = modelRecord{kv.TxnAborted, 0}
	}
	s.resolve(0, s.rec.status == kv.TxnCommitted, s.rec.ts)
	return false, false
}

// ending is the coordinator's EndTxn, and what it makes of the answer.
func (m *modelRules) ending(s modelState, emit func(string, modelState)) {
	c := &s.c
	staged := true
	if c.commit {
		s.a.sentCommit = c.ts
	} else {
		if s.a.sentAbort == 0 {
			s.a.sentAbort = 1
			if (s.a.repeated || s.a.commitRepeated) && !m.noDoubt && !m.open {
				s.a.sentAbort = 2
			}
		}
		staged = s.a.sentAbort == 2
	}
	forgotten, refused := m.end(&s, c.commit, c.ts, staged)
	lost := s
	if c.commit {
		lost.a.commitRepeated = true
	} else {
		lost.a.abortRepeated = true
	}
	emit("record written, and not answered", lost)
	switch {
	case c.commit && forgotten && m.open && s.a.commitRepeated:
		c.phase = settling
	case c.commit && (forgotten || refused):
		c.commit = false
		c.nacked = m.open // the abort follows in the background
		if c.acked != 0 {
			c.phase = finished // somebody else has finished it
		}
	case forgotten:
		c.phase = finished // unknown
	case s.rec.status == kv.TxnCommitted:
		c.commit, c.ts, c.acked = true, s.rec.ts, s.rec.ts
		c.phase, c.done = resolving, 1
	default:
		c.nacked = true
		c.phase, c.done = resolving, 1
	}
	emit("record written", s)
}

// settling is txn.leave: from any time until the record is written, and known to be.
func (m *modelRules) settling(s modelState, emit func(string, modelState)) {
	c := &s.c
	switch {
	case c.dead:
	case c.phase == settling:
		switch {
		case m.forgotten(&s, !m.believe):
			c.phase = finished
		case s.rec.status == kv.TxnStaging:
			return // a recoverer asks on its behalf
		case s.rec.status == kv.TxnCommitted:
			c.acked, c.phase = s.rec.ts, finished
		default:
			s.rec = modelRecord{kv.TxnAborted, 0}
			c.nacked, c.phase = true, finished
		}
		emit("coordinator learns the outcome", s)
	case c.acked == 0 && !c.nacked && m.open:
		if c.phase == ending && c.commit {
			c.phase = settling
			s.a.sentCommit, s.a.commitRepeated = c.ts, true
			emit("client leaves", s)
		}
	case c.acked == 0 && !c.nacked && (c.phase == preparing || c.phase == ending):
		c.phase = settling
		s.a.repeated = true // something is not answered
		emit("client leaves", s)
	}
}

func TestModelCollection(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short, as the other model checks")
	}
	for _, m := range []modelRules{
		{n: 2, recoverers: 1, age: true}, {n: 2, recoverers: 1, age: true, unstaged: true},
		{n: 2, recoverers: 2, age: true},
	} {
		states, trace, broken := m.explore(0)
		require.Empty(t, broken, "%v", trace)
		t.Logf("%+v: %d states, no invariant broken", m, states)
	}
}

func TestModelCollectionCatchesPlantedBugs(t *testing.T) {
	for name, m := range map[string]modelRules{
		"COMMITTED record collected before the locks":                   {collectFirst: true},
		"nobody says what was staged":                                   {noStaged: true},
		"the outcome is asked for as if nothing had been collected":     {believe: true},
		"nobody says what was staged, of a commit without staging":      {noStaged: true, unstaged: true},
		"an abort does not know that something was sent more than once": {noDoubt: true},
	} {
		t.Run(name, func(t *testing.T) {
			m.n, m.recoverers, m.age = 2, 1, true
			_, trace, broken := m.explore(0)
			require.NotEmpty(t, broken, "not caught")
			t.Logf("%s, after %d steps:", broken, len(trace))
			for _, s := range trace {
				t.Logf("  %s", s)
			}
		})
	}
}
