package sql

import (
	"strconv"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// Protected timestamps: what was current at one of them stays readable until it expires, however old it grows.

// ClusterProtection is a protected timestamp as pamir.protected_timestamps shows it.
type ClusterProtection struct {
	ID               int64
	At               hlc.Timestamp
	Spans            string
	Owner            string
	Created, Expires time.Time
}

// Protect implements builtin.Operator.
func (s *Session) Protect(lifetime types.Interval, snapshot string) (int64, error) {
	c, err := s.cluster()
	if err != nil {
		return 0, err
	}
	var at hlc.Timestamp
	if snapshot != "" {
		ok := false
		if at, ok = parseSnapshot(snapshot); !ok || s.srv.cfg.Gateway.Clock().Now().Less(at) {
			return 0, pgerr.New(pgerr.InvalidParameterValue, "invalid snapshot identifier: \"%s\"", snapshot)
		}
	}
	id, err := c.Protect(s.ctx, at, lifetimeOf(lifetime), s.user)
	return id, protectError(err)
}

// ExtendProtection implements builtin.Operator.
func (s *Session) ExtendProtection(id int64, lifetime types.Interval) error {
	c, err := s.cluster()
	if err != nil {
		return err
	}
	return protectError(c.ExtendProtection(s.ctx, id, lifetimeOf(lifetime)))
}

// Unprotect implements builtin.Operator.
func (s *Session) Unprotect(id int64) (bool, error) {
	c, err := s.cluster()
	if err != nil {
		return false, err
	}
	return c.Unprotect(s.ctx, id)
}

func lifetimeOf(i types.Interval) time.Duration {
	const most = 1 << 20 // days: far beyond what is allowed, and no overflow
	days := min(max(int64(i.Months)*30+int64(i.Days), -most), most)
	micros := min(max(i.Micros, -most*86400e6), most*86400e6)
	if h := days*24 + micros/3600e6; h > 1<<20 || h < 0 {
		return time.Duration(min(max(h, -1), 1<<20)) * time.Hour
	}
	return time.Duration(days)*24*time.Hour + time.Duration(micros)*time.Microsecond
}

func protectError(err error) error {
	switch {
	case kv.HasCode(err, kv.CodeReadBelowGC):
		return pgerr.New(pgerr.SnapshotTooOld, "%s", kv.AsError(err).Message).
			WithHint("Protect a snapshot right after it was exported, or protect first and read at the snapshot that pamir.protected_timestamps shows.")
	case kv.HasCode(err, kv.CodeBadRequest):
		return pgerr.New(pgerr.InvalidParameterValue, "%s", kv.AsError(err).Message)
	}
	return err
}

func (s *Session) protectionRows(c Cluster) ([][]*string, error) {
	list, err := c.Protections(s.ctx)
	if err != nil {
		return nil, err
	}
	env := s.fnctx.TextEnv()
	when := func(t time.Time) *string {
		return str(string(types.AppendDatumText(nil, types.Of(types.TimestamptzOID), types.NewInt(pgMicros(t)), env)))
	}
	var rows [][]*string
	for _, p := range list {
		rows = append(rows, []*string{str(strconv.FormatInt(p.ID, 10)), when(p.At.GoTime()), str(snapshotName(p.At)), str(p.Spans),
			str(p.Owner), when(p.Created), when(p.Expires)})
	}
	return rows, nil
}
