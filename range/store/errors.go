package store

import "github.com/pamirdb/pamir/range/internal/engine"

// Why Open refused a directory; nothing in it was changed. Its errors wrap one of these, or an error of the file system.
var (
	// ErrLocked: another process has the store open.
	ErrLocked = engine.ErrLocked
	// ErrNewerFormat: a newer program wrote it.
	ErrNewerFormat = engine.ErrNewerFormat
	// ErrOlderFormat: a program wrote it that is so old that this one cannot read it.
	ErrOlderFormat = engine.ErrOlderFormat
	// ErrCorrupt: what is there is not what was written.
	ErrCorrupt = engine.ErrCorrupt
	// ErrNotStore: the directory holds something else.
	ErrNotStore = engine.ErrNotStore
)
