package sql

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/txn"
)

// replayLog is what a transaction has done so far, kept so that it can be done again when the
// transaction must restart.
//
// In an implicit transaction the results of the entries are cut out of the output and made anew; that works while nothing
// of them has been sent. In a block the client has seen them: the entries run again with their output compared to what
// was sent, and only if it is the same does the transaction go on.
type replayLog struct {
	entries []replayEntry
	bytes   int
	// barred: something ran that cannot be run again; why says what.
	barred bool
	why    string
	cause  error // of the last restart
}

// replayEntry is one executed statement.
type replayEntry struct {
	portal   *portal
	from, to int64  // its output
	sum      uint64 // of the output, in a block
	summed   bool
	// past: a statement of a READ COMMITTED block that only read, before the block wrote or locked anything. It had a snapshot of its own, and
	// what it gave is as true of the transaction that is run again: it stays as it is.
	past    bool
	final   bool // its completion waits for the commit
	counted bool // a read by key, which has been taken note of (noteWrite, noteReads)
}

// Bounds of the log, in a transaction block.
const (
	maxReplayEntries = 128
	maxReplayBytes   = 64 << 10
)

func (l *replayLog) reset() {
	clear(l.entries)
	l.entries = l.entries[:0]
	l.bytes = 0
	l.barred, l.why, l.cause = false, "", nil
}

func (l *replayLog) len() int { return len(l.entries) }

// bar says that the transaction cannot be replayed from here on.
func (l *replayLog) bar(why string) {
	if l.barred {
		return
	}
	l.reset()
	l.barred, l.why = true, why
}

func (l *replayLog) add(e replayEntry) {
	if l.barred {
		return
	}
	l.bytes += len(e.portal.buf) + len(e.portal.stmt.text)
	if len(l.entries) >= maxReplayEntries || l.bytes > maxReplayBytes {
		l.bar("it is longer than what the server keeps")
		return
	}
	e.portal.logged = true
	l.entries = append(l.entries, e)
}

// fixSnapshot sees to it that the snapshot stays where it is, before results are shown that cannot be taken back: were it to move
// afterwards, what has been read would be looked at again, and if it had changed, the client would get 40001. That is the business of all
// transactions that only read, and of READ COMMITTED; the others have to look at their reads at the commit in any case. A snapshot of which something
// has been shown stays as it is: to move it would mean to fail for what nobody may ever have asked for.
func (s *Session) fixSnapshot(ctx context.Context) error {
	f, ok := s.tx.(txn.SnapshotFixer)
	if !ok || !s.mayFix {
		return nil
	}
	err := f.FixSnapshot(ctx)
	// It fails if what has been read has changed since: the next attempt fixes its snapshot before it reads anything.
	s.fixFirst = err != nil
	return err
}

// beforeSending is called when the output of a statement has become too much to be kept back.
func (s *Session) beforeSending() error {
	if s.tx == nil {
		return nil
	}
	return s.fixSnapshot(s.ctx)
}

// retryable reports whether the transaction may be run again after err.
func (s *Session) retryable(err error, attempt int) bool {
	if s.tx == nil || !s.tx.Retryable(err) && !isDeadlock(err) {
		return false
	}
	switch {
	case s.log.barred:
		s.whyNot = s.log.why
	case s.effects.maxRetries == 0:
		s.whyNot = "pamir.max_retries is 0"
	case attempt > s.effects.maxRetries:
		s.whyNot = "it had run " + strconv.Itoa(attempt) + " times (pamir.max_retries)"
	default:
		return true
	}
	return false
}

// resultsSent is why a transaction is not run again whose results the client may have seen.
const resultsSent = "results of it had been sent"

// cut takes back the output since from; if that is not possible any more, that is why the transaction is not run again.
func (s *Session) cut(from int64) bool {
	_, ok := s.client.Cut(from)
	if !ok {
		s.whyNot = resultsSent
	}
	return ok
}

