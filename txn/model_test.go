package txn

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/kv"
)

// The model: one key in each range, the anchor in range 0. Timestamps are 1 (where the commit is staged) and 2
// (anywhere above). Every message may be delivered late, more than once, or lost with its reply; the
// coordinator may die after any step; recoverers start at any time, also while the coordinator lives. The decisions are
// those of decide.go; the ranges behave as range/internal/eval does.

const modelRanges = 3

type modelRange struct {
	lock    uint8 // 0 none, else the timestamp it was laid at
	fenced  bool
	version uint8 // 0 none, else the commit timestamp
	lost    bool  // the transaction's write was dropped while it was not committed
}

type modelRecord struct {
	status kv.TxnStatus // TxnUnknown: no record
	ts     uint8
}

type modelPhase uint8

const (
	preparing modelPhase = iota
	refreshing
	ending    // the record is to be written
	resolving // bit i of done: key i
	removing
	settling // the client has left, and the outcome is asked for
	finished
)

type modelCoordinator struct {
	dead     bool
	phase    modelPhase
	results  [modelRanges]uint8 // 0 open, 1 and 2 prepared there, 3 refused
	commit   bool               // what ending, resolving are for
	ts       uint8
	explicit bool
	acked    uint8 // commit timestamp told to the client
	nacked   bool  // the client was told that it failed
	held     uint8 // the client was told that it is prepared, at this timestamp
	done     uint8
}

type recoverPhase uint8

const (
	recAsk recoverPhase = iota
	recQuery
	recDecide
	recResolve
	recDone
)

type modelRecoverer struct {
	phase   recoverPhase
	asked   uint8
	missing uint8
	status  kv.TxnStatus
	ts      uint8
}

type modelState struct {
	r   [modelRanges]modelRange
	rec modelRecord
	c   modelCoordinator
	v   [2]modelRecoverer
	d   [2]modelDecider // of prepared transactions (model_hold_test.go)
	// decided: one of them has written the record.
	decided bool
	unnamed bool // the row of its name is gone
	a       modelAge
	o       modelOpen
}

// modelRules is the size of the model and what is done differently in it; all but unstaged, abortOpen, hold, age and open are bugs.
type modelRules struct {
	n, recoverers int
	seen          func(*modelState) // called with every state
	noFence       bool              // recovery does not fence a missing prepare
	resolveFirst  bool              // locks are resolved while the record is still STAGING
	overwrite     bool              // recovery writes its finding whatever the record says now
	ackPushed     bool              // the client is told when everything is prepared, wherever
	abortOpen     bool              // the coordinator aborts without waiting for open prepares
	removeAborted bool              // the ABORTED record is removed when its locks are gone
	unstaged      bool              // a commit with many keys: no STAGING record
	nackFirst     bool              // the client is told of a failure before the record says so
	removeEarly   bool              // the record is removed before the locks are resolved

	hold         bool // PREPARE TRANSACTION: implies unstaged
	deciders     int
	recoverHeld  bool // recovery aborts what it finds PREPARED
	decideAnyway bool // whoever decides does what it was told, whatever the record says by then
	forgetEarly  bool // whoever has committed removes the record before all locks are resolved
	heldTooEarly bool // the client is told that it is prepared before the record says so
	tellAnyway   bool // who finds the name gone in the end tells what the record said, all the same

	age           bool // records are collected (model_age_test.go)
	collectFirst  bool // a COMMITTED record is removed before its locks are resolved
	noStaged      bool // EndTxn.Staged is never looked at
	noDoubt       bool // the coordinator takes everything that it has sent for the only copy
	open          bool // writes are sent ahead (model_open_test.go): implies unstaged and age
	openAnyway    bool // a commit without a record is as good as one over OPEN
	openLate      bool // OPEN is written however late its request is
	openUndecided bool // recovery drops the locks of an OPEN transaction, and leaves the record

	believe bool // who asks for the coordinator's own transaction does not say what was staged
}

func tsOf(n uint8) hlc.Timestamp { return hlc.Timestamp{WallTime: int64(n)} }

