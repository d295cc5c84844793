package node

import "github.com/pamirdb/pamir/range/kv"

// Suspect is the store's word that a node's store has lost its support. The transport knows whether it answers anything else.
func (w wire) Suspect(to kv.NodeID) { w.n.transport.Suspect(to) }
