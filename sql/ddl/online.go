package ddl

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/job"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/role"
	"github.com/pamirdb/pamir/txn"
)

// An index on a table with rows is built online, in steps that are transactions of their own:
//
//	begin    a schema change adds the index, write-only: from its commit on every writer of the table keeps the index's
//	         entries, and nobody reads them. The same transaction writes the job.
//	fill     rows are read in pieces, in key order, and their entries written, each piece a serializable transaction.
//	check    at one timestamp, the index has as many entries as the table has rows.
//	publish  a schema change makes the index public, and the same transaction ends the job.
//
// There is no delete-only step before: a schema change commits above every timestamp at which the catalog before it was used
// (catalog/lease.go), so that no writer knows less than another one at the same time.
//
// Uniqueness: a writer looks only for entries that are there. It can so miss the row that the fill has not come to, and the fill
// then finds its entry and fails. If the older row is deleted before the fill comes to it, its writer takes the other row's entry
// away. That is what the check is for: it finds less entries than rows, and the fill runs again, which does no harm to what is there.
// Once the check has passed, every row has its entry and writers see all of them.
//
// A failed or cancelled build takes the index out again. If the node dies another one adopts the job and goes on.

// IndexBuild is the kind of an index build's job.
const IndexBuild = "create index"

// indexBuild is the payload of the record of an index build: what is to be built, and how far it is.
type indexBuild struct {
	Table catalog.TableID `json:"table"`
	Index catalog.IndexID `json:"index"`
	// Data is the data id that After belongs to: a rewrite or TRUNCATE of the table starts the fill again.
	Data  uint64 `json:"data"`
	After []byte `json:"after,omitempty"`
	Done  int64  `json:"done"`
	Total int64  `json:"total"` // 0: not counted yet
	Pass  int    `json:"pass"`
}

// Online asks Execute to build an index online. What it finds out is put into Job: nil if the statement is done.
type Online struct {
	Jobs *job.Table
	Job  *job.Record
	// Description of the job: the statement.
	Description string
}

// OnlineIndex returns the table whose rows a statement makes an index of, nil if it is no such statement.
func OnlineIndex(st ast.Statement) *ast.TableName {
	switch st := st.(type) {
	case *ast.CreateIndex:
		return st.Table
	case *ast.AlterTable:
		if st.Kind != "INDEX" && len(st.Cmds) == 1 && st.Cmds[0].Kind == ast.AddConstraint && st.Cmds[0].Constraint.Kind == ast.UniqueConstraint {
			return st.Table
		}
	}
	return nil
}

// HasRows reports whether a statement's table (OnlineIndex) has rows; it has none if there is no such table.
func HasRows(ctx context.Context, env *Env, name *ast.TableName) (bool, error) {
	c := &change{env: env, ctx: ctx, cat: newOverlay(env.Runtime.Catalog)}
	t, err := c.find(name.Schema, name.Name)
	if err != nil || t == nil || t.Kind != 'r' || t.Virtual {
		return false, nil // the statement itself says what is wrong
	}
	some, err := c.hasRows(t)
	return some, exec.Translate(err, env.Runtime.Catalog)
}

// buildOnline makes a job of the build of an index that has just been added, write-only, to a descriptor.
func (c *change) buildOnline(t *catalog.Table, id catalog.IndexID) error {
	o := c.env.Online
	b, err := json.Marshal(&indexBuild{Table: t.ID, Index: id, Data: t.DataID})
	if err != nil {
		return err
	}
	r := &job.Record{Kind: IndexBuild, Description: o.Description, User: c.env.User, Payload: b}
	if err := o.Jobs.Create(c.ctx, c.env.Runtime.Txn, r); err != nil {
		return err
	}
	o.Job = r
	return nil
}

// Builder runs the jobs of index builds. One per node.
type Builder struct {
	Store   *catalog.Store
	Gateway txn.Gateway
	Jobs    *job.Table
	// Runtime is what statements of a build run in.
	Runtime func(x txn.Txn, snap catalog.Snapshot) *exec.Runtime
	Log     *slog.Logger
	// Beat is between two checkpoints (default one second). Chunk is how many rows a piece has at first (default 2000).
	Beat  time.Duration
	Chunk int
	// AfterChunk is called after every piece; for tests.
	AfterChunk func()
}

const (
	defaultBeat  = time.Second
	defaultChunk = 2000
	minChunk     = 16
	// maxPasses bounds how often a fill is repeated because the check found entries missing.
	maxPasses = 10
	// undoTime bounds the undoing of a build whose context has ended.
	undoTime = time.Minute
)

