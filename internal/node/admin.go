package node

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pamirdb/pamir/internal/admin"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/txn"
)

// startAdmin begins to carry out what operators ask.
func (n *Node) startAdmin() {
	s := admin.New(admin.Config{
		Cluster: n.Operations(),
		Here: map[string]admin.Look{
			"locks":     admin.LookAt(n.locks),
			"replicas":  admin.LookAt(n.replicas),
			"checksums": admin.LookAt(n.checksums),
		},
		InTxn: func(ctx context.Context, f func(t txn.Txn) error) error {
			_, err := n.inTxn(ctx, f)
			return err
		},
		NextID: func(ctx context.Context) (int64, error) {
			return sequences{n.sender}.Increment(ctx, keys.OperationIDs, 1)
		},
		Node: n.id.NodeID, Incarnation: n.id.Incarnation,
		Gone: func(node kv.NodeID, incarnation int64) bool {
			e, ok := n.book.Get(node)
			return !ok || e.Incarnation > incarnation || !n.transport.Alive(node)
		},
		Leads: func() bool {
			st, _ := n.store.Range(kv.MetaRangeID)
			return st.Serving && !n.draining.Load()
		},
		UserOf: UserOf, Log: n.log, AdoptEvery: n.cfg.adoptEvery(),
	})
	n.admin.Store(s)
	n.background(s.Run)
}

// Admin carries out what operators ask; for tests.
func (n *Node) Admin() *admin.Server { return n.admin.Load() }

func (o operations) Status() StatusView { return o.n.status() }

func (o operations) Nodes() []NodeView { return o.n.nodeViews() }

func (o operations) Ranges(ctx context.Context) ([]RangeView, error) {
	rs, err := o.n.RangeViews(ctx)
	if err != nil {
		return nil, err
	}
	ask, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	left, err := o.n.readMembership(ask)
	if err != nil {
		left = nil // what is lost is leaderless, as far as can be known
	}
	names, err := o.names(ask)
	var tables func(start, end keys.Key) []string
	if err == nil {
		tables = names.Tables()
	}
	for i := range rs {
		r := &rs[i]
		if err == nil { // else by their bytes: an operator who looks for what is wrong gets that much
			r.Schema, r.Table, r.Index = names.Owner(r.Span.Start)
			r.StartKey, r.EndKey = names.Pretty(r.Span.Start), names.Pretty(r.Span.End)
			r.Tables = tables(r.Span.Start, r.Span.End)
		} else {
			r.StartKey, r.EndKey = r.Start, r.End
		}
		r.State = o.n.rangeState(r, left)
		r.Unused = err == nil && r.State == "lost" && unused(r.Span, r.Tables)
	}
	return rs, nil
}

// unused reports whether nothing has rows in a span of which these are the tables: they were dropped. The rows of new tables go to the end of all.
func unused(s keys.Span, tables []string) bool {
	return len(tables) == 0 && !s.Start.Less(keys.Table(keys.FirstUserTable)) && s.End.Less(keys.Max)
}

// rangeState is the worst that can be said of a range.
func (n *Node) rangeState(r *RangeView, left membership) string {
	state := "ok"
	for _, p := range r.Replicas {
		if p.Type != kv.Voter.String() && p.Type != kv.NonVoter.String() && state == "ok" {
			state = "changing"
		}
		if !n.transport.Alive(p.NodeID) {
			state = "degraded"
		}
	}
	if r.LeaderNode == 0 {
		state = "leaderless"
		if left.lost(r.Nodes()) {
			state = "lost"
		}
	}
	return state
}

func (o operations) sql() (*sql.Server, error) {
	f := o.n.serving.Load()
	if f == nil {
		return nil, pgerr.New(pgerr.CannotConnectNow, "the node does not serve SQL: the names of tables are not known")
	}
	return f.sql, nil
}

func (o operations) names(ctx context.Context) (*sql.KeyNames, error) {
	srv, err := o.sql()
	if err != nil {
		return nil, err
	}
	return srv.KeyNames(ctx)
}

func (o operations) KeyOf(ctx context.Context, table string, values []string) (keys.Key, error) {
	names, err := o.names(ctx)
	if err != nil {
		return nil, err
	}
	return names.Key(table, values)
}

func (o operations) TableSpan(ctx context.Context, table string) (keys.Span, error) {
	names, err := o.names(ctx)
	if err != nil {
		return keys.Span{}, err
	}
	return names.Span(table)
}

// SetRuleOf changes a table's or an index's rule as its owner does.
func (o operations) SetRuleOf(ctx context.Context, user, of, option, value string) ([]string, error) {
	return o.alterRule(ctx, user, of, option, value, "%s")
}

// alterRule runs the ALTER that changes a rule, within other statements, and returns what it warns of.
func (o operations) alterRule(ctx context.Context, user, of, option, value, within string) (warnings []string, err error) {
	kind, name, ok := strings.Cut(of, " ")
	if !ok || kind != "table" && kind != "index" || name == "" {
		return nil, kv.Errorf(kv.CodeBadRequest, "of is %q: it can be cluster, \"table NAME\" or \"index NAME\"", of)
	}
	if err := o.n.checkRule(option, value); err != nil {
		return nil, err
	}
	option = strings.TrimPrefix(option, optionPrefix)
	srv, err := o.sql()
	if err != nil {
		return nil, err
	}
	change := fmt.Sprintf("RESET (%s%s)", optionPrefix, option)
	if value != "" {
		change = fmt.Sprintf("SET (%s%s = '%s')", optionPrefix, option, strings.ReplaceAll(value, "'", "''"))
	}
	return srv.ExecWarned(ctx, user, fmt.Sprintf(within, fmt.Sprintf("ALTER %s %s %s", strings.ToUpper(kind), sql.QuoteName(name), change)))
}

// adoptEvery is the pause between two looks at what other nodes have left undone; tests plan more often, and look more often.
func (c *Config) adoptEvery() time.Duration {
	return max(5*c.PlacementInterval/2, 200*time.Millisecond)
}

// SQL is the node's SQL server; for tests. It is nil without --sql-addr.
func (n *Node) SQL() *sql.Server {
	if f := n.serving.Load(); f != nil {
		return f.sql
	}
	return nil
}
