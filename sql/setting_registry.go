package sql

import (
	_ "embed"
	"sort"
	"strconv"
	"strings"
)

// The settings of PostgreSQL 15 that a session may see, generated out of its pg_settings.
//
//go:generate go run ./gen -dsn $PGDSN -out ..
//go:embed settings.tsv
var settingsTSV string

// settingDef is one setting's definition.
type settingDef struct {
	Name     string // as PostgreSQL spells it
	Kind     settingKind
	Unit     string
	Context  string
	Category string
	Short    string
	Extra    string
	Boot     string // base units
	Min, Max string
	Enum     []string
	Hidden   bool // not in SHOW ALL and pg_settings
	NoReset  bool // RESET ALL leaves it
	Report   bool // clients are told of changes
	// List settings take several values; Quote quotes them as identifiers.
	List, Quote bool
	// check validates and canonicalises; nil accepts what the kind accepts. It may read the session, not change it.
	check func(s *Session, v string) (string, error)
	// get, if set, computes the value (for what the session knows itself).
	get func(s *Session) string
	// index is the position in settingDefs.
	index int
}

type settingKind uint8

const (
	boolSetting settingKind = iota
	intSetting
	realSetting
	stringSetting
	enumSetting
)

var kindNames = [...]string{"bool", "integer", "real", "string", "enum"}

// ServerVersion is what the server calls itself to drivers: the PostgreSQL release whose behaviour it follows.
const (
	ServerVersion    = "15.0"
	serverVersionNum = "150000"
)

var (
	settingDefs   []*settingDef // sorted by name, ignoring case
	settingByName = map[string]*settingDef{}
)

// reported are the settings PostgreSQL 15 marks GUC_REPORT.
var reported = []string{"application_name", "client_encoding", "DateStyle", "default_transaction_read_only", "in_hot_standby",
	"integer_datetimes", "IntervalStyle", "is_superuser", "server_encoding", "server_version", "session_authorization",
	"standard_conforming_strings", "TimeZone", "pamir.xact_id"}

// ours replaces PostgreSQL's boot values where Pamir differs.
var ours = map[string]string{
	"server_version":                ServerVersion,
	"server_version_num":            serverVersionNum,
	"server_encoding":               "UTF8",
	"client_encoding":               "UTF8",
	"TimeZone":                      "UTC",
	"log_timezone":                  "UTC",
	"lc_collate":                    "C",
	"lc_ctype":                      "C.UTF-8",
	"lc_messages":                   "C",
	"lc_monetary":                   "C",
	"lc_numeric":                    "C",
	"lc_time":                       "C",
	"default_text_search_config":    "pg_catalog.simple",
	"max_stack_depth":               "2048",
	"default_transaction_isolation": "serializable",
	"transaction_isolation":         "serializable",
	"max_prepared_transactions":     "1000",
	"max_connections":               "1000",
	"jit":                           "off",
	"autovacuum":                    "on",
	"ssl":                           "off",
	"ssl_library":                   "",
	"debug_assertions":              "off",
}

// clusterContext is the context of settings that hold for the whole cluster.
const clusterContext = "cluster"

// pamirSettings are our own.
var pamirSettings = []settingDef{
	{Name: "pamir.statement_memory", Kind: intSetting, Unit: "kB", Context: "user", Boot: "65536", Min: "64", Max: "2147483647",
		Short: "Sets the memory a statement may use before it spills to disk or fails."},
	{Name: "pamir.max_retries", Kind: intSetting, Context: "user", Boot: "50", Min: "0", Max: "100000",
		Short: "Sets how often the server runs a transaction again before it reports a serialization failure."},
	{Name: "transaction_timeout", Kind: intSetting, Unit: "ms", Context: "user", Boot: "0", Min: "0", Max: "2147483647",
		Short: "Sets the maximum allowed duration of any transaction within a session (as PostgreSQL 17)."},
	{Name: "pamir.report_xact_id", Kind: boolSetting, Context: "user", Boot: "off",
		Short: "Reports the id of the next transaction that writes, before it begins, so that its outcome can be asked for."},
	{Name: "pamir.xact_id", Kind: stringSetting, Context: "internal", Boot: "",
		Short: "Shows the id of this transaction, or of the next, if pamir.report_xact_id is on."},
	{Name: "pamir.hba", Kind: stringSetting, Context: clusterContext, Boot: "",
		Short: "Sets the rules of who may connect from where and how, in the form of pg_hba.conf; empty: the default rules."},
	{Name: "pamir.read_as_of", Kind: stringSetting, Context: "user", Boot: "",
		Short: "Reads the database as of a past time: an interval before now ('-5s') or a timestamp. Transactions are read-only then."},
}

