package sql

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/advisory"
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// What sessions have to do with advisory locks; the locks are in package advisory.

// AdvisoryWait is an advisory lock that a session waits for.
type AdvisoryWait struct {
	Key    int64
	Sub    byte
	Shared bool
	Since  time.Time
}

func (srv *Server) newAdvisory() *advisory.Locks {
	cfg := advisory.Config{Store: systemRows{srv}, Clock: srv.cfg.Gateway.Clock(), Node: srv.cfg.Node, Incarnation: srv.incarnation,
		EndHolders: srv.endHolders, Log: srv.cfg.Log}
	if c := srv.cfg.Cluster; c != nil {
		cfg.Tell = func(ctx context.Context, node int32, g advisory.Grant) error {
			return c.AdvisoryGranted(ctx, kv.NodeID(node), g)
		}
	}
	return advisory.New(cfg)
}

// Advisory is the node's side of advisory locks. Its Run has to run.
func (srv *Server) Advisory() *advisory.Locks { return srv.advisory }

// errAdvisoryLost ends a session whose advisory locks are not its own any more: its node was cut off, or stood still.
var errAdvisoryLost = fatal(pgerr.New(pgerr.AdminShutdown, "terminating connection because its advisory locks were lost")).
	WithDetail("The node could not renew its lease on them in time; others may hold them now.")

// endHolders ends the sessions that hold advisory locks.
func (srv *Server) endHolders() {
	srv.mu.Lock()
	var doomed []*Session
	for _, s := range srv.sessions {
		if s.adv.Holds() {
			doomed = append(doomed, s)
		}
	}
	srv.mu.Unlock()
	for _, s := range doomed {
		s.HangUp()
	}
}

func advisoryTag(args []types.Datum) advisory.Tag {
	if len(args) == 2 {
		return advisory.Tag{Key: args[0].I<<32 | int64(uint32(args[1].I)), Sub: 2}
	}
	return advisory.Tag{Key: args[0].I, Sub: 1}
}

func (s *Session) takeAdvisory(tag advisory.Tag, shared, forTxn, try bool) (bool, error) {
	ms, _ := strconv.Atoi(s.settings.Get("deadlock_timeout")) // canonical: parses
	defer s.showAdvisory(nil)
	ok, err := s.adv.Take(s.ctx, tag, shared, forTxn, try, advisory.Wait{
		LockTimeout:     s.effects.lockTimeout,
		DeadlockTimeout: time.Duration(ms) * time.Millisecond,
		Others:          func() map[int32][]int32 { return s.rowBlockers(s.activity()) },
		Show:            func() { s.showAdvisory(&AdvisoryWait{tag.Key, tag.Sub, shared, time.Now()}) },
	})
	var deadlock *advisory.DeadlockError
	switch {
	case err == nil:
		return ok, nil
	case errors.As(err, &deadlock):
		s.whyNot = "that is done for deadlocks of row locks only"
		return false, &pgerr.Error{Code: pgerr.DeadlockDetected, Message: "deadlock detected", Detail: deadlock.Detail}
	case errors.Is(err, advisory.ErrLockTimeout):
		return false, pgerr.New(pgerr.LockNotAvailable, "canceling statement due to lock timeout")
	}
	return false, s.translate(err)
}

func (s *Session) showAdvisory(w *AdvisoryWait) {
	s.mu.Lock()
	s.info.Advisory = w
	s.mu.Unlock()
}

// unlockAdvisory gives back one acquisition of the session; false, with a warning, if there is none.
func (s *Session) unlockAdvisory(tag advisory.Tag, shared bool) bool {
	if !s.adv.Owns(tag, shared) {
		mode := "ExclusiveLock"
		if shared {
			mode = "ShareLock"
		}
		s.warn("01000", "you don't own a lock of type %s", mode)
		return false
	}
	s.log.bar("it released an advisory lock")
	s.adv.Unlock(s.ctx, tag, shared)
	return true
}

// blockers says for each session that waits for a lock which sessions it waits for; 0 stands for a transaction without a session, such
// as a prepared one.
func (s *Session) blockers(all []NodeActivity) map[int32][]int32 {
	graph := s.rowBlockers(all)
	s.advisoryTable().AddWaits(graph)
	for i := range all {
		for _, in := range all[i].Sessions {
			if in.FirstRead != 0 && !slices.Contains(graph[in.PID], in.FirstRead) {
				graph[in.PID] = append(graph[in.PID], in.FirstRead)
			}
		}
	}
	return graph
}

func (s *Session) advisoryTable() advisory.Table {
	t, err := s.srv.advisory.Table(s.ctx)
	if err != nil {
		s.warn("01000", "advisory locks could not be read: %v", s.translate(err))
	}
	return t
}

// advisoryLockRows are the advisory locks of pg_locks.
func (s *Session) advisoryLockRows(all []NodeActivity) [][]*string {
	since := map[int32]time.Time{}
	for i := range all {
		for _, in := range all[i].Sessions {
			if in.Advisory != nil {
				since[in.PID] = in.Advisory.Since
			}
		}
	}
	num := func(v int64) *string { return str(strconv.FormatInt(v, 10)) }
	var rows [][]*string
	for _, h := range s.advisoryTable().Holdings() {
		mode := "ExclusiveLock"
		if h.Shared {
			mode = "ShareLock"
		}
		var start *string
		if at, ok := since[h.PID]; ok && !h.Granted {
			start = stamp(at)
		}
		rows = append(rows, []*string{str("advisory"), str("16383"), nil, nil, nil, nil, nil, num(int64(uint32(h.Tag.Key >> 32))), num(int64(uint32(h.Tag.Key))), num(int64(h.Tag.Sub)),
			nil, num(int64(h.PID)), str(mode), pgBool(h.Granted), str("f"), start})
	}
	return rows
}

func init() {
	zero := types.NewInt(0)
	for _, args := range []string{"int8", "int4"} {
		for _, shared := range []bool{false, true} {
			sh := ""
			if shared {
				sh = "_shared"
			}
			for _, forTxn := range []bool{false, true} {
				kind := ""
				if forTxn {
					kind = "xact_"
				}
				builtin.RegisterKernel("pg_advisory_"+kind+"lock"+sh+"_"+args, sessionKernel(func(s *Session, a []types.Datum) (types.Datum, error) {
					_, err := s.takeAdvisory(advisoryTag(a), shared, forTxn, false)
					return zero, err
				}))
				builtin.RegisterKernel("pg_try_advisory_"+kind+"lock"+sh+"_"+args, sessionKernel(func(s *Session, a []types.Datum) (types.Datum, error) {
					ok, err := s.takeAdvisory(advisoryTag(a), shared, forTxn, true)
					return types.NewBool(ok), err
				}))
			}
			builtin.RegisterKernel("pg_advisory_unlock"+sh+"_"+args, sessionKernel(func(s *Session, a []types.Datum) (types.Datum, error) {
				return types.NewBool(s.unlockAdvisory(advisoryTag(a), shared)), nil
			}))
		}
	}
	builtin.RegisterKernel("pg_advisory_unlock_all", sessionKernel(func(s *Session, _ []types.Datum) (types.Datum, error) {
		s.log.bar("it released advisory locks")
		s.adv.UnlockAll(s.ctx)
		return zero, nil
	}))
}
