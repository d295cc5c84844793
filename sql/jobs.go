package sql

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/ddl"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/job"
	"github.com/pamirdb/pamir/sql/pgcatalog"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/txn"
)

// adoptEvery is how often a node looks for jobs that nobody is at.
const adoptEvery = 3 * time.Second

// newBuilder makes what runs index builds on this node.
func (srv *Server) newBuilder() *ddl.Builder {
	return &ddl.Builder{Store: srv.cfg.Catalog, Gateway: srv.cfg.Gateway, Jobs: srv.jobs, Log: srv.cfg.Log, Chunk: srv.cfg.IndexChunk, AfterChunk: srv.cfg.AfterIndexChunk,
		Runtime: func(x txn.Txn, snap catalog.Snapshot) *exec.Runtime {
			return &exec.Runtime{Txn: x, Catalog: snap, Ctx: &builtin.Context{}, Virtual: pgcatalog.Tables{}, TempDir: srv.cfg.TempDir,
				Node: srv.cfg.Node, Memory: exec.NewBudget(jobMemory, srv.cfg.Memory)}
		}}
}

// jobMemory bounds what one statement of a job uses.
const jobMemory = 64 << 20

// AdoptJobs goes on with jobs whose node has died, until ctx ends. One job at a time: they have all the time there is.
func (srv *Server) AdoptJobs(ctx context.Context) {
	t := time.NewTicker(adoptEvery)
	defer t.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		err := srv.adoptOnce(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			srv.cfg.Log.Warn("cannot look for abandoned jobs", "err", err)
		}
		failing = err != nil
	}
}

func (srv *Server) adoptOnce(ctx context.Context) error {
	ids, err := srv.jobs.Abandoned(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		r, ok, err := srv.jobs.Claim(ctx, id)
		if err != nil {
			return err
		}
		if !ok || r.Kind != ddl.IndexBuild {
			continue
		}
		srv.cfg.Log.Info("going on with a job that its node has left", "job", r.ID, "what", r.Description)
		if err := srv.newBuilder().Adopt(ctx, r); err != nil && ctx.Err() == nil {
			srv.cfg.Log.Warn("a job failed", "job", r.ID, "what", r.Description, "err", err)
		}
	}
	return nil
}

// buildOnline runs a statement that adds an index to a table with rows outside of the session's transaction. done is false if it is not
// such a statement, or there are no rows: then it is an ordinary schema change.
func (s *Session) buildOnline(ctx context.Context, p *portal, st ast.Statement) (tag string, done bool, err error) {
	target := ddl.OnlineIndex(st)
	if target == nil || !p.last || s.block != blockIdle || s.txUsed {
		return "", false, nil
	}
	builder := s.srv.newBuilder()
	env := func(x txn.Txn, snap catalog.Snapshot) *ddl.Env {
		e := &ddl.Env{Store: s.srv.cfg.Catalog, Runtime: builder.Runtime(x, s.srv.overlay(snap, false)), SearchPath: s.effects.searchPath, User: s.user,
			Database: s.database, Notice: s.notice}
		if cl := s.srv.cfg.Cluster; cl != nil {
			e.CheckRule = cl.CheckRule // an index can have a rule from the beginning
		}
		return e
	}
	some := false
	err = job.Apart(ctx, s.srv.cfg.Gateway, txn.Options{ReadOnly: true}, func(x txn.Txn) error {
		snap, err := s.srv.cfg.Catalog.Snapshot(ctx, x)
		if err == nil {
			some, err = ddl.HasRows(ctx, env(x, snap), target)
		}
		return err
	})
	if err != nil {
		return "", true, s.translate(err)
	}
	if !some {
		return "", false, nil
	}
	online := &ddl.Online{Jobs: s.srv.jobs, Description: p.stmt.stmt.Text}
	tag, err = builder.Begin(ctx, func(x txn.Txn, snap catalog.Snapshot) *ddl.Env {
		e := env(x, snap)
		online.Job = nil
		e.Online = online
		return e
	}, st)
	if err != nil || online.Job == nil {
		return tag, true, s.translate(err)
	}
	err = builder.Run(ctx, online.Job)
	if errors.Is(err, job.ErrLost) {
		err = s.awaitJob(ctx, online.Job.ID)
	}
	return tag, true, s.translate(err)
}

// awaitJob waits for a job that another node has taken over.
func (s *Session) awaitJob(ctx context.Context, id int64) error {
	for {
		var r *job.Record
		err := job.Apart(ctx, s.srv.cfg.Gateway, txn.Options{ReadOnly: true}, func(x txn.Txn) (err error) {
			r, err = job.Get(ctx, x, id)
			return err
		})
		switch {
		case err != nil:
			if ctx.Err() != nil { // the statement is cancelled: so is the job, wherever it is
				uctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
				defer cancel()
				if _, cerr := s.srv.jobs.Cancel(uctx, id); cerr != nil {
					s.srv.cfg.Log.Warn("cannot cancel a job", "job", id, "err", cerr)
				}
			}
			return err
		case r == nil:
			return pgerr.New(pgerr.InternalError, "job %d is not there any more", id)
		case r.State == job.Succeeded:
			return nil
		case r.State.Over():
			return &pgerr.Error{Code: r.Code, Message: r.Error, Detail: r.Detail}
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// CancelJob implements builtin.Operator.
func (s *Session) CancelJob(id int64) (bool, error) {
	if !s.superuserNow() {
		return false, pgerr.New(pgerr.InsufficientPrivilege, "only a superuser may cancel a job")
	}
	ok, err := s.srv.jobs.Cancel(s.ctx, id)
	return ok, s.translate(err)
}

// jobRows are the rows of pamir.jobs, as text.
func (s *Session) jobRows() ([][]*string, error) {
	all, err := s.srv.jobs.List(s.ctx)
	if err != nil {
		return nil, s.translate(err)
	}
	var rows [][]*string
	for _, r := range all {
		at := func(ns int64) *string {
			if ns == 0 {
				return nil
			}
			return stamp(time.Unix(0, ns))
		}
		var node *string
		if !r.State.Over() {
			node = str(strconv.Itoa(int(r.Node)))
		}
		rows = append(rows, []*string{str(strconv.FormatInt(r.ID, 10)), str(r.Kind), str(r.Description), str(string(r.State)),
			str(strconv.FormatFloat(r.Fraction, 'f', 3, 64)), str(r.User), node, at(r.Started), at(r.Finished), opt(r.Error)})
	}
	return rows, nil
}
