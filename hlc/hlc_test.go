package hlc

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A clock whose physical source stands still, steps back and jumps must stay monotonic and causal.
func TestClockMonotonicAndCausal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var phys int64 = 1000
		c := NewClock(func() int64 { return phys }, time.Second)
		var last Timestamp
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			switch rapid.IntRange(0, 2).Draw(t, "op") {
			case 0:
				phys += rapid.Int64Range(-500, 500).Draw(t, "step")
				phys = max(phys, 1)
			case 1:
				r := Timestamp{WallTime: rapid.Int64Range(1, 3000).Draw(t, "wall"), Logical: rapid.Uint32Range(0, 5).Draw(t, "logical")}
				c.Update(r)
				last = last.Forward(r)
			case 2:
				now := c.Now()
				require.True(t, last.Less(now), "%s then %s", last, now)
				require.LessOrEqual(t, phys, now.WallTime)
				last = now
			}
		}
	})
}

// A source that jumps beyond the limit takes nothing with it: readings go on from there, and are right again when the source is.
func TestClockLimit(t *testing.T) {
	phys := int64(1000)
	c := NewClock(func() int64 { return phys }, time.Second)
	c.SetLimit(1500)
	require.Equal(t, Timestamp{WallTime: 1000}, c.Now())
	phys = 1 << 50
	now, believed := c.Reading()
	require.Equal(t, Timestamp{WallTime: 1500}, now)
	require.False(t, believed)
	require.Equal(t, Timestamp{WallTime: 1500, Logical: 1}, c.Now())
	require.Equal(t, Timestamp{WallTime: 1500, Logical: 1}, c.Peek())
	c.Update(Timestamp{WallTime: 1600}) // what others have read is not limited
	require.Equal(t, Timestamp{WallTime: 1600, Logical: 1}, c.Now())
	phys = 2000
	c.SetLimit(3000)
	now, believed = c.Reading()
	require.Equal(t, Timestamp{WallTime: 2000}, now)
	require.True(t, believed)
}

func TestTimestampTextAndBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gen := func(n string) Timestamp {
			return Timestamp{WallTime: rapid.Int64Range(0, 1<<62).Draw(t, n), Logical: rapid.Uint32().Draw(t, n+"l")}
		}
		a, b := gen("a"), gen("b")
		back, err := Parse(a.String())
		require.NoError(t, err)
		require.Equal(t, a, back)
		dec, rest, err := Decode(a.Append(nil))
		require.NoError(t, err)
		require.Empty(t, rest)
		require.Equal(t, a, dec)
		require.Equal(t, a.Less(b), string(a.Append(nil)) < string(b.Append(nil)))
		require.Equal(t, a, a.Next().Prev())
		require.True(t, a.Less(a.Next()))
	})
	for _, bad := range []string{"", "x", "1.5", "1.000000000,", "-1.000000000,0", "1.000000000,9999999999"} {
		_, err := Parse(bad)
		require.Error(t, err, bad)
	}
	_, _, err := Decode(make([]byte, 11))
	require.ErrorIs(t, err, ErrShort)
}
