package admin

import "time"

// pace estimates for how long a node that leaves still goes on leaving, by how that has gone lately. What had come over before it first looked does not count: what was on
// its way for other reasons is soon there, and says nothing of what comes after it. The zero pace has seen nothing.
type pace struct {
	seen []restAt // oldest first
}

// restAt is how much was left to do at a moment, in bytes.
type restAt struct {
	at   time.Time
	rest float64
}

const (
	paceWindow = 30 * time.Second // how far back it looks: clients come and go, and snapshots with them
	paceRecent = 10 * time.Second // it may have become slower meanwhile; then that counts
	paceLeast  = 5 * time.Second  // what less shows may be chance, and so may what is less than enough
	// perReplica is what the change of a replica takes besides its bytes, in bytes that could be sent instead.
	perReplica = 4 << 20
	// enough is what must have been done in any case, unless a tenth of the rest is less.
	enough = 16 << 20
)

// look takes in how far it is, and estimates the rest; known is false while there is nothing to go by.
func (p *pace) look(now time.Time, v *DecommissionView) (left time.Duration, known bool) {
	rest := float64(max(0, v.Bytes-v.Sent)) + float64(v.Replicas)*perReplica
	if len(p.seen) > 0 && rest >= p.seen[0].rest {
		p.seen = p.seen[:0] // nothing of it has been done since: those who write are faster, or it has not begun
	}
	p.seen = append(p.seen, restAt{now, rest})
	for len(p.seen) > 1 && now.Sub(p.seen[1].at) >= paceWindow {
		p.seen = p.seen[1:]
	}
	if now.Sub(p.seen[0].at) < paceLeast {
		return 0, false
	}
	recent := p.seen[0]
	for _, x := range p.seen {
		if now.Sub(x.at) >= paceRecent {
			recent = x
		}
	}
	done, lately := p.seen[0].rest-rest, recent.rest-rest
	if min(done, lately) < min(rest/10, enough) {
		return 0, false
	}
	rate := min(done/now.Sub(p.seen[0].at).Seconds(), lately/now.Sub(recent.at).Seconds())
	return time.Duration(rest / rate * float64(time.Second)), true
}
