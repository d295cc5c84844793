package keys

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The table in the package comment is the map; the code must agree with it.
func TestMapIsTheCode(t *testing.T) {
	src, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	row := regexp.MustCompile(`(?m)^//\t(0x[0-9a-f]{2})(?: '(.)')?(?: |$)(.*)$`)
	got := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(string(src), -1) {
		got[strings.TrimSpace(m[1]+" "+m[2])] = m[3]
	}
	var id [16]byte
	k := Table(7)
	want := map[string]struct {
		key  Key
		says string
	}{
		"0x01 s": {Store("identity"), "store: identity"},
		"0x01 u": {RangeUnreplicated(1, "x"), "Raft"},
		"0x01 i": {RangeReplicated(1, "x"), "range: applied state"},
		"0x01 k": {TxnRecord(k, id), "transaction records"},
		"0x01 o": {Outcome(0, k, id), "outcomes of commits"},
		"0x01 z": {Lock(k), "lock table"},
		"0x02":   {Meta(k), "meta"},
		"0x03":   {System("x"), "system"},
		"0x04":   {k, "table data"},
		"0xff":   {Max, "end of the key space"},
	}
	require.Len(t, got, len(want), "rows of the table: %v", got)
	for first, w := range want {
		says, ok := got[first]
		require.True(t, ok, "no row for %s", first)
		require.Contains(t, says, w.says)
		var b byte
		var kind string
		_, err := fmt.Sscanf(first, "0x%02x", &b)
		require.NoError(t, err)
		require.Equal(t, b, w.key[0], first)
		if _, kind, ok = strings.Cut(first, " "); ok {
			require.Equal(t, kind[0], w.key[1], first)
		}
		require.Equal(t, b == 0x01, w.key.IsLocal())
	}
	// Order of the map, and that the bounds are where it says.
	for _, in := range [][3]Key{
		{MetaMin, Meta(k), MetaMax}, {SystemMin, System("x"), SystemMax}, {TableMin, k, TableMax}, {Min, System("x"), Max},
	} {
		require.True(t, in[0].Compare(in[1]) <= 0 && in[1].Less(in[2]), "%v", in)
	}
	require.True(t, Lock(Max).Less(Min) && Store("\xff").Less(Min))
}

func genBytes(t *rapid.T, label string) []byte {
	return rapid.SliceOfN(rapid.OneOf(rapid.SampledFrom([]byte{0, 1, 2, 0xfe, 0xff}), rapid.Byte()), 0, 8).Draw(t, label)
}

// check tests one encoding: it comes back, keeps order, is prefix-free, and ends where it ends.
func check[T any](t *rapid.T, a, b T, order int, enc func([]byte, T) []byte, dec func([]byte) (T, []byte, error)) {
	ea, eb := enc(nil, a), enc(nil, b)
	require.Equal(t, order, bytes.Compare(ea, eb), "%v %v", a, b)
	if order != 0 {
		require.False(t, bytes.HasPrefix(ea, eb) || bytes.HasPrefix(eb, ea), "%x %x", ea, eb)
	}
	// Descending: the inverse order, still prefix-free.
	Invert(ea, 0)
	Invert(eb, 0)
	require.Equal(t, -order, bytes.Compare(ea, eb))
	Invert(ea, 0)

	tail := genBytes(t, "tail")
	prefix := genBytes(t, "prefix")
	full := append(enc(bytes.Clone(prefix), a), tail...)
	require.Equal(t, prefix, full[:len(prefix)])
	v, rest, err := dec(full[len(prefix):])
	require.NoError(t, err)
	require.Equal(t, tail, append([]byte{}, rest...))
	require.Equal(t, ea, enc(nil, v))
	for i := range ea {
		_, _, err := dec(ea[:i])
		require.Error(t, err, "truncated %x", ea[:i])
	}
}

func TestOrderedUvarint(t *testing.T) {
	gen := rapid.OneOf(rapid.Uint64(), rapid.Uint64Range(0, 300), rapid.Custom(func(t *rapid.T) uint64 {
		return 1<<rapid.IntRange(0, 63).Draw(t, "bit") - rapid.Uint64Range(0, 1).Draw(t, "less")
	}))
	rapid.Check(t, func(t *rapid.T) {
		a, b := gen.Draw(t, "a"), gen.Draw(t, "b")
		check(t, a, b, cmp.Compare(a, b), AppendUvarint, DecodeUvarint)
	})
}

func TestOrderedInt64(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Int64().Draw(t, "a"), rapid.Int64().Draw(t, "b")
		check(t, a, b, cmp.Compare(a, b), AppendInt64, DecodeInt64)
	})
}

