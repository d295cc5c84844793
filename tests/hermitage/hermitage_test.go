package hermitage

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/tests/cluster"
)

var update = flag.Bool("update", false, "write the answers anew; needs PAMIR_TEST_POSTGRES")

// limit is when a statement that neither answers nor waits for a lock is given up.
const limit = 30 * time.Second

// system is a server under test.
type system struct {
	dsn string
	// waiting counts the transactions that wait for a lock.
	waiting func(ctx context.Context) (int, error)
}

func startPamir(t *testing.T) system {
	l := cluster.StartLocal(t, 1, nil)
	_, addr, _ := l.Nodes[0].Addresses()
	host, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	return system{fmt.Sprintf("host=%s port=%s user=root dbname=defaultdb sslmode=disable", host, port), func(context.Context) (int, error) {
		n := 0
		for _, x := range l.Nodes[0].Locks().Transactions {
			if x.Waits > 0 {
				n++
			}
		}
		return n, nil
	}}
}

// openPostgres uses the server that PAMIR_TEST_POSTGRES names; ok is false without one.
func openPostgres(t *testing.T) (s system, ok bool) {
	dsn := os.Getenv("PAMIR_TEST_POSTGRES")
	if dsn == "" {
		return s, false
	}
	ctx := t.Context()
	watcher, err := pgx.Connect(ctx, dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = watcher.Close(context.Background()) })
	var version string
	require.NoError(t, watcher.QueryRow(ctx, "show server_version").Scan(&version))
	if !strings.HasPrefix(version, "15.") {
		t.Logf("PAMIR_TEST_POSTGRES is version %s; the answers in the files are those of 15", version)
		return s, false
	}
	return system{dsn, func(ctx context.Context) (n int, err error) {
		err = watcher.QueryRow(ctx, "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()").Scan(&n)
		return n, err
	}}, true
}

// session is T1, T2 or T3.
type session struct {
	conn    *pgconn.PgConn
	pending chan string // of a statement that waits
	at      int         // its step
}

// play runs the steps at a level and returns the answer to each.
func play(t *testing.T, sys system, s *script, level string) []string {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	admin, err := pgconn.Connect(ctx, sys.dsn)
	require.NoError(t, err)
	defer admin.Close(ctx)
	for _, q := range append([]string{"drop table if exists test"}, s.setup...) {
		_, err := admin.Exec(ctx, q).ReadAll()
		require.NoError(t, err, q)
	}
	answers := make([]string, len(s.steps))
	sessions := map[string]*session{}
	settle := func(x *session) {
		if x.pending == nil {
			return
		}
		select {
		case a := <-x.pending:
			answers[x.at] = "waits, then " + a
		case <-time.After(limit):
			t.Fatalf("at %s, the answer to %q does not come", level, s.steps[x.at].text)
		}
		x.pending = nil
	}
	for i, st := range s.steps {
		x := sessions[st.session]
		if x == nil {
			x = &session{}
			x.conn, err = pgconn.Connect(ctx, sys.dsn)
			require.NoError(t, err)
			defer x.conn.Close(ctx)
			sessions[st.session] = x
		}
		settle(x)
		blocked := 0
		for _, y := range sessions {
			if y.pending != nil {
				blocked++
			}
		}
		ch := make(chan string, 1)
		go func() { ch <- exec(ctx, x.conn, strings.ReplaceAll(st.text, "LEVEL", level)) }()
		x.pending, x.at = ch, i
		for deadline := time.Now().Add(limit); x.pending != nil; {
			select {
			case answers[i] = <-ch:
				x.pending = nil
				continue
			case <-time.After(2 * time.Millisecond):
			}
			n, err := sys.waiting(ctx)
			require.NoError(t, err)
			if n > blocked { // this one as well
				break
			}
			require.True(t, time.Now().Before(deadline), "at %s, %q neither answers nor waits", level, st.text)
			// In a circle of waiters one is chosen to fail: then the number stays as it is.
			for _, y := range sessions {
				if y != x && y.pending != nil && len(y.pending) > 0 {
					settle(y)
					blocked--
				}
			}
		}
	}
	for _, x := range sessions {
		settle(x)
	}
	return answers
}

// exec runs one statement and says what came of it in a line.
func exec(ctx context.Context, c *pgconn.PgConn, text string) string {
	rs, err := c.Exec(ctx, text).ReadAll()
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "40001" {
		return "ERROR 40001" // the two say it in different words
	}
	if errors.As(err, &pg) {
		return "ERROR " + pg.Code + " " + pg.Message
	}
	if err != nil {
		return "lost: " + err.Error()
	}
	r := rs[len(rs)-1]
	if len(r.FieldDescriptions) == 0 {
		return r.CommandTag.String()
	}
	if len(r.Rows) == 0 {
		return "no rows"
	}
	var rows []string
	for _, row := range r.Rows {
		var vs []string
		for _, v := range row {
			vs = append(vs, string(v))
		}
		rows = append(rows, "("+strings.Join(vs, ", ")+")")
	}
	return strings.Join(rows, " ")
}

func TestHermitage(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	sys := [2]system{startPamir(t)}
	var havePostgres bool
	sys[postgres], havePostgres = openPostgres(t)
	if !havePostgres {
		t.Log("PAMIR_TEST_POSTGRES names no PostgreSQL 15: its answers are taken from the files")
		require.False(t, *update, "-update needs PostgreSQL")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			src, err := os.ReadFile(file)
			require.NoError(t, err)
			s, err := parse(string(src))
			require.NoError(t, err)
			got := map[string][2][]string{}
			for _, l := range levels {
				a := s.answers[l]
				a[pamir] = play(t, sys[pamir], s, l)
				if havePostgres {
					a[postgres] = play(t, sys[postgres], s, l)
				}
				got[l] = a
				if why, ok := s.differs[l]; differ(a) != ok {
					t.Errorf("at %s the two differ: %v; and there is a line that says why: %v %s\n%v", l, differ(a), ok, why, a)
				}
			}
			text := s.format(got)
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
				return
			}
			require.Equal(t, string(src), text)
		})
	}
}
