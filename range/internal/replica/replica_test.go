package replica

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// See Replica: a field more is 128 bytes more for each of tens of thousands. The allocator adds 8 bytes to what has pointers and
// is larger than 512.
func TestReplicaSize(t *testing.T) {
	require.LessOrEqual(t, reflect.TypeFor[Replica]().Size(), uintptr(760), "what few replicas need belongs behind a pointer")
}

// On a full disk, what makes room still goes through: who drops and deletes is not refused for want of it.
func TestMakesRoom(t *testing.T) {
	user, system := keys.Index(keys.FirstUserTable, 1), keys.Index(keys.FirstUserTable-1, 1)
	put, del := kv.Write{Key: user, Value: []byte("v")}, kv.Write{Key: user, Deleted: true}
	of := func(q ...kv.Request) bool { return makesRoom(&kv.BatchRequest{Requests: q}) }
	for _, q := range []kv.Request{
		&kv.Put{Key: user}, &kv.Increment{Key: user}, &kv.BulkWrite{}, &kv.CommitSingleRange{Writes: []kv.Write{del, put}}, &kv.Prepare{Writes: []kv.Write{put}},
	} {
		require.False(t, of(q), "%T", q)
		require.False(t, of(&kv.GC{}, q), "%T", q)
	}
	for _, q := range []kv.Request{
		&kv.Put{Key: system}, &kv.Increment{Key: system}, &kv.Delete{Key: user}, &kv.CommitSingleRange{Writes: []kv.Write{del, {Key: system, Value: []byte("v")}}},
		&kv.Prepare{Writes: []kv.Write{del}}, &kv.GC{}, &kv.EndTxn{}, &kv.StageTxn{}, &kv.ResolveLocks{}, &kv.ResolveSpan{}, &kv.RecoverTxn{}, &kv.ForgetTxns{}, &kv.UndoSpan{},
	} {
		require.True(t, of(q), "%T", q)
	}
}
