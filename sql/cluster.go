package sql

import (
	"strconv"
	"strings"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/pgcatalog"
	"github.com/pamirdb/pamir/sql/rowenc"
	"github.com/pamirdb/pamir/sql/types"
	"github.com/pamirdb/pamir/sql/verb"
)

// ClusterRange is a range as pamir.ranges shows it.
type ClusterRange struct {
	Descriptor kv.RangeDescriptor
	// Leader is 0 if no node says that it leads; then the rest is unknown, and NULL to whoever asks for it in SQL.
	Leader                     kv.NodeID
	Stats                      kv.Stats
	Requests, Writes, LogBytes int64
	Quiet                      bool
	// State is ok, changing, degraded, leaderless or lost.
	State string
	// QPS and CPU are per second, of the last ten seconds or so: requests, and cores.
	QPS, CPU float64
}

// ClusterRule is a placement rule as pamir.rules shows it.
type ClusterRule struct {
	// Of is "cluster", "table public.t" or "index public.t_a_idx".
	Of string
	// Options by name, without their prefix.
	Options map[string]string
}

var _ pgcatalog.ClusterSession = (*Session)(nil)

// ClusterRows yields the relations of schema pamir, as text.
func (s *Session) ClusterRows(relation string) ([][]*string, error) {
	switch relation {
	case "transactions", "locks", "contention_events", "transaction_retries":
		return s.observedRows(relation)
	}
	if relation == "jobs" {
		return s.jobRows()
	}
	c := s.srv.cfg.Cluster
	if c == nil {
		return nil, nil
	}
	if v := verb.ByRelation(relation); v != nil {
		return c.Look(s.ctx, v, verb.Args{})
	}
	if relation == "protected_timestamps" {
		return s.protectionRows(c)
	}
	if relation == "rules" {
		rules, err := c.Rules(s.ctx)
		if err != nil {
			return nil, err
		}
		var rows [][]*string
		for _, r := range rules {
			o := r.Options
			rows = append(rows, []*string{str(r.Of), opt(o["num_replicas"]), str(o["constraints"]), opt(o["num_nonvoters"]), str(o["nonvoter_constraints"]),
				str(o["leader_preference"]), opt(o["survive"]), opt(o["gc_ttl"])})
		}
		return rows, nil
	}
	snap, err := s.snapshot(s.ctx)
	if err != nil {
		return nil, err
	}
	ranges, err := c.Ranges(s.ctx)
	if err != nil {
		return nil, err
	}
	names := s.keyNames(snap)
	tables := names.tables()
	num := func(v int64) *string { return str(strconv.FormatInt(v, 10)) }
	rows := make([][]*string, 0, len(ranges))
	for i := range ranges {
		r := &ranges[i]
		d := &r.Descriptor
		schema, table, index := names.Owner(d.StartKey)
		var leader *string
		if r.Leader != 0 {
			leader = num(int64(r.Leader))
		}
		row := []*string{num(int64(d.RangeID)), opt(schema), opt(table), opt(index), str(names.Pretty(d.StartKey)), str(names.Pretty(d.EndKey)),
			str(nodeArray(d, false)), str(nodeArray(d, true)), leader, num(d.Generation)}
		told := []*string{num(r.Stats.LiveRows), num(r.Stats.Bytes), num(r.Stats.Locks), num(r.Requests), num(r.Writes), num(r.LogBytes),
			str(strconv.FormatBool(r.Quiet)), str(strconv.FormatFloat(r.QPS, 'f', 1, 64)), str(strconv.FormatFloat(r.CPU, 'f', 3, 64))}
		if r.Leader == 0 {
			clear(told) // a sum over the ranges is not to take what nobody says for nothing
		}
		row = append(row, told...)
		rows = append(rows, append(row, opt(r.State), textArray(texts(tables.in(d.StartKey, d.EndKey)))))
	}
	return rows, nil
}

func texts(ss []string) (out []types.Datum) {
	for _, s := range ss {
		out = append(out, types.NewString(s))
	}
	return out
}

// nodeArray lists the nodes with voters, or the others, as an array's text.
func nodeArray(d *kv.RangeDescriptor, others bool) string {
	var ids []string
	for _, r := range d.Replicas {
		if (r.Type == kv.Learner || r.Type == kv.NonVoter) == others {
			ids = append(ids, strconv.Itoa(int(r.NodeID)))
		}
	}
	return "{" + strings.Join(ids, ",") + "}"
}

// indexOfKey finds the table and index that a key lies in; nil if it is in none that exists, or between tables.
func indexOfKey(snap catalog.Snapshot, k keys.Key) (*catalog.Table, *catalog.Index) {
	finder, ok := snap.(interface {
		TableByData(uint64) (*catalog.Table, bool)
	})
	if !ok {
		return nil, nil
	}
	return rowenc.Owner(k, finder.TableByData)
}

// keyNames goes by what the session's transaction sees.
func (s *Session) keyNames(snap catalog.Snapshot) *KeyNames {
	return &KeyNames{snap, s.fnctx.TextEnv()}
}
