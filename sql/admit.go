package sql

import (
	"context"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/hba"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/role"
	"github.com/pamirdb/pamir/sql/types"
)

// hbaSetting is the setting of the cluster that holds the rules of who may connect.
const hbaSetting = "pamir.hba"

// Arrival is a connection that asks to be let in.
type Arrival struct {
	User, Database string
	Addr           netip.Addr
	TLS            bool
	// Certificate: the client showed a certificate of the cluster's authority; CertUser is the name in it, empty if it is nobody's.
	Certificate bool
	CertUser    string
}

// Terms are on what an arrival is let in.
type Terms struct {
	// Password, if not nil, must be satisfied. For a user who has no password, or does not exist, it is one that nothing satisfies.
	Password *role.Verifier
	// Failure is the error if it is not; Why is for the server's log.
	Failure *pgerr.Error
	Why     string
}

// Admit says how an arrival has to show who it is, or refuses it. It does not tell users that exist from those that do not.
func (srv *Server) Admit(ctx context.Context, arrival *Arrival) (*Terms, error) {
	resolved := *arrival
	a := &resolved
	a.Database = srv.databaseName(arrival.Database)
	snap, err := srv.catalogNow(ctx)
	if err != nil {
		return nil, err
	}
	roles := snap.Roles()
	loopback := a.Addr.Unmap().IsLoopback()
	// Root cannot be locked out by a list of rules: the list could not be repaired.
	if a.User == RootRole && (srv.cfg.Certificates && a.TLS && a.CertUser == RootRole || !srv.cfg.Certificates && loopback) {
		return &Terms{}, nil
	}
	_, rules, errs := srv.hbaRules(snap.Access())
	if errs != nil {
		return nil, pgerr.New("F0000", "the list of rules %s is not valid: %s", hbaSetting, errs[0])
	}
	q := &hba.Request{Database: a.Database, User: a.User, Addr: a.Addr, TLS: a.TLS, Member: func(r string) bool { return roles.MemberProper(a.User, r) }}
	where := func(what string) *pgerr.Error {
		enc := "no encryption"
		if a.TLS {
			enc = "SSL encryption"
		}
		return pgerr.New(pgerr.InvalidAuthorization, what+" host \"%s\", user \"%s\", database \"%s\", %s", a.Addr.Unmap(), a.User, a.Database, enc)
	}
	rule, ok := hba.Match(rules, q)
	if !ok {
		e := where("no " + hbaSetting + " entry for")
		if !a.TLS && srv.cfg.Certificates {
			e = e.WithHint("This cluster wants TLS: connect with sslmode=require or stronger.")
		}
		return nil, e
	}
	certificate := func() error {
		switch {
		case !a.Certificate:
			return pgerr.New(pgerr.InvalidAuthorization, "connection requires a valid client certificate")
		case a.CertUser != a.User:
			return pgerr.New(pgerr.InvalidAuthorization, "certificate authentication failed for user \"%s\"", a.User)
		}
		return nil
	}
	if rule.ClientCert != "" {
		if err := certificate(); err != nil && (rule.ClientCert == "verify-full" || !a.Certificate) {
			return nil, err
		}
	}
	switch rule.Method {
	case hba.Trust:
		if !loopback && !srv.cfg.Insecure {
			return nil, where("trust is for loopback connections only; no entry for")
		}
		return &Terms{}, nil
	case hba.Cert:
		return &Terms{}, certificate()
	case hba.CertOrSCRAM:
		if a.Certificate {
			return &Terms{}, certificate()
		}
	case hba.SCRAM:
	default:
		return nil, where(hbaSetting + " rejects connection for")
	}
	t := &Terms{Failure: pgerr.New(pgerr.InvalidPassword, "password authentication failed for user \"%s\"", a.User)}
	r, ok := roles.Get(a.User)
	switch {
	case !ok:
		t.Why = "role does not exist"
	case r.Password == "":
		t.Why = "role has no password"
	case r.ValidUntil != 0 && time.Now().UnixMicro() > r.ValidUntil:
		t.Why = "password has expired"
	default:
		if t.Password, ok = role.ParseVerifier(r.Password); !ok {
			t.Why = "the stored verifier is not valid"
		}
	}
	if t.Password == nil {
		t.Password = role.Mock(snap.Access().Secret, a.User)
	} else {
		t.Why = "wrong password"
	}
	return t, nil
}

