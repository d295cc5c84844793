package pgerr

import (
	"errors"
	"fmt"
)

// Error is an error or a notice for a client (PostgreSQL, "Error and Notice Message Fields").
type Error struct {
	Severity string // empty means ERROR
	Code     string // SQLSTATE, five characters
	Message  string
	Detail   string
	Hint     string
	// Position is the 1-based character position in the statement, 0 for none.
	Position                                    int
	Where                                       string
	Schema, Table, Column, DataType, Constraint string
	// Cause is the error behind it, for logs; it does not go to the client.
	Cause error
}

// New makes an error with a SQLSTATE.
func New(code, format string, args ...any) *Error {
	if len(args) == 0 {
		return &Error{Code: code, Message: format}
	}
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Unsupported is 0A000 with a hint.
func Unsupported(what, hint string) *Error {
	return &Error{Code: FeatureNotSupported, Message: what + " is not supported", Hint: hint}
}

// As returns err's *Error, if it has one.
func As(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}

// Code returns err's SQLSTATE, or "" if it has none.
func Code(err error) string {
	if e, ok := As(err); ok {
		return e.Code
	}
	return ""
}

func (e *Error) Error() string { return e.Message + " (SQLSTATE " + e.Code + ")" }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// WithDetail, WithHint and At return e with the field set.
func (e *Error) WithDetail(format string, args ...any) *Error {
	e.Detail = fmt.Sprintf(format, args...)
	return e
}

// WithHint: see WithDetail.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// At sets the 1-based position unless it is set already.
func (e *Error) At(pos int) *Error {
	if e.Position == 0 {
		e.Position = pos
	}
	return e
}
