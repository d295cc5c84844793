package admin

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/verb"
	"github.com/pamirdb/pamir/txn"
)

// Config of a Server.
type Config struct {
	Cluster Cluster
	// Here answers the verbs that look at the node alone: status, locks, ...: by name.
	Here map[string]Look
	// InTxn runs f in a transaction, as often as it takes; NextID hands out numbers of operations.
	InTxn  func(ctx context.Context, f func(t txn.Txn) error) error
	NextID func(ctx context.Context) (int64, error)
	// Node and its Incarnation are who runs what is begun here; Gone reports whether another's process has ended, or does not answer. Leads reports whether this node
	// takes over what others have left: at any time about one does.
	Node        kv.NodeID
	Incarnation int64
	Gone        func(node kv.NodeID, incarnation int64) bool
	Leads       func() bool
	// UserOf is who makes an HTTP request.
	UserOf func(ctx context.Context) string
	Log    *slog.Logger
	// AdoptEvery is the pause between two looks at what others have left; 0: five seconds.
	AdoptEvery time.Duration
}

// Server carries verbs out. Run must be called once.
type Server struct {
	cfg     Config
	records records
	slots   chan struct{} // of HTTP requests
	waits   chan struct{} // of those that wait
	http    httpRoutes
	// readWithin bounds reading a request's body.
	readWithin time.Duration

	ctx    context.Context // ends with Run
	cancel context.CancelFunc
	wg     sync.WaitGroup // of operations

	mu      sync.Mutex
	closed  bool           // guarded by mu
	running map[int64]*run // operations that run here; guarded by mu
}

// New makes a server.
func New(cfg Config) *Server {
	if cfg.AdoptEvery == 0 {
		cfg.AdoptEvery = 5 * time.Second
	}
	s := &Server{cfg: cfg, records: records{cfg.InTxn, cfg.NextID}, slots: make(chan struct{}, maxRequests), waits: make(chan struct{}, maxWaits), running: map[int64]*run{}, readWithin: readWithin}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.http = s.routes()
	return s
}

// Run takes over what other nodes have left, until ctx ends; then it waits for the operations that run here to stop. They go on elsewhere.
func (s *Server) Run(ctx context.Context) {
	defer func() {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		s.cancel()
		s.wg.Wait()
	}()
	t := time.NewTicker(s.cfg.AdoptEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if !s.cfg.Leads() {
			continue
		}
		if err := s.adopt(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.Info("admin: operations that others left cannot be looked at now", "err", err)
		}
	}
}

// adopt takes over operations whose node is gone, and removes old records.
func (s *Server) adopt(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	all, err := s.records.list(ctx)
	if err != nil {
		return err
	}
	for _, r := range all {
		if r.Op.State.Over() || s.runsHere(r.Op.ID) || !s.gone(r) {
			continue
		}
		was := *r
		now, err := s.records.update(ctx, r.Op.ID, func(r *record) (bool, error) {
			if r.Op.State.Over() || r.Op.NodeID != was.Op.NodeID || r.Incarnation != was.Incarnation {
				return false, nil
			}
			r.Op.NodeID, r.Incarnation = s.cfg.Node, s.cfg.Incarnation
			return true, nil
		})
		if err != nil {
			return err
		}
		if now != nil && !now.Op.State.Over() && now.Op.NodeID == s.cfg.Node && now.Incarnation == s.cfg.Incarnation {
			s.cfg.Log.Info("admin: going on with an operation", "operation", r.Op.ID, "verb", r.Op.Verb, "left_by", int(was.Op.NodeID))
			s.launch(now)
		}
	}
	return s.records.trim(ctx, all, time.Now())
}

func (s *Server) gone(r *record) bool {
	if r.Op.NodeID == s.cfg.Node {
		return r.Incarnation != s.cfg.Incarnation
	}
	return s.cfg.Gone(r.Op.NodeID, r.Incarnation)
}

