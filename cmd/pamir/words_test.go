package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// run gives a command line to the commands of this binary, as main does.
func run(args ...string) (string, error) {
	cmd := command()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	err := cmd.Execute()
	return out.String(), err
}

// A script that misspells a command must not go on as if it had been carried out.
func TestUnknownCommandsFail(t *testing.T) {
	for _, words := range [][]string{{"nod"}, {"node", "drian", "3"}, {"range", "node"}, {"placement", "puase"}, {"operation", "bogus"}, {"cert", "bogus"}, {"debug", "bogus"}, {"debug", "recover", "bogus"}} {
		out, err := run(words...)
		require.ErrorContains(t, err, "unknown command", "%v: %s", words, out)
	}
	_, err := run("node", "drian", "3")
	require.ErrorContains(t, err, "did you mean drain?")
	for _, words := range [][]string{{}, {"node"}, {"debug", "recover"}, {"node", "drain", "--help"}} {
		out, err := run(words...)
		require.NoError(t, err, "%v", words)
		require.Contains(t, out, "Usage:", "%v", words)
	}
}

func TestArgumentsThatAreNotUnderstood(t *testing.T) {
	_, err := run("range", "split", "accounts", "-5")
	require.ErrorContains(t, err, "goes after --")
	_, err = run("range", "list", "--node", "x")
	require.EqualError(t, err, `invalid argument "x" for "--node" flag: not a number`)
	_, err = run("node", "drain", "--bogus", "3")
	require.EqualError(t, err, "unknown flag: --bogus")
}
