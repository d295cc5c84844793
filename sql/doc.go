// Package sql is the SQL front of a node: sessions, their settings and transaction blocks, prepared
// statements and portals. It ties parse, plan, exec, ddl and txn together, and is driven by a wire
// front end (package pgwire) or in process.
//
// By file: a session's life is in session.go, portal.go, query.go and prepared.go, its transaction's in txnstate.go, retry.go, again.go, xactid.go
// and twophase.go; commands that are not planned begin in utility.go (copy.go, cursor.go, explain.go, vacuum.go, ...); what the
// node's sessions share is in server.go; the tables and functions that show it, in observe.go, activity.go and virtual.go.
//
// # What it is not
//
// It knows no wire format (a [Client] takes batches of typed rows), it plans nothing and evaluates nothing.
//
// # Life of a statement
//
// Text is looked up in the statement cache; a miss is parsed. The plan comes from the plan cache, keyed by
// text, catalog version, parameter types and search path. The statement runs in the transaction of the block, or in the implicit
// transaction that a simple-query message or an extended-protocol pipeline (everything up to Sync) forms.
//
// # Invariants
//
//  1. A Session is driven by one goroutine; only Cancel, Terminate and the read-only Info may come from others.
//  2. After an error inside a transaction block every command but ROLLBACK [TO] and COMMIT is refused with 25P02.
//  3. A transaction is retried only while nothing that depends on it has left the process: the retry cuts
//     what the client has not been sent yet out of its output and runs the same statements again.
//  4. An implicit transaction's last result is reported complete only after the commit.
//  5. Settings changed in a transaction that does not commit are as they were before it.
//  6. A session holds no transaction while it is idle outside a transaction block.
//  7. A session that holds advisory locks (package advisory) and whose node has lost its lease on them begins no further statement.
//  8. An answer of pg_xact_status other than "in progress" stays true.
//  9. A prepared transaction is finished by COMMIT PREPARED or ROLLBACK PREPARED and by nothing else, once.
package sql
