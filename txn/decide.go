package txn

import (
	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/kv"
)

// The decisions of the commit protocol, as pure functions, so that the model
// check in model_test.go runs the very code that production runs.

// prepareOutcome is what the coordinator knows of one participant's prepare.
type prepareOutcome uint8

const (
	prepareOpen   prepareOutcome = iota // no definite answer yet
	prepareOK                           // locked at ts
	prepareFailed                       // refused for good: its keys are not locked
)

type prepareResult struct {
	outcome prepareOutcome
	ts      hlc.Timestamp
}

// verdict of the coordinator after the first round.
type verdict uint8

const (
	verdictWait      verdict = iota // an answer is missing: ask again
	verdictCommitted                // at the staged timestamp; the client may be told
	verdictPushed                   // refresh up to ts, then commit explicitly
	verdictAbort
)

// afterPrepare is rows 1 to 4 of the table in the package documentation. staged says whether the record is written
// as STAGING at stageTS in the same round (false for commits that go explicitly).
func afterPrepare(stageTS hlc.Timestamp, staged bool, results []prepareResult) (verdict, hlc.Timestamp) {
	ts := stageTS
	failed, open := false, false
	for _, r := range results {
		switch r.outcome {
		case prepareOpen:
			open = true
		case prepareFailed:
			failed = true
		case prepareOK:
			ts = ts.Forward(r.ts)
		}
	}
	switch {
	case open: // even if another failed: what is open may hold a lock, which the abort must then resolve
		return verdictWait, ts
	case failed:
		return verdictAbort, ts
	case ts == stageTS && staged:
		return verdictCommitted, ts
	}
	return verdictPushed, ts
}

// recoveryStep is what a recoverer does next, given the record it found.
type recoveryStep uint8

const (
	stepFinish recoveryStep = iota // the record says committed or aborted: resolve accordingly
	stepQuery                      // STAGING: ask for every listed key, fencing those that are missing
	stepLeave                      // PREPARED: somebody else decides, whenever that is
)

// onRecord is rows 5 to 7 and 13 of the table.
func onRecord(s kv.TxnStatus) recoveryStep {
	switch s {
	case kv.TxnStaging:
		return stepQuery
	case kv.TxnPrepared:
		return stepLeave
	}
	return stepFinish
}

// onPrepared is rows 8 and 9: the finding about a STAGING record, to be written if it is still staged as it was.
func onPrepared(missing int) kv.TxnStatus {
	if missing > 0 {
		return kv.TxnAborted
	}
	return kv.TxnCommitted
}
