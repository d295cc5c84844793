package simulate

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"syscall"
	"time"

	"github.com/pamirdb/pamir/placement"
)

// Step is the time between two plans, as the driver has it.
const Step = 2 * time.Second

// unsteadyFor is how long a store that was silent counts as unsteady, and shakenFor how long one that was without support counts as shaken, as the driver has it.
const (
	unsteadyFor = time.Minute
	shakenFor   = 30 * time.Second
)

const (
	electionTime = 1500 * time.Millisecond
	changeTime   = 300 * time.Millisecond // of a replica change without its bytes
	giveUpTime   = 6 * time.Second        // until a change notices that a store is gone
)

// Store of the model.
type Store struct {
	placement.Store
	Down      bool
	downSince time.Duration
	silentAt  time.Duration // last seen to be silent
	shakenAt  time.Duration // last seen without support
	Bandwidth float64       // bytes per second, each way
	otherUse  int64         // bytes on its disk that are no replicas
	others    float64       // processors that other processes of its machine use
}

// Cluster is the model.
type Cluster struct {
	Now    time.Duration
	Rules  placement.Rules
	Stores []*Store
	Ranges []placement.Range // by id
	// Twin: every plan is also made from scratch, and it is an error if the two differ.
	Twin    bool
	flights map[placement.RangeID]*flight
	rnd     *rand.Rand
	kept    *placement.Ranges
	changed []int // ranges that kept does not know as they are
	used    []int64
	// Processors of each node, if they are modelled: see measure. What ranges take is Unseen times what their leaders say.
	Processors int
	Unseen     float64
	busy       [][2]float64 // used and idle, smoothed

	// What has happened so far.
	Moves, Transfers, Failed int
	MovedBytes               int64
	PlanTime                 time.Duration // processor time, of the machine that runs the model
	SlowestPlan              time.Duration
	Plans                    int
	Last                     placement.Result
	idle                     time.Duration
	leaderless               int
}

type source = placement.Source

type flight struct {
	op   placement.Operator
	ends time.Duration
	fail bool
}

// Spec of a cluster at the beginning: everything is where it should be.
type Spec struct {
	Seed                  uint64
	Regions, Zones, Nodes int // zones in each region; nodes in all
	Ranges                int
	Bytes                 int64   // of a range
	Skew                  float64 // sigma of the logarithm of the sizes; 0 is none
	Capacity              int64   // of a disk
	Processors            int     // of a node; 0: they are not modelled
}

// New makes a cluster.
func New(s Spec) *Cluster {
	c := &Cluster{Rules: placement.DefaultRules(), Processors: s.Processors, Unseen: 1, flights: map[placement.RangeID]*flight{}, kept: placement.NewRanges(),
		rnd: rand.New(rand.NewPCG(s.Seed, 1))}
	for i := range s.Nodes {
		r := i % s.Regions
		c.AddStore(fmt.Sprintf("region=%c", 'a'+rune(r%26)), fmt.Sprintf("zone=%c%d", 'a'+rune(r%26), i/s.Regions%s.Zones+1), s.Capacity)
	}
	// Ranges are dealt out in turn, each to stores of different regions or zones.
	next := 0
	for i := range s.Ranges {
		r := placement.Range{ID: placement.RangeID(i + 1), Generation: 1, Bytes: s.Bytes}
		if s.Skew > 0 {
			r.Bytes = int64(float64(s.Bytes) * math.Exp(s.Skew*c.rnd.NormFloat64()-s.Skew*s.Skew/2))
		}
		for len(r.Voters) < min(c.Rules.Default.Replicas, s.Nodes) {
			at, best := 0, math.MaxInt
			for k := range min(s.Nodes, max(s.Regions*s.Zones, 3)) { // those whose turn is next
				st := c.Stores[(next+k)%len(c.Stores)]
				if slices.Contains(r.Voters, st.ID) {
					continue
				}
				if share := c.shares(st, r.Voters); share < best {
					at, best = (next+k)%len(c.Stores), share
				}
			}
			r.Voters = append(r.Voters, c.Stores[at].ID)
			next = (next + 1) % len(c.Stores)
		}
		r.Leader = r.Voters[i%len(r.Voters)]
		r.LedSince = -time.Hour
		c.Ranges = append(c.Ranges, r)
		for _, v := range r.Voters {
			c.used[v-1] += r.Bytes
		}
		c.Changed(i)
	}
	return c
}

// Changed notes that the range at position i of Ranges is not what it was. Its size must not have changed.
func (c *Cluster) Changed(i int) { c.changed = append(c.changed, i) }

// store returns a store by its id: they are numbered from 1.
func (c *Cluster) store(id placement.StoreID) *Store { return c.Stores[id-1] }

func (c *Cluster) shares(s *Store, set []placement.StoreID) (n int) {
	for _, id := range set {
		for t, l := range c.store(id).Locality {
			if s.Locality[t] != l {
				break
			}
			n += []int{100, 1}[min(t, 1)]
		}
	}
	return n
}

