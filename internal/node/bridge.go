package node

import (
	"context"
	"sync"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/range/store"
	"github.com/pamirdb/pamir/range/transport"
)

// wire carries what a store sends (store.Transport) over the transport, which knows bytes only.
type wire struct{ n *Node }

// rawBuf is where messages are encoded, one after the other; the transport copies.
type rawBuf struct {
	b    []byte
	ends []int
	msgs [][]byte
}

var rawBufs = sync.Pool{New: func() any { return new(rawBuf) }}

// maxPooledBuf bounds the buffers that are kept, maxRaftFlush what is encoded before it is handed on.
const (
	maxPooledBuf = 1 << 20
	maxRaftFlush = 256 << 10
)

func (w wire) SendRaft(to kv.NodeID, msgs []*store.RaftMessage) {
	buf := rawBufs.Get().(*rawBuf)
	for _, m := range msgs {
		b, err := m.Append(buf.b)
		if err != nil {
			w.n.log.Error("raft message has no wire form", "to", to, "err", err)
			continue
		}
		buf.b = b
		buf.ends = append(buf.ends, len(b))
		if len(b) >= maxRaftFlush {
			w.flushRaft(to, buf)
		}
	}
	w.flushRaft(to, buf)
	if cap(buf.b) <= maxPooledBuf {
		rawBufs.Put(buf)
	}
}

// flushRaft hands on what is in the buffer, and empties it.
func (w wire) flushRaft(to kv.NodeID, buf *rawBuf) {
	if len(buf.ends) == 0 {
		return
	}
	start := 0
	for _, end := range buf.ends {
		buf.msgs = append(buf.msgs, buf.b[start:end])
		start = end
	}
	w.n.transport.SendRaft(to, buf.msgs...)
	buf.b, buf.ends, buf.msgs = buf.b[:0], buf.ends[:0], buf.msgs[:0]
}

func (w wire) SendHeartbeat(to kv.NodeID, h *store.Heartbeat) {
	w.n.transport.SendHeartbeat(to, h.Append(nil))
}

func (w wire) SendSnapshot(ctx context.Context, to kv.NodeID, _ kv.StoreID, write func(send func([]byte) error) error) error {
	return w.n.transport.SendSnapshot(ctx, to, write)
}

// clocks reads those of the other nodes (txn.Clocks).
type clocks struct {
	t    *transport.Transport
	near time.Duration
}

// nearby is how far a node may be, there and back, for transactions to wait for a reading of its clock, and for what it says of its own.
const nearby = 10 * time.Millisecond

func (c *Config) nearby() time.Duration {
	if c.Nearby > 0 {
		return c.Nearby
	}
	return nearby
}

func (c clocks) Near() []kv.NodeID { return c.t.Near(c.near) }

func (c clocks) ReadClock(ctx context.Context, node kv.NodeID) (hlc.Timestamp, error) {
	return c.t.ReadClock(ctx, node)
}

// inbound is what arrives from other nodes (transport.Handler).
type inbound struct{ n *Node }

var _ transport.Handler = inbound{}

func (h inbound) Send(ctx context.Context, req *kv.BatchRequest) (*kv.BatchResponse, error) {
	return h.n.store.Send(ctx, req)
}

func (h inbound) Relay(ctx context.Context, req *kv.BatchRequest) (*kv.BatchResponse, error) {
	return h.n.sender.Relayed(ctx, req)
}

func (h inbound) HandleRaft(from kv.NodeID, msgs [][]byte) {
	out := make([]*store.RaftMessage, 0, len(msgs))
	for _, b := range msgs {
		m, err := store.DecodeRaftMessage(b)
		if err != nil {
			h.n.log.Error("malformed raft message", "from", from, "err", err)
			continue // dropping is safe
		}
		out = append(out, m)
	}
	h.n.store.HandleRaftMessages(out)
}

func (h inbound) HandleHeartbeat(from kv.NodeID, msg []byte) {
	hb, err := store.DecodeHeartbeat(msg)
	if err != nil {
		h.n.log.Error("malformed heartbeat", "from", from, "err", err)
		return
	}
	h.n.store.HandleHeartbeat(hb)
}

func (h inbound) HandleSnapshot(ctx context.Context, _ kv.NodeID, next func() ([]byte, error)) error {
	return h.n.store.HandleSnapshot(ctx, next)
}

func (h inbound) HandleCall(ctx context.Context, from kv.NodeID, method string, body []byte) ([]byte, error) {
	f := calls[method]
	if f == nil {
		return nil, kv.Errorf(kv.CodeBadRequest, "unknown call %q: the caller runs another version", method)
	}
	return f(h.n, ctx, from, body)
}
