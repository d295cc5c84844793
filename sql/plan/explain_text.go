package plan

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// figures is the parenthesis after a node's heading.
func (x *explainer) figures(e *explained) string {
	var b strings.Builder
	n := x.measured(e)
	if x.o.Costs && n != nil {
		p := propsOf(n)
		fmt.Fprintf(&b, "  (cost=0.00..%.2f rows=%.0f width=%d)", p.EstCost, p.EstRows, width(p.Out))
	}
	if x.o.Analyze && x.o.Run != nil {
		st, ok := RunStats{}, false
		if n != nil {
			st, ok = x.o.Run(n)
		}
		switch {
		case !ok && e.node != nil:
			b.WriteString(" (never executed)")
		case ok && x.o.Timing:
			loops := max(st.Loops, 1)
			fmt.Fprintf(&b, " (actual time=%s rows=%d loops=%d)", ms(st.Time/time.Duration(loops)), st.Rows/loops, loops)
		case ok:
			loops := max(st.Loops, 1)
			fmt.Fprintf(&b, " (actual rows=%d loops=%d)", st.Rows/loops, loops)
		}
	}
	return b.String()
}

// measured is the node whose figures an element shows; elements without one show their input's.
func (x *explainer) measured(e *explained) Node {
	if e.node != nil {
		return e.node
	}
	if len(e.kids) > 0 {
		return x.measured(e.kids[0])
	}
	return nil
}

func propsOf(n Node) *Props {
	if p, ok := n.(interface{ props() *Props }); ok {
		return p.props()
	}
	return &Props{}
}

func (p *Props) props() *Props { return p }

// width guesses the bytes of a row.
func width(fields []Field) int {
	w := 0
	for _, f := range fields {
		w += typeWidth(f.Type)
	}
	return w
}

func (x *explainer) text(lines []string, e *explained, indent int, root bool) []string {
	pad := strings.Repeat(" ", indent)
	arrow := "->  "
	inner := indent + 6
	switch {
	case root:
		arrow, inner = "", 2
	case e.label != "":
		lines = append(lines, pad+e.label)
		pad += "  "
		inner = indent + 8
	}
	lines = append(lines, pad+arrow+e.title+x.figures(e))
	pad = strings.Repeat(" ", inner)
	for _, p := range e.props {
		if p.jsonly {
			continue
		}
		v := p.val
		if p.list != nil {
			v = strings.Join(p.list, ", ")
		}
		lines = append(lines, pad+p.key+": "+v)
	}
	lines = x.runText(lines, e, pad)
	for _, k := range e.kids {
		lines = x.text(lines, k, inner, false)
	}
	return lines
}

// runText adds what a scan did.
func (x *explainer) runText(lines []string, e *explained, pad string) []string {
	if !x.o.Analyze || x.o.Run == nil || e.node == nil {
		return lines
	}
	st, ok := x.o.Run(e.node)
	if !ok {
		return lines
	}
	if st.Requests > 0 {
		lines = append(lines, pad+fmt.Sprintf("Ranges: requests=%d rows=%d bytes=%d", st.Requests, st.KVRows, st.KVBytes))
	}
	if st.Memory > 0 {
		lines = append(lines, pad+fmt.Sprintf("Memory: %dkB", (st.Memory+1023)/1024))
	}
	if st.Spilled > 0 {
		lines = append(lines, pad+fmt.Sprintf("Disk: %dkB", (st.Spilled+1023)/1024))
	}
	return lines
}

// json writes the plan as PostgreSQL's FORMAT JSON does.
func (x *explainer) json(root *explained) string {
	var b strings.Builder
	b.WriteString("[\n  {\n    \"Plan\": ")
	x.jsonNode(&b, root, "      ", "")
	if x.o.Summary {
		fmt.Fprintf(&b, ",\n    \"Planning Time\": %s", ms(x.o.Planning))
		if x.o.Analyze {
			fmt.Fprintf(&b, ",\n    \"Execution Time\": %s", ms(x.o.Execution))
		}
	}
	b.WriteString("\n  }\n]")
	return b.String()
}

func (x *explainer) jsonNode(b *strings.Builder, e *explained, pad, relation string) {
	b.WriteString("{\n")
	first := true
	put := func(key, raw string) {
		if !first {
			b.WriteString(",\n")
		}
		first = false
		b.WriteString(pad + strconv.Quote(key) + ": " + raw)
	}
	put("Node Type", quoteJSON(e.kind))
	if e.label != "" {
		put("Subplan Name", quoteJSON(e.label))
	}
	if relation != "" {
		put("Parent Relationship", quoteJSON(relation))
	}
	for _, p := range e.props {
		if p.jsonly {
			put(p.key, quoteJSON(p.val))
		}
	}
	n := x.measured(e)
	if x.o.Costs && n != nil {
		pr := propsOf(n)
		put("Startup Cost", "0.00")
		put("Total Cost", strconv.FormatFloat(pr.EstCost, 'f', 2, 64))
		put("Plan Rows", strconv.FormatFloat(pr.EstRows, 'f', 0, 64))
		put("Plan Width", strconv.Itoa(width(pr.Out)))
	}
	if x.o.Analyze && x.o.Run != nil && e.node != nil {
		if st, ok := x.o.Run(e.node); ok {
			loops := max(st.Loops, 1)
			if x.o.Timing {
				put("Actual Total Time", ms(st.Time))
			}
			put("Actual Rows", strconv.FormatInt(st.Rows/loops, 10))
			put("Actual Loops", strconv.FormatInt(loops, 10))
			if st.Requests > 0 {
				put("Range Requests", strconv.FormatInt(st.Requests, 10))
				put("Range Rows", strconv.FormatInt(st.KVRows, 10))
				put("Range Bytes", strconv.FormatInt(st.KVBytes, 10))
			}
			if st.Spilled > 0 {
				put("Disk Bytes", strconv.FormatInt(st.Spilled, 10))
			}
		}
	}
	for _, p := range e.props {
		switch {
		case p.jsonly:
		case p.list != nil:
			items := make([]string, len(p.list))
			for i, s := range p.list {
				items[i] = quoteJSON(s)
			}
			put(p.key, "["+strings.Join(items, ", ")+"]")
		default:
			put(p.key, quoteJSON(p.val))
		}
	}
	if len(e.kids) > 0 {
		if !first {
			b.WriteString(",\n")
		}
		b.WriteString(pad + "\"Plans\": [\n")
		for i, k := range e.kids {
			if i > 0 {
				b.WriteString(",\n")
			}
			b.WriteString(pad + "  ")
			rel := "Outer"
			switch {
			case strings.HasPrefix(k.label, "SubPlan"):
				rel = "SubPlan"
			case k.label != "":
				rel = "InitPlan"
			case i > 0:
				rel = "Inner"
			}
			x.jsonNode(b, k, pad+"    ", rel)
		}
		b.WriteString("\n" + pad + "]")
	}
	b.WriteString("\n" + pad[:len(pad)-2] + "}")
}

func quoteJSON(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString("\\n")
		case r < 0x20:
			fmt.Fprintf(&b, "\\u%04x", r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
