package exec

import (
	"context"
	"reflect"
	"slices"

	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// subplan is a subquery in an expression.
type subplan struct {
	op operator
	// once: nothing in it depends on the row outside, so its rows are computed once per execution.
	once    bool
	rows    *expr.SubplanRows
	cached  bool
	limit   int // that the cached rows were read with; 0 = all are there
	running bool
	acct    account
}

func (s *subplan) reset() {
	s.op.close()
	s.rows, s.cached, s.running = nil, false, false
	s.acct.close()
}

// runSubplan is expr.Runtime.Subplan.
func (in *instance) runSubplan(e *expr.Subplan, limit int) (*expr.SubplanRows, error) {
	if e.Plan < 0 || e.Plan >= len(in.stmt.Subplans) {
		return nil, pgerr.New(pgerr.InternalError, "no subplan %d", e.Plan)
	}
	s := in.subplans[e.Plan]
	if s == nil {
		node := in.stmt.Subplans[e.Plan]
		op, err := in.build(node)
		if err != nil {
			return nil, err
		}
		s = &subplan{op: op, once: !in.dependsOnOuter(node)}
		in.subplans[e.Plan] = s
	}
	if s.cached && (s.limit == 0 || (limit != 0 && limit <= s.limit)) {
		return s.rows, nil
	}
	if s.running { // the same subplan inside itself: a planner's mistake, not to be followed into the ground
		return nil, pgerr.New(pgerr.InternalError, "subplan %d runs inside itself", e.Plan)
	}
	s.running = true
	rows, err := in.collect(s, e, limit)
	s.running = false
	if err != nil {
		return nil, err
	}
	if s.once {
		s.rows, s.cached, s.limit = rows, true, limit
		if e.Kind == expr.SubExists {
			s.limit = 0
		}
	}
	return rows, nil
}

func (in *instance) collect(s *subplan, e *expr.Subplan, limit int) (*expr.SubplanRows, error) {
	ctx := in.ctx
	if ctx == nil {
		ctx = context.Background()
	}
	s.acct.b = in.budget
	if err := s.op.open(ctx); err != nil {
		return nil, err
	}
	defer s.op.close()
	var rows []types.Datum
	var size int64
	for {
		b, err := s.op.next(ctx)
		if err != nil {
			return nil, err
		}
		if e.Kind == expr.SubExists {
			return &expr.SubplanRows{Values: []types.Datum{types.NewBool(b != nil)}}, nil
		}
		if b == nil {
			break
		}
		for i := range b.Len() {
			d := b.Cols[0].Get(b.Row(i))
			rows = append(rows, d)
			size += 72 + d.MemSize()
			if s.once && (e.Kind == expr.SubAny || e.Kind == expr.SubAll) {
				size += 48 + int64(len(d.B)) // the set that values are looked up in
			}
			if limit > 0 && len(rows) == limit {
				break
			}
		}
		if err := s.acct.set(size); err != nil {
			return nil, err
		}
		if limit > 0 && len(rows) >= limit {
			break
		}
	}
	if !s.once {
		s.acct.close()
	}
	return &expr.SubplanRows{Values: rows}, nil
}

var (
	outerType   = reflect.TypeFor[expr.Outer]()
	subplanType = reflect.TypeFor[expr.Subplan]()
	cteScanType = reflect.TypeFor[plan.CTEScan]()
)

// dependsOnOuter reports whether a plan reads values of enclosing rows, anywhere in it. It runs once per
// instance and subplan.
func (in *instance) dependsOnOuter(n plan.Node) bool {
	found := false
	seen := map[uintptr]bool{}
	var done []int
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		if found {
			return
		}
		switch v.Kind() {
		case reflect.Pointer:
			if v.IsNil() || seen[v.Pointer()] {
				return
			}
			seen[v.Pointer()] = true
			walk(v.Elem())
		case reflect.Interface:
			if !v.IsNil() {
				walk(v.Elem())
			}
		case reflect.Slice:
			if v.Type().Elem().Kind() == reflect.Uint8 {
				return
			}
			for i := range v.Len() {
				walk(v.Index(i))
			}
		case reflect.Struct:
			switch v.Type() {
			case outerType, cteScanType: // a CTE may be a working table, which changes
				found = true
				return
			case subplanType:
				if i := int(v.FieldByName("Plan").Int()); !slices.Contains(done, i) && i < len(in.stmt.Subplans) {
					done = append(done, i)
					walk(reflect.ValueOf(in.stmt.Subplans[i]))
				}
			}
			if pkg := v.Type().PkgPath(); pkg != planPkg && pkg != exprPkg {
				return
			}
			for i := range v.NumField() {
				walk(v.Field(i))
			}
		}
	}
	walk(reflect.ValueOf(n))
	return found
}

var (
	planPkg = reflect.TypeFor[plan.Scan]().PkgPath()
	exprPkg = reflect.TypeFor[expr.Call]().PkgPath()
)
