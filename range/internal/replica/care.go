package replica

// Care is what a replica may need from its store's loops. A range that nobody asks anything needs none, and then no loop ever
// visits it: there may be fifty thousand of them. A replica asks for care when it begins to need it; the store puts it on the list
// of whoever gives it, and who visits it decides whether it stays there.
//
// Nothing may depend on being visited without having been asked for: what begins to need care says so, and not before a visitor can see why.
type Care uint32

// The kinds of care.
const (
	// CareTicks: the group is not quiet, so that its clock must go on.
	CareTicks Care = 1 << iota
	// CareLoad: something was asked since the last visit. It may be too much.
	CareLoad
	// CareLocks: somebody may hold locks in memory, or wait for them.
	CareLocks
	// CarePrepared: there are prepared locks, which may have been abandoned.
	CarePrepared
	// CareLog: the log has grown so much that something may be cut off, or the range is frozen for a merge.
	CareLog
	// CareGarbage: something was written and applied, so that something older may become garbage.
	CareGarbage

	// Cares is the number of kinds.
	Cares = iota
)

const (
	careOfRequests = CareLoad | CareLocks
	// careOfLeaders is what a new leader needs until its store has looked: it does not know what was done under others.
	careOfLeaders = careOfRequests | CarePrepared | CareGarbage
)

// Need says that the replica needs care of these kinds. It costs one load if that is known.
func (r *Replica) Need(c Care) {
	if Care(r.care.Load())&c == c {
		return
	}
	if c &^= Care(r.care.Or(uint32(c))); c != 0 {
		r.deps.Owner.Need(r, c)
	}
}

// notYet is the care of a replica that its store does not hold yet: nobody may visit it.
const notYet = 1<<Cares - 1

// Begin says that the store holds the replica from now on, so that it may be visited and processed.
func (r *Replica) Begin() {
	r.care.Store(0)
	r.Need(CareTicks | CareLog)
}

// Visited says that the replica is on the lists of these kinds no more. It is called before the visit, so that what
// begins to need care during the visit is on the list again.
func (r *Replica) Visited(c Care) { r.care.And(^uint32(c)) }
