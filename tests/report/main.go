package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// event is one line of "go test -json".
type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

// tally of a run.
type tally struct {
	passed, failed, skipped int
	packages                int // that failed without a failing test: they do not build, or crashed
}

func main() {
	t, err := report(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(2)
	}
	if t.failed > 0 {
		os.Exit(1)
	}
}

func report(in io.Reader, out io.Writer) (tally, error) {
	var t tally
	said := map[string]*strings.Builder{} // output of tests and packages that have not ended
	failedIn := map[string]int{}
	r := bufio.NewReaderSize(in, 1<<20)
	for {
		line, err := r.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				out.Write(line) // the go command talking outside of the protocol
			} else {
				t.take(e, out, said, failedIn)
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return t, err
		}
	}
	t.failed += t.packages
	if t.skipped > 0 {
		fmt.Fprintf(out, "%d skipped\n", t.skipped)
	}
	fmt.Fprintf(out, "%d passed, %d failed\n", t.passed, t.failed)
	return t, nil
}

func (t *tally) take(e event, out io.Writer, said map[string]*strings.Builder, failedIn map[string]int) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		b := said[key]
		if b == nil {
			b = &strings.Builder{}
			said[key] = b
		}
		b.WriteString(e.Output)
	case "build-output":
		fmt.Fprint(out, e.Output)
	case "pass", "fail", "skip":
		text := ""
		if b := said[key]; b != nil {
			text = b.String()
			delete(said, key)
		}
		if e.Test == "" {
			t.endPackage(e, text, out, said, failedIn)
			return
		}
		switch e.Action {
		case "pass":
			t.passed++
		case "skip":
			t.skipped++
			fmt.Fprint(out, text) // says why
		case "fail":
			t.failed++
			failedIn[e.Package]++
			fmt.Fprint(out, text)
		}
	}
}

func (t *tally) endPackage(e event, text string, out io.Writer, said map[string]*strings.Builder, failedIn map[string]int) {
	switch e.Action {
	case "fail":
		if failedIn[e.Package] == 0 {
			t.packages++
		}
		for k, b := range said { // tests that a crash cut short
			if strings.HasPrefix(k, e.Package+" ") {
				fmt.Fprint(out, b.String())
				delete(said, k)
			}
		}
		fmt.Fprint(out, text)
		fmt.Fprintf(out, "FAIL %s (%.1f s)\n", e.Package, e.Elapsed)
	case "pass":
		fmt.Fprintf(out, "ok   %s (%.1f s)\n", e.Package, e.Elapsed)
	}
}
