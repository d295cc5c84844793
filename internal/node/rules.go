package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/pamirdb/pamir/placement"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/txn"
)

// Rules of placement. The cluster's are a value in the system keys. Those of tables and indexes are storage parameters in the
// catalog, so that they change with their transaction and go with their table; the driver copies them into the system keys,
// next to itself: it must not move anything by the wrong rules while it cannot read the catalog.

// ruleOptions are a rule's options by name, without their prefix.
type ruleOptions map[string]string

// tableRule is the rule of a span of keys.
type tableRule struct {
	Name    string // "table public.t", "index public.t_a_idx"
	Start   []byte
	End     []byte
	Options ruleOptions
}

// optionPrefix is that of the storage parameters that are rules.
const optionPrefix = "pamir."

// getSystem reads a JSON value of the system keys; ok is false if there is none.
func getSystem[T any](ctx context.Context, n *Node, key keys.Key) (v T, ok bool, err error) {
	resp, err := n.sender.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.Get{Key: key}}})
	if err != nil {
		return v, false, err
	}
	g := resp.Responses[0].(*kv.GetResponse)
	if !g.Exists {
		return v, false, nil
	}
	if err := json.Unmarshal(g.Value, &v); err != nil {
		return v, false, kv.Errorf(kv.CodeCorruption, "%s: %v", keys.Pretty(key), err)
	}
	return v, true, nil
}

// putSystem writes a JSON value of the system keys.
func putSystem(ctx context.Context, n *Node, key keys.Key, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = n.sender.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.Put{Key: key, Value: b}}})
	return err
}

// ruleBook is what the driver knows of the rules. It is used by the driver's goroutine alone.
type ruleBook struct {
	stored []byte // the tables' rules as they are in the system keys
	tables []tableRule
	read   bool
	rules  placement.Rules
	spans  []ruleSpan // in key order, not overlapping
}

// ruleSpan says which rule holds in a span: 1 + the index in placement.Rules.Special, 0 for the default.
type ruleSpan struct {
	start, end keys.Key
	rule       int
}

func (s ruleSpan) equal(o ruleSpan) bool {
	return s.rule == o.rule && s.start.Equal(o.start) && s.end.Equal(o.end)
}

// refresh reads the rules, and brings the copy in the system keys up to date if keep is set: the driver's part. An error means
// that nothing may be planned: the rules are not known.
func (b *ruleBook) refresh(ctx context.Context, n *Node, keep bool) error {
	base := *n.cfg.Rules
	cluster, _, err := getSystem[ruleOptions](ctx, n, keys.ClusterRule)
	if err != nil {
		return err
	}
	if !b.read {
		tables, _, err := getSystem[[]tableRule](ctx, n, keys.TableRules)
		if err != nil {
			return err
		}
		if b.stored, err = json.Marshal(tables); err != nil {
			return err
		}
		b.tables, b.read = tables, true
	}
	if tables, ok := n.catalogRules(ctx); ok {
		now, err := json.Marshal(tables)
		if err != nil {
			return err
		}
		if !bytes.Equal(now, b.stored) {
			if keep {
				if err := putSystem(ctx, n, keys.TableRules, tables); err != nil {
					return err
				}
			}
			b.stored, b.tables = now, tables
		}
	}
	rules := base
	rules.Special = nil
	splitBytes, splitRequests, splitCPU := n.store.SplitLimits()
	rules.Limits.MergeBelow(splitBytes, splitRequests, splitCPU, max(n.cfg.MergeAfter, 0))
	for _, err := range applyOptions(&rules.Default, cluster) {
		n.log.Warn("placement: the cluster's rule", "err", err)
	}
	b.spans = b.spans[:0]
	for i := range b.tables {
		t := &b.tables[i]
		r := rules.Default
		r.Name = t.Name
		for _, err := range applyOptions(&r, t.Options) {
			n.log.Warn("placement: a rule", "of", t.Name, "err", err)
		}
		rules.Special = append(rules.Special, r)
		b.spans = append(b.spans, ruleSpan{t.Start, t.End, i + 1})
	}
	b.spans = flatten(b.spans)
	b.rules = rules
	return nil
}

