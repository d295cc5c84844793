package placement

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Identifiers, as in range/kv.
type (
	StoreID int32
	NodeID  int32
	RangeID int64
)

// Store is one node's store as the planner sees it.
type Store struct {
	ID   StoreID
	Node NodeID
	// Locality from wide to narrow: "region=eu", "zone=a".
	Locality []string
	// Silence is how long nothing has been heard of the node.
	Silence time.Duration
	// Unsteady: it was silent a short while ago, or its disk is slow just now. It keeps what it has and is given nothing that can wait.
	Unsteady bool
	// Shaken: others ceased to support it a short while ago, though it was there, and have leaders of their own for what it led. Balance and merges leave it as it is, and clients are
	// not followed there, so that leaders do not go to and fro with the support. Rules, repairs and drains do not mind.
	Shaken bool
	// Draining: the node is about to stop; Decommissioning: it is to leave for good.
	Draining, Decommissioning bool
	// Capacity and Free are the bytes of its disk; Capacity is 0 where it is not known.
	Capacity, Free int64
	// SlowDisk: its syncs take far longer than those of others. It leads nothing.
	SlowDisk bool
	// Cores is how many processors the node may use, Used how many its process does, and Idle how many of its machine nobody uses that it
	// could. All are 0 where they are not known.
	Cores, Used, Idle float64
}

// Range as its leader reported it.
type Range struct {
	ID         RangeID
	Generation int64
	// Rule is 0 for Rules.Default, else 1 + an index in Rules.Special.
	Rule      int
	Voters    []StoreID
	NonVoters []StoreID
	// Learners are replicas being brought up or left behind.
	Learners []StoreID
	// Leader is 0 if nobody leads. LedSince is since when it has been the same, on the clock of Moment.Now.
	Leader   StoreID
	LedSince time.Duration
	// LedBefore is who led before Leader; 0 if that is not known.
	LedBefore StoreID
	// Changing: a replica change is under way.
	Changing bool

	// Left is the range's left neighbour; 0 if it has none, or it is not known. Fixed says why the cut between the two has to stay; empty if it need not.
	Left  RangeID
	Fixed string
	// FixedUntil, if not 0, is when Fixed ends, and CutAt when the range was last cut, or first known, on the clock of Moment.Now.
	FixedUntil, CutAt time.Duration

	Bytes int64
	Load  Load
	// From says where the requests come from: those that a gateway has sent, per second.
	From []Source
}

// Load of a range, per second.
type Load struct {
	Requests   float64
	WriteBytes float64
	// CPU is processor time: 1 is a whole core.
	CPU float64
}

// Source is a gateway with what it asks of a range.
type Source struct {
	Node     NodeID
	Requests float64 // per second
}

// Moment is what there is beside the ranges.
type Moment struct {
	// Now, on any clock that does not go back.
	Now    time.Duration
	Stores []Store
	// InFlight are operators that are being carried out. Their ranges are left alone.
	InFlight []Operator
}

// Snapshot of the cluster.
type Snapshot struct {
	Moment
	Ranges []Range // in the order of their ids it is quickest
}

// Rules of a cluster. Use DefaultRules and change what differs.
type Rules struct {
	Default Rule
	Special []Rule
	Limits  Limits
}

// Limits bound what happens at the same time, and say how much difference is none.
type Limits struct {
	// AliveWithin: a store that was silent for longer gets nothing new.
	AliveWithin time.Duration
	// DeadAfter: the replicas of a store that was silent for longer are replaced.
	DeadAfter time.Duration
	// Incoming and Outgoing replicas of one store, in flight ones included.
	Incoming, Outgoing int
	// Transfers of leadership in one plan, for each store of the cluster.
	Transfers int
	// Slack is the share of the mean by which the numbers of replicas and leaders of two stores may differ;
	// BytesSlack, WriteSlack and CPUSlack are those of bytes, bytes written and processor time.
	Slack, BytesSlack, WriteSlack, CPUSlack float64
	// Full and NearlyFull are shares of a disk: a store beyond NearlyFull is given nothing, one beyond Full sheds.
	Full, NearlyFull float64
	// FollowAfter is how long a leader stays before it follows its clients; FollowRate is the number of requests a
	// second below which it does not bother, and FollowGain the share by which its clients' ways must shorten.
	FollowAfter time.Duration
	FollowRate  float64
	FollowGain  float64
	// Pressed is the share of the processors that it could have beyond which a store is short of them, Relieved that below which it may be again
	// what its clients' ranges are led by, after ReturnAfter. MeasuredAfter is how long what a node measures takes to show a change of leaders.
	Pressed, Relieved          float64
	ReturnAfter, MeasuredAfter time.Duration
	// Ranges that hold no more than MergeBytes together, are asked for no more than MergeRequests a second and take no more than MergeCPU cores, and were not
	// cut for MergeAfter, are merged, Merges at a time. MergeBytes of 0: none are. See MergeBelow.
	MergeBytes              int64
	MergeRequests, MergeCPU float64
	MergeAfter              time.Duration
	Merges                  int
	// Paused: only what rules and leaving stores ask for is done; nothing moves for balance or after clients.
	Paused bool
}

