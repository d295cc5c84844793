// Package advisory has the advisory locks: pg_advisory_lock and its family.
//
// A lock is a row of the system key space while anybody holds it or waits for it: the queue of the sessions that do. Rows are changed by small transactions of
// their own, so locks are replicated, survive the death of any range's leader, follow splits, and are the same seen from every node. Who
// releases a lock gives it, in the same transaction, to those whose turn it is (queue.go), and lets them know (locks.go). Who waits sleeps until
// then (wait.go): no transaction is open meanwhile, and no range is asked, except that the first waiter of each node looks at the row every few
// seconds, for words that got lost and holders that died.
//
// A row speaks for a session as long as the session's node lives, and a node lives as long as its lease, a row that it
// renews while any row speaks of its sessions (lease.go). Who meets an entry whose node's lease has run out (by the clock
// and the maximum offset) takes it out. A node that could not renew its lease ends the sessions that hold locks before that, and one that stood
// still for so long lets such a session begin no further statement. (A statement that was under way then may run on until it notices.)
//
// Cycles, those with row locks in them too, are looked for by every waiter after deadlock_timeout, and by the first of each
// node again from time to time (table.go).
//
// # What it is not
//
// It knows no sessions but their process ids, no SQL and no other nodes: package sql says who waits for row locks, and carries grants to
// the nodes of those who got them.
//
// # Invariants
//
//  1. A lock is given to nobody else while its holder's node has a lease.
//  2. Waiters get a lock in the order in which their transactions put them into the row; sharers who stand together get it together. Nobody goes past one who waits
//     for a conflicting mode, except a holder who asks for more, past those whom it keeps waiting itself, and one who thereby ends a deadlock.
//  3. The row alone says who has a lock. What nodes tell each other only makes them look.
//  4. A session that gives up waiting leaves nothing in the row: if it cannot take itself out, its node does so later (Locks.owed).
//  5. While nobody takes or releases it, a lock costs the same however many wait for it: a look and a search for deadlocks every few seconds from each node.
package advisory
