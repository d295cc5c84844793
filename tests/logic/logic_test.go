package logic

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/tests/postgres"
)

var (
	update = flag.Bool("update", false, "rewrite the expectations from PostgreSQL 15")
	only   = flag.String("script", "", "run this script only")
)

func scripts(t *testing.T) []string {
	files, err := filepath.Glob("testdata/*.sql")
	require.NoError(t, err)
	if *only != "" {
		return []string{"testdata/" + strings.TrimSuffix(*only, ".sql") + ".sql"}
	}
	require.NotEmpty(t, files)
	return files
}

func dialer(dsn string) func(context.Context, func(*pgconn.Notice)) (*pgconn.PgConn, error) {
	return func(ctx context.Context, notice func(*pgconn.Notice)) (*pgconn.PgConn, error) {
		cfg, err := pgconn.ParseConfig(dsn)
		if err != nil {
			return nil, err
		}
		cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { notice(n) }
		return pgconn.ConnectConfig(ctx, cfg)
	}
}

// reset gives every script an empty database.
const reset = `drop schema if exists public cascade; create schema public`

func TestPostgres(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a PostgreSQL cluster: not with -short")
	}
	pg, err := postgres.Start()
	if errors.Is(err, postgres.ErrMissing) {
		t.Skip(err.Error())
	}
	require.NoError(t, err)
	defer pg.Stop()
	for _, file := range scripts(t) {
		name := strings.TrimSuffix(filepath.Base(file), ".sql")
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			src, err := os.ReadFile(file)
			require.NoError(t, err)
			c, err := pgconn.Connect(ctx, pg.DSN())
			require.NoError(t, err)
			_, err = c.Exec(ctx, reset).ReadAll()
			require.NoError(t, err)
			require.NoError(t, c.Close(ctx))
			r := &runner{dial: dialer(pg.DSN())}
			defer r.close()
			as, err := r.run(ctx, parseScript(string(src)), false)
			require.NoError(t, err)
			got := format(as)
			out := strings.TrimSuffix(file, ".sql") + ".out"
			if *update {
				require.NoError(t, os.WriteFile(out, []byte(got), 0o644))
				return
			}
			want, err := os.ReadFile(out)
			require.NoError(t, err, "run with -update")
			require.Equal(t, string(want), got)
		})
	}
}
