package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/pamirdb/pamir/range/kv"
)

// serveRaft takes consensus messages of one peer.
func (t *Transport) serveRaft(st grpc.ServerStream) error {
	from, err := t.admit(st.Context(), false)
	if err != nil {
		return err
	}
	h := t.handle()
	var f frame
	var msgs [][]byte
	for {
		if err := st.RecvMsg(&f); err != nil {
			return nil // the peer is gone
		}
		t.cfg.Metrics.recvBytes[KindRaft].Add(float64(len(f.b)))
		ts, b, err := cutReading(f.b)
		if err != nil {
			return err
		}
		if !t.believe(ts, from) {
			continue // dropping consensus messages is always safe
		}
		msgs = msgs[:0]
		for len(b) > 0 {
			var msg []byte
			if msg, b, err = cutBytes(b); err != nil {
				return err
			}
			msgs = append(msgs, msg)
		}
		h.HandleRaft(from, msgs)
	}
}

// serveControl takes heartbeats, gossip and pings of one peer, and answers pings.
func (t *Transport) serveControl(st grpc.ServerStream) error {
	from, err := t.admit(st.Context(), false)
	if err != nil {
		return err
	}
	h := t.handle()
	box := newOutbox(1 << 20)
	ctx, cancel := context.WithCancel(st.Context())
	done := make(chan struct{})
	defer func() {
		cancel()
		<-done
	}()
	go func() {
		defer close(done)
		w := writer{t: t, to: from, kind: KindControl, box: box, send: func(b []byte) error { return st.SendMsg(&frame{b: b}) }}
		// A write that fails ends the stream, which the reader below sees.
		_, _ = w.run(ctx)
	}()
	var f frame
	for {
		if err := st.RecvMsg(&f); err != nil {
			return nil // the peer is gone
		}
		t.cfg.Metrics.recvBytes[KindControl].Add(float64(len(f.b)))
		ts, b, err := cutReading(f.b)
		if err != nil {
			return err
		}
		t.follow(ts, from)
		for len(b) > 0 {
			var msg []byte
			if msg, b, err = cutBytes(b); err != nil || len(msg) == 0 {
				return errFrame
			}
			switch msg[0] {
			case controlPing:
				if len(msg) != 9 {
					return errFrame
				}
				pong := make([]byte, 0, 18)
				pong = append(pong, 17, controlPong)
				pong = append(pong, msg[1:]...)
				pong = binary.BigEndian.AppendUint64(pong, uint64(t.cfg.Clock.Physical()))
				box.add(len(pong), func(b []byte) []byte { return append(b, pong...) })
			case controlGossip:
				if err := t.book.MergeEncoded(msg[1:]); err != nil {
					return fmt.Errorf("gossip of node %d: %w", from, err)
				}
			case controlHeartbeat:
				h.HandleHeartbeat(from, msg[1:])
			default:
				return errFrame
			}
		}
	}
}

