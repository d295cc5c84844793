//go:build !linux

package sim

import "os"

// emit writes to standard output. Here this may change the order in which goroutines run.
func emit(s string) { _, _ = os.Stdout.WriteString(s) } // nobody to tell

// seededPlatform: runs repeat exactly here, so this is where they are made.
const seededPlatform = false
