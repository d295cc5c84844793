package sql

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/txn"
)

// The rows of advisory locks, and the leases of the nodes whose sessions hold them.

const advisoryPrefix = "advisory/lock/"

func (t advisoryTag) row() keys.Key {
	return keys.System(fmt.Sprintf("%s%d/%016x", advisoryPrefix, t.sub, uint64(t.key)))
}

// String names the lock as PostgreSQL's messages do: [database,class,object,sub].
func (t advisoryTag) String() string {
	return fmt.Sprintf("advisory lock [16383,%d,%d,%d]", uint32(t.key>>32), uint32(t.key), t.sub)
}

func leaseRow(node int32) keys.Key { return keys.System("advisory/node/" + strconv.Itoa(int(node))) }

// Modes in which a session holds a lock; it may hold it in both.
const (
	advisoryShared    = 1
	advisoryExclusive = 2
)

// advisoryHolder is one session in a lock's row.
type advisoryHolder struct {
	node        int32
	incarnation int64
	pid         int32
	modes       byte
}

const advisoryHolderSize = 4 + 8 + 4 + 1

func encodeHolders(hs []advisoryHolder) []byte {
	b := make([]byte, 0, len(hs)*advisoryHolderSize)
	for _, h := range hs {
		b = binary.BigEndian.AppendUint32(b, uint32(h.node))
		b = binary.BigEndian.AppendUint64(b, uint64(h.incarnation))
		b = binary.BigEndian.AppendUint32(b, uint32(h.pid))
		b = append(b, h.modes)
	}
	return b
}

func decodeHolders(b []byte) ([]advisoryHolder, error) {
	if len(b)%advisoryHolderSize != 0 {
		return nil, pgerr.New(pgerr.DataCorrupted, "the record of an advisory lock is corrupt")
	}
	var hs []advisoryHolder
	for ; len(b) > 0; b = b[advisoryHolderSize:] {
		hs = append(hs, advisoryHolder{node: int32(binary.BigEndian.Uint32(b)), incarnation: int64(binary.BigEndian.Uint64(b[4:])),
			pid: int32(binary.BigEndian.Uint32(b[12:])), modes: b[16]})
	}
	return hs, nil
}

// Times of leases. A lease is renewed when a third of it has gone, and given up when
// its end is nearer than a sixth.
const (
	advisoryLease = 12 * time.Second
	advisoryRenew = 8 * time.Second
	advisoryGrace = 2 * time.Second
)

// advisoryNode is a node's side of advisory locks.
type advisoryNode struct {
	holding atomic.Int64 // locks held by sessions here

	leaseMu sync.Mutex
	until   atomic.Int64 // end of the lease as it is known to be written, wall ns

	mu      sync.Mutex
	freed   chan struct{} // closed at every release
	orphans []orphan      // locks of sessions that have ended, which could not be released then
}

type orphan struct {
	tag advisoryTag
	pid int32
}

// inSystem runs f in a transaction of its own until it succeeds.
func (srv *Server) inSystem(ctx context.Context, opts txn.Options, f func(tx txn.Txn) error) error {
	tx := srv.cfg.Gateway.Begin(ctx, opts)
	for {
		err := f(tx)
		if err == nil {
			if _, err = tx.Commit(ctx); err == nil {
				return nil
			}
		}
		again := tx.Retryable(err) || isDeadlock(err)
		if again && !isDeadlock(err) {
			if err = tx.Restart(ctx, err); err == nil {
				continue
			}
		}
		tx.Rollback(ctx)
		if !again || ctx.Err() != nil {
			return err
		}
		tx = srv.cfg.Gateway.Begin(ctx, opts)
	}
}

// ensureLease makes sure that this node's lease is good for a while.
func (srv *Server) ensureLease(ctx context.Context) error {
	a := &srv.advisory
	if time.Duration(a.until.Load()-srv.now()) > advisoryRenew {
		return nil
	}
	a.leaseMu.Lock()
	defer a.leaseMu.Unlock()
	now := srv.now()
	if time.Duration(a.until.Load()-now) > advisoryRenew {
		return nil
	}
	until := now + int64(advisoryLease)
	err := srv.inSystem(ctx, txn.Options{}, func(tx txn.Txn) error {
		b := binary.BigEndian.AppendUint64(nil, uint64(srv.incarnation))
		return tx.Put(leaseRow(srv.cfg.Node), binary.BigEndian.AppendUint64(b, uint64(until)))
	})
	if err == nil {
		a.until.Store(until)
	}
	return err
}

