package node

import (
	"time"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/pgerr"
)

// Suspect is the store's word that a node's store has lost its support. The transport knows whether it answers anything else.
func (w wire) Suspect(to kv.NodeID) { w.n.transport.Suspect(to) }

// cutOff reports whether this node hears from nobody and cannot do alone: where ranges are is known elsewhere. One that leads the meta range has a
// majority, if only because it is alone in it.
func (n *Node) cutOff() bool {
	if !n.transport.CutOff() {
		return false
	}
	st, ok := n.store.Range(kv.MetaRangeID)
	return !ok || !st.Serving
}

// cutOffAfter, and the clocks' bound, is how long nobody must have answered: half a second longer than promises last, and others lead by then.
const cutOffAfter = 1250 * time.Millisecond

// errCutOff is for clients of a node that is cut off. Drivers that were given several hosts go on to the next by its code.
var errCutOff = &pgerr.Error{Severity: "FATAL", Code: pgerr.CannotConnectNow, Message: "this node cannot reach the rest of the cluster",
	Detail: "No other node answers it.", Hint: "Connect to another node."}
