package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pamirdb/pamir/placement"
	"github.com/pamirdb/pamir/range/store"
	"github.com/pamirdb/pamir/range/transport"
)

// Default ports, on loopback.
const (
	DefaultSQLAddr  = "localhost:7432"
	DefaultRPCAddr  = "localhost:7433"
	DefaultHTTPAddr = "localhost:7480"

	DefaultMaxOffset = 250 * time.Millisecond
)

// Config of a node.
type Config struct {
	// StoreDir is the store's directory; FS is where it is (nil: the operating system's files).
	StoreDir string
	FS       vfs.FS
	// RPCAddr, SQLAddr and HTTPAddr are listened on. An empty SQLAddr or HTTPAddr leaves that server out.
	RPCAddr, SQLAddr, HTTPAddr string
	// AdvertiseRPCAddr is what other nodes dial, if that is not RPCAddr.
	AdvertiseRPCAddr string
	// Join lists RPC addresses of nodes of the cluster to join, if the store is empty.
	Join []string
	// Locality from wide to narrow: "region=eu", "zone=a".
	Locality  []string
	MaxOffset time.Duration
	// CacheBytes is the memory for cached blocks, 0 for the default. Two memtables come on top.
	CacheBytes int64
	// Cores are the processors that this process has; 0 is as many as goroutines run at a time (GOMAXPROCS).
	Cores int
	// TxnBufferBytes is the memory for the writes of one transaction, 0 for the default: see txn.Config.MaxBufferBytes.
	TxnBufferBytes int64
	// ScanBytes bounds the pages of scans: see txn.Config.ScanBytes. For tests.
	ScanBytes int64
	// FailRead makes reads fail: see txn.Config.FailRead. For tests.
	FailRead func() error
	// Linger makes a node slow to clean up after its commits: see txn.Config.Linger. For tests.
	Linger func(context.Context)
	// Nearby is how far a node may be, there and back, for transactions to wait for its clock, and SKIP LOCKED for what it says of its transactions; 0 for the default,
	// 10 ms. For tests, which have all nodes on one machine: a busy one can look like distance.
	Nearby time.Duration
	// PlantedNoFirmReads and PlantedSkippedRead: see txn.Config.
	PlantedNoFirmReads, PlantedSkippedRead bool
	// RangeMaxBytes is the size from which on a range is split, 0 for the default: see store.Knobs.SplitBytes.
	RangeMaxBytes int64
	// MergeAfter is for how long ranges must not have been cut before they are merged, 0 for the default, 5 min; negative: they never are.
	MergeAfter time.Duration
	// CertsDir is the directory of the node's certificates; empty for none.
	CertsDir string
	// Insecure allows listening beyond loopback without certificates.
	Insecure bool

	// Physical is the physical clock; nil for the system's.
	Physical func() int64
	Log      *slog.Logger
	Build    string

	// Rules of placement; nil for the defaults. NoPlacement turns the driver off.
	Rules             *placement.Rules
	NoPlacement       bool
	PlacementInterval time.Duration // default 2 s
	// DeadAfter: the replicas of a node that was silent for longer are made anew elsewhere; default 5 min.
	DeadAfter time.Duration

	// StatisticsInterval is the pause between two looks for tables to be analyzed; default a minute, negative: only ANALYZE does.
	StatisticsInterval time.Duration
	// RetentionInterval is the pause between two looks at what must be kept for how long; default 10 s, less if ranges are collected more often.
	RetentionInterval time.Duration

	// DrainTimeout bounds Drain; default 20 s. DrainWait is its first part, in which the node says that it is not ready and does nothing else.
	DrainTimeout, DrainWait time.Duration

	// For tests.
	Faults    transport.Faults
	StoreKnob store.Knobs
	Transport transport.Config // durations and sizes only
}

