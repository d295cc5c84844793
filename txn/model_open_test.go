package txn

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// The part of the model that is about transactions that send their writes ahead (rows 16 to 18 of the table in the package documentation). The record
// says OPEN before the first lock is laid. Time passes while they run: the threshold passes the time at which OPEN was first sent long before
// they choose their commit timestamp, and that later, if at all. Recoverers come while the coordinator lives: it was cut off.

type modelOpen struct {
	told   bool // the coordinator has seen OPEN
	passed bool // the threshold has passed what it commits at
}

// opening is the request for OPEN, any number of times and however late, and what time makes of the record.
func (m *modelRules) opening(s modelState, emit func(string, modelState)) {
	d := s
	refused := false
	switch s.rec.status {
	case kv.TxnUnknown:
		if refused = s.a.aged && !m.openLate; !refused {
			d.rec = modelRecord{kv.TxnOpen, 0}
		}
	case kv.TxnAborted:
		refused = true
	}
	emit("OPEN arrives, reply lost", d)
	if c := &d.c; !c.dead && c.phase == preparing { // asked for the first time, or before more is sent
		if d.o.told = d.o.told || !refused; refused {
			c.phase, c.nacked = ending, true
		}
		emit("OPEN arrives", d)
	}
	if s.a.aged && !s.o.passed && s.c.phase > preparing {
		d := s
		d.o.passed = true
		emit("the threshold passes the commit timestamp", d)
	}
	if s.a.aged && s.rec.status == kv.TxnOpen {
		d := s
		d.rec = modelRecord{kv.TxnAborted, 0}
		emit("the range's leader does not reach the gateway of what is OPEN", d)
	}
}

func TestModelOpen(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short, as the other model checks")
	}
	for _, m := range []modelRules{{n: 2, recoverers: 1}, {n: 2, recoverers: 2}} {
		m.open, m.age, m.unstaged = true, true, true
		committed := false
		m.seen = func(s *modelState) { committed = committed || s.a.aged && s.c.acked != 0 && s.c.phase == finished }
		states, trace, broken := m.explore(0)
		require.Empty(t, broken, "%v", trace)
		require.True(t, committed, "no transaction has committed after the threshold had passed its beginning")
		t.Logf("%d recoverers: %d states, no invariant broken", m.recoverers, states)
	}
}

func TestModelOpenCatchesPlantedBugs(t *testing.T) {
	for name, m := range map[string]modelRules{
		"a commit without a record":                {openAnyway: true},
		"OPEN after ABORTED was collected":         {openLate: true},
		"locks dropped while the record is OPEN":   {openUndecided: true},
		"COMMITTED record collected too early":     {collectFirst: true},
		"nobody says what may have been committed": {noStaged: true},
	} {
		t.Run(name, func(t *testing.T) {
			m.n, m.recoverers, m.open, m.age, m.unstaged = 2, 1, true, true, true
			_, trace, broken := m.explore(0)
			require.NotEmpty(t, broken, "not caught")
			t.Logf("%s, after %d steps:", broken, len(trace))
			for _, s := range trace {
				t.Logf("  %s", s)
			}
		})
	}
}
