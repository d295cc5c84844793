package sql

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/sql/advisory"
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/parse"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/role"
	"github.com/pamirdb/pamir/sql/setting"
	"github.com/pamirdb/pamir/txn"
)

// Session is one client's conversation with the database.
type Session struct {
	srv    *Server
	client Client
	pid    int32
	remote string
	hangUp func()

	// authUser is who came in; sessionUser and user are session_user and current_user, by the settings session_authorization and role.
	authUser, sessionUser, user string
	// known and knownAccess are what the session saw of the roles last.
	known       *role.Set
	knownAccess *catalog.Access
	database    string
	started     time.Time

	settings setting.Values
	effects  effects
	fnctx    builtin.Context

	// The transaction (txnstate.go).
	block   blockState
	opts    txn.Options // of the transaction under way
	setOpts txnSettings
	tx      txn.Txn
	txUsed  bool // a statement has run in tx
	txWrote bool // a statement that may write has run
	snap    catalog.Snapshot
	// uses is what the transaction has asked the catalog; snap notes it there, unless the transaction has changed the catalog itself.
	uses catalog.Uses
	// watched is a snap that a later transaction of the same catalog can use again.
	watched catalog.Snapshot
	askedBy string // the user that uses was last told of
	// epoch is 0 until the transaction changes the catalog; then it numbers the states of the catalog that it has seen.
	// Plans made in one are good for it alone.
	epoch, epochs int
	doomed        error
	// xid is the transaction's id if it has one for clients, nextXid that of the next transaction if it was announced (xactid.go).
	xid, nextXid int64
	// pinned is the snapshot that the transaction has exported and will read from its next statement on (asof.go).
	pinned hlc.Timestamp
	// changing is the catalog as the running schema change has made it so far; else nil.
	changing catalog.Snapshot
	// exported: the transaction has exported a snapshot.
	exported bool
	saves    []savepoint
	// path is the existing part of the search path, as of pathOf and pathFor.
	path    []string
	pathOf  catalog.Snapshot
	pathFor string
	log     replayLog
	refs    exec.References // what foreign keys leave to see to
	// fixFirst: the statement at hand runs again because its snapshot could not be kept (fixSnapshot).
	fixFirst bool
	// mayFix: nothing has been shown that rests on the snapshot, so it may be moved.
	mayFix bool
	whyNot string // why the error at hand did not make the server run the transaction again
	seqs   sequenceState
	adv    advisory.Session

	// Prepared statements and portals (prepared.go, portal.go).
	stmts    map[string]*prepared
	portals  map[string]*portal
	unnamed  *prepared
	portal0  *portal // the unnamed portal
	spare    []*portal
	texts    textCache
	normBuf  []byte
	normLits []parse.Literal
	tag      []byte
	several  bool   // the simple-query message at hand has several statements
	plain    string // the text of a simple query whose statement was prepared without its literals
	// one is the portal of simple queries.
	one portal

	stopTimer func()
	// saidVacuum: the client knows what VACUUM does here.
	saidVacuum bool
	// freeReads are the statements by which the transaction has read keys without locks, and firstReads rows that nobody else of this node reads so before it has ended (lockread.go).
	freeReads  []*plan.KeyHistory
	firstReads []*plan.FirstRead

	mu sync.Mutex
	// Under mu: what other goroutines may look at or interrupt.
	ctx     context.Context
	cancel  context.CancelCauseFunc
	running bool
	info    Info
	gone    *pgerr.Error // why the session ends, once that is decided
}

// NewSession opens a session that talks to client. It fails with a FATAL *pgerr.Error if the
// user, the database or a setting is not acceptable.
func (srv *Server) NewSession(args SessionArgs, client Client) (*Session, error) {
	args.Database = srv.databaseName(args.Database)
	s := &Session{srv: srv, client: client, pid: args.PID, remote: args.Remote, hangUp: args.HangUp,
		authUser: args.User, user: args.User, sessionUser: args.User, database: args.Database, started: time.Now(),
		stmts: map[string]*prepared{}, portals: map[string]*portal{}}
	s.settings.Init(settingOwner{s})
	s.texts.init()
	s.newContext()
	client.BeforeSending(s.beforeSending)
	if err := s.login(&args); err != nil {
		return nil, err
	}
	for _, p := range args.Settings {
		var err error
		if p.Name == "options" {
			err = s.startupOptions(p.Value)
		} else {
			err = s.settings.Startup(p.Name, p.Value)
		}
		if err != nil {
			if e, ok := pgerr.As(err); ok {
				err = fatal(e)
			}
			return nil, err
		}
	}
	s.fnctx.Session = s
	s.fnctx.Sleep = s.sleep
	s.refreshSettings()
	if err := srv.register(s); err != nil {
		return nil, err
	}
	s.info = Info{PID: s.pid, User: s.user, Application: s.settings.Get("application_name"), Database: s.database, Remote: s.remote, Encryption: args.Encryption, Started: s.started, State: "idle", StateSince: s.started}
	srv.metrics.Sessions.Add(1)
	return s, nil
}

