package hba

import (
	"net/netip"
	"slices"
)

// Request is a connection that asks to come in.
type Request struct {
	Database, User string
	Addr           netip.Addr
	TLS            bool
	// Member reports whether the user is a member of a role, directly or not. No superuser is one for being a superuser.
	Member func(role string) bool
}

// Match returns the first rule that fits.
func Match(rules []Rule, q *Request) (*Rule, bool) {
	addr := q.Addr.Unmap().WithZone("")
	for i := range rules {
		r := &rules[i]
		switch r.Type {
		case "local":
			continue // there are no local sockets
		case "hostssl":
			if !q.TLS {
				continue
			}
		case "hostnossl":
			if q.TLS {
				continue
			}
		}
		if !r.All && !r.Net.Contains(addr) {
			continue
		}
		if slices.ContainsFunc(r.Databases, func(w Word) bool { return q.database(w) }) &&
			slices.ContainsFunc(r.Users, func(w Word) bool { return q.user(w) }) {
			return r, true
		}
	}
	return nil, false
}

func (q *Request) database(w Word) bool {
	switch {
	case w.is("all"):
		return true
	case w.is("sameuser"):
		return q.Database == q.User
	case w.is("samerole"), w.is("samegroup"):
		return q.Member(q.Database)
	case w.is("replication"):
		return false
	}
	return w.Text == q.Database
}

// NeverFits returns a database that a rule names if it names no other, and none of them is the only one that there is; "" if the rule may fit.
func NeverFits(r *Rule, only string) string {
	for _, w := range r.Databases {
		switch {
		case w.Text == only, !w.Quoted && slices.Contains([]string{"all", "sameuser", "samerole", "samegroup"}, w.Text):
			return ""
		}
	}
	return r.Databases[0].Text
}

func (q *Request) user(w Word) bool {
	if w.is("all") {
		return true
	}
	if !w.Quoted && len(w.Text) > 1 && w.Text[0] == '+' {
		return q.Member(w.Text[1:])
	}
	return w.Text == q.User
}

// Default lists, where the cluster has none of its own.
const (
	DefaultSecure   = "# TYPE   DATABASE  USER  ADDRESS  METHOD\nhostssl  all       all   all      cert-or-scram-sha-256\n"
	DefaultLoopback = "# TYPE  DATABASE  USER  ADDRESS      METHOD\nhost    all       all   127.0.0.0/8  trust\nhost    all       all   ::1/128      trust\n"
	DefaultInsecure = "# TYPE  DATABASE  USER  ADDRESS  METHOD\nhost    all       all   all      trust\n"
)

// Defaults returns the rules of a node without a list: with certificates, on loopback, or told to be insecure.
func Defaults(certificates, insecure bool) (text string, rules []Rule) {
	switch {
	case certificates:
		text = DefaultSecure
	case insecure:
		text = DefaultInsecure
	default:
		text = DefaultLoopback
	}
	rules, errs := parse(text, insecure)
	if errs != nil {
		panic("hba: the default list is bad: " + errs[0].Error()) // a constant
	}
	return text, rules
}
