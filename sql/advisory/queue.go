package advisory

import (
	"encoding/binary"
	"slices"

	"github.com/pamirdb/pamir/sql/pgerr"
)

// The queue of one lock, as a pure state machine. A row holds it.

// Modes of an entry: what its session holds (it may hold both), and the one that it waits for.
const (
	holdsShared = 1 << iota
	holdsExclusive
	waitsShared
	waitsExclusive

	holds      = holdsShared | holdsExclusive
	waits      = waitsShared | waitsExclusive
	waitShift  = 2
	knownModes = holds | waits
)

// owner is a session: of a process (incarnation) of a node.
type owner struct {
	node        int32
	incarnation int64
	pid         int32
}

type entry struct {
	owner
	modes byte
}

// wants is the mode that the entry waits for, as the mode that it would hold; 0 if it waits for none.
func (e entry) wants() byte { return e.modes & waits >> waitShift }

// conflict reports whether one session may not have modes a while another has modes b.
func conflict(a, b byte) bool {
	return a != 0 && b != 0 && (a|b)&holdsExclusive != 0
}

// queue is all who hold a lock or wait for it. Who waits is in the order of the entries.
type queue []entry

func (q queue) find(o owner) int {
	return slices.IndexFunc(q, func(e entry) bool { return e.owner == o })
}

// held reports whether a session other than o holds what conflicts with mode.
func (q queue) held(o owner, mode byte) bool {
	return slices.ContainsFunc(q, func(e entry) bool { return e.owner != o && conflict(e.modes&holds, mode) })
}

// ask gives mode to o, which holds held so far, or has it wait: at the end, but in front of the first whom it keeps waiting by what it
// holds, since that one cannot come before it. It is given at once unless others hold or were promised what conflicts. With try it does not wait.
func (q queue) ask(o owner, held, mode byte, try bool) (next queue, granted bool) {
	next = slices.Clone(q)
	at := len(next)
	if i := next.find(o); i >= 0 {
		switch modes := next[i].modes; {
		case modes == held|mode<<waitShift:
			return next, false // it waits already
		case modes&mode != 0:
			next[i].modes = held | mode // it has been given it
			return next, true
		}
		next = slices.Delete(next, i, i+1)
		at--
	}
	for i, e := range next {
		if conflict(e.wants(), held) {
			at = i
			break
		}
	}
	granted = !next.held(o, mode)
	for _, e := range next[:at] {
		granted = granted && !conflict(e.wants(), mode)
	}
	me := entry{o, held | mode<<waitShift}
	switch {
	case granted:
		me.modes = held | mode
	case try:
		me.modes = held
	}
	if me.modes != 0 {
		next = slices.Insert(next, at, me)
	}
	return next, granted
}

// set makes o hold these modes, fewer than before, and wait for none.
func (q queue) set(o owner, held byte) queue {
	next := slices.Clone(q)
	if i := next.find(o); i < 0 {
		return next
	} else if held == 0 {
		return slices.Delete(next, i, i+1)
	} else {
		next[i].modes = held
	}
	return next
}

// promote gives the lock to those whose turn it is: each who waits and conflicts neither with a holder nor with one who waits before it.
func (q queue) promote() (granted []owner) {
	ahead := byte(0)
	for i := range q {
		e := &q[i]
		switch w := e.wants(); {
		case w == 0:
		case conflict(w, ahead) || q.held(e.owner, w):
			ahead |= w
		default:
			e.modes = e.modes&holds | w
			granted = append(granted, e.owner)
		}
	}
	return granted
}

// jump gives the lock to o past those who wait before it, if no holder is in its way.
func (q queue) jump(o owner) bool {
	i := q.find(o)
	if i < 0 || q[i].wants() == 0 || q.held(o, q[i].wants()) {
		return false
	}
	q[i].modes = q[i].modes&holds | q[i].wants()
	return true
}

// blockers are the sessions that an entry waits for: holders (hard), and those who wait before it.
func (q queue) blockers(i int) (hard, soft []int32) {
	me := q[i]
	for j, e := range q {
		switch {
		case e.owner == me.owner:
		case conflict(e.modes&holds, me.wants()):
			hard = append(hard, e.pid)
		case j < i && conflict(e.wants(), me.wants()):
			soft = append(soft, e.pid)
		}
	}
	return hard, soft
}

const entrySize = 4 + 8 + 4 + 1

// encode is the row's value.
func (q queue) encode() []byte {
	b := make([]byte, 0, len(q)*entrySize)
	for _, e := range q {
		b = binary.BigEndian.AppendUint32(b, uint32(e.node))
		b = binary.BigEndian.AppendUint64(b, uint64(e.incarnation))
		b = binary.BigEndian.AppendUint32(b, uint32(e.pid))
		b = append(b, e.modes)
	}
	return b
}

func decode(b []byte) (queue, error) {
	if len(b)%entrySize != 0 {
		return nil, errCorrupt
	}
	q := make(queue, 0, len(b)/entrySize)
	for ; len(b) > 0; b = b[entrySize:] {
		e := entry{owner{int32(binary.BigEndian.Uint32(b)), int64(binary.BigEndian.Uint64(b[4:])), int32(binary.BigEndian.Uint32(b[12:]))}, b[16]}
		if e.modes == 0 || e.modes&^knownModes != 0 {
			return nil, errCorrupt
		}
		q = append(q, e)
	}
	return q, nil
}

var errCorrupt = pgerr.New(pgerr.DataCorrupted, "the record of an advisory lock is corrupt")
