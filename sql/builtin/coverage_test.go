package builtin

import (
	"os"
	"sort"
	"strings"
	"testing"

	"github.com/pamirdb/pamir/sql/types"
)

// TestCoverage lists, with COVERAGE=1, what over the supported types has no kernel.
func TestCoverage(t *testing.T) {
	supported := map[types.OID]bool{}
	for _, o := range []types.OID{16, 17, 18, 19, 20, 21, 23, 25, 26, 114, 700, 701, 705, 1042, 1043, 1082, 1083, 1114, 1184, 1186, 1700, 2950, 3802, 2276, 2277, 2283, 2776, 5077, 5078, 5079, 2249, 2278, 1009, 1007, 1016, 2206, 2205, 2281 - 1} {
		supported[o] = true
	}
	d := catalogDB()
	ok := func(fn *Function) bool {
		for _, a := range fn.Args {
			if !supported[a] {
				return false
			}
		}
		return supported[fn.Result] && fn.Schema == "pg_catalog"
	}
	have, missing := 0, []string{}
	note := func(fn *Function, what string) {
		done := fn.Kernel != nil
		if fn.Kind == 'a' {
			done = CanAggregate(fn)
		}
		if fn.ReturnsSet {
			done = setKernels[fn.Source].start != nil
		}
		if done {
			have++
			return
		}
		missing = append(missing, what+" "+signature(fn.Name, fn.Args)+" "+fn.Source)
	}
	inOp := map[*Function]bool{}
	for i := range d.ops {
		if o := &d.ops[i]; o.Fn != nil && ok(o.Fn) {
			note(o.Fn, "operator "+o.Name)
			inOp[o.Fn] = true
		}
	}
	for i := range d.funcs {
		fn := &d.funcs[i]
		if inOp[fn] || !ok(fn) || strings.HasPrefix(fn.Name, "pg_") || strings.HasPrefix(fn.Name, "has_") || strings.HasPrefix(fn.Name, "RI_") {
			continue
		}
		switch {
		case strings.HasSuffix(fn.Name, "send"), strings.HasSuffix(fn.Name, "recv"), strings.HasPrefix(fn.Name, "hash"), strings.Contains(fn.Name, "sel"), strings.HasPrefix(fn.Name, "binary_upgrade"):
			continue
		}
		note(fn, "function")
	}
	t.Logf("%d have kernels, %d have none", have, len(missing))
	if os.Getenv("COVERAGE") != "" {
		sort.Strings(missing)
		t.Log("\n" + strings.Join(missing, "\n"))
	}
	if have < 900 {
		t.Errorf("only %d kernels", have)
	}
}
