package sql

import (
	"math"
	"strconv"
	"time"

	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/setting"
	"github.com/pamirdb/pamir/sql/types"
)

// serverStarted is when this process began to serve.
var serverStarted = time.Now()

// sleep waits, unless the statement is cancelled.
func (s *Session) sleep(seconds float64) error {
	if seconds <= 0 || math.IsNaN(seconds) {
		return nil
	}
	t := time.NewTimer(time.Duration(min(seconds, 86400*365) * float64(time.Second)))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-s.ctx.Done():
		return s.translate(s.ctx.Err())
	}
}

// sizePretty is pg_size_pretty.
func sizePretty(n int64) string {
	units := []string{"bytes", "kB", "MB", "GB", "TB", "PB"}
	limit := int64(10 * 1024)
	neg := n < 0
	x := n
	if neg {
		x = -x
	}
	if x < limit {
		return strconv.FormatInt(n, 10) + " bytes"
	}
	// Twice the value in the unit, so that halves round up.
	x >>= 9
	i := 1
	for ; i < len(units)-1 && x >= 2*limit-1; i++ {
		x >>= 10
	}
	x = (x + 1) / 2
	if neg {
		x = -x
	}
	return strconv.FormatInt(x, 10) + " " + units[i]
}

func init() {
	type fn = func(s *Session, a []types.Datum) (types.Datum, error)
	constant := func(d types.Datum) fn { return func(*Session, []types.Datum) (types.Datum, error) { return d, nil } }
	no, zero, null := types.NewBool(false), types.NewInt(0), types.NullDatum
	emptyInts := types.NewArray(&types.Array{Elem: types.Int4OID})
	for source, f := range map[string]fn{
		"pg_is_in_recovery":              constant(no),
		"pg_jit_available":               constant(no),
		"row_security_active":            constant(no),
		"row_security_active_name":       constant(no),
		"pg_reload_conf":                 constant(types.NewBool(true)),
		"pg_trigger_depth":               constant(zero),
		"pg_my_temp_schema":              constant(zero),
		"pg_stat_reset":                  constant(zero),
		"pg_stat_clear_snapshot":         constant(zero),
		"pg_safe_snapshot_blocking_pids": constant(emptyInts),
		"pg_encoding_max_length_sql": func(_ *Session, a []types.Datum) (types.Datum, error) {
			if a[0].I == 6 {
				return types.NewInt(4), nil
			}
			return null, nil
		},
		"PG_char_to_encoding": func(_ *Session, a []types.Datum) (types.Datum, error) {
			if _, err := setting.Encoding(string(a[0].B)); err != nil {
				return types.NewInt(-1), nil
			}
			return types.NewInt(6), nil
		},
		"pg_postmaster_start_time": func(*Session, []types.Datum) (types.Datum, error) { return types.NewInt(pgMicros(serverStarted)), nil },
		"pg_conf_load_time":        func(*Session, []types.Datum) (types.Datum, error) { return types.NewInt(pgMicros(serverStarted)), nil },
		"pg_size_pretty": func(_ *Session, a []types.Datum) (types.Datum, error) {
			return types.NewString(sizePretty(a[0].I)), nil
		},
		"pg_blocking_pids": func(s *Session, a []types.Datum) (types.Datum, error) { return s.blockingPIDs(int32(a[0].I)) },
		"pg_cancel_backend": func(s *Session, a []types.Datum) (types.Datum, error) {
			return s.signal(int32(a[0].I), SignalCancel)
		},
		"pg_terminate_backend": func(s *Session, a []types.Datum) (types.Datum, error) {
			var wait int64
			if len(a) > 1 {
				wait = a[1].I
			}
			return s.terminate(int32(a[0].I), wait)
		},
		"pg_sleep_for(interval)": func(s *Session, a []types.Datum) (types.Datum, error) {
			iv := a[0].Interval()
			return zero, s.sleep(float64(iv.Micros)/1e6 + 86400*(float64(iv.Days)+30*float64(iv.Months)))
		},
		"pg_sleep_until(timestamptz)": func(s *Session, a []types.Datum) (types.Datum, error) {
			return zero, s.sleep(float64(a[0].I-pgMicros(time.Now())) / 1e6)
		},
	} {
		builtin.RegisterKernel(source, sessionKernel(f))
	}
}
