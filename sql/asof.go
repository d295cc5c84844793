package sql

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/setting"
	"github.com/pamirdb/pamir/sql/types"
)

// readAsOf turns pamir.read_as_of into a timestamp: an interval is relative to now, anything else is a timestamptz. With two
// dots at its end ('-10s..') it is the oldest time that will do: then it is the latest that the replicas of this node can serve.
func (s *Session) readAsOf(v string) (hlc.Timestamp, error) {
	now := s.srv.cfg.Gateway.Clock().Now()
	exact, bounded := strings.CutSuffix(strings.TrimSpace(v), "..")
	wall, err := asOf(s, exact, time.Unix(0, now.WallTime))
	if err != nil {
		return hlc.Timestamp{}, err
	}
	if !wall.Before(time.Unix(0, now.WallTime)) {
		return hlc.Timestamp{}, pgerr.New(pgerr.InvalidParameterValue, "pamir.read_as_of must be in the past")
	}
	// What is before 1970, which nanoseconds may not be able to say, is older than any version, as the first of them is.
	ts := hlc.Timestamp{WallTime: 1}
	if wall.Unix() > 0 {
		ts.WallTime = wall.UnixNano()
	}
	if bounded && s.srv.cfg.Closed != nil {
		if closed := s.srv.cfg.Closed(); closed.Less(now) {
			ts = ts.Forward(closed)
		}
	}
	return ts, nil
}

// Exported snapshots (pg_export_snapshot, SET TRANSACTION SNAPSHOT) are timestamps: they are good on every node, and as long as the versions
// are kept, whatever becomes of the transaction that exported them.

func snapshotName(ts hlc.Timestamp) string {
	return fmt.Sprintf("%016X-%08X-1", uint64(ts.WallTime), uint32(ts.Logical))
}

func parseSnapshot(name string) (ts hlc.Timestamp, ok bool) {
	var wall uint64
	var logical uint32
	if len(name) != 27 {
		return ts, false
	}
	if n, err := fmt.Sscanf(name, "%16X-%8X-1", &wall, &logical); err != nil || n != 2 {
		return ts, false
	}
	ts = hlc.Timestamp{WallTime: int64(wall), Logical: logical}
	return ts, snapshotName(ts) == name && ts.WallTime > 0
}

// exportSnapshot is pg_export_snapshot. A read-only transaction of one snapshot reads at exactly the exported timestamp from its next statement
// on, however clocks differ, so that it and those who import it see the same.
func (s *Session) exportSnapshot() (string, error) {
	if len(s.saves) > 0 {
		return "", pgerr.New(pgerr.ActiveSQLTransaction, "cannot export a snapshot from a subtransaction")
	}
	if err := s.ensureTxn(s.ctx); err != nil {
		return "", err
	}
	ts := s.tx.ReadTimestamp()
	if !s.readOnly() {
		ts = ts.Prev() // it may come to commit at this very timestamp, and nobody is to see that here
	}
	if s.block == blockOpen && s.readOnly() && s.opts.Isolation != kv.ReadCommitted && s.opts.ReadAsOf.IsEmpty() {
		s.pinned = ts
		s.log.bar("it exported a snapshot")
	}
	s.exported = true
	return snapshotName(ts), nil
}

// pin makes the transaction one that reads the snapshot it has exported. What it has read so far was true then, too.
func (s *Session) pin(ctx context.Context) error {
	if err := s.settlePortals(ctx); err != nil {
		return err
	}
	s.tx.Rollback(ctx)
	s.opts.ReadAsOf, s.opts.ReadOnly = s.pinned, true
	s.tx = s.srv.cfg.Gateway.Begin(ctx, s.opts)
	s.snap, s.pinned = nil, hlc.Timestamp{}
	s.uses.Reset()
	return nil
}

// importSnapshot is SET TRANSACTION SNAPSHOT.
func (s *Session) importSnapshot(name string) error {
	t := s.txnOptions()
	if s.block == blockIdle {
		return pgerr.New(pgerr.NoActiveSQLTransaction, "SET TRANSACTION SNAPSHOT can only be used in transaction blocks")
	}
	if s.txUsed || len(s.saves) > 0 {
		return pgerr.New(pgerr.ActiveSQLTransaction, "SET TRANSACTION SNAPSHOT must be called before any query")
	}
	if t.isolation != "serializable" && t.isolation != "repeatable read" {
		return pgerr.New(pgerr.FeatureNotSupported, "a snapshot-importing transaction must have isolation level SERIALIZABLE or REPEATABLE READ")
	}
	ts, ok := parseSnapshot(name)
	if !ok || s.srv.cfg.Gateway.Clock().Now().Less(ts) {
		return pgerr.New(pgerr.InvalidParameterValue, "invalid snapshot identifier: \"%s\"", name)
	}
	if s.tx != nil { // begun to look at the catalog, and nothing else
		s.tx.Rollback(s.ctx)
		s.tx, s.snap = nil, nil
		s.uses.Reset()
	}
	t.set, t.snapshot, t.readOnly = true, ts, true
	s.setOpts = t
	return nil
}

func init() {
	builtin.RegisterKernel("pg_export_snapshot", sessionKernel(func(s *Session, _ []types.Datum) (types.Datum, error) {
		name, err := s.exportSnapshot()
		return types.NewString(name), err
	}))
}

func asOf(s *Session, v string, now time.Time) (time.Time, error) {
	env := types.DefaultEnv
	if s != nil && s.effects.env != nil {
		env = s.effects.env
	}
	if t := strings.TrimSpace(v); strings.HasPrefix(t, "-") {
		d, err := types.ParseText(types.Of(types.IntervalOID), []byte(t), env)
		if err != nil {
			return time.Time{}, err
		}
		iv := d.Interval()
		then := now.AddDate(0, int(iv.Months), int(iv.Days))
		// In two steps: a time.Duration holds 292 years.
		return time.Unix(then.Unix()+iv.Micros/1e6, int64(then.Nanosecond())+iv.Micros%1e6*1e3), nil
	}
	d, err := types.ParseText(types.Of(types.TimestamptzOID), []byte(v), env)
	if err != nil {
		return time.Time{}, err
	}
	if d.I == math.MaxInt64 || d.I == math.MinInt64 {
		return time.Time{}, pgerr.New(pgerr.DatetimeFieldOverflow, "timestamp out of range: \"%s\"", v)
	}
	return time.UnixMicro(d.I + pgEpoch), nil
}

func checkReadAsOf(s *Session, d *setting.Def, v string) (string, error) {
	if v == "" {
		return v, nil
	}
	if _, err := asOf(s, strings.TrimSuffix(strings.TrimSpace(v), ".."), time.Now()); err != nil {
		return "", d.Invalid(v).WithHint("Give an interval before now, such as '-5s', or a timestamp; with two dots at its end ('-10s..') anything later will do.")
	}
	return v, nil
}
