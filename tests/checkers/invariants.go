package checkers

import (
	"fmt"
	"maps"
	"slices"
	"sort"
)

// BankRead is a read of all accounts.
type BankRead struct {
	Span
	Balances []int64
}

// CheckBank says whether every read adds up.
func CheckBank(h []BankRead, total int64) Report {
	r := Report{Checked: len(h)}
	for i, b := range h {
		if b.Outcome != OK {
			continue
		}
		sum := int64(0)
		for _, x := range b.Balances {
			sum += x
		}
		if sum != total {
			r.add(WrongTotal, []int{i}, "%d instead of %d in %v (%s)", sum, total, b.Balances, b.Span)
		}
	}
	return r
}

// SetAdd adds an element that nobody else adds.
type SetAdd struct {
	Span
	Value int64
}

// SetRead is a read of the whole set.
type SetRead struct {
	Span
	Values []int64
}

// CheckSet says whether every read holds what was acknowledged before it began, nothing that failed, nothing twice.
func CheckSet(adds []SetAdd, reads []SetRead) Report {
	r := Report{Checked: len(adds) + len(reads)}
	by := map[int64]int{}
	for i, a := range adds {
		by[a.Value] = i
	}
	last := -1
	for i, x := range reads {
		if x.Outcome == OK && (last < 0 || x.Invoke > reads[last].Invoke) {
			last = i
		}
	}
	for i, x := range reads {
		if x.Outcome != OK {
			continue
		}
		there := map[int64]bool{}
		for _, v := range x.Values {
			if there[v] {
				r.add(Duplicate, []int{i}, "%d was read twice (%s)", v, x.Span)
			}
			there[v] = true
			a, ok := by[v]
			if !ok {
				r.add(Unexpected, []int{i}, "%d was read and never added (%s)", v, x.Span)
			} else if adds[a].Outcome == Failed {
				r.add(G1a, []int{a, i}, "%d was read; its add had failed (%s)", v, adds[a].Span)
			}
		}
		for a, add := range adds {
			if add.Outcome == OK && add.end() < x.Invoke && !there[add.Value] {
				k := StaleRead
				if i == last {
					k = Lost
				}
				r.add(k, []int{a, i}, "%d was added (%s) and is not in a read (%s)", add.Value, add.Span, x.Span)
			}
		}
	}
	return r
}

// Load is a transaction that adds elements that nobody else adds.
type Load struct {
	Span
	Values []int64
}

// CheckLoads says whether every read holds all of a load or nothing of it, and besides what CheckSet asks for. Of reads of the past only that.
func CheckLoads(loads []Load, reads, past []SetRead) Report {
	var adds []SetAdd
	by := map[int64]int{}
	for i, l := range loads {
		for _, v := range l.Values {
			adds = append(adds, SetAdd{l.Span, v})
			by[v] = i
		}
	}
	r := CheckSet(adds, reads)
	r.Checked = len(loads) + len(reads) + len(past)
	for i, x := range slices.Concat(reads, past) {
		if x.Outcome != OK {
			continue
		}
		there := map[int]int{}
		for _, v := range x.Values {
			if l, ok := by[v]; ok {
				there[l]++
			} else if i >= len(reads) {
				r.add(Unexpected, []int{i}, "%d was read and never added (%s)", v, x.Span)
			}
		}
		for _, l := range slices.Sorted(maps.Keys(there)) {
			if n := there[l]; n != len(loads[l].Values) {
				r.add(Torn, []int{l, i}, "%d of the %d elements that a load added (%s) are in a read (%s)", n, len(loads[l].Values), loads[l].Span, x.Span)
			}
		}
	}
	return r
}

// CounterOp saw a counter that only grows at a value: it read it, or made it so.
type CounterOp struct {
	Span
	Value int64
	Wrote bool
}

