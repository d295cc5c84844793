package node

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pamirdb/pamir/placement"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

func pretty(k keys.Key) string { return keys.Pretty(k) }

// placementState is what the driver knows and did, for people. It is soft: another node starts from nothing.
type placementState struct {
	mu sync.Mutex

	// All guarded by mu.
	driving  bool      // this node drives
	paused   bool      // nothing is moved for balance
	at       time.Time // of the last plan
	took     time.Duration
	problem  string // why no plan could be made
	findings []placement.Finding
	unmerged []placement.Finding
	planned  []placement.Operator // of the last plan that have not begun
	running  map[kv.RangeID]*runningOperator
	settling map[kv.RangeID]*runningOperator // ended, and perhaps not yet in the reports
	recent   []DoneOperator                  // newest last
	failures map[kv.RangeID]failure
	// unmergeable are failures of merges, by the right side: they keep neither side from being repaired.
	unmergeable map[kv.RangeID]failure

	// repaired has something when a repair has come to its end, so that others may wait for its slots no longer. Not guarded.
	repaired chan struct{}
}

type runningOperator struct {
	op             placement.Operator
	started, ended time.Time
}

// failure keeps a range whose last change failed from being tried at every plan.
type failure struct {
	times int
	until time.Time
	why   string
}

const (
	maxRecentOperators  = 200
	maxRunningOperators = 256
	failedPause         = 5 * time.Second // doubled with every failure of the same range
	maxFailedPause      = 2 * time.Minute
	changeTimeout       = 10 * time.Minute // of a replica change, snapshot included
	transferTimeout     = 5 * time.Second
	planTimeout         = 30 * time.Second // of all that a plan has to read
)

// startPlacement runs the driver; it works while this node leads the meta range.
func (n *Node) startPlacement() {
	p := &n.placement
	p.running, p.settling, p.failures = map[kv.RangeID]*runningOperator{}, map[kv.RangeID]*runningOperator{}, map[kv.RangeID]failure{}
	p.unmergeable, p.repaired = map[kv.RangeID]failure{}, make(chan struct{}, 1)
	n.background(n.keepRates)
	if n.cfg.NoPlacement {
		return
	}
	n.background(func(ctx context.Context) {
		var d *driver
		n.eachPlan(ctx, func() {
			st, _ := n.store.Range(kv.MetaRangeID)
			drive := !n.draining.Load() && st.Serving
			n.placement.drive(drive)
			switch {
			case !drive:
				d = nil
			case d == nil:
				d = newDriver(n)
				fallthrough
			default:
				d.tick(ctx)
			}
		})
	})
}

// eachPlan calls f now and whenever it is time for a plan, until ctx ends: at every interval; and soon after a repair, since stores send and receive few replicas at
// a time. Thousands of small ranges that lack some would wait an interval each. At most a tenth of the time goes into plans because of that.
func (n *Node) eachPlan(ctx context.Context, f func()) {
	t := time.NewTicker(n.cfg.PlacementInterval)
	defer t.Stop()
	for ctx.Err() == nil {
		began := time.Now()
		f()
		soon := max(n.cfg.PlacementInterval/100, 9*time.Since(began))
		select {
		case <-t.C:
		case <-n.placement.repaired:
			select {
			case <-t.C:
			case <-time.After(soon):
			case <-ctx.Done():
			}
		case <-ctx.Done():
		}
	}
}

// drive notes whether this node drives. Whoever does not knows nothing.
func (p *placementState) drive(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.driving && !yes {
		p.findings, p.unmerged, p.planned, p.problem = nil, nil, nil, ""
	}
	p.driving = yes
}

// driver makes plans and has them carried out. It is one goroutine's; what it started goes on without it.
type driver struct {
	n     *Node
	known *collected
	rules ruleBook
	left  membership
	began time.Time // the planner's clock starts here
	// silent is when a node was last seen to be silent.
	silent map[kv.NodeID]time.Time
	disks  slowDisks
	// ranges is what the planner has been told; held are those of them that something was under way with, and told the rules of their spans.
	ranges *placement.Ranges
	held   map[kv.RangeID]bool
	told   []ruleSpan
	// lost are the ranges of which no replica is left, as was last said; lostBefore those of the plan before.
	lost, lostBefore []kv.RangeID
	// leftOf has the left neighbours that the planner knows of.
	leftOf map[kv.RangeID]kv.RangeID
	// dry: it is not the driver of the cluster, and leaves what that remembers alone.
	dry bool
}

