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
	write(conn, settings, filepath.Join(*out, "sql/setting/settings.tsv"))
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
