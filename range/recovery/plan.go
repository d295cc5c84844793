package recovery

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// ErrQuorum: there is nothing to do, every range has a majority.
var ErrQuorum = errors.New("every range has a majority of its replicas: start the nodes")

// Plan says which ranges go on with one replica, and what becomes of the stores.
type Plan struct {
	Version int `json:"version"`
	// Cluster is the stores' id now, NewCluster their id afterwards.
	Cluster    uuid.UUID `json:"cluster"`
	NewCluster uuid.UUID `json:"new_cluster"`
	// Survivors have to be treated, all of them, also those where no range is changed. Lost are named in descriptors and were not collected.
	Survivors []Member `json:"survivors"`
	Lost      []Member `json:"lost"`
	Ranges    []Range  `json:"ranges"`
	// Healthy is how many ranges have a majority.
	Healthy int `json:"healthy"`
	// Gone are spans of which no replica is left.
	Gone []keys.Span `json:"gone,omitempty"`
	// Anew are ranges that take the place of those that are gone, and are empty: see MakeAnew.
	Anew []Anew `json:"anew,omitempty"`
	// LastNode, LastStore and LastRange are the largest ids that are known to have been given.
	LastNode  kv.NodeID  `json:"last_node"`
	LastStore kv.StoreID `json:"last_store"`
	LastRange kv.RangeID `json:"last_range"`
}

// Member is a store and its node.
type Member struct {
	Node  kv.NodeID  `json:"node"`
	Store kv.StoreID `json:"store"`
	Dir   string     `json:"dir,omitempty"`
}

// Range goes on with one of its replicas.
type Range struct {
	Descriptor *kv.RangeDescriptor `json:"descriptor"` // the newest that was found
	Store      kv.StoreID          `json:"store"`      // where it goes on
	Last       Position            `json:"last"`       // the end of the log there
	Applied    Position            `json:"applied"`
	// Complete: everything up to this time is certainly there.
	Complete hlc.Timestamp `json:"complete"`
	// Sure: the end of the log is known to be committed, as far as that can be known: nothing in it was still under way.
	Sure  bool  `json:"sure"`
	Rows  int64 `json:"rows"`
	Bytes int64 `json:"bytes"`
	// Others survive as well, and are behind, or were not chosen: they are removed when the cluster runs.
	Others []kv.StoreID `json:"others,omitempty"`
	Lost   []kv.StoreID `json:"lost"`
}

// Make plans from what all surviving stores know.
func Make(facts []*Facts) (*Plan, error) {
	facts = slices.SortedFunc(slices.Values(facts), func(a, b *Facts) int { return cmp.Compare(a.Store, b.Store) }) // of equals the first store is chosen
	p, err := members(facts)
	if err != nil {
		return nil, err
	}
	type held struct {
		store kv.StoreID
		Replica
	}
	byRange, newest := map[kv.RangeID][]held{}, map[kv.RangeID]*kv.RangeDescriptor{}
	for _, f := range facts {
		for _, r := range f.Replicas {
			d := r.Descriptor
			byRange[d.RangeID] = append(byRange[d.RangeID], held{f.Store, r})
			if old := newest[d.RangeID]; old == nil || old.Generation < d.Generation {
				newest[d.RangeID] = d
			}
		}
	}
	survives := map[kv.StoreID]bool{}
	for _, s := range p.Survivors {
		survives[s.Store] = true
	}
	lost := map[kv.StoreID]Member{}
	for _, d := range newest {
		p.LastRange = max(p.LastRange, d.RangeID)
		for _, r := range d.Replicas {
			p.LastNode, p.LastStore = max(p.LastNode, r.NodeID), max(p.LastStore, r.StoreID)
			if !survives[r.StoreID] {
				lost[r.StoreID] = Member{Node: r.NodeID, Store: r.StoreID}
			}
		}
	}
	for _, f := range facts { // who had nothing but what is gone is named there only
		for _, d := range f.Addresses {
			for _, r := range d.Replicas {
				p.LastNode, p.LastStore = max(p.LastNode, r.NodeID), max(p.LastStore, r.StoreID)
				if !survives[r.StoreID] {
					lost[r.StoreID] = Member{Node: r.NodeID, Store: r.StoreID}
				}
			}
		}
	}
	p.Lost = slices.SortedFunc(maps.Values(lost), func(a, b Member) int { return cmp.Compare(a.Store, b.Store) })

	current := withoutOverlap(newest)
	next := keys.Min
	for _, d := range current {
		if next.Less(d.StartKey) {
			p.Gone = append(p.Gone, keys.Span{Start: next, End: d.StartKey})
		}
		next = d.EndKey
		if majority(d, func(r kv.Replica) bool {
			return slices.ContainsFunc(byRange[d.RangeID], func(h held) bool { return h.store == r.StoreID && h.Replica.Replica == r.ReplicaID })
		}) {
			p.Healthy++
			continue
		}
		// Voters before others: a replica without a vote may have been left behind for long.
		var best *held
		rank := func(h *held) int {
			if m, ok := d.ReplicaByID(h.Replica.Replica); ok && m.StoreID == h.store {
				if m.VotesOld() || m.VotesNew() {
					return 2
				}
				return 1
			}
			return 0
		}
		for i := range byRange[d.RangeID] {
			h := &byRange[d.RangeID][i]
			switch {
			case best == nil || rank(h) > rank(best):
				best = h
			case rank(h) < rank(best):
			case best.Last.less(h.Last), best.Last == h.Last && best.Applied.less(h.Applied):
				best = h
			}
		}
		x := Range{Descriptor: d, Store: best.store, Last: best.Last, Applied: best.Applied, Complete: best.Complete, Rows: best.Rows, Bytes: best.Bytes,
			Sure: best.Committed >= best.Last.Index}
		for _, h := range byRange[d.RangeID] {
			if h.store != best.store {
				x.Others = append(x.Others, h.store)
			}
		}
		for _, r := range d.Replicas {
			if !survives[r.StoreID] {
				x.Lost = append(x.Lost, r.StoreID)
			}
		}
		p.Ranges = append(p.Ranges, x)
	}
	if next.Less(keys.Max) {
		p.Gone = append(p.Gone, keys.Span{Start: next, End: keys.Max})
	}
	if len(p.Ranges) == 0 && len(p.Gone) == 0 {
		return nil, ErrQuorum
	}
	if len(p.Gone) > 0 && p.Gone[0].Start.Less(keys.TableMin) {
		return nil, errors.New("no replica is left of the meta range: without it the others cannot be found. Add the store that has one")
	}
	return p, nil
}

