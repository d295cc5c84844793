package ddl

import (
	"strings"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/pgerr"
)

// Rules of placement are storage parameters: pamir.num_replicas and the others. They are the only ones that mean something;
// whoever places replicas reads them from the catalog.
const rulePrefix = "pamir."

// checkOptions refuses rules that make no sense. The others are PostgreSQL's, kept and shown.
func (c *change) checkOptions(params []string) error {
	rule := map[string]string{}
	for _, p := range params {
		name, v, _ := strings.Cut(p, "=")
		if short, ok := strings.CutPrefix(name, rulePrefix); ok {
			rule[short] = v
		}
	}
	if len(rule) == 0 {
		return nil
	}
	if c.env.CheckRule == nil {
		return pgerr.New(pgerr.FeatureNotSupported, "there is no cluster here for which placement could be ruled")
	}
	if err := c.env.CheckRule(rule); err != nil {
		return pgerr.New(pgerr.InvalidParameterValue, "placement rule: %s", err)
	}
	return nil
}

// changeOptions returns storage parameters after SET or RESET of some of them.
func changeOptions(have []string, cmd *ast.AlterCmd) ([]string, error) {
	set, err := options(cmd.Options)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, o := range have {
		keep := true
		for _, n := range set {
			name, _, _ := strings.Cut(n, "=")
			keep = keep && !strings.HasPrefix(o, name+"=")
		}
		if keep {
			out = append(out, o)
		}
	}
	if cmd.Kind == ast.SetOptions {
		out = append(out, set...)
	}
	return out, nil
}

// rulesOnly picks the parameters that are rules: an index keeps no others.
func rulesOnly(params []string) (out []string) {
	for _, p := range params {
		if strings.HasPrefix(p, rulePrefix) {
			out = append(out, p)
		}
	}
	return out
}
