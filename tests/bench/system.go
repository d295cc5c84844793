package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// system is a database under test. Its processes are stopped by stop, by pid.
type system struct {
	name string
	// addr and dbUser are what clients connect to.
	host, port, dbUser, db string
	// ports are those of all its nodes.
	ports []string
	// http is the address of the admin API, of Pamir only.
	http string
	// webs are those of all its nodes.
	webs  []string
	procs []*exec.Cmd
	dir   string
	// stopSignal ends a process cleanly.
	stopSignal syscall.Signal
}

// env is the libpq environment of the system's clients.
func (s *system) env() []string {
	return append(os.Environ(), "PGHOST="+s.host, "PGPORT="+s.port, "PGUSER="+s.dbUser, "PGDATABASE="+s.db, "PGSSLMODE=disable")
}

// cpu returns the CPU time that all server processes have used, ended children included.
func (s *system) cpu() (time.Duration, error) {
	var sum time.Duration
	for _, p := range s.procs {
		d, err := treeCPU(p.Process.Pid)
		if err != nil {
			return 0, err
		}
		sum += d
	}
	return sum, nil
}

func (s *system) stop() {
	for _, p := range s.procs {
		_ = p.Process.Signal(s.stopSignal)
	}
	for _, p := range s.procs {
		done := make(chan struct{})
		go func() { _ = p.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			fmt.Fprintf(os.Stderr, "bench: %s: pid %d did not stop in 20 s; killing it\n", s.name, p.Process.Pid)
			_ = p.Process.Kill()
			<-done
		}
	}
	_ = os.RemoveAll(s.dir)
}

// clockTicks is USER_HZ, which is 100 on every Linux that Go runs on.
const clockTicks = 100

// treeCPU adds up user and system time of pid and its live descendants, and of
// the children that each of them has waited for.
func treeCPU(pid int) (time.Duration, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The command name is in parentheses and may hold spaces.
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	if len(fields) < 15 {
		return 0, fmt.Errorf("bench: short /proc/%d/stat", pid)
	}
	var ticks int64
	for _, f := range fields[11:15] { // utime stime cutime cstime
		v, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += v
	}
	sum := time.Duration(ticks) * time.Second / clockTicks
	kids, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return sum, nil // it has just ended: its time is with its parent
	}
	for _, k := range strings.Fields(string(kids)) {
		kid, err := strconv.Atoi(k)
		if err != nil {
			return 0, err
		}
		if d, err := treeCPU(kid); err == nil {
			sum += d
		}
	}
	return sum, nil
}

func freePort() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// logTo sends a process's output to a file in dir.
func logTo(c *exec.Cmd, dir, name string) error {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	c.Stdout, c.Stderr = f, f
	return nil
}

