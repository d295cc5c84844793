package transport

import (
	"context"
	"encoding/binary"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/pamirdb/pamir/range/kv"
)

// batchStream is the answering end of one peer's batch stream.
type batchStream struct {
	t    *Transport
	h    Handler
	from kv.NodeID
	ctx  context.Context
	end  context.CancelFunc // of ctx: ends the stream
	box  *outbox
	wg   sync.WaitGroup
	work chan batchJob // to idle workers; unbuffered

	mu      sync.Mutex
	cancels map[uint64]context.CancelFunc // of the requests being answered; guarded by mu
	over    bool                          // the handler returns: no new requests; guarded by mu
}

type batchJob struct {
	ctx    context.Context
	cancel context.CancelFunc
	id     uint64
	body   []byte
	relay  bool
}

// workerIdle is how long a worker without work keeps its (grown) stack.
const workerIdle = 2 * time.Second

func (t *Transport) serveBatch(st grpc.ServerStream) error {
	from, err := t.admit(st.Context(), false)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(st.Context())
	s := &batchStream{t: t, h: t.handle(), from: from, ctx: ctx, end: cancel, box: newOutbox(8 * maxBatchBytes),
		work: make(chan batchJob), cancels: map[uint64]context.CancelFunc{}}
	defer s.wg.Wait()
	defer func() {
		cancel()
		s.mu.Lock()
		s.over = true
		s.mu.Unlock()
	}()
	stop := context.AfterFunc(t.ctx, cancel)
	defer stop()
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		w := writer{t: t, to: from, kind: KindBatch, box: s.box, send: func(b []byte) error { return st.SendMsg(&frame{b: b}) }}
		// A failed write shows as a failed read as well, which ends the stream.
		if _, err := w.run(ctx); err != nil {
			cancel()
		}
	}()
	// The reader hands requests to workers itself: one hand-off less for every request. It is not waited for, because it ends
	// with the stream, which ends when this handler returns; what it still receives then is not started.
	errc := make(chan error, 1)
	go func() {
		var f frame
		for {
			if st.RecvMsg(&f) != nil {
				errc <- nil // the peer is gone
				return
			}
			if err := s.receive(f.b); err != nil {
				errc <- err
				return
			}
		}
	}()
	select {
	case err := <-errc:
		return err
	case <-ctx.Done():
		return nil
	}
}

func (s *batchStream) receive(b []byte) error {
	s.t.cfg.Metrics.recvBytes[KindBatch].Add(float64(len(b)))
	ts, b, err := cutReading(b)
	if err != nil {
		return err
	}
	believed := s.t.believe(ts, s.from)
	for len(b) > 0 {
		var id, timeout uint64
		if id, b, err = cutUvarint(b); err != nil {
			return err
		}
		if len(b) == 0 {
			return errFrame
		}
		kind := b[0]
		b = b[1:]
		if kind == batchCancel {
			s.mu.Lock()
			cancel := s.cancels[id]
			s.mu.Unlock()
			if cancel != nil {
				cancel()
			}
			continue
		}
		if kind != batchRequest && kind != batchRelay {
			return errFrame
		}
		if timeout, b, err = cutUvarint(b); err != nil {
			return err
		}
		var body []byte
		if body, b, err = cutBytes(b); err != nil {
			return err
		}
		if !believed {
			s.fail(id, kv.Errorf(kv.CodeUnavailable, "the clock of node %d is ahead by more than --max-offset", s.from))
			continue
		}
		s.start(id, timeout, body, kind == batchRelay)
	}
	return nil
}

func (s *batchStream) start(id, timeoutMS uint64, body []byte, relay bool) {
	job := batchJob{id: id, body: body, relay: relay}
	if timeoutMS > 0 && timeoutMS < uint64(24*time.Hour/time.Millisecond) {
		job.ctx, job.cancel = context.WithTimeout(s.ctx, time.Duration(timeoutMS)*time.Millisecond)
	} else {
		job.ctx, job.cancel = context.WithCancel(s.ctx)
	}
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		job.cancel()
		return
	}
	if len(s.cancels) >= s.t.cfg.MaxInFlight {
		s.mu.Unlock()
		job.cancel()
		s.fail(id, kv.Errorf(kv.CodeOverloaded, "%d batches of node %d are being answered", s.t.cfg.MaxInFlight, s.from))
		return
	}
	s.cancels[id] = job.cancel
	s.wg.Add(1) // for a worker that may not be needed; under mu, so never after over
	s.mu.Unlock()
	select {
	case s.work <- job:
		s.wg.Done()
	default:
		go s.worker(job)
	}
}

func (s *batchStream) worker(job batchJob) {
	defer s.wg.Done()
	idle := time.NewTimer(workerIdle)
	defer idle.Stop()
	for {
		s.serveOne(job)
		idle.Reset(workerIdle)
		select {
		case job = <-s.work:
		case <-idle.C:
			return
		case <-s.ctx.Done():
			return
		}
	}
}

func (s *batchStream) serveOne(job batchJob) {
	s.t.cfg.Metrics.served.Inc()
	defer s.t.cfg.Metrics.served.Dec()
	defer func() {
		s.mu.Lock()
		delete(s.cancels, job.id)
		s.mu.Unlock()
		job.cancel()
	}()
	req, err := kv.DecodeBatchRequest(job.body, s.t.cfg.Decoder)
	if err != nil {
		s.fail(job.id, kv.Errorf(kv.CodeBadRequest, "%v", err))
		return
	}
	send := s.h.Send
	switch {
	case job.relay:
		send = s.h.Relay
	case len(req.Requests) == 0: // ReadClock
		send = s.tellClock
	}
	resp, err := send(job.ctx, req)
	if err != nil {
		s.fail(job.id, kv.AsError(err))
		return
	}
	buf := encodeBufs.Get().(*[]byte)
	defer func() {
		if cap(*buf) <= maxPooled {
			encodeBufs.Put(buf)
		}
	}()
	body, err := resp.AppendWire((*buf)[:0])
	if err != nil {
		s.fail(job.id, kv.AsError(err))
		return
	}
	*buf = body
	if len(body) > maxBatchBytes {
		s.fail(job.id, kv.Errorf(kv.CodeTooLarge, "answer of %d bytes, the limit is %d", len(body), maxBatchBytes))
		return
	}
	s.answer(job.id, batchAnswer, body)
}

// tellClock answers a batch that asks for nothing: with what every answer has.
func (s *batchStream) tellClock(context.Context, *kv.BatchRequest) (*kv.BatchResponse, error) {
	return &kv.BatchResponse{Now: s.t.cfg.Clock.Now(), ServedBy: s.t.id.Load().NodeID}, nil
}

func (s *batchStream) fail(id uint64, e *kv.Error) {
	if e.Now.IsEmpty() {
		c := *e // the handler may hand the same error to several callers
		c.Now = s.t.cfg.Clock.Now()
		e = &c
	}
	s.answer(id, batchFailure, e.AppendWire(nil))
}

func (s *batchStream) answer(id uint64, kind byte, body []byte) {
	ok := s.box.add(len(body)+24, func(b []byte) []byte {
		b = binary.AppendUvarint(b, id)
		b = append(b, kind)
		b = binary.AppendUvarint(b, uint64(len(body)))
		return append(b, body...)
	})
	if ok == 0 {
		// The peer does not read its answers. It must not wait for one that is not
		// coming, so the stream is given up.
		s.t.cfg.Metrics.dropped[KindBatch].Inc()
		s.t.cfg.Log.Error("answers to a peer are not read; closing its stream", "node", s.from)
		s.end()
	}
}
