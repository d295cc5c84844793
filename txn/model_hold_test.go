package txn

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// The part of the model that is about prepared transactions (rows 13 to 15 of the table in the package documentation): the coordinator ends with a
// record that says PREPARED, and deciders come at any time, on any node, twice, told to commit or to roll back, or interrupted and begun again.

type decidePhase uint8

const (
	decIdle  decidePhase = iota
	decNamed             // has read the row of the name
	decEnding
	decResolving
	decForgetting
	decDone
)

type modelDecider struct {
	phase  decidePhase
	commit bool // what it was told to do
	status kv.TxnStatus
	ts     uint8
	done   uint8
	told   bool // its client has the answer: status
}

// decider is Coordinator.Decide and Forget, and between them the removal of the row with the transaction's name (sql.finishPrepared).
func (m *modelRules) decider(s modelState, j int, emit func(string, modelState)) {
	d := &s.d[j]
	what := fmt.Sprintf("decider %d ", j)
	next := func() { // by what the record said
		d.status, d.ts = s.rec.status, s.rec.ts
		if d.status == kv.TxnPrepared {
			d.phase = decEnding
		} else {
			d.phase = decResolving
		}
	}
	if d.phase == decEnding || d.phase == decResolving {
		again := s // somebody else may find the row, and begin again
		again.d[j] = modelDecider{}
		emit(what+"is interrupted", again)
	}
	switch d.phase {
	case decIdle:
		if s.unnamed || s.c.held == 0 && !s.c.dead {
			return // nobody is told of a name before it is prepared, unless its session has died
		}
		d.phase = decNamed
		emit(what+"reads the name", s)
	case decNamed:
		for _, commit := range []bool{true, false} {
			t := s
			if t.rec.status == kv.TxnUnknown {
				t.rec, t.decided = modelRecord{kv.TxnAborted, 0}, true
			}
			t.d[j].commit = commit
			t.d[j].status, t.d[j].ts = t.rec.status, t.rec.ts
			t.d[j].phase = decResolving
			if t.rec.status == kv.TxnPrepared {
				t.d[j].phase = decEnding
			}
			emit(fmt.Sprintf("%sasks, to commit: %v", what, commit), t)
		}
	case decEnding:
		s.decided = true
		if s.rec.status == kv.TxnPrepared || m.decideAnyway {
			if d.commit {
				s.rec = modelRecord{kv.TxnCommitted, d.ts}
			} else {
				s.rec = modelRecord{kv.TxnAborted, 0}
			}
		}
		next()
		if m.forgetEarly && d.status == kv.TxnCommitted {
			s.rec = modelRecord{}
		}
		emit(what+"writes the record", s)
	case decResolving:
		if d.done == 1<<m.n-1 {
			d.phase = decDone
			if !s.unnamed || m.tellAnyway { // otherwise somebody else has been told, and what the record says may be of after its end
				d.told = true
				if d.status == kv.TxnCommitted {
					d.phase = decForgetting
				}
			}
			s.unnamed = true
			emit(what+"has resolved everything and removes the name", s)
			return
		}
		for i := range m.n {
			if d.done&(1<<i) == 0 {
				t := s
				t.resolve(i, d.status == kv.TxnCommitted, d.ts)
				t.d[j].done |= 1 << i
				emit(fmt.Sprintf("%sresolves %d", what, i), t)
			}
		}
	case decForgetting:
		if s.rec.status == kv.TxnCommitted {
			s.rec = modelRecord{}
		}
		d.phase = decDone
		emit(what+"removes the record", s)
	}
}

// brokenHeld names what a prepared transaction was promised and has not got.
func (m *modelRules) brokenHeld(s *modelState, lost bool, version uint8) string {
	if !m.hold {
		return ""
	}
	committed, rolledBack := false, false
	for j := range m.deciders {
		d := &s.d[j]
		committed = committed || d.told && d.status == kv.TxnCommitted
		rolledBack = rolledBack || d.told && d.status == kv.TxnAborted
	}
	switch {
	case s.c.held != 0 && s.c.nacked:
		return "told that it is prepared, and that it failed"
	case s.c.held != 0 && !s.decided && s.rec.status != kv.TxnPrepared:
		return "prepared, and decided by nobody who was told to"
	case s.c.held != 0 && version != 0 && version != s.c.held:
		return "committed at another timestamp than it was prepared at"
	case committed && (lost || version == 0 || s.anyUnresolved(m.n)):
		return "COMMIT PREPARED was answered, and something is missing"
	case rolledBack && version != 0:
		return "ROLLBACK PREPARED was answered, and something is committed"
	case committed && rolledBack:
		return "COMMIT PREPARED and ROLLBACK PREPARED were both answered"
	}
	return ""
}

func TestModelPrepared(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short, as the other model checks")
	}
	for _, m := range []modelRules{
		{n: 2, recoverers: 1, hold: true, unstaged: true, deciders: 1},
		{n: 2, hold: true, unstaged: true, deciders: 2},
		{n: 3, recoverers: 1, hold: true, unstaged: true, deciders: 1},
	} {
		states, trace, broken := m.explore(0)
		require.Empty(t, broken, "%v", trace)
		t.Logf("%+v: %d states, no invariant broken", m, states)
	}
}

func TestModelPreparedCatchesPlantedBugs(t *testing.T) {
	for name, m := range map[string]modelRules{
		"recovery aborts what is prepared":                    {recoverHeld: true},
		"a decision over another one":                         {decideAnyway: true, deciders: 2},
		"record removed before the locks, after the decision": {forgetEarly: true},
		"told what the record says after the name is gone":    {tellAnyway: true, deciders: 2},
		"told before the record says so":                      {heldTooEarly: true},
	} {
		t.Run(name, func(t *testing.T) {
			m.n, m.recoverers, m.hold, m.unstaged, m.deciders = 2, 1, true, true, max(m.deciders, 1)
			_, trace, broken := m.explore(0)
			require.NotEmpty(t, broken, "not caught")
			t.Logf("%s, after %d steps:", broken, len(trace))
			for _, s := range trace {
				t.Logf("  %s", s)
			}
		})
	}
}