// waitSQL waits until the system answers a query.
func (s *system) waitSQL(ctx context.Context) error {
	deadline := time.Now().Add(60 * time.Second)
	for {
		out, err := s.psql(ctx, "select 1")
		if err == nil && strings.TrimSpace(out) == "1" {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("bench: %s does not answer: %v: %s", s.name, err, out)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func (s *system) psql(ctx context.Context, sql string) (string, error) {
	c := exec.CommandContext(ctx, "psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql)
	c.Env = s.env()
	out, err := c.CombinedOutput()
	return string(out), err
}

// startPamir starts a cluster of n processes from the built binary.
func startPamir(ctx context.Context, binary string, n int) (*system, error) {
	dir, err := os.MkdirTemp("", "pamir-bench-")
	if err != nil {
		return nil, err
	}
	s := &system{name: fmt.Sprintf("pamir%d", n), host: "127.0.0.1", dbUser: "root", db: "defaultdb", dir: dir, stopSignal: syscall.SIGTERM}
	var first string
	for i := range n {
		rpc, sql, web := freePort(), freePort(), "127.0.0.1:"+freePort()
		args := []string{"start", "--store", filepath.Join(dir, fmt.Sprintf("n%d", i+1)),
			"--rpc-addr", "127.0.0.1:" + rpc, "--sql-addr", "127.0.0.1:" + sql, "--http-addr", web, "--insecure"}
		s.webs, s.ports = append(s.webs, web), append(s.ports, sql)
		if i == 0 {
			first, s.port, s.http = rpc, sql, web
		} else {
			args = append(args, "--join", "127.0.0.1:"+first)
		}
		c := exec.Command(binary, args...)
		if err := logTo(c, dir, fmt.Sprintf("n%d.log", i+1)); err != nil {
			return s, err
		}
		if err := c.Start(); err != nil {
			return s, err
		}
		s.procs = append(s.procs, c)
		if i == 0 {
			if err := s.waitSQL(ctx); err != nil {
				return s, err
			}
		}
	}
	return s, s.waitReplicas(ctx, n)
}

// waitReplicas waits until every range has n voters (at most three), by the HTTP API of the first node.
func (s *system) waitReplicas(ctx context.Context, n int) error {
	want := min(n, 3)
	deadline := time.Now().Add(60 * time.Second)
	for {
		err := s.replicated(ctx, want)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("bench: %s is not fully replicated: %w", s.name, err)
		}
		time.Sleep(300 * time.Millisecond)
	}
}

// replicated looks at all ranges, a page after the other.
func (s *system) replicated(ctx context.Context, want int) error {
	for after := ""; ; {
		next, err := s.pageReplicated(ctx, want, after)
		if err != nil || next == "" {
			return err
		}
		after = next
	}
}

func (s *system) pageReplicated(ctx context.Context, want int, after string) (next string, err error) {
	ask := url.Values{"limit": {"1000"}}
	if after != "" {
		ask.Set("after", after)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.http+"/api/v1/ranges?"+ask.Encode(), nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var out struct {
		Next   string `json:"next"`
		Ranges []struct {
			ID       int64 `json:"id"`
			Replicas []struct {
				Type string `json:"type"`
			} `json:"replicas"`
		} `json:"ranges"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return "", err
	}
	if len(out.Ranges) == 0 && after == "" {
		return "", fmt.Errorf("no ranges")
	}
	for _, r := range out.Ranges {
		voters := 0
		for _, p := range r.Replicas {
			if p.Type == "voter" {
				voters++
			}
		}
		if voters < want {
			return "", fmt.Errorf("range %d has %d voters", r.ID, voters)
		}
	}
	return out.Next, nil
}

// pgBin is where Debian puts PostgreSQL 15.
const pgBin = "/usr/lib/postgresql/15/bin/"

// serverUser is an account that PostgreSQL may run as: it refuses root.
func serverUser() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, fmt.Errorf("bench: PostgreSQL does not run as root, and there is no user postgres or nobody")
}

func pgCommand(cred *syscall.Credential, name string, args ...string) *exec.Cmd {
	c := exec.Command(pgBin+name, args...)
	if cred != nil {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	}
	c.Dir = "/"
	return c
}

// startPostgres starts a primary and its synchronous standbys.
func startPostgres(ctx context.Context, standbys int) (*system, error) {
	cred, err := serverUser()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pg-bench-")
	if err != nil {
		return nil, err
	}
	name := "pg"
	if standbys > 0 {
		name = "pgsync"
	}
	s := &system{name: name, host: "127.0.0.1", port: freePort(), dbUser: "bench", db: "postgres", dir: dir, stopSignal: syscall.SIGINT}
	if cred != nil {
		if err := os.Chown(dir, int(cred.Uid), int(cred.Gid)); err != nil {
			return s, err
		}
	}
	primary := filepath.Join(dir, "primary")
	if out, err := pgCommand(cred, "initdb", "-D", primary, "-U", s.dbUser, "-A", "trust", "--locale=C", "-E", "UTF8").CombinedOutput(); err != nil {
		return s, fmt.Errorf("bench: initdb: %w: %s", err, out)
	}
	run := func(data, port, log string, extra ...string) error {
		args := append([]string{"-D", data, "-p", port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=" + dir,
			"-c", "shared_buffers=1GB", "-c", "max_wal_size=4GB", "-c", "max_connections=200"}, extra...)
		c := pgCommand(cred, "postgres", args...)
		if err := logTo(c, dir, log); err != nil {
			return err
		}
		if err := c.Start(); err != nil {
			return err
		}
		s.procs = append(s.procs, c)
		return nil
	}
	if standbys == 0 {
		if err := run(primary, s.port, "primary.log"); err != nil {
			return s, err
		}
		return s, s.waitSQL(ctx)
	}
	if err := run(primary, s.port, "primary.log", "-c", "wal_level=replica"); err != nil {
		return s, err
	}
	if err := s.waitSQL(ctx); err != nil {
		return s, err
	}
	var names []string
	for i := range standbys {
		standby := fmt.Sprintf("standby%d", i+1)
		names = append(names, standby)
		data := filepath.Join(dir, standby)
		conn := fmt.Sprintf("host=127.0.0.1 port=%s user=%s application_name=%s", s.port, s.dbUser, standby)
		if out, err := pgCommand(cred, "pg_basebackup", "-D", data, "-R", "-X", "stream", "-c", "fast", "-d", conn).CombinedOutput(); err != nil {
			return s, fmt.Errorf("bench: pg_basebackup: %w: %s", err, out)
		}
		if err := run(data, freePort(), standby+".log"); err != nil {
			return s, err
		}
	}
	for _, sql := range []string{
		fmt.Sprintf("alter system set synchronous_standby_names = 'ANY 1 (%s)'", strings.Join(names, ", ")),
		"select pg_reload_conf()",
	} {
		if out, err := s.psql(ctx, sql); err != nil {
			return s, fmt.Errorf("bench: %s: %w: %s", sql, err, out)
		}
	}
	deadline := time.Now().Add(60 * time.Second)
	for {
		out, err := s.psql(ctx, "select count(*) from pg_stat_replication where sync_state = 'quorum' and state = 'streaming'")
		if err == nil && strings.TrimSpace(out) == strconv.Itoa(standbys) {
			return s, nil
		}
		if time.Now().After(deadline) {
			return s, fmt.Errorf("bench: the standbys do not stream: %v: %s", err, out)
		}
		time.Sleep(300 * time.Millisecond)
	}
}
