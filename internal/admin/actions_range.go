package admin

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// What is done to ranges.

func (c *call) rangeID() kv.RangeID { return kv.RangeID(c.args.Int("range_id")) }

// theRange finds a range by its number.
func theRange(ctx context.Context, c Cluster, id kv.RangeID) (*RangeView, error) {
	all, err := c.Ranges(ctx)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].ID == id {
			return &all[i], nil
		}
	}
	return nil, NoRange(id)
}

// NoRange says that there is no range of that number.
func NoRange(id kv.RangeID) *Problem {
	return NewProblem(CodeNotFound, "there is no range %d", id).WithHint("pamir range list and TABLE pamir.ranges list them.")
}

func (r *RangeView) on(n kv.NodeID) *ReplicaView {
	for i := range r.Replicas {
		if r.Replicas[i].NodeID == n {
			return &r.Replicas[i]
		}
	}
	return nil
}

// Nodes are those with a replica, of whatever type.
func (r *RangeView) Nodes() []kv.NodeID {
	out := make([]kv.NodeID, len(r.Replicas))
	for i := range r.Replicas {
		out[i] = r.Replicas[i].NodeID
	}
	return out
}

// voters are the nodes with replicas that could lead.
func (r *RangeView) voters() (out []kv.NodeID) {
	for _, p := range r.Replicas {
		if p.Type != kv.Learner.String() && p.Type != kv.NonVoter.String() {
			out = append(out, p.NodeID)
		}
	}
	return out
}

func checkSplit(ctx context.Context, c *call) error {
	key, err := c.KeyOf(ctx, c.args.Text("table"), c.args.Texts("values"))
	if err != nil {
		return err
	}
	c.prepared = hex.EncodeToString(key)
	return nil
}

func runSplit(ctx context.Context, c *call) (map[string]any, error) {
	b, err := hex.DecodeString(c.prepared)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var left, right kv.RangeDescriptor
	err = patiently(ctx, func() (err error) {
		left, right, err = c.Split(ctx, keys.Key(b))
		return err
	})
	if err != nil {
		return nil, err
	}
	out := map[string]any{"range_id": int64(right.RangeID)}
	if left.RangeID != right.RangeID {
		out["left_range_id"] = int64(left.RangeID)
	}
	return out, nil
}

// mergeTimeout bounds a merge by command, moves of replicas included.
const mergeTimeout = 10 * time.Minute

func checkMerge(ctx context.Context, c *call) error {
	if err := checkSplit(ctx, c); err != nil {
		return err
	}
	r, begins, err := c.rangeOfKey(ctx)
	if err == nil && !begins {
		err = NewProblem(CodeConflict, "no range begins there: the row is inside of range %d", r.ID)
	}
	return err
}

// rangeOfKey finds the range that holds the key that was prepared, and whether it begins there.
func (c *call) rangeOfKey(ctx context.Context) (r *RangeView, begins bool, err error) {
	b, err := hex.DecodeString(c.prepared)
	if err != nil {
		return nil, false, err
	}
	all, err := c.Ranges(ctx)
	if err != nil {
		return nil, false, err
	}
	for i := range all {
		if key := keys.Key(b); all[i].Span.Contains(key) {
			return &all[i], all[i].Span.Start.Equal(key), nil
		}
	}
	return nil, false, kv.Errorf(kv.CodeUnavailable, "the range of the row is not known")
}

func runMerge(ctx context.Context, c *call) (map[string]any, error) {
	b, err := hex.DecodeString(c.prepared)
	if err != nil {
		return nil, err
	}
	if r, begins, err := c.rangeOfKey(ctx); err == nil && !begins {
		return map[string]any{"range_id": int64(r.ID)}, nil // by the node that was at it before
	}
	ctx, cancel := context.WithTimeout(ctx, mergeTimeout)
	defer cancel()
	defer beside(ctx, func(ctx context.Context) { watchMerge(ctx, c) })()
	id, err := c.Merge(ctx, keys.Key(b))
	return map[string]any{"range_id": int64(id)}, err
}

