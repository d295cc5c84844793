package plan

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/expr"
)

// ExplainOptions are EXPLAIN's. Run tells what a node did, for ANALYZE; nil without it.
type ExplainOptions struct {
	Analyze, Verbose, Costs, Timing, Summary bool
	// JSON instead of text.
	JSON bool
	Run  func(Node) (RunStats, bool)
	// Planning and Execution are shown with Summary.
	Planning, Execution time.Duration
}

// RunStats is what a node did. Time includes its inputs.
type RunStats struct {
	Rows, Loops int64
	Time        time.Duration
	// Requests to ranges, and the rows and bytes that they returned (scans).
	Requests, KVRows, KVBytes int64
	Memory, Spilled           int64
}

// explained is a plan as a tree of properties: text and JSON are written from it.
type explained struct {
	title string // text form's heading
	kind  string // JSON's "Node Type"
	// label precedes the heading: "InitPlan 1", "CTE x".
	label string
	props []property
	kids  []*explained
	node  Node
}

type property struct {
	key    string
	val    string
	list   []string
	jsonly bool
}

// Explain renders a plan, one line per element.
func Explain(s *Statement, o ExplainOptions) []string {
	x := &explainer{s: s, o: o, done: map[int]bool{}}
	root := x.node(s.Root)
	if o.JSON {
		return strings.Split(x.json(root), "\n")
	}
	var lines []string
	lines = x.text(lines, root, 0, true)
	if o.Summary {
		lines = append(lines, fmt.Sprintf("Planning Time: %s ms", ms(o.Planning)))
		if o.Analyze {
			lines = append(lines, fmt.Sprintf("Execution Time: %s ms", ms(o.Execution)))
		}
	}
	return lines
}

func ms(d time.Duration) string { return strconv.FormatFloat(float64(d)/1e6, 'f', 3, 64) }

type explainer struct {
	s *Statement
	o ExplainOptions
	// done are the subplans that have been shown.
	done map[int]bool
}

func (e *explained) add(key, val string) {
	if val != "" {
		e.props = append(e.props, property{key: key, val: val})
	}
}

func (e *explained) addList(key string, list []string) {
	if len(list) > 0 {
		e.props = append(e.props, property{key: key, list: list})
	}
}

func exprText(e expr.Expr) string {
	if e == nil {
		return ""
	}
	return expr.String(e)
}

func exprTexts(es []expr.Expr) []string {
	var out []string
	for _, e := range es {
		out = append(out, expr.String(e))
	}
	return out
}

func sortTexts(keys []SortKey) []string {
	var out []string
	for _, k := range keys {
		s := expr.String(k.Expr)
		if k.Desc {
			s += " DESC"
		}
		if k.NullsFirst != k.Desc {
			if k.NullsFirst {
				s += " NULLS FIRST"
			} else {
				s += " NULLS LAST"
			}
		}
		out = append(out, s)
	}
	return out
}

var joinWords = map[JoinType]string{InnerJoin: "", LeftJoin: " Left", RightJoin: " Right", FullJoin: " Full", SemiJoin: " Semi", AntiJoin: " Anti"}
var joinKinds = map[JoinType]string{InnerJoin: "Inner", LeftJoin: "Left", RightJoin: "Right", FullJoin: "Full", SemiJoin: "Semi", AntiJoin: "Anti"}

func heading(kind string, t JoinType) string {
	w := joinWords[t]
	if kind == "Nested Loop" {
		if w == "" {
			return kind
		}
		return kind + w + " Join"
	}
	return kind + w + " Join"
}

