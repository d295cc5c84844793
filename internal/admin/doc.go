// Package admin carries out what operators ask, whichever way they ask it: over HTTP, from the command line, from SQL. What can be asked is
// the table of package sql/verb; what it is carried out on is [Cluster].
//
// # Looking
//
// A verb that looks has an answer, a Go type, from which its schema in the OpenAPI document, its table for people and its relation in SQL are made.
//
// # Operations
//
// A verb that changes something says what is to be so, and carrying it out twice does nothing more. Over HTTP, and whenever it can last, it becomes an
// [Operation]: a record in the system keys that any node shows. The node that was asked runs it. If that node
// dies, or is restarted, the node that leads the meta range takes it over within some seconds and begins again, which is why a verb must say what is to be so.
//
//	running ──▶ succeeded          what was asked is so
//	   │  └───▶ failed             and why; what was begun may be there
//	   ▼
//	canceling ─▶ canceled          what was begun has been undone
//	          ─▶ succeeded         it was too late
//
// An idempotency key (a header over HTTP) is written together with the record: the same user with the same key is answered with the same operation, whatever
// became of the first answer.
//
// # What it is not
//
// It decides nothing about placement and moves nothing itself. It does not find out who asks: the node does, and hands on the user's name.
//
// # Invariants
//
//  1. Nothing is begun before its record, with its key, is committed.
//  2. A state that is over is never changed again: whoever ends an operation, and whoever else believed that it was theirs, does so in a transaction that looks.
//  3. What comes from outside is bounded: bodies, texts, lists, pages, times, requests at once, operations at once, records kept.
//  4. Every path of the HTTP API is in its OpenAPI document, and the other way round: both are made from the table.
//  5. Every goroutine ends before Run returns.
//
// # Who may use it
//
// internal/node, cmd/pamir (for the types of answers) and tests.
package admin