// statementAgain runs the statement at hand of a READ COMMITTED block once more, alone, with a new snapshot: those before it stand. The
// caller has taken its output back, or will. It works where a replay does not, whatever ran before.
func (s *Session) statementAgain(ctx context.Context, err error, mark statementMark, from int64, attempt int) bool {
	if s.opts.Isolation != kv.ReadCommitted || s.block != blockOpen || s.tx == nil || attempt > s.effects.maxRetries || !s.tx.Retryable(err) {
		return false
	}
	r, ok := s.tx.(txn.StatementRestarter)
	if !ok || !s.cut(from) {
		return false
	}
	s.adv.Retake(ctx, mark.advisory)
	if !r.RestartStatement(mark.writes, err) {
		return false
	}
	s.srv.metrics.Retries.Add(1)
	s.srv.metrics.retried(scopeStatement, err)
	s.snap = nil
	s.refs.Undo()
	return true
}

// statementMark is what a statement began with.
type statementMark struct {
	writes   txn.Mark
	advisory int
}

// scopes of retries.
const (
	scopeImplicit = iota
	scopeBlock
	scopeStatement
	numScopes
)

// ScopeNames are what was run again, in the order of Metrics.RetriesBy.
var ScopeNames = [numScopes]string{"implicit transaction", "transaction block", "statement"}

func (m *Metrics) retried(scope int, cause error) {
	i := 0
	var k *kv.Error
	if errors.As(cause, &k) && int(k.Code) < len(m.RetriesBy[scope]) {
		i = int(k.Code)
	}
	m.RetriesBy[scope][i].Add(1)
}

// isDeadlock reports whether the transaction was chosen to end a deadlock. It has to let go of its locks, and may then try again.
func isDeadlock(err error) bool { return kv.HasCode(err, kv.CodeDeadlock) }

// restart prepares the transaction for another attempt.
func (s *Session) restart(ctx context.Context, cause error, attempt int) error {
	s.srv.metrics.Retries.Add(1)
	s.log.cause = cause
	if s.block == blockIdle {
		s.srv.metrics.retried(scopeImplicit, cause)
	} else {
		s.srv.metrics.retried(scopeBlock, cause)
	}
	if attempt > 1 {
		// Losers of a race that meet again at once lose again: spread them.
		d := time.Millisecond << min(attempt-2, 6)
		t := time.NewTimer(time.Duration(rand.Int64N(int64(d))) + d/4)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return s.translate(ctx.Err())
		}
	}
	s.adv.Retake(ctx, 0)
	if isDeadlock(cause) {
		s.tx.Rollback(ctx)
		s.tx = s.srv.cfg.Gateway.Begin(ctx, s.opts)
	} else if err := s.tx.Restart(ctx, cause); err != nil {
		return s.translate(err)
	}
	s.snap = nil
	s.uses.Reset()
	s.txUsed, s.txWrote, s.epoch = false, false, 0
	s.saves = s.saves[:0]
	s.refs.Reset()
	return nil
}

// errReplay says that a replay did not give what the client had been told.
var errReplay = errors.New("the transaction's results have changed")

// replay runs the log again. own: the results have not been sent and take the places of the old ones; otherwise they are compared.
func (s *Session) replay(ctx context.Context, own bool) error {
	l := &s.log
	if len(l.entries) == 0 {
		return nil
	}
	if own {
		return s.replayOwn(ctx)
	}
	s.client.Hold(true)
	defer s.client.Hold(false)
	for i := range l.entries {
		e := &l.entries[i]
		if e.past {
			continue
		}
		from := s.client.Position()
		err := s.rerun(ctx, e)
		sum, ok := s.client.Sum(from)
		if _, cut := s.client.Cut(from); !cut {
			ok = false
		}
		if err != nil {
			if s.tx.Retryable(err) || isDeadlock(err) {
				return err
			}
			return s.changed(i, err)
		}
		if !ok || !e.summed || sum != e.sum {
			return s.changed(i, errReplay)
		}
	}
	return nil
}

