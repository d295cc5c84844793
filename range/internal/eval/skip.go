package eval

import (
	"slices"

	"github.com/pamirdb/pamir/range/kv"
)

// maxToAsk bounds whom one evaluation has asked after.
const maxToAsk = 32

// leftOut notes whom to ask before a row is left out because he has locked it.
func (e *evaluation) leftOut(holder *kv.TxnMeta) {
	if !e.env.AskFirst || holder == nil || holder.ID.IsZero() || len(e.toAsk) == maxToAsk {
		return
	}
	if _, ok := e.env.Undecided[holder.ID]; ok {
		return
	}
	if !slices.ContainsFunc(e.toAsk, func(m kv.TxnMeta) bool { return m.ID == holder.ID }) {
		e.toAsk = append(e.toAsk, *holder)
	}
}
