package exec

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/rowenc"
	"github.com/pamirdb/pamir/sql/types"
)

// Translate gives an error of the layers below its SQLSTATE. It is the only place that does, and leaves
// what has one alone. The result's Cause is the error itself, so that txn.Txn.Retryable can be
// asked about it. cat names the constraint that a commit found violated; it may be nil.
func Translate(err error, cat catalog.Snapshot) error {
	if err == nil {
		return nil
	}
	if _, ok := pgerr.As(err); ok {
		return err
	}
	var ke *kv.Error
	if errors.As(err, &ke) {
		e := translateKV(ke, cat)
		if e.Cause == nil {
			e.Cause = err
		}
		return e
	}
	switch {
	case errors.Is(err, context.Canceled):
		return &pgerr.Error{Code: pgerr.QueryCanceled, Message: "canceling statement due to user request", Cause: err}
	case errors.Is(err, context.DeadlineExceeded):
		return &pgerr.Error{Code: pgerr.QueryCanceled, Message: "canceling statement due to statement timeout", Cause: err}
	}
	return &pgerr.Error{Code: pgerr.InternalError, Message: err.Error(), Cause: err}
}

func translate(rt *Runtime, err error) error {
	if rt == nil {
		return Translate(err, nil)
	}
	return Translate(err, rt.Catalog)
}

func translateKV(ke *kv.Error, cat catalog.Snapshot) *pgerr.Error {
	switch ke.Code {
	case kv.CodeWriteTooOld, kv.CodeUncertain, kv.CodeRefreshFailed, kv.CodeTxnAborted, kv.CodeLockLost:
		return &pgerr.Error{Code: pgerr.SerializationFailure,
			Message: "could not serialize access due to concurrent update",
			Detail:  "Reason: " + ke.Error() + ".",
			Hint:    "The transaction might succeed if retried."}
	case kv.CodeConditionFailed:
		return duplicateKey(ke.Key, cat)
	case kv.CodeLockNotAvailable:
		msg := "could not obtain lock on row" + inRelation(ke.Key, cat)
		if strings.Contains(ke.Message, "timeout") {
			msg = "canceling statement due to lock timeout"
		}
		return &pgerr.Error{Code: pgerr.LockNotAvailable, Message: msg}
	case kv.CodeDeadlock:
		return &pgerr.Error{Code: pgerr.DeadlockDetected, Message: "deadlock detected", Detail: deadlockDetail(ke, cat)}
	case kv.CodeReadBelowGC:
		return &pgerr.Error{Code: pgerr.SnapshotTooOld, Message: "snapshot too old",
			Detail: "What was current then has been removed up to " + ke.TS.GoTime().Format("2006-01-02 15:04:05.999Z07:00") + "."}
	case kv.CodePushdown:
		return fromPushdownError(ke)
	case kv.CodeCanceled:
		return &pgerr.Error{Code: pgerr.QueryCanceled, Message: "canceling statement due to user request"}
	case kv.CodeTooLarge:
		return &pgerr.Error{Code: pgerr.ProgramLimitExceeded, Message: "request is too large", Detail: ke.Message}
	case kv.CodeDiskFull:
		return &pgerr.Error{Code: pgerr.DiskFull, Message: "a store is full", Detail: ke.Message,
			Hint: "Free space or add a node."}
	case kv.CodeNotNow:
		return &pgerr.Error{Code: pgerr.ObjectNotInPrerequisiteState, Message: "the ranges are not in a state for it now", Detail: ke.Message,
			Hint: "It can be asked again."}
	case kv.CodeUnknownOutcome:
		return &pgerr.Error{Code: pgerr.StatementCompletionUnknown, Message: "it is not known whether the transaction committed",
			Detail: "Reason: " + ke.Message + ".", Hint: "pg_xact_status() tells, if the transaction asked for its id with pg_current_xact_id() or pamir.report_xact_id is on."}
	case kv.CodeCorruption:
		return &pgerr.Error{Code: pgerr.DataCorrupted, Message: "stored data is corrupt", Detail: ke.Message}
	case kv.CodeUnavailable, kv.CodeNotLeader, kv.CodeOverloaded, kv.CodeFenced, kv.CodeRangeNotFound, kv.CodeRangeMismatch,
		kv.CodeNotClosed, kv.CodeGivenUp:
		if kv.IsLost(ke) {
			return &pgerr.Error{Code: pgerr.CannotConnectNow, Message: "part of the database is lost", Detail: ke.Error() + ".",
				Hint: "Drop what has rows there (pamir.ranges has the tables), and restore it; or stop all nodes and plan a recovery with --make-empty (pamir debug recover)."}
		}
		return &pgerr.Error{Code: pgerr.CannotConnectNow, Message: "part of the database cannot be reached", Detail: ke.Error() + ".",
			Hint: "The operator finds what is in the way with pamir cluster, and the ranges without a leader in pamir.ranges."}
	case kv.CodeInternal:
		if ke.Message == context.Canceled.Error() {
			return &pgerr.Error{Code: pgerr.QueryCanceled, Message: "canceling statement due to user request"}
		}
	}
	return &pgerr.Error{Code: pgerr.InternalError, Message: ke.Error()}
}