// changed is the failure of a replay at its i-th entry.
func (s *Session) changed(i int, cause error) error {
	why := "a failure"
	var k *kv.Error
	if errors.As(s.log.cause, &k) {
		why = k.Code.String()
	}
	return &pgerr.Error{Code: pgerr.SerializationFailure, Message: "could not serialize access due to concurrent update",
		Detail: fmt.Sprintf("Reason: the transaction was run again after %s, and the results of its statement %d had changed.", why, i+1),
		Hint:   "The transaction might succeed if retried.", Cause: errors.Join(errReplay, errors.New(cause.Error()))}
}

// sentAlready is the failure of a replay whose results the client has in part.
func (s *Session) sentAlready() error {
	s.whyNot = resultsSent
	return &pgerr.Error{Code: pgerr.SerializationFailure, Message: "could not serialize access due to concurrent update",
		Detail: "Reason: what the transaction had read has changed.", Hint: "The transaction might succeed if retried."}
}

// replayOwn runs the log again and puts the new results in the places of the old ones. What other messages wrote
// between them stays.
func (s *Session) replayOwn(ctx context.Context) error {
	l := &s.log
	start := l.entries[0].from
	old, ok := s.client.Cut(start)
	if !ok {
		return s.sentAlready()
	}
	at := start // how far the old output has been dealt with
	for i := range l.entries {
		e := &l.entries[i]
		s.client.Raw(old[at-start : e.from-start])
		at = e.to
		e.from = s.client.Position()
		if err := s.rerun(ctx, e); err != nil {
			if s.tx.Retryable(err) || isDeadlock(err) {
				// Another attempt needs the whole of the old output again: put the rest behind what is new.
				e.to = s.client.Position()
				s.requeue(old, start, at, i+1)
			}
			return err
		}
		e.to = s.client.Position()
	}
	s.client.Raw(old[at-start:])
	return nil
}

// requeue writes the old output of the entries from next on and moves their positions to it.
func (s *Session) requeue(old []byte, start, at int64, next int) {
	shift := s.client.Position() - at
	s.client.Raw(old[at-start:])
	for i := next; i < len(s.log.entries); i++ {
		s.log.entries[i].from += shift
		s.log.entries[i].to += shift
	}
}

// rerun runs one entry again.
func (s *Session) rerun(ctx context.Context, e *replayEntry) error {
	p := e.portal
	p.rewind()
	err := s.runPortal(ctx, p, 0, false)
	if err != nil {
		return err
	}
	if !e.final {
		s.client.Complete(p.tag)
	}
	return nil
}

// visible counts a serialization failure, a deadlock or an unknown outcome that the client is about to see, by its
// reason, and adds to its hint why the server did not run the transaction again by itself.
func (s *Session) visible(err error) error {
	why := s.whyNot
	s.whyNot = ""
	e, ok := pgerr.As(err)
	if !ok || e.Code != pgerr.SerializationFailure && e.Code != pgerr.DeadlockDetected && e.Code != pgerr.StatementCompletionUnknown {
		return err
	}
	i := 0
	var k *kv.Error
	if errors.As(err, &k) {
		i = int(k.Code)
	} else if e.Code == pgerr.DeadlockDetected { // one with advisory locks in it
		i = int(kv.CodeDeadlock)
	}
	if errors.Is(err, errReplay) || i >= len(s.srv.metrics.Aborts) {
		i = len(s.srv.metrics.Aborts) - 1
	}
	s.srv.metrics.Aborts[i].Add(1)
	if why == "" || e.Code == pgerr.StatementCompletionUnknown || errors.Is(err, errReplay) {
		return err
	}
	told := *e
	if told.Hint == "" {
		told.Hint = "The transaction might succeed if retried."
	}
	told.Hint += " The server did not run it again by itself: " + why + "."
	return &told
}