var errIndexGone = pgerr.New(pgerr.ObjectNotInPrerequisiteState, "the index was dropped while it was being built")

// Begin runs the statement of an online build up to the job that it makes, and returns its command tag. env says what it runs in.
func (b *Builder) Begin(ctx context.Context, env func(x txn.Txn, snap catalog.Snapshot) *Env, st ast.Statement) (tag string, err error) {
	n := &building{b: b}
	err = n.apart(ctx, txn.Options{}, true, func(x txn.Txn, snap catalog.Snapshot) error {
		var err error
		tag, err = Execute(ctx, env(x, snap), st)
		return err
	})
	return tag, err
}

// Adopt is Run for a job of another node. When ctx ends the job is left to others rather than undone.
func (b *Builder) Adopt(ctx context.Context, r *job.Record) error {
	return b.carryOn(ctx, r, true)
}

// Run carries a job on to its end. It returns why the job failed; the index is gone then. If it returns job.ErrLost somebody else is at the
// job, and if it returns an error and the job is not over (Jobs tells), it could be neither finished nor undone: others adopt it.
func (b *Builder) Run(ctx context.Context, r *job.Record) error {
	return b.carryOn(ctx, r, false)
}

func (b *Builder) carryOn(ctx context.Context, r *job.Record, adopted bool) error {
	var p indexBuild
	if err := json.Unmarshal(r.Payload, &p); err != nil {
		return pgerr.New(pgerr.DataCorrupted, "the record of job %d is corrupt: %v", r.ID, err)
	}
	run := &building{b: b, r: r, p: p, size: b.Chunk}
	if run.size <= 0 {
		run.size = defaultChunk
	}
	var cause error = job.ErrCanceled
	if r.State != job.Canceling {
		cause = run.all(ctx)
	}
	if cause == nil || errors.Is(cause, job.ErrLost) {
		return cause
	}
	state := job.Failed
	if pgerr.Code(cause) == pgerr.QueryCanceled || ctx.Err() != nil {
		state = job.Canceled
	}
	uctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	if adopted && ctx.Err() != nil { // this node stops
		uctx, cancel := context.WithTimeout(uctx, time.Second)
		defer cancel()
		return errors.Join(cause, b.Jobs.Release(uctx, r))
	}
	known := settled(ctx, cause)
	switch uerr := run.undo(uctx, state, known); {
	case uerr == nil:
		return known
	case errors.Is(uerr, job.ErrLost):
		return b.lost(uctx, r, cause)
	default:
		b.Log.Warn("cannot undo an index build; a node will go on with it when the claim has run out", "job", r.ID, "err", uerr)
	}
	return cause
}

// settled is cause, once the index is out: what a piece of the fill, or publishing it, may have committed makes no difference then. Nobody is told
// that an outcome is not known which is.
func settled(ctx context.Context, cause error) error {
	switch pgerr.Code(cause) {
	case pgerr.StatementCompletionUnknown, pgerr.CannotConnectNow, pgerr.QueryCanceled:
	default:
		return cause
	}
	if ctx.Err() != nil {
		if e, ok := pgerr.As(context.Cause(ctx)); ok {
			return e
		}
		return pgerr.New(pgerr.QueryCanceled, "canceling statement due to user request")
	}
	if pgerr.Code(cause) == pgerr.StatementCompletionUnknown {
		return &pgerr.Error{Code: pgerr.CannotConnectNow, Message: "part of the database could not be reached while the index was built", Detail: "The index has been removed again."}
	}
	return cause
}

// lost is what to say of a job that failed for cause here, and that could not be undone because it is over, or another's: it may have been published
// by a commit whose answer did not come.
func (b *Builder) lost(ctx context.Context, r *job.Record, cause error) error {
	var now *job.Record
	err := job.Apart(ctx, b.Gateway, txn.Options{ReadOnly: true}, func(x txn.Txn) (err error) {
		now, err = job.Get(ctx, x, r.ID)
		return err
	})
	switch {
	case err != nil || now == nil:
		return cause
	case now.State == job.Succeeded:
		return nil
	}
	return job.ErrLost
}

// building is one run of a job.
type building struct {
	b    *Builder
	r    *job.Record
	size int
	lock bool // rows are locked: their writers were faster

	mu sync.Mutex
	p  indexBuild // guarded by mu; changed only by the run itself
}

func (n *building) progress(f func(p *indexBuild)) indexBuild {
	n.mu.Lock()
	defer n.mu.Unlock()
	if f != nil {
		f(&n.p)
	}
	return n.p
}

