package node

import (
	"context"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// recoverer finishes transactions whose gateway is silent, for the lock tables.
type recoverer struct{ n *Node }

func (r recoverer) Recover(ctx context.Context, holder kv.TxnMeta, key keys.Key) (kv.TxnStatus, hlc.Timestamp, error) {
	if err := r.wait(ctx, &holder); err != nil {
		return kv.TxnUnknown, hlc.Timestamp{}, err
	}
	return r.n.txns.Recover(ctx, holder, key)
}

// wait refuses to recover a transaction that would lose much by it while its gateway may only be held up: what a large transaction has laid is
// dropped for good. The caller asks again.
func (r recoverer) wait(ctx context.Context, holder *kv.TxnMeta) error {
	least := r.n.gatewayDeadAfter()
	limit := patience(time.Duration(r.n.clock.Now().WallTime-holder.ID.Start()), least)
	if limit <= least || holder.Gateway == r.n.id.NodeID {
		return nil
	}
	st, err := holders(r).ask(ctx, holder.Gateway, holder.Incarnation, holder.ID, false)
	if err == nil {
		if st.Alive {
			return kv.Errorf(kv.CodeUnavailable, "the gateway of transaction %s answers again", holder.ID)
		}
		return nil
	}
	if d, ok := r.n.transport.Silence(holder.Gateway); ok && d < limit && !r.n.transport.ClockOff(holder.Gateway) {
		return kv.Errorf(kv.CodeUnavailable, "the gateway of transaction %s has been silent for %s, and is waited for for %s", holder.ID, d.Round(time.Millisecond), limit)
	}
	return nil
}

// mostPatience bounds for how long those behind the locks of a transaction wait for a gateway that is silent.
const mostPatience = 10 * time.Second

// patience is for how long a gateway must be silent for a transaction that began so long ago to be given up. A process that does not run for a
// second, because its machine is busy or moved, should not cost the work of minutes.
func patience(age, least time.Duration) time.Duration {
	return max(min(age/5, mostPatience), least)
}
