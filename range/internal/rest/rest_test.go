package rest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/kv"
)

func at(n int) hlc.Timestamp { return hlc.Timestamp{WallTime: int64(n)} }

// replicas are a store's, as a Hearer sees them: what holds for each.
type replicas map[kv.RangeID]*covered

type covered struct {
	index uint64
	ts    hlc.Timestamp
	cov   *Coverage
}

func (r replicas) Cover(id kv.RangeID, index uint64, c *Coverage) {
	r[id] = &covered{index: index, cov: c}
}

func (r replicas) Uncover(id kv.RangeID, c *Coverage) {
	if x := r[id]; x != nil && x.cov == c {
		r[id] = &covered{index: x.index, ts: c.TS()}
	}
}

func (x *covered) closed() hlc.Timestamp {
	if x == nil {
		return hlc.Timestamp{}
	}
	if x.cov != nil {
		return x.ts.Forward(x.cov.TS())
	}
	return x.ts
}

// follower is one store that hears.
type follower struct {
	*Hearer
	replicas
}

func newFollower() *follower { return &follower{NewHearer(), replicas{}} }

// The dumb twin remembers, for each range and position, the latest timestamp that was told while it was in the set. Whatever is
// lost, repeated or overtaken, nobody may believe more than that; and when everything arrives, nobody less.
func TestNobodyBelievesTooMuch(t *testing.T) {
	everywhere := func(kv.RangeID) bool { return true }
	rapid.Check(t, func(t *rapid.T) {
		const leader = 1
		session, now := uint64(1), 0
		teller := NewTeller(session)
		in := map[kv.RangeID]uint64{}
		told := map[kv.RangeID]map[uint64]hlc.Timestamp{}
		followers := []*follower{nil, nil, newFollower(), newFollower()}
		type letter struct {
			to kv.StoreID
			u  Update
		}
		type answer struct {
			from kv.StoreID
			a    Ack
		}
		var letters []letter
		var answers []answer
		index := uint64(0)
		tell := func(to kv.StoreID) letter {
			now++
			for id, i := range in {
				told[id][i] = at(now)
			}
			u := teller.Tell(to, at(now), everywhere)
			u.Rested, u.Stirred = slices.Clone(u.Rested), slices.Clone(u.Stirred)
			return letter{to, u}
		}
		check := func() {
			for _, f := range followers[2:] {
				for id, x := range f.replicas {
					require.True(t, x.closed().LessEq(told[id][x.index]), "r%d at %d: %s is believed, %s was told", id, x.index, x.closed(), told[id][x.index])
				}
			}
		}
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			id := kv.RangeID(rapid.IntRange(1, 5).Draw(t, "range"))
			to := kv.StoreID(rapid.IntRange(2, 3).Draw(t, "store"))
			switch rapid.IntRange(0, 9).Draw(t, "op") {
			case 0, 1:
				if _, ok := in[id]; ok {
					delete(in, id)
					teller.Leave(id)
					break
				}
				index++
				in[id] = index
				if told[id] == nil {
					told[id] = map[uint64]hlc.Timestamp{}
				}
				teller.Join(id, index)
			case 2, 3, 4:
				letters = append(letters, tell(to))
			case 5, 6:
				if n := len(letters); n > 0 {
					i := rapid.IntRange(0, n-1).Draw(t, "letter")
					l := letters[i]
					if rapid.Bool().Draw(t, "once") {
						letters = slices.Delete(letters, i, i+1)
					}
					answers = append(answers, answer{l.to, followers[l.to].Hear(leader, &l.u, followers[l.to])})
				}
			case 7:
				if n := len(answers); n > 0 {
					i := rapid.IntRange(0, n-1).Draw(t, "answer")
					teller.Acked(answers[i].from, answers[i].a)
					answers = slices.Delete(answers, i, i+1)
				}
			case 8:
				teller.Trim([]kv.StoreID{2, 3})
			case 9:
				switch rapid.IntRange(0, 9).Draw(t, "restart") {
				case 0:
					followers[to] = newFollower()
				case 1:
					session++
					teller, in = NewTeller(session), map[kv.RangeID]uint64{}
				}
			}
			check()
		}
		for range 3 { // the second is from nothing if the first was not understood
			for to := kv.StoreID(2); to <= 3; to++ {
				l := tell(to)
				teller.Acked(to, followers[to].Hear(leader, &l.u, followers[to]))
			}
			check()
		}
		for to := kv.StoreID(2); to <= 3; to++ {
			for id, i := range in {
				x := followers[to].replicas[id]
				require.NotNil(t, x)
				require.Equal(t, i, x.index)
				require.Less(t, int64(now-3), x.closed().WallTime, "r%d on s%d has not heard the latest", id, to)
			}
		}
	})
}

