package store

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"

	"github.com/pamirdb/pamir/range/internal/replica"
	"github.com/pamirdb/pamir/range/kv"
)

type snapshotKey struct {
	rng kv.RangeID
	to  kv.ReplicaID
}

// sendSnapshot sends a snapshot in the background, and tells Raft what became of it. It is called
// by the goroutine that processes the replica.
func (s *Store) sendSnapshot(r *replica.Replica, to kv.Replica) {
	k := snapshotKey{r.ID(), to.ReplicaID}
	s.mu.Lock()
	sent := new(atomic.Int64)
	busy := s.sending[k] != nil
	if !busy {
		s.sending[k] = sent
	}
	s.mu.Unlock()
	if busy || s.ctx.Err() != nil {
		return // the one under way will be reported
	}
	asked, began := r.Gentle(to.ReplicaID), time.Now()
	how := func() urgency { return s.urgency(asked, r.Desc(), began) }
	s.goLoop(func() {
		ctx, cancel := context.WithTimeout(s.ctx, s.cfg.Knobs.SnapshotTimeout)
		defer cancel()
		err := s.trySnapshot(ctx, r, to, how, sent)
		if gone := stillThere(r, to); err != nil && gone != nil {
			err = gone // whatever its receiver made of it
		}
		pause, report := time.Duration(0), false
		s.mu.Lock()
		delete(s.sending, k)
		if err == nil {
			delete(s.refused, k)
		} else {
			pause, report = s.snapshotFailed(k, err, time.Now())
		}
		s.mu.Unlock()
		status := raft.SnapshotFinish
		if err != nil {
			status = raft.SnapshotFailure
			if s.ctx.Err() == nil {
				level := slog.LevelDebug
				if report {
					level = slog.LevelWarn
				}
				s.log.Log(ctx, level, "snapshot failed", "range", int64(r.ID()), "to", int(to.StoreID), "err", err)
				select { // Raft would try again at once
				case <-time.After(pause):
				case <-s.ctx.Done():
				}
			}
		} else {
			s.metrics.SnapshotsOut.Add(1)
		}
		r.ReportSnapshot(to.ReplicaID, status)
	})
}

// refusals are those of one snapshot, one after another, that its receiver was not ready for: it has not applied the split that made the range, or makes way for it otherwise. That
// comes to pass by itself, often while other snapshots are sent for minutes: it is worth a word only if it does not.
type refusals struct {
	times int
	say   time.Time // when
}

const (
	maxRefusedPause = 2 * time.Second
	refusedSilently = 2 * time.Minute
	maxRefused      = 1024 // are remembered
)

// snapshotFailed says after which pause a snapshot that has failed may be tried again, and whether the failure is worth a warning. mu is held.
func (s *Store) snapshotFailed(k snapshotKey, err error, now time.Time) (pause time.Duration, report bool) {
	if !kv.HasCode(err, kv.CodeNotNow) {
		delete(s.refused, k)
		return jobRetry, true
	}
	x := s.refused[k]
	if x.times == 0 {
		if len(s.refused) >= maxRefused { // of replicas that have gone since
			clear(s.refused)
		}
		x.say = now.Add(refusedSilently)
	}
	x.times++
	if report = now.After(x.say); report {
		x.say = now.Add(refusedSilently)
	}
	s.refused[k] = x
	return min(jobRetry<<min(x.times-1, 4), maxRefusedPause), report
}

// urgency of a snapshot that is under way since then, whose change was asked for as gentle, or not. Sender and receiver each see for themselves.
func (s *Store) urgency(asGentle bool, d *kv.RangeDescriptor, since time.Time) urgency {
	voters := 0
	for _, p := range d.Replicas {
		if p.VotesOld() {
			voters++
		}
	}
	switch {
	case asGentle && !s.misses(d, since):
		return gentle
	case voters <= 1:
		return lone
	default:
		return urgent
	}
}

// misses reports whether a voter's store has been silent for so long that it is suspect: whatever the range is being changed for, it has a replica less meanwhile, and no
// repair begins before the change is over. Of a store that had nothing in common with this one, nothing may have been heard before since.
func (s *Store) misses(d *kv.RangeDescriptor, since time.Time) bool {
	for _, p := range d.Replicas {
		if p.StoreID != s.id.StoreID && (p.VotesOld() || p.VotesNew()) &&
			min(s.support.silence(p.StoreID), time.Since(since)) > s.cfg.Knobs.SupportDuration {
			return true
		}
	}
	return false
}

// trySnapshot sends a snapshot when there is a slot, and counts the bytes in sent. how is asked again as it goes: what nobody waited for may have become urgent.
func (s *Store) trySnapshot(ctx context.Context, r *replica.Replica, to kv.Replica, how func() urgency, sent *atomic.Int64) error {
	err := s.cfg.Transport.SendSnapshot(ctx, to.NodeID, to.StoreID, func(send func([]byte) error) error { return r.AskSnapshot(to, send) })
	if kv.HasCode(err, kv.CodeNotNow) {
		return err
	}
	// Whatever else was the answer: a node of an earlier version waits for what does not follow.
	p := s.pacing
	release, err := p.slot(ctx, s.snapSlots, how)
	if err != nil {
		return err
	}
	defer release()
	k := &p.kind(how(), 0).paced
	p.begin(k)
	defer p.end(k)
	pace := func(ctx context.Context, n int) error {
		if err := stillThere(r, to); err != nil {
			return err // or it would keep its slots here and there for as long as it takes
		}
		return p.kind(how(), sent.Load()).out.Wait(ctx, n)
	}
	return s.cfg.Transport.SendSnapshot(ctx, to.NodeID, to.StoreID, func(send func([]byte) error) error {
		return r.WriteSnapshot(ctx, to, how() == gentle, pace, func(f []byte) error {
			err := send(f)
			if err == nil {
				sent.Add(int64(len(f)))
			}
			return err
		})
	})
}

