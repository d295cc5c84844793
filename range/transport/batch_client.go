package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/pamirdb/pamir/range/kv"
)

// Kinds of entries on the batch stream: id (uvarint), kind, then
//
//	request   timeout in ms (uvarint, 0 = none), length (uvarint), BatchRequest
//	relay     the same; to be passed on to the leader
//	cancel    nothing
//	answer    length (uvarint), BatchResponse
//	failure   length (uvarint), Error
const (
	batchRequest = 1 + iota
	batchCancel
	batchAnswer
	batchFailure
	batchRelay
)

// batchClient multiplexes batches to one peer over one stream. Its state is the set of
// calls in flight; a stream that breaks fails all of them.
type batchClient struct {
	p   *peer
	box *outbox

	mu     sync.Mutex
	nextID uint64                // guarded by mu
	calls  map[uint64]*batchCall // guarded by mu
	down   bool                  // the last attempt failed and the next has not begun; guarded by mu
	cancel context.CancelFunc    // of the open stream; guarded by mu
}

// batchCall is one batch in flight. done is buffered, so that whoever completes the call never waits.
type batchCall struct {
	seq  uint64 // number in the outbox
	done chan batchResult
}

type batchResult struct {
	resp *kv.BatchResponse
	err  error
}

func newBatchClient(p *peer) *batchClient {
	return &batchClient{p: p, box: newOutbox(4 * maxBatchBytes), calls: map[uint64]*batchCall{}}
}

// encodeBufs recycles the buffers that requests are encoded in before they are queued.
var encodeBufs = sync.Pool{New: func() any { return new([]byte) }}

func (c *batchClient) send(ctx context.Context, req *kv.BatchRequest, kind byte) (*kv.BatchResponse, error) {
	if p := c.p; p.lastPong.Load() != 0 && !p.alive() {
		return nil, kv.Errorf(kv.CodeUnavailable, "node %d has been silent for %s", p.id, p.silence().Round(time.Millisecond))
	}
	buf := encodeBufs.Get().(*[]byte)
	defer func() {
		if cap(*buf) <= maxPooled {
			encodeBufs.Put(buf)
		}
	}()
	body, err := req.AppendWire((*buf)[:0])
	if err != nil {
		return nil, kv.AsError(err)
	}
	*buf = body
	if len(body) > maxBatchBytes {
		return nil, kv.Errorf(kv.CodeTooLarge, "batch of %d bytes, the limit is %d", len(body), maxBatchBytes)
	}
	var timeout uint64
	if dl, ok := ctx.Deadline(); ok {
		d := time.Until(dl)
		if d <= 0 {
			return nil, kv.Errorf(kv.CodeCanceled, "%v", context.DeadlineExceeded)
		}
		timeout = uint64(d/time.Millisecond) + 1
	}
	call := &batchCall{done: make(chan batchResult, 1)}
	c.mu.Lock()
	switch {
	case c.down:
		c.mu.Unlock()
		return nil, kv.Errorf(kv.CodeUnavailable, "node %d cannot be reached at %s", c.p.id, c.p.addr)
	case len(c.calls) >= c.p.t.cfg.MaxInFlight:
		c.mu.Unlock()
		return nil, kv.Errorf(kv.CodeOverloaded, "%d batches to node %d are in flight", c.p.t.cfg.MaxInFlight, c.p.id)
	}
	c.nextID++
	id := c.nextID
	c.calls[id] = call
	call.seq = c.box.add(len(body)+24, func(b []byte) []byte {
		b = binary.AppendUvarint(b, id)
		b = append(b, kind)
		b = binary.AppendUvarint(b, timeout)
		b = binary.AppendUvarint(b, uint64(len(body)))
		return append(b, body...)
	})
	if call.seq == 0 {
		delete(c.calls, id)
		c.mu.Unlock()
		return nil, kv.Errorf(kv.CodeOverloaded, "the queue to node %d is full", c.p.id)
	}
	c.mu.Unlock()
	c.p.t.cfg.Metrics.inFlight.Inc()
	defer c.p.t.cfg.Metrics.inFlight.Dec()
	select {
	case r := <-call.done:
		return r.resp, r.err
	case <-ctx.Done():
	}
	c.mu.Lock()
	_, waiting := c.calls[id]
	delete(c.calls, id)
	c.mu.Unlock()
	if !waiting { // it was answered in between
		r := <-call.done
		return r.resp, r.err
	}
	// A full queue loses the cancellation only: the answer will find nobody.
	c.box.add(12, func(b []byte) []byte { return append(binary.AppendUvarint(b, id), batchCancel) })
	return nil, kv.Errorf(kv.CodeUnknownOutcome, "no answer from node %d: %v", c.p.id, context.Cause(ctx))
}