// AddStore adds a store on a node of its own.
func (c *Cluster) AddStore(region, zone string, capacity int64) *Store {
	id := len(c.Stores) + 1
	s := &Store{Bandwidth: 64 << 20}
	s.ID, s.Node, s.Locality, s.Capacity, s.Free = placement.StoreID(id), placement.NodeID(id), []string{region, zone}, capacity, capacity
	c.Stores, c.used = append(c.Stores, s), append(c.used, 0)
	return s
}

// Kill and Revive stop a store and start it again, with what it had.
func (c *Cluster) Kill(s *Store) {
	if !s.Down {
		s.Down, s.downSince = true, c.Now
	}
}

// Revive: see Kill.
func (c *Cluster) Revive(s *Store) { s.Down = false }

// Shake takes the support of others from a store, for a moment: what it leads gets other leaders.
func (c *Cluster) Shake(s *Store) {
	s.shakenAt = c.Now
	for i := range c.Ranges {
		r := &c.Ranges[i]
		if r.Leader != s.ID {
			continue
		}
		var up []placement.StoreID
		for _, v := range r.Voters {
			if v != s.ID && !c.store(v).Down {
				up = append(up, v)
			}
		}
		if len(up) > 0 {
			r.LedBefore, r.Leader, r.LedSince = s.ID, up[int(r.ID)%len(up)], c.Now
			c.Changed(i)
		}
	}
}

// Tick advances the model by one step and makes a plan.
func (c *Cluster) Tick() error {
	c.Now += Step
	if err := c.land(); err != nil {
		return err
	}
	c.elect()
	c.work()
	now := c.moment()
	began := processorTime()
	for _, i := range c.changed { // telling is part of the cost
		c.kept.Set(c.Ranges[i])
	}
	c.changed = c.changed[:0]
	c.Last = c.kept.Plan(now, c.Rules)
	took := processorTime() - began
	if c.Twin {
		if twin := placement.Plan(placement.Snapshot{Moment: now, Ranges: c.Ranges}, c.Rules); !reflect.DeepEqual(twin, c.Last) {
			return fmt.Errorf("at %s the plan was %v, and from scratch it is %v", c.Now, c.Last, twin)
		}
	}
	c.PlanTime += took
	c.SlowestPlan = max(c.SlowestPlan, took)
	c.Plans++
	if len(c.Last.Operators) == 0 && len(c.flights) == 0 {
		c.idle += Step
	} else {
		c.idle = 0
	}
	for _, op := range c.Last.Operators {
		c.begin(op)
	}
	return nil
}

// Idle is for how long nothing has been done.
func (c *Cluster) Idle() time.Duration { return c.idle }

func (c *Cluster) at(id placement.RangeID) int {
	i, _ := slices.BinarySearchFunc(c.Ranges, id, func(r placement.Range, id placement.RangeID) int { return cmp.Compare(r.ID, id) })
	return i
}

func (c *Cluster) begin(op placement.Operator) {
	i := c.at(op.Range)
	r := &c.Ranges[i]
	c.Changed(i)
	if op.Kind == placement.TransferLeader {
		c.Transfers++
		if c.store(op.To).Down || c.store(r.Leader).Down {
			c.Failed++
			return
		}
		r.LedBefore, r.Leader, r.LedSince = r.Leader, op.To, c.Now
		return
	}
	f := &flight{op: op, ends: c.Now + changeTime}
	for _, s := range op.Add {
		to, from := c.store(s), c.store(r.Leader)
		f.ends += time.Duration(float64(r.Bytes) / min(to.Bandwidth, from.Bandwidth) * float64(time.Second))
		f.fail = f.fail || to.Down
	}
	if f.fail {
		f.ends = c.Now + giveUpTime
	}
	c.flights[op.Range] = f
	r.Changing = true
}

// land ends the changes whose time has come.
func (c *Cluster) land() error {
	for id, f := range c.flights {
		at := c.at(id)
		r := &c.Ranges[at]
		for _, s := range f.op.Add {
			if c.store(s).Down && !f.fail {
				f.fail, f.ends = true, max(f.ends, c.Now+giveUpTime)
			}
		}
		f.fail = f.fail || r.Leader == 0 || r.Leader != f.op.Leader
		if f.ends > c.Now {
			continue
		}
		delete(c.flights, id)
		r.Changing = false
		c.Changed(at)
		if f.fail || r.Generation != f.op.Generation {
			c.Failed++
			continue
		}
		before := c.live(r) > len(r.Voters)/2
		drop := func(set []placement.StoreID) []placement.StoreID {
			return slices.DeleteFunc(slices.Clone(set), func(s placement.StoreID) bool { return slices.Contains(f.op.Remove, s) })
		}
		r.Voters, r.NonVoters = drop(r.Voters), drop(r.NonVoters)
		if f.op.NonVoting {
			r.NonVoters = append(r.NonVoters, f.op.Add...)
		} else {
			r.Voters = append(r.Voters, f.op.Add...)
		}
		r.Generation += 4
		for _, v := range f.op.Add {
			c.used[v-1] += r.Bytes
		}
		for _, v := range f.op.Remove {
			c.used[v-1] -= r.Bytes
		}
		c.Moves++
		c.MovedBytes += r.Bytes * int64(len(f.op.Add))
		all := append(slices.Clone(r.Voters), r.NonVoters...)
		slices.Sort(all)
		if len(slices.Compact(slices.Clone(all))) != len(all) {
			return fmt.Errorf("two replicas of r%d on one store: %v", r.ID, all)
		}
		if before && c.live(r) <= len(r.Voters)/2 {
			return fmt.Errorf("r%d has lost its quorum by %s", r.ID, f.op)
		}
	}
	return nil
}

