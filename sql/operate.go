package sql

import (
	"context"
	"strings"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/role"
	"github.com/pamirdb/pamir/sql/rowenc"
	"github.com/pamirdb/pamir/sql/types"
)

// Cluster is what the functions of schema pamir operate on; the node assembly implements it.
type Cluster interface {
	// SplitAt cuts the range that holds key there and returns the range that begins at key.
	SplitAt(ctx context.Context, key keys.Key) (kv.RangeID, error)
	TransferLeader(ctx context.Context, id kv.RangeID, node kv.NodeID) error
	// Ranges lists every range, in key order; Nodes every node that this one has heard of.
	Ranges(ctx context.Context) ([]ClusterRange, error)
	Nodes() []ClusterNode
	Observer

	// CheckRule refuses options of a placement rule, by name, that make no sense. SetRule sets one of the cluster's rule; an empty
	// value resets it. Rules lists all rules: the cluster's, and those of tables and indexes.
	CheckRule(options map[string]string) error
	SetRule(ctx context.Context, option, value string) error
	Rules(ctx context.Context) ([]ClusterRule, error)

	// Protect keeps everything readable at a timestamp (empty: now) for a time, and Extend for a time from now on. Unprotect reports whether there
	// was anything to end. Protections lists those that hold.
	Protect(ctx context.Context, at hlc.Timestamp, lifetime time.Duration, owner string) (id int64, err error)
	ExtendProtection(ctx context.Context, id int64, lifetime time.Duration) error
	Unprotect(ctx context.Context, id int64) (bool, error)
	Protections(ctx context.Context) ([]ClusterProtection, error)
}

var _ builtin.Operator = (*Session)(nil)

func (s *Session) cluster() (Cluster, error) {
	if s.srv.cfg.Cluster == nil {
		return nil, pgerr.New(pgerr.FeatureNotSupported, "there is no cluster here to operate on")
	}
	if !s.hasRole(role.Operator) {
		return nil, pgerr.New(pgerr.InsufficientPrivilege, "permission denied to operate the cluster").
			WithHint("The role must be a member of \"%s\".", role.Operator)
	}
	return s.srv.cfg.Cluster, nil
}

// SplitAt implements builtin.Operator.
func (s *Session) SplitAt(relation string, values []types.Datum, of []types.Type) (int64, error) {
	c, err := s.cluster()
	if err != nil {
		return 0, err
	}
	snap, err := s.snapshot(s.ctx)
	if err != nil {
		return 0, err
	}
	t, err := s.namedRelation(snap, relation)
	if err != nil {
		return 0, err
	}
	if t.Virtual || t.Kind != 'r' || t.Primary() == nil {
		return 0, pgerr.New(pgerr.WrongObjectType, "\"%s\" is not a table", t.Name)
	}
	ix, err := rowenc.ForIndex(t, t.Primary())
	if err != nil {
		return 0, err
	}
	if len(values) > ix.KeyColumns() {
		return 0, pgerr.New(pgerr.InvalidParameterValue, "%d values given, the primary key of \"%s\" has %d columns", len(values), t.Name, ix.KeyColumns())
	}
	key := ix.Prefix().Clone()
	for i, d := range values {
		col := ix.ColumnType(i)
		if of[i].OID != col.OID {
			// As if it had been written as a literal.
			env := s.fnctx.TextEnv()
			if d, err = types.ParseText(col, types.AppendDatumText(nil, of[i], d, env), env); err != nil {
				return 0, err
			}
		}
		if key, err = ix.AppendColumn(key, i, d); err != nil {
			return 0, err
		}
	}
	id, err := c.SplitAt(s.ctx, key)
	return int64(id), err
}

// TransferLeader implements builtin.Operator.
func (s *Session) TransferLeader(rangeID, node int64) error {
	c, err := s.cluster()
	if err != nil {
		return err
	}
	ranges, err := c.Ranges(s.ctx)
	if err != nil {
		return err
	}
	there, replica := false, false
	for i := range ranges {
		if d := &ranges[i].Descriptor; int64(d.RangeID) == rangeID {
			there = true
			for _, r := range d.Replicas {
				replica = replica || int64(r.NodeID) == node && r.Type != kv.Learner && r.Type != kv.NonVoter
			}
		}
	}
	switch {
	case !there:
		return pgerr.New(pgerr.UndefinedObject, "there is no range %d", rangeID).WithHint("TABLE pamir.ranges lists them.")
	case !replica:
		return pgerr.New(pgerr.ObjectNotInPrerequisiteState, "node %d has no replica of range %d that could lead it", node, rangeID).
			WithHint("pamir.ranges lists the nodes with replicas of each range.")
	}
	return c.TransferLeader(s.ctx, kv.RangeID(rangeID), kv.NodeID(node))
}

// SetRule implements builtin.Operator.
func (s *Session) SetRule(option, value string) error {
	c, err := s.cluster()
	if err != nil {
		return err
	}
	if err := c.SetRule(s.ctx, option, value); err != nil {
		if kv.HasCode(err, kv.CodeBadRequest) {
			return pgerr.New(pgerr.InvalidParameterValue, "placement rule: %s", kv.AsError(err).Message)
		}
		return err
	}
	return nil
}

// namedRelation looks a relation up by a name as a person writes it: name, schema.name, with quotes where needed.
func (s *Session) namedRelation(snap catalog.Snapshot, name string) (*catalog.Table, error) {
	parts := splitName(name)
	schemas := s.SearchPath()
	if len(parts) == 2 {
		schemas = parts[:1]
	}
	if len(parts) == 1 || len(parts) == 2 {
		for _, sc := range schemas {
			if t, ok := snap.Table(sc, parts[len(parts)-1]); ok {
				return t, nil
			}
		}
	}
	return nil, pgerr.New(pgerr.UndefinedTable, "relation \"%s\" does not exist", name)
}

// splitName takes a qualified name apart; unquoted parts are folded to lower case.
func splitName(name string) []string {
	var parts []string
	var b strings.Builder
	quoted := false
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c == '"' && quoted && i+1 < len(name) && name[i+1] == '"':
			b.WriteByte('"')
			i++
		case c == '"':
			quoted = !quoted
		case c == '.' && !quoted:
			parts = append(parts, b.String())
			b.Reset()
		case !quoted && c >= 'A' && c <= 'Z':
			b.WriteByte(c + 'a' - 'A')
		default:
			b.WriteByte(c)
		}
	}
	return append(parts, b.String())
}
