// Package pgwire is the PostgreSQL wire protocol, versions 3.0 and 3.2, from the server's side.
//
// It accepts connections, negotiates, authenticates, decodes what clients send, drives a [Session]
// (package sql has the real one), and encodes rows straight out of typed batches.
//
// # What it is not
//
// It knows no SQL: transaction states, prepared statements and portals live in the session.
//
// # Invariants
//
//  1. One goroutine a connection; the server waits for all of them before Close returns.
//  2. Output is sent when the client would otherwise wait for it: before the connection's goroutine blocks in a
//     read, and when the output buffer is over its bound. So a pipeline of messages costs one write.
//  3. No client can make the server allocate for what it has not sent: a message's
//     buffer grows as its bytes arrive, up to a limit that is small until the client is authenticated.
//  4. A malformed message ends with an error on its own connection. If the stream is still in step (the
//     length was right, the body was not) the connection goes on, as PostgreSQL's does.
//  5. After an error in the extended protocol everything up to Sync is discarded.
//  6. Nobody reaches Open whom Admit has not let in; a wrong password takes the same exchange whether the user exists or not, and the answer waits longer
//     the more failed from one address, up to a bound.
//  7. A panic under a connection ends that connection, with its transaction rolled back, and is logged and counted.
package pgwire