// applyOptions sets options on a rule. One that makes no sense is left out: it cannot be refused any more here.
func applyOptions(r *placement.Rule, o ruleOptions) (errs []error) {
	for _, name := range placement.Options {
		if v, ok := o[name]; ok {
			was := *r
			if err := r.Set(name, v); err != nil {
				*r = was
				errs = append(errs, err)
			}
		}
	}
	return errs
}

// flatten turns spans of which later ones lie inside earlier ones (the indexes of a table), or beside them, into a row of spans that do
// not overlap.
func flatten(spans []ruleSpan) []ruleSpan {
	sorted := slices.Clone(spans)
	slices.SortStableFunc(sorted, func(a, b ruleSpan) int {
		if c := a.start.Compare(b.start); c != 0 {
			return c
		}
		return b.end.Compare(a.end) // the outer one first
	})
	var out, open []ruleSpan // open: those that hold pos, the innermost last
	var pos keys.Key
	upTo := func(end keys.Key) {
		if in := open[len(open)-1]; pos.Less(end) {
			out = append(out, ruleSpan{pos, end, in.rule})
		}
		pos = end
	}
	closeUpTo := func(start keys.Key) {
		for len(open) > 0 && (start == nil || !start.Less(open[len(open)-1].end)) {
			upTo(open[len(open)-1].end)
			open = open[:len(open)-1]
		}
	}
	for _, s := range sorted {
		closeUpTo(s.start)
		if len(open) > 0 {
			upTo(s.start)
		}
		pos = s.start
		open = append(open, s)
	}
	closeUpTo(nil)
	return out
}

// ruleAt returns the rule of the range that begins at key.
func (b *ruleBook) ruleAt(key keys.Key) int {
	i, found := slices.BinarySearchFunc(b.spans, key, func(s ruleSpan, k keys.Key) int { return s.start.Compare(k) })
	if !found {
		i--
	}
	if i >= 0 && key.Less(b.spans[i].end) {
		return b.spans[i].rule
	}
	return 0
}

// boundaries returns where ranges must be cut, so that each has one rule.
func (b *ruleBook) boundaries() []keys.Key {
	var out []keys.Key
	for i, s := range b.spans {
		out = append(out, s.start)
		if i+1 == len(b.spans) || !b.spans[i+1].start.Equal(s.end) {
			out = append(out, s.end)
		}
	}
	return out
}

// catalogRules reads the rules of tables and indexes from the catalog; ok is false if it cannot be read now.
func (n *Node) catalogRules(ctx context.Context) (out []tableRule, ok bool) {
	cat := n.catalog.Load()
	if cat == nil {
		return nil, false
	}
	t := n.txns.Begin(ctx, txn.Options{ReadOnly: true})
	defer t.Rollback(context.WithoutCancel(ctx))
	snap, err := cat.Snapshot(ctx, t)
	if err != nil {
		return nil, false
	}
	tables := slices.Clone(snap.Tables())
	slices.SortFunc(tables, func(a, b *catalog.Table) int { return int(int64(a.DataID) - int64(b.DataID)) })
	for _, tb := range tables {
		if tb.Virtual || tb.Kind != 'r' {
			continue
		}
		schema := ""
		if s, ok := snap.SchemaByID(tb.Schema); ok {
			schema = builtin.QuoteIdent(s.Name) + "."
		}
		of := ruleOf(tb.Options)
		if len(of) > 0 {
			k := keys.Table(tb.DataID)
			out = append(out, tableRule{"table " + schema + builtin.QuoteIdent(tb.Name), k, k.PrefixEnd(), of})
		}
		for i := range tb.Indexes {
			ix := &tb.Indexes[i]
			if own := ruleOf(ix.Options); len(own) > 0 {
				for name, v := range of { // an index takes from its table what it does not set itself
					if _, ok := own[name]; !ok {
						own[name] = v
					}
				}
				k := keys.Index(tb.DataID, uint64(ix.ID))
				out = append(out, tableRule{"index " + schema + builtin.QuoteIdent(ix.Name), k, k.PrefixEnd(), own})
			}
		}
	}
	return out, true
}

