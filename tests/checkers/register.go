package checkers

import (
	"fmt"
	"math"
	"time"

	"github.com/anishathalye/porcupine"
)

// RegisterKind is what a RegisterOp does.
type RegisterKind uint8

const (
	RegisterRead RegisterKind = iota
	RegisterWrite
	RegisterCAS // writes New if Old is there
)

// RegisterOp is an operation on one key. A key that was never written holds 0.
type RegisterOp struct {
	Span
	Key  int64
	Kind RegisterKind
	Old  int64 // compare-and-set
	New  int64 // write, compare-and-set
	Got  int64 // read
	Did  bool  // compare-and-set: it was Old
}

var registerModel = porcupine.Model{
	Partition: func(h []porcupine.Operation) [][]porcupine.Operation {
		by := map[int64][]porcupine.Operation{}
		var keys []int64
		for _, o := range h {
			k := o.Input.(RegisterOp).Key
			if by[k] == nil {
				keys = append(keys, k)
			}
			by[k] = append(by[k], o)
		}
		out := make([][]porcupine.Operation, 0, len(keys))
		for _, k := range keys {
			out = append(out, by[k])
		}
		return out
	},
	Init: func() any { return int64(0) },
	Step: func(state, input, output any) (bool, any) {
		v, o := state.(int64), input.(RegisterOp)
		switch o.Kind {
		case RegisterRead:
			return o.Got == v, v
		case RegisterWrite:
			return true, o.New
		}
		if o.Outcome == Unknown { // whether it did is unknown as well
			if v == o.Old {
				return true, o.New
			}
			return true, v
		}
		if o.Did {
			return v == o.Old, o.New
		}
		return v != o.Old, v
	},
	DescribeOperation: func(input, _ any) string { return input.(RegisterOp).String() },
}

func (o RegisterOp) String() string {
	switch o.Kind {
	case RegisterRead:
		return fmt.Sprintf("read(%d) = %d", o.Key, o.Got)
	case RegisterWrite:
		return fmt.Sprintf("write(%d, %d)", o.Key, o.New)
	default:
		return fmt.Sprintf("cas(%d, %d → %d) = %v", o.Key, o.Old, o.New, o.Did)
	}
}

// CheckRegisters says whether each register is linearizable. The search is exponential at worst, so it is bounded: an
// error says that it did not end.
func CheckRegisters(h []RegisterOp, limit time.Duration) (Report, error) {
	r := Report{Checked: len(h)}
	var ops []porcupine.Operation
	for _, o := range h {
		if o.Outcome == Failed || o.Outcome == Unknown && o.Kind == RegisterRead {
			continue
		}
		// What had no answer may take effect at any time up to the end.
		ret := int64(math.MaxInt64)
		if e := o.end(); e != Never {
			ret = e
		}
		ops = append(ops, porcupine.Operation{ClientId: o.Process, Input: o, Output: o, Call: o.Invoke, Return: ret})
	}
	for _, part := range registerModel.Partition(ops) {
		one := registerModel
		one.Partition = nil
		switch porcupine.CheckOperationsTimeout(one, part, limit) {
		case porcupine.Ok:
		case porcupine.Unknown:
			return r, fmt.Errorf("checkers: no verdict on register %d within %s", part[0].Input.(RegisterOp).Key, limit)
		default:
			text := fmt.Sprintf("register %d", part[0].Input.(RegisterOp).Key)
			for i, o := range part {
				if i == 40 {
					text += fmt.Sprintf("\n    ... %d more", len(part)-i)
					break
				}
				op := o.Input.(RegisterOp)
				text += fmt.Sprintf("\n    %s: %s", op.Span, op)
			}
			r.add(NotLinearizable, nil, "%s", text)
		}
	}
	return r, nil
}
