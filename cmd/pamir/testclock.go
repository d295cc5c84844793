package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// testClockFlag names a file that moves this node's physical clock. It is for tests of clock faults with real
// processes, hidden, and refused unless the environment says that this is a test.
const (
	testClockFlag = "test-clock-offset-file"
	testEnv       = "PAMIR_TEST"
	testClockPoll = 100 * time.Millisecond
)

// testGCFlag makes a node collect old versions while a test watches, sooner than any rule may say. It is hidden and refused in the same way.
const testGCFlag = "test-gc-after"

// testSupportFlag makes promises between stores last longer, so that a machine that stands still for seconds loses no leader in a test that is
// about something else. It is hidden and refused in the same way.
const testSupportFlag = "test-support-duration"

// testClock is a physical clock that is off by what a file says: a duration such as "-3s" or "250ms".
// A file that is not there is no offset; one that cannot be understood changes nothing (it may be half written).
type testClock struct {
	path   string
	log    *slog.Logger
	offset atomic.Int64
	wg     sync.WaitGroup
	cancel context.CancelFunc
}

// newTestClock reads the file once and then again and again until stop.
func newTestClock(path string, log *slog.Logger) (*testClock, error) {
	if os.Getenv(testEnv) == "" {
		return nil, fmt.Errorf("--%s falsifies this node's clock: it is for tests only, which set %s=1", testClockFlag, testEnv)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &testClock{path: path, log: log, cancel: cancel}
	c.read()
	c.wg.Add(1)
	go func() {
		defer c.wg.Done()
		t := time.NewTicker(testClockPoll)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				c.read()
			case <-ctx.Done():
				return
			}
		}
	}()
	return c, nil
}

func (c *testClock) stop() {
	c.cancel()
	c.wg.Wait()
}

func (c *testClock) physical() int64 { return time.Now().UnixNano() + c.offset.Load() }

func (c *testClock) read() {
	var d time.Duration
	b, err := os.ReadFile(c.path)
	if err == nil {
		d, err = time.ParseDuration(strings.TrimSpace(string(b)))
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		c.log.Debug("the clock's offset stays as it is", "err", err)
		return
	}
	if old := c.offset.Swap(int64(d)); old != int64(d) {
		c.log.Warn("TEST: the physical clock is falsified", "offset", d)
	}
}
