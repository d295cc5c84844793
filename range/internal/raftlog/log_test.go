package raftlog

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/kv"
)

func openEngine(t require.TestingT, fs vfs.FS) *engine.Engine {
	e, err := engine.Open(engine.Config{Dir: "x", FS: fs, MemTableBytes: 1 << 20, CacheBytes: 1 << 20, OnFatal: func(error) {}})
	require.NoError(t, err)
	return e
}

func entry(term, index uint64, data string) *pb.Entry {
	e := &pb.Entry{Term: &term, Index: &index, Type: pb.EntryNormal.Enum()}
	if data != "" {
		e.Data = []byte(data)
	}
	return e
}

func same(t require.TestingT, want, got []*pb.Entry) {
	require.Len(t, got, len(want))
	for i := range want {
		require.True(t, want[i].GetIndex() == got[i].GetIndex() && want[i].GetTerm() == got[i].GetTerm() &&
			want[i].GetType() == got[i].GetType() && string(want[i].Data) == string(got[i].Data), "entry %d", i)
	}
}

// The log behaves like a slice, through appends that overwrite, truncations, cache evictions and reopening.
func TestLogAgainstSlice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := openEngine(t, vfs.NewMem())
		defer func() { require.NoError(t, e.Close()) }()
		const id = kv.RangeID(7)
		b := e.DB().NewBatch()
		start := Position{Index: 10, Term: 5}
		require.NoError(t, WriteInitial(b, id, 3, start, &pb.HardState{Term: new(uint64(5)), Vote: new(uint64(0)), Commit: new(uint64(10))}))
		require.NoError(t, b.Commit(pebble.Sync))
		budget := NewBudget(rapid.Int64Range(0, 3000).Draw(t, "budget"))
		l, err := Open(e.DB(), id, budget)
		require.NoError(t, err)
		twin, trunc := []*pb.Entry{}, start
		term := uint64(5)
		first := func() uint64 { return trunc.Index + 1 }
		last := func() uint64 { return trunc.Index + uint64(len(twin)) }
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "op") {
			case 0, 1: // append, perhaps over what is there
				at := rapid.Uint64Range(first(), last()+1).Draw(t, "at")
				if at <= last() {
					term++
				}
				var ents []*pb.Entry
				for i := range rapid.IntRange(1, 5).Draw(t, "n") {
					ents = append(ents, entry(term, at+uint64(i), rapid.StringN(0, 200, 200).Draw(t, "data")))
				}
				b := e.DB().NewBatch()
				require.NoError(t, l.Append(b, ents))
				require.NoError(t, b.Commit(pebble.Sync))
				twin = append(slices.Clone(twin[:at-first()]), ents...)
			case 2:
				if len(twin) == 0 {
					continue
				}
				to := rapid.Uint64Range(first(), last()).Draw(t, "to")
				b := e.DB().NewBatch()
				require.NoError(t, l.Truncate(b, to))
				require.NoError(t, b.Commit(pebble.Sync))
				n := to - trunc.Index
				trunc = Position{Index: to, Term: twin[n-1].GetTerm()}
				twin = twin[n:]
			case 3:
				l.DropCache()
				l, err = Open(e.DB(), id, budget)
				require.NoError(t, err)
			case 4:
				l.DropCache()
			case 5:
				if len(twin) == 0 {
					continue
				}
				lo := rapid.Uint64Range(first(), last()).Draw(t, "lo")
				hi := rapid.Uint64Range(lo+1, last()+1).Draw(t, "hi")
				limit := rapid.SampledFrom([]uint64{0, 100, 1000, math.MaxUint64}).Draw(t, "limit")
				got, err := l.Entries(lo, hi, limit)
				require.NoError(t, err)
				require.NotEmpty(t, got)
				if limit == math.MaxUint64 {
					require.Len(t, got, int(hi-lo))
				}
				same(t, twin[lo-first():][:len(got)], got)
			}
			require.Equal(t, trunc, l.Truncated())
			require.Equal(t, last(), l.Last().Index)
			for i := trunc.Index; i <= last(); i++ {
				want := trunc.Term
				if i > trunc.Index {
					want = twin[i-first()].GetTerm()
				}
				got, err := l.Term(i)
				require.NoError(t, err)
				require.Equal(t, want, got)
			}
			_, err := l.Term(last() + 1)
			require.ErrorIs(t, err, raft.ErrUnavailable)
			_, err = l.Entries(trunc.Index, last()+1, 1)
			require.ErrorIs(t, err, raft.ErrCompacted)
		}
		l.DropCache()
		require.Zero(t, budget.Used())
	})
}

func TestTombstone(t *testing.T) {
	e := openEngine(t, vfs.NewMem())
	defer func() { require.NoError(t, e.Close()) }()
	b := e.DB().NewBatch()
	require.NoError(t, WriteReplica(b, 9, 4))
	require.NoError(t, b.Commit(pebble.Sync))
	rid, err := ReadReplicaID(e.DB(), 9)
	require.NoError(t, err)
	require.Equal(t, kv.ReplicaID(4), rid)
	b = e.DB().NewBatch()
	require.NoError(t, Remove(b, 9, 5))
	require.NoError(t, b.Commit(pebble.Sync))
	rid, err = ReadReplicaID(e.DB(), 9)
	require.NoError(t, err)
	require.Zero(t, rid)
	below, err := ReadTombstone(e.DB(), 9)
	require.NoError(t, err)
	require.Equal(t, kv.ReplicaID(5), below)
}

