package sql

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
	"github.com/pamirdb/pamir/txn"
)

// Transaction ids for clients (xid8), and what became of them.
//
// A transaction that has been asked for its id, or whose id was reported in advance (pamir.report_xact_id), writes a record of that id with its own
// writes: the record is there if and only if the transaction has committed. Who asks for the outcome (pg_xact_status) reads it on any
// node. If there is none, and no session runs the transaction any more, a record that says "aborted" is put there first: a commit that
// is still on its way meets it and fails. So an answer, once given, stays true.
//
// An id is the time in µs since 2020, 52 bits, and 11 bits for the node, so ids rise with time as PostgreSQL's do. (The
// ids below SQL have 128 bits, name the attempt, and change when the server runs a transaction again; this one stays.)
// Records are kept for xactKept; about older ids pg_xact_status knows nothing (NULL), as PostgreSQL about those it has forgotten.

const (
	xactNodeBits = 11
	xactKept     = 24 * time.Hour
	xactPrefix   = "xact/"
)

var xactEpoch = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

func xactRow(xid int64) keys.Key { return keys.System(fmt.Sprintf("%s%016x", xactPrefix, uint64(xid))) }

// xactTime is when an id was made.
func xactTime(xid int64) time.Time { return time.UnixMicro(xid>>xactNodeBits + xactEpoch) }

var (
	xactCommitted = []byte{'c'}
	xactAborted   = []byte{'a'}
)

// newXactID makes an id that no other transaction of the cluster has.
func (srv *Server) newXactID() int64 {
	now := srv.now()/1000 - xactEpoch
	for {
		last := srv.lastXact.Load()
		next := max(last+1, now)
		if srv.lastXact.CompareAndSwap(last, next) {
			return next<<xactNodeBits | int64(srv.cfg.Node%(1<<xactNodeBits))
		}
	}
}

// assignXactID gives the transaction its id.
func (s *Session) assignXactID() int64 {
	if s.xid == 0 {
		if s.xid = s.nextXid; s.xid == 0 {
			s.xid = s.srv.newXactID()
		}
		s.mu.Lock()
		s.info.Xid = s.xid
		s.mu.Unlock()
	}
	return s.xid
}

// announceXactID is the setting pamir.xact_id: the id that the running transaction has, or the next one that writes will have.
func (s *Session) announceXactID() string {
	switch {
	case !s.effects.reportXact:
		return ""
	case s.xid != 0:
		return strconv.FormatInt(s.xid, 10)
	case s.nextXid == 0:
		s.nextXid = s.srv.newXactID()
		s.mu.Lock()
		s.info.NextXid = s.nextXid
		s.mu.Unlock()
	}
	return strconv.FormatInt(s.nextXid, 10)
}

// recordXact adds the record of the transaction's id to its writes, before it commits.
func (s *Session) recordXact() error {
	if s.xid == 0 && s.nextXid != 0 && s.effects.reportXact && s.tx.HasWrites() {
		s.assignXactID()
	}
	if s.xid == 0 || s.opts.ReadOnly {
		return nil
	}
	return s.tx.Insert(xactRow(s.xid), xactCommitted)
}

// xactEnded forgets the id. A read-only transaction could not write its record itself; nothing depends on when it is written.
func (s *Session) xactEnded(commit bool) {
	if s.nextXid != 0 && (s.xid != 0 || !commit) {
		// Somebody may ask about an announced id whose transaction has failed, too: it is not used again.
		s.nextXid = 0
		s.settings.MarkUnreported()
	}
	if s.xid == 0 {
		return
	}
	if commit && s.opts.ReadOnly {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		_, err := s.srv.settleXact(ctx, s.xid, xactCommitted)
		cancel()
		if err != nil {
			s.srv.cfg.Log.Warn("the outcome of a read-only transaction is not recorded", "xid", s.xid, "err", err)
		}
	}
	s.xid = 0
	s.mu.Lock()
	s.info.Xid, s.info.NextXid = 0, s.nextXid
	s.mu.Unlock()
}

// xactPrepared lets go of an id that belongs to a prepared transaction now: its record is prepared with the rest.
func (s *Session) xactPrepared() {
	if s.xid == 0 {
		return
	}
	s.xid = 0
	if s.nextXid != 0 {
		s.nextXid = 0
		s.settings.MarkUnreported()
	}
	s.mu.Lock()
	s.info.Xid, s.info.NextXid = 0, 0
	s.mu.Unlock()
}

// fencedXact turns the failure of the record's write into what it means: somebody has asked for the outcome while this node could not be
// reached, and was told that the transaction had failed.
func (s *Session) fencedXact(err error) error {
	var k *kv.Error
	if s.xid == 0 || !errors.As(err, &k) || k.Code != kv.CodeConditionFailed || !k.Key.Equal(xactRow(s.xid)) {
		return err
	}
	return pgerr.New(pgerr.SerializationFailure, "could not serialize access: the transaction has been declared aborted").
		WithDetail("Reason: pg_xact_status(%d) was asked while the node that runs the transaction did not answer.", s.xid).
		WithHint("Nothing of it was written. The transaction might succeed if retried.")
}

// resolvable adds to an unknown outcome how the client learns it.
func (s *Session) resolvable(err error) error {
	if e, ok := pgerr.As(err); ok && e.Code == pgerr.StatementCompletionUnknown && s.xid != 0 {
		e.Hint = fmt.Sprintf("SELECT pg_xact_status('%d') tells, on any node.", s.xid)
	}
	return err
}

