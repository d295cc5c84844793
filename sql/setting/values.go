package setting

import (
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/pamirdb/pamir/sql/pgerr"
)

// Owner is who has the values: a session.
type Owner interface {
	// InTransaction reports whether a change is undone if the transaction fails.
	InTransaction() bool
	Superuser() bool
	// KnownSetting is the value of a setting whose definition says Known.
	KnownSetting(d *Def) string
	// CheckSetting validates and canonicalises a value of a setting whose definition says Checked. It changes nothing.
	CheckSetting(d *Def, v string) (string, error)
	// SetSpecial and ResetSpecial carry out changes of settings that are not mere values; done means that they have.
	SetSpecial(d *Def, v string) (done bool, err error)
	ResetSpecial(d *Def) (done bool, err error)
}

// Values are a session's values of the settings, and what a transaction has changed of them. The zero value, with an owner, is
// ready for use: every setting has its boot value.
type Values struct {
	owner Owner
	// over holds what differs from the boot values, by definition; a slice is searched faster than a map for the
	// few there are.
	over   []override
	custom map[string]override // settings with a dot in their name that nobody defined
	undo   []undoEntry
	// hasLocal: some override has a local value, to be dropped with the transaction.
	hasLocal bool
	// dirty: settings have changed since TakeDirty was last asked.
	dirty bool
	// unreported: a setting may have changed since the last report.
	unreported bool
	// reports are the values clients were last told.
	reports map[*Def]string
}

// Init gives the values their owner.
func (c *Values) Init(o Owner) { c.owner, c.dirty = o, true }

// override is one setting's values: what RESET returns to, what the session has set, and what SET LOCAL has.
type override struct {
	def                  *Def
	name                 string // of a custom setting
	reset, value, local  string
	hasReset, has, hasLo bool
}

type undoEntry struct {
	before override // has no values at all: there was no override
	custom bool
}

func (c *Values) find(d *Def) *override {
	for i := range c.over {
		if c.over[i].def == d {
			return &c.over[i]
		}
	}
	return nil
}

// Value is a setting's value in canonical form.
func (c *Values) Value(d *Def) string {
	if d.Known {
		return c.owner.KnownSetting(d)
	}
	if o := c.find(d); o != nil {
		return o.current()
	}
	return d.Boot
}

func (o *override) current() string {
	switch {
	case o.hasLo:
		return o.local
	case o.has:
		return o.value
	case o.hasReset:
		return o.reset
	case o.def != nil:
		return o.def.Boot
	}
	return ""
}

// Source is pg_settings.source.
func (c *Values) Source(d *Def) string {
	o := c.find(d)
	switch {
	case o == nil:
		return "default"
	case o.has || o.hasLo:
		return "session"
	case o.hasReset:
		return "client"
	}
	return "default"
}

// ResetValue is what RESET returns to.
func (c *Values) ResetValue(d *Def) string {
	if o := c.find(d); o != nil && o.hasReset {
		return o.reset
	}
	return d.Boot
}

// Lookup returns a setting as SHOW prints it.
func (c *Values) Lookup(name string) (string, bool) {
	if d, ok := byName[strings.ToLower(name)]; ok {
		return d.Show(c.Value(d)), true
	}
	if o, ok := c.custom[strings.ToLower(name)]; ok {
		return o.current(), true
	}
	return "", false
}

// Unrecognized is the error for the name of a setting that there is not.
func Unrecognized(name string) *pgerr.Error {
	return pgerr.New(pgerr.UndefinedObject, "unrecognized configuration parameter \"%s\"", name)
}

// Permit reports why a setting may not be changed (startup: by the startup packet).
func Permit(d *Def, startup bool) error {
	switch d.Context {
	case "internal":
		return pgerr.New(pgerr.CantChangeRuntimeParam, "parameter \"%s\" cannot be changed", d.Name)
	case "postmaster":
		return pgerr.New(pgerr.CantChangeRuntimeParam, "parameter \"%s\" cannot be changed without restarting the server", d.Name)
	case ClusterContext:
		return pgerr.New(pgerr.CantChangeRuntimeParam, "parameter \"%s\" cannot be changed now", d.Name).WithHint("It is a setting of the cluster: use ALTER SYSTEM SET.")
	case "sighup":
		return pgerr.New(pgerr.CantChangeRuntimeParam, "parameter \"%s\" cannot be changed now", d.Name)
	case "backend", "superuser-backend":
		if !startup {
			return pgerr.New(pgerr.CantChangeRuntimeParam, "parameter \"%s\" cannot be set after connection start", d.Name)
		}
	}
	return nil
}

