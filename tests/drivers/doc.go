// Package drivers runs Go's PostgreSQL drivers against Pamir through database/sql, as programs use them:
// types both ways in text and binary, prepared statements, transactions, cancellation, many connections.
package drivers
