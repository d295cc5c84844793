package plan

import (
	"slices"
	"strings"

	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/role"
)

// Need is what a statement does to one relation that it names: who runs it must be allowed to. Names are resolved without regard to
// privileges, as in PostgreSQL; the session checks the needs before it runs the plan, once for a plan and a user.
type Need struct {
	Table *catalog.Table
	// As is whose privileges count: a view's owner for what the view reads, "" for the user's own.
	As    string
	Privs role.Privilege
	// Selected, Inserted and Updated are positions in Table.Columns: a privilege on the columns does in place of one on the
	// table. None selected (count(*)) needs any column.
	Selected, Inserted, Updated []int
}

// need notes that the statement names a relation.
func (b *binder) need(t *catalog.Table, p role.Privilege) *Need {
	n := &Need{Table: t, As: b.as, Privs: p}
	b.needs = append(b.needs, n)
	return n
}

// read notes that a column of a relation is read by what the user (or a view) wrote.
func (m *colMeta) read(quiet bool) {
	if m.need != nil && !quiet {
		m.need.selects(m.ord)
	}
}

func (n *Need) selects(ord int) {
	n.Privs |= role.Select
	if !slices.Contains(n.Selected, ord) {
		n.Selected = append(n.Selected, ord)
	}
}

func (n *Need) updates(set []SetClause) {
	n.Privs |= role.Update
	for _, s := range set {
		n.Updated = append(n.Updated, s.Column)
	}
}

// Check returns the error of a user who lacks what a plan needs, or nil.
func Check(needs []Need, roles *role.Set, user string) error {
	for i := range needs {
		n := &needs[i]
		who := n.As
		if who == "" {
			who = user
		}
		if !n.allowed(roles, who) {
			return Denied(n.Table)
		}
	}
	return nil
}

// Denied is the error about a relation.
func Denied(t *catalog.Table) error {
	kind := "table"
	switch t.Kind {
	case 'v':
		kind = "view"
	case 'S':
		kind = "sequence"
	}
	e := pgerr.New(pgerr.InsufficientPrivilege, "permission denied for %s %s", kind, t.Name)
	if t.Virtual && t.Schema == catalog.PamirSchema { // as a function that looks at the cluster says it
		return e.WithHint("The role must be a member of \"%s\".", role.Viewer)
	}
	return e
}

func (n *Need) allowed(roles *role.Set, user string) bool {
	if roles.Super(user) {
		return true
	}
	missing := n.Privs &^ roles.Privileges(user, n.Table.Object())
	if missing == 0 {
		return true
	}
	column := func(p role.Privilege, ords []int) bool {
		if len(ords) == 0 {
			// Any column will do.
			for i := range n.Table.Columns {
				if c := &n.Table.Columns[i]; c.ACL != nil && roles.Privileges(user, role.Object{Class: 'c', Owner: n.Table.Owner, ACL: c.ACL})&p != 0 {
					return true
				}
			}
			return false
		}
		for _, i := range ords {
			c := &n.Table.Columns[i]
			if c.ACL == nil || roles.Privileges(user, role.Object{Class: 'c', Owner: n.Table.Owner, ACL: c.ACL})&p == 0 {
				return false
			}
		}
		return true
	}
	for _, w := range []struct {
		p    role.Privilege
		ords []int
	}{{role.Select, n.Selected}, {role.Insert, n.Inserted}, {role.Update, n.Updated}} {
		if missing&w.p != 0 && column(w.p, w.ords) {
			missing &^= w.p
		}
	}
	return missing == 0
}

// viewReader says as whom the query of a view reads: its owner, unless it is a security_invoker view.
func viewReader(t *catalog.Table, now string) string {
	for _, o := range t.Options {
		if k, v, _ := strings.Cut(o, "="); k == "security_invoker" && (v == "true" || v == "on" || v == "1" || v == "yes" || v == "") {
			return now
		}
	}
	return t.Owner
}

// takeNeeds lists what was noted. Relations of the system that everybody may read are left out.
func (b *binder) takeNeeds() []Need {
	var out []Need
	for _, n := range b.needs {
		if n.Privs == role.Select && n.Table.Virtual && n.Table.Object().ACL.Mentions(role.Public) {
			continue
		}
		out = append(out, *n)
	}
	return out
}
