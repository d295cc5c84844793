package sql

import (
	"context"
	"errors"

	"github.com/pamirdb/pamir/range/kv"
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
	}
	if e, ok := pgerr.As(err); ok {
		return e
	}
	var k *kv.Error
	if !errors.As(err, &k) {
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return errUserCancel
		}
		return &pgerr.Error{Code: pgerr.InternalError, Message: err.Error(), Cause: err}
	}
	return kvError(k)
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

// kvError is a key-value error in PostgreSQL's terms.
func kvError(k *kv.Error) *pgerr.Error {
	e := &pgerr.Error{Cause: k}
	switch k.Code {
	case kv.CodeWriteTooOld, kv.CodeUncertain, kv.CodeLockLost:
		e.Code, e.Message = pgerr.SerializationFailure, "could not serialize access due to concurrent update"
	case kv.CodeRefreshFailed:
		e.Code, e.Message = pgerr.SerializationFailure, "could not serialize access due to read/write dependencies among transactions"
	case kv.CodeTxnAborted:
		e.Code, e.Message = pgerr.SerializationFailure, "could not serialize access: the transaction was aborted by another"
	case kv.CodeLockNotAvailable:
		e.Code, e.Message = pgerr.LockNotAvailable, orText(k.Message, "canceling statement due to lock timeout")
		return e
	case kv.CodeDeadlock:
		e.Code, e.Message, e.Detail = pgerr.DeadlockDetected, "deadlock detected", k.Message
		return e
	case kv.CodeUnknownOutcome:
		e.Code, e.Message = pgerr.StatementCompletionUnknown, "the outcome of the transaction is unknown"
		e.Hint = "Ask for it once the cluster answers again; do not repeat the transaction blindly."
		return e
	case kv.CodeReadBelowGC:
		e.Code, e.Message = "72000", "snapshot too old"
		return e
	case kv.CodeCanceled:
		e.Code, e.Message = errUserCancel.Code, errUserCancel.Message
		return e
	case kv.CodeTooLarge:
		e.Code, e.Message = pgerr.ProgramLimitExceeded, orText(k.Message, "transaction too large")
		return e
	case kv.CodeDiskFull:
		e.Code, e.Message = pgerr.DiskFull, orText(k.Message, "disk full")
		return e
	case kv.CodeCorruption:
		e.Code, e.Message = pgerr.DataCorrupted, orText(k.Message, "data corrupted")
		return e
	case kv.CodeNotLeader, kv.CodeUnavailable, kv.CodeOverloaded, kv.CodeRangeNotFound, kv.CodeFenced:
		e.Code, e.Message = "58000", "part of the data cannot be reached"
		e.Detail = k.Error()
		return e
	default:
		e.Code, e.Message = pgerr.InternalError, k.Error()
		return e
	}
	e.Detail = "Reason: " + k.Error() + "."
	e.Hint = "The transaction might succeed if retried."
	return e
}

func orText(s, or string) string {
	if s == "" {
		return or
	}
	return s
}
