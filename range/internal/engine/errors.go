package engine

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pamirdb/pamir/range/kv"
)

// Why Open refused a directory. The errors it returns wrap one of these, or an error of the file system.
var (
	// ErrLocked: another process has the store open.
	ErrLocked = errors.New("store is in use by another process")
	// ErrNewerFormat: a newer program wrote it.
	ErrNewerFormat = errors.New("store was written by a newer version of pamir")
	// ErrOlderFormat: a program wrote it that is so old that this one cannot read it.
	ErrOlderFormat = errors.New("store was written by an older version of pamir")
	// ErrCorrupt: what is there is not what was written.
	ErrCorrupt = errors.New("store is damaged")
	// ErrNotStore: the directory holds something else.
	ErrNotStore = errors.New("directory is not a pamir store")
	// ErrNoStore: there is nothing (with Config.MustExist).
	ErrNoStore = errors.New("no store there")
)

func openError(dir string, kind error, cause error) error {
	if cause == nil {
		return fmt.Errorf("engine: open %s: %w", dir, kind)
	}
	return fmt.Errorf("engine: open %s: %w: %w", dir, kind, cause)
}

// Classify turns an error of the disk into the *kv.Error that the layers above
// understand. An error that is a *kv.Error already stays as it is, and nil stays nil.
func Classify(err error) error {
	if err == nil {
		return nil
	}
	var ke *kv.Error
	switch {
	case errors.As(err, &ke):
		return ke
	case IsDiskFull(err):
		return kv.Errorf(kv.CodeDiskFull, "disk full: %v", err)
	case pebble.IsCorruptionError(err):
		return kv.Errorf(kv.CodeCorruption, "%v", err)
	case errors.Is(err, pebble.ErrClosed):
		return kv.Errorf(kv.CodeUnavailable, "store is closed")
	}
	return kv.Errorf(kv.CodeInternal, "store: %v", err)
}

// IsDiskFull reports whether err says that there is no room left (disk or quota).
func IsDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