func newDriver(n *Node) *driver {
	return &driver{n: n, known: newCollected(n.cfg.Rules.Limits.FollowAfter), began: time.Now(), silent: map[kv.NodeID]time.Time{}, ranges: placement.NewRanges()}
}

// unsteadyFor is how long a node that was silent is given nothing that can wait: one that comes and goes would cost its clients a stall
// each time. It is no longer than after which a node counts as dead.
func (c *Config) unsteadyFor() time.Duration { return min(time.Minute, c.Rules.Limits.DeadAfter) }

// shakenFor is how long balance leaves a node alone whose store was without the support of others: who is short of processors, or has a bad line, often is again.
const shakenFor = 30 * time.Second

// shaken reports whether that was so a short while ago.
func (c *Config) shaken(l *nodeLoad) bool {
	return l.Unsupported > 0 && l.unsupported() < c.shakenFor()
}

func (c *Config) shakenFor() time.Duration { return min(shakenFor, c.unsteadyFor()) }

// unsupported is how long ago the others last did not support the node.
func (l *nodeLoad) unsupported() time.Duration {
	return time.Duration(l.Unsupported) * time.Millisecond
}

// tick makes one plan and begins to carry it out. A change that takes long does not hold up the next plan: its
// range is left alone meanwhile.
func (d *driver) tick(ctx context.Context) {
	n, p := d.n, &d.n.placement
	began := time.Now()
	readCtx, cancel := context.WithTimeout(ctx, planTimeout)
	defer cancel()
	n.collect(readCtx, d.known)
	// In this order: who sets a rule, or pauses, and then has a node leave, is not overtaken by a plan that knows of the second only.
	var err error
	d.left, err = n.readMembership(readCtx)
	paused := false
	if err == nil {
		paused, _, err = getSystem[bool](readCtx, n, keys.PlacementPaused)
	}
	if err == nil {
		err = d.rules.refresh(readCtx, n, true)
	}
	if err != nil {
		// Without the rules, or without knowing who is to leave, whatever one did could be wrong.
		p.mu.Lock()
		p.problem = err.Error()
		p.mu.Unlock()
		if ctx.Err() == nil {
			n.log.Warn("placement: no plan", "err", err)
		}
		return
	}
	n.cutForRules(readCtx, &d.rules, d.known)
	now := d.moment(time.Now())
	d.tell(&now, time.Now(), began)
	rules := d.rules.rules
	rules.Limits.Paused = paused
	res := d.ranges.Plan(now, rules)
	d.finishDecommissions(readCtx)
	d.sayLost()

	p.mu.Lock()
	defer p.mu.Unlock()
	p.at, p.took, p.problem, p.paused = time.Now(), time.Since(began), "", paused
	p.findings, p.unmerged, p.planned = shown(res.Findings), shown(res.Unmerged), p.planned[:0]
	for id, f := range p.failures {
		if time.Now().Before(f.until) {
			p.findings = append(p.findings, placement.Finding{Range: placement.RangeID(id),
				Why: fmt.Sprintf("%s; to be tried again in %s", f.why, time.Until(f.until).Round(time.Second))})
		}
	}
	for _, op := range res.Operators {
		id := kv.RangeID(op.Range)
		known := d.known.ranges[id]
		if len(p.running) >= maxRunningOperators || known == nil {
			p.planned = append(p.planned, op)
			continue
		}
		desc := known.desc
		run := &runningOperator{op: op, started: time.Now()}
		if op.Kind == placement.MergeRanges {
			k := d.known.ranges[kv.RangeID(op.Right)]
			if k == nil {
				continue
			}
			right := k.desc
			p.running[id], p.running[right.RangeID] = run, run
			n.background(func(ctx context.Context) {
				err := n.carryOutMerge(ctx, &op, &desc, &right)
				n.finished(ctx, op, err)
			})
			continue
		}
		p.running[id] = run
		n.background(func(ctx context.Context) {
			err := n.carryOut(ctx, op, &desc)
			n.finished(ctx, op, err)
		})
	}
}

