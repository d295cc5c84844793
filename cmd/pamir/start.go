package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/pamirdb/pamir/internal/node"
)

func startCommand() *cobra.Command {
	var cfg node.Config
	var join, cache, buffer, rangeMax, locality, clockFile, diskFile string
	cmd := &cobra.Command{
		Use:   "start --store DIR",
		Short: "Run a node",
		Long: `Run a node on the store in DIR.

An empty store begins a new cluster; with --join it joins the cluster of the nodes named there.
A store that is not empty knows its cluster: a restart needs neither.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			var err error
			if cfg.CacheBytes, err = parseSize(cache); err != nil {
				return fmt.Errorf("--cache: %w", err)
			}
			if cfg.CacheBytes == 0 {
				cfg.CacheBytes = defaultCache(memory())
			}
			if cfg.TxnBufferBytes, err = parseSize(buffer); err != nil {
				return fmt.Errorf("--txn-buffer: %w", err)
			}
			if cfg.RangeMaxBytes, err = parseSize(rangeMax); err != nil {
				return fmt.Errorf("--range-max-bytes: %w", err)
			}
			if cfg.StoreKnob.GCInterval = cfg.StoreKnob.GCAfter; cfg.StoreKnob.GCAfter != 0 && os.Getenv(testEnv) == "" {
				return fmt.Errorf("--%s is for tests only", testGCFlag)
			}
			// Nobody else leads what a node led before its support has ended: only then is it any use to send its clients away.
			if cfg.Transport.CutOffAfter = cfg.StoreKnob.SupportDuration; cfg.StoreKnob.SupportDuration != 0 && os.Getenv(testEnv) == "" {
				return fmt.Errorf("--%s is for tests only", testSupportFlag)
			}
			cfg.StoreKnob.GatewayDeadAfter = cfg.StoreKnob.SupportDuration
			cfg.Join = splitList(join)
			cfg.Locality = splitList(locality)
			return runStart(cfg, clockFile, diskFile)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.StoreDir, "store", "", "directory of the store (required)")
	f.StringVar(&cfg.RPCAddr, "rpc-addr", node.DefaultRPCAddr, "address for other nodes")
	f.StringVar(&cfg.AdvertiseRPCAddr, "advertise-rpc-addr", "", "address that other nodes dial, if it is not --rpc-addr (behind a proxy or a translated address)")
	f.StringVar(&cfg.SQLAddr, "sql-addr", node.DefaultSQLAddr, "address for SQL clients (Postgres protocol)")
	f.StringVar(&cfg.HTTPAddr, "http-addr", node.DefaultHTTPAddr, "address for health, metrics and the admin API")
	f.StringVar(&join, "join", "", "RPC addresses of nodes of the cluster to join, comma-separated")
	f.StringVar(&locality, "locality", "", "where the node is, from wide to narrow: region=eu,zone=a")
	f.DurationVar(&cfg.MaxOffset, "max-offset", node.DefaultMaxOffset, "assumed bound on the difference between the nodes' clocks; the same on all nodes")
	f.DurationVar(&cfg.DeadAfter, "dead-after", 5*time.Minute, "make the replicas of a node anew elsewhere once it was silent for so long")
	f.DurationVar(&cfg.DrainTimeout, "drain-timeout", 20*time.Second, "how long a node that is told to stop waits for clients to finish their transactions")
	f.DurationVar(&cfg.DrainWait, "drain-wait", 0, "how much of that time it goes on as before, but for /ready, for load balancers to notice")
	f.StringVar(&cache, "cache", "", "memory for cached blocks: 512MiB, 4GiB, ... (default an eighth of the memory, 128MiB to 4GiB)")
	f.StringVar(&buffer, "txn-buffer", "", "memory for the writes of one transaction: what is more is sent ahead of its commit (default 64MiB)")
	f.DurationVar(&cfg.MergeAfter, "range-merge-after", 5*time.Minute, "ranges that are small and cold are merged if they were not cut for so long; negative for never; the same on all nodes")
	f.StringVar(&rangeMax, "range-max-bytes", "", "a range that holds more is split (1MiB to 512MiB, default 64MiB); the same on all nodes")
	f.StringVar(&cfg.CertsDir, "certs-dir", "", "directory with ca.crt, node.crt and node.key: TLS everywhere, and everybody shows who they are")
	f.BoolVar(&cfg.Insecure, "insecure", false, "listen beyond loopback without certificates: anybody who can connect can read and write everything")
	f.StringVar(&clockFile, testClockFlag, "", "for tests: a file with how far this node's clock is to be off")
	f.StringVar(&diskFile, testDiskFlag, "", "for tests: a file with how much longer a sync of this node's disk is to take")
	f.DurationVar(&cfg.StoreKnob.GCAfter, testGCFlag, 0, "for tests: how long old versions are kept where no rule says otherwise; they are collected as often")
	f.DurationVar(&cfg.StoreKnob.SupportDuration, testSupportFlag, 0, "for tests: how long promises between stores last")
	for _, name := range []string{testClockFlag, testDiskFlag, testGCFlag, testSupportFlag} {
		if err := f.MarkHidden(name); err != nil {
			panic(err) // the flag is not there
		}
	}
	return cmd
}

func runStart(cfg node.Config, clockFile, diskFile string) error {
	if clockFile != "" {
		clock, err := newTestClock(clockFile, logger(slog.LevelInfo))
		if err != nil {
			return err
		}
		defer clock.stop()
		cfg.Physical = clock.physical
	}
	if diskFile != "" {
		disk, err := newTestDisk(diskFile)
		if err != nil {
			return err
		}
		cfg.FS = disk
	}
	if err := os.MkdirAll(cfg.StoreDir, 0o755); cfg.StoreDir != "" && err != nil {
		return fmt.Errorf("store: %w", err)
	}
	cfg.Log, cfg.Build = logger(slog.LevelInfo), build()
	slog.SetDefault(cfg.Log)
	steadyHeap()
	cfg.Cores = spread()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	n, err := node.Start(ctx, cfg)
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return errors.New("stopped before the node had started")
		}
		return err
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	for {
		select {
		case <-hangups:
			n.ReloadCertificates()
			continue
		case <-ctx.Done():
		case err := <-n.Failed():
			n.Stop()
			return err
		}
		break
	}
	stop() // a second signal ends the process at once
	n.Shutdown()
	return nil
}

func splitList(s string) []string {
	var out []string
	for _, p := range strings.Split(s, ",") {
		if p = strings.TrimSpace(p); p != "" {
			out = append(out, p)
		}
	}
	return out
}

// parseSize reads a number of bytes with an optional unit.
func parseSize(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	digits := strings.TrimRight(s, "kKmMgGtTiIbB ")
	unit := strings.ToLower(strings.TrimSpace(s[len(digits):]))
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is not a size", s)
	}
	mult := map[string]float64{"": 1, "b": 1, "k": 1 << 10, "kb": 1e3, "kib": 1 << 10, "m": 1 << 20, "mb": 1e6, "mib": 1 << 20,
		"g": 1 << 30, "gb": 1e9, "gib": 1 << 30, "t": 1 << 40, "tb": 1e12, "tib": 1 << 40}
	m, ok := mult[unit]
	if !ok || n*m > 1<<50 {
		return 0, fmt.Errorf("%q is not a size", s)
	}
	if v := int64(n * m); v >= 1<<20 {
		return v, nil
	}
	return 0, fmt.Errorf("%q is too small: at least 1MiB", s)
}
