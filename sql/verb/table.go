package verb

// parameters that several verbs have
var (
	rangeID = Param{Name: "range_id", Kind: Int, In: Path, Required: true, Min: 1, Max: 1 << 53, Help: "the range"}
	nodeID  = Param{Name: "node_id", Kind: Int, In: Path, Required: true, Min: 1, Help: "the node"}
	opID    = Param{Name: "operation_id", Kind: Int, In: Path, Required: true, Min: 1, Max: 1 << 53, Help: "the operation"}
	limit   = Param{Name: "limit", Kind: Int, In: Query, Min: 1, Max: 10000, Default: "1000", Help: "how many at most"}
	option  = Param{Name: "option", Kind: Text, In: Path, Required: true, Min: 1, Max: 100, Help: "the option of the rule: num_replicas, constraints, leader_preference, survive, ..."}
	of      = Param{Name: "of", Kind: Text, Min: 1, Max: 200, Default: "cluster",
		Help: "whose rule: cluster, \"table NAME\" or \"index NAME\"; those of tables and indexes are set in the name of the user, who must own them"}
)

// row names a row by the first columns of a table's primary key.
func row(required bool) []Param {
	return []Param{
		{Name: "table", Kind: Text, In: Body, Required: required, Min: 1, Max: 200, Help: "the table, or schema.table"},
		{Name: "values", Kind: Texts, In: Body, Required: required, Min: 1, Help: "values for the first columns of its primary key, as texts"},
	}
}

func in(p Param, where Place) Param {
	p.In = where
	return p
}

// columns that several verbs have
var operationColumns = []Column{
	{Name: "id", Type: "int8"}, {Name: "verb", Type: "text"}, {Name: "state", Type: "text"}, {Name: "progress", Type: "float8", As: "percent"},
	{Name: "left_seconds", Title: "left", Type: "float8", As: "seconds"}, {Name: "args", Type: "text"}, {Name: "why", Type: "text"}, {Name: "username", Field: "user", Type: "text"},
	{Name: "node_id", Type: "int4"}, {Name: "started", Type: "timestamptz", As: "time"}, {Name: "finished", Type: "timestamptz", As: "time", Apart: true},
	{Name: "error", Field: "error.detail", Type: "text"}, {Name: "result", Type: "text", Apart: true},
}

var rangeColumns = []Column{
	{Name: "range", Field: "id"}, {Name: "tables"}, {Name: "index"}, {Name: "start", Field: "start_key"}, {Name: "end", Field: "end_key"},
	{Name: "replicas", Field: "replicas.node_id"}, {Name: "leader", Field: "leader_node"}, {Name: "state"}, {Name: "size", Field: "bytes", As: "bytes", Told: "leader_node"},
	{Name: "qps", Field: "rates.requests", As: "rate", Told: "leader_node"},
}

