package transport

import "github.com/prometheus/client_golang/prometheus"

// Metrics of a Transport. Register them with Collectors.
type Metrics struct {
	sentBytes, recvBytes, sentFrames, dropped [len(kindNames)]prometheus.Counter

	all        []prometheus.Collector
	rejected   prometheus.Counter
	badClock   prometheus.Counter
	broken     prometheus.Counter
	suspected  prometheus.Counter
	inFlight   prometheus.Gauge
	served     prometheus.Gauge
	peersAlive prometheus.Gauge
}

// NewMetrics makes a set of metrics.
func NewMetrics() *Metrics {
	m := &Metrics{}
	vec := func(name, help string, into *[len(kindNames)]prometheus.Counter) {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"kind"})
		for k, n := range kindNames {
			into[k] = v.WithLabelValues(n)
		}
		m.all = append(m.all, v)
	}
	vec("pamir_rpc_sent_bytes_total", "Bytes sent to other nodes.", &m.sentBytes)
	vec("pamir_rpc_received_bytes_total", "Bytes received from other nodes.", &m.recvBytes)
	vec("pamir_rpc_sent_frames_total", "gRPC messages sent to other nodes.", &m.sentFrames)
	vec("pamir_rpc_dropped_total", "Messages dropped because a queue was full or a peer was away.", &m.dropped)
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		m.all = append(m.all, c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		m.all = append(m.all, g)
		return g
	}
	m.rejected = counter("pamir_rpc_refused_streams_total", "Streams of other clusters, versions or for other nodes that were refused.")
	m.badClock = counter("pamir_rpc_clock_rejected_total", "Frames not delivered because the sender's clock is ahead by more than the maximum offset.")
	m.broken = counter("pamir_rpc_broken_streams_total", "Streams to peers that broke.")
	m.suspected = counter("pamir_rpc_peers_suspected_total", "Peers that were taken for gone before the peer timeout, since their store had lost its support.")
	m.inFlight = gauge("pamir_rpc_batches_in_flight", "Batches sent to other nodes that wait for their answer.")
	m.served = gauge("pamir_rpc_batches_served", "Batches of other nodes being answered.")
	m.peersAlive = gauge("pamir_rpc_peers_alive", "Peers heard of within the peer timeout.")
	return m
}

// Collectors returns what to register.
func (m *Metrics) Collectors() []prometheus.Collector { return m.all }
