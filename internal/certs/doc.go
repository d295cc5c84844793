// Package certs makes and loads the certificates by which nodes, operators and SQL clients know each other.
//
// # Files
//
// All are PEM, in one directory (--certs-dir):
//
//	ca.crt, ca.key                   the authority; ca.crt may hold several certificates while one replaces another
//	node.crt, node.key               a node's, for its hosts; it is server and client to other nodes
//	client.<user>.crt, client.<user>.key   a user's, by its common name
//
// A node needs ca.crt, node.crt and node.key. ca.key is needed to make certificates only and is best kept elsewhere.
//
// # Who is who
//
// What a certificate is for is written in it as a URI among its alternative names: pamir:node or pamir:client. A node
// accepts as another node only a certificate with pamir:node, of its own authority, within its dates, and, when it dials, for the
// host that it dialled. So no user's certificate opens the port between nodes, whatever its name.
//
// # What it is not
//
// There are no revocation lists: a certificate ends when it expires, or when its authority leaves ca.crt.
//
// # Invariants
//
//  1. Nothing that exists is overwritten.
//  2. Private keys are written with mode 0600, and not loaded if others than their owner may read them.
//  3. A reload takes effect as a whole or not at all; what was loaded stays in use if the files are bad.
//  4. Connections that are open outlive a reload; every new handshake uses what was loaded last.
//
// # Who may use it
//
// internal/node and cmd/pamir.
package certs
