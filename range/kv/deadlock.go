package kv

import (
	"encoding/binary"

	"github.com/pamirdb/pamir/range/keys"
)

// Deadlock is one edge of a cycle: who waits at which key for whom.
type Deadlock struct {
	Waiter, Holder TxnID
	Key            keys.Key // empty if it is not known
}

// AppendDeadlock encodes a cycle for Error.Detail of CodeDeadlock.
func AppendDeadlock(dst []byte, cycle []Deadlock) []byte {
	for i := range cycle {
		e := &cycle[i]
		dst = append(dst, e.Waiter[:]...)
		dst = append(dst, e.Holder[:]...)
		dst = binary.AppendUvarint(dst, uint64(len(e.Key)))
		dst = append(dst, e.Key...)
	}
	return dst
}

// DecodeDeadlock reads what AppendDeadlock wrote; ok is false if b is something else.
func DecodeDeadlock(b []byte) (cycle []Deadlock, ok bool) {
	for len(b) > 0 {
		var e Deadlock
		if len(b) < 2*len(e.Waiter) {
			return nil, false
		}
		copy(e.Waiter[:], b)
		copy(e.Holder[:], b[len(e.Waiter):])
		b = b[2*len(e.Waiter):]
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w) {
			return nil, false
		}
		e.Key = keys.Key(b[w : w+int(n)]).Clone()
		b = b[w+int(n):]
		cycle = append(cycle, e)
	}
	return cycle, len(cycle) > 0
}
