// Command gen writes the catalog files that package builtin embeds, out of a running PostgreSQL 15
// whose database has nothing but what initdb made (encoding UTF8, locale C).
//
//	go run ./sql/builtin/gen -dsn "host=127.0.0.1 port=5432 user=postgres sslmode=disable" -out sql/builtin/data -types sql/types
package main
