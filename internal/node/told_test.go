package node

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pamirdb/pamir/placement"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// What the planner has been told is what the driver knows, whatever was reported, lost, begun, ended and failed in between.
func TestToldIsKnown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := restingNode()
		p := &n.placement
		p.running, p.settling, p.failures = map[kv.RangeID]*runningOperator{}, map[kv.RangeID]*runningOperator{}, map[kv.RangeID]failure{}
		d := newDriver(n)
		now := d.began
		for i := range kv.NodeID(3) {
			d.known.nodes[i+1] = &reporter{}
		}
		descs := map[kv.RangeID]kv.RangeDescriptor{}
		for id := range kv.RangeID(6) {
			descs[id+1] = someDesc(id + 1)
		}
		for range rapid.IntRange(1, 20).Draw(t, "rounds") {
			began := now
			now = now.Add(time.Second)
			id := rapid.Int64Range(1, 6).Draw(t, "range")
			rid, node := kv.RangeID(id), kv.NodeID(rapid.IntRange(1, 3).Draw(t, "node"))
			op := &runningOperator{op: placement.Operator{Range: placement.RangeID(id)}}
			switch rapid.IntRange(0, 7).Draw(t, "event") {
			case 0, 1:
				desc := descs[rid]
				desc.Generation++
				descs[rid] = desc
				require.NoError(t, d.known.take(&changesReport{NodeID: node, StoreID: kv.StoreID(node), Number: 1, Full: rapid.Bool().Draw(t, "full"),
					Ranges: []changedRange{{Desc: desc.AppendWire(nil), Term: uint64(desc.Generation), Bytes: id << 20,
						RangeRates: RangeRates{CPU: rapid.Float64Range(0, 1).Draw(t, "cpu")}}}}, now))
			case 2:
				require.NoError(t, d.known.take(&changesReport{NodeID: node, StoreID: kv.StoreID(node), Number: 1, Gone: []kv.RangeID{rid}}, now))
			case 3:
				d.known.lost(node)
			case 4: // the meta range does not list all
				var list []kv.RangeDescriptor
				for i, desc := range descs {
					if i != rid {
						list = append(list, desc)
					}
				}
				d.known.list(list)
			case 5:
				if p.running[rid] == nil {
					p.running[rid] = op
				} else {
					p.settling[rid], p.running[rid].ended = p.running[rid], now
					delete(p.running, rid)
				}
			case 6:
				p.failures[rid] = failure{until: now.Add(3 * time.Second)}
			case 7:
				d.rules.spans = []ruleSpan{{keys.Table(1), keys.Table(uint64(id)), rapid.IntRange(1, 2).Draw(t, "rule")}}
			}
			var at placement.Moment
			d.tell(&at, now, began)

			fresh := newDriver(n)
			fresh.known.bounds = true
			fresh.dry, fresh.known.ranges, fresh.rules.spans, fresh.began = true, d.known.ranges, d.rules.spans, d.began
			for id := range d.known.ranges {
				fresh.known.changed[id] = true
			}
			var again placement.Moment
			fresh.tell(&again, now, began)
			require.Equal(t, again, at)
			require.Equal(t, fresh.ranges.Len(), d.ranges.Len())
			fresh.ranges.Each(func(r *placement.Range) {
				told, ok := d.ranges.Get(r.ID)
				require.True(t, ok)
				require.Equal(t, *r, told)
			})
		}
	})
}

func restingNode() *Node {
	rules := placement.DefaultRules()
	return &Node{cfg: Config{Rules: &rules}}
}

func someDesc(id kv.RangeID) kv.RangeDescriptor {
	d := kv.RangeDescriptor{RangeID: id, StartKey: keys.Table(uint64(id)), EndKey: keys.Table(uint64(id) + 1), Generation: 1, NextReplicaID: 4}
	for i := range kv.StoreID(3) {
		d.Replicas = append(d.Replicas, kv.Replica{NodeID: kv.NodeID(i + 1), StoreID: i + 1, ReplicaID: kv.ReplicaID(i + 1)})
	}
	return d
}

// A tick of a driver of a cluster at rest, and one in which a hundredth of the ranges have changed.
func BenchmarkTell(b *testing.B) {
	for _, share := range []int{0, 100, 1} {
		b.Run(fmt.Sprintf("1 in %d", share), func(b *testing.B) {
			n := restingNode()
			d := newDriver(n)
			const ranges = 100_000
			for id := range kv.RangeID(ranges) {
				d.known.ranges[id+1] = &knownRange{desc: someDesc(id + 1), leader: 1, store: 1, bytes: 64 << 20}
				d.known.changed[id+1] = true
			}
			d.known.bounds = true
			var stores []placement.Store
			for i := range 30 {
				stores = append(stores, placement.Store{ID: placement.StoreID(i + 1), Node: placement.NodeID(i + 1)})
			}
			tick := func() {
				at := placement.Moment{Stores: stores}
				d.tell(&at, d.began, d.began)
				rules := placement.DefaultRules()
				rules.Limits.Paused = true
				d.ranges.Plan(at, rules)
			}
			tick()
			b.ResetTimer()
			for b.Loop() {
				for id := kv.RangeID(1); share > 0 && id <= ranges; id += kv.RangeID(share) {
					d.known.changed[id] = true
				}
				tick()
			}
		})
	}
}