func (srv *Server) now() int64 { return srv.cfg.Gateway.Clock().Now().WallTime }

// holderDead reports whether the holder's process is known to hold nothing any more.
func (srv *Server) holderDead(ctx context.Context, tx txn.Txn, h *advisoryHolder) (bool, error) {
	if h.node == srv.cfg.Node && h.incarnation == srv.incarnation {
		return false, nil // it is here, and releases it
	}
	b, ok, err := tx.Get(ctx, leaseRow(h.node), txn.ScanOptions{})
	if err != nil {
		return false, err
	}
	if !ok || len(b) != 16 || int64(binary.BigEndian.Uint64(b)) != h.incarnation {
		return true, nil // the process has been followed by another
	}
	return int64(binary.BigEndian.Uint64(b[8:]))+int64(srv.cfg.Gateway.Clock().MaxOffset()) < srv.now(), nil
}

// changeAdvisory sets a session's modes in the row of a lock. If it wants more than others let it have, nothing
// changes and their process ids are returned.
func (srv *Server) changeAdvisory(ctx context.Context, tag advisoryTag, pid int32, modes byte) (blockers []int32, err error) {
	row := tag.row()
	err = srv.inSystem(ctx, txn.Options{}, func(tx txn.Txn) error {
		blockers = blockers[:0]
		b, _, err := tx.Get(ctx, row, txn.ScanOptions{Lock: kv.LockUpdate, Latest: true})
		if err != nil {
			return err
		}
		hs, err := decodeHolders(b)
		if err != nil {
			return err
		}
		me := advisoryHolder{node: srv.cfg.Node, incarnation: srv.incarnation, pid: pid, modes: modes}
		mine := byte(0)
		kept := make([]advisoryHolder, 0, len(hs)+1)
		for _, h := range hs {
			if h.pid == pid && h.node == me.node && h.incarnation == me.incarnation {
				mine = h.modes
				continue
			}
			if modes == 0 || h.modes&advisoryExclusive == 0 && modes&advisoryExclusive == 0 {
				kept = append(kept, h)
				continue
			}
			dead, err := srv.holderDead(ctx, tx, &h)
			if err != nil {
				return err
			}
			if !dead {
				blockers = append(blockers, h.pid)
				kept = append(kept, h)
			}
		}
		if len(blockers) > 0 && modes&^mine != 0 {
			return nil
		}
		if modes != 0 {
			kept = append(kept, me)
		}
		if len(kept) == 0 {
			return tx.Delete(row)
		}
		return tx.Put(row, encodeHolders(kept))
	})
	return blockers, err
}

// KeepAdvisoryLocks renews this node's lease while its sessions hold advisory locks, and ends them when that
// fails for too long; it releases what sessions that have ended left. It returns when ctx ends.
func (srv *Server) KeepAdvisoryLocks(ctx context.Context) {
	t := time.NewTicker(advisoryLease / 24)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		a := &srv.advisory
		if a.holding.Load() > 0 {
			tctx, cancel := context.WithTimeout(ctx, advisoryLease/12)
			err := srv.ensureLease(tctx)
			cancel()
			if err != nil && time.Duration(a.until.Load()-srv.now()) < advisoryGrace {
				srv.cfg.Log.Warn("the lease of advisory locks could not be renewed; sessions that hold any are ended", "err", err)
				srv.endHolders()
			}
		}
		a.mu.Lock()
		left := a.orphans
		a.orphans = nil
		a.mu.Unlock()
		for _, o := range left {
			tctx, cancel := context.WithTimeout(ctx, advisoryLease/12)
			srv.releaseOrKeep(tctx, o)
			cancel()
		}
	}
}

// leaseLost reports whether others may have taken what sessions of this node held.
func (srv *Server) leaseLost() bool { return srv.advisory.until.Load() < srv.now() }

// errAdvisoryLost ends a session whose advisory locks are not its own any more: its node was cut off, or stood still.
var errAdvisoryLost = fatal(pgerr.New(pgerr.AdminShutdown, "terminating connection because its advisory locks were lost")).
	WithDetail("The node could not renew its lease on them in time; others may hold them now.")

func (srv *Server) endHolders() {
	srv.mu.Lock()
	var doomed []*Session
	for _, s := range srv.sessions {
		if s.holdsAdvisory.Load() {
			doomed = append(doomed, s)
		}
	}
	srv.mu.Unlock()
	for _, s := range doomed {
		s.HangUp()
	}
}

