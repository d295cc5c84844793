package checkers

import (
	"maps"
	"slices"

	"github.com/pamirdb/pamir/hlc"
)

// Version is what a key was from TS on, until the next one.
type Version struct {
	TS    hlc.Timestamp
	Value string
}

// TimedTxn is a transaction with what it read and wrote, by key. A value is not empty; "" is a key that is not there.
type TimedTxn struct {
	Span
	// At is when it committed; when it read, if it wrote nothing. Empty unless it is OK.
	At hlc.Timestamp
	// Reads are what it read before it wrote the key itself, and so are the rows of scans.
	Reads  []TimedRead
	Scans  []TimedScan
	Writes map[string]string
}

// TimedRead is a read of one key.
type TimedRead struct{ Key, Value string }

// TimedScan is a read of all keys in [From, To) but those that the transaction had written itself.
type TimedScan struct {
	From, To string
	Rows     map[string]string
	Except   map[string]string
}

// CheckTimeline holds transactions against the versions that the store has afterwards, ascending by key. Committing at one timestamp
// is to be the same as running alone at that moment: all that a transaction read must have been so just then, all that
// it wrote must be there from then on, and nothing must be there that no transaction wrote. The versions are complete from the given timestamp on;
// what was before is not judged.
//
// This is stricter than looking for cycles: an order that some other assignment of timestamps explains is refused as well.
func CheckTimeline(versions map[string][]Version, from hlc.Timestamp, txns []TimedTxn) (r Report) {
	sorted := slices.Sorted(maps.Keys(versions))
	type place struct {
		key string
		ts  hlc.Timestamp
	}
	writer := map[place]int{}
	unknown := map[[2]string]int{}
	for i, t := range txns {
		for k, v := range t.Writes {
			switch t.Outcome {
			case OK:
				writer[place{k, t.At}] = i
			case Unknown:
				unknown[[2]string{k, v}] = i
			}
		}
	}
	// Whatever is there, somebody wrote.
	landed := map[int]map[string]hlc.Timestamp{}
	for _, k := range sorted {
		for _, v := range versions[k] {
			if v.TS.LessEq(from) {
				continue
			}
			if i, ok := writer[place{k, v.TS}]; ok {
				if want := txns[i].Writes[k]; want != v.Value {
					r.add(Unexpected, []int{i}, "%s is %.80q from %v on; the transaction that committed then wrote %.80q (%s)", k, v.Value, v.TS, want, txns[i].Span)
				}
			} else if i, ok := unknown[[2]string{k, v.Value}]; ok {
				if landed[i] == nil {
					landed[i] = map[string]hlc.Timestamp{}
				}
				if was, ok := landed[i][k]; ok {
					r.add(Duplicate, []int{i}, "%s is %.80q from %v on, and again from %v on (%s)", k, v.Value, was, v.TS, txns[i].Span)
				}
				landed[i][k] = v.TS
			} else {
				r.add(Unexpected, nil, "%s is %.80q from %v on, and nobody has committed that", k, v.Value, v.TS)
			}
		}
	}
	for i, t := range txns {
		r.Checked++
		switch {
		case t.Outcome == Unknown:
			checkLanded(&r, i, t, landed[i])
		case t.Outcome == OK && from.Less(t.At):
			checkTimed(&r, i, t, versions, sorted)
		}
	}
	return r
}

// checkLanded: what nobody was told about is there as a whole, or not at all.
func checkLanded(r *Report, i int, t TimedTxn, landed map[string]hlc.Timestamp) {
	if len(landed) == 0 {
		return
	}
	var at hlc.Timestamp
	for _, k := range slices.Sorted(maps.Keys(t.Writes)) {
		ts, ok := landed[k]
		switch {
		case !ok:
			r.add(Torn, []int{i}, "%s was not written, and others of its transaction's keys were (%s)", k, t.Span)
		case at.IsEmpty():
			at = ts
		case at != ts:
			r.add(Torn, []int{i}, "%s was written at %v, and others of its transaction's keys at %v (%s)", k, ts, at, t.Span)
		}
	}
}

func checkTimed(r *Report, i int, t TimedTxn, versions map[string][]Version, sorted []string) {
	for _, k := range slices.Sorted(maps.Keys(t.Writes)) {
		vs := versions[k]
		if n, ok := slices.BinarySearchFunc(vs, t.At, func(v Version, ts hlc.Timestamp) int { return v.TS.Compare(ts) }); !ok || vs[n].Value != t.Writes[k] {
			r.add(Lost, []int{i}, "%s was written at %v, and there is nothing of that (%s)", k, t.At, t.Span)
		}
	}
	judge := func(k, got string) {
		// Two transactions that commit at the same timestamp, of which one reads what the other writes, may be in either order.
		with, without := asOf(versions[k], t.At), asOf(versions[k], t.At.Prev())
		if _, own := t.Writes[k]; own {
			with = without
		}
		if got != with && got != without {
			r.add(NotAsOf, []int{i}, "%s was read as %.80q by a transaction at %v; it was %.80q then (%s)", k, got, t.At, with, t.Span)
		}
	}
	for _, x := range t.Reads {
		judge(x.Key, x.Value)
	}
	for _, s := range t.Scans {
		n, _ := slices.BinarySearch(sorted, s.From)
		for ; n < len(sorted) && sorted[n] < s.To; n++ {
			if _, own := s.Except[sorted[n]]; !own {
				judge(sorted[n], s.Rows[sorted[n]])
			}
		}
		for _, k := range slices.Sorted(maps.Keys(s.Rows)) {
			if _, ok := versions[k]; !ok {
				r.add(Unexpected, []int{i}, "%s was read as %.80q, and has never been there (%s)", k, s.Rows[k], t.Span)
			}
		}
	}
}

// asOf returns what a key was at ts.
func asOf(vs []Version, ts hlc.Timestamp) string {
	n, ok := slices.BinarySearchFunc(vs, ts, func(v Version, ts hlc.Timestamp) int { return v.TS.Compare(ts) })
	if !ok {
		n--
	}
	if n < 0 {
		return ""
	}
	return vs[n].Value
}
