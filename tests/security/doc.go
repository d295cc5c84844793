// Package security tries who may connect: real nodes with certificates, psql and pgx as clients, the wrong passwords and the wrong certificates.
//
// What needs psql is skipped, and says so, where there is none.
package security