// stillThere returns an error if the replica that a snapshot is for has been removed, as one knows who has applied it.
func stillThere(r *replica.Replica, to kv.Replica) error {
	if _, ok := r.Desc().ReplicaByID(to.ReplicaID); ok {
		return nil
	}
	return kv.NotNow(kv.NotNowReplicas, "replica %d of range %d has been removed", to.ReplicaID, r.ID())
}

// Sending returns the snapshots that are on their way from here, and those that wait for a slot.
func (s *Store) Sending() []Sending {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Sending, 0, len(s.sending))
	for k, sent := range s.sending {
		out = append(out, Sending{RangeID: k.rng, To: k.to, Sent: sent.Load()})
	}
	return out
}

// HandleSnapshot receives a snapshot stream: recv returns its frames, then io.EOF. It returns when the snapshot
// is in place, or with the reason why not.
func (s *Store) HandleSnapshot(ctx context.Context, recv func() ([]byte, error)) error {
	if !s.started.Load() || s.closed.Load() != nil {
		return errNotRunning
	}
	f, err := recv()
	if err != nil {
		return err
	}
	h, err := replica.ParseSnapshotHeader(f)
	if err != nil {
		return err
	}
	m := h.Message
	if m.To.StoreID != s.id.StoreID || !s.observe(m.Now) {
		return fmt.Errorf("store: snapshot for store %d came to store %d", m.To.StoreID, s.id.StoreID)
	}
	r := s.replica(m.RangeID)
	if r == nil || r.ReplicaID() != m.To.ReplicaID {
		if r = s.replicaFor(m, r); r == nil {
			return fmt.Errorf("store: no replica %d of range %d here", m.To.ReplicaID, m.RangeID)
		}
	}
	if h.Asks { // before there is a slot: who has to wait for what the slots are taken by would only keep one
		s.creating.Lock()
		err := s.free(h.Desc)
		if err != nil {
			s.splitsDue.keep(h) // before creating is let go of, and a split can make the replica
		}
		s.creating.Unlock()
		if err == nil {
			err = s.wants(r, h)
		}
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	p, began := s.pacing, time.Now()
	how := func() urgency { return s.urgency(h.Gentle, h.Desc, began) }
	release, err := p.slot(ctx, s.recvSlots, how)
	if err != nil {
		if s.ctx.Err() != nil {
			return errClosing
		}
		return err
	}
	defer release()
	if err := s.eng.CheckSpace(false); err != nil {
		return err
	}
	if err := s.reserve(h.Desc); err != nil {
		return err
	}
	defer s.unreserve(h.Desc.RangeID)
	if err := s.wants(r, h); err != nil {
		return err
	}
	prefix := s.eng.FS().PathJoin(s.cfg.Dir, fmt.Sprintf("%sr%d-%d", snapshotPrefix, m.RangeID, s.clock.Now().WallTime))
	k := &p.kind(how(), 0).paced
	p.begin(k)
	defer p.end(k)
	received := int64(0)
	staged, err := replica.ReceiveSnapshot(s.eng, h, prefix, func() ([]byte, error) {
		if err := s.ctx.Err(); err != nil {
			return nil, err
		}
		f, err := recv()
		if err == nil {
			received += int64(len(f))
			err = p.kind(how(), received).in.Wait(ctx, len(f)) // meanwhile the sender waits
		}
		return f, err
	})
	if err != nil {
		return err
	}
	r.DeliverSnapshot(staged)
	return <-staged.Done
}

// wants refuses a snapshot that the replica can do without. It comes after the look at the bounds: a split that takes them out of the way makes the replica, too.
func (s *Store) wants(r *replica.Replica, h *replica.SnapshotHeader) error {
	if r.GoesByLog(h) {
		return kv.NotNow(kv.NotNowBehind, "the replica of range %d on store %d needs no snapshot by now", h.Desc.RangeID, s.id.StoreID)
	}
	return nil
}

// reserve keeps the bounds of a snapshot free while it is received.
func (s *Store) reserve(d *kv.RangeDescriptor) error {
	// Under creating no split makes a replica between the look and the reservation.
	s.creating.Lock()
	defer s.creating.Unlock()
	if err := s.free(d); err != nil {
		return err
	}
	s.mu.Lock()
	s.receiving[d.RangeID] = d.Span()
	s.mu.Unlock()
	return nil
}

// free refuses a snapshot whose bounds another range has here, or gets, and one of a range of which another snapshot, an earlier leader's, is still on its way. creating is held.
func (s *Store) free(d *kv.RangeDescriptor) error {
	s.mu.RLock()
	_, busy := s.receiving[d.RangeID]
	s.mu.RUnlock()
	if busy {
		return kv.NotNow(kv.NotNowBehind, "another snapshot of range %d is being received by store %d", d.RangeID, s.id.StoreID)
	}
	other, taken := s.overlapping(d)
	if !taken {
		return nil
	}
	s.work.push(job{kind: jobLookUp, rng: other}) // it may be one that its range has given up
	return kv.NotNow(kv.NotNowBehind, "snapshot of %s overlaps range %d, which has not caught up", d, other)
}

func (s *Store) unreserve(id kv.RangeID) {
	s.mu.Lock()
	delete(s.receiving, id)
	s.mu.Unlock()
}