func (c *Config) setDefaults() {
	if c.MaxOffset == 0 {
		c.MaxOffset = DefaultMaxOffset
	}
	if c.Cores <= 0 {
		c.Cores = runtime.GOMAXPROCS(0)
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Rules == nil {
		r := placement.DefaultRules()
		c.Rules = &r
	}
	if c.DeadAfter > 0 {
		r := *c.Rules
		r.Limits.DeadAfter = c.DeadAfter
		c.Rules = &r
	}
	if c.RangeMaxBytes > 0 {
		c.StoreKnob.SplitBytes = c.RangeMaxBytes
	}
	if c.Rules.Default.KeepVersions == 0 {
		r := *c.Rules
		if r.Default.KeepVersions = c.StoreKnob.GCAfter; r.Default.KeepVersions == 0 {
			r.Default.KeepVersions = time.Hour
		}
		c.Rules = &r
	}
	if c.StatisticsInterval == 0 {
		c.StatisticsInterval = time.Minute
	}
	if c.RetentionInterval == 0 {
		c.RetentionInterval = 10 * time.Second
		if i := c.StoreKnob.GCInterval; i > 0 {
			c.RetentionInterval = min(c.RetentionInterval, max(i, 50*time.Millisecond))
		}
	}
	if c.PlacementInterval == 0 {
		c.PlacementInterval = 2 * time.Second
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = 20 * time.Second
	}
	if c.MergeAfter == 0 {
		c.MergeAfter = 5 * time.Minute
	}
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.Build == "" {
		c.Build = "dev"
	}
}

// check refuses what would be a mistake, before anything is opened.
func (c *Config) check() error {
	if c.StoreDir == "" {
		return errors.New("no store directory: give --store DIR")
	}
	if c.MaxOffset < time.Millisecond || c.MaxOffset > 10*time.Second {
		return fmt.Errorf("--max-offset %s is out of range (1ms to 10s)", c.MaxOffset)
	}
	if a := c.AdvertiseRPCAddr; a != "" {
		if host, port, err := net.SplitHostPort(a); err != nil || host == "" || port == "" || port == "0" {
			return fmt.Errorf("--advertise-rpc-addr %q is not an address that others can dial: give host:port", a)
		}
	}
	if err := checkJoin(c.Join); err != nil {
		return err
	}
	if c.DeadAfter < 0 || c.DeadAfter > 0 && c.DeadAfter < 2*time.Second {
		return fmt.Errorf("--dead-after %s is too short: at least 2s, or nodes would be given up while they restart", c.DeadAfter)
	}
	if c.DrainTimeout < 0 || c.DrainWait < 0 || c.DrainWait > 0 && c.DrainWait >= c.DrainTimeout {
		return fmt.Errorf("--drain-wait %s has to be shorter than --drain-timeout %s", c.DrainWait, c.DrainTimeout)
	}
	if b := c.RangeMaxBytes; b != 0 && (b < 1<<20 || b > 512<<20) {
		return fmt.Errorf("--range-max-bytes %d is out of range (1MiB to 512MiB)", b)
	}
	if c.CertsDir != "" && c.Insecure {
		return errors.New("--insecure and --certs-dir contradict each other: with certificates a node is not insecure")
	}
	for _, l := range c.Locality {
		if k, v, ok := strings.Cut(l, "="); !ok || k == "" || v == "" {
			return fmt.Errorf("--locality: %q is not of the form key=value", l)
		}
	}
	for _, a := range []struct{ flag, addr string }{
		{"--rpc-addr", c.RPCAddr}, {"--sql-addr", c.SQLAddr}, {"--http-addr", c.HTTPAddr},
	} {
		if a.addr == "" {
			if a.flag == "--rpc-addr" {
				return errors.New("no --rpc-addr")
			}
			continue
		}
		host, _, err := net.SplitHostPort(a.addr)
		if err != nil {
			return fmt.Errorf("%s %q: %w", a.flag, a.addr, err)
		}
		if c.CertsDir == "" && !c.Insecure && !isLoopback(host) {
			return fmt.Errorf("%s %s listens beyond this machine, without certificates anybody could read and write everything: give --certs-dir, use a loopback address, or spell out --insecure", a.flag, a.addr)
		}
	}
	return nil
}

// isLoopback reports whether a host means this machine only.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// advertised turns the address of a listener into one that other nodes can dial.
func advertised(configured string, ln net.Listener) (string, error) {
	host, _, err := net.SplitHostPort(configured)
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		if host, err = os.Hostname(); err != nil {
			return "", fmt.Errorf("listening on all addresses, and the host name is not known: %w", err)
		}
	}
	return net.JoinHostPort(host, port), nil
}
