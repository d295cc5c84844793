package sim

import (
	"context"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/kv"
)

// What a node makes of the others: which of them answer soon, what their clocks say, and whether it is cut off. As in internal/node.

// clocks reads those of the other nodes (txn.Clocks).
type clocks life

const nearby = 10 * time.Millisecond

func (c *clocks) Near() (out []kv.NodeID) {
	l := (*life)(c)
	for _, o := range l.n.w.nodes {
		if o != l.n && (*remote)(l).Alive(o.id) && l.n.w.net.near(l.n.id, o.id, nearby) {
			out = append(out, o.id)
		}
	}
	return out
}

func (c *clocks) ReadClock(ctx context.Context, node kv.NodeID) (hlc.Timestamp, error) {
	resp, err := (*remote)(c).Send(ctx, node, &kv.BatchRequest{Now: c.clock.Now()})
	if err != nil {
		return hlc.Timestamp{}, err
	}
	c.n.w.trace.count("clocks read", 1)
	return resp.Now, nil
}

// cutOff reports whether no other node has answered for so long that others lead what this one led, and it does not lead the meta range.
func (l *life) cutOff() bool {
	w := l.n.w
	limit := w.o.MaxOffset + 1250*time.Millisecond
	for _, o := range w.nodes {
		switch {
		case o == l.n:
		case o.life.Load() == nil:
			if time.Duration(time.Now().UnixNano()-o.gone.Load()) < limit {
				return false
			}
		case w.net.unheard(l.n.id, o.id) < limit:
			return false
		}
	}
	st, ok := l.store.Range(kv.MetaRangeID)
	if ok && st.Serving {
		return false
	}
	w.trace.count("reads given up, cut off", 1)
	return true
}

// tellClock answers a batch that asks for nothing, as the transport does.
func (l *life) tellClock() *kv.BatchResponse {
	return &kv.BatchResponse{Now: l.clock.Now(), ServedBy: l.n.id}
}
