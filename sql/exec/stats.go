package exec

import (
	"time"

	"github.com/pamirdb/pamir/sql/plan"
)

// Stats are the figures of EXPLAIN ANALYZE. They belong to one statement.
type Stats struct {
	nodes map[plan.Node]*NodeStats
}

// NodeStats of one plan node.
type NodeStats struct {
	Rows, Batches int64
	// Time is inclusive of the inputs.
	Time time.Duration
	// Scans: pieces (requests to ranges), rows and bytes they returned.
	Pieces, KVRows, KVBytes int64
	// Spilled bytes.
	Spilled int64
	Memory  int64
}

// NewStats makes an empty collection.
func NewStats() *Stats { return &Stats{nodes: map[plan.Node]*NodeStats{}} }

// Of returns the figures of a node; nil if it did not run.
func (s *Stats) Of(n plan.Node) *NodeStats { return s.nodes[n] }

func (s *Stats) node(n plan.Node) *NodeStats {
	ns := s.nodes[n]
	if ns == nil {
		ns = &NodeStats{}
		s.nodes[n] = ns
	}
	return ns
}
