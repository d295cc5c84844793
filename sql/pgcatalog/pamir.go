package pgcatalog

import (
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/types"
	"github.com/pamirdb/pamir/sql/verb"
)

// Ids of schema pamir and its relations: above everything PostgreSQL generates for itself (below 16384 are
// its own; it hands out none from here up to users' either, since ours begin at 16384).
const (
	oidPamirExtension = 15899
	oidPamir          = 15900
	oidPamirRanges    = 15901
	oidPamirJobs      = 15903
	oidPamirRules     = 15920
	oidPamirProtected = 15921
)

// What sessions and transactions do.
const (
	oidPamirTransactions = 15910 + iota
	oidPamirLocks
	oidPamirContention
	oidPamirRetries
)

const (
	oidInt4Array types.OID = 1007
	oidTextArray types.OID = 1009
)

// pamirRelations are the relations of schema pamir: what an operator looks at. Their rows are made anew at every scan.
func pamirRelations() []*definition {
	relation := func(id catalog.TableID, name string, cols ...catalog.Column) *definition {
		d := &definition{kind: 'v', index: map[string]int{}, table: &catalog.Table{
			ID: id, Schema: oidPamir, Name: name, Version: 1, Owner: "root", Kind: 'r', Virtual: true, Columns: cols,
			NextColumn: catalog.ColumnID(len(cols) + 1),
		}}
		for i := range cols {
			cols[i].ID = catalog.ColumnID(i + 1)
			d.index[cols[i].Name] = i
		}
		return d
	}
	col := func(name string, t types.OID) catalog.Column { return catalog.Column{Name: name, Type: types.Of(t)} }
	defs := []*definition{
		relation(oidPamirRanges, "ranges",
			col("range_id", types.Int8OID), col("schema_name", types.TextOID), col("table_name", types.TextOID), col("index_name", types.TextOID),
			col("start_key", types.TextOID), col("end_key", types.TextOID), col("replicas", oidInt4Array), col("learners", oidInt4Array),
			col("leader", types.Int4OID), col("generation", types.Int8OID), col("live_rows", types.Int8OID), col("size_bytes", types.Int8OID),
			col("prepared_locks", types.Int8OID), col("requests", types.Int8OID), col("writes", types.Int8OID), col("log_bytes", types.Int8OID),
			col("quiet", types.BoolOID), col("qps", types.Float8OID), col("cpu", types.Float8OID), col("state", types.TextOID),
			col("tables", oidTextArray)),
		relation(oidPamirRules, "rules",
			col("rule_of", types.TextOID), col("num_replicas", types.Int4OID), col("constraints", types.TextOID), col("num_nonvoters", types.Int4OID),
			col("nonvoter_constraints", types.TextOID), col("leader_preference", types.TextOID), col("survive", types.TextOID), col("gc_ttl", types.TextOID)),
		relation(oidPamirProtected, "protected_timestamps",
			col("id", types.Int8OID), col("protected", types.TimestamptzOID), col("snapshot", types.TextOID), col("spans", types.TextOID),
			col("owner", types.TextOID), col("created", types.TimestamptzOID), col("expires", types.TimestamptzOID)),
		relation(oidPamirTransactions, "transactions",
			col("node_id", types.Int4OID), col("txn_id", types.TextOID), col("pid", types.Int4OID), col("username", types.TextOID),
			col("application_name", types.TextOID), col("started", types.TimestamptzOID), col("status", types.TextOID), col("anchor_key", types.TextOID),
			col("waiting", types.BoolOID), col("blocked_by", oidInt4Array), col("query", types.TextOID)),
		relation(oidPamirLocks, "locks",
			col("node_id", types.Int4OID), col("range_id", types.Int8OID), col("schema_name", types.TextOID), col("table_name", types.TextOID),
			col("index_name", types.TextOID), col("key", types.TextOID), col("txn_id", types.TextOID), col("gateway", types.Int4OID), col("pid", types.Int4OID),
			col("strength", types.TextOID), col("granted", types.BoolOID), col("prepared", types.BoolOID)),
		relation(oidPamirContention, "contention_events",
			col("node_id", types.Int4OID), col("began", types.TimestamptzOID), col("waited_ms", types.Float8OID), col("schema_name", types.TextOID),
			col("table_name", types.TextOID), col("index_name", types.TextOID), col("key", types.TextOID), col("waiter_pid", types.Int4OID),
			col("holder_pids", oidInt4Array), col("waiter_txn_id", types.TextOID)),
		relation(oidPamirRetries, "transaction_retries",
			col("node_id", types.Int4OID), col("scope", types.TextOID), col("cause", types.TextOID), col("retried", types.Int8OID), col("visible", types.Int8OID)),
		relation(oidPamirJobs, "jobs",
			col("id", types.Int8OID), col("kind", types.TextOID), col("description", types.TextOID), col("state", types.TextOID),
			col("progress", types.Float8OID), col("username", types.TextOID), col("node_id", types.Int4OID), col("started", types.TimestamptzOID),
			col("finished", types.TimestamptzOID), col("error", types.TextOID)),
	}
	// The answers of verbs.
	for i := range verb.Table {
		v := &verb.Table[i]
		if v.Relation == "" {
			continue
		}
		var cols []catalog.Column
		for _, c := range v.Columns {
			if c.Type != "" {
				cols = append(cols, col(c.Name, verbTypes[c.Type]))
			}
		}
		defs = append(defs, relation(catalog.TableID(v.RelationOID), v.Relation, cols...))
	}
	return defs
}

// verbTypes are the types of the columns of verbs' answers.
var verbTypes = map[string]types.OID{"int4": types.Int4OID, "int8": types.Int8OID, "int4[]": oidInt4Array, "text": types.TextOID, "bool": types.BoolOID,
	"float8": types.Float8OID, "timestamptz": types.TimestamptzOID}

// ClusterSession is a Session with a cluster behind it.
type ClusterSession interface {
	// ClusterRows yields the rows of a relation of schema pamir, as VirtualRows does.
	ClusterRows(relation string) ([][]*string, error)
}

// clusterRelation makes the rows of a relation of schema pamir.
func clusterRelation(d *definition, sess Session) (*relation, error) {
	b := newBuilder(d)
	if c, ok := sess.(ClusterSession); ok {
		rows, err := c.ClusterRows(d.table.Name)
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			if err := b.text(r); err != nil {
				return nil, err
			}
		}
	}
	return b.done(), nil
}