func TestOrderedFloat64(t *testing.T) {
	gen := rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{0, math.Copysign(0, -1), math.Inf(1), math.Inf(-1), math.NaN(),
		math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, -math.SmallestNonzeroFloat64}))
	order := func(a, b float64) int { // PostgreSQL's: NaN equals itself and is above all
		switch {
		case math.IsNaN(a) && math.IsNaN(b):
			return 0
		case math.IsNaN(a):
			return 1
		case math.IsNaN(b):
			return -1
		}
		return cmp.Compare(a, b)
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := gen.Draw(t, "a"), gen.Draw(t, "b")
		check(t, a, b, order(a, b), AppendFloat64, DecodeFloat64)
		v, _, err := DecodeFloat64(AppendFloat64(nil, a))
		require.NoError(t, err)
		require.True(t, v == a || (math.IsNaN(a) && math.IsNaN(v)))
	})
}

func TestOrderedBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genBytes(t, "a"), genBytes(t, "b")
		check(t, a, b, bytes.Compare(a, b), AppendBytes, DecodeBytes)
	})
}

// Columns one after the other sort as tuples do.
func TestConcatenationKeepsOrder(t *testing.T) {
	type tuple struct {
		s []byte
		n uint64
	}
	rapid.Check(t, func(t *rapid.T) {
		gen := func(l string) tuple {
			return tuple{genBytes(t, l), rapid.Uint64Range(0, 300).Draw(t, l+"n")}
		}
		a, b := gen("a"), gen("b")
		enc := func(x tuple) []byte { return AppendUvarint(AppendBytes(Index(104, 2), x.s), x.n) }
		want := cmp.Or(bytes.Compare(a.s, b.s), cmp.Compare(a.n, b.n))
		require.Equal(t, want, bytes.Compare(enc(a), enc(b)))
		table, index, cols, err := DecodeIndex(enc(a))
		require.NoError(t, err)
		require.EqualValues(t, 104, table)
		require.EqualValues(t, 2, index)
		s, rest, err := DecodeBytes(cols)
		require.NoError(t, err)
		n, rest, err := DecodeUvarint(rest)
		require.NoError(t, err)
		require.Empty(t, rest)
		require.Equal(t, a, tuple{s, n})
	})
}

func TestDerivedKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := Key(append([]byte{4}, genBytes(t, "a")...)), Key(append([]byte{4}, genBytes(t, "b")...))
		start, end := Key(append([]byte{4}, genBytes(t, "start")...)), Key(append([]byte{4}, genBytes(t, "end")...))
		id := [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))

		// Locks and records keep the order of their keys and move with their range.
		require.Equal(t, a.Compare(b), Lock(a).Compare(Lock(b)))
		if c := a.Compare(b); c != 0 {
			require.Equal(t, c, TxnRecord(a, id).Compare(TxnRecord(b, [16]byte{})))
		}
		if start.Less(end) {
			in := Span{Start: start, End: end}.Contains(a)
			require.Equal(t, in, LockSpan(start, end).Contains(Lock(a)))
			require.Equal(t, in, TxnRecordSpan(start, end).Contains(TxnRecord(a, id)))
			require.Equal(t, in, OutcomeSpan(1, start, end).Contains(Outcome(1, a, id)))
			require.False(t, OutcomeSpan(1, start, end).Contains(Outcome(0, a, id)) || OutcomeSpan(1, start, end).Contains(Outcome(2, a, id)))
		}
		back, err := DecodeLock(Lock(a))
		require.NoError(t, err)
		require.Equal(t, a, back)
		anchor, gotID, err := DecodeTxnRecord(TxnRecord(a, id))
		require.NoError(t, err)
		require.Equal(t, a, anchor)
		require.Equal(t, id, gotID)
		shelf, anchor, gotID, err := DecodeOutcome(Outcome(2, a, id))
		require.NoError(t, err)
		require.EqualValues(t, 2, shelf)
		require.Equal(t, a, anchor)
		require.Equal(t, id, gotID)
		require.True(t, AllOutcomes().Contains(Outcome(2, a, id)))

		rangeID := rapid.Int64Range(0, math.MaxInt64-1).Draw(t, "range")
		name := string(genBytes(t, "name"))
		for _, k := range []Key{RangeReplicated(rangeID, name), RangeUnreplicated(rangeID, name)} {
			gid, replicated, gname, err := DecodeRangeLocal(k)
			require.NoError(t, err)
			require.Equal(t, rangeID, gid)
			require.Equal(t, name, gname)
			require.Equal(t, replicated, RangeReplicatedSpan(rangeID).Contains(k))
			require.Equal(t, !replicated, RangeUnreplicatedSpan(rangeID).Contains(k))
			require.False(t, RangeReplicatedSpan(rangeID+1).Contains(k) || RangeUnreplicatedSpan(rangeID+1).Contains(k))
			require.Equal(t, replicated, AllRangeReplicated().Contains(k))
			require.Equal(t, !replicated, AllRangeUnreplicated().Contains(k))
		}

		// Next and PrefixEnd are what they say, and share nothing with their key.
		require.True(t, a.Less(a.Next()))
		require.False(t, a.Less(b) && b.Less(a.Next()))
		if b.Less(a.PrefixEnd()) && !b.Less(a) {
			require.True(t, bytes.HasPrefix(b, a))
		}
		if bytes.HasPrefix(b, a) {
			require.True(t, b.Less(a.PrefixEnd()) && !b.Less(a))
		}
		require.NotPanics(t, func() { _, _, _ = Pretty(a), Pretty(Lock(a)), Pretty(TxnRecord(a, id)) })
	})
	require.Equal(t, Max, Key{0xff, 0xff}.PrefixEnd())
}