func (s *Server) runsHere(id int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running[id] != nil
}

// Request asks for a verb that changes something.
type Request struct {
	User string
	// Key, if not empty, makes the request idempotent: the same user with the same key gets the same operation.
	Key  string
	Verb *verb.Verb
	Args verb.Args
}

// Begin begins an operation. If its key has been used, began is false, and the operation is that of the first time.
func (s *Server) Begin(ctx context.Context, q Request) (op *Operation, began bool, err error) {
	act := actions[q.Verb.Name]
	if act == nil {
		return nil, false, NewProblem(CodeInvalid, "%s is not an operation", q.Verb.Name)
	}
	if err := q.Verb.Check(q.Args); err != nil {
		return nil, false, err
	}
	if len(q.Key) > MaxKey {
		return nil, false, NewProblem(CodeInvalid, "the idempotency key is too long: at most %d bytes", MaxKey)
	}
	again := func(r *record) (*Operation, bool, error) {
		if !same(&r.Op, q.Verb.Name, q.Args) {
			return nil, false, NewProblem(CodeKeyReused, "the idempotency key %q was used for operation %d, which asked for something else", q.Key, r.Op.ID).
				WithHint("Use a new key for a new request.")
		}
		return &r.Op, false, nil
	}
	if q.Key != "" {
		// Before anything is checked: what was asked for then may make no sense any more, having been done.
		r, err := s.records.find(ctx, q.User, q.Key)
		if err != nil {
			return nil, false, err
		}
		if r != nil {
			return again(r)
		}
	}
	r := &record{Version: recordVersion, Incarnation: s.cfg.Incarnation, Op: Operation{Verb: q.Verb.Name, Args: q.Args, User: q.User, Key: q.Key,
		State: Running, NodeID: s.cfg.Node, Started: time.Now().UTC()}}
	c := s.call(r)
	if err := act.check(ctx, c); err != nil {
		return nil, false, err
	}
	r.Prepared = c.prepared
	if err := s.room(ctx); err != nil {
		return nil, false, err
	}
	taken, err := s.records.create(ctx, r)
	switch {
	case err != nil:
		return nil, false, err
	case taken != nil:
		return again(taken)
	}
	s.cfg.Log.Info("admin: an operation begins", "operation", r.Op.ID, "verb", r.Op.Verb, "user", r.Op.User)
	op = new(r.Op)
	s.launch(r)
	return op, true, nil
}

// room refuses more operations at once than there may be.
func (s *Server) room(ctx context.Context) error {
	all, err := s.records.list(ctx)
	if err != nil {
		return err
	}
	open := 0
	for _, r := range all {
		if !r.Op.State.Over() {
			open++
		}
	}
	if open >= maxOpen {
		return NewProblem(CodeTooMany, "%d operations run already", open).WithHint("Wait until some of them end, or cancel them.")
	}
	return nil
}

// Get returns an operation.
func (s *Server) Get(ctx context.Context, id int64) (*Operation, error) {
	r, err := s.records.read(ctx, id)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, noOperation(id)
	}
	return &r.Op, nil
}

func noOperation(id int64) error {
	return NewProblem(CodeNotFound, "there is no operation %d", id).WithHint("Those that are over are kept for a week, and the newest %d.", keepMost)
}

// List returns all operations, the newest first.
func (s *Server) List(ctx context.Context) ([]Operation, error) {
	all, err := s.records.list(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Operation, 0, len(all))
	for _, r := range slices.Backward(all) {
		out = append(out, r.Op)
	}
	return out, nil
}

