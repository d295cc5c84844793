package postgres

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// bin is where Debian puts PostgreSQL 15.
const bin = "/usr/lib/postgresql/15/bin"

// ErrMissing is wrapped by what says why there is no PostgreSQL to compare with.
var ErrMissing = errors.New("no PostgreSQL 15")

// Cluster is a private PostgreSQL 15 cluster.
type Cluster struct {
	dir  string
	port int
	cmd  *exec.Cmd
	done chan error
}

// Start makes a cluster and starts it. The superuser is "root", the database "defaultdb".
func Start() (pg *Cluster, err error) {
	if _, err := os.Stat(filepath.Join(bin, "postgres")); err != nil {
		return nil, fmt.Errorf("%w: %s is not there", ErrMissing, bin)
	}
	var cred *syscall.Credential
	if os.Geteuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			return nil, fmt.Errorf("%w: running as root, and there is no user postgres to run it as", ErrMissing)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	dir, err := os.MkdirTemp("", "pamir-pg-")
	if err != nil {
		return nil, err
	}
	pg = &Cluster{dir: dir}
	defer func() {
		if err != nil {
			pg.Stop()
		}
	}()
	if cred != nil {
		if err := os.Chown(dir, int(cred.Uid), int(cred.Gid)); err != nil {
			return pg, err
		}
	}
	run := func(name string, args ...string) *exec.Cmd {
		c := exec.Command(filepath.Join(bin, name), args...)
		c.Dir = dir
		c.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC", "HOME=" + dir}
		c.SysProcAttr = &syscall.SysProcAttr{Credential: cred, Pdeathsig: syscall.SIGINT}
		return c
	}
	data := filepath.Join(dir, "data")
	if out, err := run("initdb", "-D", data, "-U", "root", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync").CombinedOutput(); err != nil {
		return pg, fmt.Errorf("initdb: %w: %s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return pg, err
	}
	pg.port = l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return pg, err
	}
	pg.cmd = run("postgres", "-D", data, "-p", strconv.Itoa(pg.port), "-k", dir, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off",
		"-c", "default_transaction_isolation=serializable", "-c", "timezone=UTC", "-c", "autovacuum=off", "-c", "max_prepared_transactions=100", "-c", "jit=off", "-c", "log_min_messages=fatal")
	if err := pg.cmd.Start(); err != nil {
		return pg, err
	}
	pg.done = make(chan error, 1)
	go func() { pg.done <- pg.cmd.Wait() }()
	deadline := time.Now().Add(20 * time.Second)
	for {
		out, err := run("createdb", "-h", "127.0.0.1", "-p", strconv.Itoa(pg.port), "-U", "root", "defaultdb").CombinedOutput()
		if err == nil {
			return pg, nil
		}
		if time.Now().After(deadline) {
			return pg, fmt.Errorf("PostgreSQL does not come up: %s", out)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// DSN is the cluster's connection string.
func (pg *Cluster) DSN() string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=root dbname=defaultdb sslmode=disable", pg.port)
}

// Stop stops the cluster and removes it.
func (pg *Cluster) Stop() {
	if pg.done != nil {
		_ = pg.cmd.Process.Signal(syscall.SIGINT) // fast shutdown; it may be gone
		select {
		case <-pg.done:
		case <-time.After(10 * time.Second):
			_ = pg.cmd.Process.Kill()
			<-pg.done
		}
	}
	_ = os.RemoveAll(pg.dir)
}
