package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/pamirdb/pamir/internal/node"
)

type demoOptions struct {
	store   string
	nodes   int
	sqlAddr string
	http    string
	noShell bool
	fed     bool // standard input has what psql is to execute

	regions  []string // empty for one place
	each     int      // nodes in a region
	distance *distances
}

func demoCommand() *cobra.Command {
	var o demoOptions
	var regions, rtt string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a cluster in this process, with sample data, and open a shell",
		Long: `Run a cluster of several nodes inside this process, on a temporary directory, fill it with a
small sample data set across several ranges, and open psql if there is one. Ctrl-C stops it.

What is fed to it by a pipe, or from a file, psql executes, up to the first error: then the demo ends, with 1 if there was one.

  echo 'SELECT * FROM peaks' | pamir demo

With --regions the nodes are in several regions, and what they send each other takes as long as it would over land and sea.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.regions = splitList(regions); len(o.regions) > 0 {
				if cmd.Flags().Changed("nodes") {
					return errors.New("--nodes and --regions contradict each other: give --nodes-per-region")
				}
				if err := checkRegions(o.regions); err != nil {
					return err
				}
				o.nodes = len(o.regions) * o.each
			} else if rtt != "" || cmd.Flags().Changed("nodes-per-region") {
				return errors.New("--rtt and --nodes-per-region need --regions")
			}
			if o.distance, err = newDistances(rtt); err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if o.fed = !o.noShell && isFed(os.Stdin); o.fed {
				if _, err := exec.LookPath("psql"); err != nil {
					return errors.New("what is fed to the demo is executed by psql, which is not there: install it, or give --no-shell")
				}
				out = cmd.ErrOrStderr() // the other is psql's
			}
			return runDemo(out, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.store, "store", "", "directory to keep the data in (default: a temporary one, removed at the end)")
	f.IntVar(&o.nodes, "nodes", 3, "number of nodes")
	f.StringVar(&regions, "regions", "", "regions to have nodes in: eu,us,ap")
	f.IntVar(&o.each, "nodes-per-region", 3, "number of nodes in each region")
	f.StringVar(&rtt, "rtt", "", "round-trip times between regions, other than usual: eu-us=90ms,eu-eu=2ms")
	f.StringVar(&o.sqlAddr, "sql-addr", node.DefaultSQLAddr, "SQL address of the first node; the others take free ports")
	f.StringVar(&o.http, "http-addr", node.DefaultHTTPAddr, "HTTP address of the first node; the others take free ports")
	f.BoolVar(&o.noShell, "no-shell", false, "do not open psql")
	return cmd
}

func runDemo(out io.Writer, o demoOptions) (err error) {
	if o.nodes < 1 || o.nodes > 16 {
		return fmt.Errorf("--nodes %d: between 1 and 16", o.nodes)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	dir := o.store
	if dir == "" {
		if dir, err = os.MkdirTemp("", "pamir-demo-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	log := logger(slog.LevelError)
	slog.SetDefault(log)
	fmt.Fprintf(out, "Starting %d nodes in %s ...\n", o.nodes, dir)
	d := demo{opts: o, dir: dir, log: log}
	defer d.stop(out)
	if err := d.start(ctx); err != nil {
		return demoError(ctx, err)
	}
	dsn := d.dsn()
	fresh, err := d.sampleData(ctx, dsn)
	if err != nil {
		return demoError(ctx, fmt.Errorf("sample data: %w", err))
	}
	d.greet(out, dsn, fresh)
	switch {
	case o.fed: // nobody is there to try anything
	case len(o.regions) > 0:
		d.greetRegions(ctx, out)
	default:
		fmt.Fprint(out, whatToTry)
	}
	if psql, err := exec.LookPath("psql"); err == nil && !o.noShell && (o.fed || isTerminal(os.Stdin)) {
		return d.shell(psql, dsn)
	}
	fmt.Fprintln(out, "Ctrl-C stops the cluster.")
	select {
	case <-ctx.Done():
		return nil
	case err := <-d.nodes[0].Failed():
		return err
	}
}

// demoError hides the noise of a start that the user interrupted.
func demoError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("stopped")
	}
	return err
}

// demo is a cluster in this process.
type demo struct {
	opts  demoOptions
	dir   string
	log   *slog.Logger
	nodes []*node.Node
}

func (d *demo) start(ctx context.Context) error {
	first, err := node.Start(ctx, d.config(0, ""))
	if err != nil {
		return err
	}
	d.nodes = append(d.nodes, first)
	d.place(0, first)
	rpc, _, _ := first.Addresses()
	others := make([]*node.Node, d.opts.nodes)
	errs := make([]error, d.opts.nodes)
	var wg sync.WaitGroup
	for i := 1; i < d.opts.nodes; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if others[i], errs[i] = node.Start(ctx, d.config(i, rpc)); errs[i] == nil {
				d.place(i, others[i])
			}
		}()
	}
	wg.Wait()
	for _, n := range others[1:] {
		if n != nil {
			d.nodes = append(d.nodes, n)
		}
	}
	return errors.Join(errs...)
}

func (d *demo) config(i int, join string) node.Config {
	cfg := node.Config{
		StoreDir: filepath.Join(d.dir, fmt.Sprintf("node%d", i+1)),
		RPCAddr:  "127.0.0.1:0", SQLAddr: "127.0.0.1:0", HTTPAddr: "127.0.0.1:0",
		Locality: []string{fmt.Sprintf("zone=%c", 'a'+i%3)},
		Log:      d.log.With("demo", fmt.Sprintf("node%d", i+1)), Build: build(),
		CacheBytes:        32 << 20,
		PlacementInterval: 300 * time.Millisecond, // a demo shows what happens while one watches
	}
	if len(d.opts.regions) > 0 {
		cfg.Locality = []string{"region=" + d.region(i), fmt.Sprintf("zone=%s-%c", d.region(i), 'a'+i/len(d.opts.regions))}
		cfg.Faults = d.opts.distance
		cfg.CacheBytes = 16 << 20
	}
	if i == 0 {
		cfg.SQLAddr, cfg.HTTPAddr = d.opts.sqlAddr, d.opts.http
	}
	if join != "" {
		cfg.Join = []string{join}
	}
	return cfg
}

func (d *demo) dsn() string {
	_, sql, _ := d.nodes[0].Addresses()
	return fmt.Sprintf("postgresql://root@%s/defaultdb", sql)
}

// stop stops all nodes together.
func (d *demo) stop(out io.Writer) {
	if len(d.nodes) == 0 {
		return
	}
	fmt.Fprintln(out, "Stopping ...")
	node.StopAll(d.nodes...)
}

// sampleData fills the cluster if it is new.
func (d *demo) sampleData(ctx context.Context, dsn string) (fresh bool, err error) {
	conn, err := pgx.Connect(ctx, dsn+"?sslmode=disable")
	if err != nil {
		return false, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var n int
	if err := conn.QueryRow(ctx, "SELECT count(*) FROM information_schema.tables WHERE table_name IN ('peaks', 'accounts')").Scan(&n); err != nil {
		return false, err
	}
	if n > 0 {
		return false, nil
	}
	stmts := sampleStatements
	if len(d.opts.regions) > 0 {
		stmts = append(slices.Clone(stmts), regionStatements(d.opts.regions, d.opts.each)...)
	}
	for _, stmt := range stmts {
		if _, err := conn.Exec(ctx, stmt); err != nil {
			return false, fmt.Errorf("%w\n%s", err, stmt)
		}
	}
	return true, nil
}

func (d *demo) greet(out io.Writer, dsn string, fresh bool) {
	_, _, http := d.nodes[0].Addresses()
	if !fresh {
		fmt.Fprintln(out, "The data of an earlier run is still there.")
	}
	fmt.Fprintf(out, `
A cluster of %d nodes is running in this process.

  SQL    psql %s
  Admin  pamir node list%s  (also pamir range, placement, operation)
  HTTP   http://%s/api/v1/ranges  (also /api/v1/nodes, /api/v1/placement, /metrics, /health, /ready)
`, len(d.nodes), dsn, hostFlag(http), http)
	if len(d.opts.regions) > 0 {
		return // they are listed by region
	}
	for i, n := range d.nodes[1:] {
		_, sql, _ := n.Addresses()
		fmt.Fprintf(out, "         node %d: psql postgresql://root@%s/defaultdb\n", i+2, sql)
	}
}

// hostFlag is what the commands of operators need besides, if anything.
func hostFlag(http string) string {
	if http == node.DefaultHTTPAddr {
		return ""
	}
	return " --host " + http
}

// shell runs psql until it ends. Ctrl-C is psql's meanwhile.
func (d *demo) shell(psql, dsn string) error {
	signal.Ignore(os.Interrupt)
	defer signal.Reset(os.Interrupt)
	cmd := exec.Command(psql, dsn)
	if d.opts.fed {
		cmd = exec.Command(psql, "--no-psqlrc", "--set", "ON_ERROR_STOP=1", dsn)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && d.opts.fed:
		return fmt.Errorf("psql has ended with %d", exit.ExitCode())
	case errors.As(err, &exit):
		return nil // its last statement failed, and whoever has typed it knows
	}
	return err
}

// isFed reports whether a file is a pipe, or one of the file system's, with something in it: no terminal, and nothing like /dev/null.
func isFed(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && (st.Mode()&os.ModeNamedPipe != 0 || st.Mode().IsRegular() && st.Size() > 0)
}

func sampleAccounts(n int) string {
	var b strings.Builder
	b.WriteString("INSERT INTO accounts (id, owner, balance) VALUES ")
	for i := 1; i <= n; i++ {
		if i > 1 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "(%d, 'owner %d', 100)", i, i)
	}
	return b.String()
}

const whatToTry = `
What to try:

  \dt
  SELECT * FROM peaks ORDER BY height_m DESC LIMIT 5;
  SELECT sum(balance) FROM accounts;
  BEGIN; UPDATE accounts SET balance = balance - 10 WHERE id = 1;
         UPDATE accounts SET balance = balance + 10 WHERE id = 900; COMMIT;   -- two ranges, one transaction
  EXPLAIN SELECT * FROM accounts WHERE id = 42;

`

var sampleStatements = []string{
	`CREATE TABLE peaks (name text PRIMARY KEY, mountains text NOT NULL, height_m int4 NOT NULL, first_ascent date)`,
	`INSERT INTO peaks VALUES
		('Ismoil Somoni', 'Pamir', 7495, '1933-09-03'), ('Ibn Sina', 'Pamir', 7134, '1928-09-25'),
		('Kongur Tagh', 'Pamir', 7649, '1981-07-12'), ('Muztagh Ata', 'Pamir', 7546, '1956-07-31'),
		('Korzhenevskaya', 'Pamir', 7105, '1953-08-22'), ('Independence', 'Pamir', 6940, '1954-01-01'),
		('Everest', 'Himalaya', 8849, '1953-05-29'), ('Kangchenjunga', 'Himalaya', 8586, '1955-05-25'),
		('Lhotse', 'Himalaya', 8516, '1956-05-18'), ('Makalu', 'Himalaya', 8485, '1955-05-15'),
		('K2', 'Karakoram', 8611, '1954-07-31'), ('Broad Peak', 'Karakoram', 8051, '1957-06-09'),
		('Tirich Mir', 'Hindu Kush', 7708, '1950-07-21'), ('Noshaq', 'Hindu Kush', 7492, '1960-08-17'),
		('Jengish Chokusu', 'Tian Shan', 7439, '1956-08-30'), ('Khan Tengri', 'Tian Shan', 7010, '1931-09-11')`,
	`CREATE TABLE accounts (id int8 PRIMARY KEY, owner text NOT NULL, balance numeric(12,2) NOT NULL DEFAULT 0)`,
	sampleAccounts(1000),
	`SELECT pamir.split_at('accounts', 250), pamir.split_at('accounts', 500), pamir.split_at('accounts', 750)`,
}