// Wait waits for the end of an operation, at most so long, and returns it as it is then.
func (s *Server) Wait(ctx context.Context, id int64, d time.Duration) (*Operation, error) {
	deadline := time.Now().Add(d)
	for {
		s.mu.Lock()
		r := s.running[id]
		s.mu.Unlock()
		left := time.Until(deadline)
		var done <-chan struct{}
		if r != nil {
			done = r.done
		} else {
			op, err := s.Get(ctx, id)
			if err != nil || op.State.Over() || left <= 0 {
				return op, err
			}
			left = min(left, 250*time.Millisecond) // it runs on another node
		}
		t := time.NewTimer(left)
		select {
		case <-done:
			t.Stop()
			return s.Get(ctx, id)
		case <-t.C:
			if r != nil {
				return s.Get(ctx, id)
			}
		case <-ctx.Done():
			t.Stop()
			return nil, ctx.Err()
		}
	}
}

// Cancel asks for an operation to be undone.
func (s *Server) Cancel(ctx context.Context, id int64) (*Operation, error) {
	r, err := s.records.update(ctx, id, func(r *record) (bool, error) {
		if r.Op.State != Running {
			return false, nil // over, or being cancelled
		}
		if v := verb.ByName(r.Op.Verb); v == nil || !v.Cancelable {
			return false, NewProblem(CodeConflict, "operation %d (%s) cannot be cancelled", id, r.Op.Verb)
		}
		r.Op.State = Canceling
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, noOperation(id)
	}
	if r.Op.State.Over() && r.Op.State != Canceled {
		return nil, NewProblem(CodeConflict, "operation %d is over: it has %s", id, r.Op.State)
	}
	s.mu.Lock()
	here := s.running[id]
	s.mu.Unlock()
	if here != nil {
		here.cancel(errCanceled)
	}
	return &r.Op, nil
}

// Do carries a verb out for SQL: one that can last is recorded, and waited for unless it returns its number; the others are done at once.
// If ctx ends while it waits, the operation is cancelled.
func (s *Server) Do(ctx context.Context, q Request) (verb.Outcome, error) {
	if q.Verb.Name == "cancel_operation" {
		if err := q.Verb.Check(q.Args); err != nil {
			return verb.Outcome{}, err
		}
		op, err := s.Cancel(ctx, q.Args.Int("operation_id"))
		if err != nil {
			return verb.Outcome{}, err
		}
		return verb.Outcome{Operation: op.ID}, nil
	}
	if !q.Verb.Cancelable {
		act := actions[q.Verb.Name]
		if act == nil {
			return verb.Outcome{}, NewProblem(CodeInvalid, "%s is not an operation", q.Verb.Name)
		}
		if err := q.Verb.Check(q.Args); err != nil {
			return verb.Outcome{}, err
		}
		c := s.call(&record{Op: Operation{Args: q.Args, User: q.User}})
		if err := act.check(ctx, c); err != nil {
			return verb.Outcome{}, err
		}
		result, err := act.run(ctx, c)
		return verb.Outcome{Result: result}, err
	}
	op, _, err := s.Begin(ctx, q)
	if err != nil || q.Verb.Function != nil && q.Verb.Function.Returns == verb.Begun {
		if err != nil {
			return verb.Outcome{}, err
		}
		return verb.Outcome{Operation: op.ID}, nil
	}
	id := op.ID
	for {
		op, err = s.Wait(ctx, id, time.Minute)
		switch {
		case ctx.Err() != nil:
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			if _, e := s.Cancel(undo, id); e != nil && AsProblem(e).Code != CodeConflict {
				s.cfg.Log.Warn("admin: an operation goes on that nobody waits for", "operation", id, "err", e)
			}
			return verb.Outcome{Operation: id}, ctx.Err()
		case err != nil:
			return verb.Outcome{Operation: id}, err
		case op.State == Failed:
			return verb.Outcome{Operation: id}, op.Error
		case op.State == Canceled:
			return verb.Outcome{Operation: id}, NewProblem(CodeConflict, "operation %d was cancelled", id)
		case op.State == Succeeded:
			return verb.Outcome{Operation: id, Result: op.Result}, nil
		}
	}
}

// Reasons why a run ends early.
var (
	errCanceled = errors.New("the operation is cancelled")
	errLost     = errors.New("the operation is another node's now")
)
