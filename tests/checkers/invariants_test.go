package checkers

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func at(process int, invoke, complete int64) Span {
	return Span{Process: process, Invoke: invoke, Complete: complete}
}

func lost(process int, invoke int64) Span {
	return Span{Process: process, Invoke: invoke, Complete: Never, Outcome: Unknown}
}

func failed(s Span) Span { s.Outcome = Failed; return s }

func TestRegisters(t *testing.T) {
	write := func(s Span, v int64) RegisterOp { return RegisterOp{Span: s, Kind: RegisterWrite, New: v} }
	get := func(s Span, v int64) RegisterOp { return RegisterOp{Span: s, Got: v} }
	cas := func(s Span, a, b int64, did bool) RegisterOp {
		return RegisterOp{Span: s, Kind: RegisterCAS, Old: a, New: b, Did: did}
	}
	for _, c := range []struct {
		name string
		h    []RegisterOp
		bad  bool
	}{
		{"clean", []RegisterOp{write(at(0, 0, 1), 1), cas(at(1, 2, 3), 1, 2, true), get(at(0, 4, 5), 2), cas(at(1, 6, 7), 1, 3, false)}, false},
		{"stale", []RegisterOp{write(at(0, 0, 1), 1), get(at(1, 2, 3), 0)}, true},
		{"both of two swaps", []RegisterOp{cas(at(0, 0, 9), 0, 1, true), cas(at(1, 0, 9), 0, 2, true)}, true},
		{"an unknown write may be seen", []RegisterOp{write(lost(0, 0), 1), get(at(1, 2, 3), 1)}, false},
		{"or later", []RegisterOp{write(lost(0, 0), 1), get(at(1, 2, 3), 0), get(at(1, 4, 5), 1)}, false},
		{"but not come and go", []RegisterOp{write(lost(0, 0), 1), get(at(1, 2, 3), 1), get(at(1, 4, 5), 0)}, true},
		{"an unknown swap may be seen", []RegisterOp{cas(lost(0, 0), 0, 1, false), get(at(1, 2, 3), 1)}, false},
		{"a failed one may not", []RegisterOp{write(failed(at(0, 0, 1)), 1), get(at(1, 2, 3), 1)}, true},
		{"a swap that says no and should not", []RegisterOp{cas(at(0, 0, 1), 0, 1, false)}, true},
	} {
		// Another register beside it changes nothing.
		other := write(at(7, 0, 1), 5)
		other.Key = 1
		r, err := CheckRegisters(append(c.h, other), 10*time.Second)
		require.NoError(t, err)
		require.Equal(t, c.bad, r.Count[NotLinearizable] == 1, "%s: %s", c.name, r)
	}
}

func TestBank(t *testing.T) {
	require.Empty(t, CheckBank([]BankRead{{at(0, 0, 1), []int64{5, 5}}, {failed(at(0, 0, 1)), nil}}, 10).Kinds())
	require.Equal(t, []Kind{WrongTotal}, CheckBank([]BankRead{{at(0, 0, 1), []int64{5, 4}}}, 10).Kinds())
}

func TestLoads(t *testing.T) {
	loads := []Load{{at(0, 0, 1), []int64{1, 2}}, {lost(0, 0), []int64{3, 4}}, {failed(at(0, 0, 1)), []int64{5, 6}}, {at(0, 10, 20), []int64{7, 8}}}
	for _, c := range []struct {
		read, past []int64
		want       []Kind
	}{
		{[]int64{1, 2, 7, 8}, nil, nil},
		{[]int64{1, 2, 3, 4}, []int64{3, 4}, nil},
		{nil, nil, []Kind{Lost}},
		{[]int64{1, 2, 3}, nil, []Kind{Torn}},
		{[]int64{1, 2, 7}, nil, []Kind{Torn}},
		{[]int64{1, 2, 5, 6}, nil, []Kind{G1a}},
		{[]int64{1, 2, 9}, nil, []Kind{Unexpected}},
		{[]int64{1, 2}, []int64{8}, []Kind{Torn}},
		{[]int64{1, 2}, []int64{9}, []Kind{Unexpected}},
	} {
		r := CheckLoads(loads, []SetRead{{at(1, 5, 15), c.read}}, []SetRead{{at(2, 30, 31), c.past}})
		require.ElementsMatch(t, c.want, r.Kinds(), "%v %v: %s", c.read, c.past, r)
	}
}

