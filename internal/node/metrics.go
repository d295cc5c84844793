package node

import (
	"reflect"
	"strings"
	"sync/atomic"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pamirdb/pamir/range/store"
)

// counters exposes a struct of atomic counters, as the hot packages keep them, under
// prefix_field_name_total (gauges without _total). It is read at every scrape.
type counters struct {
	fields []counterField
}

type counterField struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	v    *atomic.Int64
}

// newCounters looks at a pointer to a struct. gauges names the fields that go up and down.
func newCounters(prefix, help string, s any, gauges ...string) counters {
	var c counters
	v := reflect.ValueOf(s).Elem()
	for i := range v.NumField() {
		a, ok := v.Field(i).Addr().Interface().(*atomic.Int64)
		if !ok {
			continue
		}
		f := counterField{kind: prometheus.CounterValue, v: a}
		field := v.Type().Field(i).Name
		name := prefix + "_" + snake(field) + "_total"
		for _, g := range gauges {
			if g == field {
				name, f.kind = prefix+"_"+snake(field), prometheus.GaugeValue
			}
		}
		f.desc = prometheus.NewDesc(name, help+": "+strings.ReplaceAll(snake(field), "_", " ")+".", nil, nil)
		c.fields = append(c.fields, f)
	}
	return c
}

// byReason exposes a struct of atomic counters as one counter with a label, whose values are the fields' names.
func byReason(name, help string, s any) counters {
	var c counters
	v := reflect.ValueOf(s).Elem()
	for i := range v.NumField() {
		c.fields = append(c.fields, counterField{kind: prometheus.CounterValue, v: v.Field(i).Addr().Interface().(*atomic.Int64),
			desc: prometheus.NewDesc(name, help, nil, prometheus.Labels{"reason": snake(v.Type().Field(i).Name)})})
	}
	return c
}

func (c counters) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range c.fields {
		ch <- f.desc
	}
}

func (c counters) Collect(ch chan<- prometheus.Metric) {
	for _, f := range c.fields {
		ch <- prometheus.MustNewConstMetric(f.desc, f.kind, float64(f.v.Load()))
	}
}

// snake turns CommitsOneRound into commits_one_round and RefreshesOK into refreshes_ok.
func snake(s string) string {
	var b strings.Builder
	rs := []rune(s)
	for i, r := range rs {
		if unicode.IsUpper(r) && i > 0 && (!unicode.IsUpper(rs[i-1]) || i+1 < len(rs) && unicode.IsLower(rs[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// gaugeFunc is a gauge that is asked for at every scrape.
func gaugeFunc(name, help string, f func() float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
}

// registerMetrics exposes what the parts count.
func (n *Node) registerMetrics() {
	c := n.store.Counters()
	n.registry.MustRegister(
		newCounters("pamir_txn", "Transactions", n.txns.Metrics(), "Active"),
		newCounters("pamir_range", "Ranges", c.Replicas),
		byReason("pamir_range_merges_refused_total", "Merges that were asked for and could not be.", &c.Replicas.MergesRefused),
		newCounters("pamir_locks", "Lock tables", c.Locks),
		storeCollector{n.store},
		gaugeFunc("pamir_node_ready", "1 if the node serves clients.", func() float64 { return bit(n.ready.Load()) }),
		gaugeFunc("pamir_node_draining", "1 if the node is draining.", func() float64 { return bit(n.draining.Load()) }),
	)
}

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// storeCollector reads the state of the replicas and the disk at each scrape.
type storeCollector struct{ s *store.Store }

func gaugeDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	descReplicas  = gaugeDesc("pamir_store_replicas", "Replicas on this store.")
	descLeaders   = gaugeDesc("pamir_store_leaders", "Ranges led by this store.")
	descServing   = gaugeDesc("pamir_store_serving", "Ranges led by this store whose lease is good.")
	descQuiet     = gaugeDesc("pamir_store_quiet", "Replicas that are quiet.")
	descStopped   = gaugeDesc("pamir_store_stopped", "Replicas that stopped because of an inconsistency.")
	descLogBytes  = gaugeDesc("pamir_store_raft_log_bytes", "Size of all Raft logs.")
	descLiveBytes = gaugeDesc("pamir_store_live_bytes", "Bytes of the newest versions in all replicas.")
	descRows      = gaugeDesc("pamir_store_live_rows", "Rows in all replicas.")
	descPrepared  = gaugeDesc("pamir_store_prepared_locks", "Prepared locks on disk, in ranges led here.")
	descDisk      = gaugeDesc("pamir_disk_bytes", "Bytes of the disk.", "what")
	descDiskCount = gaugeDesc("pamir_disk_events_total", "Events of the storage engine.", "what")
	descSnapRate  = gaugeDesc("pamir_store_snapshot_rate_bytes", "Bytes of snapshots a second that the store sends, and receives, at most just now: for balance and merges, for ranges with one voter, or for all else.", "for")
	descResolve   = gaugeDesc("pamir_store_resolution_rate", "Resolutions of large transactions' locks that may run side by side just now: less than 1 if they are held up because clients would notice them.")
	descLoads     = gaugeDesc("pamir_store_load_rate", "Writes of large transactions that may run side by side just now: fewer than come at once if other clients would notice them.")
	descL0        = gaugeDesc("pamir_disk_l0_sublevels", "Sublevels of L0: a read may have to look into all of them.")
)

func (c storeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descReplicas, descLeaders, descServing, descQuiet, descStopped, descLogBytes, descLiveBytes,
		descRows, descPrepared, descDisk, descDiskCount, descL0, descSnapRate, descResolve, descLoads} {
		ch <- d
	}
}

func (c storeCollector) Collect(ch chan<- prometheus.Metric) {
	var replicas, leaders, serving, quiet, stopped, logBytes, live, rows, prepared float64
	for _, r := range c.s.Ranges() {
		replicas++
		leaders += bit(r.Leader)
		serving += bit(r.Serving)
		quiet += bit(r.Quiet)
		stopped += bit(r.Stopped != "")
		logBytes += float64(r.LogBytes)
		live += float64(r.Stats.LiveBytes)
		rows += float64(r.Stats.LiveRows)
		if r.Leader {
			prepared += float64(r.Stats.Locks)
		}
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(descReplicas, replicas)
	gauge(descLeaders, leaders)
	gauge(descServing, serving)
	gauge(descQuiet, quiet)
	gauge(descStopped, stopped)
	gauge(descLogBytes, logBytes)
	gauge(descLiveBytes, live)
	gauge(descRows, rows)
	gauge(descPrepared, prepared)
	m := c.s.DiskMetrics()
	gauge(descDisk, float64(m.FreeBytes), "free")
	gauge(descDisk, float64(m.CapacityBytes), "capacity")
	gauge(descDisk, float64(m.UsedBytes), "used")
	gauge(descDisk, float64(m.CacheBytes), "cache")
	gauge(descL0, float64(m.L0Sublevels))
	for what, rate := range c.s.SnapshotRates() {
		gauge(descSnapRate, float64(rate), what)
	}
	gauge(descResolve, c.s.ResolutionRate())
	gauge(descLoads, c.s.LoadRate())
	for what, v := range map[string]int64{
		"write_stalls": m.WriteStalls, "slow_writes": m.SlowWrites, "cache_hits": m.CacheHits, "cache_misses": m.CacheMisses,
		"compactions": m.Compactions, "flushes": m.Flushes, "wal_bytes": m.WALBytes,
	} {
		ch <- prometheus.MustNewConstMetric(descDiskCount, prometheus.CounterValue, float64(v), what)
	}
}
