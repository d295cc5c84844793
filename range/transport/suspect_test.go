package transport

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// Who waits for a node that is suspected, and says nothing else either, waits no longer, and nobody begins to. It is found out when the node answers.
func TestSuspect(t *testing.T) {
	f := &testFaults{}
	nodes := startCluster(t, 2, nodeOpts{faults: f, timeout: time.Hour})
	for range 5 { // of a node that answers nothing is believed
		nodes[0].Suspect(2)
		time.Sleep(10 * time.Millisecond)
	}
	var err error
	require.Eventually(t, func() bool {
		_, err = nodes[0].Send(t.Context(), 2, get("x"))
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)

	errc := make(chan error, 1)
	go func() {
		_, err := nodes[0].Send(t.Context(), 2, get("wait"))
		errc <- err
	}()
	require.Eventually(t, func() bool { return nodes[1].h.waiting.Load() == 1 }, 5*time.Second, time.Millisecond)
	f.cut.Store(true)
	for err = nil; err == nil; {
		nodes[0].Suspect(2)
		select {
		case err = <-errc:
		case <-time.After(20 * time.Millisecond):
		}
	}
	require.True(t, kv.HasCode(err, kv.CodeUnknownOutcome), err)
	require.False(t, nodes[0].Alive(2))
	_, err = nodes[0].Send(t.Context(), 2, get("x"))
	require.True(t, kv.HasCode(err, kv.CodeUnavailable), err)
	f.cut.Store(false)
	require.Eventually(t, func() bool {
		_, err := nodes[0].Send(t.Context(), 2, get("x"))
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)
	require.True(t, nodes[0].Alive(2))
	nodes[0].Suspect(7) // of whom nobody knows
}

// A node that is suspected has little time left for an answer if whoever waits has been awake: it would have read one.
func TestTurns(t *testing.T) {
	p := &peer{t: &Transport{}}
	turn := func(inTime, answered bool) int32 {
		if answered {
			p.lastPong.Add(1)
		}
		p.turn(inTime, 0)
		return p.turns.Load()
	}
	require.EqualValues(t, 0, turn(true, true))
	require.EqualValues(t, 1, turn(true, false))
	require.EqualValues(t, 2, turn(true, false))
	require.EqualValues(t, 0, turn(true, true), "it answers")
	require.EqualValues(t, 1, turn(true, false))
	require.EqualValues(t, 0, turn(false, false), "nobody was here to read an answer")
	require.EqualValues(t, 1, turn(true, false))
}

// A peer is not silent while this process is without a processor: its answers wait to be read.
func TestSilenceWhileAway(t *testing.T) {
	const ms = int64(time.Millisecond)
	p := &peer{t: &Transport{cfg: Config{PingInterval: 250 * time.Millisecond}}, made: 1000 * ms}
	silent := func(now int64) int64 { return p.unanswered(now * ms).Milliseconds() }
	turns := func(at ...int64) {
		for _, now := range at {
			p.turn(false, now*ms)
		}
	}
	require.EqualValues(t, 100, silent(1100), "not since the beginning of time")
	turns(1250, 1500, 1750)
	require.EqualValues(t, 850, silent(1850), "it has never answered")
	p.lastPong.Store(1860 * ms)
	require.EqualValues(t, 40, silent(1900))
	turns(2000, 2250, 2500)
	require.EqualValues(t, 740, silent(2600))
	require.EqualValues(t, 640+375, silent(9000), "the pinger does not come: nobody does")
	turns(9000)
	require.EqualValues(t, 640+375, silent(9000), "only the pinger has come so far")
	require.EqualValues(t, 640+375+10, silent(9010))
	p.lastPong.Store(9011 * ms)
	require.EqualValues(t, 9, silent(9020), "the answer is read")
	p.lastPong.Store(9500 * ms) // of a ping between two turns that were both late
	turns(9990)
	require.EqualValues(t, 375, silent(9990))
}

// A node that nobody answers takes itself for cut off, unless it knows of nobody, or has been away itself.
func TestCutOff(t *testing.T) {
	tr := &Transport{cfg: Config{PingInterval: 250 * time.Millisecond, CutOffAfter: 1500 * time.Millisecond}}
	one, two := &peer{t: tr}, &peer{t: tr}
	none, both := map[kv.NodeID]*peer{}, map[kv.NodeID]*peer{1: one, 2: two}
	tr.ptr.Store(&none)
	require.False(t, tr.CutOff(), "it is alone in the world")
	tr.ptr.Store(&both)
	turns := func(p *peer, n int, inTime bool) {
		for range n {
			p.turn(inTime, 0)
		}
	}
	turns(one, 6, true)
	require.False(t, tr.CutOff(), "the other has answered")
	turns(two, 5, true)
	require.False(t, tr.CutOff(), "not for long")
	turns(two, 1, true)
	require.True(t, tr.CutOff())
	turns(two, 1, false)
	require.False(t, tr.CutOff(), "nobody was here to read an answer")
}
