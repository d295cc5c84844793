package sql

import (
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/pgcatalog"
	"github.com/pamirdb/pamir/sql/setting"
	"github.com/pamirdb/pamir/sql/types"
)

// Session is a pgcatalog.Session: the system relations and their functions ask it.
var _ pgcatalog.Session = (*Session)(nil)

// Overlay is the catalog as the session's transaction sees it, with the system relations. What is asked of it is not noted for the commit.
func (s *Session) Overlay() (*pgcatalog.Overlay, error) {
	snap, err := s.snapshot(s.ctx)
	if err != nil {
		return nil, err
	}
	o, _ := pgcatalog.OverlayOf(snap)
	return o, nil
}

// Superuser reports whether the user is one.
func (s *Session) Superuser() bool { return s.superuserNow() }

// overlay puts the system relations over a snapshot. Overlays of committed versions are shared.
func (srv *Server) overlay(snap catalog.Snapshot, own bool) *pgcatalog.Overlay {
	env := pgcatalog.Env{Database: srv.cfg.Database, Sizes: srv.sizes}
	if own {
		return pgcatalog.NewOverlay(snap, env)
	}
	if o := srv.lastOverlay.Load(); o != nil && o.Snapshot == snap {
		return o
	}
	o := pgcatalog.NewOverlay(snap, env)
	srv.lastOverlay.Store(o)
	return o
}

// VirtualRows yields the relations that depend on the session or the moment, as text.
func (s *Session) VirtualRows(table string) ([][]*string, bool) {
	switch table {
	case "pg_settings":
		return s.settingRows(), true
	case "pg_hba_file_rules":
		return s.hbaRows(), true
	case "pg_stat_activity":
		return s.activityRows(), true
	case "pg_stat_ssl":
		return s.encryptionRows(), true
	case "pg_stat_database":
		return s.databaseRows(), true
	case "pg_locks":
		return s.lockRows(), true
	case "pg_prepared_xacts":
		return s.preparedXactRows(), true
	case "pg_prepared_statements":
		return s.preparedRows(), true
	case "pg_sequences":
		return s.sequenceRows(), true
	case "pg_cursors":
		return s.cursorRows(), true
	case "pg_timezone_names":
		return zoneRows(), true
	}
	return nil, false
}

func str(v string) *string { return &v }

// opt is nil for an empty string.
func opt(v string) *string {
	if v == "" {
		return nil
	}
	return &v
}

func (s *Session) settingRows() [][]*string {
	var rows [][]*string
	for _, d := range setting.All() {
		if d.Hidden {
			continue
		}
		var enum *string
		if d.Enum != nil {
			enum = str("{" + strings.Join(d.Enum, ",") + "}")
		}
		v := s.settings.Value(d)
		setting := &v
		if d.Name == "data_directory_mode" {
			setting = str("0700")
		}
		rows = append(rows, []*string{str(d.Name), setting, opt(d.Unit), str(d.Category), str(d.Short), opt(d.Extra), str(d.Context), str(d.Kind.String()),
			str(s.settings.Source(d)), opt(d.Min), opt(d.Max), enum, str(d.Boot), str(s.settings.ResetValue(d)), nil, nil, str("f")})
	}
	for n, v := range s.settings.Custom() {
		rows = append(rows, []*string{str(n), str(v), nil, str("Customized Options"), str(""), nil, str("user"), str("string"), str("session"), nil, nil, nil,
			str(""), str(""), nil, nil, str("f")})
	}
	return rows
}

func stamp(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	return str(t.UTC().Format("2006-01-02 15:04:05.999999+00"))
}

func pgBool(b bool) *string {
	if b {
		return str("t")
	}
	return str("f")
}

func (s *Session) preparedRows() [][]*string {
	names := make([]string, 0, len(s.stmts))
	for n := range s.stmts {
		names = append(names, n)
	}
	sort.Strings(names)
	var rows [][]*string
	for _, n := range names {
		p := s.stmts[n]
		ts := make([]string, len(p.params))
		for i, t := range p.params {
			ts[i] = types.FormatType(t)
			if strings.ContainsAny(ts[i], " ,{}\"") {
				ts[i] = `"` + ts[i] + `"`
			}
		}
		rows = append(rows, []*string{str(n), str(p.text), stamp(p.made), str("{" + strings.Join(ts, ",") + "}"), pgBool(p.sql), str(strconv.Itoa(p.generic)), str("0")})
	}
	return rows
}

func (s *Session) cursorRows() [][]*string {
	names := make([]string, 0, len(s.portals))
	for n := range s.portals {
		names = append(names, n)
	}
	sort.Strings(names)
	var rows [][]*string
	for _, n := range names {
		p := s.portals[n]
		d := p.decl
		if d == nil {
			d = &declared{text: p.stmt.text}
		}
		rows = append(rows, []*string{str(n), str(d.text), pgBool(d.hold), pgBool(d.binary), pgBool(d.scroll), stamp(p.made)})
	}
	return rows
}

// zoneRows lists the zones that are asked for most; SET TIME ZONE knows them all.
func zoneRows() [][]*string {
	var rows [][]*string
	now := time.Now()
	for _, name := range []string{"UTC", "GMT", "Europe/London", "Europe/Berlin", "Europe/Paris", "Europe/Zurich", "Europe/Moscow", "America/New_York", "America/Chicago",
		"America/Denver", "America/Los_Angeles", "America/Sao_Paulo", "Asia/Tokyo", "Asia/Shanghai", "Asia/Kolkata", "Asia/Dushanbe", "Australia/Sydney", "Africa/Cairo"} {
		loc, err := time.LoadLocation(name)
		if err != nil {
			continue
		}
		abbrev, off := now.In(loc).Zone()
		rows = append(rows, []*string{str(name), str(abbrev), str(strconv.Itoa(off) + " seconds"), pgBool(now.In(loc).IsDST())})
	}
	return rows
}