// members checks that the facts belong together.
func members(facts []*Facts) (*Plan, error) {
	if len(facts) == 0 {
		return nil, errors.New("no store was read")
	}
	p := &Plan{Version: formatVersion, Cluster: facts[0].Cluster, NewCluster: uuid.New()}
	for i, f := range facts {
		if f.Version != formatVersion {
			return nil, fmt.Errorf("what was collected of store %d has format %d, this version of pamir knows %d", f.Store, f.Version, formatVersion)
		}
		if f.Cluster != p.Cluster {
			return nil, fmt.Errorf("the store in %s belongs to cluster %s, that in %s to cluster %s", facts[0].Dir, p.Cluster, f.Dir, f.Cluster)
		}
		if j := slices.IndexFunc(facts[:i], func(o *Facts) bool { return o.Store == f.Store }); j >= 0 {
			return nil, fmt.Errorf("store %d is there twice: %s and %s", f.Store, facts[j].Dir, f.Dir)
		}
		p.LastNode, p.LastStore = max(p.LastNode, f.Node), max(p.LastStore, f.Store)
		p.Survivors = append(p.Survivors, Member{Node: f.Node, Store: f.Store, Dir: f.Dir})
	}
	return p, nil
}

// majority reports whether both majorities of the range's configuration are there.
func majority(d *kv.RangeDescriptor, there func(kv.Replica) bool) bool {
	var old, olds, now, nows int
	for _, r := range d.Replicas {
		if r.VotesOld() {
			if old++; there(r) {
				olds++
			}
		}
		if r.VotesNew() {
			if now++; there(r) {
				nows++
			}
		}
	}
	return 2*olds > old && 2*nows > now
}

// withoutOverlap leaves out ranges that a later generation of others has taken the place of: a replica that was behind when its range was split,
// or one that was merged away. The rest is in key order.
func withoutOverlap(newest map[kv.RangeID]*kv.RangeDescriptor) (out []*kv.RangeDescriptor) {
	all := slices.SortedFunc(maps.Values(newest), func(a, b *kv.RangeDescriptor) int {
		return cmp.Or(cmp.Compare(b.Generation, a.Generation), cmp.Compare(a.RangeID, b.RangeID))
	})
	for _, d := range all {
		if !slices.ContainsFunc(out, func(o *kv.RangeDescriptor) bool { return o.Span().Overlaps(d.Span()) }) {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b *kv.RangeDescriptor) int { return a.StartKey.Compare(b.StartKey) })
	return out
}
