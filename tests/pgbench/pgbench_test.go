package pgbench

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/tests/cluster"
)

var (
	seconds = flag.Int("seconds", 1, "time of each run")
	scale   = flag.Int("scale", 1, "pgbench scale")
	counts  = flag.String("clients", "1,8", "numbers of clients")
)

func run(t *testing.T, c *cluster.Cluster, args ...string) string {
	t.Helper()
	host, port := c.HostPort(0)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "pgbench", args...)
	cmd.Env = append(os.Environ(), "PGHOST="+host, "PGPORT="+port, "PGUSER=root", "PGDATABASE=defaultdb", "PGSSLMODE=disable")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	require.NoError(t, err, "pgbench %s\n%s", strings.Join(args, " "), out.String())
	return out.String()
}

var tps = regexp.MustCompile(`tps = [0-9.]+`)

func TestPgbench(t *testing.T) {
	if _, err := exec.LookPath("pgbench"); err != nil {
		t.Skip("pgbench is not installed (Debian: postgresql-contrib or postgresql-15)")
	}
	if testing.Short() {
		t.Skip("skipped under -short: it starts three processes")
	}
	c := cluster.Start(t, 3, cluster.WithLongSupport())
	start := time.Now()
	run(t, c, "-i", "-q", "-s", fmt.Sprint(*scale))
	t.Logf("pgbench -i -s %d: %s", *scale, time.Since(start).Round(10*time.Millisecond))
	for _, mode := range []string{"simple", "extended", "prepared"} {
		for _, script := range [][]string{{"-S"}, {"-N"}, nil} {
			for _, n := range strings.Split(*counts, ",") {
				args := append([]string{"-M", mode, "-c", n, "-j", "1", "-T", fmt.Sprint(*seconds), "-n"}, script...)
				out := run(t, c, args...)
				require.Contains(t, out, "number of failed transactions: 0 ", "%s", out)
				require.NotContains(t, out, "ERROR", "%s", out)
				t.Logf("pgbench %-40s %s", strings.Join(args, " "), tps.FindString(out))
			}
		}
	}
}