// deadlockDetail says who waited for whom, a line each, as PostgreSQL does.
func deadlockDetail(ke *kv.Error, cat catalog.Snapshot) string {
	cycle, ok := kv.DecodeDeadlock(ke.Detail)
	if !ok {
		return ke.Message
	}
	var b strings.Builder
	who := func(id kv.TxnID) string {
		if pid := id.Session(); pid != 0 {
			return "process " + strconv.Itoa(int(pid))
		}
		return "transaction " + id.String()
	}
	for i := range cycle {
		if i > 0 {
			b.WriteByte('\n')
		}
		w := who(cycle[i].Waiter)
		b.WriteString(strings.ToUpper(w[:1]) + w[1:] + " waits for a lock on " + DescribeKey(cat, cycle[i].Key) + "; blocked by " + who(cycle[i].Holder) + ".")
	}
	return b.String()
}

// DescribeKey names what a key holds, for people: the values of its columns and the relation, where the catalog knows it.
func DescribeKey(cat catalog.Snapshot, key keys.Key) string {
	if len(key) == 0 {
		return "a row"
	}
	data, index, _, err := keys.DecodeIndex(key)
	if err != nil || cat == nil {
		return keys.Pretty(key)
	}
	for _, t := range cat.Tables() {
		if t.DataID != data || t.Virtual {
			continue
		}
		for i := range t.Indexes {
			if t.Indexes[i].ID == catalog.IndexID(index) {
				if names, vals, ok := keyText(t, &t.Indexes[i], key); ok {
					return "key (" + names + ")=(" + vals + ") of relation \"" + t.Name + "\""
				}
			}
		}
		return "a row of relation \"" + t.Name + "\""
	}
	return keys.Pretty(key)
}

// inRelation names the table of a key, for messages.
func inRelation(key keys.Key, cat catalog.Snapshot) string {
	data, _, _, err := keys.DecodeIndex(key)
	if err != nil || cat == nil {
		return ""
	}
	for _, t := range cat.Tables() {
		if t.DataID == data && !t.Virtual {
			return " in relation \"" + t.Name + "\""
		}
	}
	return ""
}

// duplicateKey is PostgreSQL's unique violation for a key that exists.
func duplicateKey(key keys.Key, cat catalog.Snapshot) *pgerr.Error {
	if data, index, _, err := keys.DecodeIndex(key); err == nil && cat != nil {
		for _, t := range cat.Tables() {
			if t.DataID != data || t.Virtual {
				continue
			}
			for i := range t.Indexes {
				if t.Indexes[i].ID == catalog.IndexID(index) {
					return uniqueViolation(cat, t, &t.Indexes[i], key)
				}
			}
		}
	}
	return pgerr.New(pgerr.UniqueViolation, "duplicate key value violates unique constraint").
		WithDetail("Key %s already exists.", keys.Pretty(key))
}

func uniqueViolation(cat catalog.Snapshot, t *catalog.Table, ix *catalog.Index, key keys.Key) *pgerr.Error {
	e := pgerr.New(pgerr.UniqueViolation, "duplicate key value violates unique constraint \"%s\"", ix.Name)
	e.Table, e.Constraint = t.Name, ix.Name
	e.Schema = schemaName(cat, t)
	if names, vals, ok := keyText(t, ix, key); ok {
		e.Detail = "Key (" + names + ")=(" + vals + ") already exists."
	}
	return e
}

func schemaName(cat catalog.Snapshot, t *catalog.Table) string {
	if cat == nil {
		return ""
	}
	if s, ok := cat.SchemaByID(t.Schema); ok {
		return s.Name
	}
	return ""
}

// keyText prints the columns of an index key; ok is false if they cannot be read off the key.
func keyText(t *catalog.Table, ix *catalog.Index, key keys.Key) (names, vals string, ok bool) {
	x, err := rowenc.ForIndex(t, ix)
	if err != nil {
		return "", "", false
	}
	var cols []int
	for _, c := range ix.Columns {
		cols = append(cols, t.ColumnByID(c.Column))
	}
	ds, err := x.DecodeKeyColumns(key)
	if err != nil {
		return "", "", false
	}
	n, v := make([]string, len(cols)), make([]string, len(cols))
	for i, c := range cols {
		n[i] = QuoteIdent(t.Columns[c].Name)
		v[i] = datumText(t.Columns[c].Type, ds[i])
	}
	return strings.Join(n, ", "), strings.Join(v, ", "), true
}

func datumText(t types.Type, d types.Datum) string {
	if d.Null {
		return "null"
	}
	return types.Text(t, d, types.DefaultEnv)
}
