package engine

import (
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fullPause is how long the writer of a table waits when the disk is full.
const fullPause = 200 * time.Millisecond

// patient is a file system on which the writing of a table that finds no room fails slowly. Pebble begins a flush or a compaction that has failed again at
// once, and would do nothing else on a full disk, for as long as it is full. Nobody waits for tables, other than for logs, with Pebble's locks held.
type patient struct{ vfs.FS }

// Create implements vfs.FS.
func (p patient) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := p.FS.Create(name, category)
	if !strings.HasSuffix(name, ".sst") {
		return f, err
	}
	if err != nil {
		return nil, refuse(err)
	}
	return &patientFile{File: f}, nil
}

// patientFile is a table that is being written, by one goroutine.
type patientFile struct{ vfs.File }

// Write implements vfs.File.
func (f *patientFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	return n, refuse(err)
}

// Preallocate implements vfs.File.
func (f *patientFile) Preallocate(offset, length int64) error {
	return refuse(f.File.Preallocate(offset, length))
}

func refuse(err error) error {
	if IsDiskFull(err) {
		time.Sleep(fullPause)
	}
	return err
}