// Check validates a value as SET takes it and returns its canonical form.
func (c *Values) Check(d *Def, value string) (string, error) {
	v, err := d.Parse(value)
	if err == nil && d.check != nil {
		v, err = d.check(c, v)
	}
	if err == nil && d.Checked {
		v, err = c.owner.CheckSetting(d, v)
	}
	return v, err
}

// allowed is Check of a value that the session's user gives, if that may be (startup: by the startup packet).
func (c *Values) allowed(d *Def, value string, startup bool) (string, error) {
	if err := Permit(d, startup); err != nil {
		return "", err
	}
	if d.SuperuserOnly() && !c.owner.Superuser() {
		return "", pgerr.New(pgerr.InsufficientPrivilege, "permission denied to set parameter \"%s\"", d.Name)
	}
	return c.Check(d, value)
}

// Set changes a setting for the session (or, local, for the transaction).
func (c *Values) Set(name, value string, local bool) error {
	d, ok := byName[strings.ToLower(name)]
	if !ok {
		return c.setCustom(name, value, local)
	}
	v, err := c.allowed(d, value, false)
	if err != nil {
		return err
	}
	if d.Name == "session_authorization" {
		c.dropRole()
	}
	if done, err := c.owner.SetSpecial(d, v); done || err != nil {
		return err
	}
	c.change(d, func(o *override) {
		if local {
			o.local, o.hasLo = v, true
			c.hasLocal = true
		} else {
			o.value, o.has = v, true
			o.hasLo = false
		}
	})
	return nil
}

// change applies f to a setting's override, remembering what was.
func (c *Values) change(d *Def, f func(*override)) {
	o := c.find(d)
	if o == nil {
		c.over = append(c.over, override{def: d})
		o = &c.over[len(c.over)-1]
	}
	if c.owner.InTransaction() {
		c.undo = append(c.undo, undoEntry{before: *o})
	}
	f(o)
	c.dirty = true
}

func (c *Values) setCustom(name, value string, local bool) error {
	low := strings.ToLower(name)
	class, rest, dotted := strings.Cut(low, ".")
	if !dotted {
		return Unrecognized(name)
	}
	if class == "pamir" {
		return pgerr.New(pgerr.InvalidName, "invalid configuration parameter name \"%s\"", name).WithDetail("\"pamir\" is a reserved prefix.").
			WithHint("Placement rules are no settings but storage parameters: ALTER TABLE t SET (pamir.num_replicas = 5); SELECT pamir.set_rule('num_replicas', '5') for the cluster.")
	}
	if !customName(class) || rest == "" {
		return pgerr.New(pgerr.InvalidName, "invalid configuration parameter name \"%s\"", name).
			WithDetail("Custom parameter names must be two or more simple identifiers separated by dots.")
	}
	o, had := c.custom[low]
	if !had {
		o = override{name: low}
	}
	if c.owner.InTransaction() {
		c.undo = append(c.undo, undoEntry{before: o, custom: true})
	}
	if local {
		o.local, o.hasLo = value, true
		c.hasLocal = true
	} else {
		o.value, o.has, o.hasLo = value, true, false
	}
	if c.custom == nil {
		c.custom = map[string]override{}
	}
	c.custom[low] = o
	return nil
}

// CustomName checks the name of a setting that nobody defined.
func CustomName(name string) (string, error) {
	low := strings.ToLower(name)
	class, rest, dotted := strings.Cut(low, ".")
	switch {
	case !dotted:
		return "", Unrecognized(name)
	case class == "pamir" || !customName(class) || rest == "":
		return "", pgerr.New(pgerr.InvalidName, "invalid configuration parameter name \"%s\"", name)
	}
	return low, nil
}

// SuperuserOnly reports whether only superusers may change a setting.
func (d *Def) SuperuserOnly() bool {
	return d.Context == "superuser" || d.Context == "superuser-backend"
}

func customName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c == '_' || c >= 0x80 || i > 0 && (c >= '0' && c <= '9' || c == '$')) {
			return false
		}
	}
	return s != ""
}

// Reset is RESET name and SET name TO DEFAULT.
func (c *Values) Reset(name string, local bool) error {
	low := strings.ToLower(name)
	d, ok := byName[low]
	if !ok {
		if o, ok := c.custom[low]; ok {
			if c.owner.InTransaction() {
				c.undo = append(c.undo, undoEntry{before: o, custom: true})
			}
			o.value, o.has, o.hasLo = "", true, false
			c.custom[low] = o
			return nil
		}
		return Unrecognized(name)
	}
	if err := Permit(d, false); err != nil {
		return err
	}
	if done, err := c.owner.ResetSpecial(d); done || err != nil {
		return err
	}
	if d.Name == "session_authorization" {
		c.dropRole()
	}
	c.change(d, func(o *override) {
		if local {
			o.local, o.hasLo = c.ResetValue(d), true
			c.hasLocal = true
			return
		}
		o.has, o.hasLo = false, false
	})
	return nil
}