func TestSet(t *testing.T) {
	add := func(s Span, v int64) SetAdd { return SetAdd{s, v} }
	adds := []SetAdd{add(at(0, 0, 1), 1), add(lost(0, 0), 2), add(failed(at(0, 0, 1)), 3), add(at(0, 10, 20), 4)}
	for _, c := range []struct {
		reads []SetRead
		want  []Kind
	}{
		{[]SetRead{{at(1, 5, 6), []int64{1}}, {at(1, 30, 31), []int64{1, 2, 4}}}, nil},
		{[]SetRead{{at(1, 5, 6), []int64{1, 2, 4}}, {at(1, 30, 31), []int64{1, 4}}}, nil},
		{[]SetRead{{at(1, 5, 6), nil}, {at(1, 30, 31), []int64{1, 4}}}, []Kind{StaleRead}},
		{[]SetRead{{at(1, 30, 31), []int64{4}}}, []Kind{Lost}},
		{[]SetRead{{at(1, 30, 31), []int64{1, 3, 4}}}, []Kind{G1a}},
		{[]SetRead{{at(1, 30, 31), []int64{1, 1, 4}}}, []Kind{Duplicate}},
		{[]SetRead{{at(1, 30, 31), []int64{1, 4, 9}}}, []Kind{Unexpected}},
	} {
		r := CheckSet(adds, c.reads)
		require.ElementsMatch(t, c.want, r.Kinds(), "%s", r)
	}
}

func TestMonotonic(t *testing.T) {
	require.Empty(t, CheckMonotonic([]CounterOp{{at(0, 0, 1), 1, true}, {at(1, 0, 9), 0, false}, {at(0, 2, 3), 2, true}, {at(1, 4, 5), 2, false}}).Kinds())
	require.Equal(t, []Kind{Shrunk}, CheckMonotonic([]CounterOp{{at(0, 0, 1), 2, true}, {at(1, 2, 3), 1, false}}).Kinds())
	require.Equal(t, []Kind{Duplicate}, CheckMonotonic([]CounterOp{{at(0, 0, 9), 2, true}, {at(1, 0, 9), 2, true}}).Kinds())
}

func TestLongFork(t *testing.T) {
	r := func(a, b bool) ForkRead { return ForkRead{at(0, 0, 1), []int64{1, 2}, []bool{a, b}} }
	require.Empty(t, CheckLongFork([]ForkRead{r(false, false), r(true, false), r(true, true)}).Kinds())
	require.Equal(t, []Kind{LongFork}, CheckLongFork([]ForkRead{r(false, true), r(true, false)}).Kinds())
}

func TestCausalReverse(t *testing.T) {
	w := []ForkWrite{{at(0, 0, 1), 1}, {at(1, 2, 3), 2}, {at(2, 0, 9), 3}}
	r := func(there ...bool) []ForkRead { return []ForkRead{{at(9, 0, 10), []int64{1, 2, 3}, there}} }
	require.Empty(t, CheckCausalReverse(w, r(true, true, false)).Kinds())
	require.Empty(t, CheckCausalReverse(w, r(false, false, true)).Kinds())
	require.Equal(t, []Kind{CausalReverse}, CheckCausalReverse(w, r(false, true, true)).Kinds())
}

func TestWriteSkew(t *testing.T) {
	require.Empty(t, CheckWriteSkew([]SkewRead{{Span: at(0, 0, 1), A: true}, {Span: failed(at(0, 0, 1)), A: true, B: true}}).Kinds())
	require.Equal(t, []Kind{WriteSkew}, CheckWriteSkew([]SkewRead{{Span: at(0, 0, 1), A: true, B: true}}).Kinds())
}
