// Package pgerr is errors as PostgreSQL reports them: SQLSTATE, message, detail, hint, position and
// the names of the objects concerned. Everything in sql/ that a client can cause ends as one.
package pgerr