// beside runs f until what it returns is called.
func beside(ctx context.Context, f func(ctx context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// watchMerge reports what a merge is at.
func watchMerge(ctx context.Context, c *call) {
	for sleep(ctx, time.Second) == nil {
		b, err := hex.DecodeString(c.prepared)
		if err != nil {
			return
		}
		all, err := c.Ranges(ctx)
		if err != nil {
			continue
		}
		if i := slices.IndexFunc(all, func(r RangeView) bool { return r.Span.Start.Equal(keys.Key(b)) }); i > 0 {
			c.report(mergesAt(&all[i-1], &all[i]))
		}
	}
}

// mergesAt says how far a merge is: the replicas of the right range move to where those of the left one are.
func mergesAt(left, right *RangeView) (progress float64, remaining time.Duration, why string) {
	there := 0
	for _, p := range left.Replicas {
		q := right.on(p.NodeID)
		switch {
		case q == nil:
		case q.Type == kv.Learner.String() && p.Type != q.Type:
			why = fmt.Sprintf("node %d has been sent %s of %s of range %d", p.NodeID, Size(float64(q.Sent)), Size(float64(right.Bytes)), right.ID)
		default:
			there++
		}
	}
	progress = 0.9 * float64(there) / float64(max(len(left.Replicas), 1))
	switch {
	case why != "":
	case right.State == "changing" || left.State == "changing":
		changing := right
		if right.State != "changing" {
			changing = left
		}
		why = fmt.Sprintf("range %d is changing its replicas", changing.ID)
	case there < len(left.Replicas) || there < len(right.Replicas):
		why = fmt.Sprintf("the replicas of range %d (nodes %s) move to where those of range %d are (%s)", right.ID, listed(nodesOf(right)), left.ID, listed(nodesOf(left)))
	default:
		why = fmt.Sprintf("ranges %d and %d wait for a moment at which neither is busy", left.ID, right.ID)
	}
	return progress, 0, why
}

func (c *call) move() (from, to kv.NodeID) {
	return kv.NodeID(c.args.Int("from")), kv.NodeID(c.args.Int("to"))
}

func checkMove(ctx context.Context, c *call) error {
	from, to := c.move()
	if from == 0 && to == 0 {
		return NewProblem(CodeInvalid, "neither from nor to is given").WithHint("from alone removes a replica, to alone adds one, both move it.")
	}
	if from == to {
		return NewProblem(CodeInvalid, "from and to are the same node")
	}
	r, err := theRange(ctx, c, c.rangeID())
	if err != nil {
		return err
	}
	if to != 0 {
		n, err := theNode(c, to)
		if err != nil {
			return err
		}
		switch {
		case !n.Alive:
			return NewProblem(CodeConflict, "node %d does not answer", to)
		case r.on(to) != nil:
			return NewProblem(CodeConflict, "node %d has a replica of range %d already", to, r.ID)
		}
	}
	if from != 0 && r.on(from) == nil {
		return NewProblem(CodeConflict, "range %d has no replica on node %d", r.ID, from).WithHint("It has replicas on nodes %s.", listed(nodesOf(r)))
	}
	if from != 0 && to == 0 && len(r.voters()) == 1 && slices.Contains(r.voters(), from) {
		return NewProblem(CodeConflict, "the replica on node %d is the only one of range %d", from, r.ID)
	}
	if err := keepsTwo(r, from, to); err != nil && !c.args.Bool("force") {
		return err
	}
	return keepsMajority(c, r, from, to)
}

// keepsTwo refuses to make the last but one voter go: what is on one disk alone is lost with it, and while rebalancing is paused nobody makes another one.
func keepsTwo(r *RangeView, from, to kv.NodeID) error {
	voters := r.voters()
	if to != 0 || len(voters) != 2 || !slices.Contains(voters, from) {
		return nil
	}
	last := voters[0]
	if last == from {
		last = voters[1]
	}
	return NewProblem(CodeConflict, "without the replica on node %d, all of range %d would be on node %d alone, and lost with its disk", from, r.ID, last).
		WithHint("Give the range another one instead (--from %d --to NODE), or spell out --force.", from)
}

// keepsMajority refuses a move after which most of the voters would be on nodes that do not answer: the range would serve nobody, and nothing could be done about it
// before one of them is back.
func keepsMajority(c Cluster, r *RangeView, from, to kv.NodeID) error {
	after := slices.DeleteFunc(r.voters(), func(n kv.NodeID) bool { return n == from })
	if len(after) == len(r.voters()) {
		return nil
	}
	if to != 0 {
		after = append(after, to)
	}
	var silent []kv.NodeID
	for _, n := range after {
		if v, err := theNode(c, n); err != nil || !v.Alive {
			silent = append(silent, n)
		}
	}
	if 2*len(silent) < len(after) {
		return nil
	}
	many := "node %s does not answer"
	if len(silent) > 1 {
		many = "nodes %s do not answer"
	}
	return NewProblem(CodeConflict, "without the replica on node %d, range %d would have no majority: its voters would be on nodes %s, and "+many,
		from, r.ID, listed(after), listed(silent)).WithHint("Replace those that do not answer first, such as with: pamir range move %d --from %d --to NODE.", r.ID, silent[0])
}

func nodesOf(r *RangeView) []kv.NodeID {
	out := make([]kv.NodeID, 0, len(r.Replicas))
	for _, p := range r.Replicas {
		out = append(out, p.NodeID)
	}
	return out
}

// listed writes node numbers for people, in order.
func listed(ids []kv.NodeID) string {
	var out []string
	for _, id := range slices.Sorted(slices.Values(ids)) {
		out = append(out, fmt.Sprint(id))
	}
	return strings.Join(out, ", ")
}

// moveTimeout bounds a move, snapshot included.
const moveTimeout = 30 * time.Minute

func runMove(ctx context.Context, c *call) (map[string]any, error) {
	from, to := c.move()
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	defer beside(ctx, func(ctx context.Context) { watchMove(ctx, c, from, to) })()
	id := c.rangeID()
	for troubles := 0; ; {
		r, err := theRange(ctx, c, id)
		if err == nil {
			var add, remove kv.NodeID
			if p := r.on(to); to != 0 && (p == nil || p.Type == kv.Learner.String()) {
				add = to
			}
			if from != 0 && r.on(from) != nil {
				remove = from
			}
			if add == 0 && remove == 0 && r.State != "changing" {
				return map[string]any{"range_id": int64(id), "replicas": nodesOf(r)}, nil
			}
			switch {
			case add != 0 && r.on(to) != nil, add == 0 && remove == 0:
				err = kv.Errorf(kv.CodeUnavailable, "range %d is changing its replicas", id) // somebody's, perhaps ours of before
			case remove != 0 && r.LeaderNode == remove:
				if heir := heirOf(c, r, remove); heir != 0 {
					err = c.TransferLeader(ctx, id, heir)
				} else if add != 0 {
					err = c.MoveReplica(ctx, id, 0, add) // that one can then lead
				} else {
					err = NewProblem(CodeConflict, "node %d leads range %d, and no other node could", remove, id)
				}
			default:
				err = c.MoveReplica(ctx, id, remove, add)
			}
		}
		if err != nil {
			if troubles++; !passing(err) || ctx.Err() != nil || troubles > 60 {
				return nil, err
			}
			if err := sleep(ctx, time.Duration(min(troubles*100, 1000))*time.Millisecond); err != nil {
				return nil, err
			}
		}
	}
}

// heirOf picks a node that could lead a range instead of one; 0 if there is none.
func heirOf(c Cluster, r *RangeView, of kv.NodeID) kv.NodeID {
	for _, n := range r.voters() {
		if v, err := theNode(c, n); n != of && err == nil && v.Alive && !v.Draining {
			return n
		}
	}
	return 0
}

// watchMove reports what a move is at.
func watchMove(ctx context.Context, c *call, from, to kv.NodeID) {
	const before, after = 0.1, 0.75 // how much is done when the snapshot begins, and when it has arrived
	var began time.Time
	var most int64 // nothing is sent any more when all has arrived
	for sleep(ctx, time.Second) == nil {
		r, err := theRange(ctx, c, c.rangeID())
		if err != nil {
			continue
		}
		switch p := r.on(to); {
		case r.State == "changing" && p != nil && p.Type == kv.Learner.String():
			if began.IsZero() {
				began = time.Now()
			}
			most = max(most, p.Sent)
			share, left := float64(most)/float64(max(r.Bytes, 1)), time.Duration(0)
			if most > 0 {
				left = time.Duration(float64(time.Since(began)) * (1 - share) / share).Round(time.Second)
			}
			c.report(before+(after-before)*share, left,
				fmt.Sprintf("node %d has been sent %s of %s", to, Size(float64(most)), Size(float64(r.Bytes))))
		case r.State == "changing":
			c.report(after, 0, "the replicas are changing over")
		case from != 0 && r.on(from) != nil && r.LeaderNode == from:
			c.report(before, 0, fmt.Sprintf("node %d hands over leadership", from))
		default:
			c.report(before, 0, "waits for its turn")
		}
	}
}

func checkTransfer(ctx context.Context, c *call) error {
	r, err := theRange(ctx, c, c.rangeID())
	if err != nil {
		return err
	}
	to := kv.NodeID(c.args.Int("node"))
	n, err := theNode(c, to)
	if err != nil {
		return err
	}
	switch {
	case !slices.Contains(r.voters(), to):
		return NewProblem(CodeConflict, "node %d has no replica of range %d that could lead it", to, r.ID).WithHint("Its replicas are on nodes %s.", listed(r.voters()))
	case !n.Alive:
		return NewProblem(CodeConflict, "node %d does not answer", to)
	case n.Draining:
		return NewProblem(CodeConflict, "node %d drains, and leads nothing", to).WithHint("pamir node undrain %d makes it serve again.", to)
	}
	return nil
}

func runTransfer(ctx context.Context, c *call) (map[string]any, error) {
	to := kv.NodeID(c.args.Int("node"))
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := patiently(ctx, func() error { return c.TransferLeader(ctx, c.rangeID(), to) })
	return map[string]any{"range_id": c.args.Int("range_id"), "leader": int64(to)}, err
}
