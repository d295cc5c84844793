package sql

import (
	"strconv"
	"strings"
	"time"

	_ "time/tzdata" // zones must not depend on the machine

	"github.com/pamirdb/pamir/sql/pgcatalog"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// settings are a session's values, and what a transaction has changed of them.
type settings struct {
	s *Session
	// over holds what differs from the boot values, by definition; a slice is searched faster than a map for the
	// few there are.
	over   []override
	custom map[string]override // settings with a dot in their name that nobody defined
	undo   []undoEntry
	// hasLocal: some override has a local value, to be dropped with the transaction.
	hasLocal bool
	// dirty: settings have changed whose effects have not been computed.
	dirty bool
	// unreported: a setting has changed since the last report.
	unreported bool
	// reports are the values clients were last told.
	reports map[*settingDef]string
}

// override is one setting's values: what RESET returns to, what the session has set, and what SET LOCAL has.
type override struct {
	def                  *settingDef
	name                 string // of a custom setting
	reset, value, local  string
	hasReset, has, hasLo bool
}

type undoEntry struct {
	before override // has no values at all: there was no override
	custom bool
}

func (c *settings) find(d *settingDef) *override {
	for i := range c.over {
		if c.over[i].def == d {
			return &c.over[i]
		}
	}
	return nil
}

// value is a setting's value in canonical form.
func (c *settings) value(d *settingDef) string {
	if d.get != nil {
		return d.get(c.s)
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

// source is pg_settings.source.
func (c *settings) source(d *settingDef) string {
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

func (c *settings) resetValue(d *settingDef) string {
	if o := c.find(d); o != nil && o.hasReset {
		return o.reset
	}
	return d.Boot
}

// lookup returns a setting as SHOW prints it.
func (c *settings) lookup(name string) (string, bool) {
	if d, ok := settingByName[strings.ToLower(name)]; ok {
		return d.show(c.value(d)), true
	}
	if o, ok := c.custom[strings.ToLower(name)]; ok {
		return o.current(), true
	}
	return "", false
}

func unrecognized(name string) *pgerr.Error {
	return pgerr.New(pgerr.UndefinedObject, "unrecognized configuration parameter \"%s\"", name)
}

// permit reports why a setting may not be changed (startup: by the startup packet).
func permit(d *settingDef, startup bool) error {
	switch d.Context {
	case "internal":
		return pgerr.New(pgerr.CantChangeRuntimeParam, "parameter \"%s\" cannot be changed", d.Name)
	case "postmaster":
		return pgerr.New(pgerr.CantChangeRuntimeParam, "parameter \"%s\" cannot be changed without restarting the server", d.Name)
	case clusterContext:
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

// set changes a setting for the session (or, local, for the transaction).
func (c *settings) set(name, value string, local bool) error {
	d, ok := settingByName[strings.ToLower(name)]
	if !ok {
		return c.setCustom(name, value, local)
	}
	if err := permit(d, false); err != nil {
		return err
	}
	if superuserSetting(d) && !c.s.superuserNow() {
		return pgerr.New(pgerr.InsufficientPrivilege, "permission denied to set parameter \"%s\"", d.Name)
	}
	v, err := d.parse(value)
	if err != nil {
		return err
	}
	if d.check != nil {
		if v, err = d.check(c.s, v); err != nil {
			return err
		}
	}
	if d.Name == "session_authorization" {
		c.dropRole()
	}
	if done, err := c.s.setSpecial(d, v); done || err != nil {
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
func (c *settings) change(d *settingDef, f func(*override)) {
	o := c.find(d)
	if o == nil {
		c.over = append(c.over, override{def: d})
		o = &c.over[len(c.over)-1]
	}
	if c.s.inTxn() {
		c.undo = append(c.undo, undoEntry{before: *o})
	}
	f(o)
	c.dirty = true
}

func (c *settings) setCustom(name, value string, local bool) error {
	low := strings.ToLower(name)
	class, rest, dotted := strings.Cut(low, ".")
	if !dotted {
		return unrecognized(name)
	}
	if class == "pamir" {
		return pgerr.New(pgerr.InvalidName, "invalid configuration parameter name \"%s\"", name).WithDetail("\"pamir\" is a reserved prefix.")
	}
	if !customName(class) || rest == "" {
		return pgerr.New(pgerr.InvalidName, "invalid configuration parameter name \"%s\"", name).
			WithDetail("Custom parameter names must be two or more simple identifiers separated by dots.")
	}
	o, had := c.custom[low]
	if !had {
		o = override{name: low}
	}
	if c.s.inTxn() {
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

// customSettingName checks the name of a setting that nobody defined.
func customSettingName(name string) (string, error) {
	low := strings.ToLower(name)
	class, rest, dotted := strings.Cut(low, ".")
	switch {
	case !dotted:
		return "", unrecognized(name)
	case class == "pamir" || !customName(class) || rest == "":
		return "", pgerr.New(pgerr.InvalidName, "invalid configuration parameter name \"%s\"", name)
	}
	return low, nil
}

// superuserSetting reports whether only superusers may change a setting.
func superuserSetting(d *settingDef) bool {
	return d.Context == "superuser" || d.Context == "superuser-backend"
}

func lower(s string) string { return strings.ToLower(s) }

func customName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c == '_' || c >= 0x80 || i > 0 && (c >= '0' && c <= '9' || c == '$')) {
			return false
		}
	}
	return s != ""
}

// reset is RESET name and SET name TO DEFAULT.
func (c *settings) reset(name string, local bool) error {
	low := strings.ToLower(name)
	d, ok := settingByName[low]
	if !ok {
		if o, ok := c.custom[low]; ok {
			if c.s.inTxn() {
				c.undo = append(c.undo, undoEntry{before: o, custom: true})
			}
			o.value, o.has, o.hasLo = "", true, false
			c.custom[low] = o
			return nil
		}
		return unrecognized(name)
	}
	if err := permit(d, false); err != nil {
		return err
	}
	if done, err := c.s.resetSpecial(d); done || err != nil {
		return err
	}
	if d.Name == "session_authorization" {
		c.dropRole()
	}
	c.change(d, func(o *override) {
		if local {
			o.local, o.hasLo = c.resetValue(d), true
			c.hasLocal = true
			return
		}
		o.has, o.hasLo = false, false
	})
	return nil
}

// resetAll is RESET ALL.
func (c *settings) resetAll() {
	for i := range c.over {
		o := &c.over[i]
		if o.def.NoReset || !o.has && !o.hasLo {
			continue
		}
		if c.s.inTxn() {
			c.undo = append(c.undo, undoEntry{before: *o})
		}
		o.has, o.hasLo = false, false
	}
	for name, o := range c.custom {
		if c.s.inTxn() {
			c.undo = append(c.undo, undoEntry{before: o, custom: true})
		}
		o.value, o.has, o.hasLo = "", true, false
		c.custom[name] = o
	}
	c.dirty = true
}

// startup sets a value of the startup packet: it becomes what RESET returns to.
func (c *settings) startup(name, value string) error {
	d, ok := settingByName[strings.ToLower(name)]
	if !ok {
		if strings.Contains(name, ".") {
			return c.setCustom(name, value, false)
		}
		return unrecognized(name)
	}
	if err := permit(d, true); err != nil {
		return err
	}
	if superuserSetting(d) && !c.s.superuserNow() {
		return pgerr.New(pgerr.InsufficientPrivilege, "permission denied to set parameter \"%s\"", d.Name)
	}
	v, err := d.parse(value)
	if err != nil {
		return err
	}
	if d.check != nil {
		if v, err = d.check(c.s, v); err != nil {
			return err
		}
	}
	c.change(d, func(o *override) { o.reset, o.hasReset = v, true })
	return nil
}

// mark and rollbackTo serve savepoints.
func (c *settings) mark() int { return len(c.undo) }

func (c *settings) rollbackTo(mark int) {
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

// end closes a transaction: all changes are undone, or those of SET LOCAL only.
func (c *settings) end(commit bool) {
	if !commit {
		c.rollbackTo(0)
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

// effects are values that the session uses all the time, computed when settings change.
type effects struct {
	env              *types.TextEnv // immutable: results being sent refer to it
	searchPath       []string
	pathKey          string
	statementTimeout time.Duration
	lockTimeout      time.Duration
	idleTimeout      time.Duration
	idleInTxn        time.Duration
	memory           int64
	maxRetries       int
	minMessages      int
	reportXact       bool
	txnTimeout       time.Duration
}

// refresh recomputes the effects if anything has changed.
func (c *settings) refresh() {
	if !c.dirty {
		return
	}
	c.dirty = false
	c.unreported = true
	c.identify()
	get := func(name string) string { return c.value(settingByName[name]) }
	num := func(name string) int64 {
		n, _ := strconv.ParseInt(get(name), 10, 64) // canonical: parses
		return n
	}
	ms := func(name string) time.Duration { return time.Duration(num(name)) * time.Millisecond }
	e := &c.s.effects
	env := &types.TextEnv{DateStyle: get("datestyle")[0], IntervalStyle: 'p', ExtraFloatDigits: int(num("extra_float_digits")), ByteaEscape: get("bytea_output") == "escape"}
	_, order, _ := strings.Cut(get("datestyle"), ", ")
	env.DateOrder = order[0]
	switch get("intervalstyle") {
	case "postgres_verbose":
		env.IntervalStyle = 'v'
	case "sql_standard":
		env.IntervalStyle = 's'
	case "iso_8601":
		env.IntervalStyle = 'i'
	}
	loc, err := loadZone(get("timezone"))
	if err != nil {
		loc = time.UTC // cannot be: the value was checked
	}
	env.Location = loc
	sess := c.s
	env.RegIn = func(t types.OID, name string) (uint32, error) { return pgcatalog.RegIn(sess, t, name) }
	env.RegOut = func(t types.OID, oid uint32) (string, bool) { return pgcatalog.RegOut(sess, t, oid) }
	e.env = env
	sess.fnctx.Env = env
	c.s.setApplication(get("application_name"))
	e.pathKey = get("search_path") + "\x00" + c.s.user
	e.searchPath = e.searchPath[:0:0]
	names, _ := splitIdentifiers(get("search_path"))
	for _, n := range names {
		if n == "$user" {
			n = c.s.user
		}
		if n != "" {
			e.searchPath = append(e.searchPath, n)
		}
	}
	e.statementTimeout = ms("statement_timeout")
	e.lockTimeout = ms("lock_timeout")
	e.idleTimeout = ms("idle_session_timeout")
	e.idleInTxn = ms("idle_in_transaction_session_timeout")
	e.memory = num("pamir.statement_memory") << 10
	e.maxRetries = int(num("pamir.max_retries"))
	e.txnTimeout = ms("transaction_timeout")
	e.reportXact = get("pamir.report_xact_id") == "on"
	e.minMessages = messageLevel(get("client_min_messages"))
}

func messageLevel(s string) int {
	for i, w := range []string{"debug5", "debug4", "debug3", "debug2", "debug1", "log", "info", "notice", "warning", "error"} {
		if w == s {
			return i
		}
	}
	return 7
}

// report tells the client of reported settings that are not what it was last told.
func (c *settings) report() {
	if c.unreported {
		c.reportTo(c.s.client.Parameter)
	}
}

func (c *settings) reportTo(f func(name, value string)) {
	c.unreported = false
	if c.reports == nil {
		c.reports = map[*settingDef]string{}
	}
	for _, name := range reported {
		d := settingByName[strings.ToLower(name)]
		v := d.show(c.value(d))
		old, ok := c.reports[d]
		if ok && old == v || !ok && v == "" && d.Category == "Pamir" {
			continue
		}
		c.reports[d] = v
		f(d.Name, v)
	}
}

func checkTimeZone(_ *Session, v string) (string, error) {
	if _, err := loadZone(v); err != nil {
		return "", settingByName["timezone"].invalid(v)
	}
	if name, ok := zoneName(v); ok {
		return name, nil
	}
	return v, nil
}
