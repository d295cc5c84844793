package replica

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

func sampleCommands() []command {
	d := &kv.RangeDescriptor{RangeID: 3, StartKey: keys.TableMin, EndKey: keys.Max, NextReplicaID: 4, Generation: 9,
		Replicas: []kv.Replica{{NodeID: 1, StoreID: 1, ReplicaID: 1}, {NodeID: 2, StoreID: 2, ReplicaID: 3, Type: kv.Learner}}}
	ts := hlc.Timestamp{WallTime: 77, Logical: 1}
	of := &mvcc.Freeze{ID: kv.TxnID{1, 15: 2}, Left: 2, Base: 8, Start: keys.TableMin}
	return []command{
		{id: 1, batch: []byte("batch")},
		{id: 1 << 63, closed: ts, gc: ts.Next(), maxWrite: ts.Next().Next(), stats: kv.Stats{LiveRows: -1, Bytes: 1 << 40}},
		{id: 5, desc: d},
		{id: 6, desc: d, right: d, rightStats: kv.Stats{Versions: 7}},
		{id: 7, checksum: true},
		{id: 8, handOver: true, batch: []byte("payload")},
		{id: 9, desc: d, freeze: true, of: of},
		{id: 10, desc: d, thaw: true},
		{id: 12, confirm: true},
		{id: 13, turn: hlc.Timestamp{WallTime: 9, Logical: 1}},
		{id: 11, desc: d, right: d, rightStats: kv.Stats{Versions: 7}, merge: true, of: of},
	}
}

func TestCommandRoundTrip(t *testing.T) {
	for _, c := range sampleCommands() {
		b := c.append(nil)
		var got command
		require.NoError(t, got.decode(b))
		if len(got.batch) == 0 {
			got.batch = c.batch
		}
		require.Equal(t, c, got)
		b[0] = 2
		require.Error(t, got.decode(b))
	}
}

// A command that changes the descriptor takes effect only in the state that it was made for.
func TestFits(t *testing.T) {
	r := &Replica{id: 3}
	of := &mvcc.Freeze{ID: kv.TxnID{1}, Left: 3, Base: 5}
	at := func(g int64) *kv.RangeDescriptor { return &kv.RangeDescriptor{RangeID: 3, Generation: g} }
	for _, c := range []struct {
		name   string
		cmd    command
		at     int64
		frozen *mvcc.Freeze
		want   bool
	}{
		{"change", command{desc: at(6)}, 5, nil, true},
		{"change, late", command{desc: at(6)}, 6, nil, false},
		{"change of a frozen range", command{desc: at(6)}, 5, of, false},
		{"thaw", command{desc: at(6), thaw: true}, 5, of, true},
		{"thaw of a later freeze", command{desc: at(6), thaw: true}, 7, of, false},
		{"thaw, twice", command{desc: at(6), thaw: true}, 6, nil, false},
		{"merge", command{desc: at(20), merge: true, of: of}, 5, nil, true},
		{"merge, void", command{desc: at(20), merge: true, of: of}, 6, nil, false},
		{"merge, void, where its generation would be the next", command{desc: at(20), merge: true, of: of}, 19, nil, false},
		{"merge of a range that is frozen itself", command{desc: at(20), merge: true, of: of}, 5, of, false},
		{"of another range", command{desc: &kv.RangeDescriptor{RangeID: 4, Generation: 6}}, 5, nil, false},
		{"no descriptor", command{}, 5, nil, false},
	} {
		require.Equal(t, c.want, r.fits(&c.cmd, &state{desc: at(c.at), frozen: c.frozen}), c.name)
	}
}

func FuzzCommand(f *testing.F) {
	for _, c := range sampleCommands() {
		f.Add(c.append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var c, again command
		if c.decode(b) != nil {
			return
		}
		require.NoError(t, again.decode(c.append(nil)))
		require.Equal(t, c, again)
	})
}

func TestClosedTracker(t *testing.T) {
	var c closedTracker
	at := func(ms int64) hlc.Timestamp { return hlc.Timestamp{WallTime: ms * 1e6} }
	require.True(t, c.closed().IsEmpty())
	a := c.begin(at(1000))
	require.Equal(t, at(1000), c.closed())
	b := c.begin(at(1050)) // near enough to share the floor
	require.Equal(t, at(1000), b.floor)
	d := c.begin(at(2000))
	require.Equal(t, at(1000), c.closed(), "writes above 1000 are under way")
	c.end(a)
	require.Equal(t, at(1000), c.closed())
	c.end(b)
	require.Equal(t, at(2000), c.closed())
	c.end(d)
	c.begin(at(1500))
	require.Equal(t, at(2000), c.closed(), "never backwards")
}

func TestQuorumEnd(t *testing.T) {
	at := func(n int64) hlc.Timestamp { return hlc.Timestamp{WallTime: n} }
	require.Equal(t, hlc.Timestamp{}, quorumEnd(nil))
	require.Equal(t, hlc.Max, quorumEnd([]hlc.Timestamp{hlc.Max}))
	require.Equal(t, at(5), quorumEnd([]hlc.Timestamp{hlc.Max, at(5)}))
	require.Equal(t, at(9), quorumEnd([]hlc.Timestamp{at(5), hlc.Max, at(9)}))
	require.Equal(t, at(3), quorumEnd([]hlc.Timestamp{at(3), at(1), hlc.Max, at(5)}))
	require.Equal(t, at(5), quorumEnd([]hlc.Timestamp{at(3), at(1), hlc.Max, at(5), at(7)}))
}
