// Command gen writes the tables that package pgcatalog and package sql embed, out of a running PostgreSQL 15:
// the columns of every relation in pg_catalog and information_schema, and the settings.
//
//	go run ./sql/pgcatalog/gen -dsn 'host=127.0.0.1 port=5432 user=postgres dbname=postgres' -out .
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"
)

// The information schema's domains are replaced by the types under them.
const columns = `
select n.nspname, c.relname, c.relkind::text, c.oid::text, a.attname,
       (case when t.typtype = 'd' then t.typbasetype else t.oid end)::text,
       (case when t.typtype = 'd' then t.typtypmod else a.atttypmod end)::text, a.attnotnull::text
from pg_class c join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid join pg_type t on t.oid = a.atttypid
where n.nspname in ('pg_catalog', 'information_schema') and c.relkind in ('r', 'v') and a.attnum > 0 and not a.attisdropped
order by n.nspname desc, c.relname, a.attnum`

// Settings of the server process (files, buffers, WAL, autovacuum) are not Pamir's and stay out.
const settings = `
select name, vartype, coalesce(unit, ''), context, category, short_desc, coalesce(extra_desc, ''),
       coalesce(boot_val, ''), coalesce(min_val, ''), coalesce(max_val, ''), coalesce(array_to_string(enumvals, ','), ''),
       coalesce(array_to_string(pg_settings_get_flags(name), ','), '')
from pg_settings
where context in ('user', 'superuser', 'backend', 'superuser-backend', 'internal')
   or name in ('max_connections', 'max_prepared_transactions', 'max_locks_per_transaction', 'superuser_reserved_connections',
               'listen_addresses', 'port', 'cluster_name', 'wal_level', 'hot_standby', 'autovacuum', 'fsync', 'full_page_writes',
               'max_worker_processes', 'max_wal_senders', 'ssl', 'data_sync_retry', 'shared_buffers', 'track_commit_timestamp', 'huge_pages',
               'authentication_timeout', 'krb_server_keyfile', 'log_timezone', 'unix_socket_directories', 'max_replication_slots')
order by lower(name)`

func main() {
	dsn := flag.String("dsn", "", "connection string of a PostgreSQL 15")
	out := flag.String("out", ".", "root of the repository")
	flag.Parse()
	conn, err := pgx.Connect(context.Background(), *dsn)
	if err != nil {
		log.Fatal(err)
	}
	write(conn, columns, filepath.Join(*out, "sql/pgcatalog/columns.tsv"))
	write(conn, settings, filepath.Join(*out, "sql/settings.tsv"))
	if err := conn.Close(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func write(conn *pgx.Conn, query, file string) {
	rows, err := conn.Query(context.Background(), query)
	if err != nil {
		log.Fatal(err)
	}
	var b strings.Builder
	for rows.Next() {
		v, err := rows.Values()
		if err != nil {
			log.Fatal(err)
		}
		for i, x := range v {
			if i > 0 {
				b.WriteByte('\t')
			}
			b.WriteString(strings.NewReplacer("\t", " ", "\n", " ").Replace(fmt.Sprint(x)))
		}
		b.WriteByte('\n')
	}
	if rows.Err() != nil {
		log.Fatal(rows.Err())
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		log.Fatal(err)
	}
}
