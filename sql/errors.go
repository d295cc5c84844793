package sql

import (
	"context"
	"errors"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/pgerr"
)

// class is the class of the key-value error behind err; Deterministic if there is none.
func class(err error) kv.Class {
	var e *kv.Error
	if errors.As(err, &e) {
		return e.Code.Class()
	}
	return kv.Deterministic
}

// translate gives an error of the layers below its SQLSTATE. Package exec has done so for
// what it knows; commits and catalog reads come here.
func (s *Session) translate(err error) error {
	if err == nil {
		return nil
	}
	if cause := s.endCause(); cause != nil && isCanceled(err) {
		return cause
	} else if cause == nil && kv.HasCode(err, kv.CodeCanceled) && s.ctx.Err() == nil {
		// Nobody has cancelled anything: what the statement has waited for, such as the catalog, was given up for taking too long.
		return &pgerr.Error{Code: pgerr.CannotConnectNow, Message: "part of the database cannot be reached", Detail: kv.AsError(err).Message + ".", Cause: err}
	}
	var cat catalog.Snapshot
	if s.snap != nil {
		cat = s.snap
	}
	return exec.Translate(err, cat)
}

// isCanceled reports whether an error may be due to the end of the statement's context.
func isCanceled(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		kv.HasCode(err, kv.CodeCanceled) || kv.HasCode(err, kv.CodeUnavailable) || pgerr.Code(err) == pgerr.QueryCanceled
}

// endCause is why the statement's context has ended, nil if it has not.
func (s *Session) endCause() *pgerr.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() == nil {
		return nil
	}
	e, _ := pgerr.As(context.Cause(s.ctx))
	return e
}