func fatal(e *pgerr.Error) *pgerr.Error {
	e.Severity = "FATAL"
	return e
}

// startupOptions reads the startup packet's command line: -c name=value, -cname=value and --name=value.
func (s *Session) startupOptions(line string) error {
	words := splitOptions(line)
	for i := 0; i < len(words); i++ {
		w := words[i]
		switch {
		case w == "-c" && i+1 < len(words):
			i++
			w = words[i]
		case strings.HasPrefix(w, "-c"):
			w = w[2:]
		case strings.HasPrefix(w, "--"):
			w = w[2:]
		default:
			return pgerr.New(pgerr.SyntaxError, "invalid command-line argument for server process: %s", w)
		}
		name, value, ok := strings.Cut(w, "=")
		if !ok {
			return pgerr.New(pgerr.SyntaxError, "-c %s requires a value", w)
		}
		if err := s.settings.Startup(strings.ReplaceAll(name, "-", "_"), value); err != nil {
			return err
		}
	}
	return nil
}

// splitOptions splits at blanks; a backslash takes the next character as it is.
func splitOptions(line string) []string {
	var words []string
	var b strings.Builder
	in := false
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '\\' && i+1 < len(line):
			i++
			b.WriteByte(line[i])
			in = true
		case c == ' ' || c == '\t' || c == '\n':
			if in {
				words = append(words, b.String())
				b.Reset()
				in = false
			}
		default:
			b.WriteByte(c)
			in = true
		}
	}
	if in {
		words = append(words, b.String())
	}
	return words
}

// Close ends the session: what is open is rolled back.
func (s *Session) Close() {
	s.closePortals(true)
	if s.tx != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		s.tx.Rollback(ctx)
		cancel()
		s.tx = nil
	}
	s.endFirst()
	if s.adv.Holds() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		s.adv.Close(ctx)
		cancel()
	}
	s.mu.Lock()
	if s.cancel != nil {
		s.cancel(context.Canceled)
	}
	s.mu.Unlock()
	s.srv.unregister(s)
	s.srv.metrics.Sessions.Add(-1)
}

// Parameters calls f with each reported setting.
func (s *Session) Parameters(f func(name, value string)) {
	s.settings.ReportAll(f)
}

// IdleTimeout is how long the session may be idle in its present state (0: for ever), and the error that ends it then.
func (s *Session) IdleTimeout() (time.Duration, *pgerr.Error) {
	if s.block == blockIdle {
		return s.effects.idleTimeout, errIdleSession
	}
	d := s.effects.idleInTxn
	if left, ok := s.txnTimeLeft(); ok {
		// The server asks again when the time is up: whose it was tells how long the session has been idle.
		if idle := time.Since(s.info.StateSince); d == 0 || left < d-idle {
			return max(left, 1), errTxnTimeout
		}
	}
	return d, errIdleInTxn
}

// Reasons for which an idle session ends. They are made once: the server asks before every wait for a message.
var (
	errIdleInTxn   = fatal(pgerr.New("25P03", "terminating connection due to idle-in-transaction timeout"))
	errTxnTimeout  = fatal(pgerr.New("25P04", "terminating connection due to transaction timeout"))
	errIdleSession = fatal(pgerr.New("57P05", "terminating connection due to idle-session timeout"))
)

// Reasons for which a statement's context ends.
var (
	errUserCancel  = pgerr.New(pgerr.QueryCanceled, "canceling statement due to user request")
	errTimeout     = pgerr.New(pgerr.QueryCanceled, "canceling statement due to statement timeout")
	errTerminating = &pgerr.Error{Severity: "FATAL", Code: pgerr.AdminShutdown, Message: "terminating connection due to administrator command"}
)

