package admin

import (
	"context"
	"time"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Cluster is what verbs are carried out on. Every node answers all of it, and asks others where it must. Errors are *kv.Error: CodeBadRequest for what
// makes no sense, CodeDescriptorChanged for what is not so any more, CodeUnavailable for what may be tried again; or *pgerr.Error where SQL is asked.
type Cluster interface {
	// Placement is what the driver knows and does: the node that leads the meta range. DryRun makes a plan there, now,
	// whether paused or not, and carries nothing out.
	Placement(ctx context.Context) (*PlacementView, error)
	DryRun(ctx context.Context) (*PlanView, error)
	// Pause stops what is moved for balance and after clients, until Resume; what rules, dead and leaving nodes ask for goes on.
	Pause(ctx context.Context) error
	Resume(ctx context.Context) error

	// Rules lists the cluster's rule and those of tables and indexes. SetRule sets an option of the
	// cluster's rule; an empty value resets it. SetRuleOf does so for "table t" or "index i", in the name of a user. CheckRule refuses, without
	// changing anything, what they would refuse. Warnings say what the nodes there are cannot give, now: the rule is set all the same.
	Rules(ctx context.Context) ([]RuleView, error)
	CheckRule(ctx context.Context, user, of, option, value string) error
	SetRule(ctx context.Context, option, value string) (warnings []string, err error)
	SetRuleOf(ctx context.Context, user, of, option, value string) (warnings []string, err error)

	// Status is this node, Nodes what it knows of all: neither asks anybody. Stores describes every store, Ranges every range in key order, with the names of tables where the
	// catalog can be read, HotRanges the ranges with most load, by processor time.
	Status() StatusView
	Nodes() []NodeView
	Stores(ctx context.Context) ([]StoreView, error)
	Ranges(ctx context.Context) ([]RangeView, error)
	HotRanges(ctx context.Context, limit int) ([]RangeView, error)
	// KeyOf is the key of the row of a table whose primary key begins with values, or of the table's first; TableSpan where the table's keys are.
	KeyOf(ctx context.Context, table string, values []string) (keys.Key, error)
	TableSpan(ctx context.Context, table string) (keys.Span, error)

	// MoveReplica moves a range's replica from one node to another; from or to may be 0, to only remove or add.
	// A rule may move it again.
	MoveReplica(ctx context.Context, id kv.RangeID, from, to kv.NodeID) error
	TransferLeader(ctx context.Context, id kv.RangeID, to kv.NodeID) error
	// Split cuts a range, for good: placement does not merge the two again. Merge takes a cut back, and returns the range that comes of it.
	Split(ctx context.Context, key keys.Key) (left, right kv.RangeDescriptor, err error)
	Merge(ctx context.Context, key keys.Key) (kv.RangeID, error)

	// Decommission asks that everything be moved off nodes, for good; Decommissions says how far that is. It refuses what
	// could not come to an end, unless force is set; MayDecommission only refuses. Recommission takes it back.
	MayDecommission(ctx context.Context, nodes []kv.NodeID, force bool) error
	Decommission(ctx context.Context, nodes []kv.NodeID, force bool) error
	Recommission(ctx context.Context, nodes []kv.NodeID) error
	Decommissions(ctx context.Context) ([]DecommissionView, error)

	// Drain makes a node hand over its leaders and its clients, and stay up; it begins, and Draining says how far it is. MayDrain refuses to drain a node without
	// which no node serves, or some range has no majority on nodes that do, unless force is set.
	MayDrain(ctx context.Context, id kv.NodeID, force bool) error
	Drain(ctx context.Context, id kv.NodeID) (*DrainView, error)
	Undrain(ctx context.Context, id kv.NodeID) (*DrainView, error)
	Draining(ctx context.Context, id kv.NodeID) (*DrainView, error)
}

// OperatorView is an operator for people.
type OperatorView struct {
	RangeID kv.RangeID `json:"range_id,omitempty"`
	// Text is the whole in one line.
	Text     string      `json:"text"`
	Why      string      `json:"why,omitempty"`
	Rejected []Rejection `json:"rejected,omitempty"`
}

// Rejection is a reason and the nodes that were not chosen for it.
type Rejection struct {
	Why   string      `json:"why"`
	Nodes []kv.NodeID `json:"nodes"`
}

// RunningOperator is one that is being carried out, DoneOperator one that was.
type RunningOperator struct {
	Operator OperatorView `json:"operator"`
	Started  time.Time    `json:"started"`
}

// DoneOperator: see RunningOperator.
type DoneOperator struct {
	Operator OperatorView `json:"operator"`
	Started  time.Time    `json:"started,omitzero"`
	At       time.Time    `json:"at"`
	Error    string       `json:"error,omitempty"`
}

// FindingView is a range that is not as its rule wants it, and why nothing is done about it now.
type FindingView struct {
	RangeID kv.RangeID `json:"range_id"`
	Why     string     `json:"why"`
}

// PlacementView is what the driver knows and does.
type PlacementView struct {
	// Driver is the node that drives; 0 if none is known to.
	Driver kv.NodeID `json:"driver"`
	Paused bool      `json:"paused"`
	// LastPlan is empty if none was made yet; Problem says why none can be made.
	LastPlan time.Time     `json:"last_plan,omitzero"`
	Took     time.Duration `json:"took_ns"`
	Problem  string        `json:"problem,omitempty"`
	// Pending operators wait for others to end; Running are under way; Recent are done, the newest last. The latter two are also those of nodes that drove before, if they answer.
	Pending  []OperatorView    `json:"pending"`
	Running  []RunningOperator `json:"running"`
	Recent   []DoneOperator    `json:"recent"`
	Findings []FindingView     `json:"findings"`
	// Unmerged are ranges that are small enough to be merged with their left neighbours, and why they are not.
	Unmerged []FindingView `json:"unmerged"`
}

// PlanView is a plan that is not carried out.
type PlanView struct {
	Operators []OperatorView `json:"operators"`
	Findings  []FindingView  `json:"findings"`
	Unmerged  []FindingView  `json:"unmerged"`
}

// RuleView is a rule of placement.
type RuleView struct {
	// Of is "cluster", "table public.t" or "index public.t_a_idx".
	Of      string            `json:"of"`
	Options map[string]string `json:"options"`
}

// StoreView is a store for people.
type StoreView struct {
	StoreID  kv.StoreID `json:"store_id"`
	NodeID   kv.NodeID  `json:"node_id"`
	Locality []string   `json:"locality,omitempty"`
	Alive    bool       `json:"alive"`
	// Unknown: nothing was heard of its node yet, and there was hardly time to.
	Unknown bool `json:"-"`
	// State is member, draining, leaving or left.
	State    string  `json:"state" enum:"member,draining,leaving,left"`
	Replicas int     `json:"replicas"`
	Leaders  int     `json:"leaders"`
	Bytes    int64   `json:"bytes"`
	Requests float64 `json:"requests"` // per second, of the ranges led there, like the others
	Writes   float64 `json:"writes"`
	CPU      float64 `json:"cpu"`
	// Capacity and Free are bytes of its disk; left out if the node does not say.
	Capacity int64 `json:"capacity_bytes,omitempty"`
	Free     int64 `json:"free_bytes,omitempty"`
	// Problems are sentences for people: what will be in the node's way if nobody does anything about it, such as a disk that is nearly full, or a certificate that ends.
	Problems []string `json:"problems,omitempty"`
}

// RangeRates is what a range is asked to do, per second, smoothed.
type RangeRates struct {
	Requests   float64 `json:"requests"`
	Writes     float64 `json:"writes"`
	WriteBytes float64 `json:"write_bytes"`
	// CPU in cores: the time of evaluation, from samples.
	CPU float64 `json:"cpu"`
	// From has the requests by gateway.
	From []GatewayRate `json:"from,omitempty"`
}

// GatewayRate is what one node's clients ask of a range, per second.
type GatewayRate struct {
	Node     kv.NodeID `json:"node_id"`
	Requests float64   `json:"requests"`
}

// RangeView is a range for people.
type RangeView struct {
	ID kv.RangeID `json:"id"`
	// Start and End are the keys' bytes for people; StartKey and EndKey the same by the names of tables and the values of columns, where the catalog knows them. Schema, Table and
	// Index are what the first key belongs to.
	Start    string `json:"start"`
	End      string `json:"end"`
	StartKey string `json:"start_key,omitempty"`
	EndKey   string `json:"end_key,omitempty"`
	Schema   string `json:"schema,omitempty"`
	Table    string `json:"table,omitempty"`
	Index    string `json:"index,omitempty"`
	// Tables are all that have rows in it, or could: small ones share a range.
	Tables     []string      `json:"tables,omitempty"`
	Generation int64         `json:"generation"`
	Replicas   []ReplicaView `json:"replicas"`
	// LeaderNode is 0 if no node says that it leads; then the figures are 0 because they are not known.
	LeaderNode kv.NodeID `json:"leader_node"`
	// State is ok, changing (its replicas), degraded (one of them is on a node that does not answer), leaderless, or lost (all of them were on nodes that have left for
	// good); the worst that is true.
	State string `json:"state,omitempty" enum:"ok,changing,degraded,leaderless,lost"`
	// Unused is said of a lost range: no table has rows in it, or could, so that nothing asks for it.
	Unused    bool  `json:"unused,omitempty"`
	LiveRows  int64 `json:"live_rows"`
	LiveBytes int64 `json:"live_bytes"`
	Bytes     int64 `json:"bytes"`
	Locks     int64 `json:"prepared_locks"`
	Requests  int64 `json:"requests"`
	Writes    int64 `json:"writes"`
	LogBytes  int64 `json:"log_bytes"`
	Quiet     bool  `json:"quiet"`
	// Rates are per second, of the last ten seconds or so.
	Rates RangeRates `json:"rates"`

	// Span is where its keys are.
	Span keys.Span `json:"-"`
}

// ReplicaView is a replica for people.
type ReplicaView struct {
	NodeID  kv.NodeID  `json:"node_id"`
	StoreID kv.StoreID `json:"store_id"`
	ID      int32      `json:"replica_id"`
	Type    string     `json:"type" enum:"voter,incoming,outgoing,demoting,learner,non-voter"`
	// Sent is how many of the range's bytes have come over in a snapshot that is under way.
	Sent int64 `json:"sent_bytes,omitempty"`
}

// DecommissionView is how far a node has got that leaves for good.
type DecommissionView struct {
	NodeID kv.NodeID `json:"node_id"`
	// State is leaving, or left.
	State    string    `json:"state" enum:"leaving,left"`
	Since    time.Time `json:"since"`
	Done     time.Time `json:"done,omitzero"`
	Replicas int       `json:"replicas"` // still there
	Leaders  int       `json:"leaders"`
	Bytes    int64     `json:"bytes"`
	// Sent is how many of these bytes have come over already in snapshots that are under way.
	Sent int64 `json:"sent_bytes"`
	// BeganWith is of replicas. Progress goes to 1: half of it is for replicas, half for bytes, if there were any.
	BeganWith      int     `json:"began_with"`
	BeganWithBytes int64   `json:"began_with_bytes"`
	Progress       float64 `json:"progress"`
}

// DrainView is how far a node has got that drains.
type DrainView struct {
	NodeID kv.NodeID `json:"node_id"`
	// State is serving, draining or drained.
	State       string `json:"state" enum:"serving,draining,drained"`
	Leaders     int    `json:"leaders"` // ranges still led there that others could lead
	Connections int64  `json:"connections"`
}

// StatusView is the node that answers.
type StatusView struct {
	ClusterID string     `json:"cluster_id"`
	NodeID    kv.NodeID  `json:"node_id"`
	StoreID   kv.StoreID `json:"store_id"`
	Build     string     `json:"build"`
	Uptime    string     `json:"uptime"`
	Ready     bool       `json:"ready"`
	Draining  bool       `json:"draining"`
	Clock     string     `json:"clock"`
	Security  string     `json:"security"`
	RPCAddr   string     `json:"rpc_addr"`
	SQLAddr   string     `json:"sql_addr"`
	HTTPAddr  string     `json:"http_addr"`
}

// NodeView is a node, as seen from the one that answers.
type NodeView struct {
	NodeID    kv.NodeID `json:"node_id"`
	RPCAddr   string    `json:"rpc_addr"`
	SQLAddr   string    `json:"sql_addr"`
	HTTPAddr  string    `json:"http_addr"`
	Locality  []string  `json:"locality,omitempty"`
	Build     string    `json:"build"`
	Alive     bool      `json:"alive"`
	Draining  bool      `json:"draining"`
	SilenceMS float64   `json:"silence_ms"`
	RTTMS     float64   `json:"rtt_ms"`
	OffsetMS  float64   `json:"clock_offset_ms"`
	LastError string    `json:"last_error,omitempty"`
	// State is member, draining, leaving or left; it and the figures are left out while the cluster cannot be asked.
	State    string `json:"state,omitempty" enum:"member,draining,leaving,left"`
	Replicas *int   `json:"replicas,omitempty"`
	Leaders  *int   `json:"leaders,omitempty"`
	Bytes    *int64 `json:"bytes,omitempty"`
	// Capacity, Free and Problems: see StoreView.
	Capacity int64    `json:"capacity_bytes,omitempty"`
	Free     int64    `json:"free_bytes,omitempty"`
	Problems []string `json:"problems,omitempty"`
}