// settleXact returns what the record of an id says; if there is none, it becomes outcome. busy: the record is being written.
func (srv *Server) settleXact(ctx context.Context, xid int64, outcome []byte) (status string, err error) {
	row := xactRow(xid)
	err = srv.inSystem(ctx, txn.Options{}, func(tx txn.Txn) error {
		b, ok, err := tx.Get(ctx, row, txn.ScanOptions{Lock: kv.LockUpdate, Latest: true, Wait: kv.WaitError})
		if err != nil {
			return err
		}
		if ok {
			status = string(b)
			return nil
		}
		status = string(outcome)
		return tx.Put(row, outcome)
	})
	return status, err
}

// xactStatus is pg_xact_status.
func (s *Session) xactStatus(xid int64) (types.Datum, error) {
	if xid == 0 { // no transaction's
		return types.NullDatum, nil
	}
	at := xactTime(xid)
	now := time.Unix(0, s.srv.now())
	if xid <= 0 || at.After(now.Add(s.srv.cfg.Gateway.Clock().MaxOffset())) {
		return types.Datum{}, pgerr.New(pgerr.InvalidParameterValue, "transaction ID %d is in the future", uint64(xid))
	}
	if xid == s.xid {
		return types.NewString("in progress"), nil
	}
	if now.Sub(at) > xactKept {
		return types.NullDatum, nil
	}
	status := ""
	read := func(o txn.ScanOptions) error {
		return s.srv.inSystem(s.ctx, txn.Options{}, func(tx txn.Txn) error {
			b, _, err := tx.Get(s.ctx, xactRow(xid), o)
			status = string(b)
			return err
		})
	}
	// A read that takes no lock would wait for what a client has prepared, until that is finished.
	err := read(txn.ScanOptions{Lock: kv.LockShare, Latest: true, Wait: kv.WaitError})
	if kv.HasCode(err, kv.CodeLockNotAvailable) {
		var prepared bool
		switch prepared, err = s.undecided(xid); {
		case prepared:
			return types.NewString("in progress"), nil
		case err == nil:
			err = read(txn.ScanOptions{}) // its commit is on its way, or is settled for a node that has died
		}
	}
	if err == nil && status == "" {
		for _, a := range s.activity() {
			for i := range a.Sessions {
				if in := &a.Sessions[i]; in.Xid == xid || in.NextXid == xid {
					return types.NewString("in progress"), nil
				}
			}
		}
		status, err = s.srv.settleXact(s.ctx, xid, xactAborted)
	}
	switch {
	case kv.HasCode(err, kv.CodeLockNotAvailable): // prepared: its transaction is on its way, or in the hands of another coordinator
		return types.NewString("in progress"), nil
	case err != nil:
		return types.Datum{}, s.translate(exec.Translate(err, nil))
	case status == string(xactCommitted):
		return types.NewString("committed"), nil
	case status == string(xactAborted):
		return types.NewString("aborted"), nil
	}
	return types.Datum{}, pgerr.New(pgerr.DataCorrupted, "the record of transaction %d is corrupt", xid)
}

// forgetXacts removes the records of ids that are too old to be asked about.
func (srv *Server) forgetXacts(ctx context.Context, now time.Time) error {
	prefix := keys.System(xactPrefix)
	end := xactRow((now.Add(-2*xactKept).UnixMicro() - xactEpoch) << xactNodeBits)
	for {
		n := 0
		err := srv.inSystem(ctx, txn.Options{}, func(tx txn.Txn) error {
			n = 0
			return eachRowIn(ctx, tx, keys.Span{Start: prefix, End: end}, 500, func(k keys.Key, _ []byte) error {
				n++
				return tx.Delete(k.Clone())
			})
		})
		if err != nil || n == 0 {
			return err
		}
	}
}

// KeepXactIDs forgets old transaction ids until ctx ends.
func (srv *Server) KeepXactIDs(ctx context.Context) {
	t := time.NewTicker(10 * time.Minute)
	defer t.Stop()
	var decided []preparedRow
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		if err := srv.forgetXacts(ctx, time.Unix(0, srv.now())); err != nil && ctx.Err() == nil {
			srv.cfg.Log.Warn("old transaction ids could not be removed", "err", err)
		}
		var err error
		if decided, err = srv.forgetPrepared(ctx, decided); err != nil && ctx.Err() == nil {
			srv.cfg.Log.Warn("names of prepared transactions that have been finished could not be removed", "err", err)
		}
	}
}

func init() {
	type fn = func(s *Session, a []types.Datum) (types.Datum, error)
	for source, f := range map[string]fn{
		"pg_current_xact_id": func(s *Session, _ []types.Datum) (types.Datum, error) {
			if _, err := s.snapshot(s.ctx); err != nil {
				return types.Datum{}, err
			}
			return types.NewInt(s.assignXactID()), nil
		},
		"pg_current_xact_id_if_assigned": func(s *Session, _ []types.Datum) (types.Datum, error) {
			if s.xid == 0 && (s.tx == nil || !s.tx.HasWrites()) {
				return types.NullDatum, nil
			}
			return types.NewInt(s.assignXactID()), nil
		},
		"pg_xact_status": func(s *Session, a []types.Datum) (types.Datum, error) { return s.xactStatus(a[0].I) },
	} {
		builtin.RegisterKernel(source, sessionKernel(f))
	}
}