// DefaultRules returns the defaults.
func DefaultRules() Rules {
	return Rules{
		Default: Rule{Name: "cluster", Replicas: 3},
		Limits: Limits{
			AliveWithin: 5 * time.Second, DeadAfter: 5 * time.Minute,
			Incoming: 2, Outgoing: 2, Transfers: 4,
			Slack: 0.05, BytesSlack: 0.1, WriteSlack: 0.3, CPUSlack: 0.2,
			Full: 0.95, NearlyFull: 0.9,
			FollowAfter: 10 * time.Second, FollowRate: 5, FollowGain: 0.4,
			Pressed: 0.7, Relieved: 0.5, ReturnAfter: 10 * time.Minute, MeasuredAfter: 15 * time.Second,
			Merges: 16,
		},
	}
}

// Kind of an operator.
type Kind uint8

const (
	// ChangeReplicas adds and removes replicas in one change of configuration.
	ChangeReplicas Kind = iota
	// TransferLeader hands leadership to To.
	TransferLeader
	// MergeRanges makes the range Right, the right neighbour, a part of Range.
	MergeRanges
)

// Operator is one thing to do.
type Operator struct {
	Kind       Kind
	Range      RangeID
	Generation int64
	// Leader at the time of the plan: it sends the snapshots.
	Leader StoreID
	Add    []StoreID
	Remove []StoreID
	// NonVoting: the replicas to add have no vote.
	NonVoting bool
	// Gentle: nothing is to be repaired and nobody waits for it, so that clients go first while replicas are brought up.
	Gentle bool
	To     StoreID
	// Right and its generation, of MergeRanges.
	Right           RangeID
	RightGeneration int64
	Why             string
	Rejected        []Rejection
}

// Rejection is a reason and the candidates that were not chosen for it.
type Rejection struct {
	Why    string
	Stores []StoreID
}

// String prints the operator as of stores whose nodes have the same numbers.
func (o Operator) String() string { return o.Text(func(s StoreID) NodeID { return NodeID(s) }) }

// Text prints the operator for people, who know nodes: nodeOf says where a store is.
func (o Operator) Text(nodeOf func(StoreID) NodeID) string {
	var b strings.Builder
	fmt.Fprintf(&b, "r%d g%d:", o.Range, o.Generation)
	switch o.Kind {
	case TransferLeader:
		fmt.Fprintf(&b, " leader to n%d", nodeOf(o.To))
	case MergeRanges:
		fmt.Fprintf(&b, " merge with r%d g%d", o.Right, o.RightGeneration)
	}
	for _, s := range o.Add {
		fmt.Fprintf(&b, " +n%d", nodeOf(s))
		if o.NonVoting {
			b.WriteString("(non-voting)")
		}
	}
	for _, s := range o.Remove {
		fmt.Fprintf(&b, " -n%d", nodeOf(s))
	}
	fmt.Fprintf(&b, ": %s", o.Why)
	return b.String()
}

// Finding is a range that is not as it should be, and why nothing is done about it now.
type Finding struct {
	Range RangeID
	Why   string
}

// Result of Plan.
type Result struct {
	Operators []Operator
	Findings  []Finding
	// Unmerged are ranges that are small enough to be merged with their left neighbours, and why they are not, or not yet.
	Unmerged []Finding
}

// why is the reason for which a candidate was not chosen.
type why uint8

const (
	fine why = iota
	whyMember
	whyDecommissioning
	whyDraining
	whySilent
	whyFull
	whyUnsteady
	whyNotAllowed
	whyNotNeeded
	whyShares
	whyBusy
	whyFuller
	whyEqual
	whyNotPreferred
	whyFar
	whyLeadsMore
	whyBusier
	whyCameFrom
	whySlowDisk
	whyShaken
	whyCount
)

var whyText = [whyCount]string{
	whyMember:          "has a replica of the range",
	whyDecommissioning: "is being decommissioned",
	whyDraining:        "is draining",
	whySilent:          "is silent",
	whyFull:            "its disk is nearly full",
	whyUnsteady:        "was silent a short while ago, or its disk is slow just now",
	whyNotAllowed:      "the constraints exclude it",
	whyNotNeeded:       "another meets a constraint that is not met yet",
	whyShares:          "shares more of its locality with other replicas",
	whyBusy:            "is receiving as many replicas as it may",
	whyFuller:          "has more on it",
	whyEqual:           "no better than the one chosen",
	whyNotPreferred:    "the leader preference names another",
	whyFar:             "further from the clients",
	whyLeadsMore:       "leads more",
	whyBusier:          "would be busier",
	whyCameFrom:        "led it a short while ago",
	whySlowDisk:        "has a slow disk",
	whyShaken:          "had lost the support of others a short while ago",
}

func (w why) String() string { return whyText[w] }

// rejections collects candidates by reason.
type rejections [whyCount][]StoreID

func (r *rejections) add(w why, s StoreID) {
	if r != nil {
		r[w] = append(r[w], s)
	}
}

// list returns them without the chosen: of several stores for one range, the second was not the best one when the first was chosen.
func (r *rejections) list(chosen ...StoreID) []Rejection {
	if r == nil {
		return nil
	}
	var out []Rejection
	for w, s := range r {
		s = slices.DeleteFunc(s, func(id StoreID) bool { return slices.Contains(chosen, id) })
		if len(s) > 0 && why(w) != whyMember {
			slices.Sort(s)
			out = append(out, Rejection{Why: why(w).String(), Stores: slices.Compact(s)})
		}
	}
	return out
}
