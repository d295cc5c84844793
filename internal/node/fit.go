package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pamirdb/pamir/internal/admin"
	"github.com/pamirdb/pamir/placement"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/range/transport"
)

// What an operator asks for is compared with what there is before it is done: rules that no nodes fit are accepted, and that is said; nodes without which what rules ask
// for would be gone, or clients, do not go unless forced.

// members are the stores that rules can count on for good: not those that leave, nor the dead. keep, if not nil, leaves out more.
func (n *Node) members(left membership, keep func(e *transport.Entry) bool) (out []placement.Store) {
	peers := map[kv.NodeID]transport.PeerStatus{}
	for _, x := range n.transport.Peers() {
		peers[x.NodeID] = x
	}
	for _, e := range n.book.Entries() {
		if _, leaves := left[e.NodeID]; leaves || keep != nil && !keep(&e) {
			continue
		}
		if x, ok := peers[e.NodeID]; ok && x.Silence > n.cfg.Rules.Limits.DeadAfter {
			continue
		}
		out = append(out, placement.Store{ID: placement.StoreID(e.StoreID), Node: placement.NodeID(e.NodeID), Locality: e.Locality})
	}
	return out
}

// lacks says what of a rule the nodes cannot give, as far as it has to do with options that are being set.
func lacks(r *placement.Rule, members []placement.Store, options []string) (out []string) {
	for _, l := range r.Lacks(members) {
		if l.Concerns(options) {
			out = append(out, l.Why)
		}
	}
	return out
}

// clusterWarnings says what the cluster's rule, of which an option has been set, asks for that there is not, for itself and for what inherits it.
func (n *Node) clusterWarnings(ctx context.Context, option string) []string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	left, err := n.readMembership(ctx)
	if err != nil {
		return nil // it has been set; findings say the same later
	}
	var b ruleBook
	if err := b.refresh(ctx, n, false); err != nil {
		return nil
	}
	members := n.members(left, nil)
	out := lacks(&b.rules.Default, members, []string{option})
	for i := range b.rules.Special {
		r := &b.rules.Special[i]
		if _, own := b.tables[i].Options[option]; own {
			continue
		}
		if err := r.Check(); err != nil {
			out = append(out, fmt.Sprintf("%s: %v", r.Name, err))
			continue
		}
		// What is wrong with the cluster's rule is wrong with those that inherit it: it is said once.
		for _, l := range r.Lacks(members) {
			if l.Concerns([]string{option}) && !slices.ContainsFunc(b.rules.Default.Lacks(members), l.Same) {
				out = append(out, l.Why)
			}
		}
	}
	const most = 10
	if len(out) > most {
		out = append(out[:most], fmt.Sprintf("and %d more", len(out)-most))
	}
	return out
}

// mayLeave refuses a decommission after which some rule could not hold that holds now, or that could not come to an end.
func (n *Node) mayLeave(ctx context.Context, ids []kv.NodeID, l *leaving) error {
	var b ruleBook
	if err := b.refresh(ctx, n, false); err != nil {
		return err
	}
	// Looked at once: a node may fall silent while this goes on, and the reasons are to be those that were gone by.
	absent, names := n.uncounted(l.left, ids)
	now := n.members(l.left, func(e *transport.Entry) bool {
		return !absent[e.NodeID] && (n.transport.Alive(e.NodeID) || !slices.Contains(ids, e.NodeID))
	})
	after := slices.DeleteFunc(slices.Clone(now), func(s placement.Store) bool { return slices.Contains(ids, kv.NodeID(s.Node)) })
	rules := []*placement.Rule{&b.rules.Default}
	for i := range b.rules.Special {
		rules = append(rules, &b.rules.Special[i])
	}
	most := make([]int, len(rules))
	for i := range l.descs {
		voters := 0
		for _, r := range l.descs[i].Replicas {
			if r.VotesNew() {
				voters++
			}
		}
		at := b.ruleAt(l.descs[i].StartKey)
		most[at] = max(most[at], voters)
	}
	needed(most, rules)
	var why []string
	if all := slices.Max(most); len(after) < all {
		why = append(why, remaining(len(after), all))
	} else {
		for k, r := range rules {
			had := r.Lacks(now)
			for _, x := range r.Lacks(after) {
				if !x.Wish && !slices.ContainsFunc(had, x.Same) {
					why = append(why, x.Why)
				}
			}
			if fit := r.Fitting(after); len(why) == 0 && len(fit) < most[k] {
				why = append(why, fmt.Sprintf("%s has ranges with %d replicas, and %d nodes would remain for them", r.Owner(), most[k], len(fit)))
			}
		}
	}
	if len(why) == 0 {
		return nil
	}
	const some = 5
	if len(why) > some {
		why = append(why[:some], fmt.Sprintf("and %d more rules", len(why)-some))
	}
	const forced = "With force it leaves all the same, and what has no other place stays on it until there is one."
	p := admin.NewProblem(admin.CodeConflict, "%s cannot leave: without it, %s", nodesText(ids), strings.Join(why, "; "))
	if names != "" {
		p.Detail += " (not counted: " + names + ")"
		return p.WithHint("Have these nodes take replicas again, or add one, or change the rule, first. %s", forced)
	}
	return p.WithHint("Add a node that can take its place, or change the rule, first. %s", forced)
}

// needed turns how many voters ranges have, at most, by rule, into how many they have to keep: as many as there are even if the rule wants more, and no more than it wants even if more
// are still there, as right after it was changed.
func needed(most []int, rules []*placement.Rule) {
	for k, r := range rules {
		most[k] = min(most[k], r.Replicas)
	}
}