func (m *modelRules) next(s modelState, emit func(string, modelState)) {
	// A prepare arrives: the first time, or again. The anchor's carries the staging.
	for i := range m.n {
		m.deliver(s, i, emit)
	}
	if !s.c.dead {
		m.coordinator(s, emit)
		if s.c.phase != finished {
			d := s
			d.c.dead = true
			emit("coordinator dies", d)
		}
	}
	if m.open {
		m.opening(s, emit)
	}
	for j := range m.recoverers {
		m.recoverer(s, j, emit)
	}
	for j := range m.deciders {
		m.decider(s, j, emit)
	}
	if m.age {
		m.ageing(s, emit)
		m.settling(s, emit)
	}
}

func (m *modelRules) deliver(s modelState, i int, emit func(string, modelState)) {
	reply := func(what string, d modelState, result uint8) {
		emit(what+", reply lost", d)
		if !d.c.dead && d.c.phase == preparing && d.c.results[i] == 0 {
			d.c.results[i] = result
			emit(what, d)
		}
	}
	name := fmt.Sprintf("prepare %d", i)
	if m.open && !s.o.told {
		return
	}
	if m.age {
		if s.a.delivered&(1<<i) != 0 && !s.a.repeated {
			return
		}
		s.a.delivered |= 1 << i
	}
	if i == 0 {
		switch s.rec.status {
		case kv.TxnAborted:
			reply(name+" refused by the record", s, 3)
			return
		case kv.TxnCommitted:
			reply(name+" after the end", s, s.rec.ts)
			return
		case kv.TxnUnknown:
			if s.a.aged && !m.unstaged || m.open && !m.openAnyway {
				reply(name+" staged too late", s, 3)
				return
			}
		}
	}
	if s.r[i].lock == 0 {
		reply(name+" refused", s, 3) // a read has changed, a row exists
	}
	for ts := uint8(1); ts <= 2; ts++ {
		d := s
		switch {
		case s.r[i].lock != 0: // repeated: stays as it is
			if s.r[i].lock != ts {
				continue
			}
		case ts == 1 && (s.r[i].fenced || s.r[i].version != 0 || s.a.aged):
			continue // pushed above the fence, or above the version of a commit that is over
		default:
			d.r[i].lock = ts
		}
		if i == 0 && s.rec.status == kv.TxnUnknown && !m.unstaged {
			d.rec = modelRecord{kv.TxnStaging, 1}
		}
		reply(fmt.Sprintf("%s at %d", name, ts), d, ts)
	}
}

// resolve is ResolveLocks on key i.
func (s *modelState) resolve(i int, commit bool, ts uint8) {
	r := &s.r[i]
	if r.lock == 0 {
		return
	}
	switch {
	case commit && r.version == 0:
		r.version = ts
	case !commit && r.version == 0:
		r.lost = true
	}
	r.lock = 0
}

// query is QueryPrepared on key i at timestamp 1.
func (s *modelState) query(i int, fence bool) (missing bool) {
	if s.r[i].lock == 1 {
		return false
	}
	if fence {
		s.r[i].fenced = true
	}
	return true
}

