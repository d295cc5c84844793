package tidy

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/pamirdb/pamir"

// maxLines is how long a Go file may be.
const maxLines = 600

// longFiles are the exceptions, with the most lines they may have. The list shrinks: a
// file that has become short enough must leave it.
var longFiles = map[string]int{}

// banned are names that say nothing about what a package is for.
var banned = []string{"util", "utils", "common", "helper", "helpers", "misc", "manager", "shared", "base", "lib"}

type pkg struct {
	ImportPath, Dir   string
	GoFiles, CgoFiles []string
	TestGoFiles       []string
	XTestGoFiles      []string
	Imports           []string
	Doc, Name         string
	TestImports       []string
}

func root(t *testing.T) string {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

func packages(t *testing.T) []pkg {
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,CgoFiles,TestGoFiles,XTestGoFiles,Imports,Doc,Name,TestImports", "./...")
	cmd.Dir = root(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// layers from the bottom up; the longest prefix that fits decides.
var layers = []struct {
	prefix string
	rank   int
}{
	{"hlc", 0}, {"range/keys", 1}, {"range/kv", 2},
	{"range/internal", 3}, {"range/transport", 3}, {"range/routing", 3}, {"range/store", 4},
	{"range/recovery", 5},
	{"txn", 5}, {"sql", 6}, {"pgwire", 7}, {"internal", 8}, {"cmd", 9}, {"tests", 10},
	{"placement", -1},
}

func layer(path string) (prefix string, rank int, ok bool) {
	for _, l := range layers {
		if (path == l.prefix || strings.HasPrefix(path, l.prefix+"/")) && len(l.prefix) > len(prefix) {
			prefix, rank, ok = l.prefix, l.rank, true
		}
	}
	return prefix, rank, ok
}

// allowed reports whether package from may import package to (paths within the module).
func allowed(from, to string) bool {
	fp, fr, ok1 := layer(from)
	tp, tr, ok2 := layer(to)
	switch {
	case !ok1 || !ok2:
		return false
	case fp == tp:
		return true // within a layer's own tree the compiler forbids cycles
	case fp == "placement":
		return false
	case tp == "placement":
		return fr >= 8
	case fp == "range/transport" || fp == "range/routing":
		return tr <= 2 // the network and the map know nothing of what a store does
	}
	return tr < fr
}

func TestLayering(t *testing.T) {
	for _, p := range packages(t) {
		from := strings.TrimPrefix(p.ImportPath, module+"/")
		_, _, ok := layer(from)
		require.True(t, ok, "%s belongs to no layer: add it to the list, and to the picture in doc.go", from)
		for _, imp := range p.Imports {
			if to, ours := strings.CutPrefix(imp, module+"/"); ours && !allowed(from, to) {
				t.Errorf("%s must not import %s", from, to)
			}
		}
	}
}

// The rule catches what it is there for.
func TestLayeringRule(t *testing.T) {
	for _, c := range []struct {
		from, to string
		ok       bool
	}{
		{"range/kv", "hlc", true}, {"hlc", "range/kv", false},
		{"range/store", "range/internal/replica", true}, {"range/internal/replica", "range/store", false},
		{"range/routing", "range/store", false}, {"range/transport", "range/internal/raftlog", false},
		{"txn", "range/routing", true}, {"range/routing", "txn", false}, {"txn", "sql", false},
		{"sql/exec", "sql/plan", true}, {"pgwire", "sql", true}, {"sql", "pgwire", false},
		{"internal/node", "placement", true}, {"placement", "range/kv", false}, {"sql", "placement", false},
		{"cmd/pamir", "internal/node", true}, {"internal/node", "cmd/pamir", false}, {"nowhere", "hlc", false},
	} {
		require.Equal(t, c.ok, allowed(c.from, c.to), "%s imports %s", c.from, c.to)
	}
}

func TestPackageComments(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles)+len(p.CgoFiles) == 0 {
			continue // tests only
		}
		if !slices.Contains(p.GoFiles, "doc.go") {
			t.Errorf("%s has no doc.go", p.ImportPath)
		} else if p.Doc == "" {
			t.Errorf("%s: doc.go has no package comment", p.ImportPath)
		}
	}
}

func TestNames(t *testing.T) {
	for _, p := range packages(t) {
		for _, part := range append(strings.Split(strings.TrimPrefix(p.ImportPath, module+"/"), "/"), p.Name) {
			if slices.Contains(banned, part) {
				t.Errorf("%s: %q says nothing about what the package is for", p.ImportPath, part)
			}
		}
	}
}

func TestFileLength(t *testing.T) {
	dir := root(t)
	seen := map[string]bool{}
	for _, p := range packages(t) {
		for _, f := range slices.Concat(p.GoFiles, p.CgoFiles, p.TestGoFiles, p.XTestGoFiles) {
			path := filepath.Join(p.Dir, f)
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			if bytes.HasPrefix(b, []byte("// Code generated ")) {
				continue
			}
			name, err := filepath.Rel(dir, path)
			require.NoError(t, err)
			n := bytes.Count(b, []byte("\n"))
			limit, exception := longFiles[name]
			seen[name] = exception
			switch {
			case !exception && n > maxLines:
				t.Errorf("%s has %d lines, the limit is %d", name, n, maxLines)
			case exception && n > limit:
				t.Errorf("%s has grown to %d lines; its exception is %d", name, n, limit)
			case exception && n <= maxLines:
				t.Errorf("%s has only %d lines: take it off the list of exceptions", name, n)
			}
		}
	}
	for name := range longFiles {
		require.True(t, seen[name], "%s is on the list of exceptions and does not exist", name)
	}
}
