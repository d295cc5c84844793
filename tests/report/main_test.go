package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReport(t *testing.T) {
	in := strings.Join([]string{
		`{"Action":"output","Package":"p","Test":"TestA","Output":"fine\n"}`,
		`{"Action":"pass","Package":"p","Test":"TestA"}`,
		`{"Action":"output","Package":"p","Test":"TestB","Output":"want 1, got 2\n"}`,
		`{"Action":"fail","Package":"p","Test":"TestB"}`,
		`{"Action":"output","Package":"p","Test":"TestC","Output":"no postgres here\n"}`,
		`{"Action":"skip","Package":"p","Test":"TestC"}`,
		`{"Action":"fail","Package":"p","Elapsed":1.5}`,
		`{"Action":"build-output","ImportPath":"q","Output":"q.go:1: syntax error\n"}`,
		`{"Action":"fail","Package":"q"}`,
		`{"Action":"output","Package":"r","Test":"TestD","Output":"panic: oh\n"}`,
		`{"Action":"fail","Package":"r"}`,
		`{"Action":"pass","Package":"s","Elapsed":0.1}`,
		`not json`, ``,
	}, "\n")
	var out strings.Builder
	got, err := report(strings.NewReader(in), &out)
	require.NoError(t, err)
	require.Equal(t, tally{passed: 1, failed: 3, skipped: 1, packages: 2}, got)
	require.NotContains(t, out.String(), "fine")
	for _, s := range []string{"want 1, got 2", "no postgres here", "syntax error", "panic: oh", "FAIL p (1.5 s)", "ok   s", "not json"} {
		require.Contains(t, out.String(), s)
	}
	require.True(t, strings.HasSuffix(out.String(), "\n1 skipped\n1 passed, 3 failed\n"), out.String())
}
