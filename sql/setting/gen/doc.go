// Command gen writes the table of settings that package setting embeds, out of a running PostgreSQL 15.
//
//	go run ./sql/setting/gen -dsn 'host=127.0.0.1 port=5432 user=postgres dbname=postgres' -out .
package main
