package checkers

import (
	"fmt"
	"math"
	"sort"
	"strings"
)

// Outcome is what the client was told.
type Outcome uint8

const (
	OK      Outcome = iota // it was done
	Failed                 // it was not done, and never will be
	Unknown                // no answer: it was done, was not, or will be
)

func (o Outcome) String() string { return [...]string{"ok", "failed", "unknown"}[o] }

// Never is the completion of an operation that was not answered.
const Never = math.MaxInt64

// Span says who did an operation, when, and how it ended.
type Span struct {
	Process  int
	Invoke   int64 // nanoseconds on one clock for the whole history
	Complete int64 // Never without an answer
	Outcome  Outcome
}

// end is when the operation is known to have ended.
func (s Span) end() int64 {
	if s.Outcome == Unknown {
		return Never
	}
	return s.Complete
}

func (s Span) String() string {
	to := "never answered"
	if e := s.end(); e != Never {
		to = fmt.Sprintf("%.6fs", float64(e)/1e9)
	}
	return fmt.Sprintf("process %d, %.6fs to %s, %s", s.Process, float64(s.Invoke)/1e9, to, s.Outcome)
}

// Kind names an anomaly.
type Kind string

// The kinds. Those of cycles occur with "-process" and "-realtime" as well.
const (
	G0           Kind = "G0"            // writes of two transactions interleave
	G1a          Kind = "G1a"           // a read of what was rolled back
	G1b          Kind = "G1b"           // a read of a transaction's intermediate state
	G1c          Kind = "G1c"           // a circle of reads and writes
	GSingle      Kind = "G-single"      // a snapshot that is none: read skew, lost update
	GNonadjacent Kind = "G-nonadjacent" // likewise, over several snapshots
	G2Item       Kind = "G2-item"       // write skew
	Internal     Kind = "internal"      // a transaction does not see its own writes
	Duplicate    Kind = "duplicate"     // one write was done twice
	Incompatible Kind = "incompatible"  // two reads that no one order of writes explains
	Lost         Kind = "lost"          // an acknowledged write is gone
	Unexpected   Kind = "unexpected"    // a value that nobody wrote
	Torn         Kind = "torn"          // a part of a transaction, or its parts at different times
	NotAsOf      Kind = "not-as-of"     // a read of what was not so when its transaction committed
	StaleRead    Kind = "stale-read"    // a read that misses a write acknowledged before it began
	StaleWrite   Kind = "stale-write"   // a write ordered before one of the same key that was acknowledged before it began

	NotLinearizable Kind = "not-linearizable"
	WrongTotal      Kind = "wrong-total"
	Shrunk          Kind = "shrunk"
	LongFork        Kind = "long-fork"
	WriteSkew       Kind = "write-skew"
	CausalReverse   Kind = "causal-reverse"
)

const (
	process  = "-process"
	realtime = "-realtime"
)

// Anomaly is one example of a kind, explained.
type Anomaly struct {
	Kind Kind
	Ops  []int // indexes into the history
	Text string
}

func (a Anomaly) String() string { return string(a.Kind) + ": " + a.Text }

// Report is what a checker found.
type Report struct {
	Checked   int          // operations judged
	Edges     int          // of the dependency graph, if there is one
	Count     map[Kind]int // how many were found
	Anomalies []Anomaly    // at most examples of each kind
}

// examples of one kind that a report holds.
const examples = 8

func (r *Report) add(k Kind, ops []int, format string, args ...any) {
	if r.Count == nil {
		r.Count = map[Kind]int{}
	}
	r.Count[k]++
	if r.Count[k] <= examples {
		r.Anomalies = append(r.Anomalies, Anomaly{k, ops, fmt.Sprintf(format, args...)})
	}
}

// Kinds lists what was found, sorted.
func (r Report) Kinds() []Kind {
	ks := make([]Kind, 0, len(r.Count))
	for k := range r.Count {
		ks = append(ks, k)
	}
	sort.Slice(ks, func(i, j int) bool { return ks[i] < ks[j] })
	return ks
}

// Beyond returns the anomalies that the allowance does not let pass.
func (r Report) Beyond(a Allowance) []Anomaly {
	var out []Anomaly
	for _, x := range r.Anomalies {
		if !a[x.Kind] {
			out = append(out, x)
		}
	}
	return out
}

// String is the report for people: counts, then the examples.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d operations, %d edges", r.Checked, r.Edges)
	if len(r.Count) == 0 {
		b.WriteString(", no anomaly")
	}
	for _, k := range r.Kinds() {
		fmt.Fprintf(&b, ", %s x %d", k, r.Count[k])
	}
	for _, a := range r.Anomalies {
		b.WriteString("\n" + a.String())
	}
	return b.String()
}

// Level is an isolation level.
type Level uint8

const (
	ReadCommitted      Level = iota // a snapshot for each statement
	Snapshot                        // one for the transaction; PostgreSQL's REPEATABLE READ
	Serializable                    // some serial order, that of each process kept, no stale reads
	StrictSerializable              // the order of real time
)

func (l Level) String() string {
	return [...]string{"READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE", "strict SERIALIZABLE"}[l]
}

// Allowance is a set of kinds that may occur.
type Allowance map[Kind]bool

// And returns the allowance with more kinds.
func (a Allowance) And(kinds ...Kind) Allowance {
	out := Allowance{}
	for k, v := range a {
		out[k] = v
	}
	for _, k := range kinds {
		out[k] = true
	}
	return out
}

// Allowed says what may occur at a level of Pamir's. Below StrictSerializable, transactions of different processes that follow
// each other in real time, and have no key in common, may be ordered the other way by clocks that differ: so the realtime
// variants pass. On one key they may not: stale reads and writes never pass.
func Allowed(l Level) Allowance {
	a := Allowance{}
	if l == StrictSerializable {
		return a
	}
	every := []Kind{G0, G1c, GSingle, GNonadjacent, G2Item}
	for _, k := range every {
		a[k+realtime] = true
	}
	a[CausalReverse] = true
	if l == Serializable {
		return a
	}
	a[G2Item], a[G2Item+process], a[WriteSkew] = true, true, true
	if l == Snapshot {
		return a
	}
	for _, k := range []Kind{GSingle, GNonadjacent} {
		a[k], a[k+process] = true, true
	}
	return a
}