func (s *Session) newContext() {
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
}

// Cancel interrupts the running statement, if there is one. From any goroutine.
func (s *Session) Cancel() { s.interrupt(errUserCancel) }

// Terminate interrupts what runs, and everything after it. From any goroutine.
func (s *Session) Terminate() {
	s.mu.Lock()
	if s.gone == nil {
		s.gone = errTerminating
	}
	s.mu.Unlock()
	s.interrupt(errTerminating)
}

// HangUp ends the session's connection (pg_terminate_backend). From any goroutine.
func (s *Session) HangUp() {
	if s.hangUp != nil {
		s.hangUp()
	} else {
		s.Terminate()
	}
}

func (s *Session) interrupt(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		s.cancel(cause)
	}
}

// begin starts work on a command and returns its context. A cancel request from before does not count.
func (s *Session) begin() (context.Context, error) {
	s.refreshSettings()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone != nil {
		return nil, s.gone
	}
	if s.adv.Holds() && s.srv.advisory.Lost() {
		s.gone = errAdvisoryLost
		return nil, errAdvisoryLost
	}
	if s.ctx.Err() != nil {
		s.newContext()
	}
	s.running = true
	left, limited := s.txnTimeLeft()
	switch d := s.effects.statementTimeout; {
	case limited && (d == 0 || left < d):
		s.endAfter(max(left, 1), errTxnTimeout)
	case d > 0:
		s.endAfter(d, errTimeout)
	}
	return s.ctx, nil
}

// endAfter ends the command that begins when its time is up; s.mu is held.
func (s *Session) endAfter(d time.Duration, why *pgerr.Error) {
	cancel := s.cancel
	t := time.AfterFunc(d, func() {
		if why == errTxnTimeout {
			s.mu.Lock()
			if s.gone == nil {
				s.gone = why
			}
			s.mu.Unlock()
		}
		cancel(why)
	})
	s.stopTimer = func() { t.Stop() }
}

// txnTimeLeft is how long the transaction, or the one that begins now, may still last; ok is false if there is no limit.
func (s *Session) txnTimeLeft() (left time.Duration, ok bool) {
	limit := s.effects.txnTimeout
	if limit == 0 {
		return 0, false
	}
	if s.fnctx.TxnStart == 0 {
		return limit, true
	}
	return limit - time.Since(time.UnixMicro(s.fnctx.TxnStart+pgEpoch)), true
}

// finish ends what begin started.
func (s *Session) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = false
	if s.stopTimer != nil {
		s.stopTimer()
		s.stopTimer = nil
	}
}

// notice sends a notice unless client_min_messages says otherwise.
func (s *Session) notice(n *pgerr.Error) {
	level := 7
	switch n.Severity {
	case "WARNING":
		level = 8
	case "INFO":
		level = 100
	case "LOG":
		level = 5
	case "DEBUG":
		level = 4
	}
	if n.Code == "" {
		n.Code = "00000"
	}
	if level >= s.effects.minMessages {
		s.client.Notice(n)
	}
}

func (s *Session) warn(code, format string, args ...any) {
	n := pgerr.New(code, format, args...)
	n.Severity = "WARNING"
	s.notice(n)
}

// These methods make Session a builtin.Session.

func (s *Session) User() string     { return s.user }
func (s *Session) Database() string { return s.database }
func (s *Session) BackendPID() int32 {
	return s.pid
}

// SearchPath is the schemas of the search path that exist, without pg_catalog unless it is named.
func (s *Session) SearchPath() []string {
	snap, err := s.snapshot(s.ctx)
	if err != nil {
		return s.effects.searchPath
	}
	if s.pathOf == snap && s.pathFor == s.effects.pathKey {
		return s.path
	}
	s.path = nil
	for _, n := range s.usablePath() {
		if _, ok := snap.Schema(n); ok {
			s.path = append(s.path, n)
		}
	}
	s.pathOf, s.pathFor = snap, s.effects.pathKey
	return s.path
}

// Setting is current_setting.
func (s *Session) Setting(name string) (string, bool) { return s.settings.Lookup(name) }

// SetSetting is set_config.
func (s *Session) SetSetting(name, value string, local bool) error {
	if err := s.settings.Set(name, value, local); err != nil {
		return err
	}
	s.refreshSettings()
	return nil
}

// SessionUser is session_user.
func (s *Session) SessionUser() string { return s.sessionUser }
