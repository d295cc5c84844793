package liveness

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/rest"
	"github.com/pamirdb/pamir/range/kv"
)

const ms = int64(time.Millisecond)

// world is some machines with one clock each, and heartbeats that are delivered when the story says so.
type world struct {
	machines map[kv.StoreID]*Machine
	skew     map[kv.StoreID]int64 // ms
	now      int64                // ms
	horizon  map[kv.StoreID]hlc.Timestamp
	starts   map[kv.StoreID]uint64
	high     map[kv.StoreID]hlc.Timestamp // HLC readings
	deaf     map[kv.StoreID]bool          // nothing reaches it, what it sends arrives
	asleep   map[kv.StoreID]bool
	late     map[kv.StoreID][]*Heartbeat // what waits for one that is asleep
}

func (w *world) clock(s kv.StoreID) hlc.Timestamp {
	t := hlc.Timestamp{WallTime: (w.now + w.skew[s]) * ms}
	w.high[s] = w.high[s].Forward(t)
	return w.high[s]
}

func (w *world) phys(s kv.StoreID) int64 { return (w.now + w.skew[s]) * ms }

func (w *world) start(s kv.StoreID) {
	w.starts[s]++
	w.machines[s] = New(Config{
		Node: kv.NodeID(s), Store: s, Incarnation: w.starts[s], Support: 1500 * time.Millisecond, Heartbeat: 300 * time.Millisecond,
		MaxOffset: 250 * time.Millisecond, Horizon: w.horizon[s],
	})
	var peers []Peer
	for id := range w.starts {
		peers = append(peers, Peer{kv.NodeID(id), id})
	}
	for _, m := range w.machines {
		m.SetPeers(peers)
	}
}

func newWorld() *world {
	return &world{
		machines: map[kv.StoreID]*Machine{}, skew: map[kv.StoreID]int64{}, horizon: map[kv.StoreID]hlc.Timestamp{},
		late: map[kv.StoreID][]*Heartbeat{}, starts: map[kv.StoreID]uint64{}, high: map[kv.StoreID]hlc.Timestamp{}, deaf: map[kv.StoreID]bool{},
	}
}

// beat lets a store tick and delivers its requests, and the answers, to and from those in reach.
func (w *world) beat(out *strings.Builder, s kv.StoreID, reach func(kv.StoreID) bool) {
	m := w.machines[s]
	m.WatchClock(w.phys(s))
	eff := m.Tick(w.clock(s), w.phys(s))
	if !eff.Horizon.IsEmpty() {
		w.horizon[s] = eff.Horizon
		m.Persisted(eff.Horizon)
	}
	w.effects(out, s, eff)
	for _, h := range eff.Send {
		w.deliver(out, h, reach)
	}
}

func (w *world) deliver(out *strings.Builder, h *Heartbeat, reach func(kv.StoreID) bool) {
	m := w.machines[h.ToStore]
	if m == nil || w.deaf[h.ToStore] || !reach(h.ToStore) || !reach(h.FromStore) {
		return
	}
	if w.asleep[h.ToStore] {
		w.late[h.ToStore] = append(w.late[h.ToStore], h)
		return
	}
	w.high[h.ToStore] = w.high[h.ToStore].Forward(h.Now)
	eff := m.Step(w.clock(h.ToStore), w.phys(h.ToStore), h)
	w.effects(out, h.ToStore, eff)
	for _, a := range eff.Send {
		w.deliver(out, a, reach)
	}
}

func (w *world) effects(out *strings.Builder, s kv.StoreID, eff Effects) {
	if out == nil {
		return
	}
	for _, x := range eff.Withdrawn {
		fmt.Fprintf(out, "%d: s%d withdraws its support of s%d\n", w.now, s, x)
	}
	if eff.Released {
		fmt.Fprintf(out, "%d: s%d hears nobody, and releases what it was promised\n", w.now, s)
	}
	for _, x := range eff.Changed {
		fmt.Fprintf(out, "%d: s%d sees a new epoch or incarnation of s%d\n", w.now, s, x)
	}
}

