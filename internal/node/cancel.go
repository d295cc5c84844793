package node

import (
	"context"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql"
)

// Cancel requests of the wire protocol come on connections of their own, and a load balancer sends them to any node. The process id that they name
// tells which node has the session; the secret key goes with it and is checked there.

type cancelRequest struct {
	PID int32
	Key []byte
}

type cancelResponse struct{}

func (n *Node) serveCancel(_ context.Context, _ kv.NodeID, q *cancelRequest) (*cancelResponse, error) {
	if f := n.serving.Load(); f != nil {
		f.wire.Cancel(q.PID, q.Key)
	}
	return &cancelResponse{}, nil
}

// cancelElsewhere passes a client's cancel request on. It answers nothing, as the protocol wants it, and waits no longer than for any such question.
func (n *Node) cancelElsewhere(pid int32, key []byte) {
	ctx, cancel := context.WithTimeout(n.ctx, activityTimeout)
	defer cancel()
	for _, e := range n.book.Entries() {
		if e.NodeID == n.id.NodeID || !sql.PIDOn(pid, e.NodeID) {
			continue
		}
		if _, err := ask[cancelRequest, cancelResponse](ctx, n, e.NodeID, "cancel", &cancelRequest{pid, key}); err != nil {
			n.log.Info("a cancel request could not be passed on", "node", e.NodeID, "err", err)
		}
	}
}
