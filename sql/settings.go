package sql

import (
	"strconv"
	"strings"
	"time"

	_ "time/tzdata" // zones must not depend on the machine

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/pgcatalog"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/setting"
	"github.com/pamirdb/pamir/sql/types"
	"github.com/pamirdb/pamir/txn"
)

// settingOwner is the session as its settings see it.
type settingOwner struct{ s *Session }

// InTransaction: an implicit transaction counts, too. SET in a message that fails later is undone.
func (o settingOwner) InTransaction() bool { return o.s.effects.env != nil }

func (o settingOwner) Superuser() bool { return o.s.superuserNow() }

// KnownSetting is the value of a setting that is not kept: the session knows it.
func (o settingOwner) KnownSetting(d *setting.Def) string {
	s := o.s
	switch d.Name {
	case "is_superuser":
		return setting.OnOff(s.superuserNow())
	case "session_authorization":
		return s.sessionUser
	case "transaction_isolation", "transaction_read_only", "transaction_deferrable":
		return s.txnSetting(d.Name)
	case "ssl":
		return setting.OnOff(s.srv.cfg.Certificates)
	case "pamir.hba":
		return s.knownAccess.Cluster[d.Name]
	case "pamir.xact_id":
		return s.announceXactID()
	case "seed":
		return "unavailable"
	}
	panic("sql: nobody knows the setting " + d.Name)
}

// CheckSetting checks what only the session can.
func (o settingOwner) CheckSetting(d *setting.Def, v string) (string, error) {
	switch d.Name {
	case "session_authorization":
		return checkAuthorization(o.s, v)
	case "role":
		return checkRole(o.s, v)
	case "pamir.read_as_of":
		return checkReadAsOf(o.s, d, v)
	case "pamir.hba":
		return checkHBA(o.s, v)
	}
	panic("sql: nobody checks the setting " + d.Name)
}

// SetSpecial changes what is not a mere value.
func (o settingOwner) SetSpecial(d *setting.Def, v string) (done bool, err error) {
	switch d.Name {
	case "transaction_isolation", "transaction_read_only", "transaction_deferrable":
		return true, o.s.applyTxnOptions([]ast.Option{{Name: d.Name, Text: v}})
	case "pamir.read_as_of":
		if s := o.s; s.block == blockOpen && s.txUsed && v != s.settings.Get(d.Name) {
			return false, pgerr.New(pgerr.ActiveSQLTransaction, "pamir.read_as_of must be set before any query of the transaction")
		}
	case "seed":
		return true, pgerr.Unsupported("SET SEED", "Use setseed().")
	}
	return false, nil
}

// ResetSpecial is RESET of what is not a mere value.
func (o settingOwner) ResetSpecial(d *setting.Def) (done bool, err error) {
	switch d.Name {
	case "transaction_isolation", "transaction_read_only", "transaction_deferrable":
		return true, pgerr.New(pgerr.FeatureNotSupported, "parameter \"%s\" cannot be reset", d.Name)
	}
	return false, nil
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
	lockReads        bool
	minMessages      int
	reportXact       bool
	txnTimeout       time.Duration
}

// refreshSettings recomputes the effects if anything has changed.
func (s *Session) refreshSettings() {
	if !s.settings.TakeDirty() {
		return
	}
	s.identify()
	get := s.settings.Get
	num := func(name string) int64 {
		n, _ := strconv.ParseInt(get(name), 10, 64) // canonical: parses
		return n
	}
	ms := func(name string) time.Duration { return time.Duration(num(name)) * time.Millisecond }
	e := &s.effects
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
	loc, err := setting.LoadZone(get("timezone"))
	if err != nil {
		loc = time.UTC // cannot be: the value was checked
	}
	env.Location = loc
	env.RegIn = func(t types.OID, name string) (uint32, error) { return pgcatalog.RegIn(s, t, name) }
	env.RegOut = func(t types.OID, oid uint32) (string, bool) { return pgcatalog.RegOut(s, t, oid) }
	e.env = env
	s.fnctx.Env = env
	s.setApplication(get("application_name"))
	e.pathKey = get("search_path") + "\x00" + s.user
	e.searchPath = e.searchPath[:0:0]
	names, _ := setting.SplitIdentifiers(get("search_path"))
	for _, n := range names {
		if n == "$user" {
			n = s.user
		}
		if n != "" {
			e.searchPath = append(e.searchPath, n)
		}
	}
	e.statementTimeout = ms("statement_timeout")
	e.lockTimeout = ms("lock_timeout")
	if s.tx != nil && s.opts.LockTimeout != e.lockTimeout {
		s.opts.LockTimeout = e.lockTimeout
		if t, ok := s.tx.(txn.LockTimer); ok {
			t.SetLockTimeout(e.lockTimeout)
		}
	}
	e.idleTimeout = ms("idle_session_timeout")
	e.idleInTxn = ms("idle_in_transaction_session_timeout")
	e.memory = num("pamir.statement_memory") << 10
	e.maxRetries = int(num("pamir.max_retries"))
	e.lockReads = get("pamir.lock_reads") == "auto"
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

// reportSettings tells the client of reported settings that are not what it was last told.
func (s *Session) reportSettings() { s.settings.Report(s.client.Parameter) }
