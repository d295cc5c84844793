package checkers

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func read(k int64, l ...int64) ListOp { return ListOp{Key: k, List: l} }
func app(k, v int64) ListOp           { return ListOp{Key: k, Append: true, Value: v} }

// together makes transactions of processes of their own, all at the same time.
func together(ops ...[]ListOp) []ListTxn {
	var h []ListTxn
	for i, o := range ops {
		h = append(h, ListTxn{Span{Process: i, Invoke: 10, Complete: 20}, o})
	}
	return h
}

func txn(ops ...ListOp) []ListOp { return ops }

// later is a history whose transactions follow each other, by processes of their own unless same.
func later(same bool, ops ...[]ListOp) []ListTxn {
	h := together(ops...)
	for i := range h {
		h[i].Invoke, h[i].Complete = int64(10*i), int64(10*i+5)
		if same {
			h[i].Process = 0
		}
	}
	return h
}

func with(h []ListTxn, i int, o Outcome) []ListTxn {
	h[i].Outcome = o
	if o == Unknown {
		h[i].Complete = Never
	}
	return h
}

// The anomalies of the catalogue, each in the smallest history that has it.
var planted = []struct {
	name string
	h    []ListTxn
	want []Kind // exactly
}{
	{"clean", together(txn(app(1, 1), app(2, 1)), txn(read(1, 1), app(1, 2)), txn(read(1, 1, 2), read(2, 1))), nil},
	{"clean: the answer got lost", with(together(txn(app(1, 1)), txn(read(1, 1))), 0, Unknown), nil},
	{"clean: never done", with(together(txn(app(1, 1)), txn(read(1))), 0, Unknown), nil},
	{"dirty write", together(txn(app(1, 1), app(2, 1)), txn(app(1, 2), app(2, 2)), txn(read(1, 1, 2)), txn(read(2, 2, 1))), []Kind{G0}},
	{"aborted read", with(together(txn(app(1, 1)), txn(read(1, 1))), 0, Failed), []Kind{G1a}},
	{"intermediate read", together(txn(app(1, 1), app(1, 2)), txn(read(1, 1)), txn(read(1, 1, 2))), []Kind{G1b, GSingle}},
	{"circular information flow", together(txn(app(1, 1), read(2, 1)), txn(app(2, 1), read(1, 1))), []Kind{G1c}},
	{"circular, by a write", together(txn(app(1, 1), app(2, 1)), txn(read(2, 1), app(1, 0)), txn(read(1, 0, 1))), []Kind{G1c}},
	{"read skew", together(txn(app(1, 1), app(2, 1)), txn(read(1), read(2, 1))), []Kind{GSingle}},
	{"fuzzy read", together(txn(app(1, 1)), txn(read(1), read(1, 1))), []Kind{GSingle}},
	{"lost update", together(txn(read(1), app(1, 1)), txn(read(1), app(1, 2)), txn(read(1, 1, 2))), []Kind{GSingle}},
	{"write skew", together(txn(read(1), app(2, 1)), txn(read(2), app(1, 1)), txn(read(1, 1), read(2, 1))), []Kind{G2Item}},
	{"three-way write skew", together(txn(read(1), app(2, 1)), txn(read(2), app(3, 1)), txn(read(3), app(1, 1)), txn(read(1, 1), read(2, 1), read(3, 1))), []Kind{G2Item}},
	// T2 reads 1 without T0's and sees T1's; T3 reads 2 without T1's and sees T0's: no snapshots do that.
	{"long fork", together(txn(app(1, 1)), txn(app(2, 1)), txn(read(1), read(2, 1)), txn(read(1, 1), read(2))), []Kind{GNonadjacent}},
	{"own write not seen", together(txn(app(1, 1), read(1))), []Kind{Internal}},
	{"own write seen too early", together(txn(read(1, 1), app(1, 1))), []Kind{Internal}},
	{"duplicate", together(txn(app(1, 1)), txn(read(1, 1, 1))), []Kind{Duplicate}},
	{"from nowhere", together(txn(read(1, 7))), []Kind{Unexpected}},
	{"two orders", together(txn(app(1, 1)), txn(app(1, 2)), txn(read(1, 1, 2)), txn(read(1, 2, 1))), []Kind{Incompatible}},
	{"lost append", later(false, txn(app(1, 1)), txn(app(1, 2)), txn(read(1, 2))), []Kind{Lost, GSingle + realtime, G0 + realtime}},
	{"stale read", later(false, txn(app(1, 1)), txn(read(1)), txn(read(1, 1))), []Kind{StaleRead, GSingle + realtime}},
	{"stale read in a process", later(true, txn(app(1, 1)), txn(read(1)), txn(read(1, 1))), []Kind{StaleRead, GSingle + process}},
	{"stale write", later(false, txn(app(1, 2)), txn(app(1, 1)), txn(read(1, 1, 2))), []Kind{StaleWrite, G0 + realtime}},
	{"causal reverse", append(later(false, txn(app(1, 1)), txn(app(2, 1))), ListTxn{Span{Process: 9, Invoke: 1, Complete: 100}, txn(read(1), read(2, 1))},
		ListTxn{Span{Process: 10, Invoke: 101, Complete: 200}, txn(read(1, 1), read(2, 1))}), []Kind{GSingle + realtime}},
	{"read from the future", later(false, txn(read(1, 1)), txn(app(1, 1))), []Kind{G1c + realtime}},
	// T1 begins after T0 has ended, misses T2, which missed T0: as with the read-only transaction that upsets a snapshot.
	{"write skew over time", append(later(false, txn(app(1, 1)), txn(read(2))), ListTxn{Span{Process: 9, Invoke: 1, Complete: 100}, txn(read(1), app(2, 1))},
		ListTxn{Span{Process: 10, Invoke: 101, Complete: 300}, txn(read(1, 1), read(2, 1))}), []Kind{G2Item + realtime}},
}

