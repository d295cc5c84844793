package routing

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Who is cut off from everybody is told so at once when it reads. What writes goes on: it may yet be known what became of it.
func TestCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.leader[2] = 3
		far := &partial{world: w, not: 3}
		s := New(Config{Node: 1, Clock: w.clock, Local: w.at(1), Remote: far, Hints: w, CutOff: func() bool { return true }})
		_, err := s.Send(t.Context(), getReq(keys.System("x")))
		require.NoError(t, err, "what can be answered is")
		begin := time.Now()
		_, err = s.Send(t.Context(), getReq(key(1)))
		require.True(t, kv.HasCode(err, kv.CodeUnavailable), "%v", err)
		require.ErrorContains(t, err, "no other node answers")
		require.Less(t, time.Since(begin), time.Second)
		begin = time.Now()
		_, err = s.Send(t.Context(), &kv.BatchRequest{Requests: []kv.Request{&kv.CommitSingleRange{Writes: []kv.Write{{Key: key(1)}}}}})
		require.Error(t, err)
		require.GreaterOrEqual(t, time.Since(begin), 30*time.Second)
	})
}

// A gateway that cannot reach the leader goes by way of a replica that can.
func TestRelay(t *testing.T) { synctest.Test(t, testRelay) }

func testRelay(t *testing.T) {
	w := newWorld()
	w.leader[2], w.leader[1] = 3, 2
	far := &partial{world: w, not: 3}
	s := New(Config{Node: 1, Clock: w.clock, Local: w.at(1), Remote: far, Hints: w, GiveUp: 300 * time.Millisecond})
	w.relay = map[kv.NodeID]*Sender{2: w.sender(2)}
	for range 3 {
		req := getReq(key(1))
		resp, err := s.Send(t.Context(), req)
		require.NoError(t, err)
		require.EqualValues(t, 3, resp.ServedBy)
		require.True(t, req.Repeated())
	}
	// The leader is really dead: the relay does not wait for it either.
	w.dead[3] = true
	start := time.Now()
	_, err := s.Send(t.Context(), getReq(key(1)))
	require.True(t, kv.HasCode(err, kv.CodeUnavailable), err)
	require.Less(t, time.Since(start), 2*time.Second)
}

// partial is a world in which one node is out of reach.
type partial struct {
	*world
	not kv.NodeID
}

func (p *partial) Alive(n kv.NodeID) bool { return n != p.not && p.world.Alive(n) }

func (p *partial) Send(ctx context.Context, to kv.NodeID, b *kv.BatchRequest) (*kv.BatchResponse, error) {
	if to == p.not {
		return nil, kv.Errorf(kv.CodeUnavailable, "cut")
	}
	return p.world.Send(ctx, to, b)
}

// Nobody waits for a range that is known to be lost, nor once more for what a range has waited for in vain. What may have been proposed stays in doubt.
func TestGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.ranges[0].Replicas, w.ranges[1].Replicas, w.leader[2] = replicas(1), replicas(2, 3), 3
		w.dead[2], w.dead[3] = true, true
		known := false
		var asked kv.RangeID
		far := &scripted{world: w}
		s := New(Config{Node: 1, Clock: w.clock, Local: w.at(1), Remote: far, Hints: w, Lost: func(_ context.Context, d *kv.RangeDescriptor) bool {
			asked = d.RangeID
			return known
		}})
		commit := func() *kv.BatchRequest {
			return &kv.BatchRequest{Requests: []kv.Request{&kv.CommitSingleRange{Writes: []kv.Write{{Key: key(1)}}}}}
		}
		took := func(req *kv.BatchRequest) (time.Duration, error) {
			began := time.Now()
			_, err := s.Send(t.Context(), req)
			return time.Since(began), err
		}
		d, err := took(getReq(key(1)))
		require.True(t, kv.HasCode(err, kv.CodeUnavailable), "%v", err)
		require.GreaterOrEqual(t, d, 30*time.Second)
		require.EqualValues(t, 2, asked)
		known = true
		for _, req := range []*kv.BatchRequest{getReq(key(1)), commit()} {
			d, err = took(req)
			require.True(t, kv.IsLost(err), "%v", err)
			require.Less(t, d, time.Second)
		}
		far.answers = []error{kv.Errorf(kv.CodeUnknownOutcome, "connection lost")}
		d, err = took(commit())
		require.True(t, kv.HasCode(err, kv.CodeUnknownOutcome), "%v", err)
		require.Less(t, d, time.Second)

		known = false
		far.answers = []error{kv.Errorf(kv.CodeGivenUp, "waited for long")}
		d, err = took(getReq(key(1)))
		require.True(t, kv.HasCode(err, kv.CodeGivenUp) && !kv.IsLost(err), "%v", err)
		require.Less(t, d, time.Second)
		far.answers = []error{kv.Errorf(kv.CodeUnknownOutcome, "connection lost"), kv.Errorf(kv.CodeGivenUp, "waited for long")}
		_, err = took(commit())
		require.True(t, kv.HasCode(err, kv.CodeUnknownOutcome), "%v", err)
	})
}

// scripted is a world in which the next answers of nodes are given.
type scripted struct {
	*world
	answers []error
}

func (x *scripted) Send(ctx context.Context, to kv.NodeID, b *kv.BatchRequest) (*kv.BatchResponse, error) {
	if len(x.answers) > 0 {
		err := x.answers[0]
		x.answers = x.answers[1:]
		return nil, err
	}
	return x.world.Send(ctx, to, b)
}
