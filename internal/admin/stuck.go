package admin

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pamirdb/pamir/range/kv"
)

// stuck says which ranges nobody can lead, and what can be done: those that are lost, if something has rows there, and those whose majority does not answer.
func stuck(ranges []RangeView, stores []StoreView) (out []string) {
	alive := map[kv.NodeID]bool{}
	for _, x := range stores {
		alive[x.NodeID] = x.Alive || x.Unknown
	}
	var lost, silent []*RangeView
	var wanted []kv.NodeID
	for i := range ranges {
		switch r := &ranges[i]; r.State {
		case "lost":
			if !r.Unused {
				lost = append(lost, r)
			}
		case "leaderless":
			if down, voters := r.silentVoters(alive); 2*len(down) >= voters {
				silent = append(silent, r)
				wanted = append(wanted, down...)
			}
		}
	}
	if len(lost) > 0 {
		out = append(out, fmt.Sprintf("no replica is left of %s: drop what has rows there, and restore it; or stop all nodes and plan a recovery with --make-empty (pamir debug recover)", named(lost)))
	}
	if len(silent) > 0 {
		slices.Sort(wanted)
		var nodes []string
		for _, id := range slices.Compact(wanted) {
			nodes = append(nodes, fmt.Sprintf("n%d", id))
		}
		out = append(out, fmt.Sprintf("nobody can lead %s: most of the voters are on nodes that do not answer (%s): start them again, or, if they are lost for good, see pamir debug recover",
			named(silent), strings.Join(nodes, ", ")))
	}
	return out
}

// silentVoters returns where voters of the range are that do not answer, and how many voters there are.
func (r *RangeView) silentVoters(alive map[kv.NodeID]bool) (down []kv.NodeID, voters int) {
	for _, p := range r.Replicas {
		if p.Type != kv.Voter.String() && p.Type != kv.VoterIncoming.String() {
			continue
		}
		if voters++; !alive[p.NodeID] {
			down = append(down, p.NodeID)
		}
	}
	return down, voters
}

// named lists ranges, and the tables that have rows in them.
func named(ranges []*RangeView) string {
	const most = 8
	var ids, tables []string
	for _, r := range ranges {
		ids = append(ids, fmt.Sprintf("r%d", r.ID))
		for _, t := range r.Tables {
			if !slices.Contains(tables, t) {
				tables = append(tables, t)
			}
		}
	}
	short := func(names []string) string {
		if n := len(names); n > most {
			return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), n-most)
		}
		return strings.Join(names, ", ")
	}
	text := short(ids)
	if len(tables) > 0 {
		text += " (" + short(tables) + ")"
	}
	return text
}