// ResetAll is RESET ALL.
func (c *Values) ResetAll() {
	for i := range c.over {
		o := &c.over[i]
		if o.def.NoReset || !o.has && !o.hasLo {
			continue
		}
		if c.owner.InTransaction() {
			c.undo = append(c.undo, undoEntry{before: *o})
		}
		o.has, o.hasLo = false, false
	}
	for name, o := range c.custom {
		if c.owner.InTransaction() {
			c.undo = append(c.undo, undoEntry{before: o, custom: true})
		}
		o.value, o.has, o.hasLo = "", true, false
		c.custom[name] = o
	}
	c.dirty = true
}

// Startup sets a value of the startup packet: it becomes what RESET returns to.
func (c *Values) Startup(name, value string) error {
	d, ok := byName[strings.ToLower(name)]
	if !ok {
		if strings.Contains(name, ".") {
			return c.setCustom(name, value, false)
		}
		return Unrecognized(name)
	}
	v, err := c.allowed(d, value, true)
	if err != nil {
		return err
	}
	c.change(d, func(o *override) { o.reset, o.hasReset = v, true })
	return nil
}

// Mark and rollbackTo serve savepoints.
func (c *Values) Mark() int { return len(c.undo) }

// RollbackTo undoes what has changed since the mark.
func (c *Values) RollbackTo(mark int) {
	for i := len(c.undo) - 1; i >= mark; i-- {
		u := &c.undo[i]
		if u.custom {
			if !u.before.has && !u.before.hasLo {
				delete(c.custom, u.before.name)
			} else {
				c.custom[u.before.name] = u.before
			}
			continue
		}
		*c.find(u.before.def) = u.before
		c.dirty = true
	}
	c.undo = c.undo[:mark]
}

// End closes a transaction: all changes are undone, or those of SET LOCAL only.
func (c *Values) End(commit bool) {
	if !commit {
		c.RollbackTo(0)
	}
	c.undo = c.undo[:0]
	if !c.hasLocal {
		return
	}
	c.hasLocal = false
	for i := range c.over {
		if c.over[i].hasLo {
			c.over[i].hasLo = false
			c.dirty = true
		}
	}
	for name, o := range c.custom {
		if o.hasLo {
			o.hasLo = false
			c.custom[name] = o
		}
	}
}

// Get is the value of a setting that there is, in canonical form.
func (c *Values) Get(name string) string { return c.Value(Find(name)) }

// Given is the value of a setting if the session has set it, not counting what it began with.
func (c *Values) Given(name string) (string, bool) {
	if o := c.find(Find(name)); o != nil && (o.has || o.hasLo) {
		return o.current(), true
	}
	return "", false
}

// dropRole undoes SET ROLE when the session user changes.
func (c *Values) dropRole() {
	d := Find("role")
	if o := c.find(d); o != nil && (o.has || o.hasLo || o.hasReset) {
		c.change(d, func(o *override) { o.value, o.has, o.hasLo = "none", true, false })
	}
}

// Custom yields the settings that nobody defined, by name.
func (c *Values) Custom() iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for _, name := range slices.Sorted(maps.Keys(c.custom)) {
			o := c.custom[name]
			if !yield(name, o.current()) {
				return
			}
		}
	}
}

// Settled reports whether the end of a transaction would change nothing.
func (c *Values) Settled() bool { return len(c.undo) == 0 && !c.hasLocal }

// TakeDirty reports whether settings have changed since it was last asked.
func (c *Values) TakeDirty() bool {
	d := c.dirty
	c.dirty = false
	c.unreported = c.unreported || d
	return d
}

// MarkUnreported has the next Report look at all values: one that the owner knows may have changed.
func (c *Values) MarkUnreported() { c.unreported = true }

// Report tells of the reported settings that are not what was last told.
func (c *Values) Report(f func(name, value string)) {
	if c.unreported {
		c.report(f)
	}
}

// ReportAll tells of all reported settings, as at the beginning of a session.
func (c *Values) ReportAll(f func(name, value string)) {
	clear(c.reports)
	c.report(f)
}

func (c *Values) report(f func(name, value string)) {
	c.unreported = false
	if c.reports == nil {
		c.reports = map[*Def]string{}
	}
	for _, name := range reported {
		d := Find(name)
		v := d.Show(c.Value(d))
		old, ok := c.reports[d]
		if ok && old == v || !ok && v == "" && d.Category == "Pamir" {
			continue
		}
		c.reports[d] = v
		f(d.Name, v)
	}
}
