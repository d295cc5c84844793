package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	runVariable  = "PAMIR_SIM_RUN"
	resultPrefix = "RESULT "
	// What a run may take of the machine. Most take a second of processor time and some hundred megabytes; one that takes much more goes
	// round in circles, and since virtual time may stand still while it does, it would not end.
	maxProcessor = time.Minute
	maxMemory    = 2 << 30
	// runTimeout is in real time, on a machine that does much else.
	runTimeout = 10 * time.Minute
)

// program is this test, built with the changed runtime.
type program struct{ path string }

var built struct {
	once sync.Once
	dir  string
	err  error
}

// build makes the program, once. Without a cache this compiles the standard library and everything that it takes: a minute or two.
func build(t *testing.T) program {
	t.Helper()
	if !seededPlatform {
		t.Skipf("runs do not repeat exactly on %s: simulations are for linux", runtime.GOOS)
	}
	built.once.Do(func() {
		built.err = func() (err error) {
			if built.dir, err = os.MkdirTemp("", "pamir-sim"); err != nil {
				return err
			}
			root, err := exec.Command("go", "env", "GOROOT").Output()
			if err != nil {
				return err
			}
			overlay, err := writeOverlay(strings.TrimSpace(string(root)), built.dir)
			if err != nil {
				return err
			}
			cmd := exec.Command("go", "test", "-c", "-vet=off", "-tags", "pamir_seeded", "-overlay", overlay, "-o", filepath.Join(built.dir, "sim.test"), ".")
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%w\n%s", err, out)
			}
			return nil
		}()
	})
	if built.err != nil {
		t.Fatalf("the simulation cannot be built with the seeded runtime: %v", built.err)
	}
	return program{filepath.Join(built.dir, "sim.test")}
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		if err := os.RemoveAll(built.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	os.Exit(code)
}

// run is one run in a process of its own: the result, and everything that it said.
func (p program) run(o Options) (*Result, string) {
	in, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(p.path, "-test.run", "^TestRun$", "-test.timeout", "0")
	// One processor, and no collection of garbage: neither may come between.
	cmd.Env = append(os.Environ(), runVariable+"="+string(in), "GOMAXPROCS=1", "GOGC=off", "GOMEMLIMIT=off", "GOTRACEBACK=all")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	stopped, runErr := supervise(cmd)
	var r *Result
	for line := range strings.Lines(out.String()) {
		if s, ok := strings.CutPrefix(line, resultPrefix); ok {
			r = &Result{}
			if err := json.Unmarshal([]byte(s), r); err != nil {
				panic(err)
			}
		}
	}
	switch {
	case stopped != "":
		// The goroutine that runs is the first in the list.
		at := max(0, strings.LastIndex(out.String(), "SIGQUIT: quit"))
		r = &Result{Options: o, Failure: fmt.Sprintf("%s, and was stopped. It was doing this:\n%.6000s", stopped, out.String()[at:])}
	case r == nil && endedByDisk(out.String()):
		r = &Result{Options: o, Counts: map[string]int64{"ended by a disk": 1}}
	case r == nil:
		r = &Result{Options: o, Failure: fmt.Sprintf("the run has ended without a result: %v\n%s", runErr, tail(out.String(), 8000))}
	case runErr != nil && r.Failure == "":
		r.Failure = fmt.Sprintf("after the run: %v\n%s", runErr, tail(out.String(), 8000))
	}
	return r, out.String()
}

// endedByDisk: a sync failed while the log was being exchanged for a new one. Pebble ends the process then, as it should, and the simulation with it; where it can be
// foreseen that does not happen (closingLog).
func endedByDisk(out string) bool {
	return strings.Contains(out, "panic: (errorfs.LabelledError)") && strings.Contains(out, ".(*DB).rotateWAL(")
}

// supervise runs the program to its end, or until it has taken too much; then it returns of what.
func supervise(cmd *exec.Cmd) (stopped string, err error) {
	if err := cmd.Start(); err != nil {
		return "", err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	begin := time.Now()
	for {
		select {
		case err := <-ended:
			return stopped, err
		case <-tick.C:
		}
		cpu, memory := taken(cmd.Process.Pid)
		switch {
		case stopped != "":
			continue
		case memory > maxMemory:
			stopped = fmt.Sprintf("the run took more than %d MiB of memory", maxMemory>>20)
		case cpu > maxProcessor:
			stopped = fmt.Sprintf("the run took more than %v of processor time", maxProcessor)
		case time.Since(begin) > runTimeout:
			stopped = fmt.Sprintf("the run has not ended in %v", runTimeout)
		default:
			continue
		}
		// It says what its goroutines do, and then ends. It may be in no state to.
		_ = cmd.Process.Signal(syscall.SIGQUIT)
		time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
	}
}

// taken returns what a process has taken so far; zero if it has ended.
func taken(pid int) (cpu time.Duration, memory int64) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // the third field and on: proc(5)
	if len(f) < 22 {
		return 0, 0
	}
	var n [3]int64
	for i, s := range []string{f[11], f[12], f[21]} { // ticks of user and system time, pages
		n[i], _ = strconv.ParseInt(s, 10, 64)
	}
	return time.Duration(n[0]+n[1]) * time.Second / 100, n[2] * int64(os.Getpagesize())
}

func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n/2] + "\n...\n" + s[len(s)-n/2:]
}

// each calls f with 0 to n-1, as many at a time as there are processors.
func each(n int, f func(i int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range runtime.NumCPU() {
		wg.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

// totals are the numbers of several runs.
type totals struct {
	runs, events int64
	virtual      time.Duration
	counts       map[string]int64
}

func (s *totals) add(r *Result) {
	s.runs++
	s.events += r.Events
	s.virtual += r.Virtual
	if s.counts == nil {
		s.counts = map[string]int64{}
	}
	for k, n := range r.Counts {
		s.counts[k] += n
	}
}

func (s *totals) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d runs, %d events, %v of virtual time", s.runs, s.events, s.virtual.Round(time.Second))
	for _, k := range slices.Sorted(maps.Keys(s.counts)) {
		fmt.Fprintf(&b, "\n    %-28s %d", k, s.counts[k])
	}
	return b.String()
}

func mutantNames() []string { return slices.Sorted(maps.Keys(mutants)) }
