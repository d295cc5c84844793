package setting

import (
	_ "embed"
	"sort"
	"strconv"
	"strings"
)

// The settings of PostgreSQL 15 that a session may see, generated out of its pg_settings.
//
//go:generate go run ./gen -dsn $PGDSN -out ../..
//go:embed settings.tsv
var settingsTSV string

// Def is one setting's definition.
type Def struct {
	Name     string // as PostgreSQL spells it
	Kind     Kind
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
	// Known: the owner of the values knows it (Owner.Known); Checked: it has a say in what is valid (Owner.Check).
	Known, Checked bool
	// check validates and canonicalises; nil accepts what the kind accepts.
	check func(c *Values, v string) (string, error)
}

// Kind is the type of a setting's values.
type Kind uint8

const (
	Bool Kind = iota
	Int
	Real
	String
	Enum
)

var kindNames = [...]string{"bool", "integer", "real", "string", "enum"}

func (k Kind) String() string { return kindNames[k] }

// ServerVersion is what the server calls itself to drivers: the PostgreSQL release whose behaviour it follows.
const (
	ServerVersion    = "15.0"
	serverVersionNum = "150000"
)

var (
	defs   []*Def // sorted by name, ignoring case
	byName = map[string]*Def{}
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

// ClusterContext is the context of settings that hold for the whole cluster.
const ClusterContext = "cluster"

// pamirSettings are our own.
var pamirSettings = []Def{
	{Name: "pamir.statement_memory", Kind: Int, Unit: "kB", Context: "user", Boot: "65536", Min: "64", Max: "2147483647",
		Short: "Sets the memory a statement may use before it spills to disk or fails."},
	{Name: "pamir.max_retries", Kind: Int, Context: "user", Boot: "50", Min: "0", Max: "100000",
		Short: "Sets how often the server runs a transaction again before it reports a serialization failure."},
	{Name: "pamir.lock_reads", Kind: Enum, Context: "user", Boot: "auto", Enum: []string{"auto", "off"},
		Short: "Lets reads by key lock their rows for a while after transactions that read so, and wrote what they had read, have collided."},
	{Name: "transaction_timeout", Kind: Int, Unit: "ms", Context: "user", Boot: "0", Min: "0", Max: "2147483647",
		Short: "Sets the maximum allowed duration of any transaction within a session (as PostgreSQL 17)."},
	{Name: "pamir.report_xact_id", Kind: Bool, Context: "user", Boot: "off",
		Short: "Reports the id of the next transaction that writes, before it begins, so that its outcome can be asked for."},
	{Name: "pamir.xact_id", Kind: String, Context: "internal", Boot: "",
		Short: "Shows the id of this transaction, or of the next, if pamir.report_xact_id is on."},
	{Name: "pamir.hba", Kind: String, Context: ClusterContext, Boot: "",
		Short: "Sets the rules of who may connect from where and how, in the form of pg_hba.conf; empty: the default rules."},
	{Name: "pamir.read_as_of", Kind: String, Context: "user", Boot: "",
		Short: "Reads the database as of a past time: an interval before now ('-5s') or a timestamp. Transactions are read-only then."},
}

func init() {
	for _, line := range strings.Split(strings.TrimSuffix(settingsTSV, "\n"), "\n") {
		f := strings.Split(line, "\t")
		d := &Def{Name: f[0], Unit: f[2], Context: f[3], Category: f[4], Short: f[5], Extra: f[6], Boot: f[7], Min: f[8], Max: f[9]}
		for k, n := range kindNames {
			if n == f[1] {
				d.Kind = Kind(k)
			}
		}
		if f[10] != "" {
			d.Enum = strings.Split(f[10], ",")
		}
		d.NoReset = strings.Contains(f[11], "NO_RESET_ALL")
		d.Hidden = strings.Contains(f[11], "NO_SHOW_ALL")
		add(d)
	}
	for i := range pamirSettings {
		d := &pamirSettings[i]
		d.Category = "Pamir"
		add(d)
	}
	add(&Def{Name: "is_superuser", Kind: Bool, Context: "internal", Hidden: true, Boot: "off", Known: true})
	add(&Def{Name: "session_authorization", Kind: String, Context: "user", Hidden: true, NoReset: true, Known: true, Checked: true})
	add(&Def{Name: "role", Kind: String, Context: "user", Hidden: true, NoReset: true, Boot: "none", Checked: true})
	add(&Def{Name: "seed", Kind: Real, Context: "user", Hidden: true, NoReset: true, Boot: "0", Min: "-1", Max: "1", Known: true})
	add(&Def{Name: "default_with_oids", Kind: Bool, Context: "user", Hidden: true, NoReset: true, Boot: "off", check: checkOff})

	for name, v := range ours {
		d := byName[strings.ToLower(name)]
		d.Boot = v
		if name == "server_version_num" {
			d.Min, d.Max = v, v
		}
	}
	for _, name := range reported {
		byName[strings.ToLower(name)].Report = true
	}
	set := func(name string, f func(d *Def)) { f(byName[strings.ToLower(name)]) }
	set("search_path", func(d *Def) { d.List, d.Quote, d.check = true, true, checkSearchPath })
	set("DateStyle", func(d *Def) { d.List, d.check = true, checkDateStyle })
	for _, n := range []string{"temp_tablespaces", "session_preload_libraries", "local_preload_libraries"} {
		set(n, func(d *Def) { d.List, d.Quote = true, true })
	}
	set("TimeZone", func(d *Def) { d.check = checkTimeZone })
	set("client_encoding", func(d *Def) { d.check = func(_ *Values, v string) (string, error) { return Encoding(v) } })
	set("application_name", func(d *Def) { d.check = checkApplicationName })
	set("pamir.xact_id", func(d *Def) { d.Known = true })
	set("pamir.read_as_of", func(d *Def) { d.Checked = true })
	set("standard_conforming_strings", func(d *Def) { d.check = checkOn })
	set("lc_messages", func(d *Def) { d.Context = "user" })
	for _, n := range []string{"transaction_isolation", "transaction_read_only", "transaction_deferrable"} {
		set(n, func(d *Def) { d.Known = true })
	}
	set("ssl", func(d *Def) { d.Known = true })
	set("pamir.hba", func(d *Def) { d.Known, d.Checked = true, true })
	sort.Slice(defs, func(i, j int) bool {
		return strings.ToLower(defs[i].Name) < strings.ToLower(defs[j].Name)
	})
	for _, d := range defs {
		if d.Kind == Enum {
			d.Boot = strings.ToLower(d.Boot)
		}
		if d.Name == "data_directory_mode" {
			d.Boot = "448"
		}
		if d.Kind == Int {
			if _, err := strconv.ParseInt(d.Boot, 10, 64); err != nil {
				panic("setting: boot value of setting " + d.Name + ": " + d.Boot)
			}
		}
	}
}

// All returns the settings, sorted by name.
func All() []*Def { return defs }

// Find returns a setting by its name in any case, nil if there is none.
func Find(name string) *Def { return byName[strings.ToLower(name)] }

func add(d *Def) {
	defs = append(defs, d)
	byName[strings.ToLower(d.Name)] = d
}

// OnOff is the canonical form of a Boolean value.
func OnOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}
