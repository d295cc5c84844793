package node

import (
	"context"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// operate carries out what the functions of schema pamir ask for (sql.Cluster).
type operate struct{ n *Node }

func (o operate) SplitAt(ctx context.Context, key keys.Key) (kv.RangeID, error) {
	resp, err := o.n.sender.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.AdminSplit{Key: key}}})
	if err != nil {
		return 0, err
	}
	r := resp.Responses[0].(*kv.AdminSplitResponse)
	o.n.sender.Learn(r.Left, r.Right)
	return r.Right.RangeID, nil
}

func (o operate) TransferLeader(ctx context.Context, id kv.RangeID, node kv.NodeID) error {
	e, ok := o.n.book.Get(node)
	if !ok {
		return kv.Errorf(kv.CodeBadRequest, "there is no node %d", node)
	}
	_, err := o.n.sender.Send(ctx, &kv.BatchRequest{RangeID: id, Requests: []kv.Request{&kv.AdminTransferLeader{Target: e.StoreID}}})
	return err
}
