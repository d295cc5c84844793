package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/internal/admin"
	"github.com/pamirdb/pamir/internal/certs"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/range/routing"
	"github.com/pamirdb/pamir/range/store"
	"github.com/pamirdb/pamir/range/transport"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/txn"
)

// Node is a running node.
type Node struct {
	cfg     Config
	log     *slog.Logger
	started time.Time
	clock   *hlc.Clock
	id      transport.Identity
	storeID kv.StoreID

	rpcAddr, sqlAddr, httpAddr string // as others dial them

	store     *store.Store
	transport *transport.Transport
	book      *transport.Book
	sender    *routing.Sender
	lost      *lostRanges
	txns      *txn.Coordinator
	front     *front                // SQL; nil without --sql-addr
	serving   atomic.Pointer[front] // the same, for who asks while the node starts or stops
	registry  *prometheus.Registry
	placement placementState
	loads     loads
	reporting reporting
	retention atomic.Pointer[retention]     // nil until it was first read
	catalog   atomic.Pointer[catalog.Store] // nil without SQL
	admin     atomic.Pointer[admin.Server]  // nil until the node is part of a cluster

	certs   *certs.Store           // nil without certificates
	reload  chan struct{}          // asks for another look at their files
	refused atomic.Pointer[string] // what tryCertificates has found

	// stops undo the start, last first.
	stops []stop

	ctx      context.Context // of background work; ends when Stop begins
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	ready    atomic.Bool
	draining atomic.Bool
	drain    drainState
	failed   chan error // a part that cannot go on says so here; buffered
	begun    bool       // Start has succeeded: a start that was refused has nothing to say about stopping
	stopOnce sync.Once
}

type stop struct {
	what string
	f    func() error
}

func (n *Node) onStop(what string, f func() error) {
	n.stops = append(n.stops, stop{what, f})
}

// Start starts a node and returns when it serves. ctx bounds the start only (joining waits for the cluster).
func Start(ctx context.Context, cfg Config) (_ *Node, err error) {
	cfg.setDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, log: cfg.Log, started: time.Now(), registry: prometheus.NewRegistry(), failed: make(chan error, 8), reload: make(chan struct{}, 1)}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			n.Stop()
		}
	}()
	ls, err := n.listen()
	if err != nil {
		return nil, err
	}
	n.clock = hlc.NewClock(cfg.Physical, cfg.MaxOffset)
	if err := n.loadCerts(); err != nil {
		return nil, err
	}
	if err := n.open(); err != nil {
		return nil, err
	}
	n.serveEarly(ls)
	if err := n.identify(ctx); err != nil {
		return nil, err
	}
	n.log = n.log.With("node", int(n.id.NodeID))
	if err := n.connect(ctx); err != nil {
		return nil, err
	}
	if err := n.refuseLeft(ctx); err != nil {
		return nil, err
	}
	n.startAdmin()
	n.startPlacement()
	n.background(n.keepRetention)
	if err := n.startSQL(ctx, ls.sql); err != nil {
		return nil, err
	}
	n.ready.Store(true)
	n.begun = true
	n.log.Info("node is ready", "cluster", n.id.ClusterID, "rpc", n.rpcAddr, "sql", n.sqlAddr, "http", n.httpAddr, "took", time.Since(n.started).Round(time.Millisecond))
	return n, nil
}

type listeners struct{ rpc, sql, http net.Listener }

// listen takes the addresses.
func (n *Node) listen() (ls listeners, err error) {
	for _, a := range []struct {
		flag, addr string
		ln         *net.Listener
		as         *string
	}{
		{"--rpc-addr", n.cfg.RPCAddr, &ls.rpc, &n.rpcAddr},
		{"--sql-addr", n.cfg.SQLAddr, &ls.sql, &n.sqlAddr},
		{"--http-addr", n.cfg.HTTPAddr, &ls.http, &n.httpAddr},
	} {
		if a.addr == "" {
			continue
		}
		ln, err := net.Listen("tcp", a.addr)
		if err != nil {
			return ls, fmt.Errorf("%s %s: %w", a.flag, a.addr, err)
		}
		// The servers close their listeners; this is for a start that fails before.
		n.onStop("listener "+a.flag, func() error {
			if err := ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				return err
			}
			return nil
		})
		*a.ln = ln
		if *a.as, err = advertised(a.addr, ln); err != nil {
			return ls, fmt.Errorf("%s: %w", a.flag, err)
		}
	}
	if a := n.cfg.AdvertiseRPCAddr; a != "" {
		n.rpcAddr = a
	}
	return ls, nil
}

// open opens the store and makes the transport that it sends through.
func (n *Node) open() error {
	metrics := transport.NewMetrics()
	n.registry.MustRegister(metrics.Collectors()...)
	tc := n.cfg.Transport
	tc.ServerCreds, tc.ClientCreds = n.nodeCreds()
	tc.Clock, tc.Log, tc.Faults, tc.Metrics, tc.Decoder = n.clock, n.log, n.cfg.Faults, metrics, pushdownDecoder()
	if tc.CutOffAfter == 0 {
		tc.CutOffAfter = n.cfg.MaxOffset + cutOffAfter
	}
	n.transport = transport.New(tc)
	n.onStop("transport", func() error { n.transport.Close(); return nil })
	st, err := store.Open(n.ctx, store.Config{
		Dir: n.cfg.StoreDir, FS: n.cfg.FS, CacheBytes: n.cfg.CacheBytes, Cores: n.cfg.Cores, Clock: n.clock,
		Transport: wire{n}, Holders: holders{n}, Recoverer: recoverer{n}, Retention: n.retentionOf, OnFatal: n.fail, Logger: n.log, Knobs: n.cfg.StoreKnob,
		Near:         func(id kv.NodeID) bool { return n.transport.RTT(id) <= n.cfg.nearby() },
		FinishRecord: func(ctx context.Context, rec kv.TxnRecord) error { return n.txns.FinishRecord(ctx, rec) },
	})
	if err != nil {
		return err
	}
	n.store = st
	n.onStop("store", func() error { return st.Close() })
	return nil
}

