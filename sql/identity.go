package sql

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pamirdb/pamir/sql/access"
	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/role"
	"github.com/pamirdb/pamir/sql/setting"
	"github.com/pamirdb/pamir/txn"
)

// loginTimeout bounds how long a client waits to be let in by a cluster that does not answer.
const loginTimeout = 20 * time.Second

// catalogNow is the catalog as of now, outside of any session's transaction.
func (srv *Server) catalogNow(ctx context.Context) (catalog.Snapshot, error) {
	t := srv.cfg.Gateway.Begin(ctx, txn.Options{ReadOnly: true})
	defer t.Rollback(ctx)
	for {
		snap, err := srv.cfg.Catalog.Snapshot(ctx, t)
		if err == nil {
			return snap, nil
		}
		if !t.Retryable(err) {
			return nil, exec.Translate(err, nil)
		}
		if err := t.Restart(ctx, err); err != nil {
			return nil, exec.Translate(err, nil)
		}
	}
}

// login finds out whether the session's user may be here, and takes its settings. Who it is has been shown before.
func (s *Session) login(args *SessionArgs) error {
	ctx, cancel := context.WithTimeout(context.Background(), loginTimeout)
	defer cancel()
	snap, err := s.srv.catalogNow(ctx)
	if err != nil {
		return err
	}
	s.known, s.knownAccess = snap.Roles(), snap.Access()
	r, ok := s.known.Get(args.User)
	if !ok {
		return fatal(pgerr.New(pgerr.InvalidAuthorization, "role \"%s\" does not exist", args.User))
	}
	if !r.Login {
		return fatal(pgerr.New(pgerr.InvalidAuthorization, "role \"%s\" is not permitted to log in", args.User))
	}
	if r.Limited && !r.Super && s.srv.sessionsOf(args.User) >= int(r.Connections) {
		return fatal(pgerr.New(pgerr.TooManyConnections, "too many connections for role \"%s\"", args.User))
	}
	if args.Database != s.srv.cfg.Database {
		hint := fmt.Sprintf("This cluster's database is \"%s\".", s.srv.cfg.Database)
		return fatal(pgerr.New(pgerr.InvalidCatalogName, "database \"%s\" does not exist", args.Database)).WithHint("%s", hint)
	}
	if s.known.Privileges(args.User, s.knownAccess.Database.Object())&role.Connect == 0 {
		return fatal(pgerr.New(pgerr.InsufficientPrivilege, "permission denied for database \"%s\"", args.Database)).
			WithDetail("User does not have CONNECT privilege.")
	}
	for _, set := range s.knownAccess.SettingsFor(args.Database, args.User) {
		if err := s.settings.Startup(set.Name, set.Value); err != nil {
			// As in PostgreSQL: what has become invalid does not keep its role out.
			s.srv.cfg.Log.Warn("a setting of a role or database is not applied", "role", args.User, "setting", set.Name, "err", err)
		}
	}
	return nil
}

// sessionsOf counts the open sessions of a role on this node.
func (srv *Server) sessionsOf(user string) int {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	n := 0
	for _, s := range srv.sessions {
		if s.authUser == user {
			n++
		}
	}
	return n
}

// maySignal reports whether a user may interrupt another's sessions: its own role's, or with pg_signal_backend those of all who are no superusers.
func (srv *Server) maySignal(user, other string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), loginTimeout)
	defer cancel()
	snap, err := srv.catalogNow(ctx)
	if err != nil {
		return user == other
	}
	roles := snap.Roles()
	return roles.Has(user, other) || roles.Has(user, role.Signal) && !roles.Super(other)
}

// superuserNow reports whether the user is a superuser, by what the session saw of the roles last.
func (s *Session) superuserNow() bool { return s.known.Super(s.user) }

// hasRole reports whether the user has a role's privileges.
func (s *Session) hasRole(name string) bool { return s.known.Has(s.user, name) }