func (m *modelRules) coordinator(s modelState, emit func(string, modelState)) {
	c := &s.c
	switch c.phase {
	case preparing:
		var results []prepareResult
		for _, r := range c.results[:m.n] {
			switch r {
			case 0:
				if m.abortOpen {
					results = append(results, prepareResult{outcome: prepareFailed})
				} else {
					results = append(results, prepareResult{})
				}
			case 3:
				results = append(results, prepareResult{outcome: prepareFailed})
			default:
				results = append(results, prepareResult{prepareOK, tsOf(r)})
			}
		}
		v, ts := afterPrepare(tsOf(1), !m.unstaged, results)
		if v == verdictPushed && m.ackPushed {
			v = verdictCommitted
		}
		c.ts = uint8(ts.WallTime)
		switch v {
		case verdictCommitted:
			c.acked, c.commit, c.phase = c.ts, true, ending
			if m.resolveFirst {
				c.phase = resolving
			}
			emit("committed in one round", s)
		case verdictPushed:
			c.phase = refreshing
			if m.heldTooEarly {
				c.held = c.ts
			}
			emit("pushed", s)
		case verdictAbort:
			c.phase, c.nacked = ending, m.nackFirst || m.open
			emit("failed", s)
		}
	case refreshing:
		d := s
		d.c.commit, d.c.explicit, d.c.phase = true, true, ending
		emit("refreshed", d)
		c.phase, c.nacked = ending, c.nacked || m.open
		emit("refresh failed", s)
	case ending:
		if m.age {
			m.ending(s, emit)
			return
		}
		switch {
		case c.commit && s.rec.status == kv.TxnAborted:
			// EndTxn is refused.
			c.nacked, c.commit = true, false
		case c.commit && m.hold:
			if s.rec.status == kv.TxnUnknown {
				s.rec = modelRecord{kv.TxnPrepared, c.ts}
			}
			c.held, c.phase = s.rec.ts, finished
			emit("held", s)
			return
		case c.commit:
			if s.rec.status == kv.TxnCommitted {
				c.ts = s.rec.ts // recovery has been faster, at the staged timestamp
			}
			s.rec = modelRecord{kv.TxnCommitted, c.ts}
			c.acked = c.ts
		case s.rec.status == kv.TxnCommitted:
			c.commit, c.ts = true, s.rec.ts // an abort of what is committed changes nothing
			c.acked = c.ts
		default:
			s.rec = modelRecord{kv.TxnAborted, 0}
			c.nacked = true
		}
		s.resolve(0, c.commit, c.ts) // local to the anchor
		c.phase, c.done = resolving, 1
		if m.removeEarly {
			s.rec = modelRecord{}
		}
		emit("record written", s)
	case resolving:
		if c.done == 1<<m.n-1 {
			c.phase = removing
			if !c.commit && !m.removeAborted {
				c.phase = finished // an ABORTED record stays, until the range forgets it by age
			}
			emit("all resolved", s)
			return
		}
		for i := range m.n {
			if c.done&(1<<i) == 0 {
				d := s
				d.resolve(i, c.commit, c.ts)
				d.c.done |= 1 << i
				emit(fmt.Sprintf("coordinator resolves %d", i), d)
			}
		}
	case removing:
		if !m.age || s.rec.status == kv.TxnCommitted {
			s.rec = modelRecord{}
		}
		c.phase = finished
		emit("record removed", s)
	}
}

func (m *modelRules) recoverer(s modelState, j int, emit func(string, modelState)) {
	v := &s.v[j]
	what := fmt.Sprintf("recoverer %d ", j)
	switch v.phase {
	case recAsk:
		met := false
		for i := range m.n {
			met = met || s.r[i].lock != 0
		}
		if !met {
			return // who meets no lock does not recover
		}
		if s.rec.status == kv.TxnUnknown || s.rec.status == kv.TxnOpen && !m.openUndecided {
			s.rec = modelRecord{kv.TxnAborted, 0}
		}
		m.found(&s, v)
		emit(what+"asks for the record", s)
	case recQuery:
		if v.asked == 1<<m.n-1 {
			v.phase = recDecide
			emit(what+"has asked everybody", s)
			return
		}
		for i := range m.n {
			if v.asked&(1<<i) == 0 {
				d := s
				d.v[j].asked |= 1 << i
				if d.query(i, !m.noFence) {
					d.v[j].missing++
				}
				emit(fmt.Sprintf("%squeries %d", what, i), d)
			}
		}
	case recDecide:
		switch {
		case m.forgotten(&s, true):
			v.phase = recDone
			emit(what+"is told that it is forgotten", s)
			return
		case s.rec.status == kv.TxnUnknown:
			s.rec = modelRecord{kv.TxnAborted, 0}
		case s.rec.status == kv.TxnStaging || m.overwrite:
			s.rec = modelRecord{onPrepared(int(v.missing)), v.ts}
		}
		m.found(&s, v)
		emit(what+"decides", s)
	case recResolve:
		for i := range m.n {
			d := s
			d.resolve(i, v.status == kv.TxnCommitted, v.ts)
			if d.r[i] != s.r[i] {
				emit(fmt.Sprintf("%sresolves %d", what, i), d)
			}
		}
		v.phase = recDone
		emit(what+"stops", s)
	}
}

