package admin

import (
	"context"
	"errors"
	"sync"
	"time"
)

// run is an operation that runs here.
type run struct {
	rec    *record // as it was when it began here
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when it runs here no more

	mu       sync.Mutex
	progress float64       // guarded by mu, like what follows
	left     time.Duration // 0: not known
	why      string
}

// lookEvery is how often a run stores its progress and looks whether it is to be cancelled.
const lookEvery = time.Second

// launch begins to run an operation whose record says that it runs here.
func (s *Server) launch(rec *record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.running[rec.Op.ID] != nil {
		return // it goes on elsewhere
	}
	ctx, cancel := context.WithCancelCause(s.ctx)
	r := &run{rec: rec, cancel: cancel, done: make(chan struct{}), progress: rec.Op.Progress, why: rec.Op.Why}
	s.running[rec.Op.ID] = r
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		defer func() {
			s.mu.Lock()
			delete(s.running, rec.Op.ID)
			s.mu.Unlock()
			cancel(nil)
			close(r.done)
		}()
		s.carryOut(ctx, r)
	}()
}

// call makes a call of a record; what it reports goes nowhere yet.
func (s *Server) call(r *record) *call {
	return &call{Cluster: s.cfg.Cluster, args: r.Op.Args, user: r.Op.User, prepared: r.Prepared,
		report: func(float64, time.Duration, string) {}, mark: func(context.Context) error { return nil }}
}

// report is what an action calls.
func (r *run) report(progress float64, left time.Duration, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.progress, r.left, r.why = min(max(progress, 0), 1), left, why
}

// carryOut runs an operation and records its end.
func (s *Server) carryOut(ctx context.Context, r *run) {
	act := actions[r.rec.Op.Verb]
	if act == nil { // of a newer version: that takes it over when this node is restarted
		s.cfg.Log.Warn("admin: an operation that this version does not know", "operation", r.rec.Op.ID, "verb", r.rec.Op.Verb)
		<-ctx.Done()
		return
	}
	c := s.call(r.rec)
	c.report, c.begun = r.report, r.rec.Begun
	c.mark = func(ctx context.Context) error {
		_, err := s.records.update(ctx, r.rec.Op.ID, func(rec *record) (bool, error) {
			rec.Begun = true
			return true, nil
		})
		return err
	}
	if r.rec.Op.State == Canceling {
		r.cancel(errCanceled)
	}
	var keeper sync.WaitGroup
	keeping, stop := context.WithCancel(ctx)
	keeper.Add(1)
	go func() {
		defer keeper.Done()
		s.keep(keeping, r)
	}()
	result, err := act.run(ctx, c)
	stop()
	keeper.Wait()
	state := Succeeded
	switch cause := context.Cause(ctx); {
	case s.ctx.Err() != nil || errors.Is(cause, errLost):
		return // somebody else goes on
	case err == nil:
	case errors.Is(cause, errCanceled):
		state, result, err = Canceled, nil, nil
		if act.undo != nil {
			if err = s.undo(act, c); err != nil {
				state = Failed
			}
		}
		if s.ctx.Err() != nil {
			return
		}
	default:
		state = Failed
	}
	s.finish(r, state, result, err)
}

// undo takes back what was begun, for as long as it takes within reason.
func (s *Server) undo(act *action, c *call) error {
	ctx, cancel := context.WithTimeout(s.ctx, 2*time.Minute)
	defer cancel()
	if err := patiently(ctx, func() error { return act.undo(ctx, c) }); err != nil {
		p := *AsProblem(err)
		p.Detail = "what was begun could not be undone: " + p.Detail
		return &p
	}
	return nil
}

// keep stores a run's progress now and then, and ends it if it is to be cancelled or is another's.
func (s *Server) keep(ctx context.Context, r *run) {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		look, cancel := context.WithTimeout(ctx, 5*time.Second)
		now, err := s.records.update(look, r.rec.Op.ID, func(rec *record) (bool, error) {
			if rec.Op.State != Running || !s.mine(rec) {
				return false, nil
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			var left *float64
			if r.left > 0 {
				left = new(r.left.Round(time.Second).Seconds())
			}
			o := &rec.Op
			if o.Progress == r.progress && o.Why == r.why && (left == nil) == (o.LeftSeconds == nil) && (left == nil || *left == *o.LeftSeconds) {
				return false, nil
			}
			o.Progress, o.Why, o.LeftSeconds = r.progress, r.why, left
			return true, nil
		})
		cancel()
		switch {
		case err != nil: // the next look may succeed; the action itself sees what is wrong
		case now == nil || now.Op.State.Over() || !s.mine(now):
			r.cancel(errLost)
			return
		case now.Op.State == Canceling:
			r.cancel(errCanceled)
			return
		}
	}
}

func (s *Server) mine(r *record) bool {
	return r.Op.NodeID == s.cfg.Node && r.Incarnation == s.cfg.Incarnation
}

// finish records the end of an operation, however long that takes.
func (s *Server) finish(r *run, state State, result map[string]any, cause error) {
	for {
		ctx, cancel := context.WithTimeout(s.ctx, 10*time.Second)
		_, err := s.records.update(ctx, r.rec.Op.ID, func(rec *record) (bool, error) {
			o := &rec.Op
			if o.State.Over() {
				return false, nil
			}
			o.State, o.Finished, o.Result, o.LeftSeconds, o.Why = state, time.Now().UTC(), result, nil, ""
			if cause != nil {
				o.Error = AsProblem(cause)
			}
			if state == Succeeded {
				o.Progress = 1
			}
			return true, nil
		})
		cancel()
		if err == nil || s.ctx.Err() != nil {
			if err == nil {
				s.cfg.Log.Info("admin: an operation has ended", "operation", r.rec.Op.ID, "verb", r.rec.Op.Verb, "state", string(state), "err", cause)
			}
			return
		}
		s.cfg.Log.Warn("admin: the end of an operation cannot be recorded yet", "operation", r.rec.Op.ID, "err", err)
		select {
		case <-time.After(time.Second):
		case <-s.ctx.Done():
		}
	}
}
