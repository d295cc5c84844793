package job

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/txn"
)

// State of a job.
type State string

const (
	Running   State = "running"
	Canceling State = "canceling" // to be undone by whoever runs it, or adopts it
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Canceled  State = "canceled"
)

// Over reports whether nothing is left to be done.
func (s State) Over() bool { return s != Running && s != Canceling }

// Record of a job.
type Record struct {
	ID          int64           `json:"id"`
	Kind        string          `json:"kind"`
	Description string          `json:"description"`
	User        string          `json:"user"`
	State       State           `json:"state"`
	Fraction    float64         `json:"fraction"`
	Payload     json.RawMessage `json:"payload,omitempty"`
	// Times in ns of the Unix epoch, by the clocks of the transactions that wrote them; 0: not yet.
	Started  int64 `json:"started"`
	Finished int64 `json:"finished,omitempty"`
	// Node has claimed the job until then; Claim counts the claims.
	Node  int32 `json:"node"`
	Until int64 `json:"until"`
	Claim int64 `json:"claim"`
	// Code and Error say why it failed.
	Code  string `json:"code,omitempty"`
	Error string `json:"error,omitempty"`
	// Detail of the error.
	Detail string `json:"detail,omitempty"`
}

// ClaimTime is how long a claim holds. A runner renews it well before.
const ClaimTime = 10 * time.Second

// keepFor is how long jobs that are over stay in the table.
const keepFor = 7 * 24 * time.Hour

var (
	// ErrLost: another node has taken the job over, or it is over.
	ErrLost = errors.New("the job is another's now")
	// ErrCanceled: the job is to be undone.
	ErrCanceled = pgerr.New(pgerr.QueryCanceled, "canceling statement because its job was canceled")
)

// tableNumber of the system table: <job id> -> record.
const tableNumber = 20

var idCounter = keys.System("sql/job-id")

// Counters hand out job ids (catalog.Counters).
type Counters interface {
	Increment(ctx context.Context, key keys.Key, by int64) (int64, error)
}

func rowKey(id int64) keys.Key { return keys.AppendUvarint(keys.Index(tableNumber, 1), uint64(id)) }

const formatVersion = 1

type envelope struct {
	V int     `json:"v"`
	O *Record `json:"o"`
}

func encode(r *Record) ([]byte, error) { return json.Marshal(envelope{formatVersion, r}) }

func decode(b []byte) (*Record, error) {
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil || e.O == nil {
		return nil, pgerr.New(pgerr.DataCorrupted, "a job's record is corrupt: %v", err)
	}
	if e.V != formatVersion {
		return nil, pgerr.New(pgerr.DataCorrupted, "a job's record has format %d, this node knows %d", e.V, formatVersion)
	}
	return e.O, nil
}

// Table is the table of jobs, as one node sees it.
type Table struct {
	Gateway  txn.Gateway
	Counters Counters
	Node     int32
}

// Create writes a new job, claimed by this node, in a transaction that does its first step. It fills in r's id, state and claim.
func (t *Table) Create(ctx context.Context, x txn.Txn, r *Record) error {
	id, err := t.Counters.Increment(ctx, idCounter, 1)
	if err != nil {
		return err
	}
	now := x.ReadTimestamp().WallTime
	r.ID, r.State, r.Started, r.Node, r.Until, r.Claim = id, Running, now, t.Node, now+int64(ClaimTime), 1
	return put(x, r)
}

func put(x txn.Txn, r *Record) error {
	b, err := encode(r)
	if err != nil {
		return err
	}
	return x.Put(rowKey(r.ID), b)
}

// Get reads a job; nil if there is none.
func Get(ctx context.Context, x txn.Txn, id int64) (*Record, error) {
	b, ok, err := x.Get(ctx, rowKey(id), txn.ScanOptions{Latest: true})
	if err != nil || !ok {
		return nil, err
	}
	return decode(b)
}

// lock reads a job to change it.
func lock(ctx context.Context, x txn.Txn, id int64) (*Record, error) {
	b, ok, err := x.Get(ctx, rowKey(id), txn.ScanOptions{Latest: true, Lock: kv.LockUpdate})
	if err != nil || !ok {
		return nil, err
	}
	return decode(b)
}

// List reads all jobs, oldest first, in a transaction.
func List(ctx context.Context, x txn.Txn) ([]*Record, error) {
	start := keys.Index(tableNumber, 1)
	sc := x.Scan(ctx, []keys.Span{{Start: start, End: start.PrefixEnd()}}, txn.ScanOptions{Latest: true})
	defer sc.Close()
	var out []*Record
	for {
		page, ok, err := sc.Next(ctx)
		if err != nil || !ok {
			return out, err
		}
		for {
			_, v, ok, err := page.Rows.Next()
			if err != nil {
				return nil, err
			}
			if !ok {
				break
			}
			r, err := decode(v)
			if err != nil {
				return nil, err
			}
			out = append(out, r)
		}
	}
}

// List reads all jobs, oldest first.
func (t *Table) List(ctx context.Context) (out []*Record, err error) {
	err = t.apart(ctx, txn.Options{ReadOnly: true}, func(x txn.Txn) error {
		out, err = List(ctx, x)
		return err
	})
	return out, err
}

