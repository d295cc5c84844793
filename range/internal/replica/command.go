package replica

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/kv"
)

// command is the payload of a log entry.
//
//	01 | flags | id 8 | [closed 12] [gc 12] [max write 12] [5 stats, zigzag varints]
//	   | [descriptor: length, bytes] [split or merge: length, right descriptor, 5 stats, zigzag varints] [kind 1] | batch
//
// A kind says that the rest is no batch: 1 is a hand-over (see handover.go), 2 to 5 are of a merge (see merge.go), 6 turns the outcomes of commits over.
// The batch is the rest. A configuration change carries the same payload as its context.
type command struct {
	// id lets the proposer find its proposal again. It is unique among all proposals of the range, for ever.
	id       uint64
	closed   hlc.Timestamp
	gc       hlc.Timestamp
	maxWrite hlc.Timestamp
	stats    kv.Stats
	// desc is the range's new descriptor, one generation on.
	desc *kv.RangeDescriptor
	// right is the descriptor of the new range to the right, in a split; rightStats its share.
	right      *kv.RangeDescriptor
	rightStats kv.Stats
	// checksum asks every replica for a checksum of the state after this entry.
	checksum bool
	// handOver: the batch is a hand-over, the last that the leader of a term says.
	handOver bool
	// freeze, thaw and merge: see merge.go. of is the merge in question; a thaw needs none.
	freeze, thaw, merge bool
	// confirm asks every replica to say that it has applied this entry, and has it on disk. So does a freeze.
	confirm bool
	// turn turns the outcomes of commits over (mvcc.Outcomes.Turn).
	turn  hlc.Timestamp
	of    *mvcc.Freeze
	batch []byte
}

const (
	commandVersion = 1

	cmdClosed = 1 << iota >> 1
	cmdGC
	cmdMaxWrite
	cmdStats
	cmdDesc
	cmdSplit
	cmdChecksum
	cmdKind // the last bit: what comes later is a kind
)

const (
	kindHandOver = 1
	kindFreeze   = 2 // the rest is an mvcc.Freeze
	kindThaw     = 3 // nothing else
	kindMerge    = 4 // the rest is the mvcc.Freeze of the right side
	kindConfirm  = 5 // nothing else
	kindTurn     = 6 // the rest is a timestamp
)

var errCommand = errors.New("replica: corrupt command")

func (c *command) append(dst []byte) []byte {
	var flags byte
	if !c.closed.IsEmpty() {
		flags |= cmdClosed
	}
	if !c.gc.IsEmpty() {
		flags |= cmdGC
	}
	if !c.maxWrite.IsEmpty() {
		flags |= cmdMaxWrite
	}
	if c.stats != (kv.Stats{}) {
		flags |= cmdStats
	}
	if c.desc != nil {
		flags |= cmdDesc
	}
	if c.right != nil {
		flags |= cmdSplit
	}
	if c.checksum {
		flags |= cmdChecksum
	}
	if c.handOver || c.freeze || c.thaw || c.merge || c.confirm || !c.turn.IsEmpty() {
		flags |= cmdKind
	}
	dst = append(dst, commandVersion, flags)
	dst = binary.BigEndian.AppendUint64(dst, c.id)
	for _, t := range [3]hlc.Timestamp{c.closed, c.gc, c.maxWrite} {
		if !t.IsEmpty() {
			dst = t.Append(dst)
		}
	}
	if flags&cmdStats != 0 {
		dst = appendStats(dst, &c.stats)
	}
	if c.desc != nil {
		dst = appendDesc(dst, c.desc)
	}
	if c.right != nil {
		dst = appendStats(appendDesc(dst, c.right), &c.rightStats)
	}
	switch {
	case c.handOver:
		dst = append(dst, kindHandOver)
	case c.freeze:
		dst = c.of.Append(append(dst, kindFreeze))
	case c.thaw:
		dst = append(dst, kindThaw)
	case c.confirm:
		dst = append(dst, kindConfirm)
	case c.merge:
		dst = c.of.Append(append(dst, kindMerge))
	case !c.turn.IsEmpty():
		dst = c.turn.Append(append(dst, kindTurn))
	}
	return append(dst, c.batch...)
}

// decode reads what append wrote; the batch aliases b.
func (c *command) decode(b []byte) error {
	*c = command{}
	if len(b) < 10 {
		return errCommand
	}
	if b[0] != commandVersion {
		return fmt.Errorf("replica: command version %d is not supported", b[0])
	}
	flags := b[1]
	c.id = binary.BigEndian.Uint64(b[2:])
	b = b[10:]
	var err error
	for i, t := range [3]*hlc.Timestamp{&c.closed, &c.gc, &c.maxWrite} {
		if flags&(cmdClosed<<i) != 0 {
			if *t, b, err = hlc.Decode(b); err != nil {
				return errCommand
			}
		}
	}
	if flags&cmdStats != 0 {
		if b, err = decodeStats(b, &c.stats); err != nil {
			return err
		}
	}
	if flags&cmdDesc != 0 {
		if c.desc, b, err = decodeDesc(b); err != nil {
			return err
		}
	}
	if flags&cmdSplit != 0 {
		if c.right, b, err = decodeDesc(b); err != nil {
			return err
		}
		if b, err = decodeStats(b, &c.rightStats); err != nil {
			return err
		}
		if c.desc == nil {
			return errCommand
		}
	}
	c.checksum = flags&cmdChecksum != 0
	if flags&cmdKind != 0 {
		if len(b) == 0 {
			return errCommand
		}
		turn := false
		switch b[0] {
		case kindHandOver:
			c.handOver = true
		case kindFreeze:
			c.freeze = true
		case kindThaw:
			c.thaw = true
		case kindMerge:
			c.merge = true
		case kindConfirm:
			c.confirm = true
		case kindTurn:
			turn = true
		default:
			return fmt.Errorf("replica: command of a kind that is not known: %.20x", b)
		}
		b = b[1:]
		if (c.freeze || c.thaw || c.merge) && c.desc == nil || c.merge && c.right == nil {
			return errCommand
		}
		if turn {
			if c.turn, b, err = hlc.Decode(b); err != nil || len(b) > 0 || c.turn.IsEmpty() {
				return errCommand
			}
		}
		if c.freeze || c.merge {
			if c.of, err = mvcc.DecodeFreeze(b); err != nil {
				return err
			}
			b = nil
		}
	}
	c.batch = b
	return nil
}

func appendStats(dst []byte, s *kv.Stats) []byte {
	for _, v := range [5]int64{s.LiveRows, s.LiveBytes, s.Versions, s.Bytes, s.Locks} {
		dst = binary.AppendVarint(dst, v)
	}
	return dst
}

func decodeStats(b []byte, s *kv.Stats) ([]byte, error) {
	for _, v := range [5]*int64{&s.LiveRows, &s.LiveBytes, &s.Versions, &s.Bytes, &s.Locks} {
		x, n := binary.Varint(b)
		if n <= 0 {
			return nil, errCommand
		}
		*v, b = x, b[n:]
	}
	return b, nil
}

func appendDesc(dst []byte, d *kv.RangeDescriptor) []byte {
	w := d.AppendWire(nil)
	dst = binary.AppendUvarint(dst, uint64(len(w)))
	return append(dst, w...)
}

func decodeDesc(b []byte) (*kv.RangeDescriptor, []byte, error) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return nil, nil, errCommand
	}
	d, err := kv.DecodeDescriptor(b[w : w+int(n)])
	return d, b[w+int(n):], err
}
