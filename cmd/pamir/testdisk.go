package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// testDiskFlag names a file that slows this node's disk down. It is for tests of slow disks with real processes, hidden, and refused unless
// the environment says that this is a test.
const (
	testDiskFlag = "test-disk-delay-file"
	testDiskPoll = 100 * time.Millisecond
)

// testDisk is the operating system's files, whose syncs take longer by what a file says: a duration such as "300ms". A file that is not there,
// or cannot be understood, is no delay. It does not sync the less.
type testDisk struct {
	vfs.FS
	path string

	mu    sync.Mutex
	delay time.Duration // guarded by mu
	read  time.Time     // when delay was read; guarded by mu
}

func newTestDisk(path string) (*testDisk, error) {
	if os.Getenv(testEnv) == "" {
		return nil, fmt.Errorf("--%s slows this node's disk down: it is for tests only, which set %s=1", testDiskFlag, testEnv)
	}
	return &testDisk{FS: vfs.Default, path: path}, nil
}

func (d *testDisk) wait() {
	d.mu.Lock()
	if time.Since(d.read) > testDiskPoll {
		d.read, d.delay = time.Now(), 0
		if b, err := os.ReadFile(d.path); err == nil {
			d.delay, _ = time.ParseDuration(strings.TrimSpace(string(b))) // 0 if it cannot be understood
		}
	}
	delay := d.delay
	d.mu.Unlock()
	time.Sleep(delay)
}

func (d *testDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.slow(d.FS.Create(name, c))
}

func (d *testDisk) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return d.slow(d.FS.OpenReadWrite(name, c, o...))
}

func (d *testDisk) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.slow(d.FS.ReuseForWrite(from, to, c))
}

func (d *testDisk) slow(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &slowFile{f, d}, nil
}

type slowFile struct {
	vfs.File
	d *testDisk
}

func (f *slowFile) Sync() error {
	f.d.wait()
	return f.File.Sync()
}

func (f *slowFile) SyncData() error {
	f.d.wait()
	return f.File.SyncData()
}

func (f *slowFile) SyncTo(length int64) (bool, error) {
	f.d.wait()
	return f.File.SyncTo(length)
}
