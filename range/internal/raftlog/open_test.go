package raftlog

import (
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/pamirdb/pamir/range/kv"
)

// Of a long log the end is read when it is opened: it ends where it ended, and is about as large as it was. Whatever is missing where
// it is read is still noticed.
func TestLongLogIsNotRead(t *testing.T) {
	e := openEngine(t, vfs.NewMem())
	defer func() { require.NoError(t, e.Close()) }()
	const id, entries = kv.RangeID(7), 500
	b := e.DB().NewBatch()
	start := Position{Index: 10, Term: 5}
	require.NoError(t, WriteInitial(b, id, 3, start, &pb.HardState{Term: new(uint64(5)), Vote: new(uint64(0)), Commit: new(uint64(10))}))
	l, err := Open(e.DB(), id, NewBudget(0))
	require.NoError(t, err)
	l.last, l.trunc = start, start
	for i := range uint64(entries) {
		require.NoError(t, l.Append(b, []*pb.Entry{entry(6, 11+i, strings.Repeat("x", 100))}))
	}
	require.NoError(t, b.Commit(pebble.Sync))
	again, err := Open(e.DB(), id, NewBudget(0))
	require.NoError(t, err)
	require.Equal(t, Position{Index: 10 + entries, Term: 6}, again.Last())
	require.Equal(t, l.Bytes(), again.Bytes(), "all entries are of a size, so the estimate is right")
	all, err := again.Entries(11, 11+entries, 1<<30)
	require.NoError(t, err)
	require.Len(t, all, entries)

	without := func(index uint64) error {
		v, closer, err := e.DB().Get(l.key(index))
		require.NoError(t, err)
		v = append([]byte(nil), v...)
		require.NoError(t, closer.Close())
		require.NoError(t, e.DB().Delete(l.key(index), pebble.Sync))
		_, err = Open(e.DB(), id, NewBudget(0))
		require.NoError(t, e.DB().Set(l.key(index), v, pebble.Sync))
		return err
	}
	require.Error(t, without(11), "the first")
	require.Error(t, without(10+entries-3), "one near the end")
	require.NoError(t, without(200), "one in the middle is missed when it is read")
}
