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
)

// ClusterRange is a range as pamir.ranges shows it.
type ClusterRange struct {
	Descriptor kv.RangeDescriptor
	// Leader is 0 if no node says that it leads; then the rest is unknown and zero.
	Leader                     kv.NodeID
	Stats                      kv.Stats
	Requests, Writes, LogBytes int64
	Quiet                      bool
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

// ClusterNode is a node as pamir.nodes shows it.
type ClusterNode struct {
	ID                        kv.NodeID
	Alive, Draining           bool
	Locality                  string
	SQLAddr, RPCAddr, WebAddr string
	Build                     string
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
	if relation == "nodes" {
		var rows [][]*string
		for _, n := range c.Nodes() {
			rows = append(rows, []*string{str(strconv.Itoa(int(n.ID))), str(strconv.FormatBool(n.Alive)), str(strconv.FormatBool(n.Draining)),
				str(n.Locality), str(n.SQLAddr), str(n.RPCAddr), str(n.WebAddr), str(n.Build)})
		}
		return rows, nil
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
	num := func(v int64) *string { return str(strconv.FormatInt(v, 10)) }
	rows := make([][]*string, 0, len(ranges))
	for i := range ranges {
		r := &ranges[i]
		d := &r.Descriptor
		schema, table, index := s.keyOwner(snap, d.StartKey)
		var leader *string
		if r.Leader != 0 {
			leader = num(int64(r.Leader))
		}
		rows = append(rows, []*string{num(int64(d.RangeID)), opt(schema), opt(table), opt(index), str(s.prettyKey(snap, d.StartKey)), str(s.prettyKey(snap, d.EndKey)),
			str(nodeArray(d, false)), str(nodeArray(d, true)), leader, num(d.Generation), num(r.Stats.LiveRows), num(r.Stats.Bytes),
			num(r.Stats.Locks), num(r.Requests), num(r.Writes), num(r.LogBytes), str(strconv.FormatBool(r.Quiet)),
			str(strconv.FormatFloat(r.QPS, 'f', 1, 64)), str(strconv.FormatFloat(r.CPU, 'f', 3, 64))})
	}
	return rows, nil
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
	data, id, _, err := keys.DecodeIndex(k)
	if err != nil {
		return wholeTable(finder.TableByData, k)
	}
	t, ok := finder.TableByData(data)
	if !ok {
		return nil, nil
	}
	for i := range t.Indexes {
		if uint64(t.Indexes[i].ID) == id {
			return t, &t.Indexes[i]
		}
	}
	return t, nil
}

// wholeTable finds the table of a key that is a table's whole prefix, and the index that comes first in it.
func wholeTable(byData func(uint64) (*catalog.Table, bool), k keys.Key) (*catalog.Table, *catalog.Index) {
	if len(k) < 2 || k[0] != keys.TableMin[0] {
		return nil, nil
	}
	data, rest, err := keys.DecodeUvarint(k[1:])
	if err != nil || len(rest) > 0 {
		return nil, nil
	}
	t, ok := byData(data)
	if !ok {
		return nil, nil
	}
	var first *catalog.Index
	for i := range t.Indexes {
		if first == nil || t.Indexes[i].ID < first.ID {
			first = &t.Indexes[i]
		}
	}
	return t, first
}

// keyOwner names what a range's first key belongs to; a range can hold more than that.
func (s *Session) keyOwner(snap catalog.Snapshot, k keys.Key) (schema, table, index string) {
	t, ix := indexOfKey(snap, k)
	if t == nil {
		return "", "", ""
	}
	if sc, ok := snap.SchemaByID(t.Schema); ok {
		schema = sc.Name
	}
	if ix != nil {
		index = ix.Name
	}
	return schema, t.Name, index
}

// prettyKey prints a key as table/index/(values), where the catalog knows it.
func (s *Session) prettyKey(snap catalog.Snapshot, k keys.Key) string {
	t, ix := indexOfKey(snap, k)
	if t == nil || ix == nil {
		return keys.Pretty(k)
	}
	out := "/" + t.Name + "/" + ix.Name
	enc, err := rowenc.ForIndex(t, ix)
	if err != nil || len(k) <= len(enc.Prefix()) {
		return out
	}
	values, err := enc.DecodeKeyColumns(k)
	if err != nil { // a key that stops within the columns
		return keys.Pretty(k)
	}
	env := s.fnctx.TextEnv()
	for i, v := range values {
		if v.Null {
			out += "/NULL"
		} else {
			out += "/" + string(types.AppendDatumText(nil, enc.ColumnType(i), v, env))
		}
	}
	return out
}
