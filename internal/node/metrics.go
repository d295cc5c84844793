package node

import (
	"reflect"
	"strings"
	"sync/atomic"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"
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
