package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"reflect"
	"slices"
	"time"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/verb"
	"github.com/pamirdb/pamir/txn"
)

// State of an operation.
type State string

// The states of operations: see the package's comment.
const (
	Running   State = "running"
	Canceling State = "canceling"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Canceled  State = "canceled"
)

// Over reports whether nothing is left to be done.
func (s State) Over() bool { return s != Running && s != Canceling }

// Operation is a verb that is being carried out, or was.
type Operation struct {
	ID   int64     `json:"id"`
	Verb string    `json:"verb"`
	Args verb.Args `json:"args"`
	User string    `json:"user"`
	Key  string    `json:"idempotency_key,omitempty"`
	// State is running, canceling, succeeded, failed or canceled.
	State State `json:"state"`
	// Progress goes to 1; LeftSeconds is the estimated rest, absent if there is nothing to estimate it from; Why says what it is at, or waits for.
	Progress    float64  `json:"progress"`
	LeftSeconds *float64 `json:"left_seconds,omitempty"`
	Why         string   `json:"why,omitempty"`
	// NodeID runs it.
	NodeID   kv.NodeID `json:"node_id"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished,omitzero"`
	// Result is what came of it; Error why it failed.
	Result map[string]any `json:"result,omitempty"`
	Error  *Problem       `json:"error,omitempty"`
}

// record is an operation as it is stored.
type record struct {
	Version int       `json:"v"`
	Op      Operation `json:"op"`
	// Incarnation of the node that runs it.
	Incarnation int64 `json:"incarnation"`
	// Begun: see call.begun.
	Begun bool `json:"begun,omitempty"`
	// Prepared is what the verb found out before it began, and goes by.
	Prepared string `json:"prepared,omitempty"`
}

const (
	recordVersion = 1
	// keepFor and keepMost bound the records of operations that are over.
	keepFor  = 7 * 24 * time.Hour
	keepMost = 1000
	// maxOpen is how many operations there can be at once that are not.
	maxOpen = 100
	// MaxKey is how long an idempotency key may be.
	MaxKey = 200
)

func encodeRecord(r *record) ([]byte, error) { return json.Marshal(r) }

func decodeRecord(key keys.Key, b []byte) (*record, error) {
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, kv.Errorf(kv.CodeCorruption, "%s: %v", keys.Pretty(key), err)
	}
	if r.Version != recordVersion {
		return nil, kv.Errorf(kv.CodeCorruption, "%s: an operation of version %d", keys.Pretty(key), r.Version)
	}
	r.Op.Args = restored(r.Op.Args)
	return &r, nil
}

// restored gives arguments that were JSON their types again.
func restored(a verb.Args) verb.Args {
	for name, v := range a {
		switch x := v.(type) {
		case float64:
			a[name] = int64(x)
		case []any:
			ss := make([]string, 0, len(x))
			for _, e := range x {
				s, _ := e.(string)
				ss = append(ss, s)
			}
			a[name] = ss
		}
	}
	return a
}

// records are the operations of the cluster, in the system keys.
type records struct {
	// inTxn runs f in a transaction, as often as it takes.
	inTxn  func(ctx context.Context, f func(t txn.Txn) error) error
	nextID func(ctx context.Context) (int64, error)
}

func put(t txn.Txn, r *record) error {
	b, err := encodeRecord(r)
	if err != nil {
		return err
	}
	return t.Put(keys.Operation(r.Op.ID), b)
}

// get reads a record, with a lock to change it; nil if there is none.
func get(ctx context.Context, t txn.Txn, id int64, lock kv.LockStrength) (*record, error) {
	key := keys.Operation(id)
	b, ok, err := t.Get(ctx, key, txn.ScanOptions{Lock: lock})
	if err != nil || !ok {
		return nil, err
	}
	return decodeRecord(key, b)
}

