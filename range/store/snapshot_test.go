package store

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// A snapshot tells how far it is while it is on its way, and nothing afterwards.
func TestSendingTellsProgress(t *testing.T) { synctest.Test(t, testSendingTellsProgress) }

func testSendingTellsProgress(t *testing.T) {
	knobs := testKnobs
	knobs.SnapshotBytesPerSecond = 1 << 20
	c := newCluster(t, 2, knobs)
	ctx := c.ctx(time.Minute)
	for i := range 64 {
		require.NoError(t, c.put(ctx, i, strings.Repeat("x", 64<<10)))
	}
	s, _ := c.waitLeader(kv.FirstUserRange)
	of := s.replica(kv.FirstUserRange).Applied().Stats.Bytes
	added := make(chan struct{})
	go func() {
		defer close(added)
		c.changeReplicas(ctx, kv.FirstUserRange, []kv.NodeID{2}, nil)
	}()
	var seen []int64
	for ended := false; !ended; {
		select {
		case <-added:
			ended = true
		case <-time.After(250 * time.Millisecond):
		}
		for _, x := range s.Sending() {
			if x.RangeID == kv.FirstUserRange {
				seen = append(seen, x.Sent)
				require.True(t, s.replica(kv.FirstUserRange).Changing())
			}
		}
	}
	require.Greater(t, len(seen), 8, "4 MiB at 1 MiB a second, looked at four times a second")
	require.IsNonDecreasing(t, seen)
	require.Less(t, seen[0], of/4)
	require.Greater(t, seen[len(seen)-1], of/2)
	require.LessOrEqual(t, seen[len(seen)-1], of+of/50, "more than the range holds")
	require.Empty(t, s.Sending())
	require.False(t, s.replica(kv.FirstUserRange).Changing())
}

// What a change says of its urgency, and whether the range has one voter, decides what its snapshots go by, at both ends.
func TestSnapshotsGoByUrgency(t *testing.T) { synctest.Test(t, testSnapshotsGoByUrgency) }

func testSnapshotsGoByUrgency(t *testing.T) {
	for _, changes := range [][]urgency{{gentle, urgent, urgent}, {lone, gentle, urgent}} {
		c := newCluster(t, 4, testKnobs)
		ctx := c.ctx(time.Minute)
		for i := range 64 {
			require.NoError(t, c.put(ctx, i, strings.Repeat("x", 4<<10)))
		}
		for i, want := range changes {
			s, st := c.waitLeader(kv.FirstUserRange)
			to := kv.NodeID(2 + i)
			var before [urgencies]int64
			for u := range before {
				before[u] = s.pacing.snapshots[u].out.Used()
			}
			_, err := c.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{&kv.AdminChangeReplicas{
				Generation: st.Descriptor.Generation, Add: []kv.Replica{{NodeID: to, StoreID: kv.StoreID(to)}}, Gentle: want == gentle,
			}}})
			require.NoError(t, err)
			in := c.up(to).pacing
			for u := range before {
				out, in := s.pacing.snapshots[u].out.Used()-before[u], in.snapshots[u].in.Used()
				if urgency(u) == want {
					require.Greater(t, out, int64(64*4<<10))
					require.Greater(t, in, int64(64*4<<10))
				} else {
					require.Zero(t, out, "%d of %d", u, want)
					require.Zero(t, in, "%d of %d", u, want)
				}
			}
			require.False(t, s.replica(kv.FirstUserRange).Gentle(99), "the change is over")
		}
	}
}

// Only what is lost with one store goes fast on the busiest machine.
func TestLeastSnapshotRates(t *testing.T) {
	p := newPace(128<<20, 64<<20)
	for u, want := range map[urgency]int64{gentle: 4 << 20, urgent: 4 << 20, lone: 16 << 20} {
		require.Equal(t, want, p.snapshots[u].settings.Least)
		require.Equal(t, u == gentle, p.snapshots[u].settings.Gentle)
	}
}

// A gentle snapshot hurries at both ends once another replica of its range is lost: what repairs it can begin only when the change is over.
func TestGentleSnapshotsHurryForALostReplica(t *testing.T) {
	synctest.Test(t, testGentleSnapshotsHurryForALostReplica)
}