// CheckPassword lets in who brings the password itself (HTTP), on the terms of the rules.
func (srv *Server) CheckPassword(ctx context.Context, a *Arrival, password string) error {
	t, err := srv.Admit(ctx, a)
	if err != nil || t.Password == nil {
		return err
	}
	if !t.Password.Check(password) {
		return t.Failure
	}
	return nil
}

// MayUse refuses (42501) who does not exist, may not log in, or lacks the privileges of a role; it is for what is not SQL.
func (srv *Server) MayUse(ctx context.Context, user, of string) error {
	snap, err := srv.catalogNow(ctx)
	if err != nil {
		return err
	}
	switch r, ok := snap.Roles().Get(user); {
	case !ok:
		return pgerr.New(pgerr.InsufficientPrivilege, "role \"%s\" does not exist", user)
	case !r.Login:
		return pgerr.New(pgerr.InsufficientPrivilege, "role \"%s\" is not permitted to log in", user)
	case !snap.Roles().Has(user, of):
		return pgerr.New(pgerr.InsufficientPrivilege, "user \"%s\" is not a member of role \"%s\"", user, of)
	}
	return nil
}

// hbaRules are the rules in force on this node.
func (srv *Server) hbaRules(a *catalog.Access) (text string, rules []hba.Rule, errs []*hba.LineError) {
	if text = a.Cluster[hbaSetting]; text == "" {
		text, rules = hba.Defaults(srv.cfg.Certificates, srv.cfg.Insecure)
		return text, rules, nil
	}
	if c := srv.lastRules.Load(); c != nil && c.text == text {
		return text, c.rules, c.errs
	}
	rules, errs = hba.Parse(text)
	srv.lastRules.Store(&parsedRules{text, rules, errs})
	return text, rules, errs
}

type parsedRules struct {
	text  string
	rules []hba.Rule
	errs  []*hba.LineError
}

// checkHBA refuses a list with errors, all of which it names, and warns of rules without effect: one that rejects would let in whom it names.
func checkHBA(s *Session, v string) (string, error) {
	if strings.TrimSpace(v) == "" {
		return "", nil
	}
	rules, errs := hba.Parse(v)
	if len(errs) == 0 {
		for _, r := range rules {
			if d := hba.NeverFits(&r, s.srv.cfg.Database); d != "" {
				s.warn("01000", "line %d of \"%s\" never fits: there is no database \"%s\", only \"%s\"", r.Line, hbaSetting, d, s.srv.cfg.Database)
			}
		}
		return v, nil
	}
	all := make([]string, 0, 20)
	for _, e := range errs[:min(len(errs), 20)] {
		all = append(all, e.Error())
	}
	return "", pgerr.New(pgerr.InvalidParameterValue, "invalid value for parameter \"%s\"", hbaSetting).WithDetail("%s", strings.Join(all, "\n"))
}

// hbaRows is pg_hba_file_rules.
func (s *Session) hbaRows() [][]*string {
	_, rules, errs := s.srv.hbaRules(s.knownAccess)
	var rows [][]*string
	words := func(ws []hba.Word) *string {
		ds := make([]types.Datum, len(ws))
		for i, w := range ws {
			ds[i] = types.NewString(w.Text)
		}
		return textArray(ds)
	}
	for i := range rules {
		r := &rules[i]
		var options *string
		if r.Options != nil {
			ds := make([]types.Datum, len(r.Options))
			for k, o := range r.Options {
				ds[k] = types.NewString(o)
			}
			options = textArray(ds)
		}
		rows = append(rows, []*string{str(strconv.Itoa(r.Line)), str(r.Type), words(r.Databases), words(r.Users), opt(r.Address), opt(r.Mask), str(string(r.Method)), options, nil})
	}
	for _, e := range errs {
		rows = append(rows, []*string{str(strconv.Itoa(e.Line)), nil, nil, nil, nil, nil, nil, nil, str(e.Msg)})
	}
	return rows
}

func textArray(ds []types.Datum) *string {
	t := types.Of(types.TextArrayOID)
	v := string(types.AppendDatumText(nil, t, types.NewArray(types.MakeArray1(types.TextOID, ds)), types.DefaultEnv))
	return &v
}
