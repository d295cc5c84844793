package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/recovery"
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
	for want, words := range map[string][]string{
		"usage: pamir cert create-node HOST... [flags]":            {"cert", "create-node"},
		"usage: pamir cert create-client USER [flags]":             {"cert", "create-client", "a", "b"},
		"usage: pamir start --store DIR [flags]":                   {"start", "/data"},
		"usage: pamir debug recover apply --plan PLAN --store DIR": {"debug", "recover", "apply", "plan", "--plan", "x", "--store", "y"},
		"usage: pamir node drain NODE_ID [flags]":                  {"node", "drain"},
	} {
		_, err = run(words...)
		require.ErrorContains(t, err, want, "%v", words)
	}
}

// What one step of a recovery has written is not taken for what another has: it would read as a plan that does nothing, and ask to be confirmed.
func TestFilesOfARecoveryAreNotMixedUp(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, v any) string {
		b, err := json.Marshal(v)
		require.NoError(t, err)
		name = filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(name, b, 0o600))
		return name
	}
	facts := write("facts", recovery.Facts{Version: 1, Node: 1, Store: 1, Dir: "x"})
	plan := write("plan", recovery.Plan{Version: 1, Healthy: 3})
	_, err := run("debug", "recover", "apply", "--plan", facts, "--store", dir, "--yes")
	require.ErrorContains(t, err, "is not what pamir debug recover plan writes")
	_, err = run("debug", "recover", "plan", "--out", filepath.Join(dir, "out"), plan)
	require.ErrorContains(t, err, "is not what pamir debug recover collect writes")
	require.NoError(t, readJSON(facts, "collect", &recovery.Facts{}))
	require.NoError(t, readJSON(plan, "plan", &recovery.Plan{}))
}

// A file is not written over unless that is asked for: a plan that is made anew has another cluster id than that by which some stores were changed already.
func TestARecoveryKeepsFiles(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "plan")
	require.NoError(t, os.WriteFile(out, []byte("precious"), 0o600))
	for _, words := range [][]string{
		{"debug", "recover", "plan", "--out", out, filepath.Join(dir, "nix")},
		{"debug", "recover", "collect", "--out", out, "--store", filepath.Join(dir, "nix")},
	} {
		_, err := run(words...)
		require.EqualError(t, err, out+" is there already: give another name, or --force to write over it")
		_, err = run(append(words, "--force")...)
		require.ErrorContains(t, err, "nix", "it went on, to what is not there")
	}
	require.ErrorIs(t, writeJSON(out, 1, false), os.ErrExist)
	b, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Equal(t, "precious", string(b), "nothing was done, so it is still there")
	require.NoError(t, writeJSON(out, 1, true))
	b, err = os.ReadFile(out)
	require.NoError(t, err)
	require.Equal(t, "1\n", string(b))
	require.NoError(t, writeJSON(filepath.Join(dir, "new"), 1, false))
}

// What asks no node prints JSON, too.
func TestJSONWithoutACluster(t *testing.T) {
	out, err := run("version", "--json")
	require.NoError(t, err)
	var version map[string]string
	require.NoError(t, json.Unmarshal([]byte(out), &version))
	require.Equal(t, build(), version["build"])

	dir := t.TempDir()
	for _, words := range [][]string{{"create-ca"}, {"create-node", "localhost", "10.0.0.1"}, {"create-client", "root"}} {
		_, err := run(append([]string{"cert"}, append(words, "--certs-dir", dir, "--ca-key", filepath.Join(dir, "ca.key"))...)...)
		require.NoError(t, err)
	}
	out, err = run("cert", "list", "--certs-dir", dir, "--json")
	require.NoError(t, err)
	var list struct{ Certificates []listedCert }
	require.NoError(t, json.Unmarshal([]byte(out), &list))
	require.Len(t, list.Certificates, 3)
	for _, c := range list.Certificates {
		require.True(t, c.Key, c.File)
		require.Empty(t, c.Problem, c.File)
		require.True(t, c.Until.After(time.Now()), c.File)
		if c.For == "node" {
			require.Equal(t, []string{"localhost", "10.0.0.1"}, c.Hosts)
		}
	}
}