// all runs the steps while another goroutine keeps the claim.
func (n *building) all(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		n.beat(ctx, stop)
	}()
	err := n.steps(ctx)
	if err != nil && ctx.Err() != nil {
		if c := context.Cause(ctx); errors.Is(c, job.ErrLost) || errors.Is(c, job.ErrCanceled) {
			err = c
		}
	}
	stop(nil)
	<-ended
	return err
}

// beat stores the progress now and then, which renews the claim, and ends the run when the job is cancelled or lost.
func (n *building) beat(ctx context.Context, stop context.CancelCauseFunc) {
	every := n.b.Beat
	if every <= 0 {
		every = defaultBeat
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		p := n.progress(nil)
		r := *n.r
		r.Payload, _ = json.Marshal(&p) // of numbers and bytes: it cannot fail
		if p.Total > 0 {
			r.Fraction = min(float64(p.Done)/float64(p.Total), 0.99)
		}
		err := n.b.Jobs.Checkpoint(ctx, &r)
		switch {
		case errors.Is(err, job.ErrLost), errors.Is(err, job.ErrCanceled):
			stop(err)
			return
		case err != nil && ctx.Err() == nil:
			n.b.Log.Warn("cannot store the progress of an index build", "job", n.r.ID, "err", err)
		}
	}
}

func (n *building) steps(ctx context.Context) error {
	for {
		if n.progress(nil).Total == 0 {
			total, _, _, err := n.counts(ctx, false)
			if err != nil {
				return err
			}
			n.progress(func(p *indexBuild) { p.Total = max(total, 1) })
		}
		for {
			done, err := n.chunk(ctx)
			if err != nil {
				return err
			}
			if n.b.AfterChunk != nil {
				n.b.AfterChunk()
			}
			if done {
				break
			}
		}
		rows, entries, data, err := n.counts(ctx, true)
		if err != nil {
			return err
		}
		p := n.progress(nil)
		if rows == entries && data == p.Data {
			again, err := n.publish(ctx)
			if err != nil || !again {
				return err
			}
		} else if rows != entries {
			if err := n.findDuplicate(ctx); err != nil {
				return err
			}
			if p.Pass >= maxPasses {
				return pgerr.New(pgerr.DataCorrupted, "an index build came to %d entries for %d rows", entries, rows)
			}
		}
		n.progress(func(p *indexBuild) { p.Pass, p.After, p.Done = p.Pass+1, nil, 0 })
	}
}

// table finds the table and the index being built.
func (n *building) table(snap catalog.Snapshot) (*catalog.Table, *catalog.Index, error) {
	p := n.progress(nil)
	t, ok := snap.TableByID(p.Table)
	if !ok {
		return nil, nil, errIndexGone
	}
	for i := range t.Indexes {
		if ix := &t.Indexes[i]; ix.ID == p.Index {
			if ix.State == catalog.Public {
				return nil, nil, job.ErrLost // somebody else has finished it
			}
			return t, ix, nil
		}
	}
	return nil, nil, errIndexGone
}

// apart runs f in a transaction of its own, until it commits or fails for good. With changes f is a schema change.
func (n *building) apart(ctx context.Context, opts txn.Options, changes bool, f func(x txn.Txn, snap catalog.Snapshot) error) error {
	x := n.b.Gateway.Begin(ctx, opts)
	for {
		err := n.attempt(ctx, x, changes, f)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil && x.Retryable(err) {
			if err = x.Restart(ctx, err); err == nil {
				continue
			}
		}
		rollback(ctx, x)
		return exec.Translate(err, nil)
	}
}

func (n *building) attempt(ctx context.Context, x txn.Txn, changes bool, f func(x txn.Txn, snap catalog.Snapshot) error) error {
	snap, err := n.b.Store.Snapshot(ctx, x)
	if err != nil {
		return err
	}
	var uses catalog.Uses
	uses.Seen(snap, x.ReadTimestamp(), role.Root)
	if err := f(x, uses.Watch(snap)); err != nil {
		return err
	}
	end, err := n.b.Store.BeforeCommit(ctx, x, &uses, changes)
	if err != nil {
		return err
	}
	_, err = x.Commit(ctx)
	end()
	return err
}

func rollback(ctx context.Context, x txn.Txn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	x.Rollback(ctx)
}

