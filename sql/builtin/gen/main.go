package main

import (
	"bytes"
	"compress/gzip"
	"database/sql"
	"flag"
	"fmt"
	"go/format"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	_ "github.com/lib/pq"
)

// catalogs to write, with a condition that keeps out what is not the same everywhere.
var catalogs = []struct{ name, where, order string }{
	{"pg_type", "oid < 16384", "oid"},
	{"pg_proc", "oid < 16384", "oid"},
	{"pg_operator", "oid < 16384", "oid"},
	{"pg_cast", "oid < 16384", "oid"},
	{"pg_aggregate", "true", "aggfnoid::oid"},
	{"pg_opclass", "oid < 16384", "oid"},
	{"pg_opfamily", "oid < 16384", "oid"},
	{"pg_amop", "oid < 16384", "oid"},
	{"pg_amproc", "oid < 16384", "oid"},
	{"pg_am", "oid < 16384", "oid"},
	{"pg_namespace", "oid < 16384 and nspname not like 'pg_toast%' and nspname not like 'pg_temp%'", "oid"},
	{"pg_language", "oid < 16384", "oid"},
	{"pg_collation", "collname in ('default','C','POSIX','ucs_basic')", "oid"},
	{"pg_range", "true", "rngtypid"},
	{"pg_conversion", "oid < 16384", "oid"},
	{"pg_class", "oid < 16384 and relkind in ('r','v') and relnamespace in (11, (select oid from pg_namespace where nspname='information_schema'))", "oid"},
	{"pg_attribute", "attnum > 0 and attrelid in (select oid from pg_class where oid < 16384 and relkind in ('r','v'))", "attrelid, attnum"},
	{"pg_settings", "true", "name"},
	{"pg_description", "classoid in ('pg_proc'::regclass, 'pg_type'::regclass, 'pg_operator'::regclass, 'pg_namespace'::regclass, 'pg_am'::regclass, 'pg_language'::regclass)", "classoid, objoid, objsubid"},
}

// columns left out because they are large and nobody reads them, or depend on the machine.
var omit = map[string]bool{
	"pg_proc.prosqlbody": true, "pg_class.relacl": true, "pg_proc.proacl": true, "pg_settings.sourcefile": true,
	"pg_settings.sourceline": true, "pg_class.relfilenode": true, "pg_class.relpages": true, "pg_class.reltuples": true,
	"pg_class.relfrozenxid": true, "pg_class.relminmxid": true,
	"pg_settings.setting": true, "pg_settings.reset_val": true, "pg_settings.source": true, "pg_settings.pending_restart": true,
}

func main() {
	dsn := flag.String("dsn", "", "connection string")
	out := flag.String("out", "", "directory for the catalog files")
	typesDir := flag.String("types", "", "directory of package types, for its tables")
	flag.Parse()
	db, err := sql.Open("postgres", *dsn)
	if err != nil {
		log.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("set timezone = 'UTC'"); err != nil {
		log.Fatal(err)
	}
	for _, c := range catalogs {
		if err := writeCatalog(db, *out, c.name, c.where, c.order); err != nil {
			log.Fatalf("%s: %v", c.name, err)
		}
	}
	if err := writeTypeTable(db, *typesDir); err != nil {
		log.Fatal(err)
	}
	if err := writeZoneTable(db, *typesDir); err != nil {
		log.Fatal(err)
	}
}

func writeCatalog(db *sql.DB, dir, name, where, order string) error {
	cols, err := columns(db, name)
	if err != nil {
		return err
	}
	var names, exprs []string
	for _, c := range cols {
		names = append(names, c.name)
		e := c.name + "::text"
		switch {
		case omit[name+"."+c.name]:
			e = "null::text"
		case c.typ == "pg_node_tree":
			e = "pg_get_expr(" + c.name + ", 0)"
		case strings.HasPrefix(c.typ, "reg") && !strings.HasSuffix(c.typ, "[]"):
			e = c.name + "::oid::text"
		}
		exprs = append(exprs, e)
	}
	rows, err := db.Query("select " + strings.Join(exprs, ",") + " from pg_catalog." + name + " where " + where + " order by " + order)
	if err != nil {
		return err
	}
	defer rows.Close()
	var b bytes.Buffer
	b.WriteString(strings.Join(names, "\t") + "\n")
	vals := make([]sql.NullString, len(cols))
	ptrs := make([]any, len(cols))
	for i := range vals {
		ptrs[i] = &vals[i]
	}
	esc := strings.NewReplacer("\\", "\\\\", "\t", "\\t", "\n", "\\n", "\r", "\\r")
	for rows.Next() {
		if err := rows.Scan(ptrs...); err != nil {
			return err
		}
		for i, v := range vals {
			if i > 0 {
				b.WriteByte('\t')
			}
			if !v.Valid {
				b.WriteString("\\N")
			} else {
				b.WriteString(esc.Replace(v.String))
			}
		}
		b.WriteByte('\n')
	}
	if err := rows.Err(); err != nil {
		return err
	}
	var z bytes.Buffer
	w, err := gzip.NewWriterLevel(&z, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name+".tsv.gz"), z.Bytes(), 0o644)
}

