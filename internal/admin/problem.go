package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/verb"
)

// Problem is an error for whoever asked: the body of an HTTP answer (RFC 9457), and why an operation has failed.
type Problem struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	// Code names it, for programs; Detail says what is wrong, Hint what can be done.
	Code   string `json:"code" enum:"invalid_request,not_authenticated,forbidden,not_found,method_not_allowed,conflict,too_large,unsupported_media_type,idempotency_key_reused,too_many_requests,internal,unavailable,timeout"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
}

// The codes of problems.
const (
	CodeInvalid          = "invalid_request"
	CodeNotAuthenticated = "not_authenticated"
	CodeForbidden        = "forbidden"
	CodeNotFound         = "not_found"
	CodeMethod           = "method_not_allowed"
	CodeConflict         = "conflict"
	CodeTooLarge         = "too_large"
	CodeMediaType        = "unsupported_media_type"
	CodeKeyReused        = "idempotency_key_reused"
	CodeTooMany          = "too_many_requests"
	CodeInternal         = "internal"
	CodeUnavailable      = "unavailable"
	CodeTimeout          = "timeout"
)

var statusOf = map[string]int{
	CodeInvalid: http.StatusBadRequest, CodeNotAuthenticated: http.StatusUnauthorized, CodeForbidden: http.StatusForbidden, CodeNotFound: http.StatusNotFound,
	CodeMethod: http.StatusMethodNotAllowed, CodeConflict: http.StatusConflict, CodeTooLarge: http.StatusRequestEntityTooLarge,
	CodeMediaType: http.StatusUnsupportedMediaType, CodeKeyReused: http.StatusUnprocessableEntity, CodeTooMany: http.StatusTooManyRequests,
	CodeInternal: http.StatusInternalServerError, CodeUnavailable: http.StatusServiceUnavailable, CodeTimeout: http.StatusGatewayTimeout,
}

// NewProblem makes a problem of a code.
func NewProblem(code, format string, args ...any) *Problem {
	status := statusOf[code]
	return &Problem{Status: status, Title: http.StatusText(status), Code: code, Detail: fmt.Sprintf(format, args...)}
}

// WithHint adds what can be done.
func (p *Problem) WithHint(format string, args ...any) *Problem {
	p.Hint = fmt.Sprintf(format, args...)
	return p
}

// Error is the detail, and the hint if there is one.
func (p *Problem) Error() string { return p.Detail }

// AsProblem says what an error is to whoever asked.
func AsProblem(err error) *Problem {
	var p *Problem
	var v *verb.Error
	var k *kv.Error
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &v):
		return NewProblem(CodeInvalid, "%s", v.Error())
	case errors.As(err, &k):
		return kvProblem(k)
	case errors.Is(err, context.DeadlineExceeded):
		return NewProblem(CodeTimeout, "the cluster did not answer in time")
	case errors.Is(err, context.Canceled):
		return NewProblem(CodeUnavailable, "interrupted")
	}
	if e, ok := pgerr.As(err); ok {
		return pgProblem(e)
	}
	return NewProblem(CodeInternal, "%s", err)
}

func kvProblem(e *kv.Error) *Problem {
	text := e.Message
	if text == "" {
		text = e.Error()
	}
	switch e.Code {
	case kv.CodeBadRequest:
		return NewProblem(CodeInvalid, "%s", text)
	case kv.CodeDescriptorChanged, kv.CodeConditionFailed, kv.CodeNotNow:
		return NewProblem(CodeConflict, "%s", text)
	case kv.CodeCanceled:
		return NewProblem(CodeTimeout, "the cluster did not answer in time: %s", text)
	case kv.CodeOverloaded:
		return NewProblem(CodeTooMany, "%s", text)
	}
	if c := e.Code.Class(); c == kv.RetryRouting || c == kv.RetryTxn || c == kv.Unknown {
		return NewProblem(CodeUnavailable, "%s", e.Error()).WithHint("It can be asked again; what changes something, with the same Idempotency-Key.")
	}
	return NewProblem(CodeInternal, "%s", e.Error())
}

func pgProblem(e *pgerr.Error) *Problem {
	code := CodeInvalid
	switch e.Code {
	case pgerr.InsufficientPrivilege:
		code = CodeForbidden
	case pgerr.UndefinedTable, pgerr.UndefinedObject:
		code = CodeNotFound
	case pgerr.CannotConnectNow:
		code = CodeUnavailable
	case pgerr.InternalError:
		code = CodeInternal
	}
	p := NewProblem(code, "%s", e.Message)
	p.Hint = e.Hint
	return p
}

// SQLError says the same in SQL's terms.
func (p *Problem) SQLError() error {
	code := pgerr.InternalError
	switch p.Code {
	case CodeInvalid, CodeTooLarge, CodeKeyReused:
		code = pgerr.InvalidParameterValue
	case CodeNotFound:
		code = pgerr.UndefinedObject
	case CodeConflict:
		code = pgerr.ObjectNotInPrerequisiteState
	case CodeForbidden, CodeNotAuthenticated:
		code = pgerr.InsufficientPrivilege
	case CodeUnavailable, CodeTimeout, CodeTooMany:
		code = pgerr.CannotConnectNow
	}
	e := pgerr.New(code, "%s", p.Detail)
	if p.Hint != "" {
		e = e.WithHint("%s", p.Hint)
	}
	return e
}

// WriteProblem answers with a problem.
func WriteProblem(w http.ResponseWriter, p *Problem) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(p.Status)
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return // of strings: it cannot fail
	}
	_, _ = w.Write(append(b, '\n')) // the client may have gone away
}
