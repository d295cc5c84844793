package node

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pamirdb/pamir/pgwire"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql"
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/txn"
)

// pushdownDecoder turns programs that other gateways send into what the ranges here can run.
func pushdownDecoder() kv.PushdownDecoder { return exec.Decoder{} }

// front is the SQL side of the node.
type front struct {
	sql   *sql.Server
	wire  *pgwire.Server
	ended atomic.Pointer[chan struct{}] // of Serve
}

// sequences hands out numbers outside of transactions.
type sequences struct{ sender txn.Sender }

// Increment implements catalog.Counters.
func (s sequences) Increment(ctx context.Context, key keys.Key, by int64) (int64, error) {
	resp, err := s.sender.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.Increment{Key: key, By: by}}})
	if err != nil {
		return 0, kv.Undecided(err) // at worst a gap
	}
	return resp.Responses[0].(*kv.IncrementResponse).Value, nil
}

// Numbers implements catalog.Counters.
func (s sequences) Numbers(ctx context.Context, q *kv.Increment, lockTimeout int64) (*kv.IncrementResponse, error) {
	resp, err := s.sender.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{q}, LockTimeout: lockTimeout})
	if err != nil {
		return nil, kv.Undecided(err)
	}
	return resp.Responses[0].(*kv.IncrementResponse), nil
}

// awaitCatalog tries until the catalog is there. That it waits is written once in twenty times: a node without a quorum may do so for days.
func awaitCatalog(ctx context.Context, pause time.Duration, log *slog.Logger, try func() error) {
	for attempt := 0; ; attempt++ {
		err := try()
		if err == nil || ctx.Err() != nil {
			return
		}
		if attempt%20 == 0 {
			log.Warn("waiting for the catalog", "err", err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// startSQL starts serving SQL. The catalog of a new cluster is written in the background if the cluster
// does not answer at once (a restart without a quorum): clients are told until then.
func (n *Node) startSQL(ctx context.Context, ln net.Listener) error {
	if ln == nil {
		return nil
	}
	builtin.Warm()
	cat := sql.NewCatalog(sequences{n.sender})
	n.catalog.Store(cat)
	n.background(func(ctx context.Context) {
		<-cat.Start(ctx, n.sender, n.txns, int32(n.id.NodeID), n.tellCatalog, n.gatewayLost, n.log)
	})
	boot := make(chan struct{})
	n.background(func(ctx context.Context) {
		defer close(boot)
		awaitCatalog(ctx, 500*time.Millisecond, n.log, func() error { return cat.Bootstrap(ctx, n.txns) })
	})
	select {
	case <-boot:
	case <-time.After(5 * time.Second):
	case <-ctx.Done():
		return ctx.Err()
	}
	tmp, err := n.tempDir()
	if err != nil {
		return err
	}
	srv := sql.NewServer(sql.Config{Gateway: n.txns, Catalog: cat, TempDir: tmp, Bulk: exec.NewBulkWriter(n.sender), Node: int32(n.id.NodeID), Cluster: operate{n}, Log: n.log, Closed: n.closedHere, Certificates: n.certs != nil, Insecure: n.cfg.Insecure})
	n.background(srv.AdoptJobs)
	if every := n.cfg.StatisticsInterval; every > 0 {
		n.background(func(ctx context.Context) { srv.Statistics().Run(ctx, every) })
	}
	n.background(srv.Advisory().Run)
	n.background(srv.KeepXactIDs)
	f := &front{sql: srv}
	wire := pgwire.Config{
		Open: func(args sql.SessionArgs, c sql.Client) (pgwire.Session, error) {
			s, err := srv.NewSession(args, c)
			if err != nil {
				return nil, err
			}
			return s, nil
		},
		NewPID:          srv.NewPID,
		CancelElsewhere: n.cancelElsewhere,
		CutOff: func() *pgerr.Error {
			if !n.cutOff() {
				return nil
			}
			return errCutOff
		},
		Log: n.log,
	}
	n.secureWire(&wire, srv)
	f.wire = pgwire.New(wire)
	n.front = f
	n.serving.Store(f)
	n.registry.MustRegister(newCounters("pamir_pgwire", "Connections", f.wire.Metrics(), "Connections"),
		newCounters("pamir_sql", "Statements", srv.Metrics(), "Sessions"), sqlCollector{srv})
	f.serve(n, ln)
	return nil
}

func (f *front) serve(n *Node, ln net.Listener) {
	ended := make(chan struct{})
	f.ended.Store(&ended)
	go func() {
		defer close(ended)
		if err := f.wire.Serve(ln); err != nil && !errors.Is(err, net.ErrClosed) {
			n.fail(err)
		}
	}()
}

// resume takes clients again, at the same address, after a drain.
func (f *front) resume(n *Node) error {
	ln, err := net.Listen("tcp", n.sqlAddr)
	if err != nil {
		return err
	}
	f.wire.Resume()
	f.serve(n, ln)
	return nil
}

// tempDir is where statements spill: in the store's directory, emptied at every start. Memory file systems have none.
func (n *Node) tempDir() (string, error) {
	if n.cfg.FS != vfs.Default {
		return "", nil
	}
	dir := filepath.Join(n.cfg.StoreDir, "sql-temp")
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o700)
}

func (f *front) drain(ctx context.Context) { f.wire.Drain(ctx) }

func (f *front) close() {
	f.wire.Close()
	<-*f.ended.Load()
}

// sqlCollector exposes latencies and the reasons of visible serialization failures.
type sqlCollector struct{ srv *sql.Server }

var (
	latencyDesc = prometheus.NewDesc("pamir_sql_statement_seconds", "Statements by duration.", nil, nil)
	retryDesc   = prometheus.NewDesc("pamir_sql_retries_by_cause_total", "What the server ran again without the client's knowing, by scope and reason.", []string{"scope", "reason"}, nil)
	abortDesc   = prometheus.NewDesc("pamir_sql_serialization_failures_total", "Serialization failures, deadlocks and unknown outcomes that clients saw, by reason.", []string{"reason"}, nil)
)

func (c sqlCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- latencyDesc
	ch <- abortDesc
	ch <- retryDesc
}

func (c sqlCollector) Collect(ch chan<- prometheus.Metric) {
	m := c.srv.Metrics()
	buckets := make(map[float64]uint64, len(sql.LatencyBounds))
	total := uint64(0)
	for i, b := range sql.LatencyBounds {
		total += uint64(m.Latency[i].Load())
		buckets[b.Seconds()] = total
	}
	total += uint64(m.Latency[len(sql.LatencyBounds)].Load())
	ch <- prometheus.MustNewConstHistogram(latencyDesc, total, time.Duration(m.LatencySum.Load()).Seconds(), buckets)
	for scope := range m.RetriesBy {
		for i := range m.RetriesBy[scope] {
			if v := m.RetriesBy[scope][i].Load(); v > 0 {
				ch <- prometheus.MustNewConstMetric(retryDesc, prometheus.CounterValue, float64(v),
					strings.ReplaceAll(sql.ScopeNames[scope], " ", "_"), strings.ReplaceAll(kv.Code(i).String(), " ", "_"))
			}
		}
	}
	for i := range m.Aborts {
		reason := strings.ReplaceAll(kv.Code(i).String(), " ", "_")
		if i == len(m.Aborts)-1 {
			reason = "results_changed"
		}
		if v := m.Aborts[i].Load(); v > 0 {
			ch <- prometheus.MustNewConstMetric(abortDesc, prometheus.CounterValue, float64(v), reason)
		}
	}
}