// serveEarly starts what answers before the node is part of anything: HTTP (not ready) and RPC (refusing).
func (n *Node) serveEarly(ls listeners) {
	if ls.http != nil {
		n.serveHTTP(ls.http)
	}
	n.transport.Serve(ls.rpc)
}

// identify finds out who this node is: what the store says, a new cluster, or a place in one.
func (n *Node) identify(ctx context.Context) error {
	n.id.Incarnation = time.Now().UnixNano()
	id, ok := n.store.Identity()
	switch {
	case ok:
		if len(n.cfg.Join) > 0 {
			if err := n.sameCluster(ctx, id.ClusterID); err != nil {
				return err
			}
			n.log.Info("the store belongs to a cluster already; --join is not needed", "cluster", uuid.UUID(id.ClusterID))
		}
	case len(n.cfg.Join) == 0:
		if err := n.store.Bootstrap(uuid.New()); err != nil {
			return err
		}
		id, _ = n.store.Identity()
		n.log.Info("a new cluster begins", "cluster", uuid.UUID(id.ClusterID))
	default:
		resp, err := n.join(ctx)
		if err != nil {
			return err
		}
		id = store.Identity{ClusterID: resp.ClusterID, NodeID: resp.NodeID, StoreID: resp.StoreID}
		if err := n.store.Join(id); err != nil {
			return err
		}
		n.book = transport.NewBook(id.NodeID)
		if err := n.book.MergeEncoded(resp.Book); err != nil {
			return fmt.Errorf("join: address book: %w", err)
		}
		n.log.Info("joined", "cluster", resp.ClusterID, "node", int(id.NodeID))
	}
	n.id.ClusterID, n.id.NodeID, n.storeID = id.ClusterID, id.NodeID, id.StoreID
	return nil
}

// connect starts everything between the store and SQL.
func (n *Node) connect(ctx context.Context) error {
	if n.book == nil {
		n.book = transport.NewBook(n.id.NodeID)
	}
	if err := n.loadBook(); err != nil {
		return err
	}
	n.book.Merge(transport.Entry{
		NodeID: n.id.NodeID, StoreID: n.storeID, RPCAddr: n.rpcAddr, SQLAddr: n.sqlAddr, HTTPAddr: n.httpAddr,
		Locality: n.cfg.Locality, Incarnation: n.id.Incarnation, Build: n.cfg.Build,
	})
	rm := routing.NewMetrics()
	n.registry.MustRegister(rm.Collectors()...)
	n.lost = &lostRanges{alive: n.transport.Alive, read: n.readMembership}
	n.sender = routing.New(routing.Config{
		Node: n.id.NodeID, Clock: n.clock, Local: n.store, Remote: n.transport, Hints: n.book, Log: n.log, Metrics: rm,
		Fenced: n.store.Fenced, RTT: n.transport.RTT, CutOff: n.cutOff, Lost: n.lost.is,
	})
	n.book.WatchMeta(func(d *kv.RangeDescriptor) { n.sender.Learn(*d) })
	n.txns = txn.New(txn.Config{
		Sender: n.sender, Clock: n.clock, Node: n.id.NodeID, Incarnation: n.id.Incarnation, MaxBufferBytes: n.cfg.TxnBufferBytes, ScanBytes: n.cfg.ScanBytes, FailRead: n.cfg.FailRead, Linger: n.cfg.Linger,
		Fenced: n.sender.Fenced, AwaitClock: n.sender.AwaitClock, Clocks: clocks{n.transport, n.cfg.nearby()}, PlantedNoFirmReads: n.cfg.PlantedNoFirmReads, PlantedSkippedRead: n.cfg.PlantedSkippedRead,
	})
	n.registerMetrics()
	n.store.SetSender(n.sender)
	if err := n.store.Start(ctx); err != nil {
		return err
	}
	n.transport.Start(n.id, n.book, inbound{n})
	if n.certs != nil {
		n.background(n.tryCertificates)
	}
	n.background(n.keepBook)
	n.heedRecovery()
	return nil
}

// background runs f until Stop.
func (n *Node) background(f func(ctx context.Context)) {
	n.wg.Add(1)
	go func() {
		defer n.wg.Done()
		f(n.ctx)
	}()
}

// every runs f now and then until ctx ends.
func every(ctx context.Context, d time.Duration, f func()) {
	t := time.NewTicker(d)
	defer t.Stop()
	for {
		f()
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// Failed delivers the error of a part that cannot go on (a broken disk); the owner should Stop.
func (n *Node) Failed() <-chan error { return n.failed }

// fail reports such an error.
func (n *Node) fail(err error) {
	select {
	case n.failed <- err:
	default: // one is enough
	}
}

// Identity of the node.
func (n *Node) Identity() transport.Identity { return n.id }

// Addresses returns where the node can be reached.
func (n *Node) Addresses() (rpc, sql, http string) { return n.rpcAddr, n.sqlAddr, n.httpAddr }

// Sender gives tests and tools the key space below SQL.
func (n *Node) Sender() *routing.Sender { return n.sender }

// Catalog returns the node's catalog; nil if it serves no SQL, or not yet.
func (n *Node) Catalog() *catalog.Store { return n.catalog.Load() }

// Gateway gives tests and tools transactions below SQL.
func (n *Node) Gateway() txn.Gateway { return n.txns }
