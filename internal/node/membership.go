package node

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/txn"
)

// Membership says that a node leaves, or has left, for good. It is written in the system keys; a node of which nothing is
// written there is a member.
type Membership struct {
	// Since is when the node was asked to leave; Done when it had no replica left.
	Since time.Time `json:"since"`
	Done  time.Time `json:"done,omitzero"`
	// Replicas and Bytes were on it at the time.
	Replicas int   `json:"replicas"`
	Bytes    int64 `json:"bytes"`
}

// Gone reports whether the node has no replica left.
func (m Membership) Gone() bool { return !m.Done.IsZero() }

type membership map[kv.NodeID]Membership

func (n *Node) readMembership(ctx context.Context) (membership, error) {
	out := membership{}
	if err := n.eachSystemRow(ctx, keys.MembershipSpan, hlc.Timestamp{}, out.add); err != nil {
		return nil, err
	}
	return out, nil
}

// add takes in a row of the system keys.
func (ms membership) add(k keys.Key, v []byte) error {
	var m Membership
	id, err := keys.DecodeMembership(k)
	if err == nil {
		err = json.Unmarshal(v, &m)
	}
	if err != nil {
		return kv.Errorf(kv.CodeCorruption, "%s: %v", keys.Pretty(k), err)
	}
	ms[kv.NodeID(id)] = m
	return nil
}

// scanMembership reads who leaves, as a transaction sees it: if another one has changed it meanwhile, it does not commit.
func scanMembership(ctx context.Context, t txn.Txn) (membership, error) {
	out := membership{}
	if err := txn.EachRow(ctx, t, keys.MembershipSpan, out.add); err != nil {
		return nil, err
	}
	return out, nil
}

// leftWithin is how long a start waits to hear whether the node has left its cluster; a cluster that has no quorum yet cannot say.
const leftWithin = 2 * time.Second

// refuseLeft refuses to start a node that was decommissioned, and has no replica left by the cluster's books: whoever wants to stop it for good should hear
// that it runs again. If that becomes known later only, the node fails then.
func (n *Node) refuseLeft(ctx context.Context) error {
	heard := make(chan error, 1)
	n.background(func(ctx context.Context) {
		for {
			left, err := n.readMembership(ctx)
			if err == nil {
				heard <- left.refuses(n.id.NodeID)
				return
			}
			select {
			case <-time.After(500 * time.Millisecond):
			case <-ctx.Done():
				return
			}
		}
	})
	select {
	case err := <-heard:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(leftWithin):
	}
	n.background(func(ctx context.Context) {
		select {
		case err := <-heard:
			if err != nil {
				n.fail(err)
			}
		case <-ctx.Done():
		}
	})
	return nil
}

// refuses says why a node may not start; nil if it may. One that is to leave, and has replicas, may: they are moved off it.
func (ms membership) refuses(id kv.NodeID) error {
	m, ok := ms[id]
	if !ok || !m.Gone() {
		return nil
	}
	return fmt.Errorf("node %d was decommissioned, and has left the cluster at %s: ask another node to take it back (pamir node recommission %d) and start it again, or give it an empty store and --join, as a new node",
		id, m.Done.Format(time.DateTime+" MST"), id)
}

// onNode counts the replicas on a node, and their bytes as far as leaders report them.
func onNode(id kv.NodeID, descs []kv.RangeDescriptor, led map[kv.RangeID]*ledRange) (replicas int, bytes int64, leaders int) {
	for i := range descs {
		if slices.ContainsFunc(descs[i].Replicas, func(r kv.Replica) bool { return r.NodeID == id }) {
			replicas++
			if l := led[descs[i].RangeID]; l != nil {
				bytes += l.Stats.Bytes
				if l.leader == id {
					leaders++
				}
			}
		}
	}
	return replicas, bytes, leaders
}

// leaving is what a decommission goes by.
type leaving struct {
	left  membership
	descs []kv.RangeDescriptor
	led   map[kv.RangeID]*ledRange
}

// leavingNow is what a decommission that begins now goes by.
func (n *Node) leavingNow(ctx context.Context, ids []kv.NodeID) (*leaving, error) {
	for _, id := range ids {
		if _, ok := n.book.Get(id); !ok {
			return nil, kv.Errorf(kv.CodeBadRequest, "there is no node %d", id)
		}
	}
	left, err := n.readMembership(ctx)
	if err != nil {
		return nil, err
	}
	descs, led, err := n.allRanges(ctx)
	if err != nil {
		return nil, err
	}
	return &leaving{left, descs, led}, nil
}

// mayDecommission refuses what could not come to an end, or would take from rules what they need, unless force is set.
func (n *Node) mayDecommission(ctx context.Context, ids []kv.NodeID, force bool) error {
	l, err := n.leavingNow(ctx, ids)
	if err != nil || force {
		return err
	}
	return n.mayLeave(ctx, ids, l)
}

