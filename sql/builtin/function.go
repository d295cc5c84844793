package builtin

import "github.com/pamirdb/pamir/sql/types"

// Function is a row of pg_proc with its kernel.
type Function struct {
	OID        uint32
	Name       string
	Schema     string
	Source     string // pg_proc.prosrc: names the kernel
	Args       []types.OID
	Variadic   types.OID // element type, or 0
	Defaults   int       // how many trailing arguments may be left out
	Result     types.OID
	ReturnsSet bool
	Strict     bool
	Volatility byte // 'i', 's', 'v'
	Kind       byte // 'f' function, 'a' aggregate, 'w' window, 'p' procedure
	// ArgNames are the names of Args, "" where a parameter has none; nil if none has.
	ArgNames []string
	// DefaultText has the defaults of the last Defaults arguments, as SQL.
	DefaultText []string
	// OutNames and OutTypes are the columns of a function with OUT parameters or RETURNS TABLE.
	OutNames []string
	OutTypes []types.OID
	Language uint32 // pg_language: 12 internal, 13 C, 14 SQL
	// Kernel is nil if Pamir cannot compute it.
	Kernel Kernel
}

// Kernel computes one function over the rows sel (nil = 0..n-1) of its argument vectors into out, which has
// room for n values and the function's result type. For strict functions rows with a NULL argument
// have been taken out of sel already and are NULL in out. An error is a *pgerr.Error.
type Kernel func(ctx *Context, args []*types.Vec, n int, sel []int32, out *types.Vec) error

// Context is what functions may know of session and statement.
type Context struct {
	// TxnStart and StmtStart are µs since 2000-01-01 UTC, for now() and statement_timestamp().
	TxnStart, StmtStart int64
	// Session gives current_user, settings, time zone and so on; nil where work runs beside the data.
	Session Session
	// Env is for text forms and time zones; nil means types.DefaultEnv.
	Env *types.TextEnv
	// Rand and Sleep, if set, replace the process's random source and a plain sleep (tests, cancellation).
	Rand  func() float64
	Sleep func(seconds float64) error
}

// TextEnv is Env, or the default.
func (c *Context) TextEnv() *types.TextEnv {
	if c == nil || c.Env == nil {
		return types.DefaultEnv
	}
	return c.Env
}

// Session is what functions ask of the session.
type Session interface {
	User() string
	Database() string
	SearchPath() []string
	Setting(name string) (string, bool)
	SetSetting(name, value string, local bool) error
	BackendPID() int32
}
