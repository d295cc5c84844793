//go:build !linux

package engine

// stepBehind does nothing: elsewhere it is processes that have priorities, and not threads.
func stepBehind() error { return nil }