func sampleMessages() []*Message {
	from, to := kv.Replica{NodeID: 1, StoreID: 2, ReplicaID: 3}, kv.Replica{NodeID: 4, StoreID: 5, ReplicaID: 6}
	now := hlc.Timestamp{WallTime: 1234567890123, Logical: 9}
	m := func(r *pb.Message) *Message {
		r.From, r.To = new(uint64(3)), new(uint64(6))
		return &Message{RangeID: 77, From: from, To: to, Now: now, Epoch: 1<<32 | 5, Raft: r}
	}
	return []*Message{
		m(&pb.Message{Type: pb.MsgApp.Enum(), Term: new(uint64(8)), LogTerm: new(uint64(7)), Index: new(uint64(100)), Commit: new(uint64(99)),
			Entries: []*pb.Entry{entry(8, 101, "abc"), entry(8, 102, ""), entry(8, 103, "def")}}),
		m(&pb.Message{Type: pb.MsgAppResp.Enum(), Term: new(uint64(8)), Index: new(uint64(100)), Reject: new(true), RejectHint: new(uint64(50)), LogTerm: new(uint64(3))}),
		m(&pb.Message{Type: pb.MsgVote.Enum(), Term: new(uint64(9)), Context: []byte("CampaignTransfer")}),
		m(&pb.Message{Type: pb.MsgSnap.Enum(), Term: new(uint64(9)), Snapshot: &pb.Snapshot{Metadata: &pb.SnapshotMetadata{
			Index: new(uint64(5)), Term: new(uint64(4)), ConfState: &pb.ConfState{Voters: []uint64{1, 2, 3}, AutoLeave: new(false)}}}}),
		{RangeID: 1, From: from, To: to, Now: now, RemovedBelow: 9},
		{RangeID: 1, From: from, To: to, Now: now, ChecksumID: 1 << 60, Checksum: []byte("sum")},
		{RangeID: 1, From: from, To: to, Now: now, Resigned: 12},
		{RangeID: 1, From: from, To: to, Now: now, Ask: true},
	}
}

func TestMessageRoundTrip(t *testing.T) {
	for _, m := range sampleMessages() {
		b, err := m.Append(nil)
		require.NoError(t, err)
		got, err := DecodeMessage(b)
		require.NoError(t, err)
		if m.Raft != nil {
			// Protobuf tells nil from zero; Raft does not.
			require.True(t, proto.Equal(filled(m.Raft), filled(got.Raft)), "%v\n%v", m.Raft, got.Raft)
		}
		again, err := got.Append(nil)
		require.NoError(t, err)
		require.Equal(t, b, again)
		for i := range b {
			if _, err := DecodeMessage(b[:i]); err == nil {
				t.Fatalf("accepted a message cut at %d of %d", i, len(b))
			}
		}
	}
}

func filled(m *pb.Message) *pb.Message {
	c := proto.Clone(m).(*pb.Message)
	for _, p := range []**uint64{&c.Term, &c.LogTerm, &c.Index, &c.Commit, &c.Vote, &c.RejectHint} {
		if *p == nil {
			*p = new(uint64)
		}
	}
	if !c.GetReject() {
		c.Reject = nil
	}
	return c
}

func FuzzMessage(f *testing.F) {
	for _, m := range sampleMessages() {
		b, err := m.Append(nil)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeMessage(b)
		if err != nil {
			return
		}
		again, err := m.Append(nil)
		require.NoError(t, err)
		back, err := DecodeMessage(again)
		require.NoError(t, err)
		require.Equal(t, m.RangeID, back.RangeID)
		require.True(t, m.Raft == nil && back.Raft == nil || proto.Equal(m.Raft, back.Raft))
	})
}

func BenchmarkMessage(b *testing.B) {
	m := sampleMessages()[0]
	buf, err := m.Append(nil)
	require.NoError(b, err)
	b.ReportAllocs()
	for range b.N {
		buf, _ = m.Append(buf[:0])
		if _, err := DecodeMessage(buf); err != nil {
			b.Fatal(err)
		}
	}
}

// A commit index goes to disk with a term or a vote, and never alone or with entries.
func TestCommitIndexIsNotWritten(t *testing.T) {
	e := openEngine(t, vfs.NewMem())
	defer func() { require.NoError(t, e.Close()) }()
	const id = kv.RangeID(7)
	b := e.DB().NewBatch()
	require.NoError(t, WriteInitial(b, id, 3, Position{Index: 10, Term: 5}, &pb.HardState{Term: new(uint64(5)), Vote: new(uint64(0)), Commit: new(uint64(10))}))
	require.NoError(t, b.Commit(pebble.Sync))
	l, err := Open(e.DB(), id, NewBudget(1<<20))
	require.NoError(t, err)
	for _, c := range []struct {
		term, vote, commit uint64
		written            bool
	}{{5, 0, 11, false}, {5, 2, 11, true}, {5, 2, 12, false}, {6, 2, 12, true}, {6, 0, 13, true}, {6, 0, 14, false}} {
		b := e.DB().NewBatch()
		h := &pb.HardState{Term: &c.term, Vote: &c.vote, Commit: &c.commit}
		require.NoError(t, l.SetHardState(b, h))
		require.Equal(t, c.written, !b.Empty(), "%+v", c)
		require.NoError(t, b.Commit(pebble.Sync))
		require.True(t, proto.Equal(h, l.HardState()), "%+v", c)
		onDisk, err := ReadHardState(e.DB(), id)
		require.NoError(t, err)
		require.Equal(t, c.written, onDisk.GetCommit() == c.commit, "%+v", c)
		require.Equal(t, [2]uint64{c.term, c.vote}, [2]uint64{onDisk.GetTerm(), onDisk.GetVote()}, "%+v", c)
	}
}