func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		w := newWorld()
		cut, asleep := map[kv.StoreID]bool{}, map[kv.StoreID]bool{}
		w.asleep = asleep
		reach := func(s kv.StoreID) bool { return !cut[s] }
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			store := func(i int) kv.StoreID {
				n, err := strconv.Atoi(strings.TrimPrefix(d.CmdArgs[i].Key, "s"))
				require.NoError(t, err)
				return kv.StoreID(n)
			}
			switch d.Cmd {
			case "start": // start s1 s2 ...: begins new incarnations
				for i := range d.CmdArgs {
					w.start(store(i))
				}
			case "stop":
				delete(w.machines, store(0))
			case "cut", "join":
				cut[store(0)] = d.Cmd == "cut"
			case "deaf", "hears":
				w.deaf[store(0)] = d.Cmd == "deaf"
			case "skew": // skew s1 by=200
				var by int64
				d.ScanArgs(t, "by", &by)
				w.skew[store(0)] = by
			case "sleep": // sleep s1: has no processor, until it wakes: neither beats nor hears
				asleep[store(0)] = true
			case "wake": // ... and then hears what was said meanwhile, after its first beat
				s := store(0)
				asleep[s] = false
				w.beat(&out, s, reach)
				late := w.late[s]
				w.late[s] = nil
				for _, h := range late {
					w.deliver(&out, h, reach)
				}
			case "run": // run 900: everybody beats every 300 ms
				n, err := strconv.ParseInt(d.CmdArgs[0].Key, 10, 64)
				require.NoError(t, err)
				for end := w.now + n; w.now < end; {
					w.now += 100
					if w.now%300 == 0 {
						for _, s := range sorted(w.machines) {
							if !asleep[s] {
								w.beat(&out, s, reach)
							}
						}
					}
				}
			case "supports": // supports s1 s2: does s1 support s2 now, and what does s2 know of it?
				a, b := store(0), store(1)
				e := w.machines[a].SupportEpoch(b, w.clock(a))
				fmt.Fprintf(&out, "s%d supports s%d: epoch %s\n", a, b, epoch(e))
				if m := w.machines[b]; m != nil {
					e, until := m.SupportFrom(a)
					fmt.Fprintf(&out, "s%d counts on s%d: epoch %s until %d ms\n", b, a, epoch(e), until.WallTime/ms)
				}
			case "mayvote":
				fmt.Fprintf(&out, "%v\n", w.machines[store(0)].MayVote(w.clock(store(0))))
			case "fenced":
				f, worst := w.machines[store(0)].Fenced(w.phys(store(0)))
				fmt.Fprintf(&out, "%v, worst %v\n", f, worst)
			default:
				t.Fatalf("unknown command %s", d.Cmd)
			}
			return out.String()
		})
	})
}

func epoch(e uint64) string {
	if e == 0 {
		return "none"
	}
	return fmt.Sprintf("%d.%d", e>>32, e&(1<<32-1))
}