func testGentleSnapshotsHurryForALostReplica(t *testing.T) {
	knobs := testKnobs
	knobs.SnapshotBytesPerSecond = 1 << 20
	c := newCluster(t, 4, knobs)
	ctx := c.ctx(time.Minute)
	c.upReplicate(2, 3)
	for i := range 128 {
		require.NoError(t, c.put(ctx, i, strings.Repeat("x", 64<<10)))
	}
	s, st := c.waitLeader(kv.FirstUserRange)
	lost := kv.NodeID(2)
	if s.id.NodeID == lost {
		lost = 3
	}
	before := s.pacing.snapshots[urgent].out.Used()
	added := make(chan error, 1)
	go func() {
		_, err := c.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{&kv.AdminChangeReplicas{
			Generation: st.Descriptor.Generation, Add: []kv.Replica{{NodeID: 4, StoreID: 4}}, Gentle: true,
		}}})
		added <- err
	}()
	time.Sleep(2 * time.Second)
	in := c.up(4).pacing
	require.Greater(t, s.pacing.snapshots[gentle].out.Used(), int64(1<<20), "two of eight seconds")
	require.Equal(t, before, s.pacing.snapshots[urgent].out.Used())
	require.Greater(t, in.snapshots[gentle].in.Used(), int64(1<<20))
	require.Zero(t, in.snapshots[urgent].in.Used())
	c.nodes[lost].crash()
	require.NoError(t, <-added)
	require.Greater(t, s.pacing.snapshots[urgent].out.Used(), int64(2<<20))
	require.Greater(t, in.snapshots[urgent].in.Used(), int64(2<<20))
}

// Gentle snapshots hurry while an urgent one waits for the slot that they have, and from where on they are larger than ranges are.
func TestGentleSnapshotsHurry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, slots := newPace(128<<20, 64<<20), make(chan struct{}, 1)
		first, err := p.slot(t.Context(), slots, func() urgency { return gentle })
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = p.slot(ctx, slots, func() urgency { return gentle })
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Same(t, &p.snapshots[gentle], p.kind(gentle, 0), "nobody who has it urgent waits")
		got := make(chan struct{})
		go func() {
			second, err := p.slot(t.Context(), slots, func() urgency { return urgent })
			close(got)
			if err == nil {
				second()
			}
		}()
		synctest.Wait()
		require.Same(t, &p.snapshots[urgent], p.kind(gentle, 0))
		first()
		<-got
		require.Same(t, &p.snapshots[gentle], p.kind(gentle, 0))

		// What waits may become urgent.
		first, err = p.slot(t.Context(), slots, func() urgency { return gentle })
		require.NoError(t, err)
		began := time.Now()
		got = make(chan struct{})
		go func() {
			third, err := p.slot(t.Context(), slots, func() urgency {
				if time.Since(began) < time.Second {
					return gentle
				}
				return urgent
			})
			close(got)
			if err == nil {
				third()
			}
		}()
		synctest.Wait()
		require.Same(t, &p.snapshots[gentle], p.kind(gentle, 0))
		time.Sleep(2 * time.Second)
		require.Same(t, &p.snapshots[urgent], p.kind(gentle, 0))
		first()
		<-got
		require.Same(t, &p.snapshots[urgent], p.kind(urgent, 0))
		require.Same(t, &p.snapshots[gentle], p.kind(gentle, 80<<20-1))
		require.Same(t, &p.snapshots[urgent], p.kind(gentle, 80<<20))
	})
}

// A store that has given back all that it had in common with another says nothing to it any more. It is no reason to believe that it is gone, when it is to get something again.
func TestStoreIsNotGoneForHavingNothing(t *testing.T) {
	synctest.Test(t, testStoreIsNotGoneForHavingNothing)
}

func testStoreIsNotGoneForHavingNothing(t *testing.T) {
	c := newCluster(t, 2, testKnobs)
	ctx := c.ctx(10 * time.Minute)
	require.NoError(t, c.put(ctx, 1, "x"))
	c.changeReplicas(ctx, kv.FirstUserRange, []kv.NodeID{2}, nil)
	c.changeReplicas(ctx, kv.FirstUserRange, nil, []kv.NodeID{2})
	time.Sleep(time.Minute)
	s, st := c.waitLeader(kv.FirstUserRange)
	_, err := s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{&kv.AdminChangeReplicas{
		Generation: st.Descriptor.Generation, Add: []kv.Replica{{NodeID: 2, StoreID: 2}},
	}}})
	require.NoError(t, err)
}