// chunk does the next piece of the fill. Pieces become smaller while writers of their rows are faster, and then lock them.
func (n *building) chunk(ctx context.Context) (done bool, err error) {
	for {
		var next keys.Key
		var rows int
		p := n.progress(nil)
		x := n.b.Gateway.Begin(ctx, txn.Options{})
		err := n.attempt(ctx, x, false, func(x txn.Txn, snap catalog.Snapshot) error {
			t, ix, err := n.table(snap)
			if err != nil {
				return err
			}
			from := keys.Key(p.After)
			if t.DataID != p.Data {
				p.Data, from, p.Done = t.DataID, nil, 0
			}
			next, rows, err = exec.Backfill(ctx, n.b.Runtime(x, snap), t, ix, from, n.size, n.lock)
			return err
		})
		if err == nil {
			n.progress(func(q *indexBuild) { q.Data, q.After, q.Done = p.Data, next, p.Done+int64(rows) })
			if n.lock {
				n.lock = false
			} else if n.size < n.b.Chunk || n.b.Chunk <= 0 && n.size < defaultChunk {
				n.size *= 2
			}
			return next == nil, nil
		}
		again := ctx.Err() == nil && (x.Retryable(err) || kv.HasCode(err, kv.CodeDeadlock))
		rollback(ctx, x)
		if !again {
			return false, exec.Translate(err, nil)
		}
		if n.lock = n.size <= 4*minChunk; !n.lock {
			n.size /= 4
		} else {
			n.size = max(n.size/2, minChunk)
		}
	}
}

// counts counts rows, and if wanted entries, at one timestamp.
func (n *building) counts(ctx context.Context, both bool) (rows, entries int64, data uint64, err error) {
	err = n.apart(ctx, txn.Options{ReadOnly: true}, false, func(x txn.Txn, snap catalog.Snapshot) error {
		t, ix, err := n.table(snap)
		if err != nil {
			return err
		}
		c := &change{env: &Env{Runtime: n.b.Runtime(x, snap)}, ctx: ctx, cat: newOverlay(snap)}
		data = t.DataID
		if !both {
			rows, err = c.count(t, t.Primary())
			return err
		}
		if rows, err = c.countRows(t, ix); err != nil {
			return err
		}
		entries, err = c.count(t, ix)
		return err
	})
	return rows, entries, data, err
}

// findDuplicate looks for two rows that a unique index cannot both hold, and returns the error about them.
func (n *building) findDuplicate(ctx context.Context) error {
	return n.apart(ctx, txn.Options{ReadOnly: true}, false, func(x txn.Txn, snap catalog.Snapshot) error {
		t, ix, err := n.table(snap)
		if err != nil || !ix.Unique {
			return err
		}
		c := &change{env: &Env{Runtime: n.b.Runtime(x, snap)}, ctx: ctx, cat: newOverlay(snap)}
		return c.duplicateRows(t, ix)
	})
}

// publish makes the index public, unless the table's rows have been replaced since they were checked.
func (n *building) publish(ctx context.Context) (again bool, err error) {
	p := n.progress(nil)
	err = n.apart(ctx, txn.Options{}, true, func(x txn.Txn, _ catalog.Snapshot) error {
		w, err := n.b.Store.Writer(ctx, x, nil)
		if err != nil {
			return err
		}
		t, ix, err := n.table(w.Snapshot())
		if err != nil {
			return err
		}
		if again = t.DataID != p.Data; again {
			return nil
		}
		now := clone(t)
		for i := range now.Indexes {
			if now.Indexes[i].ID == ix.ID {
				now.Indexes[i].State = catalog.Public
			}
		}
		if err := w.ReplaceTable(ctx, t, now); err != nil {
			return err
		}
		r := *n.r // which the other goroutine reads
		r.Payload, _ = json.Marshal(&p)
		return job.Finish(ctx, x, &r, job.Succeeded, nil)
	})
	return again, err
}

// undo takes the index out again and ends the job.
func (n *building) undo(ctx context.Context, state job.State, cause error) error {
	for {
		err := n.apart(ctx, txn.Options{}, true, func(x txn.Txn, _ catalog.Snapshot) error {
			w, err := n.b.Store.Writer(ctx, x, nil)
			if err != nil {
				return err
			}
			t, ix, err := n.table(w.Snapshot())
			switch {
			case errors.Is(err, errIndexGone): // it was dropped
			case err != nil:
				return err
			default:
				c := &change{env: &Env{}, ctx: ctx, w: w, cat: newOverlay(w.Snapshot())}
				now := clone(t)
				for i := range now.Indexes {
					if now.Indexes[i].ID == ix.ID {
						if err := c.dropIndexAt(now, i); err != nil {
							return err
						}
						break
					}
				}
				if err := c.replace(t, now); err != nil {
					return err
				}
			}
			return job.Finish(ctx, x, n.r, state, cause)
		})
		if err == nil || ctx.Err() != nil || errors.Is(err, job.ErrLost) {
			return err
		}
		n.b.Log.Warn("cannot undo an index build yet", "job", n.r.ID, "err", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return err
		}
	}
}
