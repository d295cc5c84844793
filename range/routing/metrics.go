package routing

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pamirdb/pamir/range/kv"
)

// Metrics of a Sender.
type Metrics struct {
	local, remote, lookups prometheus.Counter
	relays, relayed        prometheus.Counter
	fenced                 prometheus.Counter
	cached                 prometheus.Gauge
	retries                *prometheus.CounterVec
}

// NewMetrics makes a set of metrics.
func NewMetrics() *Metrics {
	sent := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "pamir_routing_batches_total", Help: "Batches sent to ranges, retries included.",
	}, []string{"to"})
	return &Metrics{
		local:   sent.WithLabelValues("local"),
		remote:  sent.WithLabelValues("remote"),
		relays:  prometheus.NewCounter(prometheus.CounterOpts{Name: "pamir_routing_relays_total", Help: "Batches sent by way of another node, because the leader could not be reached."}),
		relayed: prometheus.NewCounter(prometheus.CounterOpts{Name: "pamir_routing_relayed_total", Help: "Batches passed on to a leader for another node."}),
		fenced:  prometheus.NewCounter(prometheus.CounterOpts{Name: "pamir_routing_clock_waits_total", Help: "Reads that waited until this node's clock was believed."}),
		lookups: prometheus.NewCounter(prometheus.CounterOpts{Name: "pamir_routing_lookups_total", Help: "Range look-ups in the meta range."}),
		cached:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "pamir_routing_cached_ranges", Help: "Range descriptors in the cache."}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pamir_routing_retries_total", Help: "Batches sent again, by the reason.",
		}, []string{"reason"}),
	}
}

func (m *Metrics) retry(c kv.Code) { m.retries.WithLabelValues(c.String()).Inc() }

// Collectors returns what to register.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{collectorPair{m.local, m.remote}, m.lookups, m.relays, m.relayed, m.fenced, m.cached, m.retries}
}

// collectorPair collects the children of one vector.
type collectorPair struct{ a, b prometheus.Collector }

func (p collectorPair) Describe(ch chan<- *prometheus.Desc) { p.a.Describe(ch) }

func (p collectorPair) Collect(ch chan<- prometheus.Metric) {
	p.a.Collect(ch)
	p.b.Collect(ch)
}