// Table is all verbs: first those that look.
var Table = []Verb{
	{
		Name: "cluster", Summary: "The cluster in a few figures, and what is in its way", Method: "GET", Path: "/cluster", Command: "cluster", Relation: "cluster", RelationOID: 15934,
		Columns: []Column{
			{Name: "cluster_id", Type: "text"}, {Name: "answered_by", Type: "int4"}, {Name: "build", Type: "text"}, {Name: "security", Type: "text"},
			{Name: "nodes", Type: "int8"}, {Name: "nodes_alive", Type: "int8"}, {Name: "nodes_draining", Type: "int8"}, {Name: "nodes_leaving", Type: "int8"},
			{Name: "ranges", Type: "int8"}, {Name: "ranges_changing", Type: "int8"}, {Name: "ranges_degraded", Type: "int8"}, {Name: "ranges_leaderless", Type: "int8"},
			{Name: "size_bytes", Field: "bytes", Type: "int8"}, {Name: "driver_node_id", Field: "driver", Type: "int4"}, {Name: "rebalancing_paused", Type: "bool"},
			{Name: "operators_running", Type: "int8"}, {Name: "operators_pending", Type: "int8"}, {Name: "ranges_blocked", Type: "int8"}, {Name: "problems", Type: "text"},
		},
	},
	{
		Name: "status", Summary: "The node that answers", Method: "GET", Path: "/status",
		Detail: "Answered from the node's own memory: also by one that reaches no other.",
	},
	{
		Name: "nodes", Summary: "List the nodes", Method: "GET", Path: "/nodes", Command: "node list",
		Detail: "Replicas, leaders and bytes are left out while the cluster cannot be asked; the rest is as the answering node sees it.",
		List:   "nodes", Relation: "nodes", RelationOID: 15902,
		Columns: []Column{
			{Name: "node_id", Type: "int4"}, {Name: "alive", Type: "bool"}, {Name: "draining", Type: "bool", Apart: true}, {Name: "locality", Type: "text"},
			{Name: "sql_addr", Type: "text"}, {Name: "rpc_addr", Type: "text", Apart: true}, {Name: "http_addr", Type: "text", Apart: true}, {Name: "build", Type: "text"},
			{Name: "state", Type: "text"}, {Name: "replicas", Type: "int8"}, {Name: "leaders", Type: "int8"}, {Name: "size_bytes", Field: "bytes", Type: "int8", As: "bytes"},
			{Name: "problems", Type: "text"},
		},
	},
	{
		Name: "node", Summary: "Show a node: what it holds, how far its drain or decommission is", Method: "GET", Path: "/nodes/{node_id}",
		Command: "node status", Positional: []string{"node_id"}, Params: []Param{nodeID},
	},
	{
		Name: "stores", Summary: "List the stores with their load", Method: "GET", Path: "/stores", Command: "node stores", List: "stores", Relation: "stores", RelationOID: 15930,
		Columns: []Column{
			{Name: "store_id", Type: "int4"}, {Name: "node_id", Type: "int4"}, {Name: "state", Type: "text"}, {Name: "alive", Type: "bool"}, {Name: "locality", Type: "text"},
			{Name: "replicas", Type: "int8"}, {Name: "leaders", Type: "int8"}, {Name: "size_bytes", Field: "bytes", Type: "int8", As: "bytes"},
			{Name: "qps", Field: "requests", Type: "float8", As: "rate", Told: "alive"}, {Name: "writes", Type: "float8", As: "rate", Told: "alive"}, {Name: "cpu", Type: "float8", As: "rate", Told: "alive"},
			{Name: "free_bytes", Type: "int8", As: "bytes"}, {Name: "capacity_bytes", Type: "int8", As: "bytes"}, {Name: "problems", Type: "text"},
		},
	},
	{
		Name: "ranges", Summary: "List ranges, in key order", Method: "GET", Path: "/ranges", Command: "range list", List: "ranges", Columns: rangeColumns,
		Detail: "Over HTTP a page ends after limit ranges; next, if it is there, is what to give as after for the next page. Only leaders know how large their ranges are, and what is asked of them: where leader_node is 0, what is 0 is not known.",
		Params: []Param{
			{Name: "table", Kind: Text, In: Query, Min: 1, Max: 200, Help: "only ranges with keys of this table (name, or schema.name)"},
			{Name: "key", Kind: Texts, In: Query, Min: 1, Help: "with table: only the range of the row whose primary key begins with these values"},
			{Name: "node", Kind: Int, In: Query, Min: 1, Help: "only ranges with a replica on this node"},
			{Name: "leader", Kind: Int, In: Query, Min: 1, Help: "only ranges that this node leads"},
			{Name: "state", Kind: Text, In: Query, Enum: []string{"ok", "changing", "degraded", "leaderless", "lost"}, Help: "only ranges in this state"},
			limit,
			{Name: "after", Kind: Text, In: Query, Min: 2, Max: 8192, Help: "where the last page ended"},
		},
	},
	{
		Name: "range", Summary: "Show a range: replicas, load, what is done to it, and why nothing is", Method: "GET", Path: "/ranges/{range_id}",
		Command: "range show", Positional: []string{"range_id"}, Params: []Param{rangeID},
	},
	{
		Name: "hot_ranges", Summary: "List the ranges with most load, by processor time", Method: "GET", Path: "/hot-ranges", Command: "range hot",
		List: "ranges", Relation: "hot_ranges", RelationOID: 15931,
		Params: []Param{{Name: "limit", Kind: Int, In: Query, Min: 1, Max: 1000, Default: "20", Help: "how many at most"}},
		Columns: []Column{
			{Name: "range_id", Field: "id", Type: "int8"}, {Name: "table_name", Field: "table", Type: "text"}, {Name: "index_name", Field: "index", Type: "text"},
			{Name: "start_key", Type: "text"}, {Name: "leader", Field: "leader_node", Type: "int4"}, {Name: "qps", Field: "rates.requests", Type: "float8", As: "rate", Told: "leader_node"},
			{Name: "writes", Field: "rates.writes", Type: "float8", As: "rate", Told: "leader_node"}, {Name: "write_bytes", Field: "rates.write_bytes", Type: "float8", As: "bytes", Told: "leader_node"},
			{Name: "cpu", Field: "rates.cpu", Type: "float8", As: "rate", Told: "leader_node"}, {Name: "size_bytes", Field: "bytes", Type: "int8", As: "bytes", Told: "leader_node"},
		},
	},
	{
		Name: "placement", Summary: "Show what the placement driver knows and does", Method: "GET", Path: "/placement", Command: "placement show",
	},
	{
		Name: "operators", Summary: "List placement's operators: running, pending, done, and the ranges that nothing is done about", Method: "GET", Path: "/operators",
		Command: "placement operators", List: "operators", Relation: "operators", RelationOID: 15932,
		Detail: "Each says why. One that is blocked is a range that is not as its rule wants it, and why nothing is done about it now; one that is unmerged, a range that is small enough to be merged with its left neighbour, and why it is not.",
		Params: []Param{
			{Name: "state", Kind: Text, In: Query, Enum: []string{"running", "pending", "done", "failed", "blocked", "unmerged"}, Help: "only those in this state"},
			{Name: "range_id", Kind: Int, In: Query, Min: 1, Max: 1 << 53, Help: "only those of this range"},
		},
		Columns: []Column{
			{Name: "state", Type: "text"}, {Name: "range_id", Type: "int8"}, {Name: "operator", Field: "text", Type: "text"}, {Name: "why", Type: "text"},
			{Name: "refused", Type: "text", Apart: true}, {Name: "started", Type: "timestamptz", As: "time"}, {Name: "finished", Type: "timestamptz", As: "time"}, {Name: "error", Type: "text"},
		},
	},
	{
		Name: "plan", Summary: "Show what placement would do now, and why, without doing it", Method: "GET", Path: "/placement/plan", Command: "placement plan",
		Detail: "A plan is made from what all nodes say now, as if rebalancing were not paused.", List: "operators", Function: &Function{OID: 0xffffff20, Returns: Rows},
		Columns: []Column{{Name: "state", Type: "text"}, {Name: "range_id", Type: "int8"}, {Name: "operator", Field: "text", Type: "text"}, {Name: "why", Type: "text"}, {Name: "refused", Type: "text"}},
	},
	{
		Name: "rules", Summary: "List the rules of placement", Method: "GET", Path: "/rules", Command: "placement rules", List: "rules",
		Columns: []Column{
			{Name: "of"}, {Name: "replicas", Field: "options.num_replicas"}, {Name: "constraints", Field: "options.constraints"},
			{Name: "nonvoters", Field: "options.num_nonvoters"}, {Name: "leader_preference", Field: "options.leader_preference"}, {Name: "survive", Field: "options.survive"}, {Name: "gc_ttl", Field: "options.gc_ttl"},
		},
	},
	{
		Name: "operations", Summary: "List operations, the newest first", Method: "GET", Path: "/operations", Command: "operation list",
		List: "operations", Relation: "operations", RelationOID: 15933, Columns: operationColumns,
		Detail: "Those that are over are kept for a week, and the newest thousand.",
		Params: []Param{
			{Name: "state", Kind: Text, In: Query, Enum: []string{"running", "canceling", "succeeded", "failed", "canceled"}, Help: "only those in this state"},
			{Name: "verb", Kind: Text, In: Query, Min: 1, Max: 100, Help: "only those of this verb"},
			limit,
		},
	},
	{
		Name: "operation", Summary: "Show an operation", Method: "GET", Path: "/operations/{operation_id}", Command: "operation show", Positional: []string{"operation_id"},
		Params: []Param{opID, {Name: "wait", Kind: Int, In: Query, Max: 60, Help: "wait so many seconds for its end"}},
	},
	{
		Name: "locks", Summary: "List the locks on rows, and who waits for them", Method: "GET", Path: "/locks", Command: "range locks", List: "locks",
		Detail: "All nodes are asked for the ranges that they lead; problem names those that do not answer. Of a range with many locks the first thousand are listed. In SQL: pamir.locks, and pamir.transactions.",
		Params: []Param{
			{Name: "table", Kind: Text, In: Query, Min: 1, Max: 200, Help: "only locks on rows of this table (name, or schema.name)"},
			{Name: "range_id", Kind: Int, In: Query, Min: 1, Max: 1 << 53, Help: "only locks in this range"},
			{Name: "node", Kind: Int, In: Query, Min: 1, Help: "only locks in ranges that this node leads; no other is asked"},
			{Name: "waiting", Kind: Bool, In: Query, Help: "only those that somebody waits for, and has not got"},
			limit,
		},
		Columns: []Column{
			{Name: "range_id"}, {Name: "table"}, {Name: "index"}, {Name: "key"}, {Name: "strength"}, {Name: "granted"}, {Name: "prepared"}, {Name: "gateway"},
			{Name: "txn"}, {Name: "age", Field: "txn_age"},
		},
	},
	{
		Name: "replicas", Summary: "List the replicas as their stores see them: whom they follow, how far they are", Method: "GET", Path: "/replicas", Command: "range replicas",
		List: "replicas", Relation: "replicas", RelationOID: 15935,
		Detail: "All nodes are asked; problem names those that do not answer. One that has stopped, because it differs from the others or cannot be read, says why.",
		Params: []Param{
			{Name: "range_id", Kind: Int, In: Query, Min: 1, Max: 1 << 53, Help: "only replicas of this range"},
			{Name: "node", Kind: Int, In: Query, Min: 1, Help: "only replicas on this node; no other is asked"},
			{Name: "stopped", Kind: Bool, In: Query, Help: "only those that have stopped"},
		},
		Columns: []Column{
			{Name: "node_id", Type: "int4"}, {Name: "range_id", Type: "int8"}, {Name: "replica_id", Type: "int4"}, {Name: "leader", Field: "leader_node", Type: "int4"},
			{Name: "serving", Type: "bool"}, {Name: "quiet", Type: "bool"}, {Name: "term", Type: "int8"}, {Name: "applied", Type: "int8"},
			{Name: "last_index", Type: "int8"}, {Name: "first_index", Type: "int8", Apart: true}, {Name: "stopped", Type: "text"},
		},
	},
	{
		Name: "checksums", Summary: "Compute a checksum of every replica of every range, and compare", Method: "GET", Path: "/checksums", Command: "range checksums",
		List: "ranges", Function: &Function{OID: 0xffffff30, Returns: Rows},
		Detail: "Each range at one position of its log, eight ranges at a time. Reads everything. Replicas on nodes that have been silent for 3 s are not waited for: those are missing. By command the exit status is 1 if replicas differ, or a range could not be asked.",
		Columns: []Column{
			{Name: "range_id", Type: "int8"}, {Name: "start_key", Type: "text"}, {Name: "agree", Type: "bool"}, {Name: "sums", Field: "by_store", Type: "text", Apart: true},
			{Name: "differ", Type: "text"}, {Name: "missing", Type: "text"}, {Name: "error", Type: "text"},
		},
	},
	{
		Name: "openapi", Summary: "This API, as an OpenAPI document", Method: "GET", Path: "/openapi.json",
	},

	// Those that change something.
	{
		Name: "split_at", Summary: "Cut the range that holds a row, before it", Method: "POST", Path: "/ranges/split", Command: "range split",
		Detail:     "A range that begins there already stays as it is. The result's range_id is the range that begins there. Placement does not merge the two again: merge_at does.",
		Positional: []string{"table", "values"}, Params: row(true),
		Function: &Function{OID: 0xffffff00, Returns: Number, Field: "range_id", AnyKey: true},
	},
	{
		Name: "merge_at", Summary: "Take a cut back: merge the range that begins at a row with its left neighbour", Method: "POST", Path: "/ranges/merge", Command: "range merge",
		Detail:     "Its replicas are moved to where the neighbour's are first. Refused if the two are so large that they would be split again, or if another placement rule begins there.",
		Positional: []string{"table", "values"}, Params: row(true),
		Function: &Function{OID: 0xffffff05, Returns: Number, Field: "range_id", AnyKey: true},
	},
	{
		Name: "move_replica", Summary: "Move, add or remove a replica of a range", Method: "POST", Path: "/ranges/{range_id}/move", Command: "range move", Positional: []string{"range_id"},
		Detail: "With from and to it is moved; with only to, added; with only from, removed. A leader hands over first. Refused if it would leave one replica of several. A rule may move it again: pause rebalancing, or change the rule.",
		Params: []Param{rangeID, {Name: "from", Kind: Int, In: Body, Min: 0, Help: "the node that has it"}, {Name: "to", Kind: Int, In: Body, Min: 0, Help: "the node that is to have it"},
			{Name: "force", Kind: Bool, In: Body, Help: "also if only one replica would be left"}},
		// A change that is half done is undone, or finished: ranges see to that.
		Cancelable: true, Function: &Function{OID: 0xffffff24, Returns: Done}, // and 0xffffff25
	},
	{
		Name: "transfer_leader", Summary: "Hand the leadership of a range to its replica on a node", Method: "POST", Path: "/ranges/{range_id}/transfer", Command: "range transfer",
		Detail:     "Placement may hand it on, to balance, or to follow the range's clients.",
		Positional: []string{"range_id", "node"}, Params: []Param{rangeID, {Name: "node", Kind: Int, In: Body, Required: true, Min: 1, Help: "the node that is to lead"}},
		Function: &Function{OID: 0xffffff01, Returns: Done},
	},
	{
		Name: "drain_node", Summary: "Hand over a node's leaders and clients; it stays up", Method: "POST", Path: "/nodes/{node_id}/drain", Command: "node drain",
		Positional: []string{"node_id"},
		Params:     []Param{nodeID, {Name: "force", Kind: Bool, In: Body, Help: "also if no node would serve clients then, or some range would have no majority on nodes that do"}},
		Cancelable: true, Function: &Function{OID: 0xffffff2e, Returns: Begun}, // and 0xffffff2f
		Detail: "Ended by undrain, or by a restart of the node. To cancel it is to undrain. Refused if no node would serve clients then, or some range would have no majority of its replicas on nodes that do.",
	},
	{
		Name: "undrain_node", Summary: "Make a drained node serve again", Method: "POST", Path: "/nodes/{node_id}/undrain", Command: "node undrain",
		Positional: []string{"node_id"}, Params: []Param{nodeID}, Function: &Function{OID: 0xffffff27, Returns: Done},
	},
	{
		Name: "decommission_node", Summary: "Move everything off a node, for good", Method: "POST", Path: "/nodes/{node_id}/decommission", Command: "node decommission",
		Positional: []string{"node_id"},
		Params:     []Param{nodeID, {Name: "force", Kind: Bool, In: Body, Help: "also if too few nodes would remain for what rules ask; it then ends only once there are more"}},
		Cancelable: true, Function: &Function{OID: 0xffffff28, Returns: Begun}, // and 0xffffff29
		Detail: "Under load, without errors to clients. When it has succeeded, the node may be stopped. To cancel it is to recommission. Refused if some rule that holds now could not hold any more.",
	},
	{
		Name: "recommission_node", Summary: "Take back that a node is to leave", Method: "POST", Path: "/nodes/{node_id}/recommission", Command: "node recommission",
		Positional: []string{"node_id"}, Params: []Param{nodeID}, Function: &Function{OID: 0xffffff2a, Returns: Done},
	},
	{
		Name: "set_rule", Summary: "Set an option of a placement rule", Method: "PUT", Path: "/rules/{option}", Command: "placement set-rule",
		Positional: []string{"option", "value"},
		Params:     []Param{option, {Name: "value", Kind: Text, Scalar: true, In: Body, Required: true, Min: 1, Help: "what to set it to"}, in(of, Body)},
	},
	{
		Name: "reset_rule", Summary: "Reset an option of a placement rule to its default", Method: "DELETE", Path: "/rules/{option}", Command: "placement reset-rule",
		Positional: []string{"option"}, Params: []Param{option, in(of, Query)},
	},
	{
		Name: "pause_rebalancing", Summary: "Stop moving replicas and leaders for balance", Method: "POST", Path: "/placement/pause", Command: "placement pause",
		Detail: "What rules, dead and leaving nodes ask for goes on.", Function: &Function{OID: 0xffffff2b, Returns: Done},
	},
	{
		Name: "resume_rebalancing", Summary: "Balance again", Method: "POST", Path: "/placement/resume", Command: "placement resume", Function: &Function{OID: 0xffffff2c, Returns: Done},
	},
	{
		Name: "cancel_operation", Summary: "Cancel an operation that runs", Method: "POST", Path: "/operations/{operation_id}/cancel", Command: "operation cancel",
		Detail:     "The answer is that operation; its state is canceling until what it began has been undone.",
		Positional: []string{"operation_id"}, Params: []Param{opID}, Function: &Function{OID: 0xffffff2d, Returns: Done},
	},
}