// rolesNow is the roles as the session may rely on them: its own changes included, without beginning its transaction.
func (s *Session) rolesNow() (*role.Set, error) {
	if s.tx != nil && s.epoch != 0 {
		snap, err := s.snapshot(s.ctx)
		if err != nil {
			return nil, err
		}
		return snap.Roles(), nil
	}
	snap, err := s.srv.catalogNow(s.ctx)
	if err != nil {
		return nil, err
	}
	s.known, s.knownAccess = snap.Roles(), snap.Access()
	return s.known, nil
}

// checkRole is SET ROLE: to a role that the session user is a member of.
func checkRole(s *Session, v string) (string, error) {
	if v == "none" {
		return v, nil
	}
	roles, err := s.rolesNow()
	if err != nil {
		return "", err
	}
	if _, ok := roles.Get(v); !ok {
		return "", pgerr.New(pgerr.InvalidParameterValue, "role \"%s\" does not exist", v)
	}
	if !roles.Member(s.sessionUser, v) {
		return "", pgerr.New(pgerr.InsufficientPrivilege, "permission denied to set role \"%s\"", v)
	}
	return v, nil
}

// checkAuthorization is SET SESSION AUTHORIZATION: for those who logged in as superusers, and back.
func checkAuthorization(s *Session, v string) (string, error) {
	roles, err := s.rolesNow()
	if err != nil {
		return "", err
	}
	if _, ok := roles.Get(v); !ok {
		return "", pgerr.New(pgerr.InvalidParameterValue, "role \"%s\" does not exist", v)
	}
	if v != s.authUser && !roles.Super(s.authUser) {
		return "", pgerr.New(pgerr.InsufficientPrivilege, "permission denied to set session authorization")
	}
	return v, nil
}

// identify computes who the session is from the settings that say so.
func (s *Session) identify() {
	s.sessionUser = s.authUser
	if name, ok := s.settings.Given("session_authorization"); ok {
		s.sessionUser = name
	}
	s.user = s.sessionUser
	if r := s.settings.Get("role"); r != "none" {
		s.user = r
	}
}

// allow checks once for a plan that the user may do what it does. Plans are made for a catalog version and a user, so it need not be asked again.
func (s *Session) allow(pl *plan.Statement) error {
	if len(pl.Needs) == 0 {
		return nil
	}
	return plan.Check(pl.Needs, s.snap.Roles(), s.user)
}

// allowSchema refuses a schema that is named by who may not use it.
func (s *Session) allowSchema(sc *catalog.Schema) error {
	if s.snap.Roles().Privileges(s.user, sc.Object())&role.Usage != 0 {
		return nil
	}
	return pgerr.New(pgerr.InsufficientPrivilege, "permission denied for schema %s", sc.Name)
}

// usablePath is the search path without the schemas that the user may not use: their names are not seen.
func (s *Session) usablePath() []string {
	roles := s.snap.Roles()
	if roles.Super(s.user) {
		return s.effects.searchPath
	}
	var out []string
	for _, n := range s.effects.searchPath {
		if sc, ok := s.snap.Schema(n); ok && roles.Privileges(s.user, sc.Object())&role.Usage == 0 {
			continue
		}
		out = append(out, n)
	}
	return out
}

// allowSequence checks that the user may use a sequence. Who may insert into a table may advance its identity columns.
func (s *Session) allowSequence(snap catalog.Snapshot, t *catalog.Table, p role.Privilege) error {
	roles := snap.Roles()
	if roles.Privileges(s.user, t.Object())&p != 0 {
		return nil
	}
	if t.Sequence != nil && p&role.Usage != 0 {
		if of, ok := snap.TableByID(t.Sequence.OwnedTable); ok {
			i := of.ColumnByID(t.Sequence.OwnedColumn)
			n := plan.Need{Table: of, Privs: role.Insert}
			if i >= 0 && of.Columns[i].Identity != 0 && plan.Check([]plan.Need{n}, roles, s.user) == nil {
				return nil
			}
		}
	}
	return plan.Denied(t)
}