// found acts on the record as it was read.
func (m *modelRules) found(s *modelState, v *modelRecoverer) {
	v.status, v.ts = s.rec.status, s.rec.ts
	v.asked, v.missing = 0, 0
	if m.recoverHeld && s.rec.status == kv.TxnPrepared {
		s.rec = modelRecord{kv.TxnAborted, 0}
		v.status, v.ts = s.rec.status, s.rec.ts
	}
	switch onRecord(s.rec.status) {
	case stepQuery:
		v.phase = recQuery
	case stepLeave:
		v.phase = recAsk // whoever waits for a lock asks again
	default:
		v.phase = recResolve
	}
}

// broken names the invariant that the state breaks.
func (m *modelRules) broken(s *modelState) string {
	lost := false
	version := uint8(0)
	for i := range m.n {
		lost = lost || s.r[i].lost
		if v := s.r[i].version; v != 0 {
			if version != 0 && version != v {
				return "two commit timestamps"
			}
			version = v
		}
	}
	switch {
	case lost && version != 0:
		return "part committed, part dropped"
	case s.c.acked != 0 && lost:
		return "acknowledged and dropped"
	case s.c.acked != 0 && version != 0 && version != s.c.acked:
		return "acknowledged at another timestamp"
	case s.c.acked != 0 && s.rec.status == kv.TxnAborted && s.anyUnresolved(m.n):
		return "acknowledged and recorded as aborted"
	case s.c.nacked && s.c.acked != 0:
		return "told both"
	case s.c.nacked && version != 0:
		return "reported as failed and committed"
	}
	return m.brokenHeld(s, lost, version)
}

// anyUnresolved: some key has neither its version nor a lock above it that no longer matters.
func (s *modelState) anyUnresolved(n int) bool {
	for i := range n {
		if s.r[i].version == 0 {
			return true
		}
	}
	return false
}

// explore visits every reachable state, breadth first, and returns the shortest way to a broken invariant.
func (m *modelRules) explore(limit int) (states int, trace []string, broken string) {
	type origin struct {
		from modelState
		by   string
	}
	seen := map[modelState]origin{}
	start := modelState{}
	seen[start] = origin{}
	queue := []modelState{start}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		if m.seen != nil {
			m.seen(&s)
		}
		if b := m.broken(&s); b != "" {
			for at := s; at != start; {
				o := seen[at]
				trace = append([]string{o.by}, trace...)
				at = o.from
			}
			return len(seen), trace, b
		}
		if limit > 0 && len(seen) > limit {
			return len(seen), nil, ""
		}
		m.next(s, func(by string, d modelState) {
			if _, ok := seen[d]; !ok {
				seen[d] = origin{s, by}
				queue = append(queue, d)
			}
		})
	}
	return len(seen), nil, ""
}

func TestModelCommitAndRecovery(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short: the whole search takes ten seconds, and minutes under the race detector, for which one goroutine has nothing")
	}
	for _, m := range []modelRules{
		{n: 2, recoverers: 2}, {n: 3, recoverers: 1},
		{n: 2, recoverers: 2, unstaged: true}, {n: 3, recoverers: 1, unstaged: true},
		{n: 2, recoverers: 2, abortOpen: true},
	} {
		states, trace, broken := m.explore(0)
		require.Empty(t, broken, "%v", trace)
		t.Logf("%+v: %d states, no invariant broken", m, states)
	}
}

// A checker counts only once it has caught something.
func TestModelCatchesPlantedBugs(t *testing.T) {
	for name, m := range map[string]modelRules{
		"recovery forgets to fence a missing prepare": {noFence: true},
		"locks resolved while the record is STAGING":  {resolveFirst: true},
		"recovery overwrites a decided record":        {overwrite: true},
		"pushed prepares acknowledged as committed":   {ackPushed: true},
		"ABORTED record removed":                      {removeAborted: true},
		"record removed before the locks":             {removeEarly: true},
		"failure reported before it is recorded":      {nackFirst: true},
	} {
		t.Run(name, func(t *testing.T) {
			m.n, m.recoverers = 2, 1
			_, trace, broken := m.explore(0)
			if broken == "" {
				m.recoverers = 2
				_, trace, broken = m.explore(0)
			}
			require.NotEmpty(t, broken, "not caught")
			t.Logf("%s, after %d steps:", broken, len(trace))
			for _, s := range trace {
				t.Logf("  %s", s)
			}
		})
	}
}
