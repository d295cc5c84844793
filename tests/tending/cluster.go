package tending

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/tests/cluster"
)

// show is a cluster that something is shown with.
type show struct {
	t *testing.T
	c *cluster.Cluster
}

func startShow(t *testing.T, nodes int, opts ...cluster.Option) *show {
	t.Helper()
	opts = append([]cluster.Option{cluster.WithFlags("--range-max-bytes", fmt.Sprintf("%dMiB", *rangeMB))}, opts...)
	return &show{t, cluster.Start(t, nodes, append(opts, cluster.WithTimeout(2*time.Minute))...)}
}

func (s *show) dsns() (out []string) {
	for i := range s.c.Size() {
		out = append(out, s.c.DSN(i))
	}
	return out
}

// exec runs statements that are not what is shown, at the first node.
func (s *show) exec(statements ...string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), *within)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.c.DSN(0))
	require.NoError(s.t, err)
	defer hangUp(conn)
	for _, q := range statements {
		_, err := conn.Exec(ctx, q)
		require.NoError(s.t, err, q)
	}
}

// rng is a range as the API shows it.
type rng struct {
	ID     int64  `json:"id"`
	Start  string `json:"start"`
	Table  string `json:"table"`
	Bytes  int64  `json:"bytes"`
	Live   int64  `json:"live_bytes"`
	Locks  int64  `json:"prepared_locks"`
	Leader int32  `json:"leader_node"`
	Rates  struct {
		Requests float64 `json:"requests"`
		CPU      float64 `json:"cpu"`
	} `json:"rates"`
	Replicas []struct {
		NodeID int32  `json:"node_id"`
		Type   string `json:"type"`
	} `json:"replicas"`
}

// ranges of a table, or all if it is empty, in key order.
func (s *show) ranges(table string) ([]rng, error) {
	path := "/api/v1/ranges?limit=10000"
	if table != "" {
		path += "&table=" + table
	}
	var page struct {
		Ranges []rng `json:"ranges"`
	}
	err := s.c.API(0, path, &page)
	return page.Ranges, err
}

// stored is a node as the API shows it.
type stored struct {
	NodeID   int32   `json:"node_id"`
	State    string  `json:"state"`
	Replicas int     `json:"replicas"`
	Leaders  int     `json:"leaders"`
	Bytes    int64   `json:"bytes"`
	CPU      float64 `json:"cpu"`
}

func (s *show) stores() ([]stored, error) {
	var out struct {
		Stores []stored `json:"stores"`
	}
	err := s.c.API(0, "/api/v1/stores", &out)
	return out.Stores, err
}

// tableOfNodes prints what each node holds, and the ranges of a table by size.
func (s *show) tableOfNodes(title, of string) {
	s.t.Helper()
	ss, err := s.stores()
	require.NoError(s.t, err)
	rs, err := s.ranges(of)
	require.NoError(s.t, err)
	var rows [][]string
	for _, x := range ss {
		rows = append(rows, []string{strconv.Itoa(int(x.NodeID)), x.State, strconv.Itoa(x.Replicas), strconv.Itoa(x.Leaders), mib(float64(x.Bytes))})
	}
	table(title, "node|state|replicas|leaders|bytes", rows)
	least, most, sum := math.MaxFloat64, 0.0, 0.0
	for _, r := range rs {
		least, most, sum = min(least, float64(r.Bytes)), max(most, float64(r.Bytes)), sum+float64(r.Bytes)
	}
	if len(rs) > 0 {
		fmt.Printf("table %s: %d ranges of %s to %s, %s on average, %s in all (of one replica each)\n\n", of, len(rs), mib(least), mib(most), mib(sum/float64(len(rs))), mib(sum))
	}
}

// sum adds a metric up over the nodes that run.
func (s *show) sum(name string) (sum float64) {
	s.t.Helper()
	for i := range s.c.Size() {
		if s.c.Running(i) {
			sum += s.c.Metrics(i)[name]
		}
	}
	return sum
}

const snapshotBytes = `pamir_rpc_sent_bytes_total{kind="snapshot"}`

// eventually waits until f says nil, and fails if that takes longer than -within.
func (s *show) eventually(what string, f func() error) {
	s.t.Helper()
	for end := time.Now().Add(*within); ; time.Sleep(250 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("%s: not after %s: %v", what, *within, err)
		}
	}
}

// copyRows makes a table (id, v) and copies so many megabytes of rows into it, in key order, a quarter of a gigabyte a time. It returns the number of rows.
func (s *show) copyRows(name string, megabytes int) (rows int64, took time.Duration) {
	s.t.Helper()
	s.exec("create table " + name + " (id bigint primary key, v text not null)")
	rows = int64(megabytes) << 20 / int64(*rowBytes)
	ctx, cancel := context.WithTimeout(context.Background(), *within)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.c.DSN(0))
	require.NoError(s.t, err)
	defer hangUp(conn)
	began := time.Now()
	piece := int64(256<<20) / int64(*rowBytes)
	for from := int64(0); from < rows; from += piece {
		to := min(from+piece, rows)
		tag, err := conn.PgConn().CopyFrom(ctx, newRows(from, to, *rowBytes), "copy "+name+" from stdin")
		require.NoError(s.t, err)
		require.Equal(s.t, to-from, tag.RowsAffected())
	}
	return rows, time.Since(began)
}

// rowsReader is COPY's text for rows that do not compress well.
type rowsReader struct {
	next, end int64
	size      int
	rng       *rand.Rand
	left      []byte
	buf       []byte
}

func newRows(from, to int64, size int) io.Reader {
	return &rowsReader{next: from, end: to, size: size, rng: rand.New(rand.NewPCG(uint64(from), 1))}
}

func (r *rowsReader) Read(p []byte) (n int, err error) {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-"
	for n < len(p) {
		if len(r.left) == 0 {
			if r.next == r.end {
				break
			}
			b := append(strconv.AppendInt(r.buf[:0], r.next, 10), '\t')
			for len(b) < r.size-1 {
				for x, i := r.rng.Uint64(), 0; i < 10; i, x = i+1, x>>6 {
					b = append(b, letters[x&63])
				}
			}
			r.buf = append(b, '\n')
			r.left = r.buf
			r.next++
		}
		k := copy(p[n:], r.left)
		n, r.left = n+k, r.left[k:]
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}