// CheckMonotonic says whether the counter ever went back: no operation sees less than one that had completed before it began, and no value is
// made twice.
func CheckMonotonic(h []CounterOp) Report {
	r := Report{Checked: len(h)}
	made := map[int64]int{}
	var begins, ends []int
	for i, o := range h {
		if o.Outcome != OK {
			continue
		}
		if o.Wrote {
			if first, twice := made[o.Value]; twice {
				r.add(Duplicate, []int{first, i}, "the counter became %d twice: %s; %s", o.Value, h[first].Span, o.Span)
			}
			made[o.Value] = i
		}
		begins = append(begins, i)
		if o.end() != Never {
			ends = append(ends, i)
		}
	}
	sort.Slice(begins, func(a, b int) bool { return h[begins[a]].Invoke < h[begins[b]].Invoke })
	sort.Slice(ends, func(a, b int) bool { return h[ends[a]].end() < h[ends[b]].end() })
	most, e := -1, 0
	for _, i := range begins {
		for ; e < len(ends) && h[ends[e]].end() < h[i].Invoke; e++ {
			if most < 0 || h[ends[e]].Value > h[most].Value {
				most = ends[e]
			}
		}
		if most >= 0 && h[i].Value < h[most].Value {
			r.add(Shrunk, []int{most, i}, "%d (%s), after %d (%s)", h[i].Value, h[i].Span, h[most].Value, h[most].Span)
		}
	}
	return r
}

// ForkWrite inserts a key that nobody else inserts.
type ForkWrite struct {
	Span
	Key int64
}

// ForkRead looks for keys.
type ForkRead struct {
	Span
	Keys  []int64
	There []bool
}

// CheckLongFork says whether the reads of the same keys can be put in one order.
func CheckLongFork(h []ForkRead) Report {
	r := Report{Checked: len(h)}
	groups := map[string][]int{}
	for i, x := range h {
		if x.Outcome == OK {
			groups[fmt.Sprint(x.Keys)] = append(groups[fmt.Sprint(x.Keys)], i)
		}
	}
	for _, g := range groups {
		// One example of each set of keys seen; few are different.
		distinct := map[string]int{}
		for _, i := range g {
			distinct[fmt.Sprint(h[i].There)] = i
		}
		var ds []int
		for _, i := range distinct {
			ds = append(ds, i)
		}
		sort.Ints(ds)
		for a, x := range ds {
			for _, y := range ds[a+1:] {
				more, less := int64(-1), int64(-1)
				for k := range h[x].There {
					if h[x].There[k] && !h[y].There[k] {
						more = h[x].Keys[k]
					}
					if !h[x].There[k] && h[y].There[k] {
						less = h[x].Keys[k]
					}
				}
				if more >= 0 && less >= 0 {
					r.add(LongFork, []int{x, y}, "one reader saw %d and not yet %d (%s), another %d and not yet %d (%s)", more, less, h[x].Span, less, more, h[y].Span)
				}
			}
		}
	}
	return r
}

// CheckCausalReverse says whether a reader that saw a write saw every write among the keys that was acknowledged before
// that one began.
func CheckCausalReverse(writes []ForkWrite, reads []ForkRead) Report {
	r := Report{Checked: len(reads)}
	by := map[int64]int{}
	for i, w := range writes {
		by[w.Key] = i
	}
	for i, x := range reads {
		if x.Outcome != OK {
			continue
		}
		missing := -1 // the write acknowledged first of those that are not there
		for k, key := range x.Keys {
			if w, ok := by[key]; ok && !x.There[k] && writes[w].Outcome == OK && (missing < 0 || writes[w].end() < writes[missing].end()) {
				missing = w
			}
		}
		if missing < 0 {
			continue
		}
		for k, key := range x.Keys {
			if w, ok := by[key]; ok && x.There[k] && writes[missing].end() < writes[w].Invoke {
				r.add(CausalReverse, []int{missing, w, i}, "a reader (%s) saw %d (%s) and not %d, which was acknowledged before (%s)",
					x.Span, key, writes[w].Span, writes[missing].Key, writes[missing].Span)
				break
			}
		}
	}
	return r
}

// SkewRead is a read of both rows of a pair of which at most one may be taken.
type SkewRead struct {
	Span
	Pair  int64
	A, B  bool // taken
	Wrote bool // it went on to take one, having seen neither taken
}

// CheckWriteSkew says whether any reader saw both rows of a pair taken.
func CheckWriteSkew(h []SkewRead) Report {
	r := Report{Checked: len(h)}
	for i, x := range h {
		if x.Outcome == OK && x.A && x.B {
			r.add(WriteSkew, []int{i}, "both rows of pair %d are taken (%s)", x.Pair, x.Span)
		}
	}
	return r
}