// node describes a plan node and what is below it.
func (x *explainer) node(n Node) *explained {
	e := &explained{node: n}
	kid := func(ns ...Node) {
		for _, c := range ns {
			if c != nil {
				e.kids = append(e.kids, x.node(c))
			}
		}
	}
	set := func(kind string) { e.kind, e.title = kind, kind }
	join := func(kind string, t JoinType) {
		e.kind, e.title = kind, heading(kind, t)
		if kind != "Nested Loop" {
			e.kind = kind + " Join"
		}
		e.props = append(e.props, property{key: "Join Type", val: joinKinds[t], jsonly: true})
	}
	switch n := n.(type) {
	case *Scan:
		x.scan(e, n, nil)
	case *VirtualScan:
		e.kind = "Virtual Scan"
		e.title = "Virtual Scan on " + relName(n.Table.Name, n.Alias)
		e.relation(n.Table.Name, n.Alias)
		e.add("Filter", exprText(n.Filter))
		x.subplans(e, n.Filter)
	case *FunctionScan:
		e.kind = "Function Scan"
		e.title = "Function Scan on " + quoteIdent(n.Fn.Name)
		if x.o.Verbose {
			e.add("Function Call", expr.String(&expr.Call{Fn: n.Fn, Args: n.Args}))
		}
		x.subplans(e, n.Args...)
	case *Values:
		if len(n.Out) == 0 || len(n.Lists) == 1 {
			set("Result")
		} else {
			e.kind, e.title = "Values Scan", "Values Scan on \"*VALUES*\""
		}
		if len(n.Lists) == 0 {
			set("Result")
			e.add("One-Time Filter", "false")
		}
		for _, l := range n.Lists {
			x.subplans(e, l...)
		}
	case *Filter:
		// A filter is a property of what it filters, as in PostgreSQL, where that is possible.
		in := x.node(n.Input)
		if s, ok := n.Input.(*Scan); !ok || s.Filter == nil {
			if _, ok := n.Input.(*Filter); !ok && !in.has("Filter") {
				in.add("Filter", exprText(n.Cond))
				in.node = n
				x.subplans(in, n.Cond)
				return in
			}
		}
		set("Filter")
		e.add("Filter", exprText(n.Cond))
		e.kids = append(e.kids, in)
		x.subplans(e, n.Cond)
	case *Project:
		return x.project(n)
	case *Limit:
		set("Limit")
		if c, ok := n.Count.(*expr.Case); ok && len(c.Whens) == 1 {
			set("Result")
			e.add("One-Time Filter", exprText(c.Whens[0].Cond))
		}
		kid(n.Input)
		x.subplans(e, n.Count, n.Offset)
	case *Sort:
		set("Sort")
		e.addList("Sort Key", sortTexts(n.Keys))
		if n.TopN != nil {
			e.add("Sort Method", "top-N")
		}
		kid(n.Input)
	case *Distinct:
		set("Unique")
		if !n.Sorted {
			set("HashAggregate")
			var keys []string
			for i, f := range n.Input.Fields() {
				if n.On == nil || containsInt(n.On, i) {
					keys = append(keys, quoteIdent(f.Name))
				}
			}
			e.addList("Group Key", keys)
		}
		kid(n.Input)
	case *Aggregate:
		x.aggregate(e, n)
	case *HashJoin:
		join("Hash", n.Type)
		var keys []string
		for i := range n.LeftKeys {
			keys = append(keys, "("+expr.String(n.LeftKeys[i])+" = "+expr.String(n.RightKeys[i])+")")
		}
		cond := strings.Join(keys, " AND ")
		if len(keys) > 1 {
			cond = "(" + cond + ")"
		}
		e.add("Hash Cond", cond)
		e.add("Join Filter", exprText(n.Cond))
		kid(n.Left)
		h := &explained{title: "Hash", kind: "Hash", node: nil, kids: []*explained{x.node(n.Right)}}
		e.kids = append(e.kids, h)
		x.subplans(e, n.Cond)
	case *LoopJoin:
		join("Nested Loop", n.Type)
		e.add("Join Filter", exprText(n.Cond))
		kid(n.Left)
		right := x.node(n.Right)
		switch n.Right.(type) {
		case *Values:
			e.kids = append(e.kids, right)
		default:
			e.kids = append(e.kids, &explained{title: "Materialize", kind: "Materialize", kids: []*explained{right}})
		}
		x.subplans(e, n.Cond)
	case *LookupJoin:
		join("Nested Loop", n.Type)
		e.add("Join Filter", exprText(n.Cond))
		kid(n.Left)
		right := &explained{}
		x.scan(right, n.Right, n.Keys)
		right.node = n.Right
		e.kids = append(e.kids, right)
		x.subplans(e, n.Cond)
	case *Lateral:
		join("Nested Loop", n.Type)
		e.add("Join Filter", exprText(n.Cond))
		kid(n.Left, n.Right)
		x.subplans(e, n.Cond)
	case *SetOp:
		set("HashSetOp " + map[byte]string{'u': "Union", 'i': "Intersect", 'e': "Except"}[n.Op])
		if n.All {
			e.title += " All"
		}
		kid(n.Left, n.Right)
	case *Append:
		set("Append")
		if n.Union != nil {
			e.title = "Index Union on " + relName(n.Union.Name, n.Alias)
			e.relation(n.Union.Name, n.Alias)
		}
		kid(n.Inputs...)
	case *CTE:
		body := x.node(n.Body)
		in := x.node(n.Input)
		if n.Recursive {
			in = &explained{title: "Recursive Union", kind: "Recursive Union", kids: []*explained{in, x.node(n.Step)}}
		}
		in.label = "CTE " + quoteIdent(n.Name)
		body.kids = append([]*explained{in}, body.kids...)
		return body
	case *CTEScan:
		e.kind = "CTE Scan"
		e.title = "CTE Scan on " + quoteIdent(n.Name)
	case *Window:
		set("WindowAgg")
		if x.o.Verbose {
			e.addList("Partition Key", exprTexts(n.PartitionBy))
			e.addList("Order Key", sortTexts(n.OrderBy))
		}
		kid(n.Input)
	case *LockRows:
		set("LockRows")
		if n.Limit != nil {
			e.add("Rows Wanted", expr.String(n.Limit))
		}
		kid(n.Input)
	case *Insert:
		x.modify(e, "Insert", n.Table.Name)
		if n.Conflict != nil {
			res := "NOTHING"
			if n.Conflict.Update != nil {
				res = "UPDATE"
			}
			e.add("Conflict Resolution", res)
			if n.Conflict.Index != nil {
				e.add("Conflict Arbiter Indexes", quoteIdent(n.Conflict.Index.Name))
			}
			e.add("Conflict Filter", exprText(n.Conflict.Where))
		}
		kid(n.Input)
		x.subplans(e, n.Returning...)
	case *Update:
		x.modify(e, "Update", n.Table.Name)
		kid(n.Input)
		for _, s := range n.Set {
			x.subplans(e, s.Value)
		}
		x.subplans(e, n.Returning...)
	case *Delete:
		x.modify(e, "Delete", n.Table.Name)
		kid(n.Input)
		x.subplans(e, n.Returning...)
	default:
		set(fmt.Sprintf("%T", n))
	}
	if x.o.Verbose {
		x.output(e, n)
	}
	return e
}

