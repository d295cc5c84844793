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
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	runVariable  = "PAMIR_SIM_RUN"
	resultPrefix = "RESULT "
	// runTimeout is in real time, on a machine that does much else.
	runTimeout = 3 * time.Minute
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
	cmd := exec.Command(p.path, "-test.run", "^TestRun$", "-test.timeout", runTimeout.String())
	// One processor, and no collection of garbage: neither may come between. (A run that needs more memory than most is collected
	// nevertheless, and may then not repeat exactly.)
	cmd.Env = append(os.Environ(), runVariable+"="+string(in), "GOMAXPROCS=1", "GOGC=off", "GOMEMLIMIT=2GiB", "GOTRACEBACK=all")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	runErr := cmd.Run()
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
	case r == nil:
		r = &Result{Options: o, Failure: fmt.Sprintf("the run has ended without a result: %v\n%s", runErr, tail(out.String(), 8000))}
	case runErr != nil && r.Failure == "":
		r.Failure = fmt.Sprintf("after the run: %v\n%s", runErr, tail(out.String(), 8000))
	}
	return r, out.String()
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
