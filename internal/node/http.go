package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pamirdb/pamir/internal/admin"
	"github.com/pamirdb/pamir/placement"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/verb"
)

// serveHTTP answers operators and monitoring, from early on.
func (n *Node) serveHTTP(ln net.Listener) {
	n.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", n.httpHealth)
	mux.HandleFunc("GET /ready", n.httpReady)
	mux.Handle("GET /metrics", promhttp.HandlerFor(n.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc(admin.Prefix+"/", n.httpAdmin)
	mux.HandleFunc(admin.Prefix, n.httpAdmin) // else the mux would answer in HTML
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

// httpAdmin is the API of package admin, once the node is part of a cluster.
func (n *Node) httpAdmin(w http.ResponseWriter, r *http.Request) {
	a := n.admin.Load()
	if a == nil {
		admin.WriteProblem(w, admin.NewProblem(admin.CodeUnavailable, "the node is starting"))
		return
	}
	a.ServeHTTP(w, r)
}

func (n *Node) status() StatusView {
	return StatusView{ClusterID: n.id.ClusterID.String(), NodeID: n.id.NodeID, StoreID: n.storeID, Build: n.cfg.Build, Uptime: time.Since(n.started).Round(time.Second).String(),
		Ready: n.ready.Load(), Draining: n.draining.Load(), Clock: n.clock.Peek().String(), Security: n.securityNotice(), RPCAddr: n.rpcAddr, SQLAddr: n.sqlAddr, HTTPAddr: n.httpAddr}
}

func (n *Node) nodeViews() []NodeView {
	n.settle(n.ctx)
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
	RangeID kv.RangeID `json:"range_id"`
	Start   string     `json:"start"`
	// StartKey is start as a person knows it.
	StartKey string            `json:"start_key"`
	Sums     map[string]string `json:"by_store"`
	// Differ are the nodes whose sum is not that of most.
	Differ  []string `json:"differ,omitempty"`
	Missing []string `json:"missing,omitempty"`
	Agree   bool     `json:"agree"`
	Error   string   `json:"error,omitempty"`
}

// ChecksumList is what the replicas of all ranges computed. Problem says that they differ, or that some could not be asked.
type ChecksumList struct {
	Ranges  []ChecksumView `json:"ranges"`
	Agree   bool           `json:"agree"`
	Problem string         `json:"problem,omitempty"`
}

// checksums makes every replica of every range compute a checksum at one log position, and compares.
func (n *Node) checksums(ctx context.Context, _ verb.Args) (*ChecksumList, error) {
	descs, err := n.sender.AllRanges(ctx)
	if err != nil {
		return nil, err
	}
	named, cancel := context.WithTimeout(ctx, activityTimeout)
	defer cancel()
	names, nameless := (operations{n}).names(named)
	out := make([]ChecksumView, len(descs))
	var wg sync.WaitGroup
	slots := make(chan struct{}, checksumsAtOnce)
	for i := range descs {
		slots <- struct{}{}
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer func() { <-slots }()
			out[i] = n.checksum(ctx, &descs[i])
		}()
	}
	wg.Wait()
	list := &ChecksumList{Ranges: out}
	differ, unasked := 0, 0
	for i := range out {
		out[i].StartKey = out[i].Start
		if nameless == nil { // else by its bytes
			out[i].StartKey = names.Pretty(descs[i].StartKey)
		}
		switch {
		case out[i].Error != "":
			unasked++
		case !out[i].Agree:
			differ++
		}
	}
	list.Agree = differ+unasked == 0
	switch {
	case differ > 0:
		list.Problem = fmt.Sprintf("replicas differ in %d of %d ranges", differ, len(out))
	case unasked > 0:
		list.Problem = fmt.Sprintf("%d of %d ranges could not be asked", unasked, len(out))
	}
	return list, nil
}

// checksumsAtOnce are how many ranges are read at once: a range waits for its slowest store, and all of them are to be busy meanwhile; more would
// only be felt by clients.
const checksumsAtOnce = 8

func (n *Node) checksum(ctx context.Context, d *kv.RangeDescriptor) ChecksumView {
	v := ChecksumView{RangeID: d.RangeID, Start: keys.Pretty(d.StartKey), Sums: map[string]string{}}
	n.sender.Learn(*d)
	resp, err := n.sender.Send(ctx, &kv.BatchRequest{RangeID: d.RangeID, Requests: []kv.Request{&kv.Checksum{}}})
	if err != nil {
		v.Error = err.Error()
		return v
	}
	sums := resp.Responses[0].(*kv.ChecksumResponse).ByStore
	for s, sum := range sums {
		v.Sums[fmt.Sprintf("n%d", n.nodeOf(placement.StoreID(s)))] = sum
	}
	v.Differ = differing(v.Sums)
	v.Agree = len(v.Differ) == 0
	for _, r := range d.Replicas {
		if _, ok := sums[r.StoreID]; !ok {
			v.Missing = append(v.Missing, fmt.Sprintf("n%d", r.NodeID))
		}
	}
	return v
}

// differing are those whose sum is not that of most; all of them, if no sum is.
func differing(sums map[string]string) (out []string) {
	count := map[string]int{}
	for _, sum := range sums {
		count[sum]++
	}
	for node, sum := range sums {
		if 2*count[sum] <= len(sums) {
			out = append(out, node)
		}
	}
	slices.Sort(out)
	return out
}