// uncounted says which nodes, besides some, are there and do not count, and why: who leaves, who has left and still runs (one that had nothing has left at once), who is silent, and who drains and so is
// about to be stopped, and takes nothing. Those that have left and are gone are no part of the cluster any more.
func (n *Node) uncounted(left membership, but []kv.NodeID) (ids map[kv.NodeID]bool, names string) {
	ids = map[kv.NodeID]bool{}
	var out []string
	for _, e := range n.book.Entries() {
		m, leaves := left[e.NodeID]
		why := ""
		switch {
		case slices.Contains(but, e.NodeID):
		case m.Gone():
			if n.transport.Alive(e.NodeID) {
				why = "has left"
			}
		case leaves:
			why = "leaves"
		case !n.transport.Alive(e.NodeID):
			why = "does not answer"
		case e.Draining:
			why = "drains"
		}
		if why != "" {
			ids[e.NodeID] = true
			out = append(out, fmt.Sprintf("node %d %s", e.NodeID, why))
		}
	}
	return ids, strings.Join(out, ", ")
}

func nodesText(ids []kv.NodeID) string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = fmt.Sprintf("node %d", id)
	}
	return strings.Join(out, ", ")
}

// askedDraining are the nodes that drain, or have, by what they say themselves: others hear of it a moment later. What was heard counts of those that do not answer.
func (n *Node) askedDraining(ctx context.Context) map[kv.NodeID]bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	out := map[kv.NodeID]bool{}
	for _, e := range n.book.Entries() {
		wg.Add(1)
		go func() {
			defer wg.Done()
			drains := e.Draining
			if n.transport.Alive(e.NodeID) {
				if v, err := ask[drainRequest, DrainView](ctx, n, e.NodeID, "drain", &drainRequest{}); err == nil {
					drains = v.State != "serving"
				}
			}
			mu.Lock()
			defer mu.Unlock()
			out[e.NodeID] = drains
		}()
	}
	wg.Wait()
	return out
}

// MayDrain refuses to drain the last node that serves clients, and one without which a range has no majority of replicas on nodes that serve: who drains one is about to
// stop it.
func (o operations) MayDrain(ctx context.Context, id kv.NodeID, force bool) error {
	n := o.n
	if _, ok := n.book.Get(id); !ok {
		return kv.Errorf(kv.CodeBadRequest, "there is no node %d", id)
	}
	if force {
		return nil
	}
	draining := n.askedDraining(ctx)
	serves := func(x kv.NodeID) bool { return x != id && n.transport.Alive(x) && !draining[x] }
	left, err := n.readMembership(ctx)
	if err != nil {
		return err
	}
	const forced = "With force it drains all the same."
	if !slices.ContainsFunc(n.book.Entries(), func(e transport.Entry) bool { return serves(e.NodeID) && !left[e.NodeID].Gone() }) {
		return admin.NewProblem(admin.CodeConflict, "node %d is the only one that serves clients: all others drain, or do not answer", id).
			WithHint("Undrain another node first, or start it. %s", forced)
	}
	ranges, err := o.Ranges(ctx)
	if err != nil {
		return err
	}
	short, first := 0, ""
	for i := range ranges {
		r := &ranges[i]
		voters, stay := 0, 0
		var away []string
		here := false
		for _, p := range r.Replicas {
			if p.Type == kv.Learner.String() || p.Type == kv.NonVoter.String() {
				continue
			}
			voters++
			switch {
			case p.NodeID == id:
				here = true
			case serves(p.NodeID):
				stay++
			case draining[p.NodeID]:
				away = append(away, fmt.Sprintf("node %d drains", p.NodeID))
			default:
				away = append(away, fmt.Sprintf("node %d does not answer", p.NodeID))
			}
		}
		if !here || 2*stay > voters {
			continue
		}
		if short++; short == 1 || first == "" {
			first = fmt.Sprintf("range %d", r.ID)
			if r.Table != "" {
				first += fmt.Sprintf(" (table %s)", r.Table)
			}
			if len(away) > 0 {
				first += ", of which " + strings.Join(away, ", ")
			} else {
				first += fmt.Sprintf(", which has %d of %d replicas elsewhere", stay, voters)
			}
		}
	}
	switch {
	case short == 0:
		return nil
	case short == 1:
		first = "1 range would have no majority of its replicas on nodes that serve: " + first
	default:
		first = fmt.Sprintf("%d ranges would have no majority of their replicas on nodes that serve, such as %s", short, first)
	}
	return admin.NewProblem(admin.CodeConflict, "if node %d drained and was stopped, %s", id, first).
		WithHint("Wait until the others serve again, or undrain them; a range with one replica has to be moved elsewhere. %s", forced)
}

// ruleOfTable completes the options of a table's, or an index's, rule by the cluster's.
func (n *Node) ruleOfTable(ctx context.Context, of string, options map[string]string) (placement.Rule, error) {
	r := n.cfg.Rules.Default
	if cluster, _, err := getSystem[ruleOptions](ctx, n, keys.ClusterRule); err == nil {
		applyOptions(&r, cluster) // what makes no sense in it is not this rule's
	}
	r.Name = of
	for name := range options {
		if !placement.IsOption(name) {
			return r, r.Set(name, "") // says what there is
		}
	}
	if errs := applyOptions(&r, options); len(errs) > 0 {
		return r, errs[0]
	}
	return r, r.Check()
}

// remaining says that so few nodes are too few for ranges with up to the given number of replicas.
func remaining(nodes, replicas int) string {
	switch nodes {
	case 0:
		return "no node would remain"
	case 1:
		return fmt.Sprintf("one node would remain, and ranges have up to %d replicas", replicas)
	}
	return fmt.Sprintf("%d nodes would remain, and ranges have up to %d replicas", nodes, replicas)
}
