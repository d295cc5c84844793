package pgwire

import (
	"time"

	"github.com/pamirdb/pamir/sql"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// Session is what a connection drives: *sql.Session, or a fake in tests. Results go to the [sql.Client]
// that it was opened with; errors are returned, as *pgerr.Error, and reported to the client by the connection.
// An error whose Severity is FATAL ends the connection.
type Session interface {
	// Query runs a simple-query message.
	Query(text string) error

	Parse(name, text string, params []types.OID) error
	// Bind makes a portal. It copies what it keeps of the slices.
	Bind(portal, statement []byte, paramFormats []int16, params [][]byte, resultFormats []int16) error
	// DescribeStatement returns parameter types and columns; shape is nil if there will be no rows.
	DescribeStatement(name []byte) (params []types.OID, shape *sql.RowShape, err error)
	DescribePortal(name []byte) (shape *sql.RowShape, err error)
	// Execute runs a portal for at most maxRows rows (0: all).
	Execute(portal []byte, maxRows int) error
	CloseStatement(name []byte)
	ClosePortal(name []byte)
	// Sync ends a pipeline and with it the implicit transaction.
	Sync() error
	// Fail tells of an error outside the session: it acts on the transaction like an error inside.
	Fail()

	// Status is the transaction status of ReadyForQuery: 'I', 'T' or 'E'.
	Status() byte
	// IdleTimeout is how long the session may now be idle (0: for ever), and the error that ends it then.
	IdleTimeout() (time.Duration, *pgerr.Error)
	// Parameters calls f for each setting that is reported at start.
	Parameters(f func(name, value string))

	// Cancel interrupts what runs now, if anything does. It may be called from any goroutine.
	Cancel()
	// Terminate interrupts what runs now because the server is going away. From any goroutine.
	Terminate()
	// Close rolls back what is open and releases everything.
	Close()
}
