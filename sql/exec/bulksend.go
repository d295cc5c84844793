package exec

import (
	"context"
	"sort"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/txn"
)

// NewBulkWriter returns a BulkWriter that sends kv.BulkWrite requests.
func NewBulkWriter(s txn.Sender) BulkWriter { return bulkSender{s} }

type bulkSender struct{ sender txn.Sender }

// maxCuts bounds how often a piece is cut again because ranges split under it.
const maxCuts = 100

// Write implements BulkWriter.
func (b bulkSender) Write(ctx context.Context, at hlc.Timestamp, pairs []kv.Write) error {
	for n := 0; len(pairs) > 0; n++ {
		if n == maxCuts {
			return pgerr.New(pgerr.InternalError, "ranges split faster than rows can be written")
		}
		last := pairs[len(pairs)-1].Key
		span := keys.Span{Start: pairs[0].Key, End: last.Next()}
		parts, err := b.sender.Ranges(ctx, []keys.Span{span}, false)
		if err != nil {
			return err
		}
		for _, p := range parts {
			for _, s := range p.Spans {
				end := s.EndKey()
				i := sort.Search(len(pairs), func(i int) bool { return !pairs[i].Key.Less(end) })
				if i == 0 {
					continue
				}
				req := &kv.BulkWrite{Span: keys.Span{Start: pairs[0].Key, End: pairs[i-1].Key.Next()}, TS: at}
				size := 0
				for j := range pairs[:i] {
					size += len(pairs[j].Key) + len(pairs[j].Value) + 6
				}
				req.Rows.Data = make([]byte, 0, size)
				for j := range pairs[:i] {
					req.Rows.Append(pairs[j].Key, pairs[j].Value)
				}
				if _, err = b.sender.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{req}}); err != nil {
					break
				}
				pairs = pairs[i:]
			}
			if err != nil {
				break
			}
		}
		if err != nil && !kv.HasCode(err, kv.CodeRangeMismatch) {
			return kv.Undecided(err)
		}
	}
	return nil
}
