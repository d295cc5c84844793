package kv

import (
	"errors"
	"fmt"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
)

// Class says who can do something about an error.
type Class uint8

const (
	// Deterministic: the same request will fail again; report it.
	Deterministic Class = iota
	// RetryRouting: nothing happened; the sender should look the range up again and resend.
	RetryRouting
	// RetryTxn: nothing happened, or nothing that matters; the transaction must move
	// its timestamp (refresh) or start again.
	RetryTxn
	// Unknown: the request may have happened. Ask, or repeat it under the same id.
	Unknown
	// Corruption: data on this replica is not what was written. The replica stops.
	Corruption
)

// Code names an error. The comment gives the class and the fields of Error that are set.
type Code uint16

const (
	CodeInternal          Code = iota // deterministic: a bug of ours
	CodeRangeMismatch                 // RetryRouting; Descriptors: what the replica knows
	CodeRangeNotFound                 // RetryRouting: no such replica here
	CodeNotLeader                     // RetryRouting; Leader (may be zero), Descriptors
	CodeUnavailable                   // RetryRouting: node or quorum cannot be reached; nothing was proposed
	CodeOverloaded                    // RetryRouting: a bounded queue is full
	CodeUnknownOutcome                // Unknown: proposed, and then leadership or connection was lost
	CodeWriteTooOld                   // RetryTxn; Key, TS: a newer version exists at TS
	CodeUncertain                     // RetryTxn; Key, TS: value in the uncertainty window, at TS
	CodeRefreshFailed                 // RetryTxn; Key, TS: a read was overwritten at TS
	CodeTxnAborted                    // RetryTxn: the record says so (recovery, deadlock, fencing)
	CodeLockLost                      // RetryTxn: an unreplicated lock was lost with its leader and the key has changed
	CodeConditionFailed               // Deterministic; Key, Value: MustNotExist met a live row
	CodeLockNotAvailable              // Deterministic; Key: NOWAIT or lock timeout (Message tells which)
	CodeDeadlock                      // Deterministic: 40P01; Message: who waits for whom, Detail: the same (DecodeDeadlock)
	CodeReadBelowGC                   // Deterministic; TS: the threshold
	CodeNotClosed                     // RetryRouting: follower read above the closed timestamp
	CodeDescriptorChanged             // Deterministic: guard by generation failed
	CodePushdown                      // Deterministic; Detail: encoded error of the pushed-down program
	CodeCanceled                      // Deterministic: the request's context ended
	CodeTooLarge                      // Deterministic: request or result over a limit
	CodeDiskFull                      // Deterministic here: 53100
	CodeFenced                        // RetryRouting: the node fenced itself (clock)
	CodeCorruption                    // Corruption
	CodeBadRequest                    // Deterministic: malformed or unsupported request
	CodeNotNow                        // Deterministic: the ranges are not in a state for it, as Message says; later they may be; Detail: why, in a word (NotNow)
	CodeGivenUp                       // RetryRouting: as CodeUnavailable, of what was waited for for long, or cannot answer any more (IsLost): senders do not ask again
	numCodes
)

// Error is the error of a batch. It is a Go error; use errors.As.
type Error struct {
	Code        Code
	Message     string
	Key         keys.Key
	Value       []byte
	TS          hlc.Timestamp
	Leader      Replica
	Descriptors []RangeDescriptor
	Detail      []byte
	// Now is a clock reading of the answering node, if it came from one.
	Now hlc.Timestamp
}

// Errorf makes an Error of that code.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Reasons of CodeNotNow, in a word: what is counted.
const (
	NotNowReplicas  = "replicas"  // they are changing, or not where they have to be
	NotNowLeader    = "leader"    // one range is led elsewhere, and that could not be changed
	NotNowRetention = "retention" // one range keeps old versions that the other has removed
	NotNowBehind    = "behind"    // a replica did not say in time that it has caught up
	NotNowFailed    = "failed"    // it was begun, and lost its quorum or its leader
)

// NotNow makes an error of CodeNotNow, for one of the reasons above.
func NotNow(reason, format string, args ...any) *Error {
	return &Error{Code: CodeNotNow, Message: fmt.Sprintf(format, args...), Detail: []byte(reason)}
}

const detailLost = "lost"

// Lost makes an error of CodeGivenUp: all replicas of a range were on nodes that have left for good.
func Lost(id RangeID) *Error {
	return &Error{Code: CodeGivenUp, Message: fmt.Sprintf("range %d is lost: all its replicas were on nodes that have left for good", id), Detail: []byte(detailLost)}
}

// IsLost reports whether err says that a range is lost, for which nobody needs to wait.
func IsLost(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == CodeGivenUp && string(e.Detail) == detailLost
}

// AsError returns err's *Error, or wraps it as CodeInternal. AsError(nil) is nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: CodeInternal, Message: err.Error()}
}

// HasCode reports whether err is an *Error of that code.
func HasCode(err error, code Code) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

// Undecided is err, of a request that commits nothing. Whether one that was given up had its effect is not known, but that is nothing that
// the transaction's outcome depends on, which has not begun to commit: nobody is to be told that it is unknown. So it is CodeCanceled.
func Undecided(err error) error {
	if HasCode(err, CodeUnknownOutcome) {
		return Errorf(CodeCanceled, "%s", AsError(err).Message)
	}
	return err
}

// Error prints "code: message (key ...)".
func (e *Error) Error() string {
	s := e.Code.String()
	if e.Message != "" {
		s += ": " + e.Message
	}
	if len(e.Key) > 0 {
		s += " (key " + keys.Pretty(e.Key) + ")"
	}
	return s
}

// Class returns the class of the code.
func (c Code) Class() Class {
	switch c {
	case CodeRangeMismatch, CodeRangeNotFound, CodeNotLeader, CodeUnavailable, CodeOverloaded, CodeNotClosed, CodeFenced, CodeGivenUp:
		return RetryRouting
	case CodeWriteTooOld, CodeUncertain, CodeRefreshFailed, CodeTxnAborted, CodeLockLost:
		return RetryTxn
	case CodeUnknownOutcome:
		return Unknown
	case CodeCorruption:
		return Corruption
	}
	return Deterministic
}

var codeNames = [numCodes]string{
	"internal error", "range mismatch", "range not found", "not the leader", "unavailable", "overloaded",
	"outcome unknown", "write too old", "uncertain read", "refresh failed", "transaction aborted",
	"lock lost", "row exists", "lock not available", "deadlock", "read below the GC threshold",
	"timestamp not closed", "descriptor changed", "pushed-down expression failed", "canceled", "too large",
	"disk full", "node fenced", "corruption", "bad request", "not now", "given up",
}

// String names the code.
func (c Code) String() string {
	if c < numCodes {
		return codeNames[c]
	}
	return fmt.Sprintf("Code(%d)", uint16(c))
}