// decommission asks that everything be moved off nodes, for good. Who leaves already is read, and who is to leave is written, in one transaction: of two
// decommissions that begin at the same moment one sees the other.
func (n *Node) decommission(ctx context.Context, ids []kv.NodeID, force bool) error {
	l, err := n.leavingNow(ctx, ids)
	if err != nil {
		return err
	}
	var asked []kv.NodeID
	_, err = n.inTxn(ctx, func(t txn.Txn) (err error) {
		if l.left, err = scanMembership(ctx, t); err != nil {
			return err
		}
		asked = slices.DeleteFunc(slices.Clone(ids), func(id kv.NodeID) bool { _, already := l.left[id]; return already })
		if !force && len(asked) > 0 {
			if err := n.mayLeave(ctx, asked, l); err != nil {
				return err
			}
		}
		for _, id := range asked {
			replicas, bytes, _ := onNode(id, l.descs, l.led)
			b, err := json.Marshal(Membership{Since: time.Now().UTC(), Replicas: replicas, Bytes: bytes})
			if err != nil {
				return err
			}
			if err := t.Put(keys.Membership(int32(id)), b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range asked {
		replicas, bytes, _ := onNode(id, l.descs, l.led)
		n.log.Info("a node is to leave for good", "leaving", int(id), "replicas", replicas, "bytes", bytes)
	}
	return nil
}

// recommission takes back that nodes are to leave.
func (n *Node) recommission(ctx context.Context, ids []kv.NodeID) error {
	for _, id := range ids {
		if _, ok := n.book.Get(id); !ok {
			return kv.Errorf(kv.CodeBadRequest, "there is no node %d", id)
		}
		if _, err := n.sender.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.Delete{Key: keys.Membership(int32(id))}}}); err != nil {
			return err
		}
	}
	return nil
}

// finishDecommissions notes which of the nodes that leave have no replica left. What the meta range says
// counts, not only what leaders report: a range that nobody leads may have one there.
func (d *driver) finishDecommissions(ctx context.Context) {
	n := d.n
	open := 0
	for _, m := range d.left {
		if !m.Gone() {
			open++
		}
	}
	if open == 0 {
		return
	}
	for id, m := range d.left {
		if m.Gone() || d.known.holds(id) {
			continue
		}
		descs, led, err := n.allRanges(ctx)
		if err != nil {
			return
		}
		if replicas, _, _ := onNode(id, descs, led); replicas > 0 {
			continue
		}
		noted, err := n.noteLeft(ctx, id)
		if err != nil {
			n.log.Warn("a node has left, and that cannot be noted yet", "left", int(id), "err", err)
			return
		}
		if !noted {
			continue
		}
		n.placement.note(fmt.Sprintf("n%d has no replica left: it may be stopped", id))
		n.log.Info("a node has no replica left and may be stopped", "left", int(id))
	}
}

// noteLeft writes that a node has left, unless it was recommissioned meanwhile.
func (n *Node) noteLeft(ctx context.Context, id kv.NodeID) (noted bool, err error) {
	_, err = n.inTxn(ctx, func(t txn.Txn) error {
		left, err := scanMembership(ctx, t)
		if err != nil {
			return err
		}
		m, leaves := left[id]
		if noted = leaves && !m.Gone(); !noted {
			return nil
		}
		m.Done = time.Now().UTC()
		b, err := json.Marshal(m)
		if err != nil {
			return err
		}
		return t.Put(keys.Membership(int32(id)), b)
	})
	return noted, err
}

// holds reports whether a node is known to have a replica.
func (c *collected) holds(id kv.NodeID) bool {
	for _, r := range c.ranges {
		if slices.ContainsFunc(r.desc.Replicas, func(p kv.Replica) bool { return p.NodeID == id }) {
			return true
		}
	}
	return false
}

// onTheWay is how many bytes of what a node still has have come over to the replicas that take its place.
func onTheWay(id kv.NodeID, descs []kv.RangeDescriptor, led map[kv.RangeID]*ledRange) (bytes int64) {
	for i := range descs {
		l := led[descs[i].RangeID]
		at := slices.IndexFunc(descs[i].Replicas, func(r kv.Replica) bool { return r.NodeID == id })
		if l == nil || at < 0 {
			continue
		}
		sent := int64(0)
		if descs[i].Replicas[at].Type == kv.VoterOutgoing { // its heir has it all: nothing is sent any more
			sent = l.Stats.Bytes
		}
		for _, n := range l.Sent {
			sent += n
		}
		bytes += min(sent, l.Stats.Bytes)
	}
	return bytes
}

func (n *Node) decommissionViews(ctx context.Context) ([]DecommissionView, error) {
	left, err := n.readMembership(ctx)
	if err != nil || len(left) == 0 {
		return nil, err
	}
	descs, led, err := n.allRanges(ctx)
	if err != nil {
		return nil, err
	}
	var out []DecommissionView
	for id, m := range left {
		v := DecommissionView{NodeID: id, State: "leaving", Since: m.Since, Done: m.Done, BeganWith: m.Replicas, BeganWithBytes: m.Bytes}
		v.Replicas, v.Bytes, v.Leaders = onNode(id, descs, led)
		if m.Gone() {
			v.State = "left"
		}
		if v.Replicas > 0 {
			v.Sent = onTheWay(id, descs, led)
		}
		done, all := float64(m.Replicas-v.Replicas), float64(m.Replicas)
		if m.Bytes > 0 { // a range's time goes with its size
			done, all = done+float64(m.Bytes-v.Bytes+v.Sent)/float64(m.Bytes)*all, 2*all
		}
		v.Progress = 1
		if all > 0 {
			v.Progress = min(max(0, done/all), 1)
		}
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b DecommissionView) int { return int(a.NodeID) - int(b.NodeID) })
	return out, nil
}
