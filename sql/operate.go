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
	"github.com/pamirdb/pamir/sql/types"
	"github.com/pamirdb/pamir/sql/verb"
)

// Cluster is what the functions of schema pamir operate on; the node assembly implements it.
type Cluster interface {
	// SplitAt cuts the range that holds key there and returns the range that begins at key.
	SplitAt(ctx context.Context, key keys.Key) (kv.RangeID, error)
	// MergeAt takes such a cut back, and returns the range that holds key then.
	MergeAt(ctx context.Context, key keys.Key) (kv.RangeID, error)
	// Ranges lists every range, in key order.
	Ranges(ctx context.Context) ([]ClusterRange, error)
	// Operate carries a verb out in the name of a user, and waits unless its function returns when it has begun. Look answers a verb as rows of
	// texts, by its columns.
	Operate(ctx context.Context, user string, v *verb.Verb, a verb.Args) (verb.Outcome, error)
	Look(ctx context.Context, v *verb.Verb, a verb.Args) ([][]*string, error)
	Observer

	// CheckRule refuses options of a placement rule, by name, that make no sense; of is "table t" or "index i", set are the options that are being set. SetRule sets one
	// of the cluster's rule; an empty value resets it. Both return what cannot hold with the nodes there are. Rules lists all rules: the cluster's, and those of
	// tables and indexes.
	CheckRule(of string, options map[string]string, set []string) (warnings []string, err error)
	SetRule(ctx context.Context, option, value string) (warnings []string, err error)
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

// clusterToChange is cluster for what a read-only transaction must not do. (It may protect what it reads.)
func (s *Session) clusterToChange() (Cluster, error) {
	c, err := s.cluster()
	if err == nil && s.readOnly() {
		err = pgerr.New(pgerr.ReadOnlySQLTransaction, "cannot change the cluster in a read-only transaction")
	}
	return c, err
}

// SplitAt implements builtin.Operator.
func (s *Session) SplitAt(relation string, values []types.Datum, of []types.Type) (int64, error) {
	return s.atRow(Cluster.SplitAt, relation, values, of)
}

// MergeAt implements builtin.Operator.
func (s *Session) MergeAt(relation string, values []types.Datum, of []types.Type) (int64, error) {
	return s.atRow(Cluster.MergeAt, relation, values, of)
}

// atRow does something at the key of a row.
func (s *Session) atRow(do func(Cluster, context.Context, keys.Key) (kv.RangeID, error), relation string, values []types.Datum, of []types.Type) (int64, error) {
	c, err := s.clusterToChange()
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
	key, err := rowKey(t, len(values), func(i int, col types.Type) (types.Datum, error) {
		if of[i].OID == col.OID {
			return values[i], nil
		}
		// As if it had been written as a literal.
		env := s.fnctx.TextEnv()
		return types.ParseText(col, types.AppendDatumText(nil, of[i], values[i], env), env)
	})
	if err != nil {
		return 0, err
	}
	id, err := do(c, s.ctx, key)
	return int64(id), err
}

// Operate implements builtin.Operator.
func (s *Session) Operate(v *verb.Verb, a verb.Args) (verb.Outcome, error) {
	get := s.cluster
	if v.Changes() {
		get = s.clusterToChange
	}
	c, err := get()
	if err != nil {
		return verb.Outcome{}, err
	}
	return c.Operate(s.ctx, s.user, v, a)
}

// Look implements builtin.Operator.
func (s *Session) Look(v *verb.Verb, a verb.Args) ([][]*string, error) {
	c := s.srv.cfg.Cluster
	if c == nil {
		return nil, nil
	}
	if !s.hasRole(role.Viewer) {
		return nil, pgerr.New(pgerr.InsufficientPrivilege, "permission denied to look at the cluster").
			WithHint("The role must be a member of \"%s\".", role.Viewer)
	}
	return c.Look(s.ctx, v, a)
}

// SetRule implements builtin.Operator.
func (s *Session) SetRule(option, value string) error {
	c, err := s.clusterToChange()
	if err != nil {
		return err
	}
	warnings, err := c.SetRule(s.ctx, option, value)
	if err != nil {
		if kv.HasCode(err, kv.CodeBadRequest) {
			return pgerr.New(pgerr.InvalidParameterValue, "placement rule: %s", kv.AsError(err).Message)
		}
		return err
	}
	for _, w := range warnings {
		s.warn("01000", "placement rule: %s", w)
	}
	return nil
}

// namedRelation looks a relation up by a name as a person writes it: name, schema.name, with quotes where needed.
func (s *Session) namedRelation(snap catalog.Snapshot, name string) (*catalog.Table, error) {
	return relationNamed(snap, s.SearchPath(), name)
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
