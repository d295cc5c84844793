package catalog

import (
	"slices"
	"sync"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/sql/role"
)

// Uses are the questions that a transaction, or the making of a plan, has asked the catalog, with the answers. At its commit a transaction compares the answers with
// those of the catalog that holds then; what it did not ask for may change as it likes. A question that found nothing is one, too: a new table
// in an earlier schema of the search path would have been found.
//
// Not among them are statistics, which change plans but not what they mean; and the lists of everything (Tables, Schemas), which what queries show of the system relations
// is made of: that is as of the snapshot and no more, as in PostgreSQL.
//
// The zero value has asked nothing. It is safe for concurrent use. Plans keep theirs, for the transactions that take them from a cache (Add).
type Uses struct {
	mu sync.Mutex
	// of is the first catalog that was asked, several says that there were others.
	of      *snapshot
	several bool
	// at is the read timestamp at which of was found to hold; empty if there were several.
	at    hlc.Timestamp
	roles []*role.Set // of every catalog, but for those that say the same
	users []string    // whose privileges were looked at

	answers
	parts []*Uses // of plans; nobody changes them any more
	// beyond: it cannot be told any more what was asked, or one question has had two answers.
	beyond bool
}

// answers by question; nil is that there was none.
type answers struct {
	names       map[[2]string]*Table
	ids         map[TableID]*Table
	schemas     map[string]*Schema
	schemasByID map[SchemaID]*Schema
}

// maxAnswers and maxRoles bound what is kept: who has asked more begins anew after any change. maxParts is from how many plans on their answers are made one.
const (
	maxAnswers = 10_000
	maxRoles   = 32
	maxParts   = 64
)

// Reset forgets everything: a transaction begins.
func (u *Uses) Reset() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.of, u.several, u.at, u.beyond = nil, false, hlc.Timestamp{}, false
	u.roles, u.users = u.roles[:0], u.users[:0]
	clear(u.parts)
	u.parts = u.parts[:0]
	if len(u.ids)+len(u.names) > 0 || len(u.schemas)+len(u.schemasByID) > 0 {
		u.answers = answers{}
	}
}

// Watch returns a snapshot that answers as s does, and notes what it is asked. s is what Store.Snapshot returned, perhaps with other snapshots around it (Underlying); what
// is none is not watched.
func (u *Uses) Watch(s Snapshot) Snapshot {
	base, _ := unwrap(s)
	if base == nil {
		return s
	}
	return &watched{s, base, u}
}

// Seen notes that a transaction begins to rely on a snapshot that was taken at a read timestamp, and who it is whose privileges are looked at.
func (u *Uses) Seen(s Snapshot, at hlc.Timestamp, user string) {
	base, _ := unwrap(s)
	if base == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.of == nil:
		u.of, u.at = base, at
		u.roles = append(u.roles, base.roles)
	case u.of != base:
		u.several, u.at = true, hlc.Timestamp{}
		switch {
		case slices.ContainsFunc(u.roles, base.roles.Same):
		case len(u.roles) < maxRoles:
			u.roles = append(u.roles, base.roles)
		default:
			u.beyond = true
		}
	}
	u.as(user)
}

// As notes another user whose privileges are looked at.
func (u *Uses) As(user string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.as(user)
}

func (u *Uses) as(user string) {
	if !slices.Contains(u.users, user) {
		u.users = append(u.users, user)
	}
}

// Add takes over what a plan asked of the same catalog when it was made. The plan's are not changed any more.
func (u *Uses) Add(part *Uses) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if part == nil || slices.Contains(u.parts, part) {
		return
	}
	if len(u.parts) == maxParts {
		for _, p := range u.parts {
			u.merge(p)
		}
		clear(u.parts)
		u.parts = u.parts[:0]
	}
	u.parts = append(u.parts, part)
}

func (u *Uses) merge(p *Uses) {
	u.beyond = u.beyond || p.beyond
	for q, t := range p.names {
		note(u, &u.names, q, t, (*Table).like)
	}
	for q, t := range p.ids {
		note(u, &u.ids, q, t, (*Table).like)
	}
	for q, t := range p.schemas {
		note(u, &u.schemas, q, t, (*Schema).like)
	}
	for q, t := range p.schemasByID {
		note(u, &u.schemasByID, q, t, (*Schema).like)
	}
}

// note takes down an answer; the first one stays. u.mu is held.
func note[Q comparable, A any](u *Uses, m *map[Q]*A, q Q, a *A, like func(a, b *A) bool) {
	had, ok := (*m)[q]
	switch {
	case ok && (had == a || like(had, a)):
	case ok:
		u.beyond = true
	case len(*m) >= maxAnswers:
		u.beyond = true
	default:
		if *m == nil {
			*m = map[Q]*A{}
		}
		(*m)[q] = a
	}
}

// like reports whether two answers, nil for none, mean the same to who reads and writes rows. Who may do that is another question.
func (t *Table) like(o *Table) bool {
	if t == nil || o == nil {
		return t == o
	}
	return t == o || t.ID == o.ID && t.DataID == o.DataID && t.shape() == o.shape()
}

func (s *Schema) like(o *Schema) bool {
	if s == nil || o == nil {
		return s == o
	}
	return s == o || s.ID == o.ID && s.Name == o.Name
}

// none reports whether nothing was asked.
func (u *Uses) none() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.of == nil
}