// Checkpoint stores the progress in r (Fraction, Payload) and renews the claim. It returns ErrLost, or ErrCanceled if the job is
// to be undone; r then is what is stored.
func (t *Table) Checkpoint(ctx context.Context, r *Record) error {
	var result error
	err := t.apart(ctx, txn.Options{}, func(x txn.Txn) error {
		result = nil
		now, err := lock(ctx, x, r.ID)
		if err != nil {
			return err
		}
		if now == nil || now.State.Over() || now.Claim != r.Claim {
			result = ErrLost
			return nil
		}
		n := *r
		n.State, n.Until = now.State, x.ReadTimestamp().WallTime+int64(ClaimTime)
		if n.State == Canceling {
			result = ErrCanceled
		}
		r.State, r.Until = n.State, n.Until
		return put(x, &n)
	})
	if err != nil {
		return err
	}
	return result
}

// Claim takes a job over whose claim has run out. ok is false if it is another's, or over.
func (t *Table) Claim(ctx context.Context, id int64) (r *Record, ok bool, err error) {
	err = t.apart(ctx, txn.Options{}, func(x txn.Txn) error {
		r, err = lock(ctx, x, id)
		now := x.ReadTimestamp().WallTime
		if ok = err == nil && r != nil && !r.State.Over() && r.Until < now; !ok {
			return err
		}
		r.Node, r.Until, r.Claim = t.Node, now+int64(ClaimTime), r.Claim+1
		return put(x, r)
	})
	return r, ok && err == nil, err
}

// Release lets others claim the job at once: this node stops working at it.
func (t *Table) Release(ctx context.Context, r *Record) error {
	return t.apart(ctx, txn.Options{}, func(x txn.Txn) error {
		now, err := lock(ctx, x, r.ID)
		if err != nil || now == nil || now.State.Over() || now.Claim != r.Claim {
			return err
		}
		now.Until = 0
		return put(x, now)
	})
}

// Cancel asks for a job to be undone. It reports whether there was anything to cancel.
func (t *Table) Cancel(ctx context.Context, id int64) (ok bool, err error) {
	err = t.apart(ctx, txn.Options{}, func(x txn.Txn) error {
		r, err := lock(ctx, x, id)
		if err != nil {
			return err
		}
		if r == nil {
			return pgerr.New(pgerr.UndefinedObject, "there is no job %d", id).WithHint("TABLE pamir.jobs lists them.")
		}
		if ok = r.State == Running; ok {
			r.State = Canceling
			return put(x, r)
		}
		return nil
	})
	return ok && err == nil, err
}

// Finish ends a job in the transaction that makes its effect visible, or undoes it. cause is why it did not succeed.
// It fails with ErrLost if the job is another's by now.
func Finish(ctx context.Context, x txn.Txn, r *Record, state State, cause error) error {
	now, err := lock(ctx, x, r.ID)
	if err != nil {
		return err
	}
	if now == nil || now.State.Over() || now.Claim != r.Claim {
		return ErrLost
	}
	if state == Succeeded && now.State == Canceling {
		return ErrCanceled
	}
	n := *r
	n.State, n.Finished, n.Until = state, x.ReadTimestamp().WallTime, 0
	if state == Succeeded {
		n.Fraction = 1
	}
	if cause != nil {
		n.Error, n.Code = cause.Error(), pgerr.Code(cause)
		if e, ok := pgerr.As(cause); ok {
			n.Error, n.Detail = e.Message, e.Detail
		}
	}
	return put(x, &n)
}

// Abandoned lists the jobs that nobody is at, and removes those that have been over for long.
func (t *Table) Abandoned(ctx context.Context) (ids []int64, err error) {
	var old []int64
	err = t.apart(ctx, txn.Options{ReadOnly: true}, func(x txn.Txn) error {
		ids, old = nil, nil
		all, err := List(ctx, x)
		now := x.ReadTimestamp().WallTime
		for _, r := range all {
			switch {
			case !r.State.Over() && r.Until < now:
				ids = append(ids, r.ID)
			case r.State.Over() && r.Finished < now-int64(keepFor):
				old = append(old, r.ID)
			}
		}
		return err
	})
	if err != nil || len(old) == 0 {
		return ids, err
	}
	return ids, t.apart(ctx, txn.Options{}, func(x txn.Txn) error {
		for _, id := range old {
			if err := x.Delete(rowKey(id)); err != nil {
				return err
			}
		}
		return nil
	})
}

// apart runs f in a transaction of its own.
func (t *Table) apart(ctx context.Context, opts txn.Options, f func(txn.Txn) error) error {
	return Apart(ctx, t.Gateway, opts, f)
}

// Apart runs f in a transaction of its own and commits it; it is run again as long as that may help.
func Apart(ctx context.Context, g txn.Gateway, opts txn.Options, f func(txn.Txn) error) error {
	x := g.Begin(ctx, opts)
	for {
		err := f(x)
		if err == nil {
			_, err = x.Commit(ctx)
		}
		if err == nil {
			return nil
		}
		if !x.Retryable(err) {
			rollback(ctx, x)
			return err
		}
		if err := x.Restart(ctx, err); err != nil {
			rollback(ctx, x)
			return err
		}
	}
}

// rollback gives locks back though ctx may have ended.
func rollback(ctx context.Context, x txn.Txn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	x.Rollback(ctx)
}