func (c *Cluster) live(r *placement.Range) (n int) {
	for _, v := range r.Voters {
		if !c.store(v).Down {
			n++
		}
	}
	return n
}

// elect finds leaders for ranges whose leader is gone.
func (c *Cluster) elect() {
	if c.leaderless == 0 && !slices.ContainsFunc(c.Stores, func(s *Store) bool { return s.Down }) {
		return
	}
	c.leaderless = 0
	for i := range c.Ranges {
		r := &c.Ranges[i]
		if r.Leader != 0 {
			if s := c.store(r.Leader); !s.Down || c.Now-s.downSince < electionTime {
				continue
			}
			r.Leader = 0
			c.Changed(i)
		}
		if c.live(r) <= len(r.Voters)/2 {
			c.leaderless++
			continue
		}
		var up []placement.StoreID
		for _, v := range r.Voters {
			if !c.store(v).Down {
				up = append(up, v)
			}
		}
		r.Leader, r.LedSince = up[int(r.ID)%len(up)], c.Now
		c.Changed(i)
	}
}

// moment is what the driver would know beside the ranges.
func (c *Cluster) moment() placement.Moment {
	now := placement.Moment{Now: c.Now}
	for _, s := range c.Stores {
		s.Silence = 0
		if s.Down {
			s.Silence = c.Now - s.downSince
		}
		if s.Silence > c.Rules.Limits.AliveWithin {
			s.silentAt = c.Now
		}
		s.Unsteady = s.silentAt > 0 && c.Now-s.silentAt < unsteadyFor
		s.Shaken = s.shakenAt > 0 && c.Now-s.shakenAt < shakenFor
		if s.Capacity > 0 {
			s.Free = s.Capacity - c.used[s.ID-1] - s.otherUse
		}
		now.Stores = append(now.Stores, s.Store)
	}
	for _, f := range c.flights {
		now.InFlight = append(now.InFlight, f.op)
	}
	slices.SortFunc(now.InFlight, func(a, b placement.Operator) int { return cmp.Compare(a.Range, b.Range) })
	return now
}

// processorTime is what this process has used so far.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Census is the state of the cluster in figures.
type Census struct {
	Unavailable, Short int // ranges without a quorum, and with fewer live voters than wanted
	InFlight, Waiting  int
	Replicas, Leaders  [3]float64 // least, mean and most on a store that lives and stays
	Bytes, CPU         [3]float64
}

// Census takes one.
func (c *Cluster) Census() Census {
	out := Census{InFlight: len(c.flights), Waiting: len(c.Last.Findings)}
	per := make([][4]float64, len(c.Stores)+1)
	for i := range c.Ranges {
		r := &c.Ranges[i]
		live := c.live(r)
		want := c.Rules.Default.Replicas
		if r.Rule > 0 {
			want = c.Rules.Special[r.Rule-1].Replicas
		}
		if live <= len(r.Voters)/2 {
			out.Unavailable++
		}
		if live < want {
			out.Short++
		}
		for _, set := range [2][]placement.StoreID{r.Voters, r.NonVoters} {
			for _, v := range set {
				per[v][0]++
				per[v][2] += float64(r.Bytes)
			}
		}
		if r.Leader != 0 {
			per[r.Leader][1]++
			per[r.Leader][3] += r.Load.CPU
		}
	}
	first, n := true, 0.0
	for _, s := range c.Stores {
		if s.Down || s.Decommissioning {
			continue
		}
		n++
		for k, f := range []*[3]float64{&out.Replicas, &out.Leaders, &out.Bytes, &out.CPU} {
			v := per[s.ID][k]
			if first {
				f[0] = v
			}
			f[0], f[1], f[2] = min(f[0], v), f[1]+v, max(f[2], v)
		}
		first = false
	}
	for _, f := range []*[3]float64{&out.Replicas, &out.Leaders, &out.Bytes, &out.CPU} {
		f[1] /= max(n, 1)
	}
	return out
}