// keyed returns the operation that its user has asked for under its key; nil if there is none.
func keyed(ctx context.Context, t txn.Txn, user, key string) (*record, error) {
	at := keys.OperationKey(user, key)
	b, ok, err := t.Get(ctx, at, txn.ScanOptions{})
	if err != nil || !ok {
		return nil, err
	}
	var id int64
	if err := json.Unmarshal(b, &id); err != nil {
		return nil, kv.Errorf(kv.CodeCorruption, "%s: %v", keys.Pretty(at), err)
	}
	return get(ctx, t, id, kv.LockNone)
}

// find returns the operation of a key, nil if there is none.
func (rs *records) find(ctx context.Context, user, key string) (r *record, err error) {
	err = rs.inTxn(ctx, func(t txn.Txn) error {
		r, err = keyed(ctx, t, user, key)
		return err
	})
	return r, err
}

// create writes a new record, and fills in its number. If its key is taken, it returns the record that has it instead.
func (rs *records) create(ctx context.Context, r *record) (taken *record, err error) {
	if r.Op.ID, err = rs.nextID(ctx); err != nil {
		return nil, err
	}
	err = rs.inTxn(ctx, func(t txn.Txn) error {
		taken = nil
		if r.Op.Key != "" {
			if taken, err = keyed(ctx, t, r.Op.User, r.Op.Key); err != nil || taken != nil {
				return err
			}
			b, err := json.Marshal(r.Op.ID)
			if err != nil {
				return err
			}
			if err := t.Put(keys.OperationKey(r.Op.User, r.Op.Key), b); err != nil {
				return err
			}
		}
		return put(t, r)
	})
	return taken, err
}

// read returns a record, nil if there is none.
func (rs *records) read(ctx context.Context, id int64) (r *record, err error) {
	err = rs.inTxn(ctx, func(t txn.Txn) error {
		r, err = get(ctx, t, id, kv.LockNone)
		return err
	})
	return r, err
}

// update changes a record; f says whether there is anything to write. The record is returned as it is then; nil if there is none.
func (rs *records) update(ctx context.Context, id int64, f func(r *record) (bool, error)) (r *record, err error) {
	err = rs.inTxn(ctx, func(t txn.Txn) error {
		if r, err = get(ctx, t, id, kv.LockUpdate); err != nil || r == nil {
			return err
		}
		write, err := f(r)
		if err != nil || !write {
			return err
		}
		return put(t, r)
	})
	return r, err
}

// list reads all records, the oldest first.
func (rs *records) list(ctx context.Context) (out []*record, err error) {
	err = rs.inTxn(ctx, func(t txn.Txn) error {
		out = nil
		return txn.EachRow(ctx, t, keys.OperationSpan, func(k keys.Key, v []byte) error {
			r, err := decodeRecord(k, v)
			if err == nil {
				out = append(out, r)
			}
			return err
		})
	})
	return out, err
}

// trim removes records that are over and old, or too many, of those listed.
func (rs *records) trim(ctx context.Context, all []*record, now time.Time) error {
	over := 0
	var old []*record
	for _, r := range slices.Backward(all) {
		if !r.Op.State.Over() {
			continue
		}
		if over++; over > keepMost || now.Sub(r.Op.Finished) > keepFor {
			old = append(old, r)
		}
	}
	const perTxn = 100
	for chunk := range slices.Chunk(old, perTxn) {
		err := rs.inTxn(ctx, func(t txn.Txn) error {
			for _, r := range chunk {
				if r.Op.Key != "" {
					if err := t.Delete(keys.OperationKey(r.Op.User, r.Op.Key)); err != nil {
						return err
					}
				}
				if err := t.Delete(keys.Operation(r.Op.ID)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// same reports whether two requests ask for the same.
func same(op *Operation, name string, a verb.Args) bool {
	if op.Verb != name {
		return false
	}
	x, err1 := json.Marshal(op.Args)
	y, err2 := json.Marshal(a)
	return err1 == nil && err2 == nil && (bytes.Equal(x, y) || reflect.DeepEqual(op.Args, a))
}