// heldAt reports whether all answers are those of a timestamp.
func (u *Uses) heldAt(ts hlc.Timestamp) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.at == ts
}

// hold reports whether a later catalog answers all that was asked as it was answered, and whether those who asked may still do what they did.
func (u *Uses) hold(now *snapshot) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.of == nil || u.of == now && !u.several:
		return true
	case u.beyond:
		return false
	}
	c := &comparison{now: now, users: slices.Clone(u.users)}
	for _, r := range u.roles {
		if !r.Same(now.roles) {
			c.before = append(c.before, r)
		}
	}
	c.changed = len(c.before) > 0
	if !c.changed {
		c.before = u.roles[:1]
	}
	all := append([]*Uses{u}, u.parts...)
	for _, p := range all { // what a view reads, its owner reads
		for _, t := range p.names {
			if t != nil && t.Kind == 'v' && !slices.Contains(c.users, t.Owner) {
				c.users = append(c.users, t.Owner)
			}
		}
	}
	for _, p := range all {
		if p.beyond || !c.same(&p.answers) {
			return false
		}
	}
	return true
}

// comparison of answers with those of a later catalog.
type comparison struct {
	now     *snapshot
	users   []string
	before  []*role.Set
	changed bool // the roles have changed
}

func (c *comparison) same(a *answers) bool {
	for q, t := range a.names {
		n, _ := c.now.Table(q[0], q[1])
		if !c.table(t, n) {
			return false
		}
	}
	for id, t := range a.ids {
		if !c.table(t, c.now.byID[id]) {
			return false
		}
	}
	for name, s := range a.schemas {
		if !c.schema(s, c.now.schemas[name]) {
			return false
		}
	}
	for id, s := range a.schemasByID {
		if !c.schema(s, c.now.schByID[id]) {
			return false
		}
	}
	return true
}

func (c *comparison) table(was, is *Table) bool {
	if !was.like(is) {
		return false
	}
	if was == nil || was == is && !c.changed {
		return true
	}
	for _, u := range c.users {
		if !c.kept(was, is, u) {
			return false
		}
	}
	return true
}

// kept reports whether a role may still do to a relation what it could.
func (c *comparison) kept(was, is *Table, user string) bool {
	for _, before := range c.before {
		if before.Privileges(user, was.Object())&^c.now.roles.Privileges(user, is.Object()) != 0 {
			return false
		}
		for i := range was.Columns {
			old, col := &was.Columns[i], &is.Columns[i] // they are alike
			if old.ACL == nil {
				continue
			}
			had := before.Privileges(user, role.Object{Class: 'c', Owner: was.Owner, ACL: old.ACL})
			// What was granted for the column may now be for the table.
			has := c.now.roles.Privileges(user, role.Object{Class: 'c', Owner: is.Owner, ACL: col.ACL}) | c.now.roles.Privileges(user, is.Object())
			if had&^has != 0 {
				return false
			}
		}
	}
	return true
}

// schema: whether it may be used has to be as it was, for without that names are not looked for in it.
func (c *comparison) schema(was, is *Schema) bool {
	if !was.like(is) {
		return false
	}
	if was == nil || was == is && !c.changed {
		return true
	}
	for _, before := range c.before {
		for _, u := range c.users {
			if (before.Privileges(u, was.Object())^c.now.roles.Privileges(u, is.Object()))&role.Usage != 0 {
				return false
			}
		}
	}
	return true
}

// watched answers as the snapshot that it wraps, and notes the answers of the stored catalog below it: what is laid over that does not change.
type watched struct {
	Snapshot
	base *snapshot
	uses *Uses
}

// Underlying implements Underlying.
func (w *watched) Underlying() Snapshot { return w.Snapshot }

// Table implements Snapshot.
func (w *watched) Table(schema, name string) (*Table, bool) {
	t, _ := w.base.Table(schema, name)
	w.uses.mu.Lock()
	note(w.uses, &w.uses.names, [2]string{schema, name}, t, (*Table).like)
	w.uses.mu.Unlock()
	return w.Snapshot.Table(schema, name)
}

// TableByID implements Snapshot.
func (w *watched) TableByID(id TableID) (*Table, bool) {
	w.uses.mu.Lock()
	note(w.uses, &w.uses.ids, id, w.base.byID[id], (*Table).like)
	w.uses.mu.Unlock()
	return w.Snapshot.TableByID(id)
}

// Schema implements Snapshot.
func (w *watched) Schema(name string) (*Schema, bool) {
	w.uses.mu.Lock()
	note(w.uses, &w.uses.schemas, name, w.base.schemas[name], (*Schema).like)
	w.uses.mu.Unlock()
	return w.Snapshot.Schema(name)
}

// SchemaByID implements Snapshot.
func (w *watched) SchemaByID(id SchemaID) (*Schema, bool) {
	w.uses.mu.Lock()
	note(w.uses, &w.uses.schemasByID, id, w.base.schByID[id], (*Schema).like)
	w.uses.mu.Unlock()
	return w.Snapshot.SchemaByID(id)
}

// Rely notes that whoever goes by a snapshot uses a plan that was made for it: see Uses.Add. Nothing is noted if the snapshot is not watched.
func Rely(s Snapshot, plan *Uses) {
	if w, ok := s.(*watched); ok {
		w.uses.Add(plan)
	}
}

// TableByData finds a table for messages about its keys, of which nothing is noted.
func (w *watched) TableByData(data uint64) (*Table, bool) { return w.base.TableByData(data) }