// runAccess runs a statement about roles and privileges in the session's transaction.
func (s *Session) runAccess(ctx context.Context, st ast.Statement) (string, error) {
	if s.readOnly() {
		return "", pgerr.New(pgerr.ReadOnlySQLTransaction, "cannot execute %s in a read-only transaction", commandName(st))
	}
	if _, system := st.(*ast.AlterSystem); system {
		if err := s.outsideBlock("ALTER SYSTEM"); err != nil {
			return "", err
		}
	}
	if err := s.ensureTxn(ctx); err != nil {
		return "", err
	}
	if err := s.step(ctx); err != nil {
		return "", err
	}
	snap, err := s.snapshot(ctx)
	if err != nil {
		return "", err
	}
	if err := s.willWrite(ctx); err != nil {
		return "", err
	}
	env := &access.Env{Store: s.srv.cfg.Catalog, Txn: s.tx, Uses: &s.uses, System: snap, SearchPath: s.effects.searchPath, User: s.user, SessionUser: s.sessionUser,
		Database: s.database, Notice: s.notice, Setting: s.storedSetting}
	err = access.Execute(ctx, env, st)
	s.newEpoch()
	s.snap = nil
	return st.Tag(), err
}

// storedSetting checks a setting of ALTER ROLE, ALTER DATABASE and ALTER SYSTEM.
func (s *Session) storedSetting(st *ast.Set, system bool) (name, value string, err error) {
	d := setting.Find(st.Name)
	switch {
	case system && (d == nil || d.Context != setting.ClusterContext):
		return "", "", pgerr.Unsupported("ALTER SYSTEM SET "+st.Name, "Settings of the cluster are those that begin with \"pamir.\"; others can be set for roles and databases.")
	case system:
	case d == nil:
		if name, err = setting.CustomName(st.Name); err != nil {
			return "", "", err
		}
	default:
		if err := setting.Permit(d, true); err != nil {
			return "", "", err
		}
		if rest, ok := strings.CutPrefix(d.Name, "transaction_"); ok && rest != "timeout" {
			return "", "", pgerr.New(pgerr.CantChangeRuntimeParam, "parameter \"%s\" is of one transaction and cannot be set for roles and databases", d.Name).
				WithHint("Set default_transaction_%s.", rest)
		}
		if d.SuperuserOnly() && !s.superuserNow() {
			return "", "", pgerr.New(pgerr.InsufficientPrivilege, "permission denied to set parameter \"%s\"", d.Name)
		}
	}
	if d != nil {
		name = d.Name
	}
	switch st.Kind {
	case ast.ResetOne, ast.SetToDefault:
		return name, "", nil
	case ast.SetFromCurrent:
		v, ok := s.settings.Lookup(st.Name)
		if !ok {
			return "", "", setting.Unrecognized(st.Name)
		}
		return name, v, nil
	case ast.SetMulti:
		return "", "", pgerr.Unsupported("SET "+st.Name+" for a role or database", "")
	}
	if value, err = s.setValue(st); err != nil || d == nil {
		return name, value, err
	}
	// What is stored is the value as it was written, as PostgreSQL shows it; it is read again when a session begins.
	canonical, err := value, error(nil)
	if d.Name != "role" { // whether the role may be taken is a question for each login
		canonical, err = s.settings.Check(d, value)
	}
	if err != nil {
		return "", "", err
	}
	if system {
		value = canonical
	}
	return name, value, nil
}

// mayMaintain reports whether the user may vacuum and analyze a table: its owner or the database's.
func (s *Session) mayMaintain(t *catalog.Table) bool {
	roles := s.snap.Roles()
	return roles.Has(s.user, t.Owner) || roles.Has(s.user, s.snap.Access().Database.Owner)
}
