package replica

import (
	"github.com/pamirdb/pamir/range/internal/raftlog"
	"github.com/pamirdb/pamir/range/kv"
)

// outbox collects messages by receiving store until they are handed to the transport: those of all replicas that are
// processed together, so that each store is sent one message of many, and woken once.
type outbox struct {
	to   []kv.Replica
	msgs [][]*raftlog.Message
}

// take takes what the replica has to send. raftMu is held.
func (o *outbox) take(r *Replica) {
	for i, m := range r.out {
		o.add(m)
		r.out[i] = nil
	}
	r.out = r.out[:0]
}

func (o *outbox) add(m *raftlog.Message) {
	for i := range o.to {
		if o.to[i].StoreID == m.To.StoreID {
			o.msgs[i] = append(o.msgs[i], m)
			return
		}
	}
	o.to = append(o.to, m.To)
	o.msgs = append(o.msgs, []*raftlog.Message{m})
}

// flush hands what was collected to the transport, with a clock reading taken now: after whatever the
// messages speak of.
func (o *outbox) flush(d *Deps) {
	if len(o.to) == 0 {
		return
	}
	now := d.Clock.Now()
	for i, to := range o.to {
		for _, m := range o.msgs[i] {
			m.Now = now
		}
		d.Owner.SendRaft(to, o.msgs[i])
		o.msgs[i] = nil
	}
	o.to, o.msgs = o.to[:0], o.msgs[:0]
}
