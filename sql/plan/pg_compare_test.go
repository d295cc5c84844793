package plan

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/sql/parse"
	"github.com/pamirdb/pamir/sql/pgerr"
)

// TestErrorsAreThoseOfPostgreSQL makes the tables of testdata/errors in a real PostgreSQL, if PAMIR_TEST_POSTGRES has
// a connection string, prepares the same statements there, and compares SQLSTATE, message, hint and position.
// Statements marked "ours" differ on purpose.
func TestErrorsAreThoseOfPostgreSQL(t *testing.T) {
	dsn := os.Getenv("PAMIR_TEST_POSTGRES")
	if dsn == "" {
		t.Skip("PAMIR_TEST_POSTGRES is not set")
	}
	ctx := context.Background()
	conn, err := pgconn.Connect(ctx, dsn)
	require.NoError(t, err)
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "drop schema if exists pamir_plan cascade; create schema pamir_plan; set search_path = pamir_plan").ReadAll()
	require.NoError(t, err)
	cat := newTestCatalog()
	var diffs []string
	note := func(format string, args ...any) { diffs = append(diffs, fmt.Sprintf(format, args...)) }
	datadriven.RunTest(t, "testdata/errors", func(t *testing.T, d *datadriven.TestData) string {
		if d.Cmd == "define" {
			require.NoError(t, cat.define(d.Input))
			_, err := conn.Exec(ctx, d.Input).ReadAll()
			require.NoError(t, err)
			return d.Expected
		}
		if d.HasArg("ours") {
			return d.Expected
		}
		var ours *pgerr.Error
		stmts, err := parse.Parse(d.Input)
		if err == nil {
			_, err = Build(cat, testEnv(nil), stmts[0].Statement)
		}
		ours, _ = pgerr.As(err)
		_, perr := conn.Prepare(ctx, "", d.Input, nil)
		var pe *pgconn.PgError
		if !errors.As(perr, &pe) {
			if ours != nil {
				note("%s\n PostgreSQL takes it; Pamir: %s at %d: %s", d.Input, ours.Code, ours.Position, ours.Message)
			}
			return d.Expected
		}
		if ours == nil {
			note("%s\n PostgreSQL: %s at %d: %s\n Pamir takes it", d.Input, pe.Code, pe.Position, pe.Message)
			return d.Expected
		}
		hint := strings.ReplaceAll(pe.Hint, "pamir_plan.", "")
		if pe.Code != ours.Code || pe.Message != ours.Message || int(pe.Position) != ours.Position || hint != ours.Hint {
			note("%s\n PostgreSQL: %s at %d: %s [%s]\n Pamir:      %s at %d: %s [%s]", d.Input, pe.Code, pe.Position, pe.Message, hint,
				ours.Code, ours.Position, ours.Message, ours.Hint)
		}
		return d.Expected
	})
	for _, d := range diffs {
		t.Error(d)
	}
}
