package txn

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// The record of a commit is where its transaction has waited for a lock, if it writes there; a leader that is far away, and a clock that is
// a little off, are no wait.
func TestAnchorIsWhereOthersWait(t *testing.T) {
	const ms = int64(time.Millisecond)
	first, second, third := keys.Key("a"), keys.Key("b"), keys.Key("c")
	type answer struct {
		key         keys.Key
		there, back int64 // ms that the request and its answer took, the wait included in the former
		clock       int64 // by how many ms the leader's clock is ahead
	}
	for _, c := range []struct {
		name    string
		answers []answer
		written []keys.Key
		want    keys.Key
	}{
		{"nobody waited", []answer{{second, 0, 0, 0}}, []keys.Key{first, second}, first},
		{"far away", []answer{{second, 80, 80, 0}}, []keys.Key{first, second}, first},
		{"far away, and a wait", []answer{{second, 90, 80, 0}}, []keys.Key{first, second}, second},
		{"a clock that is a little off", []answer{{second, 1, 1, 0}, {second, 80, 80, 0}}, []keys.Key{first, second}, first},
		{"the longest", []answer{{third, 9, 1, 0}, {second, 5, 1, 0}}, []keys.Key{first, second, third}, third},
		{"not written", []answer{{third, 9, 1, 0}}, []keys.Key{first, second}, first},
	} {
		tx := &txn{}
		now := int64(1_000_000) * ms
		for _, a := range c.answers {
			req := &kv.BatchRequest{Requests: []kv.Request{&kv.Get{Key: a.key, Lock: kv.LockUpdate}}}
			require.True(t, locks(req))
			resp := &kv.BatchResponse{Now: hlc.Timestamp{WallTime: now + (a.there+a.clock)*ms}, Responses: []kv.Response{&kv.GetResponse{}}}
			tx.noteWait(req, resp, now, now+(a.there+a.back)*ms)
			now += (a.there + a.back) * ms
		}
		var writes []kv.Write
		for _, k := range c.written {
			tx.buf.write(k, bufferedWrite{value: []byte("x")})
			writes = append(writes, kv.Write{Key: k})
		}
		tx.chooseAnchor(writes)
		require.Equal(t, c.want, tx.meta.Anchor, c.name)
		tx.sought = sought{third, 1 << 40}
		tx.chooseAnchor(writes)
		require.Equal(t, c.want, tx.meta.Anchor, "%s: requests may have been told", c.name)
	}
	require.False(t, locks(&kv.BatchRequest{Requests: []kv.Request{&kv.Get{Key: first}}}))
}
