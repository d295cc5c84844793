package placement

import (
	"fmt"
	"strings"
	"time"
)

// Identifiers, as in range/kv.
type (
	StoreID int32
	RangeID int64
)

// Store is one node's store as the planner sees it.
type Store struct {
	ID StoreID
	// Locality from wide to narrow: "region=eu", "zone=a".
	Locality []string
	// Silence is how long nothing has been heard of the node.
	Silence time.Duration
	// Draining: the node is about to stop; Decommissioning: it is to leave for good.
	Draining, Decommissioning bool
}

// Range as its leader reported it.
type Range struct {
	ID         RangeID
	Generation int64
	Voters     []StoreID
	// Learners are replicas being brought up or left behind.
	Learners []StoreID
	// Leader is 0 if nobody leads.
	Leader StoreID
	// Changing: a replica change is under way.
	Changing bool
}

// Snapshot of the cluster.
type Snapshot struct {
	Stores []Store
	Ranges []Range
}

// Rules of the cluster. Use DefaultRules and change what differs.
type Rules struct {
	// Replicas is the wanted number of voters; odd.
	Replicas int
	// AliveWithin: a store that was silent for longer gets nothing new.
	AliveWithin time.Duration
	// DeadAfter: the replicas of a store that was silent for longer are replaced.
	DeadAfter time.Duration
	// MaxReplicaChanges and MaxTransfers bound one plan.
	MaxReplicaChanges, MaxTransfers int
	// Slack is the share of the mean by which stores may differ before anything is moved for balance.
	Slack float64
}

// DefaultRules returns the defaults.
func DefaultRules() Rules {
	return Rules{Replicas: 3, AliveWithin: 5 * time.Second, DeadAfter: 5 * time.Minute,
		MaxReplicaChanges: 4, MaxTransfers: 8, Slack: 0.1}
}

// Kind of an operator.
type Kind uint8

const (
	// ChangeReplicas adds and removes voters in one change of configuration.
	ChangeReplicas Kind = iota
	// TransferLeader hands leadership to To.
	TransferLeader
)

// Operator is one thing to do.
type Operator struct {
	Kind       Kind
	Range      RangeID
	Generation int64
	Add        []StoreID
	Remove     []StoreID
	To         StoreID
	Why        string
	Rejected   []Rejection
}

// Rejection is a candidate that was not chosen.
type Rejection struct {
	Store StoreID
	Why   string
}

// String prints the operator for logs.
func (o Operator) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "r%d g%d:", o.Range, o.Generation)
	if o.Kind == TransferLeader {
		fmt.Fprintf(&b, " leader to s%d", o.To)
	}
	for _, s := range o.Add {
		fmt.Fprintf(&b, " +s%d", s)
	}
	for _, s := range o.Remove {
		fmt.Fprintf(&b, " -s%d", s)
	}
	fmt.Fprintf(&b, ": %s", o.Why)
	return b.String()
}

// Finding is a range that is not as it should be and that nothing can be done about now.
type Finding struct {
	Range RangeID
	Why   string
}

// Result of Plan.
type Result struct {
	Operators []Operator
	Findings  []Finding
}