// ruleOf picks the rule's options out of storage parameters.
func ruleOf(params []string) ruleOptions {
	var out ruleOptions
	for _, p := range params {
		name, v, _ := strings.Cut(p, "=")
		if short, ok := strings.CutPrefix(name, optionPrefix); ok && placement.IsOption(short) {
			if out == nil {
				out = ruleOptions{}
			}
			out[short] = v
		}
	}
	return out
}

// checkRule refuses an option that there is not, and a value that makes no sense whatever the others are; an empty one resets.
func (n *Node) checkRule(name, value string) error {
	name = strings.TrimPrefix(name, optionPrefix)
	r := n.cfg.Rules.Default
	switch {
	case !placement.IsOption(name):
		return kv.Errorf(kv.CodeBadRequest, "there is no option %s: the options are %s", name, strings.Join(placement.Options, ", "))
	case value != "":
		if err := r.Set(name, value); err != nil {
			return kv.Errorf(kv.CodeBadRequest, "%v", err)
		}
	}
	return nil
}

// setClusterRule sets an option of the cluster's rule; an empty value resets it. It returns what cannot hold with the nodes, and the rules, there are.
func (n *Node) setClusterRule(ctx context.Context, name, value string) (warnings []string, err error) {
	opts, err := n.clusterRuleWith(ctx, name, value)
	if err != nil {
		return nil, err
	}
	if err := putSystem(ctx, n, keys.ClusterRule, opts); err != nil {
		return nil, err
	}
	return n.clusterWarnings(ctx, strings.TrimPrefix(name, optionPrefix)), nil
}

// clusterRuleWith is the cluster's rule after an option is set, or reset, and refuses what makes no sense.
func (n *Node) clusterRuleWith(ctx context.Context, name, value string) (ruleOptions, error) {
	name = strings.TrimPrefix(name, optionPrefix)
	if err := n.checkRule(name, value); err != nil {
		return nil, err
	}
	opts, _, err := getSystem[ruleOptions](ctx, n, keys.ClusterRule)
	if err != nil {
		return nil, err
	}
	if opts == nil {
		opts = ruleOptions{}
	}
	if value == "" {
		delete(opts, name)
	} else {
		opts[name] = value
	}
	r := n.cfg.Rules.Default
	for _, o := range placement.Options {
		if v, ok := opts[o]; ok {
			if err := r.Set(o, v); err != nil {
				return nil, kv.Errorf(kv.CodeBadRequest, "%v", err)
			}
		}
	}
	if err := r.Check(); err != nil {
		return nil, kv.Errorf(kv.CodeBadRequest, "%v", err)
	}
	return opts, nil
}

// cutForRules cuts ranges whose keys have several rules, a few at a time.
func (n *Node) cutForRules(ctx context.Context, b *ruleBook, c *collected) {
	if len(b.spans) == 0 {
		return
	}
	const perPlan = 8
	cut := 0
	byStart := c.inOrder()
	for _, k := range b.boundaries() {
		i, found := slices.BinarySearchFunc(byStart, k, func(id kv.RangeID, k keys.Key) int { return c.ranges[id].desc.StartKey.Compare(k) })
		if found || i == 0 {
			continue
		}
		r := c.ranges[byStart[i-1]]
		if r.leader == 0 || !k.Less(r.desc.EndKey) || r.desc.InJoint() {
			continue
		}
		resp, err := n.sender.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.AdminSplit{Key: k}}})
		if err != nil {
			n.log.Info("placement: a range is to be cut where another rule begins", "range", int64(r.desc.RangeID), "key", pretty(k), "err", err)
			continue
		}
		s := resp.Responses[0].(*kv.AdminSplitResponse)
		n.sender.Learn(s.Left, s.Right)
		n.placement.note(fmt.Sprintf("r%d: cut at %s, where another rule begins: r%d", s.Left.RangeID, pretty(k), s.Right.RangeID))
		if cut++; cut >= perPlan {
			return
		}
	}
}