type column struct{ name, typ string }

func columns(db *sql.DB, rel string) ([]column, error) {
	rows, err := db.Query("select attname, format_type(atttypid, -1) from pg_attribute where attrelid = ('pg_catalog.' || $1::text)::regclass and attnum > 0 and not attisdropped order by attnum", rel)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var cols []column
	for rows.Next() {
		var c column
		if err := rows.Scan(&c.name, &c.typ); err != nil {
			return nil, err
		}
		cols = append(cols, c)
	}
	return cols, rows.Err()
}

const header = "// Code generated from PostgreSQL 15's %s by sql/builtin/gen; DO NOT EDIT.\n\npackage types\n\n"

func writeGo(path string, b *bytes.Buffer) error {
	src, err := format.Source(b.Bytes())
	if err != nil {
		return err
	}
	return os.WriteFile(path, src, 0o644)
}

func writeTypeTable(db *sql.DB, dir string) error {
	rows, err := db.Query(`select oid::bigint, typname::text, format_type(oid, null), typlen,
		case when typsubscript = 'array_subscript_handler'::regproc then typelem::bigint else 0 end, typarray::bigint, typdelim::text
		from pg_type where typtype in ('b','p','r','m') and oid < 10000 order by oid`)
	if err != nil {
		return err
	}
	defer rows.Close()
	var b bytes.Buffer
	fmt.Fprintf(&b, header+"var typeTable = []typeRow{\n", "pg_type")
	for rows.Next() {
		var oid, elem, array int64
		var length int
		var name, text, delim string
		if err := rows.Scan(&oid, &name, &text, &length, &elem, &array, &delim); err != nil {
			return err
		}
		fmt.Fprintf(&b, "\t{%d, %s, %s, %d, %d, %d, %q},\n", oid, strconv.Quote(name), strconv.Quote(text), length, elem, array, delim[0])
	}
	b.WriteString("}\n")
	if err := rows.Err(); err != nil {
		return err
	}
	return writeGo(filepath.Join(dir, "typetable.go"), &b)
}

func writeZoneTable(db *sql.DB, dir string) error {
	rows, err := db.Query("select lower(abbrev), extract(epoch from utc_offset)::int * 2 + is_dst::int from pg_timezone_abbrevs order by 1")
	if err != nil {
		return err
	}
	defer rows.Close()
	var b bytes.Buffer
	fmt.Fprintf(&b, header+"// zoneAbbrevs: seconds east of UTC, times two, plus one for daylight-saving time.\nvar zoneAbbrevs = map[string]int32{\n", "pg_timezone_abbrevs")
	for rows.Next() {
		var name string
		var v int
		if err := rows.Scan(&name, &v); err != nil {
			return err
		}
		fmt.Fprintf(&b, "\t%q: %d,\n", name, v)
	}
	b.WriteString("}\n")
	if err := rows.Err(); err != nil {
		return err
	}
	return writeGo(filepath.Join(dir, "zonetable.go"), &b)
}
