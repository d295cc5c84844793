package node

import (
	"context"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// eachSystemRow calls f with the rows of a span as of a timestamp (empty: now), in key order, page by page. Keys and values belong to f only
// while it runs. The span lies in the range of the system keys, which is never split.
func (n *Node) eachSystemRow(ctx context.Context, span keys.Span, at hlc.Timestamp, f func(k keys.Key, v []byte) error) error {
	for spans := []keys.Span{span}; len(spans) > 0; {
		resp, err := n.sender.Send(ctx, &kv.BatchRequest{Timestamp: at, Requests: []kv.Request{&kv.Scan{Spans: spans}}})
		if err != nil {
			return err
		}
		scan := resp.Responses[0].(*kv.ScanResponse)
		for rows := scan.Rows; ; {
			k, v, ok, err := rows.Next()
			if err != nil {
				return kv.AsError(err)
			}
			if !ok {
				break
			}
			if err := f(keys.Key(k), v); err != nil {
				return err
			}
		}
		spans = scan.Resume
	}
	return nil
}
