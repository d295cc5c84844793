// Package sessions tests transactions as clients of several nodes see them: who waits for whom, deadlocks and their
// repetition, advisory locks, outcomes after a lost connection, prepared transactions, signals and timeouts. It
// runs clusters of real nodes in this process and talks to them with a driver.
package sessions
