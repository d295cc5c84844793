package kv

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/pamirdb/pamir/range/keys"
)

// TestEachSpanIsWhole: a request's every field that holds keys is visited, those of requests added later, too. What is
// not meant to be says so here.
func TestEachSpanIsWhole(t *testing.T) {
	not := map[string]string{
		"*kv.StageTxn.Prepared": "in other ranges",
		"*kv.EndTxn.Prepared":   "in other ranges",
		"*kv.EndTxn.Spans":      "in other ranges",
		"*kv.GC.From":           "the range is named by RangeID",
		"*kv.AdminMerge.At":     "in the right neighbour",
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, q := range allRequests {
		q := reflect.New(reflect.TypeOf(q).Elem())
		for n := 0; n < 20; n++ {
			fill(t, rng, q.Elem())
			seen := map[string]bool{}
			b := &BatchRequest{Requests: []Request{q.Interface().(Request)}}
			if !b.EachSpan(func(s keys.Span) bool { seen[string(s.Start)] = true; return true }) {
				t.Fatal("EachSpan says that f returned false")
			}
			for i := range q.Elem().NumField() {
				name := fmt.Sprintf("%s.%s", q.Type(), q.Elem().Type().Field(i).Name)
				if _, ok := not[name]; ok || !q.Elem().Type().Field(i).IsExported() {
					continue
				}
				for _, k := range keysIn(q.Elem().Field(i)) {
					if !seen[string(k)] {
						t.Fatalf("%s: EachSpan does not visit %x", name, []byte(k))
					}
				}
			}
		}
	}
}

// keysIn returns the keys, and the starts of spans, in a field.
func keysIn(v reflect.Value) (out []keys.Key) {
	switch x := v.Interface().(type) {
	case keys.Key:
		return []keys.Key{x}
	case keys.Span:
		return []keys.Key{x.Start}
	case RecordRef:
		return []keys.Key{x.Anchor}
	case Write:
		return []keys.Key{x.Key}
	case ReadSpan:
		return []keys.Key{x.Span.Start}
	}
	if v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Uint8 {
		for i := range v.Len() {
			out = append(out, keysIn(v.Index(i))...)
		}
	}
	return out
}

// TestEachSpanStops: f is not called again once it has returned false.
func TestEachSpanStops(t *testing.T) {
	b := &BatchRequest{Requests: []Request{
		&Get{Key: keys.Key("a")}, &ResolveLocks{Keys: []keys.Key{keys.Key("b"), keys.Key("c")}},
		&Prepare{Writes: []Write{{Key: keys.Key("d")}}, Refreshes: []ReadSpan{{Span: keys.Span{Start: keys.Key("e")}}}},
	}}
	for stop := byte('a'); stop <= 'e'; stop++ {
		var last keys.Key
		ok := b.EachSpan(func(s keys.Span) bool {
			if last != nil && bytes.Compare(s.Start, last) <= 0 {
				t.Fatalf("%q after %q", s.Start, last)
			}
			last = s.Start
			return s.Start[0] < stop
		})
		if ok || last[0] != stop {
			t.Fatalf("to stop at %q: stopped at %q, %v", stop, last, ok)
		}
	}
}
