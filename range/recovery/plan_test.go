package recovery

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

var cluster = uuid.New()

// desc is a descriptor with voters on the stores; replica ids are those of the stores.
func desc(id kv.RangeID, gen int64, start, end keys.Key, stores ...kv.StoreID) *kv.RangeDescriptor {
	d := &kv.RangeDescriptor{RangeID: id, StartKey: start, EndKey: end, Generation: gen, NextReplicaID: 10}
	for _, s := range stores {
		d.Replicas = append(d.Replicas, kv.Replica{NodeID: kv.NodeID(s), StoreID: s, ReplicaID: kv.ReplicaID(s)})
	}
	return d
}

func on(s kv.StoreID, rs ...Replica) *Facts {
	for i := range rs {
		rs[i].Replica = kv.ReplicaID(s)
	}
	return &Facts{Version: formatVersion, Cluster: cluster, Node: kv.NodeID(s), Store: s, Dir: string(rune('a' + s)), Replicas: rs}
}

func at(d *kv.RangeDescriptor, term, index uint64) Replica {
	return Replica{Descriptor: d, Last: Position{Index: index, Term: term}, Applied: Position{Index: index - 1, Term: term}}
}

func TestMake(t *testing.T) {
	a, m := keys.Table(200), keys.Table(300)
	low, mid, high := desc(1, 1, keys.Min, a, 1, 2, 3), desc(2, 5, a, m, 1, 2, 3), desc(3, 5, m, keys.Max, 3, 4, 5)

	_, err := Make([]*Facts{on(1, at(low, 1, 5), at(mid, 1, 5)), on(2, at(low, 1, 5), at(mid, 1, 5)), on(3, at(high, 1, 5)), on(4, at(high, 1, 5))})
	require.ErrorIs(t, err, ErrQuorum)

	// The later term wins over the longer log; who has a majority is left alone.
	p, err := Make([]*Facts{on(3, at(mid, 2, 90), at(high, 1, 5)), on(2, at(low, 3, 10)), on(4, at(high, 2, 3)), on(1, at(low, 2, 20))})
	require.NoError(t, err)
	require.Equal(t, 2, p.Healthy)
	require.Len(t, p.Ranges, 1)
	require.EqualValues(t, 3, p.Ranges[0].Store)
	require.Empty(t, p.Ranges[0].Lost, "stores 1 and 2 are left, but without a replica of it")
	require.Equal(t, []Member{{Node: 5, Store: 5}}, p.Lost)
	require.EqualValues(t, 5, p.LastStore)
	require.EqualValues(t, 3, p.LastRange)

	p, err = Make([]*Facts{on(1, at(low, 2, 20), at(mid, 2, 20)), on(4, at(high, 1, 9))})
	require.NoError(t, err)
	require.Zero(t, p.Healthy)
	require.Len(t, p.Ranges, 3)

	// Of a range nothing is left.
	p, err = Make([]*Facts{on(1, at(low, 2, 20)), on(4, at(high, 1, 9))})
	require.NoError(t, err)
	require.Equal(t, []keys.Span{{Start: a, End: m}}, p.Gone)
	_, err = Make([]*Facts{on(4, at(high, 1, 9))})
	require.ErrorContains(t, err, "meta range")

	// A replica that slept through a split, or that its range has removed, does not count.
	wide := desc(2, 4, a, keys.Max, 1, 2, 3)
	p, err = Make([]*Facts{on(1, at(low, 2, 20), at(wide, 9, 99)), on(2, at(low, 2, 20), at(mid, 1, 5)), on(4, at(high, 1, 5))})
	require.NoError(t, err)
	require.Equal(t, 2, p.Healthy, "both of range 2's replicas are voters of its newest descriptor")
	require.Len(t, p.Ranges, 1)
	require.EqualValues(t, 3, p.Ranges[0].Descriptor.RangeID)

	// Both majorities of a change under way are needed.
	joint := desc(2, 6, a, m, 1, 2, 3, 4)
	joint.Replicas[0].Type, joint.Replicas[3].Type = kv.VoterOutgoing, kv.VoterIncoming
	p, err = Make([]*Facts{on(1, at(low, 1, 5), at(joint, 1, 5)), on(2, at(low, 1, 5), at(joint, 1, 6)), on(3, at(high, 1, 5)), on(4, at(high, 1, 5))})
	require.NoError(t, err)
	require.Len(t, p.Ranges, 1)
	require.EqualValues(t, 2, p.Ranges[0].Store)
	require.Equal(t, []kv.StoreID{1}, p.Ranges[0].Others)

	other := on(2)
	other.Cluster = uuid.New()
	_, err = Make([]*Facts{on(1, at(low, 1, 5)), other})
	require.ErrorContains(t, err, "belongs to cluster")
	_, err = Make([]*Facts{on(1, at(low, 1, 5)), on(1, at(low, 1, 5))})
	require.ErrorContains(t, err, "twice")
	_, err = Make(nil)
	require.Error(t, err)
}

func TestMakeAnew(t *testing.T) {
	a, m := keys.Table(200), keys.Table(300)
	low, high := desc(1, 1, keys.Min, a, 1, 2, 3), desc(3, 5, m, keys.Max, 1, 2, 5)
	gone, gone2 := desc(2, 7, a, keys.Table(250), 3, 6), desc(4, 9, keys.Table(250), m, 6)
	gone2.NextReplicaID = 17
	facts := func(more ...Replica) []*Facts {
		one, two := on(1, at(low, 2, 20), at(high, 1, 9)), on(2, append(more, at(low, 2, 20), at(high, 1, 9))...)
		two.Addresses = []*kv.RangeDescriptor{low, gone, gone2, high}
		return []*Facts{one, two}
	}
	p, err := Make(facts())
	require.NoError(t, err)
	require.Empty(t, p.Anew, "only if it is asked for")
	require.Contains(t, p.Lost, Member{Node: 6, Store: 6}, "it had nothing but what is gone")
	require.EqualValues(t, 6, p.LastStore)
	require.Empty(t, p.MakeAnew(facts()))
	require.Len(t, p.Anew, 1)
	d := p.Anew[0].Descriptor
	require.Equal(t, keys.Span{Start: a, End: m}, d.Span())
	require.EqualValues(t, 2, d.RangeID)
	require.Greater(t, d.Generation, gone2.Generation+100)
	require.Equal(t, []kv.Replica{{NodeID: 1, StoreID: 1, ReplicaID: 1017}}, d.Replicas)
	require.EqualValues(t, 1018, d.NextReplicaID)

	// One that slept through a split has some of the keys, as they were long ago: nobody should decide that for the operator.
	kept := p.MakeAnew(facts(at(desc(3, 4, a, keys.Max, 1, 2, 5), 1, 5)))
	require.Len(t, kept, 1)
	require.Contains(t, kept[0].Why, "store 2 has an older replica of range 3")
	// The meta range does not know what was there.
	f := facts()
	f[1].Addresses = []*kv.RangeDescriptor{low, desc(3, 4, a, keys.Max, 1, 2, 5)}
	kept = p.MakeAnew(f)
	require.Len(t, kept, 1)
	require.Contains(t, kept[0].Why, "does not know")
	// The catalog.
	low.EndKey = keys.TableMin
	kept = mustPlan(t, facts()).MakeAnew(facts())
	require.Len(t, kept, 1)
	require.Contains(t, kept[0].Why, "catalog")
}

func mustPlan(t *testing.T, facts []*Facts) *Plan {
	p, err := Make(facts)
	require.NoError(t, err)
	return p
}