// releaseOrKeep releases a lock of a session that has ended, or keeps it for later.
func (srv *Server) releaseOrKeep(ctx context.Context, o orphan) {
	_, err := srv.changeAdvisory(ctx, o.tag, o.pid, 0)
	a := &srv.advisory
	a.mu.Lock()
	if err != nil {
		a.orphans = append(a.orphans, o)
	}
	a.mu.Unlock()
	if err == nil {
		a.holding.Add(-1)
		a.wake()
	}
}

func (a *advisoryNode) wake() {
	a.mu.Lock()
	if a.freed != nil {
		close(a.freed)
		a.freed = nil
	}
	a.mu.Unlock()
}

func (a *advisoryNode) released() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.freed == nil {
		a.freed = make(chan struct{})
	}
	return a.freed
}

// advisoryLockRows are the advisory locks of pg_locks.
func (s *Session) advisoryLockRows(all []NodeActivity) [][]*string {
	num := func(v int64) *string { return str(strconv.FormatInt(v, 10)) }
	row := func(t advisoryTag, pid int32, shared, granted bool, since *string) []*string {
		mode := "ExclusiveLock"
		if shared {
			mode = "ShareLock"
		}
		return []*string{str("advisory"), str("16383"), nil, nil, nil, nil, nil, num(int64(uint32(t.key >> 32))), num(int64(uint32(t.key))), num(int64(t.sub)),
			nil, num(int64(pid)), str(mode), pgBool(granted), str("f"), since}
	}
	var rows [][]*string
	held, err := s.srv.advisoryLocks(s.ctx)
	if err != nil {
		s.warn("01000", "advisory locks could not be read: %v", err)
	}
	for _, t := range slices.SortedFunc(maps.Keys(held), func(a, b advisoryTag) int { return a.row().Compare(b.row()) }) {
		for _, h := range held[t] {
			for i, m := range []byte{advisoryShared, advisoryExclusive} {
				if h.modes&m != 0 {
					rows = append(rows, row(t, h.pid, i == 0, true, nil))
				}
			}
		}
	}
	for i := range all {
		for _, in := range all[i].Sessions {
			if w := in.Advisory; w != nil {
				rows = append(rows, row(advisoryTag{w.Key, w.Sub}, in.PID, w.Shared, false, stamp(w.Since)))
			}
		}
	}
	return rows
}

// advisoryLocks reads all rows.
func (srv *Server) advisoryLocks(ctx context.Context) (map[advisoryTag][]advisoryHolder, error) {
	prefix := keys.System(advisoryPrefix)
	var out map[advisoryTag][]advisoryHolder
	err := srv.inSystem(ctx, txn.Options{ReadOnly: true}, func(tx txn.Txn) error {
		out = map[advisoryTag][]advisoryHolder{}
		return eachSystemRow(ctx, tx, prefix, func(k keys.Key, v []byte) error {
			var t advisoryTag
			var key uint64
			if _, err := fmt.Sscanf(strings.TrimPrefix(string(k), string(prefix)), "%d/%x", &t.sub, &key); err != nil {
				return pgerr.New(pgerr.DataCorrupted, "the record of an advisory lock is corrupt")
			}
			t.key = int64(key)
			hs, err := decodeHolders(v)
			if err != nil {
				return err
			}
			for _, h := range hs {
				dead, err := srv.holderDead(ctx, tx, &h)
				if err != nil {
					return err
				}
				if !dead {
					out[t] = append(out[t], h)
				}
			}
			return nil
		})
	})
	return out, exec.Translate(err, nil)
}

// eachSystemRow calls f with every row of the system key space under a prefix.
func eachSystemRow(ctx context.Context, tx txn.Txn, prefix keys.Key, f func(k keys.Key, v []byte) error) error {
	return eachRowIn(ctx, tx, keys.Span{Start: prefix, End: prefix.PrefixEnd()}, 0, f)
}

// eachRowIn calls f with the rows of a span, at most limit of them (0: all).
func eachRowIn(ctx context.Context, tx txn.Txn, span keys.Span, limit int64, f func(k keys.Key, v []byte) error) error {
	sc := tx.Scan(ctx, []keys.Span{span}, txn.ScanOptions{MaxRows: limit})
	defer sc.Close()
	for {
		page, ok, err := sc.Next(ctx)
		if err != nil || !ok {
			return err
		}
		for rows := page.Rows; ; {
			k, v, ok, err := rows.Next()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			if err := f(k, v); err != nil {
				return err
			}
		}
	}
}
