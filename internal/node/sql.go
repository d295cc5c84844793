package node

import (
	"context"
	"net"

	"github.com/pamirdb/pamir/range/kv"
)

// pushdownDecoder turns programs that other gateways send into what the ranges here can run.
func pushdownDecoder() kv.PushdownDecoder { return nil }

// front is the SQL side of the node.
type front struct{}

func (n *Node) startSQL(ctx context.Context, ln net.Listener) error { return nil }

func (f *front) drain(ctx context.Context) {}

func (f *front) close() {}