// The log of changes is bounded, whoever does not answer; who does is told changes only.
func TestLogIsBounded(t *testing.T) {
	teller := NewTeller(1)
	for i := range 100 {
		teller.Join(kv.RangeID(i), 1)
	}
	teller.Acked(3, Ack{1, teller.number})
	for range 20_000 {
		teller.Leave(7)
		teller.Join(7, 9)
	}
	require.LessOrEqual(t, len(teller.log), 2*(minLog+100))
	u := teller.Tell(3, at(1), func(kv.RangeID) bool { return true })
	require.Zero(t, u.Base, "what it has missed is forgotten, so it is told everything")
	require.Len(t, u.Rested, 100)
	teller.Acked(3, Ack{1, u.Number})
	teller.Trim([]kv.StoreID{3})
	require.Empty(t, teller.log)
	u = teller.Tell(3, at(2), func(kv.RangeID) bool { return true })
	require.Empty(t, u.Rested, "ten thousand ranges at rest cost nothing")
}

func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		teller, f, now := NewTeller(1), newFollower(), 0
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var id, index int
			switch d.Cmd {
			case "rest":
				d.ScanArgs(t, "r", &id)
				d.ScanArgs(t, "at", &index)
				teller.Join(kv.RangeID(id), uint64(index))
				return ""
			case "stir":
				d.ScanArgs(t, "r", &id)
				teller.Leave(kv.RangeID(id))
				return ""
			case "restart":
				if d.HasArg("follower") {
					f = newFollower()
				} else {
					teller = NewTeller(teller.session + 1)
				}
				return ""
			case "heartbeat":
				now += 10
				u := teller.Tell(2, at(now), func(kv.RangeID) bool { return true })
				slices.SortFunc(u.Rested, func(a, b Range) int { return cmp.Compare(a.ID, b.ID) }) // a set, when it is from nothing
				var b strings.Builder
				fmt.Fprintf(&b, "session %d, %d to %d, closed %d, rested %v, stirred %v\n", u.Session, u.Base, u.Number, u.TS.WallTime, u.Rested, u.Stirred)
				if d.HasArg("lost") {
					return b.String() + "lost\n"
				}
				a := f.Hear(1, &u, f)
				fmt.Fprintf(&b, "answer %d", a.Number)
				if d.HasArg("answer-lost") {
					b.WriteString(", lost")
				} else {
					teller.Acked(2, a)
				}
				var ids []kv.RangeID
				for id := range f.replicas {
					ids = append(ids, id)
				}
				slices.Sort(ids)
				for _, id := range ids {
					x := f.replicas[id]
					fmt.Fprintf(&b, "\nr%d: %d is closed for who has applied %d", id, x.closed().WallTime, x.index)
				}
				return b.String() + "\n"
			}
			t.Fatalf("no command %q", d.Cmd)
			return ""
		})
	})
}

// A follower's store is started anew and hears a letter that was long under way, before the leader hears what it answered in its
// former life: it is told what came after that, and must not take it for all.
func TestAnswerOfAFormerLife(t *testing.T) {
	everywhere := func(kv.RangeID) bool { return true }
	teller, before, after := NewTeller(1), newFollower(), newFollower()
	teller.Join(4, 20)
	late := teller.Tell(2, at(10), everywhere)
	teller.Leave(4)
	u := teller.Tell(2, at(20), everywhere)
	former := before.Hear(1, &u, before)
	after.Hear(1, &late, after) // r4 is at rest, as far as it knows
	teller.Acked(2, former)
	u = teller.Tell(2, at(30), everywhere)
	teller.Acked(2, after.Hear(1, &u, after))
	require.Equal(t, at(10), after.replicas[4].closed(), "r4 has been stirred since, and nobody has said so")
	u = teller.Tell(2, at(40), everywhere)
	teller.Acked(2, after.Hear(1, &u, after))
	require.Equal(t, at(10), after.replicas[4].closed())
}