func init() {
	for _, line := range strings.Split(strings.TrimSuffix(settingsTSV, "\n"), "\n") {
		f := strings.Split(line, "\t")
		d := &settingDef{Name: f[0], Unit: f[2], Context: f[3], Category: f[4], Short: f[5], Extra: f[6], Boot: f[7], Min: f[8], Max: f[9]}
		for k, n := range kindNames {
			if n == f[1] {
				d.Kind = settingKind(k)
			}
		}
		if f[10] != "" {
			d.Enum = strings.Split(f[10], ",")
		}
		d.NoReset = strings.Contains(f[11], "NO_RESET_ALL")
		d.Hidden = strings.Contains(f[11], "NO_SHOW_ALL")
		addSetting(d)
	}
	for i := range pamirSettings {
		d := &pamirSettings[i]
		d.Category = "Pamir"
		addSetting(d)
	}
	addSetting(&settingDef{Name: "is_superuser", Kind: boolSetting, Context: "internal", Hidden: true, Boot: "off", get: func(s *Session) string { return onOff(s.superuserNow()) }})
	addSetting(&settingDef{Name: "session_authorization", Kind: stringSetting, Context: "user", Hidden: true, NoReset: true, check: checkAuthorization, get: func(s *Session) string { return s.sessionUser }})
	addSetting(&settingDef{Name: "role", Kind: stringSetting, Context: "user", Hidden: true, NoReset: true, Boot: "none", check: checkRole})
	addSetting(&settingDef{Name: "seed", Kind: realSetting, Context: "user", Hidden: true, NoReset: true, Boot: "0", Min: "-1", Max: "1", get: func(*Session) string { return "unavailable" }})
	addSetting(&settingDef{Name: "default_with_oids", Kind: boolSetting, Context: "user", Hidden: true, NoReset: true, Boot: "off", check: checkOff})

	for name, v := range ours {
		settingByName[strings.ToLower(name)].Boot = v
	}
	for _, name := range reported {
		settingByName[strings.ToLower(name)].Report = true
	}
	set := func(name string, f func(d *settingDef)) { f(settingByName[strings.ToLower(name)]) }
	set("search_path", func(d *settingDef) { d.List, d.Quote, d.check = true, true, checkSearchPath })
	set("DateStyle", func(d *settingDef) { d.List, d.check = true, checkDateStyle })
	for _, n := range []string{"temp_tablespaces", "session_preload_libraries", "local_preload_libraries"} {
		set(n, func(d *settingDef) { d.List, d.Quote = true, true })
	}
	set("TimeZone", func(d *settingDef) { d.check = checkTimeZone })
	set("client_encoding", func(d *settingDef) { d.check = checkEncoding })
	set("application_name", func(d *settingDef) { d.check = checkApplicationName })
	set("pamir.xact_id", func(d *settingDef) { d.get = (*Session).announceXactID })
	set("pamir.read_as_of", func(d *settingDef) { d.check = checkReadAsOf })
	set("standard_conforming_strings", func(d *settingDef) { d.check = checkOn })
	set("lc_messages", func(d *settingDef) { d.Context = "user" })
	for _, n := range []string{"transaction_isolation", "transaction_read_only", "transaction_deferrable"} {
		set(n, func(d *settingDef) { d.get = func(s *Session) string { return s.txnSetting(n) } })
	}
	set("ssl", func(d *settingDef) { d.get = func(s *Session) string { return onOff(s.srv.cfg.Certificates) } })
	set("pamir.hba", func(d *settingDef) {
		d.get = func(s *Session) string { return s.knownAccess.Cluster[d.Name] }
		d.check = checkHBA
	})
	sort.Slice(settingDefs, func(i, j int) bool {
		return strings.ToLower(settingDefs[i].Name) < strings.ToLower(settingDefs[j].Name)
	})
	for i, d := range settingDefs {
		d.index = i
		if d.Kind == enumSetting {
			d.Boot = strings.ToLower(d.Boot)
		}
		if d.Name == "data_directory_mode" {
			d.Boot = "448"
		}
		if d.Kind == intSetting {
			if _, err := strconv.ParseInt(d.Boot, 10, 64); err != nil {
				panic("sql: boot value of setting " + d.Name + ": " + d.Boot)
			}
		}
	}
}

func addSetting(d *settingDef) {
	settingDefs = append(settingDefs, d)
	settingByName[strings.ToLower(d.Name)] = d
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}
