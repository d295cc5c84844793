package transport

import (
	"encoding/binary"
	"time"

	"github.com/pamirdb/pamir/range/kv"
)

const (
	// suspectAnswer is how long a node that is suspected has for an answer. This process may only just have got the processor back, with everything
	// that it was told waiting to be read.
	suspectAnswer = 200 * time.Millisecond
	// suspectAwake is how long it has if that is not so: this process has pinged in time, and read nothing, suspectTurns times in a row.
	suspectAwake = 20 * time.Millisecond
	suspectTurns = 2
	// suspectPings is for how many pings a node must have been silent to be suspected.
	suspectPings = 2
)

// Suspect is told by somebody who should hear from a node that it has been silent for too long. If it has answered no pings lately either, it gets
// one more, and a moment; then it is taken for gone until it answers: requests that wait for it end, and there are no new ones. A node that does not
// hear, and is heard, is found out so before the peer timeout.
func (t *Transport) Suspect(id kv.NodeID) {
	p := t.peer(id)
	if p == nil || p.silence() < suspectPings*t.cfg.PingInterval || !p.alive() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done || !p.doubting.CompareAndSwap(false, true) {
		return
	}
	t.wg.Add(1)
	go func() {
		defer t.wg.Done()
		defer p.doubting.Store(false)
		p.doubt()
	}()
}

// doubt gives the peer its last chance.
func (p *peer) doubt() {
	last := p.lastPong.Load()
	p.ping()
	patience := suspectAnswer
	if p.turns.Load() >= suspectTurns {
		patience = suspectAwake
	}
	timer := time.NewTimer(patience + time.Duration(2*p.distance.Load()))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.ctx.Done():
		return
	}
	if p.lastPong.Load() != last {
		return
	}
	p.suspected.Store(last)
	p.t.cfg.Metrics.suspected.Inc()
	p.t.cfg.Log.Warn("peer is silent, and a store there has lost its support: nothing is asked of it until it answers", "node", p.id, "silent_for", p.silence().Round(time.Millisecond))
	p.batch.breakStream()
}

// turn counts, for a pinger that comes in time, how often in a row it has found no answer since it was here last.
func (p *peer) turn(inTime bool, now int64) {
	last := p.lastPong.Load()
	if !inTime || last != p.turnPong.Load() {
		p.turns.Store(0)
	} else {
		p.turns.Add(1)
	}
	missed := p.unanswered(now)
	p.turnAt.Store(now) // in this order: who reads in between finds less silence than there is, and never more
	p.missed.Store(int64(missed))
	p.turnPong.Store(last)
}

// unanswered is for how long the peer has answered no ping while this process was here to hear it: of the time between two turns of the pinger
// no more counts than there should be. Who gets the processor back after seconds has not read yet what was answered meanwhile.
func (p *peer) unanswered(now int64) time.Duration {
	most := p.t.cfg.PingInterval * 3 / 2
	last := p.lastPong.Load()
	if last != p.turnPong.Load() {
		return min(time.Duration(now-last), most)
	}
	return time.Duration(p.missed.Load()) + min(time.Duration(now-max(p.turnAt.Load(), p.made)), most)
}

// CutOff reports whether there are other nodes and none of them has answered a ping for Config.CutOffAfter, though this process has been here all
// the time to hear it.
func (t *Transport) CutOff() bool {
	peers := *t.ptr.Load()
	for _, p := range peers {
		if time.Duration(p.turns.Load())*t.cfg.PingInterval < t.cfg.CutOffAfter {
			return false
		}
	}
	return len(peers) > 0
}

func (p *peer) ping() {
	now := monotonic()
	p.lastPing.Store(now)
	var ping [9]byte
	ping[0] = controlPing
	binary.BigEndian.PutUint64(ping[1:], uint64(now))
	p.control.send(ping[:])
}

// pingDue reports whether the last ping was so long ago that the next may go with something else, or has to go alone. Heartbeats come more often
// than pings have to: as long as there are any, a ping costs no message of its own.
func (p *peer) pingDue() bool {
	return monotonic()-p.lastPing.Load() >= int64(p.t.cfg.PingInterval)*3/4
}
