package logic

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/tests/cluster"
)

var (
	updateKnown = flag.Bool("update-known", false, "rewrite Pamir's answers to statements marked known")
	nodes       = flag.Int("nodes", 1, "how many nodes to run on; the last one is asked")
)

// startPamir starts a node in this process and returns its connection string.
func startPamir(t testing.TB) string {
	c := cluster.StartLocal(t, *nodes, nil)
	_, addr, _ := c.Nodes[*nodes-1].Addresses()
	host, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	return fmt.Sprintf("host=%s port=%s user=root dbname=defaultdb sslmode=disable", host, port)
}

func TestPamir(t *testing.T) {
	dsn := startPamir(t)
	for _, file := range scripts(t) {
		name := strings.TrimSuffix(filepath.Base(file), ".sql")
		t.Run(name, func(t *testing.T) {
			src, err := os.ReadFile(file)
			require.NoError(t, err)
			want, err := os.ReadFile(strings.TrimSuffix(file, ".sql") + ".out")
			require.NoError(t, err)
			compare(t, dsn, file, string(src), string(want))
		})
	}
}

func compare(t *testing.T, dsn, file, src, out string) {
	ctx := context.Background()
	c, err := pgconn.Connect(ctx, dsn)
	require.NoError(t, err)
	_, err = c.Exec(ctx, reset).ReadAll()
	require.NoError(t, err)
	require.NoError(t, c.Close(ctx))
	r := &runner{dial: dialer(dsn)}
	defer r.close()
	stmts := parseScript(src)
	as, err := r.run(ctx, stmts, true)
	if err != nil {
		t.Errorf("after %d statements: %v", len(as), err)
	}
	wants := strings.Split(strings.TrimSuffix(out, "\n\n"), "\n\n")
	known := map[string]string{}
	knownFile := strings.TrimSuffix(file, ".sql") + ".known"
	if b, err := os.ReadFile(knownFile); err == nil {
		for _, e := range strings.Split(strings.TrimSuffix(string(b), "\n\n"), "\n\n") {
			head, body, _ := strings.Cut(e, "\n")
			known[head] = body
		}
	}
	var newKnown strings.Builder
	w, bad := 0, 0
	for _, st := range stmts {
		if w >= len(wants) {
			t.Fatalf("%s has fewer answers than the script has statements; rerun TestPostgres -update", file)
		}
		wantText := wants[w]
		w++
		if st.skip != "" {
			continue
		}
		if len(as) == 0 {
			break
		}
		a := as[0]
		as = as[1:]
		got := strings.TrimSuffix(format([]answer{a}), "\n\n")
		if st.known != "" {
			first, _, _ := strings.Cut(st.text, "\n")
			head := "# " + st.known + ": " + first[:min(len(first), 60)]
			fmt.Fprintf(&newKnown, "%s\n%s\n\n", head, got)
			if got == wantText {
				t.Errorf("line %d is marked as a known difference and does not differ", st.line)
			} else if !*updateKnown && known[head] != got {
				t.Errorf("line %d: known difference has changed\n--- was\n%s\n--- is\n%s", st.line, known[head], got)
			}
			continue
		}
		if got != wantText {
			bad++
			t.Errorf("line %d\n--- PostgreSQL\n%s\n--- Pamir\n%s", st.line, wantText, got)
		}
	}
	t.Logf("%d of %d statements differ", bad, len(stmts))
	if *updateKnown && newKnown.Len() > 0 {
		require.NoError(t, os.WriteFile(knownFile, []byte(newKnown.String()), 0o644))
	}
}