func (x *explainer) output(e *explained, n Node) {
	var names []string
	for _, f := range n.Fields() {
		names = append(names, quoteIdent(f.Name))
	}
	if len(names) > 0 {
		e.props = append([]property{{key: "Output", list: names}}, e.props...)
	}
}

func (e *explained) has(key string) bool {
	for _, p := range e.props {
		if p.key == key {
			return true
		}
	}
	return false
}

func (e *explained) relation(name, alias string) {
	e.props = append(e.props, property{key: "Relation Name", val: name, jsonly: true}, property{key: "Alias", val: alias, jsonly: true})
}

func relName(name, alias string) string {
	if alias != "" && alias != name {
		return quoteIdent(name) + " " + quoteIdent(alias)
	}
	return quoteIdent(name)
}

func containsInt(list []int, i int) bool {
	for _, x := range list {
		if x == i {
			return true
		}
	}
	return false
}

func (x *explainer) modify(e *explained, op, table string) {
	e.kind = "ModifyTable"
	e.title = op + " on " + quoteIdent(table)
	e.props = append(e.props, property{key: "Operation", val: op, jsonly: true}, property{key: "Relation Name", val: table, jsonly: true})
}

// project hides projections as PostgreSQL does, except where they multiply rows or stand alone.
func (x *explainer) project(n *Project) *explained {
	set := false
	for _, e := range n.Exprs {
		set = set || isSetCall(e)
	}
	in := x.node(n.Input)
	if set {
		e := &explained{title: "ProjectSet", kind: "ProjectSet", node: n, kids: []*explained{in}}
		x.subplans(e, n.Exprs...)
		return e
	}
	x.subplans(in, n.Exprs...)
	return in
}

func (x *explainer) aggregate(e *explained, n *Aggregate) {
	kind := "Aggregate"
	if len(n.GroupBy) > 0 {
		kind = "HashAggregate"
		if n.Sorted {
			kind = "GroupAggregate"
		}
	}
	e.kind, e.title = "Aggregate", kind
	in := x.node(n.Input)
	if n.Final {
		e.title = "Finalize " + kind
		s := n.Input.(*Scan)
		part := &explained{title: "Partial " + kind, kind: "Aggregate", node: nil, kids: []*explained{in}}
		part.addList("Group Key", exprTexts(s.Agg.GroupBy))
		e.addList("Group Key", exprTexts(n.GroupBy))
		in = part
	} else {
		e.addList("Group Key", exprTexts(n.GroupBy))
		for _, c := range n.Calls {
			x.subplans(e, c.Args...)
			x.subplans(e, c.Filter)
		}
	}
	e.kids = append(e.kids, in)
}

