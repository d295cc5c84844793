package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/keys"
)

// niceness returns that of each thread of the process.
func niceness(t *testing.T) map[int]int {
	dirs, err := filepath.Glob("/proc/self/task/*")
	require.NoError(t, err)
	out := map[int]int{}
	for _, d := range dirs {
		b, err := os.ReadFile(filepath.Join(d, "stat"))
		if err != nil {
			continue // it has ended
		}
		// The second field, the name, may contain anything. The niceness is the 19th.
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		n := 0
		_, err = fmt.Sscan(f[19-3], &n)
		require.NoError(t, err)
		id, err := strconv.Atoi(filepath.Base(d))
		require.NoError(t, err)
		out[id] = n
	}
	return out
}

// behind are the threads that have stepped behind, but for the first thread of the process: it cannot end, and is never used again.
func behind(t *testing.T) (out []int) {
	for id, n := range niceness(t) {
		if n == niceBehind(ownPriority) && id != os.Getpid() {
			out = append(out, id)
		}
	}
	return out
}

// ownPriority is that of the process, before any of its threads has stepped behind.
var ownPriority, _ = syscall.Getpriority(syscall.PRIO_PROCESS, 0)

func skipIfLast(t *testing.T) {
	if ownPriority <= 1 {
		t.Skip("this process has the lowest priority itself (nice -n 19)")
	}
}

func TestNiceBehind(t *testing.T) {
	require.Equal(t, behindBy, niceBehind(20))
	require.Equal(t, 0, niceBehind(20+behindBy))
	require.Equal(t, 5+behindBy, niceBehind(15))
	require.Equal(t, 19, niceBehind(3))
	require.Equal(t, 19, niceBehind(1))
}

// A goroutine that steps behind takes nobody with it, and its thread is gone when it is.
func TestStepBehind(t *testing.T) {
	skipIfLast(t)
	for range 10 {
		type step struct {
			thread int
			err    error
		}
		begun, end := make(chan step), make(chan struct{})
		go func() {
			s := step{err: stepBehind(), thread: syscall.Gettid()}
			// What is started from here is not behind.
			for range 20 {
				go func() { <-end }()
			}
			begun <- s
			<-end
		}()
		s := <-begun
		require.NoError(t, s.err)
		if s.thread != os.Getpid() {
			require.Equal(t, []int{s.thread}, behind(t))
		}
		close(end)
		for len(behind(t)) > 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// Compactions are behind all else.
func TestCompactionsStepBehind(t *testing.T) {
	skipIfLast(t)
	cfg := testConfig(nil)
	cfg.Dir = t.TempDir()
	e := open(t, cfg)
	defer func() { require.NoError(t, e.Close()) }()
	seen := false
	for n := 0; n < 100 && !seen; n++ {
		for i := range 20_000 {
			k := keys.Key(fmt.Sprintf("key %d", i))
			require.NoError(t, e.DB().Set(EncodeKey(k), make([]byte, 100), pebble.NoSync))
		}
		done := make(chan error)
		go func() {
			done <- e.DB().Compact(context.Background(), EncodeKey(keys.Key("a")), EncodeKey(keys.Key("z")), false)
		}()
		for more := true; more; {
			select {
			case err := <-done:
				require.NoError(t, err)
				more = false
			default:
				seen = seen || len(behind(t)) > 0
			}
		}
	}
	require.True(t, seen)
}
