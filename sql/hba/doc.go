// Package hba is the list of rules that says how a client has to show who it is, in the form of PostgreSQL's pg_hba.conf:
//
//	# TYPE   DATABASE  USER        ADDRESS        METHOD         [OPTIONS]
//	hostssl  all       +admins     10.0.0.0/8     cert
//	hostssl  all       all         all            scram-sha-256
//	host     all       all         127.0.0.1/32   trust
//
// The first rule that fits a connection decides; if none fits, the client is refused.
//
// Methods are trust, reject, scram-sha-256, cert, and cert-or-scram-sha-256 (a client that shows a certificate is who the certificate says;
// one that does not is asked for a password). What PostgreSQL has besides (md5, password, ident, peer, ldap ...) is refused with a reason, and so are
// host names as addresses.
//
// # Invariants
//
//  1. Parse is pure and total: any text gives rules, or errors that carry line numbers.
//  2. A text with an error is of no use as a whole: no connection is judged by half a list.
//  3. trust is for loopback addresses only.
//
// # Who may use it
//
// Package sql, which keeps the list as the cluster setting pamir.hba.
package hba