// finished notes the outcome of an operator.
func (n *Node) finished(ctx context.Context, op placement.Operator, err error) {
	p, id := &n.placement, kv.RangeID(op.Range)
	p.mu.Lock()
	defer p.mu.Unlock()
	done := DoneOperator{Operator: n.operatorView(op), At: time.Now()}
	if r := p.running[id]; r != nil {
		done.Started = r.started
		r.ended = done.At
		delete(p.running, id)
		p.settling[id] = r
	}
	failures := p.failures
	if op.Kind == placement.MergeRanges {
		failures, id = p.unmergeable, kv.RangeID(op.Right)
		if r := p.running[id]; r != nil {
			delete(p.running, id)
			p.settling[id] = r
		}
	}
	switch {
	case err == nil:
		delete(failures, id)
		if op.Kind == placement.ChangeReplicas && !op.Gentle {
			select {
			case p.repaired <- struct{}{}:
			default:
			}
		}
	case kv.HasCode(err, kv.CodeDescriptorChanged):
		done.Error = err.Error() // somebody was faster: the next plan sees it
	default:
		done.Error = err.Error()
		f := failures[id]
		f.times = min(f.times+1, 10)
		f.until = time.Now().Add(min(failedPause<<(f.times-1), maxFailedPause))
		f.why = fmt.Sprintf("%s: %v", done.Operator.Text, err)
		failures[id] = f
	}
	p.remember(done)
	switch {
	case err == nil:
		n.log.Info("placement", "op", done.Operator.Text)
	case kv.HasCode(err, kv.CodeDescriptorChanged):
		n.log.Info("placement: overtaken", "op", done.Operator.Text, "by", err)
	case ctx.Err() == nil:
		n.log.Warn("placement: operator failed", "op", done.Operator.Text, "err", err)
	}
}

// remember adds to what was done. mu is held.
func (p *placementState) remember(d DoneOperator) {
	p.recent = append(p.recent, d)
	if len(p.recent) > maxRecentOperators {
		p.recent = slices.Delete(p.recent, 0, len(p.recent)-maxRecentOperators)
	}
}

// note remembers something that was no operator of a plan.
func (p *placementState) note(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.remember(DoneOperator{Operator: OperatorView{Text: text}, At: time.Now()})
}

// carryOut does what an operator says, to the range as d describes it.
func (n *Node) carryOut(ctx context.Context, op placement.Operator, d *kv.RangeDescriptor) error {
	req := &kv.BatchRequest{RangeID: d.RangeID}
	timeout := changeTimeout
	if op.Kind == placement.TransferLeader {
		timeout = transferTimeout
		req.Requests = []kv.Request{&kv.AdminTransferLeader{Target: kv.StoreID(op.To), Generation: op.Generation, From: kv.StoreID(op.Leader)}}
	} else {
		change := &kv.AdminChangeReplicas{Generation: op.Generation, Gentle: op.Gentle}
		for _, s := range op.Add {
			r, err := n.replicaOn(kv.StoreID(s))
			if err != nil {
				return err
			}
			if op.NonVoting {
				r.Type = kv.NonVoter
			}
			change.Add = append(change.Add, r)
		}
		for _, s := range op.Remove {
			r, ok := d.ReplicaOn(kv.StoreID(s))
			if !ok {
				return fmt.Errorf("no replica on n%d", n.nodeOf(s))
			}
			change.Remove = append(change.Remove, kv.Replica{NodeID: r.NodeID, StoreID: r.StoreID})
		}
		req.Requests = []kv.Request{change}
	}
	n.sender.Learn(*d)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, err := n.sender.Send(ctx, req)
	return err
}

func (n *Node) replicaOn(s kv.StoreID) (kv.Replica, error) {
	for _, e := range n.book.Entries() {
		if e.StoreID == s {
			return kv.Replica{NodeID: e.NodeID, StoreID: s}, nil
		}
	}
	return kv.Replica{}, fmt.Errorf("no node has store %d", s)
}