func TestPlanted(t *testing.T) {
	for _, p := range planted {
		t.Run(p.name, func(t *testing.T) {
			r, err := CheckLists(p.h)
			require.NoError(t, err)
			require.ElementsMatch(t, p.want, r.Kinds(), "%s", r)
		})
	}
}

// Each anomaly is found in the midst of a long history that has no other.
func TestPlantedAmongMany(t *testing.T) {
	for i, p := range planted {
		x := newExecutor(rand.New(rand.NewPCG(uint64(i), 7)), 20, true)
		h := x.run(2000, 10)
		middle := h[len(h)/2].Invoke
		for _, m := range p.h {
			m.Process += 1 << 20
			m.Invoke += middle
			if m.Complete != Never {
				m.Complete += middle
			}
			m.Ops = slices.Clone(m.Ops)
			for o := range m.Ops {
				m.Ops[o].Key += 1000
			}
			h = append(h, m)
		}
		r, err := CheckLists(h)
		require.NoError(t, err)
		require.ElementsMatch(t, p.want, r.Kinds(), "%s: %s", p.name, r)
	}
}

func TestExplanation(t *testing.T) {
	r, err := CheckLists(together(txn(read(1), app(2, 1)), txn(read(2), app(1, 1)), txn(read(1, 1), read(2, 1))))
	require.NoError(t, err)
	require.Len(t, r.Anomalies, 1)
	require.Equal(t, strings.TrimSpace(`
G2-item: T0 → T1 → T0
    T0 (process 0, 0.000000s to 0.000000s, ok): read(1) = [] append(2, 1)
    T1 (process 1, 0.000000s to 0.000000s, ok): read(2) = [] append(1, 1)
    T0 –rw→ T1: T0 read list 1 without 1, which T1 appended
    T1 –rw→ T0: T1 read list 2 without 1, which T0 appended`), r.Anomalies[0].String())
}

func TestAllowed(t *testing.T) {
	skew, err := CheckLists(together(txn(read(1), app(2, 1)), txn(read(2), app(1, 1)), txn(read(1, 1), read(2, 1))))
	require.NoError(t, err)
	lost, err := CheckLists(together(txn(read(1), app(1, 1)), txn(read(1), app(1, 2)), txn(read(1, 1, 2))))
	require.NoError(t, err)
	require.Len(t, skew.Beyond(Allowed(Serializable)), 1)
	require.Empty(t, skew.Beyond(Allowed(Snapshot)))
	require.Len(t, lost.Beyond(Allowed(Snapshot)), 1)
	require.Empty(t, lost.Beyond(Allowed(ReadCommitted)))
	for _, l := range []Level{ReadCommitted, Snapshot, Serializable, StrictSerializable} {
		for _, k := range []Kind{G0, G1a, G1b, G1c, Internal, Duplicate, Incompatible, Lost, Unexpected, StaleRead, StaleWrite} {
			require.False(t, Allowed(l)[k], "%s at %s", k, l)
		}
	}
	require.True(t, Allowed(StrictSerializable).And(StaleRead)[StaleRead])
}

func TestTwoWritersOfOneElement(t *testing.T) {
	_, err := CheckLists(together(txn(app(1, 1)), txn(app(1, 1))))
	require.Error(t, err)
}

// What one transaction after the other did is clean, in real time as well.
func TestSerialIsClean(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		x := newExecutor(rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1)), rapid.Int64Range(1, 6).Draw(rt, "keys"), true)
		r, err := CheckLists(x.run(rapid.IntRange(1, 150).Draw(rt, "txns"), rapid.IntRange(1, 8).Draw(rt, "clients")))
		require.NoError(rt, err)
		require.Empty(rt, r.Kinds(), "%s", r)
	})
}

// Snapshots allow write skew and nothing else; and among enough histories there is some.
func TestSnapshotShowsWriteSkewOnly(t *testing.T) {
	found := 0
	rapid.Check(t, func(rt *rapid.T) {
		x := newExecutor(rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 2)), rapid.Int64Range(2, 6).Draw(rt, "keys"), false)
		r, err := CheckLists(x.run(rapid.IntRange(20, 150).Draw(rt, "txns"), rapid.IntRange(2, 8).Draw(rt, "clients")))
		require.NoError(rt, err)
		for _, k := range r.Kinds() {
			require.True(rt, strings.HasPrefix(string(k), string(G2Item)), "%s", r)
		}
		found += r.Count[G2Item]
	})
	require.Positive(t, found)
}

// A hundred thousand transactions take seconds, and so does one large component of them.
func TestLarge(t *testing.T) {
	n := 100_000
	if testing.Short() {
		n = 10_000
	}
	for _, serial := range []bool{true, false} {
		x := newExecutor(rand.New(rand.NewPCG(1, 3)), int64(n/50), serial)
		h := x.run(n, 32)
		start := time.Now()
		r, err := CheckLists(h)
		require.NoError(t, err)
		t.Logf("serial %v: %d transactions, %d edges, %v, in %s", serial, r.Checked, r.Edges, r.Count, time.Since(start).Round(time.Millisecond))
		if serial {
			require.Empty(t, r.Kinds())
		}
		require.Empty(t, r.Beyond(Allowed(Snapshot)))
	}
}