// run keeps a stream open while there is something to send.
func (c *batchClient) run() {
	for failures := 0; ; {
		select {
		case <-c.box.pending:
		case <-c.p.ctx.Done():
			c.failAll(errClosed)
			return
		}
		got, err := c.runStream()
		c.failAll(err)
		if c.p.ctx.Err() != nil {
			return
		}
		c.p.failed("Batch", err)
		if got {
			failures = 0
		}
		ok := c.p.pause(failures)
		failures++
		c.mu.Lock()
		c.down = !ok
		c.mu.Unlock()
		if !ok {
			return
		}
	}
}

// failAll ends every call: those that the writer never took were certainly not sent.
func (c *batchClient) failAll(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = true
	c.cancel = nil
	sent := c.box.takenCount()
	c.box.clear()
	for id, call := range c.calls {
		code := kv.CodeUnavailable
		if call.seq <= sent {
			code = kv.CodeUnknownOutcome
		}
		call.done <- batchResult{err: kv.Errorf(code, "connection to node %d: %v", c.p.id, cause)}
		delete(c.calls, id)
	}
}

// breakStream gives up on the open stream, because the peer is silent.
func (c *batchClient) breakStream() {
	c.mu.Lock()
	cancel := c.cancel
	c.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}

// runStream returns when the stream has broken; got reports whether anything was ever received on it.
func (c *batchClient) runStream() (got bool, err error) {
	ctx, cancel := context.WithCancel(c.p.ctx)
	defer cancel()
	c.mu.Lock()
	c.cancel = cancel
	c.mu.Unlock()
	st, err := c.p.open(ctx, c.p.bulk, "Batch")
	if err != nil {
		return false, err
	}
	broke := make(chan error, 1)
	c.p.wg.Add(1)
	go func() {
		defer c.p.wg.Done()
		broke <- func() error {
			defer cancel()
			var f frame
			for {
				if err := st.RecvMsg(&f); err != nil {
					return err
				}
				got = true
				if err := c.receive(f.b); err != nil {
					return err
				}
			}
		}()
	}()
	w := writer{t: c.p.t, to: c.p.id, kind: KindBatch, box: c.box, send: func(b []byte) error { return st.SendMsg(&frame{b: b}) }}
	_, err = w.run(ctx)
	cancel()
	if e := <-broke; err == nil || errors.Is(err, context.Canceled) || !errors.Is(e, context.Canceled) {
		err = e
	}
	return got, err
}

func (c *batchClient) receive(b []byte) error {
	c.p.t.cfg.Metrics.recvBytes[KindBatch].Add(float64(len(b)))
	ts, b, err := cutReading(b)
	if err != nil {
		return err
	}
	if !c.p.t.believe(ts, c.p.id) {
		return errors.New("the clock of the peer is too far ahead")
	}
	for len(b) > 0 {
		var id uint64
		if id, b, err = cutUvarint(b); err != nil {
			return err
		}
		if len(b) == 0 {
			return errFrame
		}
		kind := b[0]
		var body []byte
		if body, b, err = cutBytes(b[1:]); err != nil {
			return err
		}
		c.mu.Lock()
		call := c.calls[id]
		delete(c.calls, id)
		c.mu.Unlock()
		if call == nil {
			continue // canceled
		}
		var r batchResult
		switch kind {
		case batchAnswer:
			r.resp, err = kv.DecodeBatchResponse(body, c.p.t.cfg.Decoder)
		case batchFailure:
			var e *kv.Error
			if e, err = kv.DecodeError(body); err == nil {
				r.err = e
			}
		default:
			err = errFrame
		}
		if err != nil {
			// The answer is there and cannot be read: whether the request took effect is unknown.
			r = batchResult{err: kv.Errorf(kv.CodeUnknownOutcome, "answer of node %d: %v", c.p.id, err)}
		}
		call.done <- r
	}
	return nil
}
