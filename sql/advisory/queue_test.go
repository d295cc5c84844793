package advisory

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func at(pid int) owner { return owner{1, 7, int32(pid)} }

// twin is the dumb one: holders and waiters apart, and who is given the lock found by trying everybody again from the front, until nobody is.
type twin struct {
	holds map[owner]byte
	line  []entry // modes as waitsX
}

func (t *twin) free(o owner, mode byte, before []entry) bool {
	for other, m := range t.holds {
		if other != o && conflict(m, mode) {
			return false
		}
	}
	return !slices.ContainsFunc(before, func(e entry) bool { return conflict(e.wants(), mode) })
}

func (t *twin) ask(o owner, mode byte, try bool) bool {
	at := len(t.line)
	for i, e := range t.line {
		if conflict(e.wants(), t.holds[o]) {
			at = i
			break
		}
	}
	if t.free(o, mode, t.line[:at]) {
		t.holds[o] |= mode
		return true
	}
	if !try {
		t.line = slices.Insert(t.line, at, entry{o, mode << waitShift})
	}
	return false
}

func (t *twin) set(o owner, held byte) {
	t.line = slices.DeleteFunc(t.line, func(e entry) bool { return e.owner == o })
	t.holds[o] = held
	if held == 0 {
		delete(t.holds, o)
	}
}

func (t *twin) promote() (granted []owner) {
again:
	for i, e := range t.line {
		if t.free(e.owner, e.wants(), t.line[:i]) {
			t.holds[e.owner] |= e.wants()
			t.line = slices.Delete(t.line, i, i+1)
			granted = append(granted, e.owner)
			goto again
		}
	}
	return granted
}

func TestQueueTwin(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var q queue
		tw := &twin{holds: map[owner]byte{}}
		for range 200 {
			o := at(rng.IntN(6))
			held, waits := byte(0), false
			if i := q.find(o); i >= 0 {
				held, waits = q[i].modes&holds, q[i].wants() != 0
			}
			mode := byte(holdsShared)
			if rng.IntN(2) == 0 {
				mode = holdsExclusive
			}
			switch {
			case waits && rng.IntN(3) > 0:
				continue
			case waits: // gives up
				q = q.set(o, held)
				tw.set(o, held)
			case held&mode == 0:
				try := rng.IntN(4) == 0
				next, granted := q.ask(o, held, mode, try)
				require.Equal(t, tw.ask(o, mode, try), granted, "seed %d", seed)
				q = next
			default:
				q = q.set(o, held&^mode)
				tw.set(o, held&^mode)
			}
			a, b := q.promote(), tw.promote()
			require.ElementsMatch(t, a, b, "seed %d", seed)
			var line []entry
			seen := map[owner]byte{}
			for _, e := range q {
				if e.wants() != 0 {
					line = append(line, entry{e.owner, e.wants() << waitShift})
				}
				if e.modes&holds != 0 {
					seen[e.owner] = e.modes & holds
				}
				hard, soft := q.blockers(q.find(e.owner))
				require.Equal(t, e.wants() != 0, len(hard)+len(soft) > 0, "who waits waits for somebody: seed %d", seed)
			}
			require.Equal(t, tw.holds, seen, "seed %d", seed)
			require.Equal(t, len(tw.line), len(line))
			for i := range line {
				require.Equal(t, tw.line[i], line[i], "seed %d", seed)
			}
			for a, m := range seen {
				for b, n := range seen {
					require.False(t, a != b && conflict(m, n), "two hold what conflicts: seed %d", seed)
				}
			}
			back, err := decode(q.encode())
			require.NoError(t, err)
			require.True(t, slices.Equal(q, back))
		}
	}
}

// A row of another length, or with modes that do not exist, is not guessed at.
func TestDecodeRefuses(t *testing.T) {
	good := queue{{at(1), holdsShared | waitsExclusive}}.encode()
	_, err := decode(good)
	require.NoError(t, err)
	_, err = decode(good[1:])
	require.ErrorIs(t, err, errCorrupt)
	for _, modes := range []byte{0, 16} {
		good[len(good)-1] = modes
		_, err = decode(good)
		require.ErrorIs(t, err, errCorrupt)
	}
}

// Every session of a cycle finds the same one to end it: a jumper before one who gives up.
func TestVerdict(t *testing.T) {
	ws := map[int32]wait{1: {}, 2: {soft: true}, 3: {}, 5: {soft: true}}
	for _, c := range []struct {
		cycle []int32
		pid   int32
		jumps bool
	}{
		{[]int32{1, 3}, 3, false}, {[]int32{3, 1}, 3, false}, {[]int32{1, 9, 3}, 3, false}, // 9 waits for a row
		{[]int32{1, 2, 3}, 2, true}, {[]int32{3, 2, 1}, 2, true}, {[]int32{5, 2, 3}, 5, true}, {[]int32{2, 5}, 5, true},
	} {
		pid, jumps := verdict(c.cycle, ws)
		require.Equal(t, c.pid, pid, c.cycle)
		require.Equal(t, c.jumps, jumps, c.cycle)
	}
	require.Nil(t, cycleThrough(map[int32][]int32{1: {2}, 2: {3}, 3: {2}}, 1))
	require.Equal(t, []int32{1, 3}, cycleThrough(map[int32][]int32{1: {2, 3}, 2: {4}, 3: {1}}, 1))
}
