package ddl

import (
	"slices"
	"strings"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/pgerr"
)

// Rules of placement are storage parameters: pamir.num_replicas and the others. They are the only ones that mean something;
// whoever places replicas reads them from the catalog.
const rulePrefix = "pamir."

// checkOptions refuses rules that make no sense, and warns of what those in set ask for and the nodes there are cannot give. Other parameters are PostgreSQL's, kept and shown.
func (c *change) checkOptions(of string, params, set []string) error {
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
	var names []string
	for _, p := range set {
		name, _, _ := strings.Cut(p, "=")
		if short, ok := strings.CutPrefix(name, rulePrefix); ok {
			names = append(names, short)
		}
	}
	warnings, err := c.env.CheckRule(of, rule, names)
	if err != nil {
		return pgerr.New(pgerr.InvalidParameterValue, "placement rule: %s", err)
	}
	for _, w := range warnings {
		c.say("WARNING", "01000", "placement rule: %s", w)
	}
	return nil
}

// checkIndexOptions is checkOptions of an index: it has its table's rule, but for what it sets itself.
func (c *change) checkIndexOptions(t *catalog.Table, ix *catalog.Index, set []string) error {
	if len(ix.Options) == 0 {
		return nil
	}
	return c.checkOptions(c.ruleOf("index", t, ix.Name), slices.Concat(rulesOnly(t.Options), ix.Options), set) // of two, the latter counts
}

// hasPlace refuses rules of what has no keys of its own to be placed: they would be kept and mean nothing.
func hasPlace(t *catalog.Table, os []ast.Option) error {
	if t.Kind == 'r' {
		return nil
	}
	for _, o := range os {
		if o.Namespace+"." == rulePrefix {
			return pgerr.New(pgerr.WrongObjectType, "placement rule: \"%s\" is not a table", t.Name).
				WithDetail("Rules are of tables, indexes and the cluster.")
		}
	}
	return nil
}

// changeOptions returns storage parameters after SET or RESET of some of them.
func (c *change) changeOptions(have []string, cmd *ast.AlterCmd) ([]string, error) {
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
		return append(out, set...), nil
	}
	for _, n := range set {
		name, _, _ := strings.Cut(n, "=")
		if !slices.ContainsFunc(have, func(o string) bool { return strings.HasPrefix(o, name+"=") }) {
			c.notice("00000", "parameter \"%s\" is not set, skipping", name) // misspelt, perhaps
		}
	}
	return out, nil
}

// ruleOf names a rule as placement does: "table public.t", "index public.t_a_idx".
func (c *change) ruleOf(kind string, t *catalog.Table, name string) string {
	if sc, ok := c.cat.SchemaByID(t.Schema); ok {
		name = sc.Name + "." + name
	}
	return kind + " " + name
}

// optionNames are those that a SET or RESET names.
func optionNames(cmd *ast.AlterCmd) (out []string) {
	for _, o := range cmd.Options {
		out = append(out, o.Namespace+"."+o.Name)
	}
	return out
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