// scan describes a scan, or the inner side of a lookup join.
func (x *explainer) scan(e *explained, n *Scan, keys []expr.Expr) {
	name := relName(n.Table.Name, n.Alias)
	back := ""
	if n.Reverse {
		back = " Backward"
	}
	switch {
	case n.Index.Primary && n.Spans == nil && keys == nil:
		e.kind, e.title = "Seq Scan", "Seq Scan"+back+" on "+name
	case !n.Index.Primary && covers(n.Table, n.Index, n.Columns):
		e.kind, e.title = "Index Only Scan", "Index Only Scan"+back+" using "+quoteIdent(n.Index.Name)+" on "+name
	default:
		e.kind, e.title = "Index Scan", "Index Scan"+back+" using "+quoteIdent(n.Index.Name)+" on "+name
	}
	if e.kind != "Seq Scan" {
		dir := "Forward"
		if n.Reverse {
			dir = "Backward"
		}
		e.props = append(e.props, property{key: "Scan Direction", val: dir, jsonly: true}, property{key: "Index Name", val: n.Index.Name, jsonly: true})
	}
	e.relation(n.Table.Name, n.Alias)
	if keys != nil {
		var conds []string
		for i, k := range keys {
			conds = append(conds, "("+x.indexColumn(n, i)+" = "+expr.String(k)+")")
		}
		e.add("Index Cond", andTexts(conds))
	} else {
		var alts []string
		for _, s := range n.Spans {
			alts = append(alts, x.spanText(n, s))
			x.subplans(e, s.Eq...)
			for _, b := range []*Bound{s.Low, s.High} {
				if b != nil {
					x.subplans(e, b.Value)
				}
			}
		}
		if len(alts) > 1 {
			for i := range alts {
				alts[i] = "(" + alts[i] + ")"
			}
		}
		e.add("Index Cond", strings.Join(alts, " OR "))
	}
	e.add("Filter", exprText(n.Filter))
	if n.Offset != nil {
		e.add("Rows Skipped", expr.String(n.Offset))
	}
	if n.Limit != nil {
		e.add("Rows Wanted", expr.String(n.Limit))
	}
	if n.Lock != kv.LockNone {
		e.add("Lock", lockText(n.Lock, n.Wait))
	}
}

func lockText(s kv.LockStrength, w kv.WaitPolicy) string {
	t := map[kv.LockStrength]string{kv.LockKeyShare: "FOR KEY SHARE", kv.LockShare: "FOR SHARE", kv.LockNoKeyUpdate: "FOR NO KEY UPDATE", kv.LockUpdate: "FOR UPDATE"}[s]
	switch w {
	case kv.WaitError:
		t += " NOWAIT"
	case kv.WaitSkip:
		t += " SKIP LOCKED"
	}
	return t
}

func (x *explainer) indexColumn(n *Scan, i int) string {
	if i >= len(n.Index.Columns) {
		return "?"
	}
	return quoteIdent(n.Table.Columns[n.Table.ColumnByID(n.Index.Columns[i].Column)].Name)
}

func andTexts(conds []string) string {
	if len(conds) == 1 {
		return conds[0]
	}
	return "(" + strings.Join(conds, " AND ") + ")"
}

func (x *explainer) spanText(n *Scan, s ScanSpan) string {
	var conds []string
	for i, v := range s.Eq {
		col := x.indexColumn(n, i)
		switch {
		case s.IsNull != nil && s.IsNull[i]:
			conds = append(conds, "("+col+" IS NULL)")
		case s.InArray && i == len(s.Eq)-1:
			conds = append(conds, "("+col+" = ANY ("+expr.String(v)+"))")
		default:
			conds = append(conds, "("+col+" = "+expr.String(v)+")")
		}
	}
	bound := func(b *Bound, op string) {
		if b == nil {
			return
		}
		if b.Inclusive {
			op += "="
		}
		conds = append(conds, "("+x.indexColumn(n, len(s.Eq))+" "+op+" "+expr.String(b.Value)+")")
	}
	if s.NotNull {
		conds = append(conds, "("+x.indexColumn(n, len(s.Eq))+" IS NOT NULL)")
	}
	bound(s.Low, ">")
	bound(s.High, "<")
	return andTexts(conds)
}

// subplans adds the subqueries in expressions, once each.
func (x *explainer) subplans(e *explained, es ...expr.Expr) {
	for _, ex := range es {
		if ex == nil {
			continue
		}
		expr.Walk(ex, func(y expr.Expr) bool {
			s, ok := y.(*expr.Subplan)
			if !ok || x.done[s.Plan] || s.Plan >= len(x.s.Subplans) {
				return true
			}
			x.done[s.Plan] = true
			sub := x.node(x.s.Subplans[s.Plan])
			word := "SubPlan"
			if len(s.Args) == 0 {
				word = "InitPlan"
			}
			sub.label = word + " " + strconv.Itoa(s.Plan+1)
			e.kids = append(e.kids, sub)
			return true
		})
	}
}
