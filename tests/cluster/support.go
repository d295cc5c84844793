package cluster

import (
	"time"

	"github.com/pamirdb/pamir/internal/node"
)

// LongSupport is how long promises between stores last in tests about something else than the loss of leaders. On a machine that stands still for a
// second they would be lost, and with them locks, which clients may be told (40001); and a node that is not answered for a moment would send its
// clients away (57P03). Locks would be lost, too, with a gateway that others do not hear for a second: deadlocks come of that, between clients that lock in one order. Nobody takes over from a node that dies before that.
const LongSupport = 20 * time.Second

// WithLongSupport makes promises between stores last for LongSupport.
func WithLongSupport() Option {
	return func(o *options) {
		o.support = true
		o.flags = append(o.flags, "--test-support-duration", LongSupport.String())
	}
}

// LongSupportLocal is WithLongSupport for StartLocal. Nodes that are slow to answer do not count as far away, either, nor as silent: operators are refused for that, and told so.
func LongSupportLocal(_ int, c *node.Config) {
	c.StoreKnob.SupportDuration, c.Transport.CutOffAfter = LongSupport, LongSupport
	c.Transport.PeerTimeout = LongSupport / 2
	c.StoreKnob.GatewayDeadAfter = LongSupport // it takes its transactions' locks with it
	c.Nearby = LongSupport
}
