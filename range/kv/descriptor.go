package kv

import (
	"fmt"
	"strings"

	"github.com/pamirdb/pamir/range/keys"
)

// Identifiers. Zero means "none" for all of them.
type (
	NodeID    int32
	StoreID   int32
	ReplicaID int32 // never used twice in one range
	RangeID   int64
)

// Well-known ranges of a new cluster.
const (
	MetaRangeID    RangeID = 1 // [keys.Min, keys.TableMin): addressing and system keys; never split
	CatalogRangeID RangeID = 2 // [keys.TableMin, keys.Table(keys.FirstUserTable))
	FirstUserRange RangeID = 3 // [keys.Table(keys.FirstUserTable), keys.Max)
)

// Part is the share of some spans that lies in one range, by a cached descriptor: a hint.
type Part struct {
	RangeID RangeID
	Spans   []keys.Span
}

// ReplicaType says how a replica takes part in its group.
type ReplicaType uint8

const (
	Voter         ReplicaType = iota
	VoterIncoming             // joint configuration: votes in the new majority only
	VoterOutgoing             // joint configuration: votes in the old majority only, then goes
	VoterDemoting             // joint configuration: votes in the old majority, then a learner
	Learner                   // being brought up; no vote
	NonVoter                  // stays without a vote, for local reads
)

// Replica is one member of a range.
type Replica struct {
	NodeID    NodeID
	StoreID   StoreID
	ReplicaID ReplicaID
	Type      ReplicaType
}

// VotesOld and VotesNew report whether the replica counts in the outgoing
// and in the incoming majority. Outside a joint configuration they are the same.
func (r Replica) VotesOld() bool {
	return r.Type == Voter || r.Type == VoterOutgoing || r.Type == VoterDemoting
}

// VotesNew: see VotesOld.
func (r Replica) VotesNew() bool { return r.Type == Voter || r.Type == VoterIncoming }

// RangeDescriptor says what a range covers and who holds it. It is replicated
// state of the range itself; every copy elsewhere (meta, caches) is a hint.
type RangeDescriptor struct {
	RangeID       RangeID
	StartKey      keys.Key // inclusive, in the addressable key space
	EndKey        keys.Key // exclusive
	Replicas      []Replica
	NextReplicaID ReplicaID
	Generation    int64 // raised by every change of bounds or replicas
	// Pinned is the wall time, in ns, until which nobody may merge the range into its left neighbour unless told to: somebody has
	// asked for the cut. 0: the range may be merged.
	Pinned int64
}

// Contains reports whether key k is inside the range.
func (d *RangeDescriptor) Contains(k keys.Key) bool {
	return !k.Less(d.StartKey) && k.Less(d.EndKey)
}

// ContainsSpan reports whether all of s is inside the range.
func (d *RangeDescriptor) ContainsSpan(s keys.Span) bool {
	if s.IsPoint() {
		return d.Contains(s.Start)
	}
	return !s.Start.Less(d.StartKey) && !d.EndKey.Less(s.End)
}

// Span returns the range's bounds.
func (d *RangeDescriptor) Span() keys.Span { return keys.Span{Start: d.StartKey, End: d.EndKey} }

// Nodes are those with a replica, of whatever type.
func (d *RangeDescriptor) Nodes() []NodeID {
	out := make([]NodeID, len(d.Replicas))
	for i, r := range d.Replicas {
		out[i] = r.NodeID
	}
	return out
}

// ReplicaOn returns the replica on store s.
func (d *RangeDescriptor) ReplicaOn(s StoreID) (Replica, bool) {
	for _, r := range d.Replicas {
		if r.StoreID == s {
			return r, true
		}
	}
	return Replica{}, false
}

// ReplicaByID returns the replica with that id.
func (d *RangeDescriptor) ReplicaByID(id ReplicaID) (Replica, bool) {
	for _, r := range d.Replicas {
		if r.ReplicaID == id {
			return r, true
		}
	}
	return Replica{}, false
}

// InJoint reports whether the range is in a joint configuration.
func (d *RangeDescriptor) InJoint() bool {
	for _, r := range d.Replicas {
		if r.Type == VoterIncoming || r.Type == VoterOutgoing || r.Type == VoterDemoting {
			return true
		}
	}
	return false
}

// Clone returns a deep copy.
func (d *RangeDescriptor) Clone() *RangeDescriptor {
	c := *d
	c.StartKey, c.EndKey = d.StartKey.Clone(), d.EndKey.Clone()
	c.Replicas = append([]Replica(nil), d.Replicas...)
	return &c
}

// String prints "r3:[/table/100, /max) g2 {n1/s1/1 n2/s2/2(learner)}".
func (d *RangeDescriptor) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "r%d:[%s, %s) g%d {", d.RangeID, keys.Pretty(d.StartKey), keys.Pretty(d.EndKey), d.Generation)
	for i, r := range d.Replicas {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "n%d/s%d/%d", r.NodeID, r.StoreID, r.ReplicaID)
		if r.Type != Voter {
			fmt.Fprintf(&b, "(%s)", r.Type)
		}
	}
	b.WriteByte('}')
	return b.String()
}

// String names the replica type.
func (t ReplicaType) String() string {
	switch t {
	case Voter:
		return "voter"
	case VoterIncoming:
		return "incoming"
	case VoterOutgoing:
		return "outgoing"
	case VoterDemoting:
		return "demoting"
	case Learner:
		return "learner"
	case NonVoter:
		return "non-voter"
	}
	return fmt.Sprintf("ReplicaType(%d)", uint8(t))
}
