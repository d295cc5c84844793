package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// serveHTTP answers operators and monitoring, from early on.
func (n *Node) serveHTTP(ln net.Listener) {
	n.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", n.httpHealth)
	mux.HandleFunc("GET /ready", n.httpReady)
	mux.Handle("GET /metrics", promhttp.HandlerFor(n.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /api/v1/status", n.api(func(context.Context) (any, error) { return n.status(), nil }))
	mux.HandleFunc("GET /api/v1/nodes", n.api(func(context.Context) (any, error) {
		return map[string]any{"nodes": n.nodeViews()}, nil
	}))
	mux.HandleFunc("GET /api/v1/ranges", n.api(func(ctx context.Context) (any, error) {
		rs, err := n.RangeViews(ctx)
		return map[string]any{"ranges": rs}, err
	}))
	mux.HandleFunc("GET /api/v1/placement", n.api(func(ctx context.Context) (any, error) { return n.Operations().Placement(ctx) }))
	mux.HandleFunc("GET /api/v1/locks", n.api(func(context.Context) (any, error) { return n.Locks(), nil }))
	mux.HandleFunc("GET /api/v1/replicas", n.api(func(context.Context) (any, error) {
		return map[string]any{"replicas": n.Replicas()}, nil
	}))
	mux.HandleFunc("GET /api/v1/checksums", n.api(func(ctx context.Context) (any, error) { return n.checksums(ctx) }))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /{$}", n.httpFront)
	srv := &http.Server{Handler: n.guard(mux), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	n.wg.Add(1)
	go func() {
		defer n.wg.Done()
		if err := srv.Serve(n.secureHTTP(ln)); !errors.Is(err, http.ErrServerClosed) {
			n.log.Error("http", "err", err)
		}
	}()
	// Health and metrics are answered until the end of Drain; Stop closes the server first, since it waits for all goroutines.
	context.AfterFunc(n.ctx, func() { srv.Close() })
}

func (n *Node) httpHealth(w http.ResponseWriter, _ *http.Request) {
	if err := n.store.Err(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

func (n *Node) httpReady(w http.ResponseWriter, r *http.Request) {
	if err := n.Ready(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

// Ready reports why this node should not be given clients; nil if it should. It asks the
// meta range a question, so a node that is cut off says so.
func (n *Node) Ready(ctx context.Context) error {
	switch {
	case n.draining.Load():
		return errors.New("draining")
	case !n.ready.Load():
		return errors.New("starting")
	}
	if err := n.store.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err := n.sender.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.Get{Key: keys.NodeIDCounter}}})
	return err
}

// api makes a handler of something that can be asked once the node is part of a cluster.
func (n *Node) api(f func(ctx context.Context) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !n.ready.Load() && !n.draining.Load() {
			http.Error(w, "starting", http.StatusServiceUnavailable)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
		defer cancel()
		v, err := f(ctx)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		if err := enc.Encode(v); err != nil {
			n.log.Debug("http answer", "err", err) // the client went away
		}
	}
}

// StatusView is /api/v1/status.
type StatusView struct {
	ClusterID string     `json:"cluster_id"`
	NodeID    kv.NodeID  `json:"node_id"`
	StoreID   kv.StoreID `json:"store_id"`
	Build     string     `json:"build"`
	Uptime    string     `json:"uptime"`
	Ready     bool       `json:"ready"`
	Draining  bool       `json:"draining"`
	Clock     string     `json:"clock"`
	Security  string     `json:"security"`
	RPCAddr   string     `json:"rpc_addr"`
	SQLAddr   string     `json:"sql_addr"`
	HTTPAddr  string     `json:"http_addr"`
}

func (n *Node) status() StatusView {
	return StatusView{n.id.ClusterID.String(), n.id.NodeID, n.storeID, n.cfg.Build, time.Since(n.started).Round(time.Second).String(),
		n.ready.Load(), n.draining.Load(), n.clock.Peek().String(), n.securityNotice(), n.rpcAddr, n.sqlAddr, n.httpAddr}
}

// NodeView is one node of /api/v1/nodes.
type NodeView struct {
	NodeID   kv.NodeID `json:"node_id"`
	RPCAddr  string    `json:"rpc_addr"`
	SQLAddr  string    `json:"sql_addr"`
	HTTPAddr string    `json:"http_addr"`
	Locality []string  `json:"locality,omitempty"`
	Build    string    `json:"build"`
	Alive    bool      `json:"alive"`
	Draining bool      `json:"draining"`
	// As seen from the node that answers.
	SilenceMS float64 `json:"silence_ms"`
	RTTMS     float64 `json:"rtt_ms"`
	OffsetMS  float64 `json:"clock_offset_ms"`
	LastError string  `json:"last_error,omitempty"`
}

func (n *Node) nodeViews() []NodeView {
	var out []NodeView
	peers := map[kv.NodeID]NodeView{}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	for _, p := range n.transport.Peers() {
		v := NodeView{SilenceMS: ms(p.Silence), RTTMS: ms(p.RTT), OffsetMS: ms(p.Offset), LastError: p.LastError}
		if p.Alive {
			v.LastError = ""
		}
		peers[p.NodeID] = v
	}
	for _, e := range n.book.Entries() {
		v := peers[e.NodeID]
		v.NodeID, v.RPCAddr, v.SQLAddr, v.HTTPAddr = e.NodeID, e.RPCAddr, e.SQLAddr, e.HTTPAddr
		v.Locality, v.Build, v.Draining, v.Alive = e.Locality, e.Build, e.Draining, n.transport.Alive(e.NodeID)
		out = append(out, v)
	}
	return out
}

// ChecksumView is what the replicas of one range computed.
type ChecksumView struct {
	RangeID kv.RangeID        `json:"range_id"`
	Start   string            `json:"start"`
	Sums    map[string]string `json:"by_store"`
	Missing []string          `json:"missing,omitempty"`
	Agree   bool              `json:"agree"`
	Error   string            `json:"error,omitempty"`
}

// checksums makes every replica of every range compute a checksum at one log position, and compares.
func (n *Node) checksums(ctx context.Context) (any, error) {
	descs, err := n.sender.AllRanges(ctx)
	if err != nil {
		return nil, err
	}
	var out []ChecksumView
	agree := true
	for i := range descs {
		d := &descs[i]
		v := ChecksumView{RangeID: d.RangeID, Start: keys.Pretty(d.StartKey), Sums: map[string]string{}}
		n.sender.Learn(*d)
		resp, err := n.sender.Send(ctx, &kv.BatchRequest{RangeID: d.RangeID, Requests: []kv.Request{&kv.Checksum{}}})
		if err != nil {
			v.Error = err.Error()
		} else {
			first := ""
			v.Agree = true
			sums := resp.Responses[0].(*kv.ChecksumResponse).ByStore
			for s, sum := range sums {
				v.Sums[fmt.Sprintf("s%d", s)] = sum
				if first == "" {
					first = sum
				}
				v.Agree = v.Agree && sum == first
			}
			for _, r := range d.Replicas {
				if _, ok := sums[r.StoreID]; !ok {
					v.Missing = append(v.Missing, fmt.Sprintf("s%d", r.StoreID))
				}
			}
		}
		agree = agree && v.Agree
		out = append(out, v)
	}
	return map[string]any{"ranges": out, "agree": agree}, nil
}
