// Package sessions tests transactions as clients of several nodes see them: who waits for whom, deadlocks and their
// repetition, advisory locks, outcomes after a lost connection, prepared transactions, signals and timeouts. It
// runs clusters of real nodes in this process and talks to them with a driver.
//
//	go test ./tests/sessions -run TestQueues -v -queues 500 -queue 1000    random queues of jobs, from a seed on
package sessions
