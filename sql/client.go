package sql

import (
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// Client is the receiving end of a session: what a statement has to say while it runs goes there, in order.
// Whatever is written may be kept back by the implementation (up to a bound of its own) so that [Client.Cut] can take it
// out again. Failures to write are kept and reported by Err; writes after a failure do nothing.
type Client interface {
	// Describe announces the columns of the rows that follow (RowDescription).
	Describe(r *RowShape)
	// Rows sends the counting rows from..to-1 of b. It fails if a value has no form in the format asked for.
	Rows(r *RowShape, b *types.Batch, from, to int) error
	// Complete ends a command with its tag.
	Complete(tag []byte)
	// Empty answers an empty query.
	Empty()
	// Suspended says that a portal has more rows.
	Suspended()
	Notice(n *pgerr.Error)
	// Parameter reports a changed setting (ParameterStatus).
	Parameter(name, value string)

	// CopyIn asks for data and CopyData reads it: io.EOF at its end, or the error the client (or the
	// connection) gave up with. The bytes are valid until the next call.
	CopyIn(binary bool, columns int)
	CopyData() ([]byte, error)
	// CopyOut starts sending data, CopyRow sends one piece, CopyDone ends it.
	CopyOut(binary bool, columns int)
	CopyRow(data []byte)
	CopyDone()

	// Position is how much has been written, ever. Cut takes back everything written since from and returns it; ok is false
	// if some of it has been sent. Raw writes such a piece again.
	Position() int64
	Cut(from int64) (data []byte, ok bool)
	Raw(data []byte)
	// Sum is a hash of everything written since from; ok is false if some of it has been sent.
	Sum(from int64) (sum uint64, ok bool)
	// Hold keeps everything back, whatever its size, until it is called again with false; Rows fails beyond a bound. Replays
	// use it: none of their output may be sent.
	Hold(on bool)
	// BeforeSending has f called before output is sent because there is much of it, and so cannot be taken back. If f fails, Rows fails with its
	// error, and nothing is sent.
	BeforeSending(f func() error)
	// Final reports whether the message being served is known to be the last before a Sync that has arrived.
	Final() bool

	// Err is the first failure to write.
	Err() error
}

// RowShape is what a client must know to send rows: columns, formats, and the settings that text forms depend on.
type RowShape struct {
	Fields  []plan.Field
	Formats []int16 // one per field; 0 text, 1 binary
	Text    *types.TextEnv
}