// SendSnapshot opens a snapshot stream to a node, lets write send chunks (each is copied
// before send returns), and waits for the receiver's verdict. A receiver that is not ready for it says so by kv.CodeNotNow.
func (t *Transport) SendSnapshot(ctx context.Context, to kv.NodeID, write func(send func(chunk []byte) error) error) error {
	p := t.peer(to)
	if p == nil {
		return kv.Errorf(kv.CodeUnavailable, "no address is known for node %d", to)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(p.ctx, cancel)
	defer stop()
	st, err := p.open(ctx, p.bulk, "Snapshot")
	if err != nil {
		return fmt.Errorf("snapshot to node %d: %s", to, status.Convert(err).Message())
	}
	verdict := func() error {
		var f frame
		err := st.RecvMsg(&f)
		if err == nil || errors.Is(err, io.EOF) {
			return nil
		}
		e := status.Convert(err)
		if e.Code() == codes.FailedPrecondition {
			return kv.NotNow(kv.NotNowBehind, "node %d: %s", to, e.Message())
		}
		return fmt.Errorf("snapshot to node %d: %s", to, e.Message())
	}
	err = write(func(chunk []byte) error {
		if len(chunk) > maxSnapChunk {
			return fmt.Errorf("snapshot chunk of %d bytes, the limit is %d", len(chunk), maxSnapChunk)
		}
		drop, delay := t.link(to, KindSnapshot)
		if delay > 0 {
			time.Sleep(delay)
		}
		if drop {
			return errors.New("connection lost (injected)")
		}
		b := *frames.Get(tsBytes)
		appendReading(b[:0], t.cfg.Clock.Now())
		b = append(b, chunk...)
		t.cfg.Metrics.sentFrames[KindSnapshot].Inc()
		t.cfg.Metrics.sentBytes[KindSnapshot].Add(float64(len(b)))
		if err := st.SendMsg(&frame{b: b}); err != nil {
			if errors.Is(err, io.EOF) { // the receiver has ended the stream; it says why
				return verdict()
			}
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := st.CloseSend(); err != nil {
		return err
	}
	return verdict()
}

func (t *Transport) serveSnapshot(st grpc.ServerStream) error {
	from, err := t.admit(st.Context(), false)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(st.Context())
	defer cancel()
	stop := context.AfterFunc(t.ctx, cancel)
	defer stop()
	err = t.handle().HandleSnapshot(ctx, from, func() ([]byte, error) {
		var f frame
		if err := st.RecvMsg(&f); err != nil {
			return nil, err // io.EOF at the regular end
		}
		t.cfg.Metrics.recvBytes[KindSnapshot].Add(float64(len(f.b)))
		ts, b, err := cutReading(f.b)
		if err != nil {
			return nil, err
		}
		if !t.believe(ts, from) {
			return nil, fmt.Errorf("the clock of node %d is ahead by more than --max-offset", from)
		}
		return b, nil
	})
	switch {
	case kv.HasCode(err, kv.CodeNotNow):
		return status.Error(codes.FailedPrecondition, kv.AsError(err).Message)
	case err != nil:
		return status.Error(codes.Aborted, err.Error())
	}
	return nil
}

// call makes one unary call. Errors of the other node's handler are *kv.Error again.
func (t *Transport) call(ctx context.Context, conn *grpc.ClientConn, to kv.NodeID, method string, body []byte) ([]byte, error) {
	if to != 0 {
		drop, delay := t.link(to, KindCall)
		time.Sleep(delay)
		if drop {
			return nil, kv.Errorf(kv.CodeUnavailable, "connection lost (injected)")
		}
	}
	ctx = metadata.AppendToOutgoingContext(t.outgoing(ctx, to), mdMethod, method)
	b := appendReading(nil, t.cfg.Clock.Now())
	in, out := frame{b: append(b, body...)}, frame{}
	if err := conn.Invoke(ctx, "/"+serviceName+"/Call", &in, &out); err != nil {
		s := status.Convert(err)
		code := kv.CodeInternal
		switch s.Code() {
		case codes.Unavailable:
			code = kv.CodeUnavailable
		case codes.Canceled, codes.DeadlineExceeded:
			code = kv.CodeCanceled
		case codes.FailedPrecondition, codes.InvalidArgument, codes.Unimplemented:
			code = kv.CodeBadRequest
		}
		return nil, kv.Errorf(code, "%s at %s: %s", method, conn.Target(), s.Message())
	}
	ts, rest, err := cutReading(out.b)
	if err != nil || len(rest) == 0 {
		return nil, kv.Errorf(kv.CodeInternal, "%s: malformed answer", method)
	}
	if t.cfg.Clock.Offset(ts) <= t.cfg.Clock.MaxOffset() {
		t.cfg.Clock.Update(ts)
	}
	if rest[0] == batchFailure {
		e, err := kv.DecodeError(rest[1:])
		if err != nil {
			return nil, kv.AsError(err)
		}
		return nil, e
	}
	return rest[1:], nil
}

func serveCall(srv any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	t := srv.(*Transport)
	from, err := t.admit(ctx, true)
	if err != nil {
		return nil, err
	}
	var in frame
	if err := dec(&in); err != nil {
		return nil, err
	}
	ts, body, err := cutReading(in.b)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	t.follow(ts, from)
	h := t.handle()
	if h == nil {
		return nil, status.Error(codes.Unavailable, "this node is starting")
	}
	md, _ := metadata.FromIncomingContext(ctx)
	method := ""
	if v := md.Get(mdMethod); len(v) > 0 {
		method = v[0]
	}
	out, err := h.HandleCall(ctx, from, method, body)
	b := appendReading(nil, t.cfg.Clock.Now())
	if err != nil {
		b = kv.AsError(err).AppendWire(append(b, batchFailure))
	} else {
		b = append(append(b, batchAnswer), out...)
	}
	return &frame{b: b}, nil
}
