package parse

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/sql/pgerr"
)

// TestErrorsAreThoseOfPostgreSQL sends the wrong statements of testdata/cases/errors to a real PostgreSQL, if
// PAMIR_TEST_POSTGRES has a connection string, and compares SQLSTATE, message and position.
func TestErrorsAreThoseOfPostgreSQL(t *testing.T) {
	dsn := os.Getenv("PAMIR_TEST_POSTGRES")
	if dsn == "" {
		t.Skip("PAMIR_TEST_POSTGRES is not set")
	}
	ctx := context.Background()
	conn, err := pgconn.Connect(ctx, dsn)
	require.NoError(t, err)
	defer conn.Close(ctx)
	datadriven.RunTest(t, "testdata/cases/errors", func(t *testing.T, d *datadriven.TestData) string {
		if d.HasArg("ours") { // allowed as in later versions of PostgreSQL, or found later than the parser
			return d.Expected
		}
		_, err := parse(d.Input)
		_, perr := conn.Exec(ctx, d.Input).ReadAll()
		var pe *pgconn.PgError
		ours, _ := pgerr.As(err)
		if errors.As(perr, &pe) && ours != nil {
			if pe.Code != ours.Code || pe.Message != ours.Message || int(pe.Position) != ours.Position {
				t.Errorf("%s\n PostgreSQL: %s at %d: %s\n Pamir:      %s at %d: %s", d.Input, pe.Code, pe.Position, pe.Message, ours.Code, ours.Position, ours.Message)
			}
		} else if (pe != nil && pe.Code == pgerr.SyntaxError) != (ours != nil) {
			t.Errorf("%s: PostgreSQL says %v, Pamir %v", d.Input, perr, err)
		}
		return d.Expected
	})
}
