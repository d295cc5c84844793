package logic

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/tests/postgres"
)

// psqlCommands are psql's meta-commands as people use them, run against testdata/psql/setup.sql. What
// psql prints for PostgreSQL is in testdata/psql/expected; what it prints otherwise for Pamir, on purpose, in testdata/psql/known.
var psqlCommands = []string{
	`\d`, `\dt`, `\d t`, `\d parent`, `\d child`, `\d+ t`, `\d v`, `\d t_pkey`, `\d t_id_seq`, `\d "Mixed Case"`, `\d nosuch`, `\d sch.other`, `\di`, `\dv`, `\ds`, `\dt sch.*`, `\dt *.other`, `\dn`, `\du`, `\dt nosuch`,
	`\df`, `\dT`, `\dD`, `\dC nosuch`, `\det`, `\dP`, `\dm`, `\dy`, `\dRp`, `\dRs`, `\dx`, `\ddp`, `\drds`, `\dX`, `\dd`, `\des`, `\dew`, `\deu`, `\dc nosuch`, `\do nosuch`, `\dO nosuch`,
	`\dF nosuch`, `\dconfig work_mem`, `\dp`, `\z t`, `\encoding`, `\dt pg_catalog.pg_clas*`, `\d pg_catalog.pg_am`, `\dA`, `\dL`, `\dl`,
}

func psqlRun(t *testing.T, dsn string) string {
	var b strings.Builder
	for _, c := range psqlCommands {
		cmd := exec.Command("psql", "-X", "-d", dsn, "-P", "pager=off", "-c", c)
		cmd.Env = append(os.Environ(), "LC_ALL=C", "PGOPTIONS=")
		out, err := cmd.CombinedOutput()
		var ee *exec.ExitError
		if err != nil && !errors.As(err, &ee) {
			t.Fatal(err)
		}
		b.WriteString("=== " + c + "\n" + string(out))
	}
	return b.String()
}

func psqlSetup(t *testing.T, dsn string) {
	if _, err := exec.LookPath("psql"); err != nil {
		t.Skip("there is no psql on the PATH")
	}
	out, err := exec.Command("psql", "--version").Output()
	require.NoError(t, err)
	if !strings.Contains(string(out), " 15.") {
		t.Skipf("the expectations are those of psql 15, this is %s", out)
	}
	ctx := context.Background()
	src, err := os.ReadFile("testdata/psql/setup.sql")
	require.NoError(t, err)
	c, err := pgconn.Connect(ctx, dsn)
	require.NoError(t, err)
	defer c.Close(ctx)
	for _, st := range parseScript(reset + ";" + string(src)) {
		_, err = c.Exec(ctx, st.text).ReadAll()
		require.NoError(t, err, st.text)
	}
}

func TestPsqlPostgres(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a PostgreSQL cluster: not with -short")
	}
	pg, err := postgres.Start()
	if errors.Is(err, postgres.ErrMissing) {
		t.Skip(err.Error())
	}
	require.NoError(t, err)
	defer pg.Stop()
	psqlSetup(t, pg.DSN())
	got := psqlRun(t, pg.DSN())
	if *update {
		require.NoError(t, os.WriteFile("testdata/psql/expected", []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile("testdata/psql/expected")
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

func TestPsqlPamir(t *testing.T) {
	dsn := startPamir(t)
	psqlSetup(t, dsn)
	want, err := os.ReadFile("testdata/psql/expected")
	require.NoError(t, err)
	wants, known := sections(string(want)), map[string]string{}
	if b, err := os.ReadFile("testdata/psql/known"); err == nil {
		known = sections(string(b))
	}
	var differ strings.Builder
	for c, got := range sections(psqlRun(t, dsn)) {
		if k, ok := known[c]; ok && k == got {
			continue
		}
		if wants[c] == got {
			if _, ok := known[c]; ok {
				t.Errorf("%s is listed in testdata/psql/known and does not differ", c)
			}
			continue
		}
		t.Errorf("%s\n--- PostgreSQL\n%s\n--- Pamir\n%s", c, wants[c], got)
		differ.WriteString("=== " + c + "\n" + got)
	}
	if *updateKnown {
		require.NoError(t, os.WriteFile("testdata/psql/known.new", []byte(differ.String()), 0o644))
	}
}

func sections(s string) map[string]string {
	out := map[string]string{}
	for _, p := range strings.Split(s, "=== ")[1:] {
		head, body, _ := strings.Cut(p, "\n")
		out[head] = body
	}
	return out
}