func TestSpans(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		letters := rapid.StringMatching(`[a-c]{1,2}`)
		gen := func(l string) Span {
			s := Span{Start: Key(letters.Draw(t, l))}
			if rapid.Bool().Draw(t, l+" interval") {
				s.End = Key(letters.Draw(t, l+" end"))
				if !s.Valid() {
					t.Skip("empty")
				}
			}
			return s
		}
		a, b := gen("a"), gen("b")
		common := false
		for _, x := range "abc" {
			for _, y := range "\x00abc" {
				k := Key(strings.TrimSuffix(string([]rune{x, y}), "\x00"))
				common = common || (a.Contains(k) && b.Contains(k))
				require.Equal(t, a.Contains(k), Span{Start: a.Start, End: a.EndKey()}.Contains(k))
			}
		}
		if common {
			require.True(t, a.Overlaps(b))
		}
		require.Equal(t, a.Overlaps(b), b.Overlaps(a))
		require.Equal(t, a.Overlaps(b), a.Start.Less(b.EndKey()) && b.Start.Less(a.EndKey()))
	})
	require.False(t, Span{}.Valid())
	require.False(t, Span{Start: Key("b"), End: Key("a")}.Valid())
}

func TestPretty(t *testing.T) {
	for want, k := range map[string]Key{
		"/min":                    nil,
		"/max":                    Max,
		"/table":                  TableMin,
		"/table/104":              Table(104),
		"/table/104/1":            Index(104, 1),
		"/table/104/1/2a":         AppendUvarint(Index(104, 1), 42),
		"/meta/table/300":         Meta(Table(300)),
		"/system/next-range-id":   System("next-range-id"),
		"/local/store/identity":   Store("identity"),
		"/local/raft/7/hs":        RangeUnreplicated(7, "hs"),
		"/local/range/7/a":        RangeReplicated(7, "a"),
		"/local/lock/table/104/1": Lock(Index(104, 1)),
		`/system/\x00\xff`:        System("\x00\xff"),
		"/?09":                    {9},
		"/local/?7109":            {1, 'q', 9},
		"/table/?ff":              {4, 0xff},
	} {
		require.Equal(t, want, Pretty(k))
	}
	require.Equal(t, "[/table/104, /table/105)", Span{Start: Table(104), End: Table(105)}.String())
	require.Equal(t, "/table/104", Span{Start: Table(104)}.String())
}

// No input makes a decoder panic, and what it accepts is what the encoder writes.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	f.Add(AppendUvarint(nil, 1<<40))
	f.Add(AppendBytes(nil, []byte("a\x00b")))
	f.Add(AppendFloat64(nil, math.NaN()))
	f.Add([]byte(TxnRecord(Table(104), [16]byte{1})))
	f.Add([]byte(Lock(Table(104))))
	f.Add([]byte(RangeReplicated(7, "a")))
	f.Fuzz(func(t *testing.T, b []byte) {
		same := func(enc, rest []byte, err error) {
			if err == nil && !bytes.Equal(append(enc, rest...), b) {
				t.Fatalf("%x decodes, and encodes as %x", b, enc)
			}
		}
		u, rest, err := DecodeUvarint(b)
		same(AppendUvarint(nil, u), rest, err)
		i, rest, err := DecodeInt64(b)
		same(AppendInt64(nil, i), rest, err)
		s, rest, err := DecodeBytes(b)
		same(AppendBytes(nil, s), rest, err)
		if _, _, err := DecodeFloat64(b); err == nil && len(b) < 8 {
			t.Fatalf("%x is no float", b)
		}
		if id, replicated, name, err := DecodeRangeLocal(b); err == nil {
			enc := RangeUnreplicated(id, name)
			if replicated {
				enc = RangeReplicated(id, name)
			}
			same(enc, nil, nil)
		}
		if anchor, id, err := DecodeTxnRecord(b); err == nil {
			same(TxnRecord(anchor, id), nil, nil)
		}
		if k, err := DecodeLock(b); err == nil {
			same(Lock(k), nil, nil)
		}
		_, _, _, _ = DecodeIndex(b)
		_ = Pretty(b)
	})
}
