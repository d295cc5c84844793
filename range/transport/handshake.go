package transport

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/pamirdb/pamir/range/kv"
)

// Metadata that opens every stream and call.
const (
	mdWire        = "pamir-wire"
	mdCluster     = "pamir-cluster"
	mdFrom        = "pamir-from"
	mdTo          = "pamir-to"
	mdMethod      = "pamir-method"
	mdIncarnation = "pamir-incarnation"
)

func clientOptions(creds credentials.TransportCredentials) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{}),
			grpc.MaxCallRecvMsgSize(maxMessageBytes), grpc.MaxCallSendMsgSize(maxMessageBytes)),
		grpc.WithInitialWindowSize(4 << 20),
		grpc.WithInitialConnWindowSize(8 << 20),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 500 * time.Millisecond},
			MinConnectTimeout: 2 * time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithUserAgent("pamir"),
	}
}

func (t *Transport) newServer() *grpc.Server {
	opts := []grpc.ServerOption{
		grpc.ForceServerCodecV2(rawCodec{}),
		grpc.MaxRecvMsgSize(maxMessageBytes),
		grpc.MaxSendMsgSize(maxMessageBytes),
		grpc.InitialWindowSize(4 << 20),
		grpc.InitialConnWindowSize(8 << 20),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.ConnectionTimeout(10 * time.Second),
	}
	if t.cfg.ServerCreds != nil {
		opts = append(opts, grpc.Creds(t.cfg.ServerCreds))
	}
	s := grpc.NewServer(opts...)
	s.RegisterService(&serviceDesc, t)
	return s
}

// outgoing adds what identifies this node to a stream for node to (0: whoever is at the address).
func (t *Transport) outgoing(ctx context.Context, to kv.NodeID) context.Context {
	md := []string{mdWire, strconv.Itoa(WireVersion)}
	if id := t.id.Load(); id != nil {
		md = append(md, mdCluster, id.ClusterID.String(), mdFrom, strconv.Itoa(int(id.NodeID)),
			mdIncarnation, strconv.FormatInt(id.Incarnation, 10))
	}
	if to != 0 {
		md = append(md, mdTo, strconv.Itoa(int(to)))
	}
	return metadata.AppendToOutgoingContext(ctx, md...)
}

// admit checks who opens a stream or makes a call. Outsiders may make calls only.
func (t *Transport) admit(ctx context.Context, call bool) (from kv.NodeID, err error) {
	refuse := func(c codes.Code, format string, args ...any) (kv.NodeID, error) {
		t.cfg.Metrics.rejected.Inc()
		return 0, status.Error(c, fmt.Sprintf(format, args...))
	}
	md, _ := metadata.FromIncomingContext(ctx)
	get := func(k string) string {
		if v := md.Get(k); len(v) > 0 {
			return v[0]
		}
		return ""
	}
	if w := get(mdWire); w != strconv.Itoa(WireVersion) {
		return refuse(codes.FailedPrecondition, "this node speaks wire version %d, the caller %q: run compatible versions of pamir", WireVersion, w)
	}
	self := t.id.Load()
	if self == nil {
		return refuse(codes.Unavailable, "this node is not part of a cluster yet")
	}
	cluster := get(mdCluster)
	if cluster == "" {
		if call {
			return 0, nil
		}
		return refuse(codes.FailedPrecondition, "the caller is not a member of a cluster")
	}
	if cluster != self.ClusterID.String() {
		return refuse(codes.FailedPrecondition, "this node belongs to cluster %s, the caller to cluster %s: check --join and the store directory", self.ClusterID, cluster)
	}
	n, err := strconv.ParseInt(get(mdFrom), 10, 32)
	if err != nil || n <= 0 {
		return refuse(codes.InvalidArgument, "malformed node id of the caller")
	}
	if to := get(mdTo); to != "" && to != strconv.Itoa(int(self.NodeID)) {
		return refuse(codes.FailedPrecondition, "the caller wants node %s, this is node %d: an address was reused", to, self.NodeID)
	}
	return kv.NodeID(n), nil
}

// serviceName is the gRPC service of every node.
const serviceName = "pamir.Node"

type serviceServer interface{ serve() }

func (t *Transport) serve() {}

var serviceDesc = grpc.ServiceDesc{
	ServiceName: serviceName,
	HandlerType: (*serviceServer)(nil),
	Streams: []grpc.StreamDesc{
		{StreamName: "Raft", ClientStreams: true, ServerStreams: true, Handler: func(s any, st grpc.ServerStream) error { return s.(*Transport).serveRaft(st) }},
		{StreamName: "Control", ClientStreams: true, ServerStreams: true, Handler: func(s any, st grpc.ServerStream) error { return s.(*Transport).serveControl(st) }},
		{StreamName: "Batch", ClientStreams: true, ServerStreams: true, Handler: func(s any, st grpc.ServerStream) error { return s.(*Transport).serveBatch(st) }},
		{StreamName: "Snapshot", ClientStreams: true, ServerStreams: true, Handler: func(s any, st grpc.ServerStream) error { return s.(*Transport).serveSnapshot(st) }},
	},
	Methods: []grpc.MethodDesc{{MethodName: "Call", Handler: serveCall}},
}

var streamDesc = grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
