package sql

import (
	"strings"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// readAsOf turns pamir.read_as_of into a timestamp: an interval is relative to now, anything else is a timestamptz.
func (s *Session) readAsOf(v string) (hlc.Timestamp, error) {
	now := s.srv.cfg.Gateway.Clock().Now()
	wall, err := asOf(s, v, time.Unix(0, now.WallTime))
	if err != nil {
		return hlc.Timestamp{}, err
	}
	if !wall.Before(time.Unix(0, now.WallTime)) {
		return hlc.Timestamp{}, pgerr.New(pgerr.InvalidParameterValue, "pamir.read_as_of must be in the past")
	}
	return hlc.Timestamp{WallTime: wall.UnixNano()}, nil
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
		return now.AddDate(0, int(iv.Months), int(iv.Days)).Add(time.Duration(iv.Micros) * time.Microsecond), nil
	}
	d, err := types.ParseText(types.Of(types.TimestamptzOID), []byte(v), env)
	if err != nil {
		return time.Time{}, err
	}
	return time.UnixMicro(d.I + pgEpoch), nil
}

func checkReadAsOf(s *Session, v string) (string, error) {
	if v == "" {
		return v, nil
	}
	if _, err := asOf(s, v, time.Now()); err != nil {
		return "", settingByName["pamir.read_as_of"].invalid(v).WithHint("Give an interval before now, such as '-5s', or a timestamp.")
	}
	return v, nil
}
