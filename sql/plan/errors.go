package plan

import "github.com/pamirdb/pamir/sql/pgerr"

// internal is an error that no statement should be able to cause.
func internal(format string, args ...any) error {
	return pgerr.New(pgerr.InternalError, format, args...)
}