func sorted(m map[kv.StoreID]*Machine) []kv.StoreID {
	var out []kv.StoreID
	for s := range m {
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

// Whatever is lost, delayed, restarted: while R counts on (e, T) of S and T has not passed on S's clock, S stands by e, or has
// restarted and does not vote.
func TestPromisesAreKept(t *testing.T) {
	released := 0
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 7))
		w := newWorld()
		for s := range kv.StoreID(3) {
			w.skew[s+1] = rng.Int64N(200)
			w.start(s + 1)
		}
		var inFlight []*Heartbeat
		for range 1000 {
			w.now += rng.Int64N(80)
			s := kv.StoreID(1 + rng.IntN(3))
			m := w.machines[s]
			switch rng.IntN(12) {
			case 0:
				w.start(s) // a crash: what was not persisted is forgotten; its clock has passed all it read
				w.high[s] = hlc.Timestamp{WallTime: w.high[s].WallTime + ms}
			case 1, 2, 3:
				m.WatchClock(w.phys(s))
				eff := m.Tick(w.clock(s), w.phys(s))
				if !eff.Horizon.IsEmpty() && rng.IntN(3) > 0 { // the disk may be slow
					w.horizon[s] = eff.Horizon
					m.Persisted(eff.Horizon)
				}
				inFlight = append(inFlight, eff.Send...)
				if eff.Released {
					released++
				}
			case 4:
				w.deaf[s] = !w.deaf[s]
			default:
				if len(inFlight) == 0 {
					continue
				}
				i := rng.IntN(len(inFlight))
				h := inFlight[i]
				if rng.IntN(4) > 0 {
					inFlight = slices.Delete(inFlight, i, i+1)
				} // else it is delivered twice
				if rng.IntN(5) == 0 || w.deaf[h.ToStore] {
					continue // lost
				}
				w.high[h.ToStore] = w.high[h.ToStore].Forward(h.Now)
				eff := w.machines[h.ToStore].Step(w.clock(h.ToStore), w.phys(h.ToStore), h)
				inFlight = append(inFlight, eff.Send...)
			}
			for r, rm := range w.machines {
				for p, pm := range w.machines {
					if r == p {
						continue
					}
					e, until := rm.SupportFrom(p)
					now := w.clock(p)
					if e == 0 || until.Less(now) {
						continue
					}
					require.True(t, pm.Supports(r, e, now) || !pm.MayVote(now),
						"seed %d: s%d counts on s%d until %s, which at %s does not stand by it", seed, r, p, until, now)
				}
			}
		}
	}
	require.Greater(t, released, 50, "promises are released now and then")
}

// An answer that was under way when what it extends was released is not counted on.
func TestReleasedPromiseDoesNotComeBack(t *testing.T) {
	w := newWorld()
	w.start(1)
	w.start(2)
	everybody := func(kv.StoreID) bool { return true }
	run := func(to int64, beats ...kv.StoreID) {
		for ; w.now < to; w.now += 300 {
			for _, s := range beats {
				w.beat(nil, s, everybody)
			}
		}
	}
	run(900, 1, 2)
	before, _ := w.machines[2].SupportFrom(1)
	require.NotZero(t, before)
	// One answer stays on its way.
	m, s := w.machines[2], w.machines[1]
	var late *Heartbeat
	w.deaf[2] = true
	for _, h := range m.Tick(w.clock(2), w.phys(2)).Send {
		late = s.Step(w.clock(1), w.phys(1), h).Send[0]
	}
	require.Equal(t, before, late.Epoch)
	run(3000, 2)
	require.Zero(t, s.SupportEpoch(2, w.clock(1)), "it was released")
	m.Step(w.clock(2), w.phys(2), late)
	epoch, _ := m.SupportFrom(1)
	require.Zero(t, epoch)
	// The next promise is another one.
	w.deaf[2] = false
	run(3900, 1, 2)
	epoch, _ = m.SupportFrom(1)
	require.Greater(t, epoch, before)
}

func FuzzHeartbeat(f *testing.F) {
	f.Add((&Heartbeat{FromNode: 1, ToStore: 2, Answer: true, Epoch: 1 << 33, Until: hlc.Timestamp{WallTime: 5}}).Append(nil))
	f.Add((&Heartbeat{Rest: rest.Update{Session: 4, Base: 1, Number: 3, TS: hlc.Timestamp{WallTime: 3}, Rested: []rest.Range{{ID: 1, Index: 2}}, Stirred: []kv.RangeID{7}}}).Append(nil))
	f.Add((&Heartbeat{Answer: true, Heard: rest.Ack{Session: 4, Number: 3}}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := DecodeHeartbeat(b)
		if err != nil {
			return
		}
		again, err := DecodeHeartbeat(h.Append(nil))
		require.NoError(t, err)
		require.Equal(t, h, again)
	})
}
